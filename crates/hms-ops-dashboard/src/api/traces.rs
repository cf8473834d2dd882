//! `GET api/traces` and `GET api/traces/{id}`.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use hms_ops_core::span::{AttributeValue, SpanRecord, SpanStatus, TraceId};
use hms_ops_core::span_store::{TraceQuery, TraceSummary};
use hms_ops_core::time::Timestamp;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::{ApiError, answer, query};
use crate::dashboard::Shared;

const DEFAULT_LIMIT: usize = 50;
const MAX_LIMIT: usize = 500;
/// How many traces may be on their way in besides those that are shown.
const ARRIVING: usize = 500;
/// A trace whose root has not come for so long began outside, where nobody sends us spans.
const ROOT_COMES_WITHIN: Duration = Duration::from_secs(10);
/// JavaScript holds whole numbers up to here exactly.
const MAX_EXACT: u64 = 1 << 53;

#[derive(Deserialize)]
struct Wanted {
    service: Option<String>,
    limit: Option<usize>,
}

pub(crate) async fn list(
    State(shared): State<Arc<Shared>>,
    uri: Uri,
) -> Result<Response, ApiError> {
    let Wanted { service, limit } = query(&uri)?;
    let Some(spans) = &shared.sources.spans else {
        return Ok(answer(StatusCode::OK, &json!({ "traces": [], "dropped": 0 })));
    };
    let limit = limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT);
    let wanted = TraceQuery {
        service: service.filter(|name| !name.is_empty()),
        min_duration: Duration::ZERO,
        limit: limit + ARRIVING,
    };
    let arriving_since = shared.sources.clock.now() - ROOT_COMES_WITHIN;
    let is_whole = |trace: &&TraceSummary| {
        let start = Timestamp::from_millis((trace.start_ns / 1_000_000).cast_signed());
        trace.has_root || start < arriving_since
    };
    let found = spans.search(&wanted).await?;
    let traces: Vec<_> = found.iter().filter(is_whole).take(limit).map(line).collect();
    let dropped = spans.dropped().await;
    Ok(answer(StatusCode::OK, &json!({ "traces": traces, "dropped": dropped })))
}

pub(crate) async fn show(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let trace_id: TraceId =
        id.parse().map_err(|source| ApiError::BadTraceId { id: id.clone(), source })?;
    let spans = match &shared.sources.spans {
        Some(spans) => spans.trace(trace_id).await?,
        None => Vec::new(),
    };
    if spans.is_empty() {
        return Err(ApiError::UnknownTrace { id });
    }
    let spans: Vec<_> = spans.iter().map(span).collect();
    Ok(answer(StatusCode::OK, &json!({ "trace_id": trace_id, "spans": spans })))
}

fn line(trace: &TraceSummary) -> Json {
    let (service, name) = &trace.root;
    json!({
        "trace_id": trace.trace_id,
        "root": { "service": service, "name": name },
        "start_ms": trace.start_ns / 1_000_000,
        "duration_us": micros(trace.duration),
        "spans": trace.spans,
        "errors": trace.errors,
        "services": trace.services,
    })
}

fn span(span: &SpanRecord) -> Json {
    let (status, message) = match &span.status {
        SpanStatus::Unset => ("unset", ""),
        SpanStatus::Ok => ("ok", ""),
        SpanStatus::Error(message) => ("error", &**message),
    };
    let attributes =
        span.attributes.iter().map(|(name, value)| (name.to_string(), show_value(value)));
    json!({
        "span_id": span.span_id,
        "parent_id": span.parent_id,
        "service": span.service,
        "name": span.name,
        "kind": span.kind,
        "start_us": span.start_ns / 1000,
        "duration_us": micros(span.duration),
        "status": status,
        "message": message,
        "attributes": attributes.collect::<serde_json::Map<_, _>>(),
    })
}

/// A number that JavaScript would round is text, as an id must not change.
fn show_value(value: &AttributeValue) -> Json {
    match value {
        AttributeValue::Int(number) if number.unsigned_abs() > MAX_EXACT => {
            json!(number.to_string())
        }
        value => json!(value),
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
