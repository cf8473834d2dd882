//! The metric registry: every counter, gauge and histogram of a process.
//!
//! It is a [`metrics::Recorder`], so `metrics::counter!` and its kin from any crate land here too.
//! Writing goes to striped cells (see [`crate::striped`]); a lock is taken only to make a series
//! and to read all of them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use crate::labels::Labels;
use crate::metric::{Budget, Counter, Gauge, Metric};
use crate::name::{Unit, stored_name};
use crate::striped::Count;

mod cell;
mod recorder;

pub(crate) use cell::{CounterCell, GaugeCell, HistogramCell};
pub use cell::{HistogramPoint, MAX_EDGES};

/// How many series a registry holds unless told otherwise.
pub const DEFAULT_MAX_SERIES: usize = 20_000;
/// The label of the one series per metric that takes what is over the limit.
pub const OVERFLOW: &str = "hms_ops_overflow";

/// A set of metrics that are sampled and exposed together. Cheap to clone.
///
/// ```
/// use hms_ops_core::registry::Registry;
///
/// let registry = Registry::new();
/// registry.counter("claims").increment(2);
/// registry.metric("eligibility.latency_ms").budget(300.0).record(120.0);
/// let families = registry.snapshot();
/// assert_eq!(families[0].name, "claims".into());
/// assert_eq!(families[1].name, "eligibility_latency_ms".into());
/// ```
#[derive(Clone, Debug, Default)]
pub struct Registry(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    families: RwLock<BTreeMap<Arc<str>, Family>>,
    max_series: OnceLock<usize>,
    refused: Count,
    conflicts: Count,
    refused_edges: Count,
}

#[derive(Debug, Default)]
struct Family {
    help: Option<Arc<str>>,
    /// The last declared, with the metric's name as it was spelled.
    budget: Option<(Arc<str>, Budget)>,
    /// The limits of all budgets declared, in that order: edges of every histogram of the family.
    edges: Vec<f64>,
    cells: HashMap<Labels, Cell>,
}

#[derive(Clone, Debug)]
enum Cell {
    Counter(Arc<CounterCell>),
    Gauge(Arc<GaugeCell>),
    Histogram(Arc<HistogramCell>),
}

/// What kind of metric a family is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, save for a restart.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Distribution of recorded values.
    Histogram,
}

impl Kind {
    /// The kind in one word, as in exposition.
    pub fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// All series of one metric, as read at one moment.
#[derive(Clone, Debug)]
pub struct FamilySnapshot {
    /// Stored name.
    pub name: Arc<str>,
    /// Kind of all its series.
    pub kind: Kind,
    /// What the metric means, if somebody said so.
    pub help: Option<Arc<str>>,
    /// Label set (without the name) and value of each series, sorted by labels.
    pub series: Vec<(Labels, Point)>,
}

/// The value of one series.
#[derive(Clone, Debug)]
pub enum Point {
    /// Of a counter or a gauge.
    Number(f64),
    /// Of a histogram.
    Histogram(HistogramPoint),
}

impl Registry {
    /// An empty registry that holds at most [`DEFAULT_MAX_SERIES`] series.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty registry that holds at most `max` series, besides one overflow series a metric.
    pub fn with_max_series(max: usize) -> Self {
        let registry = Self::new();
        registry.0.max_series.set(max).expect("a new registry has no limit yet");
        registry
    }

    /// The registry of the process, which [`Metric::new`] uses.
    pub fn global() -> &'static Self {
        static GLOBAL: OnceLock<Registry> = OnceLock::new();
        GLOBAL.get_or_init(Self::new)
    }

    /// A metric whose values have a distribution: latencies, sizes.
    pub fn metric(&self, name: &str) -> Metric {
        Metric::in_registry(self.clone(), name)
    }

    /// A number that only grows.
    pub fn counter(&self, name: &str) -> Counter {
        Counter::in_registry(self.clone(), name)
    }

    /// A number that goes up and down.
    pub fn gauge(&self, name: &str) -> Gauge {
        Gauge::in_registry(self.clone(), name)
    }

    /// Says what a metric means; shown as `# HELP`.
    pub fn describe(&self, name: &str, help: &str) {
        self.change(name, |family| family.help = Some(help.into()));
    }

    /// The budgets declared so far, sorted by metric: its name as it was spelled, and the budget that
    /// was declared last.
    pub fn budgets(&self) -> Vec<(Arc<str>, Budget)> {
        let families = self.0.families.read().unwrap_or_else(PoisonError::into_inner);
        families.values().filter_map(|family| family.budget.clone()).collect()
    }

