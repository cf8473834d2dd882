//! Receivers behind `https`.

use std::sync::Arc;

use hms_ops_alert::notify::{Endpoint, SlackNotifier};
use hms_ops_core::notify::{Notifier, SendError};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use crate::hook::{about, body, firing, read_request};

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

#[tokio::test]
async fn a_receiver_behind_https_is_told_only_where_its_certificate_is_trusted() {
    let (own, foreign) = (authority(), authority());
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &own).unwrap().der().clone();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}/hook", listener.local_addr().unwrap().port());

    let folder = tempfile::tempdir().unwrap();
    let notifier = |authority: &CertifiedIssuer<'_, KeyPair>| {
        let path = folder.path().join("ca.pem");
        std::fs::write(&path, authority.pem()).unwrap();
        SlackNotifier::new("channel", Endpoint::new(&url).unwrap().ca_file(path))
    };
    let n = about(firing());

    let distrusting = notifier(&foreign);
    let (sent, accepted) = tokio::join!(distrusting.send(&n), async {
        acceptor.accept(listener.accept().await.unwrap().0).await
    });
    assert!(accepted.is_err());
    let Err(SendError::Retry { reason, .. }) = sent else { panic!("{sent:?}") };
    assert!(reason.contains("no TLS: "), "{reason}");

    let trusting = notifier(&own);
    let (sent, request) = tokio::join!(trusting.send(&n), async {
        let mut stream = acceptor.accept(listener.accept().await.unwrap().0).await.unwrap();
        let request = read_request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
        stream.shutdown().await.unwrap();
        request
    });
    assert_eq!(sent.unwrap().0, "200 OK");
    assert!(body(&request).contains("eligibility.latency_ms"), "{request}");
}
