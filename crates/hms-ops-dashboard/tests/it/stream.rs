//! The event stream: what it begins with, what it tells, and when it ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use axum::http::StatusCode;
use hms_ops_core::clock::ManualClock;
use hms_ops_core::ledger::{Event, MemoryLedger};
use hms_ops_core::matcher::Matcher;
use hms_ops_core::mesh::{
    ClusterSnapshot, Health, MeshError, ShiftReport, ShiftRequest, Snapshot, TrafficControl,
};
use hms_ops_core::name::Service;
use hms_ops_core::runbook::ExecutionId;
use hms_ops_core::store::{
    Appender, MemoryStore, SelectHint, SeriesSet, Store, StoreError, StoreStats,
};
use hms_ops_core::time::TimeRange;
use hms_ops_dashboard::Dashboard;
use serde_json::{Value as Json, json};

use crate::world::{BEGIN, SERVICE, Stream, World, second, text};

#[tokio::test(start_paused = true)]
async fn a_stream_begins_with_all_that_is_known() {
    let world = World::new().await;
    for at in 0..=10 {
        world.write_second(at).await;
    }
    world.fire(Some(SERVICE)).await;
    let (name, hello) = world.stream().await.next().await.unwrap();

    assert_eq!(name, "hello");
    assert_eq!(hello["version"], "0.1.0-test");
    assert_eq!(hello["service"], SERVICE);
    assert_eq!(hello["now"], (BEGIN + 10) * 1000);
    assert_eq!(hello["step_ms"], 1000);
    assert_eq!(
        hello["signal"],
        json!({
            "source": "eligibility_latency_ms", "kind": "budget", "unit": "ms", "budget": 300.0,
            "explain": "a metric of this service with a budget",
        })
    );
    let points = hello["points"].as_array().unwrap();
    assert_eq!(points.len(), 900);
    assert_eq!(points[0], json!([(BEGIN - 889) * 1000, null, null, null, null]));
    assert_eq!(points[899], json!([(BEGIN + 10) * 1000, 50.0, 95.0, 20.0, null]));
    assert_eq!(
        hello["alerts"][0],
        json!({
            "name": "eligibility.latency_ms",
            "fingerprint": hello["alerts"][0]["fingerprint"],
            "state": "firing", "health": "ok", "since": (BEGIN + 10) * 1000, "value": 412.3,
            "threshold": 300.0, "unit": "ms",
            "summary": "mean over 60 s is 412 ms, budget 300 ms",
        })
    );
    assert_eq!(hello["timeline"][0]["title"], "firing: eligibility.latency_ms");
    assert_eq!(hello["routes"], Json::Null);
}

#[tokio::test(start_paused = true)]
async fn each_second_brings_a_point_and_the_newest_again_where_it_changed() {
    let world = World::new().await;
    world.write_second(0).await;
    world.write_second(1).await;
    let mut stream = world.stream().await;
    stream.until("hello").await;

    world.write_second(2).await;
    let expected = json!([[(BEGIN + 2) * 1000, 50.0, 95.0, 20.0, null]]);
    assert_eq!(stream.until("points").await["points"], expected);

    // The clock is ahead of the samples, which then come late.
    world.clock.set(second(3));
    let early = json!([[(BEGIN + 3) * 1000, 50.0, 95.0, 20.0, null]]);
    assert_eq!(stream.until("points").await["points"], early);
    world.write("count", 3, 200.0).await;
    let late = json!([[(BEGIN + 3) * 1000, 50.0, 95.0, 66.667, null]]);
    assert_eq!(stream.until("points").await["points"], late);
}

#[tokio::test(start_paused = true)]
async fn alerts_and_timeline_follow_the_ledger_for_this_service_and_for_all() {
    let world = World::new().await;
    let mut stream = world.stream().await;
    stream.until("hello").await;

    world.fire(Some("claims")).await;
    world.fire(Some(SERVICE)).await;
    assert_eq!(stream.until("alerts").await["alerts"].as_array().unwrap().len(), 1);
    let items = stream.until("timeline").await["items"].clone();
    assert_eq!(items.as_array().unwrap().len(), 1);
    assert_eq!(items[0]["seq"], 2);

    world.tell(Event::Held { held: true, reason: "release day".into() }).await;
    let items = stream.until("timeline").await["items"].clone();
    assert_eq!(items[0]["title"], "automatic action stopped");
}

