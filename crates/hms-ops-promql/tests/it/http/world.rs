//! A store with a little history, an engine that answers what a test says, and requests.

use std::io::Read;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use flate2::read::GzDecoder;
use hms_ops_core::clock::ManualClock;
use hms_ops_core::labels::Labels;
use hms_ops_core::query::{Answer, QueryEngine, QueryError, QueryOptions};
use hms_ops_core::sample::{Exemplar, Value};
use hms_ops_core::store::{MemoryStore, Store};
use hms_ops_core::time::{TimeRange, Timestamp};
use hms_ops_promql::Engine;
use hms_ops_promql::http::Api;
use http_body_util::BodyExt;
use serde_json::Value as Json;
use tower::ServiceExt;

/// The newest sample's instant, in milliseconds; a quarter of an hour of history ends here.
pub(crate) const NOW: i64 = 1_700_000_000_000;

/// Two counters of two instances each, a sample every 15 s, one exemplar.
pub(crate) async fn store() -> Arc<dyn Store> {
    let store = MemoryStore::new();
    let mut appender = store.appender();
    for (name, instance, per_step) in [
        ("http_requests_total", "a:80", 3.0),
        ("http_requests_total", "b:80", 4.5),
        ("up", "a:80", 0.0),
        ("up", "b:80", 0.0),
    ] {
        let labels = Labels::metric(name).with("instance", instance).with("job", "web");
        let series = appender.series(&labels).unwrap();
        for step in 0..=60 {
            let at = Timestamp::from_millis(NOW - (60 - step) * 15_000);
            let value = if per_step == 0.0 { 1.0 } else { step as f64 * per_step };
            appender.append(series, at, Value::Float(value)).unwrap();
        }
        if (name, instance) == ("http_requests_total", "a:80") {
            let labels = Labels::from_pairs([("trace_id", "4bf92f3577b34da6")]);
            let at = Timestamp::from_millis(NOW - 100);
            appender.exemplar(series, Exemplar { labels, value: 0.25, at }).unwrap();
        }
    }
    appender.commit().await.unwrap();
    Arc::new(store)
}

/// The routes over [`store`] and an engine.
pub(crate) async fn world() -> Router {
    let store = store().await;
    api(Arc::new(Engine::new(store.clone())), store).router()
}

pub(crate) fn api(engine: Arc<dyn QueryEngine>, store: Arc<dyn Store>) -> Api {
    Api::new(engine, store).clock(Arc::new(ManualClock::at(Timestamp::from_millis(NOW))))
}

type Say = dyn FnMut() -> Result<Answer, QueryError> + Send;

/// Answers every query with what it is told, and remembers the last.
pub(crate) struct Says {
    say: Mutex<Box<Say>>,
    pub(crate) asked: Mutex<Option<(String, TimeRange, Duration, QueryOptions)>>,
}

impl Says {
    pub(crate) fn new(
        say: impl FnMut() -> Result<Answer, QueryError> + Send + 'static,
    ) -> Arc<Self> {
        Arc::new(Self { say: Mutex::new(Box::new(say)), asked: Mutex::default() })
    }
}

impl std::fmt::Debug for Says {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Says")
    }
}

#[async_trait]
impl QueryEngine for Says {
    async fn instant(
        &self,
        query: &str,
        at: Timestamp,
        options: &QueryOptions,
    ) -> Result<Answer, QueryError> {
        self.range(query, TimeRange::new(at, at), Duration::ZERO, options).await
    }

    async fn range(
        &self,
        query: &str,
        range: TimeRange,
        step: Duration,
        options: &QueryOptions,
    ) -> Result<Answer, QueryError> {
        *self.asked.lock().unwrap() = Some((query.to_owned(), range, step, *options));
        (self.say.lock().unwrap())()
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Got {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> Json {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {:?}", self.text()))
    }

    /// The `data` of a success.
    pub(crate) fn data(&self) -> Json {
        assert_eq!(self.status, StatusCode::OK, "{}", self.text());
        let mut json = self.json();
        assert_eq!(json["status"], "success");
        json["data"].take()
    }

    pub(crate) fn inflated(&self) -> String {
        let mut text = String::new();
        GzDecoder::new(&*self.body).read_to_string(&mut text).unwrap();
        text
    }
}

pub(crate) async fn send(routes: &Router, request: Request<Body>) -> Got {
    let response = routes.clone().oneshot(request).await.unwrap();
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes().to_vec();
    Got { status: head.status, headers: head.headers, body }
}

pub(crate) async fn get(routes: &Router, path: &str) -> Got {
    send(routes, Request::get(path).body(Body::empty()).unwrap()).await
}

/// Sends a form.
pub(crate) async fn post(routes: &Router, path: &str, form: &str) -> Got {
    let request = Request::post(path).header("content-type", "application/x-www-form-urlencoded");
    send(routes, request.body(form.to_owned().into()).unwrap()).await
}
