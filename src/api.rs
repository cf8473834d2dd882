//! Prometheus' API beside the page: queries, and what else of this engine has a place in it.
//!
//! Source: <https://prometheus.io/docs/prometheus/latest/querying/api/>.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hms_ops_promql::http::{Api, Failure, Form, Kind};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, SemaphorePermit};

mod rules;
mod secrets;
mod targets;

use crate::core::exposition::{Format, encode};
use crate::core::labels::{Labels, NAME};
use crate::core::time::TimeRange;
use crate::ops::Shown;

/// The release of Prometheus whose API this is, for those who choose by that what they ask.
const COMPATIBLE: &str = "3.14.0";
/// How far back a series must have reported to be counted in `status/tsdb`.
const RECENT: Duration = Duration::from_secs(3600);
/// Rows of a table in `status/tsdb`, unless more are asked for; and at most.
const ROWS: (usize, usize) = (10, 10_000);

/// What the routes share.
struct Shared {
    shown: Arc<Shown>,
    /// Counting every series is work for one at a time.
    counting: Semaphore,
}

impl Shared {
    fn counting(&self) -> Result<SemaphorePermit<'_>, Failure> {
        let busy = "series are being counted already; ask again later";
        self.counting.try_acquire().map_err(|_| Failure::new(Kind::Unavailable, busy))
    }
}

/// The routes: those over any store, and those that need this engine.
pub(crate) fn router(shown: &Arc<Shown>) -> Router {
    let store = Api::new(shown.queries.clone(), shown.store.clone())
        .metadata(shown.metadata.clone())
        .clock(shown.clock.clone());
    let shared = Arc::new(Shared { shown: shown.clone(), counting: Semaphore::new(1) });
    Router::new()
        .route("/api/v1/rules", get(rules::rules))
        .route("/api/v1/alerts", get(rules::alerts))
        .route("/api/v1/targets", get(targets::targets))
        .route("/api/v1/targets/metadata", get(targets::metadata))
        .route("/api/v1/scrape_pools", get(targets::pools))
        .route("/api/v1/alertmanagers", get(alertmanagers))
        .route("/api/v1/status/buildinfo", get(build_info))
        .route("/api/v1/status/runtimeinfo", get(runtime_info))
        .route("/api/v1/status/config", get(config))
        .route("/api/v1/status/flags", get(flags))
        .route("/api/v1/status/tsdb", get(tsdb))
        .route("/metrics", get(metrics))
        .with_state(shared)
        .merge(store.router())
}

type Answer = Result<Response, Failure>;

fn success(data: Value) -> Answer {
    let body = json!({ "status": "success", "data": data }).to_string();
    Ok(([(CONTENT_TYPE, "application/json")], body).into_response())
}

/// Label sets are objects here.
fn object(labels: &Labels) -> Value {
    labels.iter().map(|(name, value)| (name.to_owned(), Value::from(value))).collect()
}

async fn alertmanagers() -> Answer {
    success(json!({ "activeAlertmanagers": [], "droppedAlertmanagers": [] }))
}

/// Names the release of Prometheus that is spoken here, and then what speaks it.
async fn build_info() -> Answer {
    success(json!({
        "version": COMPATIBLE,
        "revision": "",
        "branch": "",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
        "application": concat!("hms-ops ", env!("CARGO_PKG_VERSION")),
    }))
}

async fn runtime_info(State(shared): State<Arc<Shared>>) -> Answer {
    let (shown, loaded) = (&shared.shown, shared.shown.reloader.last());
    let folder = std::env::current_dir().map(|folder| folder.display().to_string());
    success(json!({
        "startTime": shown.started.to_string(),
        "CWD": folder.unwrap_or_default(),
        "serverTime": shown.clock.now().to_string(),
        "reloadConfigSuccess": loaded.well,
        "lastConfigTime": loaded.at.to_string(),
        "corruptionCount": shown.store.stats().await.damaged,
        "GOMAXPROCS": available_parallelism().map_or(1, NonZero::get),
        "storageRetention": shown.retention,
    }))
}

async fn config(State(shared): State<Arc<Shared>>) -> Answer {
    success(json!({ "yaml": secrets::yaml(&shared.shown.reloader.last().text) }))
}

/// The flags of Prometheus that have a meaning here, with what is in force.
async fn flags(State(shared): State<Arc<Shared>>) -> Answer {
    let shown = &shared.shown;
    let limits = &shown.query_limits;
    success(json!({
        "config.file": shown.config_name,
        "query.lookback-delta": targets::seconds(limits.lookback),
        "query.max-concurrency": limits.at_once.to_string(),
        "query.max-samples": limits.samples.to_string(),
        "query.timeout": targets::seconds(limits.timeout),
        "storage.tsdb.retention.time": shown.retention,
        "web.enable-lifecycle": shown.may_reload.to_string(),
        "web.enable-remote-write-receiver": "true",
    }))
}