#[tokio::test(start_paused = true)]
async fn what_a_run_does_belongs_to_the_service_of_its_claim() {
    let world = World::new().await;
    let fingerprint = hms_ops_core::alert::Fingerprint::of("x", &Default::default());
    for service in ["claims", SERVICE] {
        let execution = ExecutionId::of(service, &fingerprint, second(0));
        let claim = Event::RunClaimed {
            execution: execution.clone(),
            runbook: "rollover".into(),
            alert: "x".into(),
            fingerprint: fingerprint.clone(),
            service: Some(service.into()),
        };
        world.tell(claim).await;
        world.tell(Event::Note { execution, text: format!("note of {service}") }).await;
    }
    let timeline = world.stream().await.until("hello").await["timeline"].clone();
    let titles: Vec<_> = timeline.as_array().unwrap().iter().map(|i| &i["title"]).collect();
    assert_eq!(titles, ["runbook rollover", &format!("note of {SERVICE}")]);
}

#[tokio::test(start_paused = true)]
async fn a_timeline_holds_the_newest_two_hundred_items() {
    let world = World::new().await;
    for n in 0..250 {
        world.tell(Event::Held { held: n % 2 == 0, reason: n.to_string() }).await;
    }
    let hello = world.stream().await.until("hello").await;
    let timeline = hello["timeline"].as_array().unwrap();
    assert_eq!(timeline.len(), 200);
    assert_eq!((&timeline[0]["seq"], &timeline[199]["seq"]), (&json!(51), &json!(250)));
}

#[tokio::test(start_paused = true)]
async fn hostile_text_cannot_break_out_of_its_event() {
    let world = World::new().await;
    let mut stream = world.stream().await;
    stream.until("hello").await;
    let hostile = "</script>\n\nevent: alerts\r\ndata: {\"alerts\":[]}\n\n\u{2028}\0";
    world.tell(Event::Held { held: true, reason: hostile.into() }).await;
    let (name, data) = stream.next().await.unwrap();
    assert_eq!(name, "timeline");
    assert_eq!(data["items"][0]["detail"], format!("by engine: {hostile}"));
}

#[tokio::test(start_paused = true)]
async fn routes_are_sent_when_they_change() {
    let router = Arc::new(Router::default());
    let world = World::with(|builder| builder.traffic(router.clone())).await;
    let mut stream = world.stream().await;
    let cluster = |name, weight, healthy, reason, active| {
        json!({
            "name": name, "weight": weight, "healthy": healthy, "reason": reason, "active": active,
        })
    };
    let route = |active| {
        let clusters = [
            cluster("cluster-a", 100, true, Json::Null, active),
            cluster("cluster-b", 0, false, json!("refused"), 0),
        ];
        json!({ "service": SERVICE, "clusters": clusters, "revision": 4 })
    };
    assert_eq!(stream.until("hello").await["routes"], route(0));
    router.active.store(3, Ordering::SeqCst);
    let (name, data) = stream.next().await.unwrap();
    assert_eq!((&*name, &data["routes"]), ("routes", &route(3)));
    // Nothing changes: only a comment keeps the stream open.
    assert_eq!(stream.next().await.unwrap().0, ":");
}

