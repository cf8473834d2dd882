//! Scrape targets in the shapes of Prometheus.

use std::sync::Arc;

use axum::extract::State;
use hms_ops_collect::scrape::TargetStatus;
use hms_ops_promql::http::Form;
use serde_json::{Value, json};

use super::{Answer, Shared, object, success};
use crate::core::labels::SERVICE;

pub(super) async fn targets(State(shared): State<Arc<Shared>>, form: Form) -> Answer {
    let state = form.get("state").to_ascii_lowercase();
    let pool = form.get("scrapePool");
    let active = (shared.shown.targets)();
    let wanted = |target: &&TargetStatus| pool.is_empty() || pool_of(target) == pool;
    let active: Vec<_> = match state.as_str() {
        "" | "any" | "active" => active.iter().filter(wanted).map(target).collect(),
        _ => Vec::new(),
    };
    success(json!({
        "activeTargets": active,
        "droppedTargets": [],
        "droppedTargetCounts": {},
    }))
}

pub(super) async fn pools(State(shared): State<Arc<Shared>>) -> Answer {
    let targets = (shared.shown.targets)();
    let mut pools: Vec<_> = targets.iter().map(pool_of).collect();
    pools.sort_unstable();
    pools.dedup();
    success(json!({ "scrapePools": pools }))
}

/// A pool is what has one job, or else one service.
fn pool_of(target: &TargetStatus) -> &str {
    let labels = &target.labels;
    labels.get("job").or_else(|| labels.get(SERVICE)).unwrap_or("hms-ops")
}

fn target(target: &TargetStatus) -> Value {
    let url = target.url.as_str();
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let path = rest.find('/').unwrap_or(rest.len());
    json!({
        "discoveredLabels": {
            "__address__": rest[..path],
            "__metrics_path__": rest[path..],
            "__scheme__": scheme,
            "job": pool_of(target),
        },
        "labels": object(&target.labels),
        "scrapePool": pool_of(target),
        "scrapeUrl": url,
        "globalUrl": url,
        "lastError": target.last_error.as_deref().unwrap_or_default(),
        "lastScrape": target.last_scrape.map_or(
            "0001-01-01T00:00:00Z".to_owned(),
            |at| at.to_string(),
        ),
        "lastScrapeDuration": target.duration.as_secs_f64(),
        "health": target.health.to_string(),
    })
}
