//! One cluster of the lab's `eligibility-svc`: what any service with HMS-OPS in it looks like.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use axum::extract::{RawQuery, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use hms_ops::core::clock::Stopwatch;
use hms_ops::core::exposition::{Format, encode};
use hms_ops::core::random;
use hms_ops::core::registry::Registry;
use hms_ops::prelude::*;
use hms_ops::trace::propagation::{extract, inject};
use hms_ops::trace::{current, server_span};
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};

use super::setting::{BUDGET_MS, METRIC, SERVICE};
use crate::{signals, stdin};

/// The longest delay that may be asked for.
const MAX_SLOW_MS: u64 = 10_000;
/// How long the last requests and spans may take at the end.
const LAST_WORK: Duration = Duration::from_secs(2);

/// Names the cluster that answered.
pub(crate) const CLUSTER_HEADER: HeaderName = HeaderName::from_static("x-hms-cluster");

/// Serves until standard input is closed. Its first line on standard output is the address; the
/// first line that it reads is the engine's URL, to which spans go.
pub(crate) async fn run(cluster: &str) -> Result<()> {
    let ended = signals::asked_to_end();
    let mut orders = stdin::lines();
    let cluster_header =
        HeaderValue::from_str(cluster).with_context(|| format!("{cluster:?} is no name"))?;
    let demo = Arc::new(Demo {
        cluster: cluster.to_owned(),
        cluster_header,
        slow_ms: AtomicU64::new(0),
        latency: Metric::new(METRIC).budget(BUDGET_MS).label("status", "ok"),
    });
    // A standby that has answered once is warm, and its metrics exist.
    demo.answer().await;

    let listener = TcpListener::bind("127.0.0.1:0").await.context("cannot listen")?;
    writeln!(std::io::stdout(), "{}", listener.local_addr()?)?;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serve = axum::serve(listener, routes(demo)).with_graceful_shutdown(async {
        let _ = stopped.await;
    });
    let mut serving = tokio::spawn(async { serve.await });

    if let Some(engine) = orders.recv().await {
        let agent = Agent::builder().service(SERVICE).engine(&engine).start().await?;
        tokio::select! {
            () = stdin::closed(orders) => {}
            () = ended => {}
        }
        drop(stop);
        let _ = timeout(LAST_WORK, &mut serving).await;
        let _ = timeout(LAST_WORK, agent.shutdown()).await;
    }
    Ok(())
}

struct Demo {
    cluster: String,
    cluster_header: HeaderValue,
    slow_ms: AtomicU64,
    latency: Metric,
}

fn routes(demo: Arc<Demo>) -> axum::Router {
    axum::Router::new()
        .route("/", get(page))
        .route("/health", get(async || "ok\n"))
        .route("/metrics", get(metrics))
        .route("/fake_slow", get(fake_slow))
        .with_state(demo)
}

async fn page(State(demo): State<Arc<Demo>>, headers: HeaderMap) -> Response {
    server_span("GET /", extract(&headers), demo.answer()).await
}

async fn metrics(headers: HeaderMap) -> Response {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let format = Format::accepted(accept);
    let text = encode(&Registry::global().snapshot(), format);
    ([(CONTENT_TYPE, format.content_type())], text).into_response()
}

async fn fake_slow(State(demo): State<Arc<Demo>>, RawQuery(query): RawQuery) -> Response {
    let cluster = &demo.cluster;
    match slow_ms(query.as_deref().unwrap_or_default()) {
        Ok(0) => {
            demo.slow_ms.store(0, Ordering::Relaxed);
            format!("{cluster} is as fast as ever\n").into_response()
        }
        Ok(ms) => {
            demo.slow_ms.store(ms, Ordering::Relaxed);
            format!("{cluster} takes {ms} ms longer from now on; /fake_slow?ms=0 heals it\n")
                .into_response()
        }
        Err(reason) => (StatusCode::BAD_REQUEST, format!("{reason}\n")).into_response(),
    }
}

/// The delay that a query asks for.
fn slow_ms(query: &str) -> Result<u64, String> {
    let asked = query.split('&').find_map(|pair| pair.strip_prefix("ms="));
    let Some(asked) = asked else {
        return Err("say by how many milliseconds: /fake_slow?ms=500".to_owned());
    };
    match asked.parse() {
        Ok(ms) if ms <= MAX_SLOW_MS => Ok(ms),
        _ => Err(format!("ms={asked} is not a whole number from 0 to {MAX_SLOW_MS}")),
    }
}

impl Demo {
    /// One request: checks an identity, loads claims, decides.
    async fn answer(&self) -> Response {
        let watch = Stopwatch::start();
        let eligible = check_eligibility(self.slow_ms.load(Ordering::Relaxed)).await;
        let took = watch.elapsed();
        self.latency.record_duration(took);
        let mut response = Html(self.html(eligible, took)).into_response();
        response.headers_mut().insert(CLUSTER_HEADER, self.cluster_header.clone());
        if let Some(context) = current() {
            inject(&context, response.headers_mut());
        }
        response
    }

    fn html(&self, eligible: bool, took: Duration) -> String {
        let answer = if eligible { "eligible" } else { "not eligible" };
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
             <title>{SERVICE}</title>\n<h1>{SERVICE}</h1>\n\
             <p>You are <strong>{answer}</strong>.</p>\n\
             <p>Answered by {} in {:.0} ms.</p>\n</html>\n",
            self.cluster,
            took.as_secs_f64() * 1000.0,
        )
    }
}

#[trace]
async fn check_eligibility(slow_ms: u64) -> bool {
    check_identity().await;
    let claims = load_claims(slow_ms).await;
    decide(claims)
}

#[trace]
async fn check_identity() {
    work(6, 12).await;
}

/// The store of claims is what becomes slow.
#[trace]
async fn load_claims(slow_ms: u64) -> u64 {
    work(12, 24).await;
    sleep(Duration::from_millis(slow_ms)).await;
    random::below(100)
}

#[trace]
fn decide(claims: u64) -> bool {
    claims < 95
}

async fn work(from_ms: u64, to_ms: u64) {
    sleep(Duration::from_millis(from_ms + random::below(to_ms - from_ms))).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_is_a_whole_number_of_milliseconds_up_to_ten_seconds() {
        assert_eq!(slow_ms("ms=500"), Ok(500));
        assert_eq!(slow_ms("a=1&ms=0"), Ok(0));
        assert_eq!(slow_ms("ms=10000"), Ok(10_000));
        for bad in ["ms=10001", "ms=-1", "ms=", "ms=1.5", "ms=99999999999999999999"] {
            assert!(slow_ms(bad).unwrap_err().ends_with("a whole number from 0 to 10000"), "{bad}");
        }
        assert!(slow_ms("").unwrap_err().starts_with("say by how many"));
    }
}
