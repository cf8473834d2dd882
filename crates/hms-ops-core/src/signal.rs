//! What a service's latency, rate and errors are read from.

use serde::{Deserialize, Serialize};

use crate::labels::Labels;
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

#[cfg(test)]
mod tests {
    use super::*;

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
