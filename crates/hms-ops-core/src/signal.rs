//! What a service's latency, rate and errors are read from.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::{Deserialize, Serialize};

use crate::labels::{Labels, NAME};
use crate::name::{Service, Unit, stored_name};

/// The series that speak for a service: a histogram, and the label that tells an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signal {
    /// Why this one was chosen.
    pub kind: SignalKind,
    /// Stored name of the histogram, without `_bucket`, `_sum`, `_count`.
    pub source: String,
    /// Unit of its values.
    pub unit: Unit,
}

/// Why a signal was chosen; the first that matches, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignalKind {
    /// A metric of the service with a budget.
    Budget,
    /// `traces_span_metrics_*`, made of the service's server spans.
    SpanMetrics,
    /// `http_server_request_duration_seconds`, by the conventions of OpenTelemetry.
    OpenTelemetry,
    /// `http_request_duration_seconds` or `*_latency_ms`, as Prometheus users name it.
    Convention,
}

impl SignalKind {
    /// One sentence for people.
    pub fn explain(self) -> &'static str {
        match self {
            Self::Budget => "a metric of this service with a budget",
            Self::SpanMetrics => "metrics of this service's server spans",
            Self::OpenTelemetry => "the HTTP server metric of OpenTelemetry",
            Self::Convention => "a latency metric by its usual name",
        }
    }
}

impl Signal {
    /// Chooses among the series of one service. `budgets` are the names of metrics that have one.
    ///
    /// ```
    /// use hms_ops_core::{labels::Labels, signal::{Signal, SignalKind}};
    ///
    /// let series = [Labels::metric("eligibility_latency_ms_count")];
    /// let signal = Signal::choose(&series, &["eligibility.latency_ms"]).unwrap();
    /// assert_eq!(signal.kind, SignalKind::Budget);
    /// assert_eq!(signal.source, "eligibility_latency_ms");
    /// ```
    pub fn choose(series: &[Labels], budgets: &[&str]) -> Option<Self> {
        let budgets: Vec<_> = budgets.iter().map(|name| stored_name(name)).collect();
        series
            .iter()
            .filter_map(|labels| labels.name()?.strip_suffix("_count"))
            .filter_map(|name| {
                let kind = match name {
                    n if budgets.iter().any(|b| *b == n) => SignalKind::Budget,
                    n if n.starts_with("traces_span_metrics_") => SignalKind::SpanMetrics,
                    "http_server_request_duration_seconds" => SignalKind::OpenTelemetry,
                    "http_request_duration_seconds" => SignalKind::Convention,
                    n if n.ends_with("_latency_ms") => SignalKind::Convention,
                    _ => return None,
                };
                Some((kind, name))
            })
            .min()
            .map(|(kind, name)| Self { kind, source: name.to_owned(), unit: Unit::of(name) })
    }

    /// Whether a series of this signal counts failed events.
    pub fn is_error(labels: &Labels) -> bool {
        labels.get("status") == Some("error")
            || ["http_response_status_code", "code", "status"]
                .iter()
                .any(|name| labels.get(name).is_some_and(|v| v.len() == 3 && v.starts_with('5')))
    }
}

/// One source of a service's events: an instance in a cluster.
pub fn source_of(labels: &Labels) -> Labels {
    labels.only(&[crate::labels::SERVICE, crate::labels::CLUSTER, crate::labels::INSTANCE])
}

/// The service that a series belongs to.
pub fn service_of(labels: &Labels) -> Option<Service> {
    labels.get(crate::labels::SERVICE).map(Service::from)
}

/// Whether the histogram `metric` has a bucket edge exactly at `edge`, in every source.
///
/// Only then does a latency SLI "at or below `edge`" put every event on its right side; between two
/// edges it would guess. `series` are those of the metric's buckets, as a store gives them; others
/// among them are passed over. Edges are compared as numbers: `300`, `300.0` and `3e2` are one.
///
/// # Errors
///
/// [`NoExactEdge`] about the first source without this edge; also when there is no bucket at all.
///
/// ```
/// use hms_ops_core::{labels::Labels, signal::exact_edge};
///
/// let bucket = |le| Labels::metric("eligibility_latency_ms_bucket").with("le", le);
/// let series = [bucket("300"), bucket("+Inf")];
/// assert!(exact_edge(&series, "eligibility.latency_ms", 300.0).is_ok());
/// let refused = exact_edge(&series, "eligibility.latency_ms", 250.0).unwrap_err();
/// assert_eq!(refused.edges, [300.0]);
/// ```
pub fn exact_edge(series: &[Labels], metric: &str, edge: f64) -> Result<(), NoExactEdge> {
    let name = format!("{}_bucket", stored_name(metric));
    let mut sources: BTreeMap<Labels, Vec<f64>> = BTreeMap::new();
    for labels in series.iter().filter(|labels| labels.name() == Some(&name)) {
        if let Some(le) = labels.get("le").and_then(|le| le.parse().ok()) {
            sources.entry(labels.without(&[NAME, "le"])).or_default().push(le);
        }
    }
    let refused = |labels, edges| NoExactEdge { metric: metric.to_owned(), labels, edge, edges };
    if sources.is_empty() {
        return Err(refused(Labels::empty(), Vec::new()));
    }
    match sources.into_iter().find(|(_, edges)| !edges.contains(&edge)) {
        Some((labels, mut edges)) => {
            edges.retain(|edge| edge.is_finite());
            edges.sort_by(f64::total_cmp);
            Err(refused(labels, edges))
        }
        None => Ok(()),
    }
}

