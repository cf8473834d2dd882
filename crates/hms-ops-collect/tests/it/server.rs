//! Targets on loopback that answer as a test says.

use std::future::Future;
use std::io::Write;
use std::net::SocketAddr;

use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Accepts connections until the runtime ends, and lets `answer` do with each what it wants once
/// the request's head has come.
pub(crate) async fn serve<F>(answer: impl Fn(TcpStream, String) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let head = read_head(&mut stream).await;
            tokio::spawn(answer(stream, head));
        }
    });
    address
}

/// Serves the same bytes on every connection.
pub(crate) async fn serve_bytes(answer: Vec<u8>) -> SocketAddr {
    serve(move |stream, _| send(stream, answer.clone())).await
}

/// Sends everything, then closes.
pub(crate) async fn send(mut stream: TcpStream, bytes: Vec<u8>) {
    let _ = stream.write_all(&bytes).await;
    let _ = stream.shutdown().await;
    until_closed(stream).await;
}

/// Waits until the other side closes.
pub(crate) async fn until_closed(mut stream: TcpStream) {
    let mut rest = [0; 1024];
    while stream.read(&mut rest).await.is_ok_and(|read| read > 0) {}
}

pub(crate) fn ok(headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\n{headers}content-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

pub(crate) fn text(body: &str) -> Vec<u8> {
    ok("content-type: text/plain; version=0.0.4\r\n", body.as_bytes())
}

pub(crate) fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).unwrap()
}
