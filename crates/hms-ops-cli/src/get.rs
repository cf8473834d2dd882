//! A GET request with a deadline and a bound on the answer.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONNECTION, HOST, HeaderValue};
use hyper::{Request, Response, StatusCode, Uri, body::Incoming};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The longest answer that is read.
const MAX_BYTES: usize = 4 << 20;
const PATIENCE: Duration = Duration::from_secs(5);

/// How to ask: how long an answer may take, and be, and who asks.
#[derive(Clone, Debug)]
pub(crate) struct Asking {
    pub(crate) patience: Duration,
    pub(crate) bytes: usize,
    /// Marked as sensitive, so that it is never shown.
    pub(crate) authorization: Option<HeaderValue>,
}

impl Default for Asking {
    fn default() -> Self {
        Self { patience: PATIENCE, bytes: MAX_BYTES, authorization: None }
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: String,
}

/// Asks for `url`, of the form `http://host:port/path`.
pub(crate) async fn get(url: &str) -> Result<Answer> {
    get_as(url, Asking::default()).await
}

/// As [`get`], in another way.
pub(crate) async fn get_as(url: &str, asking: Asking) -> Result<Answer> {
    let Asking { patience, bytes, authorization } = asking;
    let asked = async {
        let response = ask(url, authorization).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), bytes).collect().await;
        let body = body.map_err(|e| anyhow::anyhow!(e)).context("the answer broke off")?;
        let body = String::from_utf8_lossy(&body.to_bytes()).into_owned();
        Ok(Answer { status, body })
    };
    timeout(patience, asked)
        .await
        .with_context(|| format!("{url} did not answer in {patience:?}"))?
}

/// As [`get`]; an answer that is not a success is an error.
pub(crate) async fn get_ok(url: &str) -> Result<String> {
    let Answer { status, body } = get(url).await?;
    if !status.is_success() {
        bail!("{url} answered {status}: {}", body.trim());
    }
    Ok(body)
}

/// Waits until the event stream at `url` has sent `wanted`, then hangs up.
pub(crate) async fn wait_for_event(url: &str, wanted: &str) -> Result<()> {
    let heard = async {
        let response = ask(url, None).await?;
        let status = response.status();
        if !status.is_success() {
            bail!("{url} answered {status}");
        }
        let mut body = response.into_body();
        let mut text = String::new();
        let line = format!("event: {wanted}\n");
        while let Some(frame) = body.frame().await {
            let frame = frame.context("the stream broke off")?;
            text.push_str(&String::from_utf8_lossy(frame.data_ref().unwrap_or(&Bytes::new())));
            if text.contains(&line) {
                return Ok(());
            }
            if text.len() > MAX_BYTES {
                break;
            }
        }
        bail!("{url} ended without the event {wanted:?}")
    };
    timeout(PATIENCE, heard).await.with_context(|| format!("{url} sent no event {wanted:?}"))?
}

/// A value in the query of a URL (RFC 3986, section 2.3: what stays as it is).
pub(crate) fn encoded(value: &str) -> String {
    let stays = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    let encode = |b: u8| match stays(b) {
        true => char::from(b).to_string(),
        false => format!("%{b:02X}"),
    };
    value.bytes().map(encode).collect()
}

async fn ask(url: &str, authorization: Option<HeaderValue>) -> Result<Response<Incoming>> {
    let uri: Uri = url.parse().with_context(|| format!("{url:?} is not a URL"))?;
    let Some(authority) = uri.authority().filter(|_| uri.scheme_str() == Some("http")) else {
        bail!("{url:?} is not of the form http://host:port/path");
    };
    let host = authority.host().trim_matches(['[', ']']);
    let stream = TcpStream::connect((host, authority.port_u16().unwrap_or(80)));
    let stream = stream.await.with_context(|| format!("cannot connect to {authority}"))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Its error reaches the request; it ends when the answer is dropped.
    tokio::spawn(async { drop(connection.await) });
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::get(path).header(HOST, authority.as_str()).header(CONNECTION, "close");
    let mut request = request.body(Empty::<Bytes>::new())?;
    if let Some(authorization) = authorization {
        request.headers_mut().insert(AUTHORIZATION, authorization);
    }
    sender.send_request(request).await.with_context(|| format!("{authority} did not answer"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_a_url_is_encoded() {
        assert_eq!(encoded("eligibility-svc"), "eligibility-svc");
        assert_eq!(encoded("a b&ü"), "a%20b%26%C3%BC");
    }
}
