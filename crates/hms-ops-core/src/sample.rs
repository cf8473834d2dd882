//! Samples: a timestamp and a value, which is a number or a histogram. Exemplars: single observations
//! behind them.

use std::sync::Arc;

use crate::labels::Labels;
use crate::time::Timestamp;

/// What a series held at one instant.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// When.
    pub at: Timestamp,
    /// What.
    pub value: Value,
}

/// The value of a sample.
///
/// ```
/// use hms_ops_core::sample::Value;
///
/// assert_eq!(Value::Float(1.0).as_float(), Some(1.0));
/// assert!(Value::STALE.is_stale());
/// ```
#[derive(Clone, Debug)]
pub enum Value {
    /// A number, possibly not finite.
    Float(f64),
    /// A native histogram.
    Histogram(Arc<Histogram>),
}

/// The bits of the NaN that marks a series as ended, as in Prometheus.
const STALE_BITS: u64 = 0x7ff0_0000_0000_0002;

impl Value {
    /// The staleness marker: the series has ended, or its target could not be read.
    pub const STALE: Self = Self::Float(f64::from_bits(STALE_BITS));

    /// Whether this is the staleness marker.
    pub fn is_stale(&self) -> bool {
        matches!(self, Self::Float(v) if v.to_bits() == STALE_BITS)
    }

    /// The number, if it is one.
    pub fn as_float(&self) -> Option<f64> {
        match self {
            Self::Float(v) => Some(*v),
            Self::Histogram(_) => None,
        }
    }
}

/// Numbers are equal bit by bit, so that a NaN equals itself and the staleness marker differs from
/// other NaNs.
impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Float(a), Self::Float(b)) => a.to_bits() == b.to_bits(),
            (Self::Histogram(a), Self::Histogram(b)) => a == b,
            _ => false,
        }
    }
}

impl From<f64> for Value {
    fn from(v: f64) -> Self {
        Self::Float(v)
    }
}

/// A native histogram, as in Prometheus 3.x.
///
/// Bucket `i` of schema `s` in `-4..=8` holds observations in `(base^(i-1), base^i]` with
/// `base = 2^(2^-s)`; schema `-53` has the upper edges in `custom_edges` instead.
#[derive(Clone, Debug)]
pub struct Histogram {
    /// Resolution of the buckets.
    pub schema: i8,
    /// Half the width of the bucket around zero.
    pub zero_threshold: f64,
    /// Observations in the bucket around zero.
    pub zero_count: f64,
    /// All observations.
    pub count: f64,
    /// Sum of all observations.
    pub sum: f64,
    /// Buckets above zero: index and observations, ascending, none empty.
    pub positive: Vec<(i32, f64)>,
    /// Buckets below zero: index and observations, ascending, none empty.
    pub negative: Vec<(i32, f64)>,
    /// Upper edges, ascending, for schema `-53`; else empty.
    pub custom_edges: Vec<f64>,
    /// What is known about a reset before this sample.
    pub reset: CounterReset,
}

/// Numbers are equal bit by bit, so that a histogram whose sum is a NaN equals itself.
impl PartialEq for Histogram {
    fn eq(&self, other: &Self) -> bool {
        let numbers = |h: &Self| [h.zero_threshold, h.zero_count, h.count, h.sum].map(f64::to_bits);
        let same = |a: &[(i32, f64)], b: &[(i32, f64)]| {
            let bits = |(i, n): &(i32, f64)| (*i, n.to_bits());
            a.iter().map(bits).eq(b.iter().map(bits))
        };
        (self.schema, self.reset, numbers(self)) == (other.schema, other.reset, numbers(other))
            && same(&self.positive, &other.positive)
            && same(&self.negative, &other.negative)
            && self
                .custom_edges
                .iter()
                .map(|e| e.to_bits())
                .eq(other.custom_edges.iter().map(|e| e.to_bits()))
    }
}

/// Whether a histogram's counts began anew since the sample before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum CounterReset {
    /// Not known: compare the counts.
    #[default]
    Unknown,
    /// It did.
    Reset,
    /// It did not.
    NotReset,
    /// The counts may go down: it is a gauge.
    Gauge,
}

/// One observation that stands for many, usually with the id of its trace.
///
/// ```
/// use hms_ops_core::{labels::Labels, sample::Exemplar, time::Timestamp};
///
/// let labels = Labels::from_pairs([("trace_id", "4bf92f3577b34da6a3ce929d0e0e4736")]);
/// let slow = Exemplar { labels, value: 312.5, at: Timestamp::from_millis(1000) };
/// assert_eq!(slow.labels.get("trace_id").map(str::len), Some(32));
/// ```
#[derive(Clone, Debug)]
pub struct Exemplar {
    /// What tells the observation, beside the labels of its series.
    pub labels: Labels,
    /// The observed value, in the unit of its series.
    pub value: f64,
    /// When it was observed.
    pub at: Timestamp,
}

/// Numbers are equal bit by bit, so that an exemplar that is exposed again is the same one.
impl PartialEq for Exemplar {
    fn eq(&self, other: &Self) -> bool {
        let numbers = |e: &Self| (e.at, e.value.to_bits());
        numbers(self) == numbers(other) && self.labels == other.labels
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_staleness_marker_differs_from_every_other_nan() {
        assert!(!Value::Float(f64::NAN).is_stale());
        assert_ne!(Value::STALE, Value::Float(f64::NAN));
        assert_eq!(Value::Float(f64::NAN), Value::Float(f64::NAN));
    }
}
