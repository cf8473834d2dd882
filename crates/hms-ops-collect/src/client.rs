//! HTTP/1.1 exchanges with bounds on everything that the other side decides.

use std::convert::Infallible;
use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;
use std::pin::Pin;
use std::str::FromStr;

use bytes::Bytes;
use flate2::write::GzDecoder;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{
    CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION,
};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

mod access;
#[cfg(feature = "remote-store")]
mod pool;
#[cfg(feature = "tls")]
mod tls;
#[cfg(not(feature = "tls"))]
#[path = "client/tls/absent.rs"]
mod tls;

#[cfg_attr(
    not(feature = "prometheus-config"),
    allow(unused_imports, reason = "a file says so")
)]
pub(crate) use self::access::{Access, Credentials, Secret, TlsOptions, read_bounded};
#[cfg(feature = "remote-store")]
pub(crate) use self::pool::Pool;
use self::tls::Connector;

const MAX_HEADERS: usize = 100;
const MAX_HEAD_BYTES: usize = 64 << 10;
const SNAPPY: &str = "snappy";

/// Where to connect and what to ask for: `http://host:port/path`, or `https`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Endpoint {
    url: String,
    uri: Uri,
}

/// Why an exchange failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each message explains its fields")]
pub enum ClientError {
    /// Nothing was sent.
    #[error("{url:?} is not of the form http://host:port/path")]
    Url { url: String },

    /// Nothing was sent.
    #[error("{url:?} asks for TLS, which needs the feature `tls`")]
    Tls { url: String },

    /// Nothing was sent; the URL is not shown.
    #[error("a URL may not carry credentials")]
    Credentials,

    /// Nothing was sent; they are not shown.
    #[error("the credentials have characters that no header may have")]
    Unsendable,

    /// The address does not resolve or nobody listens.
    #[error("cannot connect to {authority}")]
    Connect { authority: String, source: io::Error },

    /// There is no trust to be had, or what is to be shown to the other side cannot be used.
    #[error("{path}: {reason}", path = path.display())]
    Certificate { path: PathBuf, reason: String },

    /// The other side did not show that it is who it should be, or wants proof that it was not given.
    #[error("no TLS with {host}")]
    Handshake { host: String, source: io::Error },

    /// What is to be shown to the other side cannot be read.
    #[error("cannot read {path}", path = path.display())]
    Secret { path: PathBuf, source: io::Error },

    /// The connection broke, or what came is not HTTP/1.1 with a head of sensible size.
    #[error("the exchange broke off")]
    Broken { source: hyper::Error },

    /// The answer is not a success.
    #[error("answered {status}")]
    Status { status: StatusCode },

    /// The answer points elsewhere.
    #[error("answered {status}, redirects are not followed")]
    Redirect { status: StatusCode, location: Option<String> },

    /// The answer points elsewhere, again and again.
    #[error("answered {status} after {limit} redirects")]
    Redirects { status: StatusCode, limit: usize },

    /// The body is in an encoding that was not asked for.
    #[error("content encoding {encoding:?} was not asked for")]
    Encoding { encoding: String },

    /// The body does not inflate.
    #[error("the body is not valid gzip")]
    Gzip { source: io::Error },

    /// The body is longer than the limit, as sent or inflated.
    #[error("the body has more than {limit} bytes")]
    TooLong { limit: usize },
}

/// A successful answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) content_type: String,
    pub(crate) body: Vec<u8>,
}

