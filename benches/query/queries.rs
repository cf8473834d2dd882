//! What is asked: eight queries of a dashboard over ranges, four of an alert at an instant.

use std::time::Duration;

use hms_ops_core::time::Timestamp;

/// A query over the last hour of a workload.
pub(crate) struct Query {
    pub(crate) name: &'static str,
    pub(crate) text: &'static str,
    pub(crate) step: Duration,
    /// Whether every Prometheus has the same answer. Instants of a subquery are whole minutes, as
    /// samples are, and up to 2.x a sample on the left edge of a window was in it.
    pub(crate) is_undisputed: bool,
}

const fn query(name: &'static str, text: &'static str) -> Query {
    Query { name, text, step: Duration::from_secs(15), is_undisputed: true }
}

/// How much time a query is about.
pub(crate) const RANGE: Duration = Duration::from_secs(3600);
/// After the last sample, so that no sample is on the edge of a window: releases of Prometheus do
/// not agree on whose it is.
const OFF_EDGE: Duration = Duration::from_secs(7);

pub(crate) const RANGES: &[Query] = &[
    query("q1", "rate(http_requests_total[5m])"),
    query("q2", "avg_over_time(worker_queue_length[5m])"),
    query(
        "q3",
        "histogram_quantile(0.99, sum by (le, service) \
         (rate(http_request_duration_seconds_bucket[5m])))",
    ),
    query("q4", "sum by (service) (rate(http_requests_total{code=~\"5..\"}[5m]))"),
    query("q5", "worker_queue_length"),
    Query {
        is_undisputed: false,
        ..query(
            "q6",
            "max_over_time(sum by (service) (rate(http_requests_total{code=\"200\"}[5m]))[30m:1m])",
        )
    },
    query(
        "q7",
        "sum by (service) (rate(http_requests_total{code=~\"5..\"}[5m])) \
         / sum by (service) (rate(http_requests_total[5m]))",
    ),
    Query { step: Duration::from_secs(60), ..query("q8", "topk(5, process_utilization_percent)") },
];

/// Queries at one instant.
pub(crate) const INSTANTS: &[(&str, &str)] = &[
    ("i1", "up{instance=\"10.0.0.8:8080\"}"),
    ("i2", "rate(http_requests_total{instance=\"10.0.0.8:8080\",method=\"GET\",code=\"200\"}[5m])"),
    (
        "i3",
        "histogram_quantile(0.99, sum by (le) \
         (rate(http_request_duration_seconds_bucket{service=\"claims-1\"}[5m])))",
    ),
    ("i4", "sum(worker_queue_length)"),
];

/// When the last of a query's instants is, for a workload that ends at `end`.
pub(crate) fn asked_at(end: Timestamp) -> Timestamp {
    end + OFF_EDGE
}
