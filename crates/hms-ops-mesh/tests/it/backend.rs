//! A cluster for tests: an HTTP server on loopback that counts what it answers; and a client.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

pub(crate) type TestBody = BoxBody<Bytes, Infallible>;

/// Killed with all its connections when dropped.
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    served: Arc<AtomicU64>,
    tasks: JoinSet<()>,
}

impl Backend {
    /// Answers every request with `handler`; an error closes the connection without an answer.
    pub(crate) async fn start<H, F>(handler: H) -> Self
    where
        H: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Response<TestBody>, &'static str>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = Arc::new(AtomicU64::new(0));
        let (handler, counter) = (Arc::new(handler), served.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (handler, counter) = (handler.clone(), counter.clone());
                let service = service_fn(move |request| {
                    let (answer, counter) = (handler(request), counter.clone());
                    async move {
                        let answer = answer.await;
                        counter.fetch_add(1, Ordering::SeqCst);
                        answer
                    }
                });
                let _ = stream.set_nodelay(true);
                let http = hyper::server::conn::http1::Builder::new();
                let connection = http.serve_connection(TokioIo::new(stream), service);
                connections.spawn(async move { drop(connection.await) });
            }
        });
        Self { address, served, tasks }
    }

    /// Answers every request with its name.
    pub(crate) async fn named(name: &'static str) -> Self {
        Self::start(move |_| async move { Ok(text(StatusCode::OK, name)) }).await
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn served(&self) -> u64 {
        self.served.load(Ordering::SeqCst)
    }

    pub(crate) async fn kill(mut self) {
        self.tasks.shutdown().await;
    }
}

/// An address where nobody listens.
pub(crate) async fn nowhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

pub(crate) fn text(status: StatusCode, text: &'static str) -> Response<TestBody> {
    let mut response = Response::new(Full::from(text).boxed());
    *response.status_mut() = status;
    response
}

/// A connection to `address` on which requests can be sent.
pub(crate) async fn connect<B>(address: SocketAddr) -> SendRequest<B>
where
    B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
{
    let stream = TcpStream::connect(address).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(async { drop(connection.await) });
    sender
}

pub(crate) fn request(method: &str, path: &str) -> http::request::Builder {
    Request::builder().method(method).uri(path).header("host", "eligibility.test")
}

/// Sends a request without a body on a connection of its own.
pub(crate) async fn send(
    address: SocketAddr,
    request: http::request::Builder,
) -> Response<Incoming> {
    send_body(address, request, "").await
}

pub(crate) async fn send_body(
    address: SocketAddr,
    request: http::request::Builder,
    body: &'static str,
) -> Response<Incoming> {
    let mut sender = connect(address).await;
    let request = request.body(Full::<Bytes>::from(body)).unwrap();
    soon(sender.send_request(request)).await.unwrap()
}

pub(crate) async fn body(response: Response<Incoming>) -> String {
    let bytes = soon(response.into_body().collect()).await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Sends these bytes and reads until the other side closes.
pub(crate) async fn raw(address: SocketAddr, bytes: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = soon(stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// Fails the test instead of hanging it.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("it takes too long")
}

/// Waits until `check` holds, letting other tasks run in between.
pub(crate) async fn until(mut check: impl AsyncFnMut() -> bool) {
    soon(async {
        while !check().await {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