/// Any answer.
#[derive(Debug)]
pub(crate) struct Reply {
    #[cfg_attr(not(feature = "remote-store"), expect(dead_code, reason = "only it takes others"))]
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Endpoint {
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// `host:port`, or `host` alone where the URL has no port.
    pub(crate) fn authority(&self) -> &str {
        self.uri.authority().map_or("", |authority| authority.as_str())
    }

    pub(crate) fn has_no_path(&self) -> bool {
        self.uri.path_and_query().is_none_or(|path| path.as_str() == "/")
    }

    /// A request for this endpoint that closes its connection.
    pub(crate) fn request(&self, body: Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body));
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        *request.uri_mut() = path.parse().unwrap_or_default();
        let headers = request.headers_mut();
        if let Ok(host) = HeaderValue::from_str(self.authority()) {
            headers.insert(HOST, host);
        }
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        request
    }

    /// Sends `request` and reads the answer, of which at most `limit` bytes are held.
    ///
    /// Cancel safe: dropped, it closes the connection. It has no deadline of its own.
    pub(crate) async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
        limit: usize,
    ) -> Result<Answer, ClientError> {
        self.exchange_over(&Connector::default(), &TlsOptions::default(), request, limit).await
    }

    async fn exchange_over(
        &self,
        connector: &Connector,
        options: &TlsOptions,
        request: Request<Full<Bytes>>,
        limit: usize,
    ) -> Result<Answer, ClientError> {
        let mut connection = self.connect(connector, options).await?;
        let response = connection.send(request).await?;
        success(&response)?;
        let reply = connection.read(response, limit).await?;
        Ok(Answer { content_type: text(&reply.headers, CONTENT_TYPE), body: reply.body })
    }

    async fn connect(
        &self,
        connector: &Connector,
        options: &TlsOptions,
    ) -> Result<Connection, ClientError> {
        let host = self.uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let usual_port = if self.is_secure() { 443 } else { 80 };
        let address = (host, self.uri.port_u16().unwrap_or(usual_port));
        let failed = |source| {
            let authority = self.authority().to_owned();
            ClientError::Connect { authority, source }
        };
        let stream = TcpStream::connect(address).await.map_err(failed)?;
        // A head and its body may be two packets, of which neither should wait for the other.
        stream.set_nodelay(true).map_err(failed)?;
        if self.is_secure() {
            Connection::open(connector.connect(options, host, stream).await?).await
        } else {
            Connection::open(stream).await
        }
    }

    fn is_secure(&self) -> bool {
        self.uri.scheme_str() == Some("https")
    }

    /// Whether both are the same server, as far as their URLs say.
    fn is_at(&self, other: &Self) -> bool {
        self.is_secure() == other.is_secure() && self.authority() == other.authority()
    }

    /// Where `location`, a whole URL or a part of one, leads from here.
    fn join(&self, location: &str) -> Result<Self, ClientError> {
        let scheme = if self.is_secure() { "https" } else { "http" };
        let authority = self.authority();
        let path = self.uri.path();
        let folder = path.rfind('/').map_or("/", |end| &path[..=end]);
        let url = if location.contains("://") {
            location.to_owned()
        } else if let Some(elsewhere) = location.strip_prefix("//") {
            format!("{scheme}://{elsewhere}")
        } else if location.starts_with('/') {
            format!("{scheme}://{authority}{location}")
        } else if location.starts_with('?') {
            format!("{scheme}://{authority}{path}{location}")
        } else {
            format!("{scheme}://{authority}{folder}{location}")
        };
        url.parse()
    }
}

/// One connection; it moves only while something is asked of it.
struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    /// Its error reaches whoever asks, who may still have parts of a body to read.
    driver: Pin<Box<dyn Future<Output = Infallible> + Send>>,
}

impl Connection {
    async fn open(
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    ) -> Result<Self, ClientError> {
        let (sender, connection) = http1::Builder::new()
            .max_headers(MAX_HEADERS)
            .max_header_size(MAX_HEAD_BYTES)
            .max_buf_size(MAX_HEAD_BYTES)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(broken)?;
        let driver = async {
            let _ = connection.await;
            std::future::pending().await
        };
        Ok(Self { sender, driver: Box::pin(driver) })
    }

    /// Sends `request` and waits for the head of its answer.
    async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, ClientError> {
        tokio::select! {
            response = self.sender.send_request(request) => response.map_err(broken),
            never = &mut self.driver => match never {},
        }
    }

    /// Reads the rest of an answer.
    async fn read(
        &mut self,
        response: Response<Incoming>,
        limit: usize,
    ) -> Result<Reply, ClientError> {
        tokio::select! {
            reply = read(response, limit) => reply,
            never = &mut self.driver => match never {},
        }
    }

