//! The store on a backend behind TLS that wants to know who asks.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use hms_ops_collect::remote_store::{Credentials, RemoteMetrics, RemoteOptions, RemoteStore};
use hms_ops_core::labels::Labels;
use hms_ops_core::store::StoreExt;
use hms_ops_core::time::Timestamp;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};

use crate::tls::{Authority, acceptor, authority};

/// Takes every write of those who say `known`, refuses others, and counts the connections.
async fn serve(authority: &Authority, known: &'static str) -> (SocketAddr, Arc<AtomicUsize>) {
    let acceptor = acceptor(authority, "127.0.0.1", None);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, count) = (listener.local_addr().unwrap(), Arc::<AtomicUsize>::default());
    let counted = count.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            // It fails when the other side does not trust this one.
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            counted.fetch_add(1, SeqCst);
            let mut stream = BufReader::new(stream);
            tokio::spawn(async move { while answer(&mut stream, known).await.is_some() {} });
        }
    });
    (address, count)
}

async fn answer<S>(stream: &mut BufReader<S>, known: &str) -> Option<()>
where
    S: AsyncReadExt + AsyncWrite + Unpin,
{
    let (mut length, mut status) = (0, "401 Who");
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok().filter(|&read| read > 0)?;
        match line.trim() {
            "" => break,
            line if line == known => status = "204 Taken",
            line => {
                if let Some(text) = line.strip_prefix("content-length: ") {
                    length = text.parse().unwrap();
                }
            }
        }
    }
    stream.read_exact(&mut vec![0; length]).await.ok()?;
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
    stream.get_mut().write_all(head.as_bytes()).await.ok()?;
    stream.get_mut().flush().await.ok()
}

/// What the store says once a sample was taken, or was not.
async fn send(folder: &Path, to: SocketAddr, options: RemoteOptions) -> RemoteMetrics {
    let queue = tempfile::tempdir_in(folder).unwrap();
    let store = RemoteStore::open(&format!("https://{to}"), queue.path(), options).unwrap();
    for at in 0..10 {
        store.append_one(&Labels::metric("up"), Timestamp::from_millis(at), 1.0).await.unwrap();
        let told = async {
            while store.metrics().sent_samples <= at as u64 && store.metrics().retries == 0 {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(15), told).await.unwrap();
    }
    let metrics = store.metrics();
    store.close(Duration::ZERO).await;
    metrics
}

#[tokio::test]
async fn a_backend_behind_tls_is_trusted_by_its_authority_and_sees_the_token() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, other) = (authority(), authority());
    let file = |name: &str, text: &str| {
        fs::write(folder.path().join(name), text).unwrap();
        folder.path().join(name)
    };
    let [trusted, distrusted] = [file("ca.pem", &ours.pem()), file("other.pem", &other.pem())];
    let credentials = Credentials::Bearer { token_file: file("token", "sesame\n") };
    let options = |ca_file: &Path| RemoteOptions {
        credentials: credentials.clone(),
        ca_file: Some(ca_file.to_owned()),
        ..RemoteOptions::default()
    };
    let (backend, connections) = serve(&ours, "authorization: Bearer sesame").await;

    let sent = send(folder.path(), backend, options(&trusted)).await;
    assert_eq!((sent.sent_samples, sent.retries), (10, 0), "{sent:?}");
    assert_eq!(connections.load(SeqCst), 1);

    let failed = send(folder.path(), backend, options(&distrusted)).await;
    let why = failed.last_error.unwrap();
    assert_eq!((failed.sent_samples, failed.refused_samples), (0, 0));
    assert!(why.contains("no TLS with 127.0.0.1: invalid peer certificate"), "{why}");

    let unknown = send(
        folder.path(),
        backend,
        RemoteOptions { credentials: Credentials::None, ..options(&trusted) },
    );
    assert!(unknown.await.last_error.unwrap().contains("answered 401"));
}

#[tokio::test]
async fn a_token_that_was_changed_is_read_anew() {
    let folder = tempfile::tempdir().unwrap();
    let ours = authority();
    let (ca_file, token_file) = (folder.path().join("ca.pem"), folder.path().join("token"));
    fs::write(&ca_file, ours.pem()).unwrap();
    fs::write(&token_file, "old").unwrap();
    let (backend, _) = serve(&ours, "authorization: Basic bWU6bmV3").await;
    let credentials = Credentials::Basic { user: "me".into(), password_file: token_file.clone() };
    let options = RemoteOptions { credentials, ca_file: Some(ca_file), ..Default::default() };
    let queue = folder.path().join("queue");
    let store = RemoteStore::open(&format!("https://{backend}"), &queue, options).unwrap();
    store.append_one(&Labels::metric("up"), Timestamp::from_millis(1), 1.0).await.unwrap();
    while store.metrics().retries == 0 {
        sleep(Duration::from_millis(5)).await;
    }
    fs::write(&token_file, "new").unwrap();
    store.flush().await;
    assert_eq!(store.metrics().sent_samples, 1);
}
