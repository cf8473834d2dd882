//! Listeners: the accept loop of all of them, and `GET /metrics`, read only.

use std::convert::Infallible;
use std::error::Error as StdError;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::header::{ACCEPT, CONTENT_TYPE};
use hyper::service::{Service, service_fn};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::Error;
use crate::core::exposition::{Format, encode};
use crate::core::registry::Registry;

/// What scrapers are allowed.
const METRICS: Limits = Limits { connections: 32, lifetime: Duration::from_secs(600) };
/// How long a request head may take.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long requests that are under way may take to finish when listening ends.
const LAST_REQUESTS: Duration = Duration::from_secs(2);

/// Binds an address.
pub(crate) async fn bind(listener: &'static str, address: &str) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|source| Error::Listen {
        listener,
        address: address.to_owned(),
        source,
    })
}

/// The address that a listener got.
pub(crate) fn local_address(
    name: &'static str,
    asked: &str,
    listener: &TcpListener,
) -> Result<SocketAddr, Error> {
    let failed = |source| Error::Listen { listener: name, address: asked.to_owned(), source };
    listener.local_addr().map_err(failed)
}

/// What a listener allows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// How many clients may be connected at once; more wait.
    pub(crate) connections: usize,
    /// How long a connection may last.
    pub(crate) lifetime: Duration,
}

/// Serves a registry's `/metrics` until it is told to stop.
pub(crate) async fn serve_metrics(
    listener: TcpListener,
    registry: Registry,
    stop: watch::Receiver<bool>,
) {
    let answer = service_fn(move |request: Request<Incoming>| {
        let response = respond(&request, &registry);
        async { Ok::<_, Infallible>(response) }
    });
    serve(listener, METRICS, answer, stop).await;
}

/// Serves until it is told to stop; then lets requests that are under way finish, for a moment.
/// When it returns, no connection is left, whatever clients do.
pub(crate) async fn serve<S, B>(
    listener: TcpListener,
    limits: Limits,
    service: S,
    stop: watch::Receiver<bool>,
) where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<Box<dyn StdError + Send + Sync>>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    let permits = Arc::new(Semaphore::new(limits.connections));
    let mut connections = JoinSet::new();
    let accept = async {
        loop {
            let permit = permits.clone().acquire_owned().await;
            while connections.try_join_next().is_some() {}
            // An accept that fails is the client's loss, or the system is out of descriptors for now.
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            let (service, stop) = (service.clone(), stop.clone());
            connections.spawn(async move {
                let _permit = permit;
                let _ = timeout(limits.lifetime, connection(stream, service, stop)).await;
            });
        }
    };
    let mut stopped = stop.clone();
    tokio::select! {
        () = accept => {}
        _ = stopped.wait_for(|stop| *stop) => {}
    }
    drop(listener);
    let finish = async { while connections.join_next().await.is_some() {} };
    let _ = timeout(LAST_REQUESTS, finish).await;
    connections.shutdown().await;
}

async fn connection<S, B>(stream: TcpStream, service: S, mut stop: watch::Receiver<bool>)
where
    S: Service<Request<Incoming>, Response = Response<B>>,
    S::Error: Into<Box<dyn StdError + Send + Sync>>,
    B: Body + 'static,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    let mut served = pin!(served);
    tokio::select! {
        _ = served.as_mut() => return,
        _ = stop.wait_for(|stop| *stop) => {}
    }
    served.as_mut().graceful_shutdown();
    let _ = served.await;
}

fn respond<B>(request: &Request<B>, registry: &Registry) -> Response<Full<Bytes>> {
    let plain = |status, text: &'static str| {
        let mut response = Response::new(Full::from(text));
        *response.status_mut() = status;
        response
    };
    if request.uri().path() != "/metrics" {
        return plain(StatusCode::NOT_FOUND, "there is only /metrics here\n");
    }
    if request.method() != Method::GET {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "/metrics takes GET\n");
    }
    let accept = request.headers().get(ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let format = Format::accepted(accept);
    let mut response = Response::new(Full::from(encode(&registry.snapshot(), format)));
    let content_type = hyper::header::HeaderValue::from_static(format.content_type());
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}
