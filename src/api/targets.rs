//! Scrape targets in the shapes of Prometheus.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::extract::State;
use hms_ops_collect::scrape::{ActiveTarget, DroppedTarget};
use hms_ops_promql::http::{Failure, Form, Kind};
use serde_json::{Value, json};

use super::{Answer, RECENT, Shared, object, success};
use crate::core::labels::NAME;
use crate::core::matcher::{Matcher, Selector};
use crate::core::metadata::MetadataStore;
use crate::core::time::TimeRange;

/// Dropped targets that are shown, at most; all are counted.
const DROPPED: usize = 1000;
/// Metrics that are told about, of all targets, at most.
const METADATA: usize = 10_000;

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

/// What is known about the metrics that targets have reported within the hour.
pub(super) async fn metadata(State(shared): State<Arc<Shared>>, form: Form) -> Answer {
    let limit = match form.get("limit") {
        "" => METADATA,
        text => match text.parse::<i64>() {
            Ok(limit) => usize::try_from(limit).map_or(METADATA, |limit| limit.min(METADATA)),
            Err(_) => return Err(Failure::new(Kind::BadData, "limit must be a number")),
        },
    };
    let wanted = match form.get("match_target") {
        "" => None,
        text => Some(text.parse::<Selector>().map_err(|e| Failure::invalid("match_target", e))?),
    };
    let (shown, metric) = (&shared.shown, form.get("metric"));
    let _one = shared.counting()?;
    let range = TimeRange::last(RECENT, shown.clock.now());
    let mut told = Vec::new();
    for ActiveTarget { status: target, .. } in shown.targets.active() {
        let labels = &target.labels;
        if wanted.as_ref().is_some_and(|wanted| !wanted.accepts(labels)) {
            continue;
        }
        let of_target: Vec<_> = labels.iter().map(|(n, v)| Matcher::equal(n, v)).collect();
        let series = shown.store.series(&of_target, range).await?;
        let names = series.iter().filter_map(|labels| labels.get(NAME));
        let families: BTreeSet<_> =
            names.filter_map(|name| family(name, &shown.metadata)).collect();
        for name in families.into_iter().filter(|name| metric.is_empty() || *name == metric) {
            let Some(known) = shown.metadata.get(name) else { continue };
            let mut row = json!({
                "target": object(labels),
                "type": known.metric_type.to_string(),
                "help": known.help,
                "unit": known.unit,
            });
            // Who asks about one metric knows its name.
            if metric.is_empty() {
                row["metric"] = name.into();
            }
            told.push(row);
            if told.len() >= limit {
                return success(told.into());
            }
        }
    }
    match told.is_empty() {
        true => Err(Failure::new(Kind::NotFound, "specified metadata not found")),
        false => success(told.into()),
    }
}

/// The metric that a series belongs to: its own name, or that of its histogram or summary.
fn family<'a>(name: &'a str, known: &MetadataStore) -> Option<&'a str> {
    let parts = ["_bucket", "_count", "_sum"].into_iter();
    let shorter = parts.filter_map(|part| name.strip_suffix(part));
    [name].into_iter().chain(shorter).find(|name| known.get(name).is_some())
}

/// As Prometheus writes durations: `15s`, `500ms`.
pub(super) fn seconds(length: std::time::Duration) -> String {
    match length.subsec_millis() {
        0 => format!("{}s", length.as_secs()),
        _ => format!("{}ms", length.as_millis()),
    }
}
