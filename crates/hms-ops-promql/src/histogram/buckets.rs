//! Where buckets begin and end.

use std::sync::LazyLock;

use hms_ops_core::sample::Histogram;

use super::CUSTOM;

/// One bucket, with its ends in numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// Where it begins.
    pub lower: f64,
    /// Where it ends.
    pub upper: f64,
    /// Observations in it.
    pub count: f64,
    /// Which of its ends belong to it.
    pub bounds: Bounds,
}

/// Which ends belong to a bucket.
///
/// The numbers are those of the HTTP API's `boundaries`.
///
/// ```
/// use hms_ops_promql::histogram::{Bounds, buckets};
/// # use hms_ops_promql::histogram::classic::{self, nhcb_from_classic};
///
/// let all = classic::Bucket { upper: f64::INFINITY, count: 3.0 };
/// let h = nhcb_from_classic(&mut vec![all], None, None)?;
/// let bounds: Vec<_> = buckets(&h).map(|b| b.bounds).collect();
/// assert_eq!(bounds, [Bounds::Closed]);
/// assert_eq!(Bounds::Closed as u8, 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Bounds {
    /// `(lower, upper]`.
    OpenLeft = 0,
    /// `[lower, upper)`.
    OpenRight = 1,
    /// `(lower, upper)`.
    Open = 2,
    /// `[lower, upper]`.
    Closed = 3,
}

impl Bounds {
    fn new(lower: bool, upper: bool) -> Self {
        match (lower, upper) {
            (false, true) => Self::OpenLeft,
            (true, false) => Self::OpenRight,
            (false, false) => Self::Open,
            (true, true) => Self::Closed,
        }
    }
}

/// The buckets of `h` that are not empty, ascending.
///
/// The bucket around zero takes away what reaches into it.
pub fn buckets(h: &Histogram) -> impl DoubleEndedIterator<Item = Bucket> {
    slots(h).map(move |(slot, count)| bucket(h, slot, count)).filter(|b| b.count != 0.0)
}

/// Which bucket, before anybody asked where it ends.
#[derive(Clone, Copy)]
pub(super) enum Slot {
    Negative(i32),
    Zero,
    Positive(i32),
}

/// All buckets of `h`, ascending.
pub(super) fn slots(h: &Histogram) -> impl DoubleEndedIterator<Item = (Slot, f64)> {
    let zero = (h.zero_count > 0.0).then_some((Slot::Zero, h.zero_count));
    let negative = h.negative.iter().rev().map(|&(i, n)| (Slot::Negative(i), n));
    negative.chain(zero).chain(h.positive.iter().map(|&(i, n)| (Slot::Positive(i), n)))
}

/// A bucket of `h`, less what the bucket around zero takes.
pub(super) fn bucket(h: &Histogram, slot: Slot, count: f64) -> Bucket {
    let mut bucket = whole_bucket(h, slot, count);
    if let Slot::Negative(_) | Slot::Positive(_) = slot {
        if bucket.upper < 0.0 && bucket.upper > -h.zero_threshold {
            bucket.upper = -h.zero_threshold;
        } else if bucket.lower > 0.0 && bucket.lower < h.zero_threshold {
            bucket.lower = h.zero_threshold;
        }
    }
    bucket
}

/// A bucket of `h` as its index says.
pub(super) fn whole_bucket(h: &Histogram, slot: Slot, count: f64) -> Bucket {
    let (lower, upper) = match slot {
        Slot::Negative(i) => (-edge(h, i64::from(i)), -edge(h, i64::from(i) - 1)),
        Slot::Zero => (-h.zero_threshold, h.zero_threshold),
        Slot::Positive(i) => (edge(h, i64::from(i) - 1), edge(h, i64::from(i))),
    };
    let bounds = match slot {
        Slot::Zero => Bounds::Closed,
        Slot::Negative(i) | Slot::Positive(i) if h.schema == CUSTOM => Bounds::new(i == 0, true),
        _ => Bounds::new(lower < 0.0, upper > 0.0),
    };
    Bucket { lower, upper, count, bounds }
}

/// Where bucket `i` above zero ends.
fn edge(h: &Histogram, i: i64) -> f64 {
    if h.schema != CUSTOM {
        return exponential_edge(h.schema, i);
    }
    match usize::try_from(i) {
        Ok(i) => h.custom_edges.get(i).copied().unwrap_or(f64::INFINITY),
        Err(_) => f64::NEG_INFINITY,
    }
}

/// Where bucket `i` of an exponential schema ends: `2^(i/2^schema)`.
///
/// The last bucket below infinity ends at the largest number, so that it does not hold infinity.
pub(super) fn exponential_edge(schema: i8, i: i64) -> f64 {
    let (fraction, exponent) = match schema.clamp(-4, 8) {
        coarse @ ..=0 => (1.0, i << -coarse),
        // Each schema is every other edge of the next finer one.
        fine => (EDGES[((i << (8 - fine)) & 255) as usize], i >> fine),
    };
    match exponent {
        1024 if fraction == 1.0 => f64::MAX,
        1024.. => f64::INFINITY,
        ..-1100 => 0.0,
        _ => ldexp(fraction, exponent),
    }
}

/// `2^(i/256)`.
///
/// Prometheus has a table that was computed in this order, each schema from the coarser one. An edge
/// one unit in the last place away would be another edge to whoever compares.
static EDGES: LazyLock<[f64; 256]> = LazyLock::new(|| {
    let mut edges = [1.0; 256];
    for schema in 1..=8 {
        let (step, factor) = (256_usize >> schema, exp2(1.0 / f64::from(1 << schema)));
        for i in (step..256).step_by(2 * step) {
            edges[i] = edges[i - step] * factor;
        }
    }
    edges
});

/// Two to the power of `x`, rounded as the mathematics of Go does, which is fdlibm's.
pub(super) fn exp2(x: f64) -> f64 {
    if !(-1100.0..=1100.0).contains(&x) {
        return x.exp2();
    }
    let whole = x.round();
    let rest = x - whole;
    let (high, low) = (rest * 6.931_471_803_691_238e-1, rest * -1.908_214_929_270_587_7e-10);
    let r = high - low;
    let t = r * r;
    let remez = [
        1.666_666_666_666_666_6e-1,
        -2.777_777_777_701_559_3e-3,
        6.613_756_321_437_934e-5,
        -1.653_390_220_546_525_2e-6,
        4.138_136_797_057_238e-8,
    ];
    let c = r - t * remez.iter().rfold(0.0, |sum, p| p + t * sum);
    ldexp(1.0 - ((low - (r * c) / (2.0 - c)) - high), whole as i64)
}

/// `x` times two to the power of `exponent`, for exponents that no `f64` exceeds by far.
fn ldexp(x: f64, exponent: i64) -> f64 {
    let power = |e: i64| f64::from_bits(((e.clamp(-1022, 1023) + 1023) as u64) << 52);
    let first = exponent.clamp(-1022, 1023);
    x * power(first) * power(exponent - first)
}
