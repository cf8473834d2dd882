//! Records of the write-ahead log: what one commit brings, as bytes.
//!
//! The layout is drawn in `docs/format/record.md`. A record stands for itself: apart from the numbers
//! of series, which definitions give a meaning, nothing in it depends on another record, so that
//! the loss of one costs no other.

use std::sync::Arc;

use hms_ops_core::labels::Labels;
use hms_ops_core::sample::{Exemplar, Sample, Value};
use hms_ops_core::time::{TimeRange, Timestamp};

use crate::chunk::{decode_histograms, encode_histograms};
use crate::varint::{read_i64, read_u64, write_i64, write_u64};

/// The number of a series in the log; never used twice.
pub(crate) type SeriesId = u64;

/// What a record says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Record {
    /// These numbers mean these series.
    Series(Vec<(SeriesId, Labels)>),
    /// One commit.
    Batch { samples: Vec<(SeriesId, Sample)>, exemplars: Vec<(SeriesId, Exemplar)> },
    /// Samples of these series in the range are gone.
    Delete { series: Vec<SeriesId>, range: TimeRange },
    /// What is older is in blocks.
    Floor(Timestamp),
    /// A run of samples of one series, as the head had it.
    Chunk { series: SeriesId, histograms: bool, count: u32, bytes: Vec<u8> },
    /// Exemplars with the series that they are of, which may be gone from the head.
    Exemplars(Vec<(SeriesId, Labels, Exemplar)>),
}

const SERIES: u8 = 1;
const BATCH: u8 = 2;
const DELETE: u8 = 3;
const FLOOR: u8 = 4;
const CHUNK: u8 = 5;
const EXEMPLARS: u8 = 6;

/// In a token: the series is the one after the last.
const NEXT_SERIES: u8 = 1 << 4;
/// In a token: the time is that of the last sample.
const SAME_TIME: u8 = 1 << 5;
/// In a token: the value is a histogram.
const HISTOGRAM: u8 = 1 << 6;
/// In a token: how many bytes of the number follow; the others are zero.
const BYTES: u8 = 0x0f;

/// Writes a record of definitions.
pub(crate) fn encode_series<'a>(
    series: impl ExactSizeIterator<Item = (SeriesId, &'a Labels)>,
) -> Vec<u8> {
    let mut out = vec![SERIES];
    write_u64(&mut out, series.len() as u64);
    for (id, labels) in series {
        write_u64(&mut out, id);
        write_labels(&mut out, labels);
    }
    out
}

/// Writes the record of one commit.
pub(crate) fn encode_batch<'a>(
    samples: impl ExactSizeIterator<Item = (SeriesId, Timestamp, &'a Value)>,
    exemplars: &[(SeriesId, Exemplar)],
) -> Vec<u8> {
    let mut out = Vec::with_capacity(16 + samples.len() * 9);
    out.push(BATCH);
    write_u64(&mut out, samples.len() as u64);
    let (mut last_id, mut last_at) = (0u64, 0i64);
    for (id, at, value) in samples {
        let at = at.as_millis();
        let mut token = 0;
        if id == last_id.wrapping_add(1) {
            token |= NEXT_SERIES;
        }
        if at == last_at {
            token |= SAME_TIME;
        }
        let number = match value {
            Value::Float(number) => number.to_bits(),
            Value::Histogram(_) => 0,
        };
        match value {
            Value::Float(_) => token |= 8 - (number.trailing_zeros() / 8).min(8) as u8,
            Value::Histogram(_) => token |= HISTOGRAM,
        }
        out.push(token);
        if token & NEXT_SERIES == 0 {
            write_i64(&mut out, id.wrapping_sub(last_id).cast_signed());
        }
        if token & SAME_TIME == 0 {
            write_i64(&mut out, at.wrapping_sub(last_at));
        }
        match value {
            Value::Float(_) => {
                out.extend_from_slice(&number.to_be_bytes()[..usize::from(token & BYTES)]);
            }
            Value::Histogram(histogram) => write_histogram(&mut out, histogram),
        }
        (last_id, last_at) = (id, at);
    }
    write_u64(&mut out, exemplars.len() as u64);
    for (id, exemplar) in exemplars {
        write_u64(&mut out, *id);
        write_exemplar(&mut out, exemplar);
    }
    out
}

