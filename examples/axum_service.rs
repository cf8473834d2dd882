//! An axum service with HMS-OPS inside: latency by route and status, traces, `/metrics`, the page.
//!
//! `cargo run --example axum_service`, or `… -- 8081 9121 9120` for other ports of the service, of
//! `/metrics` and of the page.

use std::borrow::Cow;
use std::error::Error;
use std::future::IntoFuture;
use std::time::Duration;

use axum::Router;
use axum::extract::{MatchedPath, Path, Request};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::get;
use hms_ops::core::clock::Stopwatch;
use hms_ops::prelude::{Metric, Ops, trace};
use hms_ops::trace::propagation::{extract, inject};
use hms_ops::trace::{Span, SpanKind, SpanStatus, current};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

const LATENCY: &str = "claims.latency_ms";

#[hms_ops::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = |place, default: &str| {
        let port = std::env::args().nth(place);
        format!("127.0.0.1:{}", port.as_deref().unwrap_or(default))
    };
    let (service, metrics, page) = (address(1, "8080"), address(2, "9111"), address(3, "9110"));
    let ops = Ops::builder()
        .service("claims")
        .metrics(&metrics)
        .dashboard(&page)
        .stop_on_signals()
        .require_listeners()
        .start()
        .await?;
    // Declared once for the metric, whatever labels its series have.
    let _latency = Metric::new(LATENCY).budget(300.0);

    let routes = Router::new()
        .route("/claims/{id}", get(claim))
        .route("/slow/{ms}", get(slow))
        .layer(from_fn(observe))
        // Below the layer, and so not a part of what is measured.
        .route("/health", get(|| async { "well\n" }));
    let listener = TcpListener::bind(&service).await?;
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = axum::serve(listener, routes).with_graceful_shutdown(async {
        let _ = stopped.await;
    });
    let serving = tokio::spawn(serving.into_future());

    println!("open http://{page}/ and http://{metrics}/metrics; Ctrl-C ends it");
    println!("try: curl -i http://{service}/claims/7   (13 fails), curl http://{service}/slow/500");
    ops.stopped().await;
    drop(stop);
    serving.await??;
    ops.shutdown(Duration::from_secs(10)).await?;
    Ok(())
}

/// Opens the server's span, within the caller's trace if it names one, and records the latency.
async fn observe(request: Request, next: Next) -> Response {
    // The route and not the path: a label must not have as many values as there are claims.
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or("none", MatchedPath::as_str).to_owned();
    let mut span = Span::new(format!("{} {route}", request.method())).with_kind(SpanKind::Server);
    if let Some(caller) = extract(request.headers()) {
        span = span.with_parent(caller);
    }
    let answer = async {
        let mut response = next.run(request).await;
        // Tells the caller which trace to look for.
        if let Some(here) = current() {
            inject(&here, response.headers_mut());
        }
        response
    };
    let took = Stopwatch::start();
    let response = span.wrap_with(answer, |span: &mut Span, response: &Response| {
        let status = response.status();
        span.set("http.response.status_code", i64::from(status.as_u16()));
        if status.is_server_error() {
            span.set_status(SpanStatus::Error(Cow::Borrowed("answered 5xx")));
        }
    });
    let response = response.await;
    Metric::new(LATENCY)
        .label("route", &route)
        .label("status", response.status().as_str())
        .record_duration(took.elapsed());
    response
}

async fn claim(Path(id): Path<u64>) -> (StatusCode, String) {
    match find_claim(id).await {
        Ok(claim) => (StatusCode::OK, claim),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

async fn slow(Path(ms): Path<u64>) -> String {
    tokio::time::sleep(Duration::from_millis(ms.min(5000))).await;
    format!("waited {ms} ms\n")
}

/// A span within that of the request; an `Err` is a failure of the span too.
#[trace(fields(claim = id))]
async fn find_claim(id: u64) -> Result<String, String> {
    tokio::time::sleep(Duration::from_millis(20)).await;
    if id == 13 { Err(format!("claim {id} cannot be read")) } else { Ok(read_claim(id)) }
}

#[trace]
fn read_claim(id: u64) -> String {
    format!("claim {id}: roof, hail\n")
}
