//! Addition, of two histograms or of many.

use std::iter;

use hms_ops_core::sample::{CounterReset, Histogram};

use super::buckets::exponential_edge;
use super::{CUSTOM, Incompatible, Kahan, Outcome, merge_resets};

/// `a + b`, with the coarser of two schemas, the wider of two buckets around zero and the edges that
/// both have.
///
/// # Errors
///
/// [`Incompatible`].
pub fn add(a: &Histogram, b: &Histogram) -> Result<Outcome, Incompatible> {
    let mut sum = Running::from(a);
    sum.include(b, |n| n)?;
    Ok(sum.finish(|n| n))
}

/// `a - b`, as [`add`] does it; a gauge.
///
/// # Errors
///
/// [`Incompatible`].
pub fn sub(a: &Histogram, b: &Histogram) -> Result<Outcome, Incompatible> {
    let mut difference = Running::from(a);
    difference.include(b, |n| -n)?;
    let mut outcome = difference.finish(|n| n);
    outcome.histogram.reset = CounterReset::Gauge;
    Ok(outcome)
}

/// `h` with the buckets of a coarser schema; as it is, if `schema` is not coarser or `h` has custom
/// buckets.
pub fn reduce(h: &Histogram, schema: i8) -> Histogram {
    let mut running = Running::<f64>::from(h);
    if h.schema != CUSTOM && schema != CUSTOM {
        running.reduce(schema);
    }
    running.finish(|n| n).histogram
}

/// The sum of many histograms, of which rounding takes next to nothing.
///
/// ```
/// use hms_ops_promql::histogram::{Mean, Sum};
/// # use hms_ops_promql::histogram::classic::{Bucket, nhcb_from_classic};
/// # let of = |count| {
/// #     let bucket = Bucket { upper: f64::INFINITY, count };
/// #     nhcb_from_classic(&mut vec![bucket], Some(count / 2.0), None)
/// # };
///
/// let (mut sum, mut mean) = (Sum::default(), Mean::default());
/// for count in [1.0, 2.0, 6.0] {
///     let h = of(count)?;
///     sum.push(&h)?;
///     mean.push(&h)?;
/// }
/// assert_eq!(sum.finish().map(|s| s.histogram.count), Some(9.0));
/// assert_eq!(mean.finish().map(|m| m.histogram.sum), Some(1.5));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Sum {
    running: Option<Running<Kahan>>,
}

impl Sum {
    /// Adds one.
    ///
    /// # Errors
    ///
    /// [`Incompatible`]; the sum is as it was.
    pub fn push(&mut self, h: &Histogram) -> Result<(), Incompatible> {
        match &mut self.running {
            Some(running) => running.include(h, |n| n),
            none => {
                *none = Some(Running::from(h));
                Ok(())
            }
        }
    }

    /// The sum; none, if nothing was added.
    pub fn finish(self) -> Option<Outcome> {
        Some(self.running?.finish(|n| n.sum + n.lost))
    }
}

/// The mean of many histograms: their sum, divided in the end, or as it goes once a sum would be too
/// large for a number.
#[derive(Clone, Debug, Default)]
pub struct Mean {
    running: Option<Running<Kahan>>,
    pushed: f64,
    /// Nothing that was added up is larger.
    reach: f64,
    incremental: bool,
}

impl Mean {
    /// Adds one.
    ///
    /// # Errors
    ///
    /// [`Incompatible`]; the mean is as it was.
    pub fn push(&mut self, h: &Histogram) -> Result<(), Incompatible> {
        let Some(running) = &mut self.running else {
            self.running = Some(Running::from(h));
            (self.pushed, self.reach) = (1.0, weight(h));
            return Ok(());
        };
        let pushed = self.pushed + 1.0;
        self.reach += weight(h);
        if self.reach.is_finite() {
            running.include(h, |n| n)?;
            self.pushed = pushed;
            return Ok(());
        }
        if !self.incremental {
            let mut sum = running.clone();
            sum.include(h, |n| n)?;
            if !sum.overflows() {
                (*running, self.pushed) = (sum, pushed);
                return Ok(());
            }
        }
        running.check(h)?;
        if !self.incremental {
            running.each(|n| *n = Kahan { sum: n.sum / self.pushed, lost: n.lost / self.pushed });
            self.incremental = true;
        }
        let share = self.pushed / pushed;
        running.each(|n| *n = Kahan { sum: n.sum * share, lost: n.lost * share });
        self.pushed = pushed;
        running.include(h, |n| n / pushed)
    }