/// Why a latency SLI is refused: it could not be exact.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{}", self.explain())]
pub struct NoExactEdge {
    /// The metric, as it was asked for.
    pub metric: String,
    /// The labels of the source that lacks the edge; empty when it has none, or no source has
    /// buckets.
    pub labels: Labels,
    /// The edge that would be needed.
    pub edge: f64,
    /// The edges there are, ascending, without infinity; none when the metric has no buckets.
    pub edges: Vec<f64>,
}

impl NoExactEdge {
    fn explain(&self) -> String {
        let Self { metric, labels, edge, edges } = self;
        let mut text = metric.clone();
        let mut write = |part: std::fmt::Arguments<'_>| {
            text.write_fmt(part).expect("a String takes every write");
        };
        if !labels.is_empty() {
            write(format_args!(" of {labels}"));
        }
        match edges.split_first() {
            None => write(format_args!(
                " has no buckets, as a summary has none, and so no edge at {edge}"
            )),
            Some((first, more)) => {
                write(format_args!(" has no bucket edge at {edge}, only at {first}"));
                more.iter().for_each(|edge| write(format_args!(", {edge}")));
            }
        }
        text.push_str(
            "; an edge is set with `PrometheusBuilder::set_buckets_for_metric` where \
             metrics-exporter-prometheus keeps the metric, with `Metric::budget` where HMS-OPS does",
        );
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(cluster: &str, edges: &[&str]) -> Vec<Labels> {
        let bucket = Labels::metric("work_ms_bucket").with("cluster", cluster);
        edges.iter().map(|le| bucket.with("le", le)).collect()
    }

    #[test]
    fn an_edge_is_found_by_its_number_however_it_is_written() {
        for le in ["300", "300.0", "3e2"] {
            assert_eq!(exact_edge(&buckets("a", &["100", le, "+Inf"]), "work.ms", 300.0), Ok(()));
        }
    }

    #[test]
    fn a_missing_edge_is_refused_with_those_there_are_and_what_to_do() {
        let series = buckets("", &["1e3", "+Inf", "20", "100.0"]);
        let refused = exact_edge(&series, "work.ms", 300.0).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "work.ms has no bucket edge at 300, only at 20, 100, 1000; an edge is set with \
             `PrometheusBuilder::set_buckets_for_metric` where metrics-exporter-prometheus keeps \
             the metric, with `Metric::budget` where HMS-OPS does"
        );
    }

    #[test]
    fn one_source_without_the_edge_is_enough_to_refuse() {
        let series = [buckets("a", &["300", "+Inf"]), buckets("b", &["250", "+Inf"])].concat();
        let refused = exact_edge(&series, "work_ms", 300.0).unwrap_err();
        let begin = r#"work_ms of {cluster="b"} has no bucket edge at 300, only at 250; "#;
        assert!(refused.to_string().starts_with(begin), "{refused}");
    }

    #[test]
    fn a_metric_without_buckets_is_refused_as_what_it_is() {
        let summary = ["work_ms_sum", "work_ms_count", "other_ms_bucket"].map(Labels::metric);
        for series in [&summary[..], &[], &buckets("", &["+Inf"])] {
            let refused = exact_edge(series, "work_ms", 300.0).unwrap_err();
            let begin = "work_ms has no buckets, as a summary has none, and so no edge at 300; ";
            assert!(refused.to_string().starts_with(begin), "{refused}");
        }
    }

    #[test]
    fn the_metric_with_a_budget_wins_over_every_convention() {
        let series = [
            Labels::metric("http_request_duration_seconds_count"),
            Labels::metric("http_server_request_duration_seconds_count"),
            Labels::metric("work_ms_count"),
        ];
        let kind = |budgets: &[&str]| Signal::choose(&series, budgets).unwrap().kind;
        assert_eq!(kind(&["work.ms"]), SignalKind::Budget);
        assert_eq!(kind(&[]), SignalKind::OpenTelemetry);
        assert_eq!(Signal::choose(&series[2..], &[]), None);
    }

    #[test]
    fn errors_are_told_by_their_labels() {
        for (name, value, error) in [
            ("status", "error", true),
            ("status", "503", true),
            ("code", "500", true),
            ("http_response_status_code", "502", true),
            ("code", "404", false),
            ("code", "5", false),
            ("status", "ok", false),
        ] {
            let labels = Labels::metric("x_count").with(name, value);
            assert_eq!(Signal::is_error(&labels), error, "{name}={value}");
        }
    }
}
