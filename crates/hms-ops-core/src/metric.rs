//! What a user records with: [`Metric`], [`Counter`] and [`Gauge`].

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::labels::Labels;
use crate::name::{Unit, stored_label, stored_name};
use crate::registry::{CounterCell, GaugeCell, HistogramCell, Registry};

/// The mean of a metric's events that a service promises to stay at or below.
///
/// The mean is weighted by events: the sum of all values in the window over their count, so a
/// quiet second weighs less than a busy one.
///
/// ```
/// use std::time::Duration;
/// use hms_ops_core::metric::Budget;
///
/// let budget = Budget::new(300.0).mean_over(Duration::from_secs(5)).hold(Duration::from_secs(5));
/// assert_eq!(budget.limit, 300.0);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    /// The highest mean allowed, in the metric's unit.
    pub limit: f64,
    /// How far back the mean looks. Default 60 s.
    pub mean_over: Duration,
    /// How long the mean must stay above the limit before the alert fires. Default 120 s.
    pub hold: Duration,
    /// How long it must stay at or below it before a firing alert resolves. Default 60 s.
    pub recover: Duration,
}

impl Budget {
    /// A budget with the default window, hold and recovery.
    pub const fn new(limit: f64) -> Self {
        Self {
            limit,
            mean_over: Duration::from_secs(60),
            hold: Duration::from_secs(120),
            recover: Duration::from_secs(60),
        }
    }

    /// Sets how far back the mean looks.
    #[must_use]
    pub const fn mean_over(mut self, window: Duration) -> Self {
        self.mean_over = window;
        self
    }

    /// Sets how long the budget must be broken before the alert fires.
    #[must_use]
    pub const fn hold(mut self, hold: Duration) -> Self {
        self.hold = hold;
        self
    }

    /// Sets how long the budget must hold again before the alert resolves.
    #[must_use]
    pub const fn recover(mut self, recover: Duration) -> Self {
        self.recover = recover;
        self
    }
}

/// What [`Metric::budget`] takes: a number in the metric's unit, a duration, or a whole [`Budget`].
pub trait IntoBudget {
    /// The budget of a metric that is measured in `unit`.
    fn into_budget(self, unit: Unit) -> Budget;
}

impl IntoBudget for f64 {
    fn into_budget(self, _unit: Unit) -> Budget {
        Budget::new(self)
    }
}

impl IntoBudget for Duration {
    fn into_budget(self, unit: Unit) -> Budget {
        Budget::new(in_unit(self, unit))
    }
}

impl IntoBudget for Budget {
    fn into_budget(self, _unit: Unit) -> Budget {
        self
    }
}

/// A duration as a number in `unit`; in seconds where the name states no unit.
fn in_unit(d: Duration, unit: Unit) -> f64 {
    match unit {
        Unit::Milliseconds => d.as_secs_f64() * 1000.0,
        Unit::Seconds | Unit::None => d.as_secs_f64(),
    }
}

/// A metric whose values have a distribution, such as a latency. Make it once, record often.
///
/// ```
/// use hms_ops_core::metric::Metric;
///
/// let latency = Metric::new("eligibility.latency_ms").budget(300.0);
/// latency.record(120.0);
/// latency.record_duration(std::time::Duration::from_millis(80));
/// ```
#[derive(Clone, Debug)]
pub struct Metric {
    series: Series<Arc<HistogramCell>>,
}

impl Metric {
    /// A metric of the process-wide registry.
    pub fn new(name: &str) -> Self {
        Registry::global().metric(name)
    }

    pub(crate) fn in_registry(registry: Registry, name: &str) -> Self {
        Self { series: Series::new(registry, name) }
    }

    /// The series of this metric with one label more.
    #[must_use]
    pub fn label(self, name: &str, value: &str) -> Self {
        Self { series: self.series.label(name, value) }
    }

    /// Declares the budget of this metric, for all its series. A later declaration replaces this one.
    ///
    /// The limit becomes an exact bucket edge. A histogram has room for 12 of them beside its own;
    /// further limits are judged as well, but get no edge ([`Registry::refused_edges`]).
    #[must_use]
    pub fn budget(self, budget: impl IntoBudget) -> Self {
        let budget = budget.into_budget(Unit::of(&self.series.name));
        self.series.registry.declare_budget(&self.series.spelled, budget);
        self
    }

