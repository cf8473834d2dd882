//! Scraping over TLS.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use hms_ops_collect::discovery::Discovery;
use hms_ops_collect::scrape_config::ScrapeConfig;
use hms_ops_core::store::MemoryStore;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use crate::scrape::clock;
use crate::server::text;

pub(crate) type Authority = CertifiedIssuer<'static, KeyPair>;

pub(crate) fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate and its key, as PEM.
fn certificate(authority: &Authority, name: &str, usage: ExtendedKeyUsagePurpose) -> [String; 2] {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.extended_key_usages = vec![usage];
    let key = KeyPair::generate().unwrap();
    [params.signed_by(&key, authority).unwrap().pem(), key.serialize_pem()]
}

/// Accepts as `name`, by a certificate of `authority`, those who show a certificate of `clients`, if
/// there is one.
pub(crate) fn acceptor(
    authority: &Authority,
    name: &str,
    clients: Option<&Authority>,
) -> TlsAcceptor {
    let [cert, key] = certificate(authority, name, ExtendedKeyUsagePurpose::ServerAuth);
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(clients) => {
            let mut roots = RootCertStore::empty();
            roots.add(clients.der().clone()).unwrap();
            let roots = Arc::new(roots);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let chain = vec![CertificateDer::from_pem_slice(cert.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    TlsAcceptor::from(Arc::new(builder.with_single_cert(chain, key).unwrap()))
}

/// Serves metrics as `name` to those who show a certificate of `clients`, if there is one, and the
/// password `p` of `u`.
async fn serve_tls(authority: &Authority, name: &str, clients: Option<&Authority>) -> SocketAddr {
    let acceptor = acceptor(authority, name, clients);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            // It fails when the other side does not trust this one.
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                match stream.read_u8().await {
                    Ok(byte) => head.push(byte),
                    Err(_) => break,
                }
            }
            let known = String::from_utf8(head).unwrap().contains("authorization: Basic dTpw\r\n");
            let refused = b"HTTP/1.1 401 Who\r\ncontent-length: 0\r\n\r\n".to_vec();
            let answer = if known { text("m 1\n") } else { refused };
            let _ = stream.write_all(&answer).await;
            let _ = stream.shutdown().await;
        }
    });
    address
}

/// What a scrape says against the target, with these keys beside.
async fn scrape(folder: &Path, target: SocketAddr, keys: &str) -> Option<String> {
    let text = format!(
        "scrape_configs: [{{job_name: j, scheme: https, scrape_interval: 100y, \
         static_configs: [{{targets: ['{target}']}}], {keys}}}]"
    );
    let name = folder.join("p.yml").display().to_string();
    let config = ScrapeConfig::parse(&name, &text).unwrap();
    let discovery = Discovery::start(&config, Arc::new(MemoryStore::new()), clock());
    discovery.changes().wait_for(|count| *count > 0).await.unwrap();
    let status = discovery.scraper().scrape_now(|_| true).await.remove(0);
    assert_eq!(status.url, format!("https://{target}/metrics"));
    discovery.shutdown().await;
    status.last_error
}

#[tokio::test]
async fn a_target_is_trusted_by_the_authority_that_the_job_names_and_sees_the_password() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, other) = (authority(), authority());
    let target = serve_tls(&ours, "127.0.0.1", None).await;
    let file = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    file("ca.pem", &ours.pem());
    file("other.pem", &other.pem());
    file("empty.pem", "nothing\n");
    file("password", "p\n");
    let auth = "basic_auth: {username: u, password_file: password}";
    let scrape = async |keys: &str| scrape(folder.path(), target, keys).await;

    let trusted = "tls_config: {ca_file: ca.pem}";
    assert_eq!(scrape(&format!("{auth}, {trusted}")).await, None);
    assert_eq!(scrape(trusted).await.as_deref(), Some("answered 401 Unauthorized"));
    let skipped = "tls_config: {insecure_skip_verify: true}";
    assert_eq!(scrape(&format!("{auth}, {skipped}")).await, None);
    for distrusted in [
        "tls_config: {ca_file: other.pem}",
        "tls_config: {ca_file: ca.pem, server_name: somebody.else}",
    ] {
        let error = scrape(&format!("{auth}, {distrusted}")).await.unwrap();
        assert!(error.starts_with("no TLS with 127.0.0.1: invalid peer certificate"), "{error}");
    }
    let empty = folder.path().join("empty.pem").display().to_string();
    let error = scrape("tls_config: {ca_file: empty.pem}").await;
    assert_eq!(error, Some(format!("{empty}: there is no certificate in it")));
}

#[tokio::test]
async fn a_name_and_a_certificate_of_our_own_may_be_said() {
    let folder = tempfile::tempdir().unwrap();
    let ours = authority();
    let target = serve_tls(&ours, "metrics.internal", Some(&ours)).await;
    let [cert, key] = certificate(&ours, "hms", ExtendedKeyUsagePurpose::ClientAuth);
    for (name, text) in [("ca.pem", &ours.pem()), ("c.pem", &cert), ("k.pem", &key)] {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let keys = |more: &str| {
        format!(
            "basic_auth: {{username: u, password: p}}, \
             tls_config: {{ca_file: ca.pem, server_name: metrics.internal{more}}}"
        )
    };
    assert_eq!(
        scrape(folder.path(), target, &keys(", cert_file: c.pem, key_file: k.pem")).await,
        None
    );
    assert!(scrape(folder.path(), target, &keys("")).await.is_some());
}
