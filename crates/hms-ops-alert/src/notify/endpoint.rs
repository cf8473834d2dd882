//! Where a receiver listens: one HTTP/1.1 exchange with it, and what its answer means.
//!
//! Source: RFC 9110, sections 5.6.7, 10.2.3 and 15.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hms_ops_core::clock::{Clock, SystemClock};
use hms_ops_core::notify::{Receipt, SendError};
use hms_ops_core::time::Timestamp;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderMap, RETRY_AFTER};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

#[cfg(not(feature = "tls"))]
#[path = "endpoint/no_tls.rs"]
mod tls;
#[cfg(feature = "tls")]
mod tls;

/// How long one try may take.
const TIMEOUT: Duration = Duration::from_secs(15);
/// How long the explanation of a refusal is waited for, and how much of it is kept.
const EXPLAINED_WITHIN: Duration = Duration::from_secs(2);
const MAX_EXPLANATION: usize = 300;
const MAX_BODY: usize = 1 << 20;
const MAX_HEADERS: usize = 100;
const MAX_HEAD_BYTES: usize = 64 << 10;

/// The URL of a receiver, whom it trusts, and the clock by which tries are stamped.
///
/// A URL may be a secret, as Slack's are: what is printed is its host alone.
///
/// ```
/// use hms_ops_alert::notify::Endpoint;
///
/// let endpoint = Endpoint::new("http://hooks.example.org/T0/B0/secret")?;
/// assert_eq!(endpoint.to_string(), "http://hooks.example.org/…");
/// # Ok::<(), hms_ops_alert::notify::EndpointError>(())
/// ```
#[derive(Clone)]
pub struct Endpoint {
    uri: Uri,
    ca_file: Option<PathBuf>,
    clock: Arc<dyn Clock>,
}

