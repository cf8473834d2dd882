//! Histograms: everything that PromQL computes from them, as functions that know no query.
//!
//! Native histograms are the [`Histogram`] of core; [`classic`] works on buckets of their own series.
//! No function here panics or fails to end, whatever the histogram holds; one whose buckets or edges
//! are out of order gives an answer that means nothing.
//!
//! ```
//! use hms_ops_promql::histogram::{self, classic::{Bucket, nhcb_from_classic}};
//!
//! let mut buckets = [(0.1, 20.0), (0.5, 90.0), (f64::INFINITY, 100.0)]
//!     .map(|(upper, count)| Bucket { upper, count })
//!     .to_vec();
//! let pod = nhcb_from_classic(&mut buckets, Some(31.0), None)?;
//! let service = histogram::add(&pod, &pod)?.histogram;
//! assert_eq!(histogram::quantile(0.2, &service).0, 0.1);
//! assert_eq!(histogram::fraction(0.0, 0.5, &service).0, 0.9);
//! assert_eq!(histogram::average(&service), 0.31);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The rules are those of `model/histogram` and of `promql/quantile.go` in Prometheus 3.14.

use hms_ops_core::sample::{CounterReset, Histogram};

mod buckets;
pub mod classic;
mod quantile;
mod rate;
mod sum;
mod text;
mod trim;

pub use self::buckets::{Bounds, Bucket, buckets};
pub use self::quantile::{QuantileNote, average, fraction, quantile, stddev, stdvar};
pub use self::rate::{Rate, between, instant_rate_of, is_reset, rate_at_edges, rate_of};
pub use self::sum::{Mean, Sum, add, reduce, sub};
pub use self::text::{to_test_expression, to_text};
pub use self::trim::{trim_lower, trim_upper};

/// The schema of a histogram with edges of its own.
const CUSTOM: i8 = -53;

/// Two histograms of which one has exponential buckets and the other edges of its own.
///
/// Nothing can be computed from both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a histogram with exponential buckets met one with custom buckets")]
pub struct Incompatible;

/// What came of combining histograms.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The result, without empty buckets.
    pub histogram: Histogram,
    /// Whether custom edges differed, so that only those common to all are left.
    pub reconciled_edges: bool,
    /// Whether one was known to follow a reset and another not to.
    pub conflicting_resets: bool,
}

/// `h` with every count and the sum times `factor`; a gauge, if that is below zero.
pub fn scale(h: &Histogram, factor: f64) -> Histogram {
    let mut scaled = map(h, |n| n * factor);
    if factor < 0.0 {
        scaled.reset = CounterReset::Gauge;
    }
    scaled
}

/// `h` with every count and the sum by `divisor`; a gauge, if that is below zero.
///
/// By zero, it loses its buckets: they would all be infinite.
pub fn divide(h: &Histogram, divisor: f64) -> Histogram {
    let mut divided = map(h, |n| n / divisor);
    if divisor == 0.0 {
        divided.positive.clear();
        divided.negative.clear();
    } else if divisor < 0.0 {
        divided.reset = CounterReset::Gauge;
    }
    divided
}

/// `h` with every count and the sum below zero instead of above; a gauge.
pub fn negate(h: &Histogram) -> Histogram {
    scale(h, -1.0)
}

fn map(h: &Histogram, f: impl Fn(f64) -> f64) -> Histogram {
    let side = |buckets: &[(i32, f64)]| {
        buckets.iter().map(|&(i, n)| (i, f(n))).filter(|&(_, n)| n != 0.0).collect()
    };
    Histogram {
        schema: h.schema,
        zero_threshold: h.zero_threshold,
        zero_count: f(h.zero_count),
        count: f(h.count),
        sum: f(h.sum),
        positive: side(&h.positive),
        negative: side(&h.negative),
        custom_edges: h.custom_edges.clone(),
        reset: h.reset,
    }
}

/// Whether both hold the same buckets and counts, bit by bit; what is known about resets may differ.
pub fn equal(a: &Histogram, b: &Histogram) -> bool {
    let bits = |h: &Histogram| [h.zero_count, h.count, h.sum].map(f64::to_bits);
    let same = |a: &[(i32, f64)], b: &[(i32, f64)]| {
        let bits = |&(i, n): &(i32, f64)| (i, n.to_bits());
        a.iter().map(bits).eq(b.iter().map(bits))
    };
    a.schema == b.schema
        && a.zero_threshold == b.zero_threshold
        && bits(a) == bits(b)
        && same(&a.positive, &b.positive)
        && same(&a.negative, &b.negative)
        && (a.schema != CUSTOM || a.custom_edges == b.custom_edges)
}

/// Drops the empty buckets, which the functions of this module expect to be gone.
pub fn compact(h: &mut Histogram) {
    h.positive.retain(|&(_, n)| n != 0.0);
    h.negative.retain(|&(_, n)| n != 0.0);
}

/// What is known about a reset before the combination of two histograms, and whether they disagree.
fn merge_resets(a: CounterReset, b: CounterReset) -> (CounterReset, bool) {
    use CounterReset::{Gauge, Unknown};
    match (a, b) {
        (a, b) if a == b => (a, false),
        (Gauge, _) | (_, Gauge) => (Gauge, false),
        (Unknown, _) | (_, Unknown) => (Unknown, false),
        _ => (Unknown, true),
    }
}

/// A sum and what rounding took from it so far, as in Neumaier's variant of Kahan's summation.
#[derive(Clone, Copy, Debug, Default)]
struct Kahan {
    sum: f64,
    lost: f64,
}

impl Kahan {
    fn add(&mut self, n: f64) {
        let total = self.sum + n;
        if total.is_infinite() {
            self.lost = 0.0;
        } else if self.sum.abs() >= n.abs() {
            self.lost += (self.sum - total) + n;
        } else {
            self.lost += (n - total) + self.sum;
        }
        self.sum = total;
    }
}

#[cfg(test)]
#[allow(clippy::approx_constant, reason = "they are what the test files say")]
mod tests;
