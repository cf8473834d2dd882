//! How histograms of one series change.

use std::borrow::Borrow;

use hms_ops_core::sample::{CounterReset, Histogram};

use super::sum::{Running, add, common_edges, outside, reduced, regroup, sub, widened};
use super::{CUSTOM, Incompatible, Outcome, merge_resets, scale};

/// By how much a series of histograms went up.
///
/// ```
/// use hms_ops_promql::histogram::rate_of;
/// # use hms_ops_promql::histogram::classic::{Bucket, nhcb_from_classic};
/// # let of = |count| {
/// #     let bucket = Bucket { upper: f64::INFINITY, count };
/// #     nhcb_from_classic(&mut vec![bucket], Some(count / 2.0), None)
/// # };
///
/// let rate = rate_of(&[of(10.0)?, of(12.0)?, of(3.0)?], true)?;
/// let increase = rate.map(|r| r.histogram.count);
/// assert_eq!(increase, Some(5.0), "two, then a reset, then three");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Rate {
    /// The increase, neither extrapolated nor by time: a gauge without empty buckets.
    pub histogram: Histogram,
    /// Whether a gauge was among those taken for counters.
    pub not_a_counter: bool,
    /// Whether one of those taken for gauges was none.
    pub not_a_gauge: bool,
    /// Whether custom edges differed in a subtraction.
    pub reconciled_in_subtraction: bool,
    /// Whether custom edges differed when the counts before a reset were added.
    pub reconciled_in_addition: bool,
}

/// The last histogram less the first, and for counters with what was lost in resets between them.
///
/// `samples` ascend in time; with fewer than two there is no answer.
///
/// # Errors
///
/// [`Incompatible`]; a counter's first sample is not looked at when a reset follows it.
pub fn rate_of<H: Borrow<Histogram>>(
    samples: &[H],
    is_counter: bool,
) -> Result<Option<Rate>, Incompatible> {
    let [first, between @ .., last] = samples else {
        return Ok(None);
    };
    let (first, second, last) = (first.borrow(), samples[1].borrow(), last.borrow());
    let is_gauge = |h: &Histogram| h.reset == CounterReset::Gauge;
    let starts_with_reset = is_counter && is_reset(second, first);
    let start = if starts_with_reset { second } else { first };
    let custom = start.schema == CUSTOM;
    if (last.schema == CUSTOM) != custom {
        return Err(Incompatible);
    }
    let mut schema = start.schema.min(last.schema);
    let mut not_a_counter = is_counter && (is_gauge(first) || is_gauge(last));
    if is_counter {
        for h in between.iter().map(Borrow::borrow) {
            if (h.schema == CUSTOM) != custom {
                return Err(Incompatible);
            }
            schema = schema.min(h.schema);
            not_a_counter |= is_gauge(h);
        }
    }
    let mut increase = Running::<f64>::from(last);
    increase.reduce(schema);
    if starts_with_reset {
        // The empty histogram that the counts began from has the edges of what came after.
        increase.include(&empty_like(start), |n| -n)?;
    } else {
        increase.include(first, |n| -n)?;
    }
    let reconciled_in_subtraction = std::mem::take(&mut increase.reconciled_edges);
    if is_counter {
        for pair in samples[1..].windows(2) {
            let (before, after) = (pair[0].borrow(), pair[1].borrow());
            if is_reset(after, before) {
                increase.include(before, |n| n)?;
            }
        }
    }
    let outcome = increase.finish(|n| n);
    Ok(Some(Rate {
        histogram: Histogram { reset: CounterReset::Gauge, ..outcome.histogram },
        not_a_counter,
        not_a_gauge: !(is_counter || is_gauge(first) && is_gauge(last)),
        reconciled_in_subtraction,
        reconciled_in_addition: outcome.reconciled_edges,
    }))
}

/// `last` less `previous`, or `last` alone when a counter was reset between them.
///
/// # Errors
///
/// [`Incompatible`]; not when a counter was reset.
pub fn instant_rate_of(
    previous: &Histogram,
    last: &Histogram,
    is_rate: bool,
) -> Result<Rate, Incompatible> {
    let gauges = [previous, last].map(|h| h.reset == CounterReset::Gauge);
    let mut increase = Running::<f64>::from(last);
    if !is_rate || !is_reset(last, previous) {
        increase.include(previous, |n| -n)?;
    }
    let outcome = increase.finish(|n| n);
    Ok(Rate {
        histogram: Histogram { reset: CounterReset::Gauge, ..outcome.histogram },
        not_a_counter: is_rate && gauges.contains(&true),
        not_a_gauge: !is_rate && gauges.contains(&false),
        reconciled_in_subtraction: outcome.reconciled_edges,
        reconciled_in_addition: false,
    })
}