/// Writes the record of a deletion.
pub(crate) fn encode_delete(series: &[SeriesId], range: TimeRange) -> Vec<u8> {
    let mut out = vec![DELETE];
    write_i64(&mut out, range.start.as_millis());
    write_i64(&mut out, range.end.as_millis());
    write_u64(&mut out, series.len() as u64);
    series.iter().for_each(|&id| write_u64(&mut out, id));
    out
}

/// Writes the record that says what is in blocks.
pub(crate) fn encode_floor(floor: Timestamp) -> Vec<u8> {
    let mut out = vec![FLOOR];
    write_i64(&mut out, floor.as_millis());
    out
}

/// Writes the record of a chunk.
pub(crate) fn encode_chunk(
    series: SeriesId,
    histograms: bool,
    count: u32,
    bytes: &[u8],
) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 16);
    out.push(CHUNK);
    write_u64(&mut out, series);
    out.push(u8::from(histograms));
    write_u64(&mut out, count.into());
    out.extend_from_slice(bytes);
    out
}

/// Writes a record of exemplars.
pub(crate) fn encode_exemplars(exemplars: &[(SeriesId, Labels, Exemplar)]) -> Vec<u8> {
    let mut out = vec![EXEMPLARS];
    write_u64(&mut out, exemplars.len() as u64);
    for (id, labels, exemplar) in exemplars {
        write_u64(&mut out, *id);
        write_labels(&mut out, labels);
        write_exemplar(&mut out, exemplar);
    }
    out
}

/// Reads a record; `None` when it is none.
pub(crate) fn decode(mut bytes: &[u8]) -> Option<Record> {
    let bytes = &mut bytes;
    match read_u8(bytes)? {
        SERIES => {
            let count = read_count(bytes)?;
            let series = (0..count).map(|_| Some((read_u64(bytes)?, read_labels(bytes)?)));
            series.collect::<Option<_>>().map(Record::Series)
        }
        BATCH => {
            let mut samples = Vec::new();
            let exemplars = decode_batch(bytes, |id, at, value| {
                samples.push((id, Sample { at, value }));
            })?;
            Some(Record::Batch { samples, exemplars })
        }
        DELETE => {
            let start = Timestamp::from_millis(read_i64(bytes)?);
            let end = Timestamp::from_millis(read_i64(bytes)?);
            let count = read_count(bytes)?;
            let series = (0..count).map(|_| read_u64(bytes)).collect::<Option<_>>()?;
            Some(Record::Delete { series, range: TimeRange::new(start, end) })
        }
        FLOOR => Some(Record::Floor(Timestamp::from_millis(read_i64(bytes)?))),
        CHUNK => {
            let series = read_u64(bytes)?;
            let histograms = read_u8(bytes)? == 1;
            let count = u32::try_from(read_u64(bytes)?).ok()?;
            Some(Record::Chunk { series, histograms, count, bytes: bytes.to_vec() })
        }
        EXEMPLARS => {
            let count = read_count(bytes)?;
            let exemplars = (0..count)
                .map(|_| Some((read_u64(bytes)?, read_labels(bytes)?, read_exemplar(bytes)?)));
            exemplars.collect::<Option<_>>().map(Record::Exemplars)
        }
        _ => None,
    }
}

/// Whether a record is a commit, which [`decode_batch`] reads without a list in between.
pub(crate) fn as_batch(bytes: &[u8]) -> Option<&[u8]> {
    bytes.split_first().filter(|(kind, _)| **kind == BATCH).map(|(_, rest)| rest)
}

