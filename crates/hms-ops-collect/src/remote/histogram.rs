//! Native histograms, in which the messages of all versions agree.

use std::sync::Arc;

use hms_ops_core::sample::{CounterReset, Histogram, Value};
use hms_ops_core::time::Timestamp;

use crate::protobuf::{ProtobufError, Reader, Writer, zigzag};

/// No bucket is further from that of 1: the finest schema needs a quarter of it for all floats.
const MAX_INDEX: i64 = 1 << 20;
/// Buckets of one histogram.
const MAX_BUCKETS: usize = 65_536;
/// The schema whose edges the histogram says itself.
const CUSTOM: i8 = -53;

/// What is wrong with a histogram whose message can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HistogramError {
    #[error("schema {0} is none of -53 and -4 to 8")]
    Schema(i64),
    #[error("more than {MAX_BUCKETS} buckets")]
    TooManyBuckets,
    #[error("spans of {spans} buckets for {counts} counts")]
    Spans { spans: u64, counts: usize },
    #[error("spans that overlap, or end beyond the last bucket that can be")]
    Offsets,
    #[error("a count that is negative or not a number")]
    Count,
    #[error("a count of {count} where the buckets have {buckets}")]
    Sum { count: u64, buckets: u64 },
    #[error("custom edges that do not ascend or are not finite")]
    Edges,
    #[error("custom edges beside another schema, or negative buckets or a zero bucket beside them")]
    Custom,
}

/// Buckets on one side of zero, as they stand in the message.
#[derive(Default)]
struct Side {
    spans: Vec<(i64, u64)>,
    deltas: Vec<i64>,
    counts: Vec<f64>,
}

/// Reads a histogram: when it was, and what; or what is wrong with it. One whose sum is the
/// staleness marker is that.
pub(crate) fn decode(
    message: &[u8],
) -> Result<(Timestamp, Result<Value, HistogramError>), ProtobufError> {
    let (mut at, mut schema, mut reset) = (0, 0, 0);
    let (mut int_count, mut int_zero) = (0, 0);
    let (mut float_count, mut float_zero) = (None, None);
    let (mut sum, mut zero_threshold) = (0.0, 0.0);
    let (mut positive, mut negative) = (Side::default(), Side::default());
    let mut custom_edges = Vec::new();
    let mut reader = Reader::new(message);
    while let Some((number, field)) = reader.next()? {
        match number {
            1 => int_count = field.uint("count_int")?,
            2 => float_count = Some(field.double("count_float")?),
            3 => sum = field.double("sum")?,
            4 => schema = field.sint("schema")?,
            5 => zero_threshold = field.double("zero_threshold")?,
            6 => int_zero = field.uint("zero_count_int")?,
            7 => float_zero = Some(field.double("zero_count_float")?),
            8 => negative.add_span(field.bytes("negative_spans")?)?,
            9 => deltas(field.uints("negative_deltas")?, &mut negative.deltas)?,
            10 => negative.counts.extend(field.doubles("negative_counts")?.take(MAX_BUCKETS + 1)),
            11 => positive.add_span(field.bytes("positive_spans")?)?,
            12 => deltas(field.uints("positive_deltas")?, &mut positive.deltas)?,
            13 => positive.counts.extend(field.doubles("positive_counts")?.take(MAX_BUCKETS + 1)),
            14 => reset = field.uint("reset_hint")?,
            15 => at = field.int("timestamp")?,
            16 => custom_edges.extend(field.doubles("custom_values")?.take(MAX_BUCKETS + 1)),
            _ => {}
        }
    }
    let at = Timestamp::from_millis(at);
    let stale = Value::STALE;
    if Value::Float(sum) == stale {
        return Ok((at, Ok(stale)));
    }
    let build = || {
        let is_float = float_count.is_some() || float_zero.is_some();
        let (positive, negative) = (positive.buckets(is_float)?, negative.buckets(is_float)?);
        let histogram = Histogram {
            schema: known_schema(schema)?,
            zero_threshold,
            zero_count: float_zero.unwrap_or(int_zero as f64),
            count: float_count.unwrap_or(int_count as f64),
            sum,
            positive,
            negative,
            custom_edges,
            reset: match reset {
                1 => CounterReset::Reset,
                2 => CounterReset::NotReset,
                3 => CounterReset::Gauge,
                _ => CounterReset::Unknown,
            },
        };
        check(&histogram)?;
        if !is_float {
            check_sum(&histogram, int_count, int_zero)?;
        }
        Ok(Value::Histogram(Arc::new(histogram)))
    };
    Ok((at, build()))
}

