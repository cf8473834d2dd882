//! The first monitor: an engine inside the service, one metric with a budget, and the live page.
//!
//! `cargo run --example quickstart`, or `… -- 9120` for another port.

use std::time::Duration;

use hms_ops::prelude::*;

#[hms_ops::main]
async fn main() -> Result<(), hms_ops::Error> {
    let engine = Ops::builder().service("claims").dashboard(&page()).stop_on_signals();
    let ops = engine.require_listeners().start().await?;
    println!("open http://{}/ and watch; Ctrl-C ends it", page());
    let latency = Metric::new("claims.latency_ms").budget(300.0);
    while !ops.is_shutting_down() {
        latency.record_duration(handle_claim().await);
    }
    ops.shutdown(Duration::from_secs(10)).await
}

/// Stands for what the service does; says how long it took.
async fn handle_claim() -> Duration {
    let took = Duration::from_millis(40 + hms_ops::core::random::below(80));
    tokio::time::sleep(took).await;
    took
}

/// Where the page is.
fn page() -> String {
    format!("127.0.0.1:{}", std::env::args().nth(1).as_deref().unwrap_or("9110"))
}