    /// The mean; none, if nothing was added.
    pub fn finish(self) -> Option<Outcome> {
        let divisor = if self.incremental { 1.0 } else { self.pushed };
        Some(self.running?.finish(|n| n.sum / divisor + n.lost / divisor))
    }
}

/// The sum of all that could be added up in `h`, without signs.
fn weight(h: &Histogram) -> f64 {
    let side = |buckets: &[(i32, f64)]| buckets.iter().map(|(_, n)| n.abs()).sum::<f64>();
    h.count.abs() + h.sum.abs() + h.zero_count.abs() + side(&h.positive) + side(&h.negative)
}

/// A number that others are added to.
pub(super) trait Tally: Copy {
    fn new(n: f64) -> Self;
    fn add(&mut self, n: f64);
    fn absorb(&mut self, other: Self);
    fn is_zero(self) -> bool;
}

impl Tally for f64 {
    fn new(n: f64) -> Self {
        n
    }
    fn add(&mut self, n: f64) {
        *self += n;
    }
    fn absorb(&mut self, other: Self) {
        *self += other;
    }
    fn is_zero(self) -> bool {
        self == 0.0
    }
}

impl Tally for Kahan {
    fn new(sum: f64) -> Self {
        Self { sum, lost: 0.0 }
    }
    fn add(&mut self, n: f64) {
        Kahan::add(self, n);
    }
    fn absorb(&mut self, other: Self) {
        self.add(other.sum);
        self.add(other.lost);
    }
    fn is_zero(self) -> bool {
        self.sum == 0.0 && self.lost == 0.0
    }
}

/// A histogram that others are added to.
#[derive(Clone, Debug)]
pub(super) struct Running<T> {
    schema: i8,
    zero_threshold: f64,
    zero_count: T,
    count: T,
    sum: T,
    positive: Vec<(i32, T)>,
    negative: Vec<(i32, T)>,
    edges: Vec<f64>,
    reset: CounterReset,
    seen_reset: bool,
    seen_no_reset: bool,
    pub(super) reconciled_edges: bool,
}

impl<T: Tally> From<&Histogram> for Running<T> {
    fn from(h: &Histogram) -> Self {
        let side = |buckets: &[(i32, f64)]| buckets.iter().map(|&(i, n)| (i, T::new(n))).collect();
        Self {
            schema: h.schema,
            zero_threshold: h.zero_threshold,
            zero_count: T::new(h.zero_count),
            count: T::new(h.count),
            sum: T::new(h.sum),
            positive: side(&h.positive),
            negative: side(&h.negative),
            edges: h.custom_edges.clone(),
            reset: h.reset,
            seen_reset: h.reset == CounterReset::Reset,
            seen_no_reset: h.reset == CounterReset::NotReset,
            reconciled_edges: false,
        }
    }
}

impl<T: Tally> Running<T> {
    fn check(&self, other: &Histogram) -> Result<(), Incompatible> {
        match (self.schema == CUSTOM) == (other.schema == CUSTOM) {
            true => Ok(()),
            false => Err(Incompatible),
        }
    }

    /// Adds every number of `other` as `f` makes it.
    pub(super) fn include(
        &mut self,
        other: &Histogram,
        f: impl Fn(f64) -> f64 + Copy,
    ) -> Result<(), Incompatible> {
        self.check(other)?;
        self.reset = merge_resets(self.reset, other.reset).0;
        self.seen_reset |= other.reset == CounterReset::Reset;
        self.seen_no_reset |= other.reset == CounterReset::NotReset;
        self.count.add(f(other.count));
        self.sum.add(f(other.sum));
        if self.schema == CUSTOM {
            self.include_custom(other, f);
        } else {
            self.include_exponential(other, f);
        }
        Ok(())
    }

    fn include_custom(&mut self, other: &Histogram, f: impl Fn(f64) -> f64 + Copy) {
        if self.edges == other.custom_edges {
            return merge(&mut self.positive, other.positive.iter().map(|&(i, n)| (i, f(n))));
        }
        self.reconciled_edges = true;
        let common = common_edges(&self.edges, &other.custom_edges);
        self.positive = regroup(&self.positive, &self.edges, &common);
        let others = regroup(&other.positive, &other.custom_edges, &common);
        merge(&mut self.positive, others.into_iter().map(|(i, n)| (i, f(n))));
        self.edges = common;
    }