/// From edge to edge of a window: the last of `samples` less the first, and for counters with what was
/// lost in resets between them. Where an edge lies between two samples, `left` says how far it is from
/// the first to the second, and `right` from the last but one to the last.
///
/// # Errors
///
/// [`Incompatible`], even when a counter was reset.
pub fn rate_at_edges<H: Borrow<Histogram>>(
    samples: &[H],
    left: Option<f64>,
    right: Option<f64>,
    is_counter: bool,
) -> Result<Rate, Incompatible> {
    let all = || samples.iter().map(Borrow::borrow);
    let (Some(first), Some(last)) = (all().next(), all().next_back()) else {
        return Err(Incompatible);
    };
    if all().any(|h| (h.schema == CUSTOM) != (first.schema == CUSTOM)) {
        return Err(Incompatible);
    }
    let is_gauge = |h: &Histogram| h.reset == CounterReset::Gauge;
    let mut reconciled = false;
    let mut at = |share: Option<f64>, from: usize, sample: &Histogram| match share {
        None => Ok(sample.clone()),
        Some(share) => {
            let [before, after] = [from, from + 1].map(|i| samples[i].borrow());
            let outcome = between(before, after, share, is_counter)?;
            reconciled |= outcome.reconciled_edges;
            Ok(outcome.histogram)
        }
    };
    let start = at(left, 0, first)?;
    let end = at(right, samples.len().saturating_sub(2), last)?;
    let mut increase = Running::<f64>::from(&end);
    increase.include(&start, |n| -n)?;
    let in_subtraction = std::mem::take(&mut increase.reconciled_edges);
    if is_counter {
        let (mut before, mut rest) = (&start, &samples[1..]);
        if left.is_some()
            && let Some(second) = rest.first().map(Borrow::borrow)
            && is_reset(second, first)
        {
            // What is at the left edge has begun from zero already.
            (before, rest) = (second, &rest[1..]);
        }
        if let [rest @ .., _] = rest {
            // The last is at the right edge, or it says what is there.
            for now in rest.iter().map(Borrow::borrow).chain([&end]) {
                if is_reset(now, before) {
                    increase.include(before, |n| n)?;
                }
                before = now;
            }
        }
    }
    let outcome = increase.finish(|n| n);
    Ok(Rate {
        histogram: Histogram { reset: CounterReset::Gauge, ..outcome.histogram },
        not_a_counter: is_counter && all().any(is_gauge),
        not_a_gauge: !(is_counter || is_gauge(&start) && is_gauge(&end)),
        reconciled_in_subtraction: reconciled || in_subtraction,
        reconciled_in_addition: reconciled || outcome.reconciled_edges,
    })
}

/// What lies on the line between two histograms of one series, a `share` of the way. A counter that was
/// reset between them begins at zero.
///
/// # Errors
///
/// [`Incompatible`], even when a counter was reset.
pub fn between(
    before: &Histogram,
    after: &Histogram,
    share: f64,
    is_counter: bool,
) -> Result<Outcome, Incompatible> {
    if (before.schema == CUSTOM) != (after.schema == CUSTOM) {
        return Err(Incompatible);
    }
    if is_counter && is_reset(after, before) {
        let histogram = scale(after, share);
        return Ok(Outcome { histogram, reconciled_edges: false, conflicting_resets: false });
    }
    let growth = sub(after, before)?;
    let sum = add(&scale(&growth.histogram, share), before)?;
    let reset = merge_resets(before.reset, after.reset).0;
    Ok(Outcome {
        histogram: Histogram { reset, ..sum.histogram },
        reconciled_edges: growth.reconciled_edges || sum.reconciled_edges,
        conflicting_resets: false,
    })
}

fn empty_like(h: &Histogram) -> Histogram {
    Histogram {
        schema: h.schema,
        zero_threshold: 0.0,
        zero_count: 0.0,
        count: 0.0,
        sum: 0.0,
        positive: Vec::new(),
        negative: Vec::new(),
        custom_edges: h.custom_edges.clone(),
        reset: CounterReset::Unknown,
    }
}

/// Whether a counter was reset between two histograms: one says so, or a count went down.
///
/// Without a reset, a schema becomes coarser only and the bucket around zero wider only.
pub fn is_reset(current: &Histogram, previous: &Histogram) -> bool {
    match current.reset {
        CounterReset::Reset => return true,
        CounterReset::NotReset => return false,
        CounterReset::Unknown | CounterReset::Gauge => {}
    }
    if current.count < previous.count {
        return true;
    }
    if current.schema == CUSTOM && previous.schema == CUSTOM {
        return if current.custom_edges == previous.custom_edges {
            went_down(previous.positive.iter().copied(), &current.positive)
        } else {
            let common = common_edges(&current.custom_edges, &previous.custom_edges);
            let before = regroup(&previous.positive, &previous.custom_edges, &common);
            let now = regroup(&current.positive, &current.custom_edges, &common);
            went_down(before.into_iter(), &now)
        };
    }
    if current.schema == CUSTOM || current.schema > previous.schema {
        return true;
    }
    let threshold = current.zero_threshold;
    if threshold < previous.zero_threshold {
        return true;
    }
    let mut zero_count = previous.zero_count;
    if threshold > previous.zero_threshold {
        let sides = [&*previous.positive, &previous.negative];
        let (covered, wider) = widened(zero_count, sides, previous.schema, threshold);
        if wider != threshold {
            return true;
        }
        zero_count = covered;
    }
    current.zero_count < zero_count
        || [(&previous.positive, &current.positive), (&previous.negative, &current.negative)]
            .into_iter()
            .any(|(before, now)| {
                let before = outside(before, previous.schema, threshold);
                went_down(reduced(before, previous.schema, current.schema), now)
            })
}

/// Whether a bucket has fewer observations than before, or is gone.
fn went_down(before: impl Iterator<Item = (i32, f64)>, mut now: &[(i32, f64)]) -> bool {
    before.filter(|&(_, n)| n != 0.0).any(|(i, n)| {
        while let [(j, _), rest @ ..] = now
            && *j < i
        {
            now = rest;
        }
        now.first().is_none_or(|&(j, m)| j != i || m < n)
    })
}