#[tokio::test(start_paused = true)]
async fn all_viewers_share_one_computation_that_ends_with_the_last() {
    let (store, clock) = (Arc::new(CountingStore::default()), Arc::new(ManualClock::at(second(0))));
    let ledger = Arc::new(MemoryLedger::new(clock.clone()));
    let builder = Dashboard::builder(store.clone(), ledger).clock(clock.clone());
    let dashboard = builder.services(|| vec![SERVICE.into()]).start();
    let open = async || {
        let request = axum::http::Request::get("/api/stream").body(axum::body::Body::empty());
        let request = request.unwrap();
        let response = tower::ServiceExt::oneshot(dashboard.router(), request).await.unwrap();
        let mut stream = Stream::of(response);
        stream.until("hello").await;
        stream
    };
    assert_eq!(store.0.load(Ordering::SeqCst), 0, "nobody looks, nothing is read");

    let mut viewers = Vec::new();
    for _ in 0..10 {
        viewers.push(open().await);
    }
    let opened = store.0.load(Ordering::SeqCst);
    assert_eq!(opened, 1, "one room looked for its signal once");
    clock.advance(Duration::from_secs(1));
    for viewer in &mut viewers {
        viewer.until("points").await;
    }
    assert_eq!(store.0.load(Ordering::SeqCst), opened + 1);

    drop(viewers);
    tokio::time::advance(Duration::from_secs(60)).await;
    assert_eq!(store.0.load(Ordering::SeqCst), opened + 1);
    open().await;
    assert_eq!(store.0.load(Ordering::SeqCst), opened + 2, "a new viewer opens it again");
    dashboard.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_viewer_that_falls_behind_is_told_to_join_anew_and_nobody_else_is() {
    let world = World::new().await;
    let (mut slow, mut quick) = (world.stream().await, world.stream().await);
    slow.until("hello").await;
    quick.until("hello").await;
    for n in 0..100 {
        world.tell(Event::Held { held: true, reason: n.to_string() }).await;
        quick.until("timeline").await;
    }
    assert_eq!(slow.next().await, Some(("resync".into(), json!({}))));
    assert_eq!(slow.next().await, None);
    world.tell(Event::Held { held: false, reason: "still here".into() }).await;
    quick.until("timeline").await;
}

#[tokio::test(start_paused = true)]
async fn one_stream_too_many_is_refused_until_another_closes() {
    let world = World::with(|builder| builder.max_streams(2)).await;
    let (first, _second) = (world.stream().await, world.stream().await);
    let refused = world.get(&format!("/api/stream?service={SERVICE}")).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    let error = r#"{"error":"too many pages are open; close one and try again"}"#;
    assert_eq!(text(refused).await, error);
    drop(first);
    world.stream().await;
}

#[tokio::test(start_paused = true)]
async fn viewers_join_anew_when_a_signal_appears() {
    let world = World::new().await;
    let mut stream = world.stream().await;
    assert_eq!(stream.until("hello").await["signal"]["kind"], "none");
    world.write_second(1).await;
    stream.until("resync").await;
    assert_eq!(stream.next().await, None);
    let hello = world.stream().await.until("hello").await;
    assert_eq!(hello["signal"]["kind"], "budget");
}

#[tokio::test(start_paused = true)]
async fn a_service_without_a_signal_still_has_its_clock_tick() {
    let world = World::new().await;
    let mut stream = world.stream().await;
    stream.until("hello").await;
    world.clock.advance(Duration::from_secs(1));
    let expected = json!([[(BEGIN + 1) * 1000, null, null, null, null]]);
    assert_eq!(stream.until("points").await["points"], expected);
}

#[tokio::test(start_paused = true)]
async fn viewers_join_anew_when_the_clock_is_set_back() {
    let world = World::new().await;
    world.clock.set(second(100));
    let mut stream = world.stream().await;
    stream.until("hello").await;
    world.clock.set(second(50));
    stream.until("resync").await;
    let hello = world.stream().await.until("hello").await;
    assert_eq!(hello["points"].as_array().unwrap().last().unwrap()[0], (BEGIN + 50) * 1000);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_ends_all_streams_and_refuses_new_ones() {
    let world = World::new().await;
    let mut stream = world.stream().await;
    stream.until("hello").await;
    world.dashboard.shutdown().await;
    assert_eq!(stream.next().await, None);
    let refused = world.get(&format!("/api/stream?service={SERVICE}")).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(world.get("/api/services").await.status(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_dashboard_ends_its_streams_too() {
    let World { dashboard, router, .. } = World::new().await;
    let request = axum::http::Request::get("/api/stream").body(axum::body::Body::empty()).unwrap();
    let response = tower::ServiceExt::oneshot(router.clone(), request).await.unwrap();
    let mut stream = Stream::of(response);
    stream.until("hello").await;
    drop(dashboard);
    assert_eq!(stream.next().await, None);
}

/// Counts how often it is asked which series there are.
#[derive(Debug, Default)]
struct CountingStore(AtomicUsize, MemoryStore);

#[async_trait]
impl Store for CountingStore {
    fn appender(&self) -> Box<dyn Appender + '_> {
        self.1.appender()
    }

    async fn select(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        hint: &SelectHint,
    ) -> Result<Box<dyn SeriesSet>, StoreError> {
        self.1.select(matchers, range, hint).await
    }

    async fn series(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Vec<hms_ops_core::labels::Labels>, StoreError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        self.1.series(matchers, range).await
    }

    async fn label_names(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Vec<String>, StoreError> {
        self.1.label_names(matchers, range).await
    }

    async fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Vec<String>, StoreError> {
        self.1.label_values(name, matchers, range).await
    }

    async fn exemplars(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Vec<(hms_ops_core::labels::Labels, Vec<hms_ops_core::sample::Exemplar>)>, StoreError>
    {
        self.1.exemplars(matchers, range).await
    }

    async fn ready(&self) -> Result<(), StoreError> {
        self.1.ready().await
    }

    async fn stats(&self) -> StoreStats {
        self.1.stats().await
    }
}

/// Sends all to cluster-a.
#[derive(Debug, Default)]
struct Router {
    active: AtomicUsize,
}

#[async_trait]
impl TrafficControl for Router {
    async fn snapshot(&self, service: &Service) -> Result<Snapshot, MeshError> {
        let cluster = |name: &str, weight, health, active| ClusterSnapshot {
            cluster: name.into(),
            endpoint: None,
            weight,
            health,
            active,
        };
        let active = self.active.load(Ordering::SeqCst) as u64;
        let clusters = vec![
            cluster("cluster-a", 100, Health::Healthy, active),
            cluster("cluster-b", 0, Health::Unhealthy { reason: "refused".into() }, 0),
        ];
        Ok(Snapshot { service: service.clone(), revision: 4, clusters })
    }

    async fn shift(&self, request: ShiftRequest) -> Result<ShiftReport, MeshError> {
        Err(MeshError::UnknownService { service: request.service })
    }
}
