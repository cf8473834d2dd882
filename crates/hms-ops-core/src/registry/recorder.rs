//! The registry as the recorder of the `metrics` crate.

use std::sync::Arc;

use metrics::{
    CounterFn, GaugeFn, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};

use super::{CounterCell, GaugeCell, HistogramCell, Registry};
use crate::labels::Labels;

impl Recorder for Registry {
    fn describe_counter(&self, key: KeyName, _unit: Option<Unit>, help: SharedString) {
        self.describe(key.as_str(), &help);
    }

    fn describe_gauge(&self, key: KeyName, _unit: Option<Unit>, help: SharedString) {
        self.describe(key.as_str(), &help);
    }

    fn describe_histogram(&self, key: KeyName, _unit: Option<Unit>, help: SharedString) {
        self.describe(key.as_str(), &help);
    }

    fn register_counter(&self, key: &Key, _metadata: &Metadata<'_>) -> metrics::Counter {
        metrics::Counter::from_arc(self.counter_cell(key.name(), &labels(key)))
    }

    fn register_gauge(&self, key: &Key, _metadata: &Metadata<'_>) -> metrics::Gauge {
        metrics::Gauge::from_arc(self.gauge_cell(key.name(), &labels(key)))
    }

    fn register_histogram(&self, key: &Key, _metadata: &Metadata<'_>) -> metrics::Histogram {
        metrics::Histogram::from_arc(self.histogram_cell(key.name(), &labels(key)))
    }
}

fn labels(key: &Key) -> Labels {
    Labels::from_pairs(key.labels().map(|label| {
        let name: Arc<str> = crate::name::stored_label(label.key()).into();
        (name, label.value())
    }))
}

impl CounterFn for CounterCell {
    fn increment(&self, value: u64) {
        Self::increment(self, value);
    }

    fn absolute(&self, value: u64) {
        Self::absolute(self, value);
    }
}

impl GaugeFn for GaugeCell {
    fn increment(&self, value: f64) {
        self.add(value);
    }

    fn decrement(&self, value: f64) {
        self.add(-value);
    }

    fn set(&self, value: f64) {
        Self::set(self, value);
    }
}

impl HistogramFn for HistogramCell {
    fn record(&self, value: f64) {
        Self::record(self, value);
    }
}

#[cfg(test)]
mod tests {
    use crate::exposition::{Format, encode};
    use crate::registry::Registry;

    #[test]
    fn a_label_that_means_something_else_to_a_store_is_exposed_under_another_name() {
        let registry = Registry::new();
        metrics::with_local_recorder(&registry, || {
            metrics::histogram!("x", "http:route" => "/", "le" => "1", "__name__" => "y")
                .record(1.0);
        });
        let text = encode(&registry.snapshot(), Format::Text);
        let expected = r#"x_count{http_route="/",label___name__="y",label_le="1"} 1"#;
        assert!(text.lines().any(|line| line == expected), "{text}");
    }

    #[test]
    fn macros_of_the_metrics_crate_are_captured() {
        let registry = Registry::new();
        metrics::with_local_recorder(&registry, || {
            metrics::counter!("claims.filed_total", "state" => "fl").increment(3);
            metrics::gauge!("queue.depth").set(4.0);
            metrics::histogram!("pay.latency_ms").record(12.0);
            metrics::describe_counter!("claims.filed_total", "Claims that citizens filed.");
        });
        let text = encode(&registry.snapshot(), Format::Text);
        assert!(text.contains("# HELP claims_filed_total Claims that citizens filed.\n"), "{text}");
        assert!(text.contains("claims_filed_total{state=\"fl\"} 3\n"), "{text}");
        assert!(text.contains("queue_depth 4\n"), "{text}");
        assert!(text.contains("pay_latency_ms_sum 12\n"), "{text}");
    }
}
