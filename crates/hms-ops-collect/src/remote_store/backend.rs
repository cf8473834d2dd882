//! What the backend is asked over HTTP, and what its answers mean.
//!
//! Source: *Prometheus Remote-Write Specification 1.0*; "HTTP API" and "Remote read API" of the
//! Prometheus documentation.

use std::fmt::{self, Write as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hms_ops_core::clock::Stopwatch;
use hms_ops_core::labels::{Labels, NAME};
use hms_ops_core::matcher::Matcher;
use hms_ops_core::query::Answer;
use hms_ops_core::sample::{Exemplar, Sample, Value};
use hms_ops_core::time::{TimeRange, Timestamp};
use http_body_util::Full;
use hyper::header::{
    CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
};
use hyper::{Method, Request, StatusCode};
use serde_json::Value as Json;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::wire::{self, TimeSeries, WireError};
use super::{RemoteOptions, answer};
use crate::client::{
    self, Access, ClientError, Endpoint, Pool, Reply, Secret, TlsOptions, in_one_line,
};

/// An answer to a write says little.
const MAX_SAID: usize = 64 << 10;
/// Characters of what the backend says that are repeated in an error.
const SAID: usize = 200;
/// Queries at once, as many answers being held; more wait.
const QUERIES: usize = 16;
/// How long one that said nothing is not asked by those who can do without it.
const SILENCE: Duration = Duration::from_secs(2);
/// Begins a line.
const BORN: &str = "process_start_time_seconds ";
/// The last time that every query API takes, in the year 2262; the first is the epoch.
const LAST: i64 = i64::MAX / 1_000_000;

/// Why the backend did not answer, or what it refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each message explains its fields")]
pub enum RemoteError {
    /// It could not be reached, or broke off.
    #[error("{url}")]
    Exchange { url: String, source: ClientError },

    /// Nothing came in time.
    #[error("{url} did not answer within {limit:?}")]
    Timeout { url: String, limit: Duration },

    /// It answered with something else than a success.
    #[error("{url} answered {status}: {said}")]
    Refused { url: String, status: u16, said: String },

    /// What it answered cannot be read.
    #[error("{url} answered what cannot be read: {reason}")]
    Unreadable { url: String, reason: String },

    /// A header that no request can have; its value is not shown.
    #[error("header {name:?} has a name or a value that no header can have")]
    Header { name: String },

    /// The URL cannot be asked, or not with these credentials.
    #[error(transparent)]
    Client(#[from] ClientError),

    /// The queue on disk.
    #[error(transparent)]
    Queue(#[from] hms_ops_wal::log::LogError),
}

/// How the backend knows who asks. Secrets are in files, which are read for each request.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum Credentials {
    /// It does not ask.
    #[default]
    None,
    /// HTTP basic authentication.
    Basic {
        /// Who.
        user: String,
        /// The file with the password.
        password_file: PathBuf,
    },
    /// A bearer token.
    Bearer {
        /// The file with the token.
        token_file: PathBuf,
    },
}

impl Credentials {
    /// As the client knows them; their file must be there.
    fn checked(&self) -> Result<Option<client::Credentials>, RemoteError> {
        let known = match self {
            Self::None => return Ok(None),
            Self::Basic { user, password_file } => client::Credentials::Basic {
                username: user.clone(),
                password: Secret::File(password_file.clone()),
            },
            Self::Bearer { token_file } => client::Credentials::Token {
                kind: "Bearer".to_owned(),
                token: Secret::File(token_file.clone()),
            },
        };
        known.header()?;
        Ok(Some(known))
    }
}

/// What became of a write.
#[derive(Debug)]
pub(super) enum Fate {
    /// The backend has it.
    Taken,
    /// It never will take it as it is.
    Refused(RemoteError),
    /// It may take it later, not before the pause it asks for.
    Later(RemoteError, Option<Duration>),
    /// It is not there; what it took last may be lost.
    Gone(RemoteError),
}

pub(super) struct Backend {
    /// `http://host:port/prefix`, without a slash at its end.
    base: String,
    write: Endpoint,
    read: Endpoint,
    pub(super) pool: Pool,
    headers: HeaderMap,
    timeout: Duration,
    answer_bytes: usize,
    /// When it was last found to say nothing, if it has not answered since.
    silent: Mutex<Option<Stopwatch>>,
    /// Queries whose answers may be on their way at once.
    turns: Semaphore,
    /// Whether it has answered that it knows no remote read.
    queries_only: AtomicBool,
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Backend").field(&self.base).finish()
    }
}

impl Backend {
    pub(super) fn new(url: &str, options: &RemoteOptions) -> Result<Self, RemoteError> {
        let base = url.trim_end_matches('/').to_owned();
        let write = options.write_url.clone();
        let write = write.unwrap_or_else(|| format!("{base}/api/v1/write"));
        let mut all = HeaderMap::new();
        for (name, value) in &options.headers {
            let bad = || RemoteError::Header { name: name.clone() };
            let mut value = HeaderValue::from_str(value).map_err(|_| bad())?;
            value.set_sensitive(true);
            all.insert(HeaderName::try_from(name.as_str()).map_err(|_| bad())?, value);
        }
        let tls = TlsOptions { ca_file: options.ca_file.clone(), ..TlsOptions::default() };
        Ok(Self {
            write: write.parse()?,
            read: format!("{base}/api/v1/read").parse()?,
            base,
            pool: Pool::new(Access::new(options.credentials.checked()?, tls, false)),
            headers: all,
            timeout: options.timeout,
            answer_bytes: options.answer_bytes,
            silent: Mutex::default(),
            turns: Semaphore::new(QUERIES),
            queries_only: AtomicBool::new(false),
        })
    }

    /// Hands over the body of a write request.
    pub(super) async fn write(&self, body: &[u8]) -> Fate {
        let mut request = self.post(&self.write, wire::compress(body), "application/x-protobuf");
        let headers = request.headers_mut();
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("snappy"));
        let version = HeaderName::from_static("x-prometheus-remote-write-version");
        headers.insert(version, HeaderValue::from_static("0.1.0"));
        let reply = match self.ask(&self.write, request, MAX_SAID).await {
            Ok(reply) => reply,
            Err(
                error @ RemoteError::Exchange {
                    source: ClientError::Connect { .. } | ClientError::Broken { .. },
                    ..
                },
            ) => return Fate::Gone(error),
            Err(error) => return Fate::Later(error, None),
        };
        if reply.status.is_success() {
            return Fate::Taken;
        }
        let error = refused(&self.write, &reply);
        match reply.status {
            // The rest of 4xx is about who asks or where, which somebody can mend.
            StatusCode::BAD_REQUEST
            | StatusCode::CONFLICT
            | StatusCode::PAYLOAD_TOO_LARGE
            | StatusCode::UNPROCESSABLE_ENTITY => Fate::Refused(error),
            _ => Fate::Later(error, pause(&reply)),
        }
    }

    /// The samples in `range` of the series that all `matchers` accept, in no order.
    ///
    /// By remote read, and where the backend knows none (VictoriaMetrics), by an instant query of a
    /// range selector, which both answer with the samples as they are.
    pub(super) async fn select(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Vec<TimeSeries>, RemoteError> {
        if self.queries_only.load(Relaxed) {
            return self.select_by_query(matchers, range).await;
        }
        let body = wire::compress(&wire::read_request(matchers, range));
        let mut request = self.post(&self.read, body, "application/x-protobuf");
        let headers = request.headers_mut();
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("snappy"));
        let version = HeaderName::from_static("x-prometheus-remote-read-version");
        headers.insert(version, HeaderValue::from_static("0.1.0"));
        let reply = self.ask(&self.read, request, self.answer_bytes).await?;
        if reply.status.is_success() {
            let read = wire::inflate(&reply.body, self.answer_bytes)
                .and_then(|body| wire::read_read_response(&body));
            return read.map_err(|error: WireError| unreadable(&self.read, &error));
        }
        let error = refused(&self.read, &reply);
        let unknown = [400, 404, 405, 501].contains(&reply.status.as_u16());
        if !unknown {
            return Err(error);
        }
        // 400 may also be about the request; then the query is refused, too.
        let found = self.select_by_query(matchers, range).await.map_err(|_| error)?;
        self.queries_only.store(true, Relaxed);
        Ok(found)
    }

    async fn select_by_query(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Vec<TimeSeries>, RemoteError> {
        // A window is open at its start, in Prometheus 3.
        let length = near(range.end).since(near(range.start)).as_millis() + 1;
        let query = format!("{}[{length}ms]", selector(matchers));
        let time = seconds(range.end);
        let (answer, _) = self.query("query", &[("query", &query), ("time", &time)]).await?;
        // Of all NaNs such a backend keeps the staleness marker alone, and tells it as any NaN.
        let stale = |sample: &mut Sample| {
            if sample.value.as_float().is_some_and(f64::is_nan) {
                sample.value = Value::STALE;
            }
        };
        let series = |(labels, mut samples): (Labels, Vec<Sample>)| {
            samples.iter_mut().for_each(stale);
            TimeSeries { labels, samples, exemplars: Vec::new() }
        };
        Ok(answer.into_matrix().into_iter().map(series).collect())
    }

    /// Asks for the answer to a query, and whether nothing of it was left out.
    pub(super) async fn query(
        &self,
        path: &str,
        parameters: &[(&str, &str)],
    ) -> Result<(Answer, bool), RemoteError> {
        // Nobody closes it.
        let _turn = self.turns.acquire().await;
        let (endpoint, body) = self.fetch(path, parameters).await?;
        answer::read(&body).map_err(|error| unreadable(&endpoint, &error))
    }

    /// The series that the backend lists.
    pub(super) async fn series(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Vec<Labels>, RemoteError> {
        if !reachable(range) {
            return Ok(Vec::new());
        }
        let (endpoint, json) = self.list("series", Some(matchers), range).await?;
        let all =
            json["data"].as_array().and_then(|all| all.iter().map(labels).collect::<Option<_>>());
        all.ok_or_else(|| unreadable(&endpoint, &"no list of label sets"))
    }

    /// The label names, or the values of the label `of`, that the backend lists.
    pub(super) async fn labels(
        &self,
        of: Option<&str>,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Vec<String>, RemoteError> {
        if !reachable(range) {
            return Ok(Vec::new());
        }
        let path = match of {
            None => "labels".to_owned(),
            Some(name) => format!("label/{}/values", encoded(name)),
        };
        let matchers = Some(matchers).filter(|matchers| !matchers.is_empty());
        let (endpoint, json) = self.list(&path, matchers, range).await?;
        let texts = json["data"]
            .as_array()
            .map(|all| all.iter().filter_map(Json::as_str).map(str::to_owned).collect());
        texts.ok_or_else(|| unreadable(&endpoint, &"no list of texts"))
    }

    /// The exemplars that the backend has; none where it keeps none.
    pub(super) async fn exemplars(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Vec<(Labels, Vec<Exemplar>)>, RemoteError> {
        let (start, end) = (seconds(range.start), seconds(range.end));
        let query = selector(matchers);
        let parameters = [("query", &*query), ("start", &start), ("end", &end)];
        let (endpoint, json) = match self.get("query_exemplars", &parameters).await {
            Err(RemoteError::Refused { status: 404, .. }) => return Ok(Vec::new()),
            answer => answer?,
        };
        exemplars(&json["data"]).ok_or_else(|| unreadable(&endpoint, &"no list of exemplars"))
    }

    /// Whether it says that it is ready: at `/-/ready`, or else at `/health`.
    pub(super) async fn ready(&self) -> Result<(), RemoteError> {
        for path in ["/-/ready", "/health"] {
            let endpoint: Endpoint = format!("{}{path}", self.base).parse()?;
            let reply = self.ask(&endpoint, endpoint.request(Bytes::new()), MAX_SAID).await?;
            match reply.status {
                status if status.is_success() => return Ok(()),
                StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST if path == "/-/ready" => {}
                _ => return Err(refused(&endpoint, &reply)),
            }
        }
        Ok(())
    }

    /// When the process began that answers, in seconds since the epoch, if it tells: the metric of that
    /// name which all that is written with Prometheus's Go library expose.
    pub(super) async fn born(&self) -> Result<Option<f64>, RemoteError> {
        let endpoint: Endpoint = format!("{}/metrics", self.base).parse()?;
        let request = endpoint.request(Bytes::new());
        let reply = self.ask(&endpoint, request, self.answer_bytes).await?;
        if [502, 503, 504].contains(&reply.status.as_u16()) {
            return Err(refused(&endpoint, &reply));
        }
        let text = String::from_utf8_lossy(&reply.body);
        Ok(text.lines().find_map(|line| line.strip_prefix(BORN)?.trim().parse().ok()))
    }

    async fn list(
        &self,
        path: &str,
        matchers: Option<&[Matcher]>,
        range: TimeRange,
    ) -> Result<(Endpoint, Json), RemoteError> {
        let (start, end) = (seconds(range.start), seconds(range.end));
        let selector = matchers.map(selector);
        let mut parameters = vec![("start", &*start), ("end", &end)];
        parameters.extend(selector.as_deref().map(|selector| ("match[]", selector)));
        self.get(path, &parameters).await
    }

    /// Asks the query API.
    async fn get(
        &self,
        path: &str,
        parameters: &[(&str, &str)],
    ) -> Result<(Endpoint, Json), RemoteError> {
        let (endpoint, body) = self.fetch(path, parameters).await?;
        let answer = serde_json::from_slice(&body);
        let answer = answer.map_err(|error| unreadable(&endpoint, &error))?;
        Ok((endpoint, answer))
    }

    async fn fetch(
        &self,
        path: &str,
        parameters: &[(&str, &str)],
    ) -> Result<(Endpoint, Vec<u8>), RemoteError> {
        let mut text = String::new();
        for (name, value) in parameters {
            let between = if text.is_empty() { "" } else { "&" };
            let _ = write!(text, "{between}{}={}", encoded(name), encoded(value));
        }
        // As a form, which has room for long selectors; values of labels know only GET.
        let (endpoint, request): (Endpoint, _) = if path.starts_with("label/") {
            let endpoint: Endpoint = format!("{}/api/v1/{path}?{text}", self.base).parse()?;
            let request = endpoint.request(Bytes::new());
            (endpoint, request)
        } else {
            let endpoint: Endpoint = format!("{}/api/v1/{path}", self.base).parse()?;
            let request =
                self.post(&endpoint, text.into_bytes(), "application/x-www-form-urlencoded");
            (endpoint, request)
        };
        let reply = self.ask(&endpoint, request, self.answer_bytes).await?;
        if !reply.status.is_success() {
            return Err(refused(&endpoint, &reply));
        }
        Ok((endpoint, reply.body))
    }

    fn post(&self, to: &Endpoint, body: Vec<u8>, kind: &'static str) -> Request<Full<Bytes>> {
        let mut request = to.request(body.into());
        *request.method_mut() = Method::POST;
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        request
    }

    /// One exchange with who we are, within the time that it may take.
    async fn ask(
        &self,
        endpoint: &Endpoint,
        mut request: Request<Full<Bytes>>,
        limit: usize,
    ) -> Result<Reply, RemoteError> {
        request.headers_mut().extend(self.headers.clone());
        let url = || endpoint.url().to_owned();
        let asked = timeout(self.timeout, self.pool.round(endpoint, request, limit)).await;
        let asked = match asked {
            Err(_) => Err(RemoteError::Timeout { url: url(), limit: self.timeout }),
            Ok(asked) => asked.map_err(|source| RemoteError::Exchange { url: url(), source }),
        };
        self.note(asked.as_ref().is_err_and(RemoteError::is_silence));
        asked
    }

    fn note(&self, silent: bool) {
        let since = silent.then(Stopwatch::start);
        *self.silent.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    /// Whether it was found to say nothing a moment ago, and has not answered since.
    pub(super) fn is_silent(&self) -> bool {
        let silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        silent.as_ref().is_some_and(|since| since.elapsed() < SILENCE)
    }

    /// Says that somebody did not wait longer for it.
    pub(super) fn late(&self, limit: Duration) -> RemoteError {
        self.note(true);
        RemoteError::Timeout { url: self.base.clone(), limit }
    }
}

/// The pause that an answer asks for, in seconds; dates are not understood.
fn pause(reply: &Reply) -> Option<Duration> {
    let text = reply.headers.get(RETRY_AFTER)?.to_str().ok()?;
    Some(Duration::from_secs(text.trim().parse().ok()?))
}

fn refused(endpoint: &Endpoint, reply: &Reply) -> RemoteError {
    let json: Json = serde_json::from_slice(&reply.body).unwrap_or_default();
    let text = String::from_utf8_lossy(&reply.body);
    let said = json["error"].as_str().unwrap_or(text.trim());
    let said = said.chars().take(SAID).collect();
    RemoteError::Refused { url: endpoint.url().to_owned(), status: reply.status.as_u16(), said }
}

fn unreadable(endpoint: &Endpoint, reason: &dyn ToString) -> RemoteError {
    RemoteError::Unreadable { url: endpoint.url().to_owned(), reason: reason.to_string() }
}

impl RemoteError {
    /// It and its causes in one line.
    pub(super) fn in_one_line(&self) -> String {
        in_one_line(self)
    }

    /// Whether the backend could not be asked at all, so that it said nothing.
    pub(super) fn is_silence(&self) -> bool {
        matches!(
            self,
            Self::Timeout { .. }
                | Self::Exchange {
                    source: ClientError::Connect { .. } | ClientError::Broken { .. },
                    ..
                }
                | Self::Refused { status: 502..=504, .. }
        )
    }
}

/// Whether the query API can speak of a part of `range`.
fn reachable(range: TimeRange) -> bool {
    near(range.end) >= range.start && near(range.start) <= range.end
}

fn near(at: Timestamp) -> Timestamp {
    Timestamp::from_millis(at.as_millis().clamp(0, LAST))
}

/// Seconds with three places, as the API takes them.
pub(super) fn seconds(at: Timestamp) -> String {
    let millis = near(at).as_millis();
    format!("{}.{:03}", millis / 1000, millis % 1000)
}

/// `{a="b",…}`, which selects at least by a name: the API refuses what could select everything.
fn selector(matchers: &[Matcher]) -> String {
    let mut all: Vec<String> = matchers.iter().map(Matcher::to_string).collect();
    if matchers.iter().all(Matcher::matches_empty) {
        all.push(Matcher::not_equal(NAME, "").to_string());
    }
    format!("{{{}}}", all.join(","))
}

/// Percent-encoded but for what is never reserved: RFC 3986, 2.3.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

fn labels(json: &Json) -> Option<Labels> {
    let pairs = json.as_object()?.iter().map(|(name, value)| Some((&**name, value.as_str()?)));
    Some(Labels::from_pairs(pairs.collect::<Option<Vec<_>>>()?))
}

fn exemplars(data: &Json) -> Option<Vec<(Labels, Vec<Exemplar>)>> {
    let one = |one: &Json| {
        let all = one.get("exemplars")?.as_array()?.iter().map(|exemplar| {
            let value = exemplar.get("value")?.as_str()?.parse().ok()?;
            let (labels, at) =
                (labels(exemplar.get("labels")?)?, time(exemplar.get("timestamp")?)?);
            Some(Exemplar { labels, value, at })
        });
        Some((labels(one.get("seriesLabels")?)?, all.collect::<Option<_>>()?))
    };
    // Null where there is none.
    data.as_array().map_or(Some(Vec::new()), |all| all.iter().map(one).collect())
}

fn time(json: &Json) -> Option<Timestamp> {
    Some(Timestamp::from_millis((json.as_f64()? * 1000.0).round() as i64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_selects_by_something_and_is_escaped() {
        let matchers = [Matcher::equal("a", "x\"\\"), Matcher::not_regex("b", ".*").unwrap()];
        assert_eq!(selector(&matchers), r#"{a="x\"\\",b!~".*"}"#);
        let anything = [Matcher::equal("a", ""), Matcher::not_equal("b", "x")];
        assert_eq!(selector(&anything), r#"{a="",b!="x",__name__!=""}"#);
        assert_eq!(selector(&[]), r#"{__name__!=""}"#);
    }

    #[test]
    fn times_and_texts_are_written_as_the_api_reads_them() {
        let at = |millis| seconds(Timestamp::from_millis(millis));
        let times = [at(1500), at(-1), at(i64::MAX)];
        assert_eq!(times, ["1.500", "0.000", "9223372036.854"]);
        assert_eq!(encoded("a{b=~\"ö\"}"), "a%7Bb%3D~%22%C3%B6%22%7D");
    }

    #[test]
    fn a_backend_behind_tls_is_refused_by_name_in_a_build_without_it() {
        let opened = Backend::new("https://a:9090/", &RemoteOptions::default());
        let told = opened.err().map(|error| error.to_string());
        let refused = "\"https://a:9090/api/v1/write\" asks for TLS, which needs the feature `tls`";
        let expected = (!cfg!(feature = "tls")).then(|| refused.to_owned());
        assert_eq!(told, expected);
    }

    #[test]
    fn a_secret_that_cannot_be_read_or_sent_is_told_before_anything_is_asked() {
        let folder = tempfile::tempdir().unwrap();
        let token_file = folder.path().join("token");
        let told = || {
            let credentials = Credentials::Bearer { token_file: token_file.clone() };
            let options = RemoteOptions { credentials, ..RemoteOptions::default() };
            Backend::new("http://a", &options).unwrap_err().to_string()
        };
        assert_eq!(told(), format!("cannot read {}", token_file.display()));
        std::fs::write(&token_file, "a\nb").unwrap();
        assert_eq!(told(), "the credentials have characters that no header may have");
    }

    #[test]
    fn secrets_are_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "s3cret\n").unwrap();
        let known = |credentials: Credentials| credentials.checked().unwrap().unwrap();
        let credentials = Credentials::Bearer { token_file: file.clone() };
        assert_eq!(known(credentials).header().unwrap(), "Bearer s3cret");
        let basic = Credentials::Basic { user: "me".into(), password_file: file };
        assert_eq!(known(basic.clone()).header().unwrap(), "Basic bWU6czNjcmV0");
        let headers = vec![("X-Scope-OrgID".to_owned(), "s3cret".to_owned())];
        let options = RemoteOptions { credentials: basic, headers, ..RemoteOptions::default() };
        let backend = Backend::new("http://a", &options).unwrap();
        let shown = format!("{backend:?} {:?} {:?}", backend.headers, backend.pool);
        assert!(!shown.contains("s3cret") && !shown.contains("bWU6"), "{shown}");
    }
}