    /// Reads every series. A metric with a budget that has not recorded yet reads as empty, not as
    /// absent: it reports, and nothing happened.
    pub fn snapshot(&self) -> Vec<FamilySnapshot> {
        let families = self.0.families.read().unwrap_or_else(PoisonError::into_inner);
        families.iter().filter_map(|(name, family)| family.read(name)).collect()
    }

    /// How many registrations of new series were sent to an overflow series.
    pub fn refused(&self) -> u64 {
        self.0.refused.get()
    }

    /// How often a name was asked for as another kind than it has; such values are not kept.
    pub fn conflicts(&self) -> u64 {
        self.0.conflicts.get()
    }

    /// How many declarations of a budget or an edge got no exact edge: their metric had no room for it.
    pub fn refused_edges(&self) -> u64 {
        self.0.refused_edges.get()
    }

    /// How many values no registry of this process recorded because they are not finite.
    pub fn invalid() -> u64 {
        cell::INVALID.get()
    }

    pub(crate) fn declare_budget(&self, name: &str, budget: Budget) {
        self.change(name, |family| family.budget = Some((name.into(), budget)));
        self.declare_edge(name, budget.limit);
    }

    /// Makes `edge` an exact bucket edge of every histogram of this name, so that a latency SLI can be
    /// judged at it. One too many is counted in [`Registry::refused_edges`].
    pub fn declare_edge(&self, name: &str, edge: f64) {
        self.change(name, |family| {
            // All histograms of a family have the same edges, and so the same room.
            if !family.new_histogram(&stored_name(name)).add_edge(edge) {
                self.0.refused_edges.add(1);
            } else if !family.edges.contains(&edge) {
                family.edges.push(edge);
                for cell in family.cells.values() {
                    if let Cell::Histogram(histogram) = cell {
                        histogram.add_edge(edge);
                    }
                }
            }
        });
    }

    pub(crate) fn counter_cell(&self, name: &str, labels: &Labels) -> Arc<CounterCell> {
        self.cell(
            name,
            labels,
            |cell| if let Cell::Counter(c) = cell { Some(c.clone()) } else { None },
            |_| Cell::Counter(Arc::default()),
        )
    }

    pub(crate) fn gauge_cell(&self, name: &str, labels: &Labels) -> Arc<GaugeCell> {
        self.cell(
            name,
            labels,
            |cell| if let Cell::Gauge(c) = cell { Some(c.clone()) } else { None },
            |_| Cell::Gauge(Arc::default()),
        )
    }

    pub(crate) fn histogram_cell(&self, name: &str, labels: &Labels) -> Arc<HistogramCell> {
        self.cell(
            name,
            labels,
            |cell| if let Cell::Histogram(c) = cell { Some(c.clone()) } else { None },
            |family| Cell::Histogram(Arc::new(family.new_histogram(name))),
        )
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut Family)) {
        let mut families = self.0.families.write().unwrap_or_else(PoisonError::into_inner);
        change(families.entry(stored_name(name).into()).or_default());
    }

    /// Finds or makes a series; a series over the limit becomes the metric's overflow series, one
    /// of another kind a cell that nobody reads.
    fn cell<T>(
        &self,
        name: &str,
        labels: &Labels,
        pick: impl Fn(&Cell) -> Option<T>,
        make: impl Fn(&Family) -> Cell,
    ) -> T {
        let name = stored_name(name);
        let found = {
            let families = self.0.families.read().unwrap_or_else(PoisonError::into_inner);
            families.get(&*name).and_then(|f| f.cells.get(labels).and_then(&pick))
        };
        if let Some(found) = found {
            return found;
        }
        let mut families = self.0.families.write().unwrap_or_else(PoisonError::into_inner);
        let series: usize = families.values().map(|f| f.cells.len()).sum();
        let full = series >= *self.0.max_series.get_or_init(|| DEFAULT_MAX_SERIES);
        let family = families.entry(name.into()).or_default();
        let fresh = make(family);
        let same_kind = family.cells.values().all(|cell| cell.kind() == fresh.kind());
        if !same_kind {
            self.0.conflicts.add(1);
            return pick(&fresh).expect("`make` makes what `pick` picks");
        }
        let labels = if full && !family.cells.contains_key(labels) {
            self.0.refused.add(1);
            Labels::from_pairs([(OVERFLOW, "true")])
        } else {
            labels.clone()
        };
        pick(family.cells.entry(labels).or_insert(fresh)).expect("all cells have the same kind")
    }
}

impl Cell {
    fn kind(&self) -> Kind {
        match self {
            Self::Counter(_) => Kind::Counter,
            Self::Gauge(_) => Kind::Gauge,
            Self::Histogram(_) => Kind::Histogram,
        }
    }

    fn read(&self) -> Point {
        match self {
            Self::Counter(cell) => Point::Number(cell.get() as f64),
            Self::Gauge(cell) => Point::Number(cell.get()),
            Self::Histogram(cell) => Point::Histogram(cell.read()),
        }
    }
}