/// One too many is kept, to tell that there were too many.
fn deltas(
    packed: impl Iterator<Item = Result<u64, ProtobufError>>,
    into: &mut Vec<i64>,
) -> Result<(), ProtobufError> {
    for value in packed {
        let value = zigzag(value?);
        if into.len() <= MAX_BUCKETS {
            into.push(value);
        }
    }
    Ok(())
}

fn known_schema(schema: i64) -> Result<i8, HistogramError> {
    let known = i8::try_from(schema).ok().filter(|s| (-4..=8).contains(s) || *s == CUSTOM);
    known.ok_or(HistogramError::Schema(schema))
}

impl Side {
    /// One too many is kept, here too.
    fn add_span(&mut self, message: &[u8]) -> Result<(), ProtobufError> {
        let (mut offset, mut length) = (0, 0);
        let mut reader = Reader::new(message);
        while let Some((number, field)) = reader.next()? {
            match number {
                1 => offset = field.sint("offset")?,
                2 => length = field.uint("length")?,
                _ => {}
            }
        }
        if self.spans.len() <= MAX_BUCKETS {
            self.spans.push((offset, length));
        }
        Ok(())
    }

    /// The buckets that are not empty, with their indexes.
    fn buckets(self, is_float: bool) -> Result<Vec<(i32, f64)>, HistogramError> {
        let counts = if is_float { self.counts } else { absolute(&self.deltas)? };
        if counts.len().max(self.spans.len()) > MAX_BUCKETS {
            return Err(HistogramError::TooManyBuckets);
        }
        let spans = self.spans.iter().fold(0, |all: u64, (_, length)| all.saturating_add(*length));
        if spans != counts.len() as u64 {
            return Err(HistogramError::Spans { spans, counts: counts.len() });
        }
        let (mut buckets, mut counts) = (Vec::new(), counts.into_iter());
        let mut index = 0_i64;
        for (nth, &(offset, length)) in self.spans.iter().enumerate() {
            if nth > 0 && offset < 0 {
                return Err(HistogramError::Offsets);
            }
            index += i64::from(i32::try_from(offset).map_err(|_| HistogramError::Offsets)?);
            for count in counts.by_ref().take(length as usize) {
                if count != 0.0 {
                    if index.abs() > MAX_INDEX {
                        return Err(HistogramError::Offsets);
                    }
                    buckets.push((index as i32, count));
                }
                index += 1;
            }
        }
        Ok(buckets)
    }
}

fn absolute(deltas: &[i64]) -> Result<Vec<f64>, HistogramError> {
    let mut count = 0_i64;
    let add = |delta: &i64| {
        count = count.checked_add(*delta).filter(|c| *c >= 0).ok_or(HistogramError::Count)?;
        Ok(count as f64)
    };
    deltas.iter().map(add).collect()
}

/// Checks what holds for integers and floats.
fn check(histogram: &Histogram) -> Result<(), HistogramError> {
    let Histogram { schema, positive, negative, custom_edges: edges, .. } = histogram;
    // Not `< 0.0`, which a NaN passes.
    let is_count = |count: f64| count >= 0.0;
    let all = || positive.iter().chain(negative).all(|(_, count)| is_count(*count));
    if !is_count(histogram.count) || !is_count(histogram.zero_count) || !all() {
        return Err(HistogramError::Count);
    }
    if *schema != CUSTOM {
        return if edges.is_empty() { Ok(()) } else { Err(HistogramError::Custom) };
    }
    if !negative.is_empty() || histogram.zero_count != 0.0 || histogram.zero_threshold != 0.0 {
        return Err(HistogramError::Custom);
    }
    if edges.len() > MAX_BUCKETS {
        return Err(HistogramError::TooManyBuckets);
    }
    let ascend = edges.windows(2).all(|pair| pair[0] < pair[1]);
    if !ascend || edges.iter().any(|edge| !edge.is_finite()) {
        return Err(HistogramError::Edges);
    }
    // The last bucket reaches from the last edge to infinity.
    let known = 0..=edges.len() as i64;
    if positive.iter().any(|(index, _)| !known.contains(&i64::from(*index))) {
        return Err(HistogramError::Offsets);
    }
    Ok(())
}