/// Hands on the samples of a commit one by one, and returns its exemplars. When it returns `None`,
/// the record is none, and what was handed on before is a part of it.
pub(crate) fn decode_batch(
    bytes: &mut &[u8],
    mut sample: impl FnMut(SeriesId, Timestamp, Value),
) -> Option<Vec<(SeriesId, Exemplar)>> {
    let (mut id, mut at) = (0u64, 0i64);
    for _ in 0..read_count(bytes)? {
        let token = read_u8(bytes)?;
        id = if token & NEXT_SERIES == 0 {
            id.wrapping_add(read_i64(bytes)?.cast_unsigned())
        } else {
            id.wrapping_add(1)
        };
        if token & SAME_TIME == 0 {
            at = at.wrapping_add(read_i64(bytes)?);
        }
        let value = if token & HISTOGRAM == 0 {
            Value::Float(f64::from_bits(read_number(bytes, usize::from(token & BYTES))?))
        } else {
            read_histogram(bytes)?
        };
        sample(id, Timestamp::from_millis(at), value);
    }
    let count = read_count(bytes)?;
    (0..count).map(|_| Some((read_u64(bytes)?, read_exemplar(bytes)?))).collect()
}

fn read_u8(bytes: &mut &[u8]) -> Option<u8> {
    let (first, rest) = bytes.split_first()?;
    *bytes = rest;
    Some(*first)
}

/// A count of things, each of which takes a byte at least.
fn read_count(bytes: &mut &[u8]) -> Option<usize> {
    let count = usize::try_from(read_u64(bytes)?).ok()?;
    (count <= bytes.len()).then_some(count)
}

fn read_number(bytes: &mut &[u8], len: usize) -> Option<u64> {
    if let (Some(eight), 1..=8) = (bytes.first_chunk::<8>(), len) {
        *bytes = &bytes[len..];
        return Some(u64::from_be_bytes(*eight) & (u64::MAX << (64 - 8 * len)));
    }
    let mut eight = [0; 8];
    eight.get_mut(..len)?.copy_from_slice(bytes.get(..len)?);
    *bytes = &bytes[len..];
    Some(u64::from_be_bytes(eight))
}

fn read_bytes<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = read_count(bytes)?;
    let (these, rest) = bytes.split_at(len);
    *bytes = rest;
    Some(these)
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    write_u64(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

fn read_text<'a>(bytes: &mut &'a [u8]) -> Option<&'a str> {
    std::str::from_utf8(read_bytes(bytes)?).ok()
}

fn write_labels(out: &mut Vec<u8>, labels: &Labels) {
    write_u64(out, labels.len() as u64);
    for (name, value) in labels.iter() {
        write_text(out, name);
        write_text(out, value);
    }
}

fn read_labels(bytes: &mut &[u8]) -> Option<Labels> {
    let count = read_count(bytes)?;
    let pairs = (0..count).map(|_| Some((read_text(bytes)?, read_text(bytes)?)));
    Some(Labels::from_pairs(pairs.collect::<Option<Vec<_>>>()?))
}

fn write_histogram(out: &mut Vec<u8>, histogram: &Arc<hms_ops_core::sample::Histogram>) {
    let mut one = Vec::new();
    encode_histograms(&[(0, histogram.clone())], &mut one);
    write_u64(out, one.len() as u64);
    out.extend_from_slice(&one);
}

fn read_histogram(bytes: &mut &[u8]) -> Option<Value> {
    let mut one = Vec::new();
    decode_histograms(read_bytes(bytes)?, 1, &mut one).ok()?;
    one.pop().map(|(_, histogram)| Value::Histogram(histogram))
}

fn write_exemplar(out: &mut Vec<u8>, exemplar: &Exemplar) {
    write_i64(out, exemplar.at.as_millis());
    out.extend_from_slice(&exemplar.value.to_bits().to_be_bytes());
    write_labels(out, &exemplar.labels);
}

fn read_exemplar(bytes: &mut &[u8]) -> Option<Exemplar> {
    let at = Timestamp::from_millis(read_i64(bytes)?);
    let value = f64::from_bits(read_number(bytes, 8)?);
    Some(Exemplar { labels: read_labels(bytes)?, value, at })
}
