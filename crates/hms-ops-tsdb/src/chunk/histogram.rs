//! Runs of native histograms: their times as a column, then each against the one before it.
//!
//! Buckets come and go rarely, so a histogram says in one bit that it has those of the one before.
//! Counts are whole numbers that grow a little, so a difference mostly takes one byte.

use std::sync::Arc;

use hms_ops_core::sample::{CounterReset, Histogram};

use super::{ChunkError, check_count, decode_times, encode_times};
use crate::varint::{read_i64, read_u64, write_i64, write_u64};

/// The bit of a histogram's first byte that says that its layout follows; the two below it are the
/// [`CounterReset`].
const NEW_LAYOUT: u8 = 4;

/// The most edges that may be repeated without being written again.
///
/// Otherwise few bytes could ask for much memory: many edges once, and many histograms with them.
const MAX_REPEATED_EDGES: usize = 256;

const RESETS: [CounterReset; 4] =
    [CounterReset::Unknown, CounterReset::Reset, CounterReset::NotReset, CounterReset::Gauge];

/// Appends a run of samples, times in milliseconds, strictly ascending. None take no bytes.
pub fn encode_histograms(samples: &[(i64, Arc<Histogram>)], into: &mut Vec<u8>) {
    if samples.is_empty() {
        return;
    }
    let (mut times, mut column) = (Vec::new(), Vec::new());
    times.extend(samples.iter().map(|(at, _)| *at));
    encode_times(&times, &mut column);
    write_u64(into, column.len() as u64);
    into.append(&mut column);

    let mut before: Option<&Histogram> = None;
    for (_, histogram) in samples {
        let before = before.replace(histogram);
        let reset = RESETS.iter().position(|r| *r == histogram.reset);
        let reset = reset.expect("all four are listed") as u8;
        let same = before.filter(|before| may_repeat(before) && same_layout(before, histogram));
        if same.is_some() {
            into.push(reset);
        } else {
            into.push(NEW_LAYOUT | reset);
            write_layout(histogram, into);
        }
        let mut before = same.into_iter().flat_map(numbers);
        for number in numbers(histogram) {
            write_number(number, before.next().unwrap_or(0.0), into);
        }
    }
}

/// Decodes the `count` samples of a run and appends them.
///
/// # Errors
///
/// [`ChunkError`]; `into` holds what was decoded before.
pub fn decode_histograms(
    mut bytes: &[u8],
    count: usize,
    into: &mut Vec<(i64, Arc<Histogram>)>,
) -> Result<(), ChunkError> {
    check_count(count)?;
    let damaged = || ChunkError::damaged("histograms");
    let mut times = Vec::new();
    if count > 0 {
        let length = read_u64(&mut bytes).and_then(|length| usize::try_from(length).ok());
        let column = length.and_then(|length| bytes.split_off(..length)).ok_or_else(damaged)?;
        decode_times(column, count, &mut times)?;
    }
    let mut before = None;
    for (index, at) in times.into_iter().enumerate() {
        let histogram =
            Arc::new(read(&mut bytes, before.as_deref()).ok_or(if bytes.is_empty() {
                ChunkError::Truncated { index, count }
            } else {
                damaged()
            })?);
        before = Some(Arc::clone(&histogram));
        into.push((at, histogram));
    }
    if bytes.is_empty() { Ok(()) } else { Err(damaged()) }
}

fn may_repeat(histogram: &Histogram) -> bool {
    histogram.custom_edges.len() <= MAX_REPEATED_EDGES
}

/// Whether all is the same but the numbers of observations, their sum, and what is known of resets.
fn same_layout(a: &Histogram, b: &Histogram) -> bool {
    let bits = |edges: &[f64]| edges.iter().map(|e| e.to_bits()).collect::<Vec<_>>();
    let indices = |buckets: &[(i32, f64)]| buckets.iter().map(|(i, _)| *i).collect::<Vec<_>>();
    a.schema == b.schema
        && a.zero_threshold.to_bits() == b.zero_threshold.to_bits()
        && indices(&a.positive) == indices(&b.positive)
        && indices(&a.negative) == indices(&b.negative)
        && bits(&a.custom_edges) == bits(&b.custom_edges)
}