/// The buckets of integers have every observation but those that are not a number.
fn check_sum(histogram: &Histogram, count: u64, zero: u64) -> Result<(), HistogramError> {
    let all = histogram.positive.iter().chain(&histogram.negative);
    let buckets = all.fold(zero, |all, (_, count)| all.saturating_add(*count as u64));
    let fits = if histogram.sum.is_nan() { buckets <= count } else { buckets == count };
    if fits { Ok(()) } else { Err(HistogramError::Sum { count, buckets }) }
}

/// How many samples' worth of memory it takes.
pub(super) fn weight(value: &Value) -> usize {
    match value {
        Value::Float(_) => 1,
        Value::Histogram(h) => 1 + h.positive.len() + h.negative.len() + h.custom_edges.len(),
    }
}

/// Writes a histogram as the fields of its message; as a histogram of integers if it is one.
pub(crate) fn encode(histogram: &Histogram, at: Timestamp, writer: &mut Writer<'_>) {
    let buckets = || histogram.positive.iter().chain(&histogram.negative).map(|(_, count)| *count);
    let mut counts = buckets().chain([histogram.count, histogram.zero_count]);
    // Up to here every integer is a float of its own.
    let is_whole = |c: f64| c.is_sign_positive() && c.fract() == 0.0 && c < 9e15;
    let is_float = !counts.all(is_whole)
        || check_sum(histogram, histogram.count as u64, histogram.zero_count as u64).is_err();
    if is_float {
        writer.double(2, histogram.count);
        writer.double(7, histogram.zero_count);
    } else {
        writer.uint(1, histogram.count as u64);
        writer.uint(6, histogram.zero_count as u64);
    }
    writer.double(3, histogram.sum);
    writer.sint(4, histogram.schema.into());
    writer.double(5, histogram.zero_threshold);
    for (side, field) in [(&histogram.negative, 8), (&histogram.positive, 11)] {
        encode_spans(side, field, writer);
        if is_float {
            writer.doubles(field + 2, side.iter().map(|(_, count)| *count));
        } else {
            let mut before = 0;
            let deltas = side.iter().map(|(_, count)| {
                let count = *count as i64;
                count - std::mem::replace(&mut before, count)
            });
            writer.sints(field + 1, deltas);
        }
    }
    writer.uint(
        14,
        match histogram.reset {
            CounterReset::Unknown => 0,
            CounterReset::Reset => 1,
            CounterReset::NotReset => 2,
            CounterReset::Gauge => 3,
        },
    );
    writer.int(15, at.as_millis());
    writer.doubles(16, histogram.custom_edges.iter().copied());
}

