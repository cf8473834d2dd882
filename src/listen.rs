//! The metrics listener: `GET /metrics`, read only.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ACCEPT, CONTENT_TYPE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::Error;
use crate::core::exposition::{Format, encode};
use crate::core::registry::Registry;

/// How many scrapers may be connected at once; more wait.
const MAX_CONNECTIONS: usize = 32;
/// How long a request head may take.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

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

/// Serves `/metrics` of a registry until it is told to stop.
pub(crate) async fn serve_metrics(
    listener: TcpListener,
    registry: Registry,
    mut stop: watch::Receiver<bool>,
) {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let permit = permits.clone().acquire_owned().await;
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        while connections.try_join_next().is_some() {}
        // An accept that fails is the client's loss, or the system is out of descriptors for now.
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let registry = registry.clone();
        connections.spawn(async move {
            let _permit = permit;
            let answer = service_fn(|request| {
                let response = respond(&request, &registry);
                async { Ok::<_, Infallible>(response) }
            });
            let served = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .serve_connection(TokioIo::new(stream), answer);
            let _ = served.await;
        });
    }
    connections.shutdown().await;
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
