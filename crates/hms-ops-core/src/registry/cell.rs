//! The cells behind counters, gauges and histograms.

use std::array;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::name::Unit;
use crate::striped::{Count, Striped, add_f64, add_u64};

/// The most edges that a histogram has; the bucket above the last has none. With this many, the sum
/// and the buckets of one thread take 256 bytes.
pub const MAX_EDGES: usize = 30;

/// Values that were not recorded because they are not finite, in the whole process.
pub(super) static INVALID: Count = Count::new();

/// A counter: increments, or an absolute value that only grows; the larger of both is read.
#[derive(Debug, Default)]
pub(crate) struct CounterCell {
    increments: Count,
    absolute: AtomicU64,
}

impl CounterCell {
    #[inline]
    pub(crate) fn increment(&self, by: u64) {
        self.increments.add(by);
    }

    pub(crate) fn absolute(&self, value: u64) {
        self.absolute.fetch_max(value, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.increments.get().max(self.absolute.load(Ordering::Relaxed))
    }
}

/// A gauge: the bits of an `f64`.
#[derive(Debug, Default)]
pub(crate) struct GaugeCell(AtomicU64);

impl GaugeCell {
    pub(crate) fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }

    pub(crate) fn add(&self, by: f64) {
        add_f64(&self.0, crate::striped::Access::Shared, by);
    }

    pub(crate) fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }
}

/// A histogram. An edge that is added later begins a new generation with more buckets; what the
/// old one counted is read with the next edge above it, so counts never go down.
#[derive(Debug)]
pub(crate) struct HistogramCell {
    first: Generation,
}

#[derive(Debug)]
struct Generation {
    edges: Edges,
    stripes: Striped<Stripe>,
    next: OnceLock<Box<Generation>>,
}

#[derive(Debug)]
struct Stripe {
    sum: AtomicU64,
    counts: [AtomicU64; MAX_EDGES + 1],
}

impl Default for Stripe {
    fn default() -> Self {
        Self { sum: AtomicU64::new(0f64.to_bits()), counts: array::from_fn(|_| AtomicU64::new(0)) }
    }
}

/// Ascending upper edges, filled up with infinity so that the search has a fixed length.
#[derive(Clone, Copy, Debug)]
struct Edges {
    all: [f64; MAX_EDGES + 1],
    len: usize,
}

impl Edges {
    fn new(edges: &[f64]) -> Self {
        let mut all = [f64::INFINITY; MAX_EDGES + 1];
        all[..edges.len()].copy_from_slice(edges);
        Self { all, len: edges.len() }
    }

    fn get(&self) -> &[f64] {
        &self.all[..self.len]
    }

    /// The bucket of `v`: how many edges lie below it.
    #[inline]
    fn bucket(&self, v: f64) -> usize {
        // A fixed count of comparisons without branches; the compiler turns it into vector code.
        self.all.iter().map(|edge| usize::from(v > *edge)).sum()
    }

    /// With one edge more; `None` if it is there, there is no room, or it cannot be one.
    fn with(&self, edge: f64) -> Option<Self> {
        if self.get().contains(&edge) || self.len == MAX_EDGES || !edge.is_finite() {
            return None;
        }
        let mut edges = self.get().to_vec();
        edges.insert(self.bucket(edge), edge);
        Some(Self::new(&edges))
    }
}

impl Generation {
    fn new(edges: Edges) -> Self {
        Self { edges, stripes: Striped::new(), next: OnceLock::new() }
    }
}

impl HistogramCell {
    pub(crate) fn new(edges: &[f64]) -> Self {
        Self { first: Generation::new(Edges::new(edges)) }
    }

    /// Counts `v` and adds it to the sum. What is not finite would stay in the sum for ever, and is
    /// only counted as invalid.
    #[inline]
    pub(crate) fn record(&self, v: f64) {
        if !v.is_finite() {
            INVALID.add(1);
            return;
        }
        let newest = self.newest();
        let (stripe, access) = newest.stripes.cell();
        // First the sum: a reader that sees the count sees the sum, too.
        add_f64(&stripe.sum, access, v);
        add_u64(&stripe.counts[newest.edges.bucket(v)], access, 1);
    }

