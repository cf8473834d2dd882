//! One check: a connection of its own, a request, and the status of the answer.

use bytes::Bytes;
use http::header::{CONNECTION, HOST, HeaderValue, USER_AGENT};
use http::{Request, Uri};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::router::Endpoint;

/// Asks once. The error is a sentence; there is no deadline here. Cancel safe.
pub(super) async fn probe(endpoint: &Endpoint, path: &str) -> Result<(), String> {
    let stream = TcpStream::connect((&*endpoint.host, endpoint.port))
        .await
        .map_err(|error| format!("cannot connect: {error}"))?;
    let broken = |error: hyper::Error| format!("no answer: {error}");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.uri_mut() = path.parse::<Uri>().map_err(|error| format!("bad path: {error}"))?;
    let headers = request.headers_mut();
    headers.insert(HOST, endpoint.authority.clone());
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    let agent = concat!("hms-ops/", env!("CARGO_PKG_VERSION"), " (health check)");
    headers.insert(USER_AGENT, HeaderValue::from_static(agent));
    let answer = sender.send_request(request);
    tokio::pin!(answer, connection);
    let response = tokio::select! {
        biased;
        response = &mut answer => response,
        // Its end reaches the answer too: a response, or why there is none.
        _ = &mut connection => answer.await,
    };
    let status = response.map_err(broken)?.status();
    if status.is_success() { Ok(()) } else { Err(format!("answered {}", status.as_u16())) }
}
