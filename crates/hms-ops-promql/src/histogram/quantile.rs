//! What the observations of a native histogram are like.

use hms_ops_core::sample::Histogram;

use super::buckets::{Bucket, bucket, exp2, slots};
use super::{CUSTOM, Kahan};

/// What observations that are no number did to a quantile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuantileNote {
    /// The quantile is among them, so that it is no number either.
    ResultIsNan,
    /// They count as larger than all others, so that the quantile is higher than without them.
    SkewedHigher,
}

/// The value below which `q` of the observations are, from 0 to 1.
///
/// Within a bucket it is interpolated: exponentially, or linearly in the one around zero and in
/// custom ones. NaN without observations, infinite with a `q` out of range.
pub fn quantile(q: f64, h: &Histogram) -> (f64, Option<QuantileNote>) {
    if q < 0.0 {
        return (f64::NEG_INFINITY, None);
    } else if q > 1.0 {
        return (f64::INFINITY, None);
    } else if h.count == 0.0 || q.is_nan() {
        return (f64::NAN, None);
    }
    // Observations that are no number are in no bucket, so that only ranks from below are known.
    let ascending = h.sum.is_nan() || q < 0.5;
    let rank = if ascending { q } else { 1.0 - q } * h.count;
    let mut counted = 0.0;
    let mut last = None;
    let mut slots = slots(h);
    while let Some((slot, n)) = if ascending { slots.next() } else { slots.next_back() } {
        last = Some((slot, n));
        counted += n;
        if n != 0.0 && counted >= rank {
            break;
        }
    }
    let Some((slot, n)) = last else {
        return match h.sum.is_nan() {
            true => (f64::NAN, Some(QuantileNote::ResultIsNan)),
            false => (if rank > 0.0 { 0.0 } else { f64::NAN }, None),
        };
    };
    let mut bucket = bucket(h, slot, n);
    if h.schema != CUSTOM {
        bucket = one_sided(h, bucket);
    } else {
        if bucket.lower == f64::NEG_INFINITY && bucket.upper <= 0.0 {
            return (bucket.upper, None);
        } else if bucket.lower != f64::NEG_INFINITY && bucket.upper == f64::INFINITY {
            return (bucket.lower, None);
        }
    }
    let counted = counted.min(h.count);
    if counted < rank {
        let note = h.sum.is_nan().then_some(QuantileNote::ResultIsNan);
        return (if h.sum.is_nan() { f64::NAN } else { bucket.upper }, note);
    }
    // The sum is no number either when both infinities were observed, and that skews nothing.
    let skewed = h.sum.is_nan() && counted + slots.map(|(_, n)| n).sum::<f64>() < h.count;
    let into = if ascending { rank - (counted - n) } else { counted - rank } / n;
    (value_at(h, bucket, into), skewed.then_some(QuantileNote::SkewedHigher))
}

/// The value that a fraction of the observations of a bucket are below.
fn value_at(h: &Histogram, Bucket { lower, upper, .. }: Bucket, into: f64) -> f64 {
    if h.schema == CUSTOM || (lower <= 0.0 && upper >= 0.0) {
        let lower = if lower == f64::NEG_INFINITY { 0.0 } else { lower };
        return lower + (upper - lower) * into;
    }
    let (log_lower, log_upper) = (lower.abs().log2(), upper.abs().log2());
    if lower > 0.0 {
        exp2(log_lower + (log_upper - log_lower) * into)
    } else {
        -exp2(log_upper + (log_lower - log_upper) * (1.0 - into))
    }
}

/// The bucket around zero, cut at zero when all other observations are on one side of it; of custom
/// buckets, the one that zero is in.
fn one_sided(h: &Histogram, mut bucket: Bucket) -> Bucket {
    if bucket.lower <= 0.0 && bucket.upper >= 0.0 {
        match (h.negative.is_empty(), h.positive.is_empty()) {
            (true, false) => bucket.lower = 0.0,
            (false, true) => bucket.upper = 0.0,
            _ => {}
        }
    }
    bucket
}

/// The fraction of observations between two values, and whether some were no number, which are
/// between none.
///
/// NaN without observations.
pub fn fraction(lower: f64, upper: f64, h: &Histogram) -> (f64, bool) {
    if h.count == 0.0 || lower.is_nan() || upper.is_nan() {
        return (f64::NAN, false);
    } else if lower >= upper {
        return (0.0, false);
    }
    let in_buckets = if h.sum.is_nan() { slots(h).map(|(_, n)| n).sum() } else { h.count };
    let rank = |value| rank_of(value, h).unwrap_or(in_buckets).min(in_buckets);
    ((rank(upper) - rank(lower)) / h.count, in_buckets < h.count)
}

/// How many observations are below `value`; none, if all in buckets are.
fn rank_of(value: f64, h: &Histogram) -> Option<f64> {
    let mut rank = 0.0;
    for (slot, n) in slots(h) {
        let bucket = one_sided(h, bucket(h, slot, n));
        if bucket.lower >= value {
            return Some(rank);
        } else if bucket.upper > value {
            return Some(if bucket.lower == f64::NEG_INFINITY {
                n
            } else {
                rank + n * fraction_below(value, h, bucket)
            });
        }
        rank += n;
    }
    None
}

/// The fraction of the observations in `bucket` that are below `value`, which is within it.
pub(super) fn fraction_below(value: f64, h: &Histogram, bucket: Bucket) -> f64 {
    let Bucket { lower, upper, .. } = bucket;
    if h.schema == CUSTOM || (lower <= 0.0 && upper >= 0.0) {
        return (value - lower) / (upper - lower);
    }
    let [log_lower, log_upper, log] = [lower, upper, value].map(|v| v.abs().log2());
    if value > 0.0 {
        (log - log_lower) / (log_upper - log_lower)
    } else {
        1.0 - (log - log_upper) / (log_lower - log_upper)
    }
}

/// The mean of the observations.
pub fn average(h: &Histogram) -> f64 {
    h.sum / h.count
}

/// The standard deviation of the observations, as far as buckets tell.
pub fn stddev(h: &Histogram) -> f64 {
    stdvar(h).sqrt()
}

/// The variance of the observations, taken to be in the middle of their buckets: geometrically, or
/// arithmetically in custom ones.
pub fn stdvar(h: &Histogram) -> f64 {
    let mean = average(h);
    let mut squares = Kahan::default();
    for (slot, n) in slots(h).filter(|&(_, n)| n != 0.0) {
        let Bucket { lower, upper, .. } = bucket(h, slot, n);
        let middle = if h.schema == CUSTOM {
            (upper + lower) / 2.0
        } else if lower <= 0.0 && upper >= 0.0 {
            0.0
        } else {
            (upper * lower).sqrt().copysign(upper)
        };
        let away = middle - mean;
        squares.add(n * away * away);
    }
    (squares.sum + squares.lost) / h.count
}