/// What changes from sample to sample.
fn numbers(histogram: &Histogram) -> impl Iterator<Item = f64> {
    let buckets = histogram.positive.iter().chain(&histogram.negative).map(|(_, n)| *n);
    [histogram.count, histogram.zero_count, histogram.sum].into_iter().chain(buckets)
}

fn write_layout(histogram: &Histogram, into: &mut Vec<u8>) {
    into.push(histogram.schema as u8);
    into.extend_from_slice(&histogram.zero_threshold.to_le_bytes());
    for buckets in [&histogram.positive, &histogram.negative] {
        write_u64(into, buckets.len() as u64);
        let mut before = 0;
        for (index, _) in buckets {
            write_i64(into, i64::from(*index) - before);
            before = i64::from(*index);
        }
    }
    write_u64(into, histogram.custom_edges.len() as u64);
    for edge in &histogram.custom_edges {
        into.extend_from_slice(&edge.to_le_bytes());
    }
}

/// Reads one histogram; none, if the bytes end or are none.
fn read(bytes: &mut &[u8], before: Option<&Histogram>) -> Option<Histogram> {
    let [first] = take(bytes)?;
    let reset = *RESETS.get(usize::from(first & !NEW_LAYOUT))?;
    let (mut histogram, before) = if first & NEW_LAYOUT != 0 {
        (read_layout(bytes)?, None)
    } else {
        (before.filter(|before| may_repeat(before))?.clone(), before)
    };
    let mut before = before.into_iter().flat_map(numbers);
    let mut next = || read_number(bytes, before.next().unwrap_or(0.0));
    histogram.reset = reset;
    (histogram.count, histogram.zero_count, histogram.sum) = (next()?, next()?, next()?);
    for (_, n) in histogram.positive.iter_mut().chain(&mut histogram.negative) {
        *n = next()?;
    }
    Some(histogram)
}

/// Reads what [`write_layout`] wrote; all numbers of observations are zero.
fn read_layout(bytes: &mut &[u8]) -> Option<Histogram> {
    let [schema] = take(bytes)?;
    let zero_threshold = f64::from_le_bytes(take(bytes)?);
    let mut buckets = || {
        let (mut buckets, mut index) = (Vec::new(), 0_i64);
        for _ in 0..read_u64(bytes)? {
            index = index.checked_add(read_i64(bytes)?)?;
            buckets.push((i32::try_from(index).ok()?, 0.0));
        }
        Some(buckets)
    };
    let (positive, negative) = (buckets()?, buckets()?);
    let mut custom_edges = Vec::new();
    for _ in 0..read_u64(bytes)? {
        custom_edges.push(f64::from_le_bytes(take(bytes)?));
    }
    Some(Histogram {
        schema: schema as i8,
        zero_threshold,
        zero_count: 0.0,
        count: 0.0,
        sum: 0.0,
        positive,
        negative,
        custom_edges,
        reset: CounterReset::Unknown,
    })
}

/// Appends twice what a whole number has more than the one before; else a one and the bits.
fn write_number(number: f64, before: f64, into: &mut Vec<u8>) {
    match whole(number) {
        Some(n) => write_i64(into, 2 * (n - whole(before).unwrap_or(0))),
        None => {
            write_i64(into, 1);
            into.extend_from_slice(&number.to_le_bytes());
        }
    }
}

fn read_number(bytes: &mut &[u8], before: f64) -> Option<f64> {
    match read_i64(bytes)? {
        1 => take(bytes).map(f64::from_le_bytes),
        twice => whole(before).unwrap_or(0).checked_add(twice / 2).map(|n| n as f64),
    }
}

/// The number as an integer, if it comes back exactly.
fn whole(number: f64) -> Option<i64> {
    let n = number as i64;
    let exact = n.unsigned_abs() < 1 << 53 && (n as f64).to_bits() == number.to_bits();
    exact.then_some(n)
}

/// Takes as many bytes as are asked for off the front.
fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*taken)
}