    fn include_exponential(&mut self, other: &Histogram, f: impl Fn(f64) -> f64 + Copy) {
        let zero_count = self.agree_on_zero(other);
        self.zero_count.add(f(zero_count));
        self.reduce(other.schema);
        let sides = [(&mut self.positive, &other.positive), (&mut self.negative, &other.negative)];
        for (side, others) in sides {
            // What is in the bucket around zero by now is not added twice.
            let others = outside(others, other.schema, self.zero_threshold);
            merge(side, reduced(others, other.schema, self.schema).map(|(i, n)| (i, f(n))));
        }
    }

    /// Widens the bucket around zero until it covers that of `other` and cuts no bucket of either in
    /// two; what `other` then has in its own.
    fn agree_on_zero(&mut self, other: &Histogram) -> f64 {
        let (mut count, mut threshold) = (other.zero_count, other.zero_threshold);
        loop {
            if self.zero_threshold > threshold {
                let sides = [&*other.positive, &other.negative];
                (count, threshold) =
                    widened(other.zero_count, sides, other.schema, self.zero_threshold);
            } else if threshold > self.zero_threshold {
                let sides = [&*self.positive, &self.negative];
                (self.zero_count, self.zero_threshold) =
                    widened(self.zero_count, sides, self.schema, threshold);
                for side in [&mut self.positive, &mut self.negative] {
                    let kept = outside(side, self.schema, self.zero_threshold).len();
                    side.drain(..side.len() - kept);
                }
            } else {
                return count;
            }
        }
    }

    pub(super) fn reduce(&mut self, schema: i8) {
        if schema < self.schema {
            for side in [&mut self.positive, &mut self.negative] {
                let mut kept = 0;
                for i in 0..side.len() {
                    let (index, n) = (coarser_index(side[i].0, self.schema, schema), side[i].1);
                    if kept > 0 && side[kept - 1].0 == index {
                        side[kept - 1].1.absorb(n);
                    } else {
                        side[kept] = (index, n);
                        kept += 1;
                    }
                }
                side.truncate(kept);
            }
            self.schema = schema;
        }
    }

    fn each(&mut self, mut f: impl FnMut(&mut T)) {
        [&mut self.zero_count, &mut self.count, &mut self.sum].into_iter().for_each(&mut f);
        self.positive.iter_mut().chain(&mut self.negative).for_each(|(_, n)| f(n));
    }

    pub(super) fn finish(self, f: impl Fn(T) -> f64) -> Outcome {
        let side = |buckets: Vec<(i32, T)>| {
            let counts = buckets.into_iter().map(|(i, n)| (i, f(n)));
            counts.filter(|&(_, n)| n != 0.0).collect()
        };
        Outcome {
            histogram: Histogram {
                schema: self.schema,
                zero_threshold: self.zero_threshold,
                zero_count: f(self.zero_count),
                count: f(self.count),
                sum: f(self.sum),
                positive: side(self.positive),
                negative: side(self.negative),
                custom_edges: self.edges,
                reset: self.reset,
            },
            reconciled_edges: self.reconciled_edges,
            conflicting_resets: self.seen_reset && self.seen_no_reset,
        }
    }
}

impl Running<Kahan> {
    fn overflows(&self) -> bool {
        let mut counts = self.positive.iter().chain(&self.negative).map(|(_, n)| n);
        [self.zero_count, self.count, self.sum].iter().any(|n| n.sum.is_infinite())
            || counts.any(|n| n.sum.is_infinite())
    }
}

/// The index in a coarser schema of the bucket that holds bucket `i`.
fn coarser_index(i: i32, schema: i8, coarser: i8) -> i32 {
    let shift = (i32::from(schema) - i32::from(coarser)).clamp(0, 32);
    // Only a shift by zero could leave the range, and it gives `i`.
    (((i64::from(i) - 1) >> shift) + 1) as i32
}

