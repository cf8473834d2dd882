//! Classic histograms: buckets that are series of their own, each counting all observations up to its
//! upper end.

use std::cmp::Ordering;

use hms_ops_core::sample::{CounterReset, Histogram};

use super::CUSTOM;

/// One bucket of a classic histogram.
///
/// ```
/// use hms_ops_promql::histogram::classic::{Bucket, bucket_fraction, bucket_quantile};
///
/// let mut buckets = [(0.1, 20.0), (0.5, 90.0), (f64::INFINITY, 80.0)]
///     .map(|(upper, count)| Bucket { upper, count })
///     .to_vec();
/// assert_eq!(bucket_fraction(0.0, 0.1, &mut buckets), 0.25);
/// let (median, monotonicity) = bucket_quantile(0.5, &mut buckets);
/// assert!((median - 0.242_857).abs() < 1e-6);
/// assert!(monotonicity.forced, "fewer up to infinity than up to 0.5");
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// Its upper end, the label `le`.
    pub upper: f64,
    /// Observations up to there.
    pub count: f64,
}

/// How far counts were from rising with the upper ends, as they must.
///
/// Differences that rounding explains are not among them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Monotonicity {
    /// Whether a count had to be raised.
    pub forced: bool,
    /// The lowest upper end whose count was raised; infinity, if none was.
    pub lowest: f64,
    /// The highest upper end whose count was raised; minus infinity, if none was.
    pub highest: f64,
    /// By how much a count was raised at most.
    pub largest: f64,
}

impl Monotonicity {
    const KEPT: Self =
        Self { forced: false, lowest: f64::INFINITY, highest: f64::NEG_INFINITY, largest: 0.0 };
}

/// Up to which difference, as a fraction of their sum, two counts are the same but for rounding.
const ROUNDING: f64 = 1e-12;

/// The value below which `q` of the observations are, from 0 to 1, linearly interpolated.
///
/// Leaves `buckets` ascending, merged and monotonic. NaN without observations or without a bucket up
/// to infinity and another; infinite with a `q` out of range. The highest bucket says nothing but
/// where it begins.
pub fn bucket_quantile(q: f64, buckets: &mut Vec<Bucket>) -> (f64, Monotonicity) {
    if q.is_nan() {
        return (f64::NAN, Monotonicity::KEPT);
    } else if q < 0.0 {
        return (f64::NEG_INFINITY, Monotonicity::KEPT);
    } else if q > 1.0 {
        return (f64::INFINITY, Monotonicity::KEPT);
    }
    if !sort(buckets) {
        return (f64::NAN, Monotonicity::KEPT);
    }
    let monotonicity = make_monotonic(buckets);
    (quantile_of(q, buckets), monotonicity)
}

fn quantile_of(q: f64, buckets: &[Bucket]) -> f64 {
    let [finite @ .., Bucket { count: observations, .. }] = buckets else {
        return f64::NAN;
    };
    let Some(highest) = finite.last().filter(|_| *observations != 0.0) else {
        return f64::NAN;
    };
    let rank = q * observations;
    // A count that is no number reaches no rank.
    let at = finite.partition_point(|b| b.count.partial_cmp(&rank).is_none_or(Ordering::is_lt));
    let Some(bucket) = finite.get(at) else {
        return highest.upper;
    };
    let below = match at.checked_sub(1) {
        Some(below) => finite[below],
        None if bucket.upper <= 0.0 => return bucket.upper,
        None => Bucket { upper: 0.0, count: 0.0 },
    };
    let into = (rank - below.count) / (bucket.count - below.count);
    below.upper + (bucket.upper - below.upper) * into
}

/// The fraction of observations between two values, linearly interpolated.
///
/// Leaves `buckets` ascending and merged. NaN without observations or without a bucket up to infinity.
pub fn bucket_fraction(lower: f64, upper: f64, buckets: &mut Vec<Bucket>) -> f64 {
    if !sort(buckets) {
        return f64::NAN;
    }
    let observations = buckets.last().map_or(0.0, |b| b.count);
    if observations == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    } else if lower >= upper {
        return 0.0;
    }
    let rank = |value| rank_of(value, buckets).unwrap_or(observations).min(observations);
    (rank(upper) - rank(lower)) / observations
}

