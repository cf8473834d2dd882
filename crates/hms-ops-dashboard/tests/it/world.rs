//! A dashboard over stores in memory, with a clock that stands still, and a reader of its streams.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use hms_ops_core::alert::{AlertHealth, AlertState, AlertStatus, Fingerprint};
use hms_ops_core::clock::{Clock, ManualClock};
use hms_ops_core::labels::Labels;
use hms_ops_core::ledger::{Event, Journal, MemoryLedger};
use hms_ops_core::metric::Budget;
use hms_ops_core::sample::Value;
use hms_ops_core::store::{MemoryStore, StoreExt};
use hms_ops_core::time::Timestamp;
use hms_ops_dashboard::{Dashboard, DashboardBuilder};
use http_body_util::BodyExt;
use serde_json::Value as Json;
use tower::ServiceExt;

pub(crate) const SERVICE: &str = "eligibility-svc";
/// When the tests begin.
pub(crate) const BEGIN: i64 = 1_764_000_000;

pub(crate) struct World {
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) journal: Journal,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) dashboard: Dashboard,
    pub(crate) router: Router,
}

impl World {
    /// A dashboard of one service, whose latency has a budget of 300 ms.
    pub(crate) async fn new() -> Self {
        Self::with(|builder| builder).await
    }

    pub(crate) async fn with(more: impl FnOnce(DashboardBuilder) -> DashboardBuilder) -> Self {
        let store = Arc::new(MemoryStore::new());
        let clock = Arc::new(ManualClock::at(second(0)));
        let ledger = Arc::new(MemoryLedger::new(clock.clone()));
        let journal = Journal::open(ledger.clone(), clock.clone(), "engine", Duration::MAX);
        let builder = Dashboard::builder(store.clone(), ledger)
            .clock(clock.clone())
            .services(|| vec![SERVICE.into(), "claims".into()])
            .budgets(|| vec![("eligibility.latency_ms".into(), Budget::new(300.0))])
            .version("0.1.0-test");
        let dashboard = more(builder).start();
        let (journal, router) = (journal.await.unwrap().unwrap(), dashboard.router());
        Self { store, journal, clock, dashboard, router }
    }

    /// Writes a second of 20 events of 50 ms at most, and moves the clock there.
    pub(crate) async fn write_second(&self, at: i64) {
        for suffix in ["count", "bucket{le=100}", "bucket{le=+Inf}"] {
            self.write(suffix, at, (at * 20) as f64).await;
        }
        self.clock.set(second(at));
    }

    pub(crate) async fn write(&self, suffix: &str, at: i64, value: f64) {
        let (suffix, le) = suffix.split_once("{le=").unwrap_or((suffix, ""));
        let labels = Labels::metric(&format!("eligibility_latency_ms_{suffix}"))
            .with("service", SERVICE)
            .with("cluster", "cluster-a")
            .with("le", le.trim_end_matches('}'));
        self.store.append_one(&labels, second(at), Value::Float(value)).await.unwrap();
    }

    pub(crate) async fn tell(&self, event: Event) {
        self.journal.write("engine", event).await.unwrap();
    }

    /// An alert of `service` changes to `firing`.
    pub(crate) async fn fire(&self, service: Option<&str>) {
        let name = "eligibility.latency_ms";
        let labels = Labels::empty().with("service", service.unwrap_or_default());
        let alert = AlertStatus {
            name: name.into(),
            fingerprint: Fingerprint::of(name, &labels),
            service: service.map(Into::into),
            labels,
            state: AlertState::Firing { since: self.clock.now() },
            health: AlertHealth::Ok,
            value: Some(412.3),
            threshold: Some(300.0),
            summary: "mean over 60 s is 412 ms, budget 300 ms".into(),
        };
        self.tell(Event::Transition { from: "pending".into(), alert }).await;
    }

    pub(crate) async fn get(&self, path: &str) -> Response<Body> {
        self.request(Request::get(path)).await
    }

    pub(crate) async fn request(&self, request: axum::http::request::Builder) -> Response<Body> {
        self.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    }

    pub(crate) async fn json(&self, path: &str) -> (StatusCode, Json) {
        let response = self.get(path).await;
        assert_eq!(response.headers()["content-type"], "application/json");
        (response.status(), serde_json::from_str(&text(response).await).unwrap())
    }

    pub(crate) async fn stream(&self) -> Stream {
        Stream::of(self.get(&format!("/api/stream?service={SERVICE}")).await)
    }
}

pub(crate) async fn text(response: Response<Body>) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

pub(crate) fn second(second: i64) -> Timestamp {
    Timestamp::from_millis((BEGIN + second) * 1000)
}

/// Reads server-sent events.
pub(crate) struct Stream {
    body: Body,
    text: String,
}

impl Stream {
    pub(crate) fn of(response: Response<Body>) -> Self {
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { body: response.into_body(), text: String::new() }
    }

    /// The next event with its data, a comment as `(":", null)`, or `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<(String, Json)> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.text = rest;
                let Some(event) = event.strip_prefix("event: ") else {
                    assert_eq!(event, ":");
                    return Some((event, Json::Null));
                };
                let (name, data) = event.split_once("\ndata: ").expect("data follows the name");
                return Some((name.to_owned(), serde_json::from_str(data).unwrap()));
            }
            let data = self.body.frame().await?.unwrap().into_data().unwrap();
            self.text.push_str(std::str::from_utf8(&data).unwrap());
        }
    }

    /// The data of the next event with this name, past all others.
    pub(crate) async fn until(&mut self, name: &str) -> Json {
        loop {
            match self.next().await {
                Some((found, data)) if found == name => return data,
                Some(_) => {}
                None => panic!("the stream ended before {name}"),
            }
        }
    }
}