    /// Whether it takes another request.
    #[cfg_attr(not(feature = "remote-store"), expect(dead_code, reason = "only its pool asks"))]
    async fn is_free(&mut self) -> bool {
        // So that it sees the end of the last answer, and whether the other side closes.
        tokio::select! {
            biased;
            never = &mut self.driver => match never {},
            () = std::future::ready(()) => self.sender.is_ready(),
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

impl FromStr for Endpoint {
    type Err = ClientError;

    fn from_str(url: &str) -> Result<Self, ClientError> {
        let bad = || ClientError::Url { url: url.to_owned() };
        // They would be shown with every status.
        if url.contains('@') {
            return Err(ClientError::Credentials);
        }
        let uri: Uri = url.parse().map_err(|_| bad())?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") if tls::SUPPORTED => {}
            Some("https") => return Err(ClientError::Tls { url: url.to_owned() }),
            _ => return Err(bad()),
        }
        if uri.host().is_none_or(str::is_empty) {
            return Err(bad());
        }
        Ok(Self { url: url.to_owned(), uri })
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.url, f)
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> String {
    let value = headers.get(name).map(HeaderValue::as_bytes).unwrap_or_default();
    String::from_utf8_lossy(value).into_owned()
}

/// Lets an answer pass that has what was asked for.
fn success(response: &Response<Incoming>) -> Result<(), ClientError> {
    let (status, encoding) = (response.status(), text(response.headers(), CONTENT_ENCODING));
    if status.is_redirection() {
        let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        return Err(ClientError::Redirect { status, location: location.map(str::to_owned) });
    }
    match status {
        _ if !status.is_success() => Err(ClientError::Status { status }),
        _ if encoding == SNAPPY => Err(ClientError::Encoding { encoding }),
        _ => Ok(()),
    }
}

/// Reads the rest of an answer. What is said about a failure is cut at the limit: its status counts.
async fn read(response: Response<Incoming>, limit: usize) -> Result<Reply, ClientError> {
    let (head, mut body) = response.into_parts();
    let failed = !head.status.is_success();
    let encoding = text(&head.headers, CONTENT_ENCODING);
    let mut sink = match encoding.to_ascii_lowercase().as_str() {
        "" | "identity" | SNAPPY => Sink::Plain(Bounded::new(limit)),
        "gzip" => Sink::Gzip(Box::new(GzDecoder::new(Bounded::new(limit)))),
        _ => return Err(ClientError::Encoding { encoding }),
    };
    let mut received = 0;
    while let Some(frame) = body.frame().await {
        let Ok(mut data) = frame.map_err(broken)?.into_data() else { continue };
        if failed && matches!(sink, Sink::Plain(_)) && data.len() > limit - received {
            data.truncate(limit - received);
            sink.write(&data)?;
            break;
        }
        received += data.len();
        if received > limit {
            return Err(ClientError::TooLong { limit });
        }
        sink.write(&data)?;
    }
    Ok(Reply { status: head.status, headers: head.headers, body: sink.finish()? })
}

/// Inflates what somebody sent.
///
/// # Errors
///
/// [`ClientError::Gzip`], and [`ClientError::TooLong`] beyond `limit` bytes.
#[allow(dead_code, reason = "only routes take compressed bodies")]
pub(crate) fn gunzip(body: &[u8], limit: usize) -> Result<Vec<u8>, ClientError> {
    let mut sink = Sink::Gzip(Box::new(GzDecoder::new(Bounded::new(limit))));
    sink.write(body)?;
    sink.finish()
}

fn broken(source: hyper::Error) -> ClientError {
    ClientError::Broken { source }
}

/// Takes a body as it comes.
enum Sink {
    Plain(Bounded),
    Gzip(Box<GzDecoder<Bounded>>),
}

impl Sink {
    fn write(&mut self, data: &[u8]) -> Result<(), ClientError> {
        match self {
            Self::Plain(bounded) => {
                bounded.write_all(data).map_err(|_| ClientError::TooLong { limit: bounded.limit })
            }
            Self::Gzip(decoder) => {
                let result = decoder.write_all(data);
                result.map_err(|source| decoder.get_ref().blame(source))
            }
        }
    }

    fn finish(self) -> Result<Vec<u8>, ClientError> {
        match self {
            Self::Plain(bounded) => Ok(bounded.bytes),
            Self::Gzip(mut decoder) => {
                let result = decoder.try_finish();
                result.map_err(|source| decoder.get_ref().blame(source))?;
                let bounded = decoder.finish().map_err(|source| ClientError::Gzip { source })?;
                Ok(bounded.bytes)
            }
        }
    }
}

/// Bytes up to a limit; beyond it, writing fails.
struct Bounded {
    bytes: Vec<u8>,
    limit: usize,
    exceeded: bool,
}

impl Bounded {
    fn new(limit: usize) -> Self {
        Self { bytes: Vec::new(), limit, exceeded: false }
    }

    /// What an error of the decoder above is due to.
    fn blame(&self, source: io::Error) -> ClientError {
        if self.exceeded {
            ClientError::TooLong { limit: self.limit }
        } else {
            ClientError::Gzip { source }
        }
    }
}

impl Write for Bounded {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + data.len() > self.limit {
            self.exceeded = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let needed = self.bytes.len() + data.len();
        if needed > self.bytes.capacity() {
            // Doubles like `Vec`, but never past the limit.
            let capacity = needed.max(2 * self.bytes.capacity()).min(self.limit);
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
        self.bytes.extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An error and its causes in one line.
pub(crate) fn in_one_line(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line = format!("{line}: {error}");
        cause = error.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_http_urls_are_taken() {
        for (url, reason) in [
            ("ftp://a/", "is not of the form http://host:port/path"),
            ("/metrics", "is not of the form"),
            ("a:9100", "is not of the form"),
            ("http://user:secret@a/", "a URL may not carry credentials"),
            ("http://a b/", "is not of the form"),
        ] {
            let error = url.parse::<Endpoint>().unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn a_redirect_leads_on_from_where_it_was_given() {
        let from: Endpoint = "http://a:1/x/y?z=1".parse().unwrap();
        for (location, url) in [
            ("http://b/q", "http://b/q"),
            ("//b/q", "http://b/q"),
            ("/q?r", "http://a:1/q?r"),
            ("q", "http://a:1/x/q"),
            ("?r", "http://a:1/x/y?r"),
        ] {
            assert_eq!(from.join(location).unwrap().url(), url);
        }
        assert!(from.join("ftp://b/").is_err());
        assert!(from.is_at(&from.join("/q").unwrap()));
        assert!(!from.is_at(&from.join("//a:2/").unwrap()));
    }

    #[test]
    fn a_request_asks_for_the_path_and_names_the_host() {
        let endpoint: Endpoint = "http://[::1]:9100/metrics?full=1".parse().unwrap();
        let request = endpoint.request(Bytes::new());
        assert_eq!(request.uri(), "/metrics?full=1");
        assert_eq!(request.headers()[HOST], "[::1]:9100");
        assert_eq!(endpoint.authority(), "[::1]:9100");
    }
}