impl Family {
    fn new_histogram(&self, name: &str) -> HistogramCell {
        let histogram = HistogramCell::new(cell::default_edges(Unit::of(name)));
        for &edge in &self.edges {
            histogram.add_edge(edge);
        }
        histogram
    }

    fn read(&self, name: &Arc<str>) -> Option<FamilySnapshot> {
        let mut series: Vec<_> =
            self.cells.iter().map(|(labels, cell)| (labels.clone(), cell.read())).collect();
        series.sort_by(|a, b| a.0.cmp(&b.0));
        if series.is_empty() && self.budget.is_some() {
            series.push((Labels::empty(), Point::Histogram(self.new_histogram(name).read())));
        }
        let kind = match self.cells.values().next() {
            Some(cell) => cell.kind(),
            None if series.is_empty() => return None,
            None => Kind::Histogram,
        };
        Some(FamilySnapshot { name: name.clone(), kind, help: self.help.clone(), series })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only_histogram(registry: &Registry) -> HistogramPoint {
        let families = registry.snapshot();
        match &families[0].series[0].1 {
            Point::Histogram(h) => h.clone(),
            Point::Number(n) => panic!("a number: {n}"),
        }
    }

    #[test]
    fn a_budget_is_an_exact_bucket_edge() {
        let registry = Registry::new();
        let metric = registry.metric("latency_ms").budget(317.0);
        for v in [316.9, 317.0, 317.1] {
            metric.record(v);
        }
        assert_eq!(only_histogram(&registry).at_or_below(317.0), Some(2));
        assert_eq!(only_histogram(&registry).count(), 3);
    }

    #[test]
    fn a_budget_declared_after_the_first_value_still_gets_its_edge_and_loses_nothing() {
        let registry = Registry::new();
        let early = registry.metric("latency_ms");
        early.record(10.0);
        let late = registry.metric("latency_ms").budget(317.0);
        early.record(316.0);
        late.record(318.0);

        let h = only_histogram(&registry);
        assert_eq!((h.count(), h.sum), (3, 644.0));
        assert_eq!(h.at_or_below(317.0), Some(2));
    }

    #[test]
    fn twelve_budgets_of_a_metric_get_an_edge_and_one_more_is_counted() {
        let registry = Registry::new();
        let declare = |limit: u32| registry.metric("latency_ms").budget(f64::from(limit) + 0.7);
        let early = declare(1).label("path", "early");
        early.record(1.0);
        for limit in (2..=13).chain([1]) {
            let _metric = declare(limit);
        }
        declare(13).label("path", "late").record(1.0);

        let series = &registry.snapshot()[0].series;
        for (labels, point) in series {
            let Point::Histogram(histogram) = point else { panic!("{point:?}") };
            let exact = |limit: &u32| histogram.at_or_below(f64::from(*limit) + 0.7).is_some();
            assert_eq!((1..=13).filter(exact).count(), 12, "{labels}");
            assert!(exact(&1) && !exact(&13), "{labels}");
        }
        assert_eq!((series.len(), registry.refused_edges()), (2, 2));
    }

    #[test]
    fn a_metric_with_a_budget_that_never_recorded_reads_as_empty_not_as_absent() {
        let registry = Registry::new();
        let _metric = registry.metric("latency_ms").budget(300.0);
        assert_eq!(only_histogram(&registry).count(), 0);
    }

    #[test]
    fn over_the_limit_a_new_series_goes_to_the_overflow_series_and_old_ones_flow() {
        let registry = Registry::with_max_series(1);
        registry.counter("claims").label("state", "fl").increment(1);
        registry.counter("claims").label("state", "ga").increment(2);
        registry.counter("claims").label("state", "al").increment(3);
        registry.counter("claims").label("state", "fl").increment(4);

        let read: Vec<_> = registry.snapshot()[0]
            .series
            .iter()
            .map(|(labels, point)| match point {
                Point::Number(n) => (labels.to_string(), *n),
                Point::Histogram(_) => panic!("a histogram"),
            })
            .collect();
        let expected =
            [("{hms_ops_overflow=\"true\"}".to_owned(), 5.0), ("{state=\"fl\"}".to_owned(), 5.0)];
        assert_eq!(read, expected);
        assert_eq!(registry.refused(), 2);
    }

    #[test]
    fn a_name_keeps_its_first_kind_and_the_conflict_is_counted() {
        let registry = Registry::new();
        registry.counter("claims").increment(1);
        registry.gauge("claims").set(7.0);
        assert_eq!(registry.snapshot()[0].kind, Kind::Counter);
        assert_eq!(registry.snapshot()[0].series.len(), 1);
        assert_eq!(registry.conflicts(), 1);
    }
}