/// Counts series by name, and values by label, of the series that have reported within the hour.
async fn tsdb(State(shared): State<Arc<Shared>>, form: Form) -> Answer {
    let rows = match form.get("limit") {
        "" => ROWS.0,
        text => match text.parse() {
            Ok(rows) if (1..=ROWS.1).contains(&rows) => rows,
            _ => return Err(Failure::invalid("limit", "limit must be a positive number")),
        },
    };
    let _one = shared.counting()?;
    let range = TimeRange::last(RECENT, shared.shown.clock.now());
    let series = shared.shown.store.series(&[], range).await?;
    let counted = tokio::task::spawn_blocking(move || Cardinality::of(&series)).await;
    let counted = counted.map_err(|_| Failure::new(Kind::Internal, "counting series failed"))?;
    success(json!({
        "headStats": {
            "numSeries": counted.series,
            "numLabelPairs": counted.pairs.len(),
            "minTime": range.start.as_millis(),
            "maxTime": range.end.as_millis(),
        },
        "seriesCountByMetricName": largest(counted.names, rows),
        "labelValueCountByLabelName": largest(counted.values, rows),
        "memoryInBytesByLabelName": largest(counted.bytes, rows),
        "seriesCountByLabelValuePair": largest(counted.pairs, rows),
    }))
}

/// How many there are of what.
#[derive(Default)]
struct Cardinality {
    series: usize,
    names: BTreeMap<String, usize>,
    values: BTreeMap<String, usize>,
    bytes: BTreeMap<String, usize>,
    pairs: BTreeMap<String, usize>,
}

impl Cardinality {
    fn of(series: &[Labels]) -> Self {
        let mut pairs: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        for pair in series.iter().flat_map(Labels::iter) {
            *pairs.entry(pair).or_default() += 1;
        }
        let mut all = Self { series: series.len(), ..Self::default() };
        for ((name, value), count) in pairs {
            if name == NAME {
                all.names.insert(value.to_owned(), count);
            }
            *all.values.entry(name.to_owned()).or_default() += 1;
            *all.bytes.entry(name.to_owned()).or_default() += value.len();
            all.pairs.insert(format!("{name}={value}"), count);
        }
        all
    }
}

/// The rows with the largest numbers, in the order of those.
fn largest(counts: BTreeMap<String, usize>, rows: usize) -> Value {
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts.truncate(rows);
    counts.into_iter().map(|(name, value)| json!({ "name": name, "value": value })).collect()
}

/// The metrics of this process, as at the listener of their own.
async fn metrics(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> impl IntoResponse {
    let accept = headers.get(ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let format = Format::accepted(accept);
    let text = encode(&shared.shown.registry.snapshot(), format);
    ([(CONTENT_TYPE, format.content_type())], text)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;
    use crate::Ops;
    use crate::core::registry::Registry;

    /// Also in a build that has no page.
    #[tokio::test]
    async fn the_admin_listener_has_the_api_and_takes_samples_whether_there_is_a_page_or_not() {
        let builder = Ops::builder().registry(Registry::new()).admin("127.0.0.1:0");
        let ops = builder.start().await.unwrap();
        let address = ops.admin_address().unwrap();
        for (asked, status) in [
            ("GET /api/v1/query?query=1", "200"),
            ("GET /api/v1/parse_query?query=up", "200"),
            ("GET /api/v1/status/buildinfo", "200"),
            ("GET /-/ready", "200"),
            ("POST /-/reload", "403"),
            // They are there, and take no empty body of no kind.
            ("POST /api/v1/write", "4"),
            ("POST /api/v1/otlp/v1/metrics", "4"),
        ] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let head = format!("{asked} HTTP/1.0\r\nhost: {address}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            let line = answer.lines().next().unwrap();
            assert!(line.starts_with(&format!("HTTP/1.0 {status}")), "{asked}: {line}");
            assert!(!line.contains("404"), "{asked}: {line}");
        }
        ops.shutdown(Duration::ZERO).await.unwrap();
    }

    #[test]
    fn series_are_counted_by_name_and_by_label() {
        let series = ["a", "b"].map(|x| Labels::metric("up").with("x", x).with("job", "j"));
        let counted = Cardinality::of(&series);
        assert_eq!(largest(counted.names, 1), json!([{ "name": "up", "value": 2 }]));
        assert_eq!(
            largest(counted.values, 2),
            json!([{ "name": "x", "value": 2 }, { "name": "__name__", "value": 1 }])
        );
        assert_eq!(
            largest(counted.pairs, 2),
            json!([{ "name": "__name__=up", "value": 2 }, { "name": "job=j", "value": 2 }])
        );
    }
}
