//! TLS, by rustls: who is trusted, and what is shown to them.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{
    CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

use super::access::read_bounded;
use super::{ClientError, TlsOptions};

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

/// Connects by TLS; reads the files again once one has changed.
#[derive(Debug, Default)]
pub(super) struct Connector {
    known: Arc<Mutex<Known>>,
}

/// What was made of the files, and what these were then.
type Known = Option<(Vec<Stamp>, Arc<ClientConfig>)>;

/// By what a change of a file is noticed.
type Stamp = Option<(SystemTime, u64)>;

impl Connector {
    pub(super) async fn connect(
        &self,
        options: &TlsOptions,
        host: &str,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, ClientError> {
        let failed = |source| ClientError::Handshake { host: host.to_owned(), source };
        let (known, wanted) = (self.known.clone(), options.clone());
        // Files are read, which may take its time.
        let config = tokio::task::spawn_blocking(move || current(&known, &wanted));
        let config = config.await.map_err(|e| failed(io::Error::other(e)))??;
        let name = options.server_name.as_deref().unwrap_or(host).to_owned();
        let name = ServerName::try_from(name).map_err(|e| failed(io::Error::other(e)))?;
        TlsConnector::from(config).connect(name, stream).await.map_err(failed)
    }
}

fn current(known: &Mutex<Known>, options: &TlsOptions) -> Result<Arc<ClientConfig>, ClientError> {
    let identity = options.identity.iter().flat_map(|(cert, key)| [cert, key]);
    let stamps: Vec<Stamp> = options.ca_file.iter().chain(identity).map(|p| stamp(p)).collect();
    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, config)) = known.as_ref().filter(|(as_of, _)| *as_of == stamps) {
        return Ok(config.clone());
    }
    let config = Arc::new(configure(options)?);
    *known = Some((stamps, config.clone()));
    Ok(config)
}

fn stamp(path: &Path) -> Stamp {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

fn configure(options: &TlsOptions) -> Result<ClientConfig, ClientError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("ring has every suite of the default versions");
    let builder = if options.insecure_skip_verify {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider)))
    } else {
        builder.with_root_certificates(roots(options)?)
    };
    let Some((cert_file, key_file)) = &options.identity else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = certificates(cert_file)?;
    let key = PrivateKeyDer::from_pem_slice(read(key_file)?.as_bytes());
    let key = key.map_err(|e| unusable(key_file, &e))?;
    builder.with_client_auth_cert(chain, key).map_err(|e| unusable(cert_file, &e))
}

fn roots(options: &TlsOptions) -> Result<RootCertStore, ClientError> {
    let mut roots = RootCertStore::empty();
    let path = match &options.ca_file {
        Some(path) => path.clone(),
        None => {
            let exists = |path: &&&str| Path::new(path).exists();
            let Some(found) = SYSTEM_ROOTS.iter().find(exists) else {
                let path = PathBuf::from(SYSTEM_ROOTS[0]);
                let reason = "there are no roots of the system here; say ca_file".to_owned();
                return Err(ClientError::Certificate { path, reason });
            };
            PathBuf::from(found)
        }
    };
    // A system may trust certificates that rustls cannot read.
    let (added, _) = roots.add_parsable_certificates(certificates(&path)?);
    match added {
        0 => Err(unusable(&path, &"no certificate in it can be a root")),
        _ => Ok(roots),
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ClientError> {
    let text = read(path)?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    match read {
        Ok(found) if found.is_empty() => Err(unusable(path, &"there is no certificate in it")),
        Ok(found) => Ok(found),
        Err(error) => Err(unusable(path, &error)),
    }
}

fn read(path: &Path) -> Result<String, ClientError> {
    read_bounded(path, MAX_FILE_BYTES).map_err(|error| unusable(path, &error))
}

fn unusable(path: &Path, reason: &dyn std::fmt::Display) -> ClientError {
    ClientError::Certificate { path: path.to_owned(), reason: reason.to_string() }
}

/// Believes everybody, as `insecure_skip_verify` asks for.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