/// Buckets in a coarser schema, or the same.
pub(super) fn reduced(
    mut buckets: &[(i32, f64)],
    schema: i8,
    coarser: i8,
) -> impl Iterator<Item = (i32, f64)> {
    iter::from_fn(move || {
        let (&(i, mut count), mut rest) = buckets.split_first()?;
        let index = coarser_index(i, schema, coarser);
        while schema > coarser
            && let [(i, n), more @ ..] = rest
            && coarser_index(*i, schema, coarser) == index
        {
            count += n;
            rest = more;
        }
        buckets = rest;
        Some((index, count))
    })
}

/// The buckets that reach out of the bucket around zero.
pub(super) fn outside<T>(buckets: &[(i32, T)], schema: i8, threshold: f64) -> &[(i32, T)] {
    let inside = |&(i, _): &(i32, T)| exponential_edge(schema, i64::from(i)) <= threshold;
    &buckets[buckets.iter().take_while(|b| inside(b)).count()..]
}

/// What the bucket around zero holds once it is `threshold` wide to each side, or wider, so that it
/// ends where a bucket does.
pub(super) fn widened<T: Tally>(
    zero_count: T,
    [positive, negative]: [&[(i32, T)]; 2],
    schema: i8,
    mut threshold: f64,
) -> (T, f64) {
    let edge = |i: i32, before: i64| exponential_edge(schema, i64::from(i) - before);
    let cut = |buckets: &[(i32, T)], threshold: f64| {
        let mut cut = buckets.iter().take_while(|b| edge(b.0, 1) < threshold);
        cut.find(|b| edge(b.0, 0) > threshold && !b.1.is_zero()).map(|b| edge(b.0, 0))
    };
    // Both sides have the same edges, so that the second round, if any, is the last.
    while let Some(wider) = cut(positive, threshold).or_else(|| cut(negative, threshold)) {
        threshold = wider;
    }
    let mut count = zero_count;
    for side in [positive, negative] {
        let covered = side.iter().take_while(|b| edge(b.0, 0) <= threshold);
        covered.for_each(|b| count.absorb(b.1));
    }
    (count, threshold)
}

/// Adds counts to buckets; both ascend.
fn merge<T: Tally>(buckets: &mut Vec<(i32, T)>, others: impl Iterator<Item = (i32, f64)>) {
    let mut others = others.peekable();
    let mut at = 0;
    // As a rule every bucket is there already.
    while let Some(&(i, n)) = others.peek() {
        while buckets.get(at).is_some_and(|b| b.0 < i) {
            at += 1;
        }
        match buckets.get_mut(at) {
            Some(bucket) if bucket.0 == i => bucket.1.add(n),
            _ => break,
        }
        others.next();
    }
    if others.peek().is_none() {
        return;
    }
    let mut rest = buckets.split_off(at).into_iter().peekable();
    for (i, n) in others {
        while let Some(bucket) = rest.next_if(|b| b.0 < i) {
            buckets.push(bucket);
        }
        match rest.next_if(|b| b.0 == i) {
            Some((_, mut count)) => {
                count.add(n);
                buckets.push((i, count));
            }
            None => buckets.push((i, T::new(n))),
        }
    }
    buckets.extend(rest);
}

/// The edges that both have.
pub(super) fn common_edges(mut a: &[f64], mut b: &[f64]) -> Vec<f64> {
    let mut common = Vec::with_capacity(a.len().min(b.len()));
    while let ([x, rest_of_a @ ..], [y, rest_of_b @ ..]) = (a, b) {
        if x == y {
            common.push(*x);
            (a, b) = (rest_of_a, rest_of_b);
        } else if x < y {
            a = rest_of_a;
        } else {
            b = rest_of_b;
        }
    }
    common
}

/// Buckets between `edges`, put into those between `common`, which are some of them.
pub(super) fn regroup<T: Tally>(
    buckets: &[(i32, T)],
    edges: &[f64],
    common: &[f64],
) -> Vec<(i32, T)> {
    let mut groups: Vec<(i32, T)> = Vec::with_capacity(buckets.len().min(common.len() + 1));
    let mut at = 0;
    for &(i, n) in buckets {
        let edge = usize::try_from(i).ok().and_then(|i| edges.get(i)).unwrap_or(&f64::INFINITY);
        while common.get(at).is_some_and(|c| c < edge) {
            at += 1;
        }
        match groups.last_mut() {
            Some((last, count)) if *last == at as i32 => count.absorb(n),
            _ => groups.push((at as i32, n)),
        }
    }
    groups
}