    /// Makes `edge` an exact edge for all that is recorded from now on; `false` when there is no room
    /// for it, or it is not finite.
    pub(crate) fn add_edge(&self, edge: f64) -> bool {
        let newest = self.newest();
        let Some(edges) = newest.edges.with(edge) else {
            return newest.edges.get().contains(&edge);
        };
        // Two threads at once: the slower one adds its edge after the faster one's.
        newest.next.set(Box::new(Generation::new(edges))).is_ok() || self.add_edge(edge)
    }

    pub(crate) fn read(&self) -> HistogramPoint {
        let edges = self.newest().edges;
        let mut counts = vec![0u64; edges.len + 1];
        let mut sum = 0.0;
        let mut generation = Some(&self.first);
        while let Some(g) = generation {
            for stripe in g.stripes.cells() {
                for (i, count) in stripe.counts.iter().enumerate().take(g.edges.len + 1) {
                    counts[edges.bucket(g.edges.all[i]).min(edges.len)] +=
                        count.load(Ordering::Acquire);
                }
                sum += f64::from_bits(stripe.sum.load(Ordering::Relaxed));
            }
            generation = g.next.get().map(|boxed| &**boxed);
        }
        HistogramPoint { edges: edges.get().to_vec(), counts, sum }
    }

    #[inline]
    fn newest(&self) -> &Generation {
        let mut generation = &self.first;
        while let Some(next) = generation.next.get() {
            generation = next;
        }
        generation
    }
}

/// A histogram as read at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct HistogramPoint {
    /// Upper edges of the buckets, ascending, each part of its bucket.
    pub edges: Vec<f64>,
    /// Values per bucket, not cumulative; the last, one more than there are edges, has no edge.
    pub counts: Vec<u64>,
    /// Sum of all values.
    pub sum: f64,
}

impl HistogramPoint {
    /// All values recorded.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Values at or below `edge`; `None` when it is not an exact edge.
    pub fn at_or_below(&self, edge: f64) -> Option<u64> {
        let i = self.edges.iter().position(|e| *e == edge)?;
        Some(self.counts[..=i].iter().sum())
    }
}

/// The edges of a new histogram, before those of its budgets.
pub(super) fn default_edges(unit: Unit) -> &'static [f64] {
    match unit {
        Unit::Milliseconds => &[
            1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 75.0, 100.0, 150.0, 200.0, 300.0, 400.0, 500.0, 750.0,
            1000.0, 2500.0, 5000.0, 10_000.0,
        ],
        Unit::Seconds => &[
            0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75,
            1.0, 2.5, 5.0, 10.0,
        ],
        Unit::None => &[
            0.001,
            0.01,
            0.1,
            0.25,
            0.5,
            1.0,
            2.5,
            5.0,
            10.0,
            25.0,
            50.0,
            100.0,
            250.0,
            500.0,
            1000.0,
            10_000.0,
            100_000.0,
            1_000_000.0,
        ],
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn counts_and_edges_agree_with_counting_one_by_one(
            values in prop::collection::vec(-10.0..20_000.0f64, 0..200),
            late_edges in prop::collection::vec(1.0..10_000.0f64, 0..20),
        ) {
            let cell = HistogramCell::new(default_edges(Unit::Milliseconds));
            for &edge in &late_edges {
                cell.add_edge(edge);
            }
            for &v in &values {
                cell.record(v);
            }
            let read = cell.read();
            prop_assert_eq!(read.count(), values.len() as u64);
            for &edge in &read.edges {
                let expected = values.iter().filter(|v| **v <= edge).count() as u64;
                prop_assert_eq!(read.at_or_below(edge), Some(expected));
            }
            prop_assert!((read.sum - values.iter().sum::<f64>()).abs() < 1e-6);
        }
    }

    #[test]
    fn what_is_not_finite_does_not_spoil_the_sum_and_is_counted() {
        let (cell, before) = (HistogramCell::new(&[1.0]), INVALID.get());
        for v in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 7.0] {
            cell.record(v);
        }
        let read = cell.read();
        assert_eq!((read.counts, read.sum), (vec![0, 1], 7.0));
        assert!(INVALID.get() >= before + 3);
    }
}