/// How many observations are below `value`; none, if all are.
fn rank_of(value: f64, buckets: &[Bucket]) -> Option<f64> {
    let lowest = if buckets.first()?.upper <= 0.0 { f64::NEG_INFINITY } else { 0.0 };
    let mut below = Bucket { upper: lowest, count: 0.0 };
    for bucket in buckets {
        if below.upper >= value {
            return Some(below.count);
        } else if bucket.upper > value {
            // In a bucket without a beginning, nothing is known but its end.
            return Some(if below.upper == f64::NEG_INFINITY {
                bucket.count
            } else {
                let into = (bucket.count - below.count) * (value - below.upper);
                below.count + into / (bucket.upper - below.upper)
            });
        }
        below = *bucket;
    }
    None
}

/// Sorts, and merges what has the same upper end; whether the last one is infinite.
fn sort(buckets: &mut Vec<Bucket>) -> bool {
    if !buckets.is_sorted_by(|a, b| a.upper < b.upper) {
        buckets.sort_unstable_by(|a, b| a.upper.total_cmp(&b.upper));
        buckets.dedup_by(|b, a| {
            let same = a.upper == b.upper;
            if same {
                a.count += b.count;
            }
            same
        });
    }
    buckets.last().is_some_and(|b| b.upper == f64::INFINITY)
}

/// Raises every count to the one before, and levels those that only rounding tells apart.
fn make_monotonic(buckets: &mut [Bucket]) -> Monotonicity {
    let mut found = Monotonicity::KEPT;
    let Some((first, rest)) = buckets.split_first_mut() else {
        return found;
    };
    let mut highest = first.count;
    for bucket in rest {
        if bucket.count == highest {
            continue;
        } else if almost_equal(highest, bucket.count) {
            bucket.count = highest;
        } else if bucket.count < highest {
            found.forced = true;
            found.lowest = found.lowest.min(bucket.upper);
            found.highest = found.highest.max(bucket.upper);
            found.largest = found.largest.max(highest - bucket.count);
            bucket.count = highest;
        } else {
            highest = bucket.count;
        }
    }
    found
}

fn almost_equal(a: f64, b: f64) -> bool {
    if a.is_nan() && b.is_nan() {
        return true;
    }
    let (difference, sum) = ((a - b).abs(), a.abs() + b.abs());
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < ROUNDING * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < ROUNDING
}

/// Why the series of a classic histogram make no native one.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[allow(missing_docs, reason = "each message explains its fields")]
pub enum ClassicError {
    /// A count that no counting gives.
    #[error("a histogram has {count} observations up to {upper}")]
    Negative { upper: f64, count: f64 },

    /// Fewer observations than up to a lower value.
    #[error("a histogram has {count} observations up to {upper}, but more up to a lower value")]
    Falls { upper: f64, count: f64 },

    /// The series `_count` contradicts the buckets.
    #[error("a histogram has {count} observations, but {upper_count} up to infinity")]
    Count { count: f64, upper_count: f64 },
}

/// The native histogram with custom edges that says the same as a classic one.
///
/// `sum` and `count` are those of its series `_sum` and `_count`; without them, the sum is zero and the
/// count that of the highest bucket. Of buckets with the same upper end, the first counts.
///
/// # Errors
///
/// [`ClassicError`].
pub fn nhcb_from_classic(
    buckets: &mut Vec<Bucket>,
    sum: Option<f64>,
    count: Option<f64>,
) -> Result<Histogram, ClassicError> {
    buckets.sort_by(|a, b| a.upper.total_cmp(&b.upper));
    buckets.dedup_by(|b, a| a.upper == b.upper);
    let count = count.or_else(|| buckets.last().map(|b| b.count)).unwrap_or(0.0);
    if buckets.last().is_none_or(|b| b.upper != f64::INFINITY) {
        buckets.push(Bucket { upper: f64::INFINITY, count });
    }
    let mut below = 0.0;
    let mut positive = Vec::with_capacity(buckets.len());
    for (i, &Bucket { upper, count }) in (0..).zip(&*buckets) {
        if count < 0.0 {
            return Err(ClassicError::Negative { upper, count });
        } else if count < below {
            return Err(ClassicError::Falls { upper, count });
        } else if count > below {
            positive.push((i, count - below));
        }
        below = count;
    }
    if below != count {
        return Err(ClassicError::Count { count, upper_count: below });
    }
    let finite = buckets.iter().map(|b| b.upper).filter(|&u| u != f64::INFINITY);
    Ok(Histogram {
        schema: CUSTOM,
        zero_threshold: 0.0,
        zero_count: 0.0,
        count,
        sum: sum.unwrap_or(0.0),
        positive,
        negative: Vec::new(),
        custom_edges: finite.collect(),
        reset: CounterReset::Unknown,
    })
}