/// Why nothing can be posted to a URL, which is not repeated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each message explains its fields")]
pub enum EndpointError {
    /// It is not a URL, or not one of HTTP.
    #[error("the URL is not of the form https://host:port/path: {reason}")]
    Url { reason: &'static str },

    /// It would be shown wherever the host is.
    #[error("the URL may not carry a user or a password")]
    Credentials,

    /// This build has no TLS.
    #[error("a URL with https needs the feature `tls`")]
    Tls,
}

impl Endpoint {
    /// Takes `http` URLs, and `https` ones with the feature `tls`.
    ///
    /// # Errors
    ///
    /// [`EndpointError`].
    pub fn new(url: &str) -> Result<Self, EndpointError> {
        let bad = |reason| EndpointError::Url { reason };
        let uri: Uri = url.trim().parse().map_err(|_| bad("it is not a URL"))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") if tls::SUPPORTED => {}
            Some("https") => return Err(EndpointError::Tls),
            _ => return Err(bad("the scheme is another")),
        }
        if uri.host().is_none_or(str::is_empty) {
            return Err(bad("it has no host"));
        }
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(EndpointError::Credentials);
        }
        Ok(Self { uri, ca_file: None, clock: Arc::new(SystemClock) })
    }

    /// Trusts the certificates of this file, instead of those that the system trusts.
    #[must_use]
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.ca_file = Some(path.into());
        self
    }

    /// Stamps each try by `clock`; receivers refuse what is too old.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(super) fn path(&self) -> &str {
        self.uri.path()
    }

    /// The same server at another path, without a query.
    pub(super) fn at(self, path: &str) -> Result<Self, EndpointError> {
        let mut parts = self.uri.into_parts();
        let path = path.parse().map_err(|_| EndpointError::Url { reason: "its path is broken" })?;
        parts.path_and_query = Some(path);
        let uri = Uri::from_parts(parts);
        let uri = uri.map_err(|_| EndpointError::Url { reason: "its path is broken" })?;
        Ok(Self { uri, ..self })
    }

    /// Posts a JSON body. 2xx is delivered; 410 ends the receiver; 408, 429, 5xx and no answer may be
    /// tried again; all else is final. Redirects are not followed.
    ///
    /// Cancel safe: dropped, it closes the connection.
    pub(super) async fn post(
        &self,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<Receipt, SendError> {
        if body.len() > MAX_BODY {
            let reason = format!("the message has {} bytes, more than {MAX_BODY}", body.len());
            return Err(SendError::Permanent { reason });
        }
        let target = self.uri.path_and_query().map_or("/", |path| path.as_str());
        let authority = self.uri.authority().map_or("", |authority| authority.as_str());
        let mut request = Request::post(target)
            .header(HOST, authority)
            .header(CONNECTION, "close")
            .header(CONTENT_TYPE, "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::from(body)));
        let request = request.map_err(|e| SendError::Permanent { reason: e.to_string() })?;
        match timeout(TIMEOUT, self.exchange(request)).await {
            Ok(Ok(answer)) => self.judge(answer),
            Ok(Err(reason)) => {
                Err(SendError::Retry { reason: format!("{self}: {reason}"), after: None })
            }
            Err(_) => {
                let reason = format!("{self}: no answer within {TIMEOUT:?}");
                Err(SendError::Retry { reason, after: None })
            }
        }
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Answer, String> {
        let host = self.uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let secure = self.uri.scheme_str() == Some("https");
        let port = self.uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let stream = TcpStream::connect((host, port)).await.map_err(|e| e.to_string())?;
        stream.set_nodelay(true).map_err(|e| e.to_string())?;
        if secure {
            let stream = tls::connect(self.ca_file.clone(), host, stream).await?;
            talk(stream, request).await
        } else {
            talk(stream, request).await
        }
    }

    fn judge(&self, answer: Answer) -> Result<Receipt, SendError> {
        let Answer { status, headers, explanation } = answer;
        if status.is_success() {
            return Ok(Receipt(status.to_string()));
        }
        // It may repeat what it was asked for.
        let secret = self.uri.path();
        let explanation = match secret.len() {
            0 | 1 => explanation,
            _ => explanation.replace(secret, "/…"),
        };
        let mut reason = format!("{self} answered {status}");
        if !explanation.is_empty() {
            reason = format!("{reason}: {explanation}");
        }
        match status {
            StatusCode::GONE => Err(SendError::Gone { reason }),
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
                Err(SendError::Retry { reason, after: retry_after(&headers, self.now()) })
            }
            _ if status.is_server_error() => {
                Err(SendError::Retry { reason, after: retry_after(&headers, self.now()) })
            }
            _ => Err(SendError::Permanent { reason }),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.uri.scheme_str().unwrap_or_default();
        let authority = self.uri.authority().map_or("", |authority| authority.as_str());
        write!(f, "{scheme}://{authority}/…")
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    /// The beginning of a refusal's body, in one line.
    explanation: String,
}

async fn talk(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Request<Full<Bytes>>,
) -> Result<Answer, String> {
    let (mut sender, connection) = http1::Builder::new()
        .max_headers(MAX_HEADERS)
        .max_header_size(MAX_HEAD_BYTES)
        .max_buf_size(MAX_HEAD_BYTES)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|e| e.to_string())?;
    let asked = async {
        let response = sender.send_request(request).await.map_err(|e| e.to_string())?;
        Ok(explained(response).await)
    };
    // The connection is driven here, so that nothing is left running when this is dropped.
    let mut asked = std::pin::pin!(asked);
    tokio::select! {
        answer = &mut asked => answer,
        _ = connection => asked.await,
    }
}

async fn explained(response: Response<Incoming>) -> Answer {
    let (head, mut body) = response.into_parts();
    let mut text = Vec::new();
    if !head.status.is_success()
        && let Ok(Some(Ok(frame))) = timeout(EXPLAINED_WITHIN, body.frame()).await
        && let Ok(data) = frame.into_data()
    {
        text.extend_from_slice(&data[..data.len().min(MAX_EXPLANATION)]);
    }
    let text = String::from_utf8_lossy(&text).replace(char::is_control, " ");
    Answer { status: head.status, headers: head.headers, explanation: text.trim().to_owned() }
}

/// Seconds, or the instant until which to wait.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let seconds = value.parse().ok().map(Duration::from_secs);
    seconds.or_else(|| http_date(value).map(|until| until.since(now)))
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`, the one form that is still sent.
fn http_date(text: &str) -> Option<Timestamp> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut parts = text.split_once(", ")?.1.split(' ');
    let [day, month, year, time] = std::array::from_fn(|_| parts.next().unwrap_or_default());
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    format!("{year}-{month:02}-{day}T{time}Z").parse().ok()
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn a_url_that_cannot_be_posted_to_is_refused_and_not_repeated() {
        for url in
            ["ftp://x/hidden", "/hidden", "x:1/hidden", "http://me:hidden@x/", "http:///hidden"]
        {
            let error = Endpoint::new(url).unwrap_err().to_string();
            assert!(!error.contains("hidden"), "{error}");
        }
        let endpoint = Endpoint::new("http://x:1/hidden?hidden").unwrap();
        assert_eq!(format!("{endpoint:?}"), "http://x:1/…");
    }

    #[test]
    fn a_receiver_says_in_seconds_or_by_a_date_when_to_try_again() {
        let now: Timestamp = "1994-11-06T08:49:00Z".parse().unwrap();
        for (value, expected) in [
            ("7", Some(7)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(37)),
            ("Sun, 06 Nov 1994 08:48:00 GMT", Some(0)),
            ("Sun, 99 Nov 1994 08:49:37 GMT", None),
            ("soon", None),
            ("-1", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_static(value));
            assert_eq!(retry_after(&headers, now), expected.map(Duration::from_secs), "{value}");
        }
    }

    #[test]
    fn an_explanation_that_repeats_a_secret_path_does_not_show_it() {
        let endpoint = Endpoint::new("http://hooks/T0/B0/hidden").unwrap();
        let explanation = "no such hook: /T0/B0/hidden".to_owned();
        let status = StatusCode::NOT_FOUND;
        let error = endpoint.judge(Answer { status, headers: HeaderMap::new(), explanation });
        let error = error.unwrap_err().to_string();
        assert!(error.ends_with("answered 404 Not Found: no such hook: /…"), "{error}");
    }
}