    /// Records one value, in the metric's unit. Takes no lock and does not wait. A value that is not
    /// finite is not recorded, but counted ([`Registry::invalid`]).
    #[inline]
    pub fn record(&self, value: f64) {
        self.series.cell(Registry::histogram_cell).record(value);
    }

    /// Records a duration in the unit that the metric's name states (`_ms`, `_seconds`), or in
    /// seconds.
    pub fn record_duration(&self, took: Duration) {
        self.record(in_unit(took, Unit::of(&self.series.name)));
    }
}

/// A number that only grows.
///
/// ```
/// use hms_ops_core::metric::Counter;
///
/// Counter::new("claims_total").label("state", "fl").increment(1);
/// ```
#[derive(Clone, Debug)]
pub struct Counter {
    series: Series<Arc<CounterCell>>,
}

impl Counter {
    /// A counter of the process-wide registry.
    pub fn new(name: &str) -> Self {
        Registry::global().counter(name)
    }

    pub(crate) fn in_registry(registry: Registry, name: &str) -> Self {
        Self { series: Series::new(registry, name) }
    }

    /// The series of this counter with one label more.
    #[must_use]
    pub fn label(self, name: &str, value: &str) -> Self {
        Self { series: self.series.label(name, value) }
    }

    /// Adds `by`.
    #[inline]
    pub fn increment(&self, by: u64) {
        self.series.cell(Registry::counter_cell).increment(by);
    }
}

/// A number that goes up and down.
///
/// ```
/// use hms_ops_core::metric::Gauge;
///
/// let depth = Gauge::new("queue_depth");
/// depth.set(3.0);
/// depth.add(-1.0);
/// ```
#[derive(Clone, Debug)]
pub struct Gauge {
    series: Series<Arc<GaugeCell>>,
}

impl Gauge {
    /// A gauge of the process-wide registry.
    pub fn new(name: &str) -> Self {
        Registry::global().gauge(name)
    }

    pub(crate) fn in_registry(registry: Registry, name: &str) -> Self {
        Self { series: Series::new(registry, name) }
    }

    /// The series of this gauge with one label more.
    #[must_use]
    pub fn label(self, name: &str, value: &str) -> Self {
        Self { series: self.series.label(name, value) }
    }

    /// Sets the value.
    pub fn set(&self, value: f64) {
        self.series.cell(Registry::gauge_cell).set(value);
    }

    /// Adds `by`, which may be negative.
    pub fn add(&self, by: f64) {
        self.series.cell(Registry::gauge_cell).add(by);
    }
}

/// A series that is registered when it is first written, so that labels can be added before.
#[derive(Clone, Debug)]
struct Series<C> {
    registry: Registry,
    /// The name as the user wrote it, under which people meet the alert.
    spelled: Arc<str>,
    name: Arc<str>,
    labels: Labels,
    cell: OnceLock<C>,
}

impl<C> Series<C> {
    fn new(registry: Registry, name: &str) -> Self {
        let stored: Arc<str> = stored_name(name).into();
        let cell = OnceLock::new();
        Self { registry, spelled: name.into(), name: stored, labels: Labels::empty(), cell }
    }

    fn label(self, name: &str, value: &str) -> Self {
        let labels = self.labels.with(&stored_label(name), value);
        Self { labels, cell: OnceLock::new(), ..self }
    }

    #[inline]
    fn cell(&self, find: fn(&Registry, &str, &Labels) -> C) -> &C {
        self.cell.get_or_init(|| find(&self.registry, &self.name, &self.labels))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_budget_is_taken_in_the_unit_of_the_name() {
        let registry = Registry::new();
        let _ms = registry.metric("a.latency_ms").budget(Duration::from_millis(300));
        let _s = registry.metric("b.latency_seconds").budget(Duration::from_millis(300));
        let limits: Vec<_> = registry.budgets().iter().map(|(_, b)| b.limit).collect();
        assert_eq!(limits, [300.0, 0.3]);
    }

    #[test]
    fn labels_may_be_added_without_leaving_an_empty_series_behind() {
        let registry = Registry::new();
        registry.counter("claims").label("state", "fl").label("kind", "roof").increment(1);
        let families = registry.snapshot();
        assert_eq!(families[0].series.len(), 1);
        assert_eq!(families[0].series[0].0.to_string(), r#"{kind="roof",state="fl"}"#);
    }
}