/// Each run of indexes without a gap is a span; its offset counts from the end of the one before.
fn encode_spans(side: &[(i32, f64)], field: u32, writer: &mut Writer<'_>) {
    let mut end = 0;
    for run in side.chunk_by(|a, b| i64::from(a.0) + 1 == i64::from(b.0)) {
        let start = i64::from(run[0].0);
        writer.message(field, |span| {
            span.sint(1, start - end);
            span.uint(2, run.len() as u64);
        });
        end = start + run.len() as i64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
        let mut message = Vec::new();
        write(&mut Writer::new(&mut message));
        message
    }

    fn histogram() -> Histogram {
        Histogram {
            schema: 3,
            zero_threshold: 1e-128,
            zero_count: 2.0,
            count: 15.0,
            sum: 18.4,
            positive: vec![(-1, 1.0), (0, 3.0), (4, 5.0)],
            negative: vec![(2, 4.0)],
            custom_edges: Vec::new(),
            reset: CounterReset::NotReset,
        }
    }

    fn reason(write: impl FnOnce(&mut Writer<'_>)) -> String {
        decode(&encoded(write)).unwrap().1.unwrap_err().to_string()
    }

    fn span(writer: &mut Writer<'_>, offset: i64, length: u64) {
        writer.message(11, |span| {
            span.sint(1, offset);
            span.uint(2, length);
        });
    }

    #[test]
    fn integers_floats_and_custom_edges_come_back_as_they_were() {
        let at = Timestamp::from_millis(-5);
        let float = Histogram { count: 15.5, sum: f64::NAN, ..histogram() };
        let custom = Histogram {
            schema: CUSTOM,
            zero_threshold: 0.0,
            zero_count: 0.0,
            count: 4.0,
            negative: Vec::new(),
            positive: vec![(0, 1.0), (2, 3.0)],
            custom_edges: vec![-1.0, 5.0],
            ..histogram()
        };
        for histogram in [histogram(), float, custom] {
            let message = encoded(|w| encode(&histogram, at, w));
            let value = Value::Histogram(Arc::new(histogram));
            assert_eq!(decode(&message), Ok((at, Ok(value))));
        }
    }

    #[test]
    fn deltas_and_spans_give_absolute_counts_and_none_that_is_empty() {
        let message = encoded(|w| {
            w.uint(1, 9);
            w.double(3, 1.0);
            span(w, -2, 2);
            span(w, 3, 3);
            w.sints(12, [3, -3, 2, 0, 0]);
        });
        let Ok(Value::Histogram(histogram)) = decode(&message).unwrap().1 else { panic!() };
        assert_eq!(histogram.positive, [(-2, 3.0), (3, 2.0), (4, 2.0), (5, 2.0)]);
    }

    #[test]
    fn a_stale_sum_ends_the_series() {
        let Value::Float(stale) = Value::STALE else { unreachable!() };
        let message = encoded(|w| {
            w.double(3, stale);
            w.int(15, 7);
        });
        assert_eq!(decode(&message), Ok((Timestamp::from_millis(7), Ok(Value::STALE))));
    }

    #[test]
    fn a_histogram_that_cannot_be_says_why() {
        assert_eq!(reason(|w| w.sint(4, 9)), "schema 9 is none of -53 and -4 to 8");
        assert_eq!(reason(|w| w.sints(12, [1])), "spans of 0 buckets for 1 counts");
        assert_eq!(
            reason(|w| span(w, 0, u64::MAX)),
            "spans of 18446744073709551615 buckets for 0 counts"
        );
        let overlap = "spans that overlap, or end beyond the last bucket that can be";
        assert_eq!(
            reason(|w| {
                span(w, 0, 1);
                span(w, -1, 1);
                w.sints(12, [1, 0]);
            }),
            overlap
        );
        assert_eq!(
            reason(|w| {
                span(w, 1 << 40, 1);
                w.sints(12, [1]);
            }),
            overlap
        );
        let negative = "a count that is negative or not a number";
        assert_eq!(
            reason(|w| {
                span(w, 0, 1);
                w.sints(12, [-1]);
            }),
            negative
        );
        assert_eq!(reason(|w| w.double(2, f64::NAN)), negative);
        assert_eq!(reason(|w| w.uint(1, 3)), "a count of 3 where the buckets have 0");
        assert_eq!(
            reason(|w| {
                span(w, 0, 65_537);
                w.sints(12, vec![0; 65_537]);
            }),
            "more than 65536 buckets"
        );
        let edges = "custom edges that do not ascend or are not finite";
        for bad in [[1.0, 1.0], [1.0, f64::INFINITY], [f64::NAN, 1.0]] {
            assert_eq!(
                reason(|w| {
                    w.sint(4, -53);
                    w.doubles(16, bad);
                }),
                edges
            );
        }
        assert!(reason(|w| w.doubles(16, [1.0])).starts_with("custom edges beside"));
    }
}
