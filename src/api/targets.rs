//! Scrape targets in the shapes of Prometheus.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use hms_ops_collect::scrape::{ActiveTarget, DroppedTarget};
use hms_ops_promql::http::Form;
use serde_json::{Value, json};

use super::{Answer, Shared, object, success};

/// Dropped targets that are shown, at most; all are counted.
const DROPPED: usize = 1000;

pub(super) async fn targets(State(shared): State<Arc<Shared>>, form: Form) -> Answer {
    let state = form.get("state").to_ascii_lowercase();
    let wants = |kind: &str| matches!(state.as_str(), "" | "any") || state == kind;
    let pool = form.get("scrapePool");
    let of_pool = |name: &str| pool.is_empty() || name == pool;
    let (mut active, mut dropped) = (Vec::new(), Vec::new());
    let targets = &shared.shown.targets;
    if wants("active") {
        let all = targets.active();
        active.extend(all.iter().filter(|target| of_pool(&target.pool)).map(shown));
    }
    if wants("dropped") {
        let all = targets.found.dropped();
        let all = all.iter().filter(|target| of_pool(&target.pool));
        dropped.extend(all.take(DROPPED).map(left_out));
    }
    let counts: BTreeMap<_, _> = targets.found.dropped_counts().into_iter().collect();
    success(json!({
        "activeTargets": active,
        "droppedTargets": dropped,
        "droppedTargetCounts": counts,
    }))
}

pub(super) async fn pools(State(shared): State<Arc<Shared>>) -> Answer {
    let targets = &shared.shown.targets;
    let active = targets.active().into_iter().map(|target| target.pool);
    let counted = targets.found.dropped_counts().into_iter().map(|(pool, _)| pool);
    let mut pools: Vec<_> = active.chain(counted).collect();
    pools.sort_unstable();
    pools.dedup();
    success(json!({ "scrapePools": pools }))
}

fn left_out(target: &DroppedTarget) -> Value {
    json!({ "discoveredLabels": object(&target.discovered), "scrapePool": target.pool })
}

fn shown(ActiveTarget { pool, discovered, status: target }: &ActiveTarget) -> Value {
    let url = target.url.as_str();
    json!({
        "discoveredLabels": object(discovered),
        "labels": object(&target.labels),
        "scrapePool": pool,
        "scrapeUrl": url,
        "globalUrl": url,
        "lastError": target.last_error.as_deref().unwrap_or_default(),
        "lastScrape": target.last_scrape.map_or(
            "0001-01-01T00:00:00Z".to_owned(),
            |at| at.to_string(),
        ),
        "lastScrapeDuration": target.duration.as_secs_f64(),
        "health": target.health.to_string(),
        "scrapeInterval": seconds(target.interval),
        "scrapeTimeout": seconds(target.timeout),
    })
}

/// As Prometheus writes durations: `15s`, `500ms`.
fn seconds(length: std::time::Duration) -> String {
    match length.subsec_millis() {
        0 => format!("{}s", length.as_secs()),
        _ => format!("{}ms", length.as_millis()),
    }
}
