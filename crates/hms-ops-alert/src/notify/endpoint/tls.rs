//! TLS, by rustls. The roots are read anew for each connection: notifications are rare, and a
//! certificate that was replaced counts at once.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

pub(super) const SUPPORTED: bool = true;

const MAX_FILE_BYTES: u64 = 4 << 20;

/// Where systems keep the certificates that they trust.
const SYSTEM_ROOTS: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

pub(super) async fn connect(
    ca_file: Option<PathBuf>,
    host: &str,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>, String> {
    let config = tokio::task::spawn_blocking(move || configure(ca_file));
    let config = config.await.map_err(|e| e.to_string())??;
    let name = ServerName::try_from(host.to_owned()).map_err(|e| e.to_string())?;
    let connecting = TlsConnector::from(Arc::new(config)).connect(name, stream);
    connecting.await.map_err(|e| format!("no TLS: {e}"))
}

fn configure(ca_file: Option<PathBuf>) -> Result<ClientConfig, String> {
    let system = || SYSTEM_ROOTS.iter().map(PathBuf::from).find(|path| path.exists());
    let path = ca_file.or_else(system).ok_or("there are no roots of the system; say ca_file")?;
    let text = read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let certificates = CertificateDer::pem_slice_iter(&text).filter_map(Result::ok);
    let mut roots = RootCertStore::empty();
    // A system may trust certificates that rustls cannot read.
    let (added, _) = roots.add_parsable_certificates(certificates);
    if added == 0 {
        return Err(format!("{}: no certificate in it can be a root", path.display()));
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has every suite of the default versions");
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path)?.take(MAX_FILE_BYTES).read_to_end(&mut text)?;
    Ok(text)
}
