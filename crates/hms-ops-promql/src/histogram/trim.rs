//! Histograms without the observations on one side of a value: the operators `</` and `>/`.

use hms_ops_core::sample::Histogram;

use super::buckets::{Bucket, Slot, whole_bucket};
use super::quantile::fraction_below;
use super::{CUSTOM, compact};

/// `h` without the observations above `at`.
pub fn trim_upper(h: &Histogram, at: f64) -> Histogram {
    trim(h, at, Keep::Below)
}

/// `h` without the observations below `at`.
pub fn trim_lower(h: &Histogram, at: f64) -> Histogram {
    trim(h, at, Keep::Above)
}

#[derive(Clone, Copy, PartialEq)]
enum Keep {
    Below,
    Above,
}

/// Cuts buckets, and takes the new sum from the middles of what is left of them, unless nothing was
/// cut.
fn trim(h: &Histogram, at: f64, keep: Keep) -> Histogram {
    let mut trimmed = h.clone();
    let (mut count, mut sum) = (0.0, 0.0);
    let mut side = |buckets: &mut [(i32, f64)], slot: fn(i32) -> Slot| {
        for (i, n) in buckets.iter_mut().filter(|b| b.1 != 0.0) {
            let (left, middle) = cut(h, whole_bucket(h, slot(*i), *n), at, keep);
            *n = left;
            count += left;
            sum += middle * left;
        }
    };
    side(&mut trimmed.positive, Slot::Positive);
    side(&mut trimmed.negative, Slot::Negative);
    if h.zero_count > 0.0 {
        let (left, middle) = cut_zero(h, at, keep);
        trimmed.zero_count = left;
        count += left;
        sum += middle * left;
    }
    if trimmed.zero_count != h.zero_count
        || trimmed.positive != h.positive
        || trimmed.negative != h.negative
    {
        (trimmed.count, trimmed.sum) = (count, sum);
        compact(&mut trimmed);
    }
    trimmed
}

/// How many observations are left of a bucket, and the middle of where they are.
fn cut(h: &Histogram, bucket: Bucket, at: f64, keep: Keep) -> (f64, f64) {
    let Bucket { lower, upper, count, .. } = bucket;
    let (inside, reaches_inside) = match keep {
        Keep::Below => (upper <= at, lower < at),
        Keep::Above => (lower >= at, upper > at),
    };
    if inside {
        (count, middle(h, lower, upper))
    } else if !reaches_inside {
        (0.0, 0.0)
    } else if lower == f64::NEG_INFINITY {
        cut_without_beginning(upper, count, at, keep)
    } else if upper == f64::INFINITY {
        // Nothing is known about where in it the observations are.
        if keep == Keep::Above { (count, at) } else { (0.0, 0.0) }
    } else {
        let below = count * fraction_below(at, h, bucket);
        match keep {
            Keep::Below => (below, middle(h, lower, at)),
            Keep::Above => (count - below, middle(h, at, upper)),
        }
    }
}

/// As [`cut`], of a custom bucket that begins nowhere, or at zero if it ends above.
fn cut_without_beginning(upper: f64, count: f64, at: f64, keep: Keep) -> (f64, f64) {
    let from_zero = upper > 0.0 && upper != f64::INFINITY;
    match keep {
        Keep::Below if from_zero && at > 0.0 => (count * at / upper, at / 2.0),
        Keep::Below if upper <= 0.0 => (count, at),
        Keep::Above if from_zero && at >= 0.0 => (count * (1.0 - at / upper), (at + upper) / 2.0),
        _ => (0.0, 0.0),
    }
}

/// As [`cut`], of the bucket around zero, which ends at zero when all others are on one side of it.
fn cut_zero(h: &Histogram, at: f64, keep: Keep) -> (f64, f64) {
    let any = |buckets: &[(i32, f64)]| buckets.iter().any(|b| b.1 != 0.0);
    let (lower, upper) = match (any(&h.negative), any(&h.positive)) {
        (true, false) => (-h.zero_threshold, 0.0),
        (false, true) => (0.0, h.zero_threshold),
        _ => (-h.zero_threshold, h.zero_threshold),
    };
    let (from, to) = match keep {
        Keep::Below if at <= lower => return (0.0, 0.0),
        Keep::Above if at <= lower => (lower, upper),
        Keep::Below if at >= upper => (lower, upper),
        Keep::Above if at >= upper => return (0.0, 0.0),
        Keep::Below => (lower, at),
        Keep::Above => (at, upper),
    };
    let left = if from == lower && to == upper { 1.0 } else { (to - from) / (upper - lower) };
    (h.zero_count * left, (from + to) / 2.0)
}

/// The middle of an interval: geometric, or arithmetic between custom edges.
///
/// One without an end is taken for its other end, and one without a beginning for what is above zero.
fn middle(h: &Histogram, lower: f64, upper: f64) -> f64 {
    match (lower.is_infinite(), upper.is_infinite()) {
        (true, true) => 0.0,
        (true, false) if upper > 0.0 => upper / 2.0,
        (true, false) => upper,
        (false, true) => lower,
        _ if h.schema == CUSTOM => (lower + upper) / 2.0,
        _ => (lower * upper).abs().sqrt().copysign(lower + upper),
    }
}
