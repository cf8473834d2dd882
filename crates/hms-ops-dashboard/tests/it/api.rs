//! Services, traces, and what every response has.

use std::sync::Arc;
use std::time::Duration;

use axum::http::{Request, StatusCode};
use hms_ops_core::span::{AttributeValue, SpanId, SpanKind, SpanRecord, SpanStatus, TraceId};
use hms_ops_core::span_store::{MemorySpanStore, SpanStore};
use hms_ops_core::time::Timestamp;
use serde_json::json;

use crate::world::{SERVICE, World, second, text};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

#[tokio::test]
async fn services_are_listed_with_their_active_alerts() {
    let world = World::new().await;
    world.fire(Some(SERVICE)).await;
    let expected = json!({ "services": [
        { "name": "claims", "firing": 0 },
        { "name": SERVICE, "firing": 1 },
    ] });
    assert_eq!(world.json("/api/services").await, (StatusCode::OK, expected));
}

#[tokio::test]
async fn without_a_list_the_services_are_those_that_reported_within_an_hour() {
    let store = Arc::new(hms_ops_core::store::MemoryStore::new());
    let clock = Arc::new(hms_ops_core::clock::ManualClock::at(second(7200)));
    let ledger = Arc::new(hms_ops_core::ledger::MemoryLedger::new(clock.clone()));
    for (service, at) in [("gone", 0), ("claims", 7000)] {
        let labels = hms_ops_core::labels::Labels::metric("up").with("service", service);
        let append = hms_ops_core::store::StoreExt::append_one(&store, &labels, second(at), 1.0);
        append.await.unwrap();
    }
    let dashboard = hms_ops_dashboard::Dashboard::builder(store, ledger).clock(clock).start();
    let request = Request::get("/api/services").body(axum::body::Body::empty()).unwrap();
    let response = tower::ServiceExt::oneshot(dashboard.router(), request).await.unwrap();
    assert_eq!(text(response).await, r#"{"services":[{"firing":0,"name":"claims"}]}"#);
}

#[tokio::test]
async fn traces_are_listed_newest_first_and_shown_with_their_spans() {
    let spans = Arc::new(MemorySpanStore::new());
    spans.append(vec![span(1, None), span(2, Some(1))]).await.unwrap();
    let world = World::with(|builder| builder.spans(spans)).await;

    let line = json!({
        "trace_id": TRACE,
        "root": { "service": "router", "name": "GET /check" },
        "start_ms": 1_764_000_000_001_u64,
        "duration_us": 5123,
        "spans": 2,
        "errors": 1,
        "services": [SERVICE, "router"],
    });
    let listed = json!({ "traces": [line], "dropped": 0 });
    let path = format!("/api/traces?service={SERVICE}&limit=50");
    assert_eq!(world.json(&path).await, (StatusCode::OK, listed.clone()));
    assert_eq!(world.json("/api/traces").await, (StatusCode::OK, listed));
    let none = json!({ "traces": [], "dropped": 0 });
    assert_eq!(world.json("/api/traces?service=claims").await, (StatusCode::OK, none));

    let shown = json!({ "trace_id": TRACE, "spans": [
        {
            "span_id": "0000000000000001", "parent_id": null, "service": "router",
            "name": "GET /check", "kind": "server", "start_us": 1_764_000_000_001_000_u64,
            "duration_us": 5123, "status": "unset", "message": "", "attributes": {},
        },
        {
            "span_id": "0000000000000002", "parent_id": "0000000000000001", "service": SERVICE,
            "name": "check", "kind": "internal", "start_us": 1_764_000_000_001_000_u64,
            "duration_us": 5123, "status": "error", "message": "<script>",
            "attributes": {
                "http.route": "/check", "n": 3, "ok": true, "ratio": 0.5,
                "id": "9223372036854775807",
            },
        },
    ] });
    assert_eq!(world.json(&format!("/api/traces/{TRACE}")).await, (StatusCode::OK, shown));
}

#[tokio::test]
async fn a_trace_is_listed_when_its_root_has_come_or_never_will() {
    let spans = Arc::new(MemorySpanStore::new());
    spans.append(vec![span(2, Some(1))]).await.unwrap();
    let world = World::with(|builder| builder.spans(spans)).await;
    let listed = async || world.json("/api/traces").await.1["traces"].as_array().unwrap().len();

    let start = Timestamp::from_millis(1_764_000_000_001);
    world.clock.set(start + Duration::from_secs(10));
    assert_eq!(listed().await, 0);
    world.clock.set(start + Duration::from_secs(11));
    assert_eq!(listed().await, 1);
}

#[tokio::test]
async fn what_cannot_be_answered_is_said_in_a_sentence() {
    let world = World::new().await;
    for (path, status, error) in [
        ("/api/stream?service=nope%22", 404, "there is no service \"nope\\\"\" here"),
        (
            "/api/traces/4BF9",
            400,
            "\"4BF9\" is no trace id: expected 32 lower-case hexadecimal \
            digits, not all zero",
        ),
        (&format!("/api/traces/{TRACE}"), 404, &format!("no trace {TRACE} is stored")),
        ("/api/else", 404, "there is nothing at /api/else"),
        ("/else", 404, "there is nothing at /else"),
        ("/../Cargo.toml", 404, "there is nothing at /../Cargo.toml"),
    ] {
        let (found, body) = world.json(path).await;
        assert_eq!((found.as_u16(), &body), (status, &json!({ "error": error })), "{path}");
    }
    let (status, body) = world.json("/api/traces?limit=many").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(body["error"].as_str().unwrap().starts_with("cannot read the query of the URL"));
}

#[tokio::test]
async fn only_get_is_answered() {
    let world = World::new().await;
    for path in ["/", "/api/services", "/api/stream"] {
        let response = world.request(Request::post(path)).await;
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
        assert_eq!(text(response).await, r#"{"error":"only GET is answered here"}"#, "{path}");
    }
}

#[tokio::test]
async fn every_response_has_the_headers_that_keep_it_to_itself() {
    let world = World::new().await;
    let stream = format!("/api/stream?service={SERVICE}");
    for path in ["/", "/else", "/api/services", "/api/else", "/api/traces/4BF9", &stream] {
        let response = world.get(path).await;
        let header = |name| response.headers().get(name).unwrap().to_str().unwrap();
        assert_eq!(
            header("content-security-policy"),
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
             connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'self'; \
             frame-ancestors 'none'",
            "{path}"
        );
        assert_eq!(header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(header("referrer-policy"), "no-referrer", "{path}");
        assert_eq!(header("cross-origin-opener-policy"), "same-origin", "{path}");
        if path.starts_with("/api") {
            assert_eq!(header("cache-control"), "no-store", "{path}");
        }
    }
}

fn span(id: u64, parent: Option<u64>) -> SpanRecord {
    let attributes = [
        ("http.route", AttributeValue::Text("/check".into())),
        ("n", AttributeValue::Int(3)),
        ("ok", AttributeValue::Bool(true)),
        ("ratio", AttributeValue::Float(0.5)),
        ("id", AttributeValue::Int(i64::MAX)),
    ];
    let root = parent.is_none();
    SpanRecord {
        trace_id: TRACE.parse::<TraceId>().unwrap(),
        span_id: SpanId::new(id).unwrap(),
        parent_id: parent.and_then(SpanId::new),
        service: if root { "router" } else { SERVICE }.into(),
        name: if root { "GET /check" } else { "check" }.into(),
        kind: if root { SpanKind::Server } else { SpanKind::Internal },
        start_ns: 1_764_000_000_001_000_999,
        duration: Duration::from_nanos(5_123_456),
        status: if root { SpanStatus::Unset } else { SpanStatus::Error("<script>".into()) },
        attributes: if root { Vec::new() } else { attributes.map(|(n, v)| (n.into(), v)).into() },
    }
}
