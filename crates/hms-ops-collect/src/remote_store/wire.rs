//! The messages of remote write 1.0 and of remote read, as they are sent and as answers are read.
//!
//! Source: `prompb/types.proto` and `prompb/remote.proto` of Prometheus; *Prometheus Remote-Write
//! Specification 1.0*. Bodies are concatenated series, so requests are joined by joining bytes.

use hms_ops_core::labels::Labels;
use hms_ops_core::matcher::Matcher;
use hms_ops_core::sample::{Exemplar, Sample, Value};
use hms_ops_core::time::{TimeRange, Timestamp};

use crate::protobuf::{ProtobufError, Reader, Writer};
use crate::remote::histogram::{self, HistogramError};
use crate::remote::{SnappyError, deflate, snappy};

/// One series of a message.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct TimeSeries {
    pub(super) labels: Labels,
    /// In the order of their time.
    pub(super) samples: Vec<Sample>,
    pub(super) exemplars: Vec<Exemplar>,
}

/// What came is no such message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each message explains its fields")]
pub enum WireError {
    /// It breaks off, a field is of another kind, or a text is not UTF-8.
    #[error("the message cannot be read: {reason}")]
    Malformed { reason: String },

    /// A histogram contradicts itself, or is larger than anybody has.
    #[error("a histogram is malformed: {reason}")]
    Histogram { reason: String },

    /// The body cannot be inflated, or would become larger than is held.
    #[error("the body cannot be inflated")]
    Body(#[from] SnappyError),
}

impl From<ProtobufError> for WireError {
    fn from(error: ProtobufError) -> Self {
        Self::Malformed { reason: error.to_string() }
    }
}

impl From<HistogramError> for WireError {
    fn from(error: HistogramError) -> Self {
        Self::Histogram { reason: error.to_string() }
    }
}

/// The field of a series in a write request, and in a result of a read.
const SERIES: u32 = 1;

pub(super) fn compress(body: &[u8]) -> Vec<u8> {
    deflate(body).expect("a body is shorter than 4 GiB")
}

pub(super) fn inflate(body: &[u8], limit: usize) -> Result<Vec<u8>, WireError> {
    let mut buffer = Vec::new();
    let length = snappy::inflate(body, limit, &mut buffer)?.len();
    buffer.truncate(length);
    Ok(buffer)
}

/// Appends one series to the body of a write request.
pub(super) fn put_series(
    body: &mut Vec<u8>,
    labels: &Labels,
    samples: &[Sample],
    exemplars: &[Exemplar],
) {
    Writer::new(body).message(SERIES, |series| {
        put_labels(labels, series);
        for Sample { at, value } in samples {
            match value {
                Value::Float(value) => series.message(2, |sample| {
                    sample.double(1, *value);
                    sample.int(2, at.as_millis());
                }),
                Value::Histogram(histogram) => {
                    series.message(4, |sample| histogram::encode(histogram, *at, sample));
                }
            }
        }
        for exemplar in exemplars {
            series.message(3, |message| {
                put_labels(&exemplar.labels, message);
                message.double(2, exemplar.value);
                message.int(3, exemplar.at.as_millis());
            });
        }
    });
}

fn put_labels(labels: &Labels, writer: &mut Writer<'_>) {
    for (name, value) in labels.iter() {
        writer.message(1, |label| {
            label.bytes(1, name);
            label.bytes(2, value);
        });
    }
}

/// The series of a write request, each as the bytes of a request with it alone.
pub(super) fn split(body: &[u8]) -> Vec<&[u8]> {
    let mut reader = Reader::new(body);
    let (mut parts, mut from) = (Vec::new(), 0);
    while let Ok(Some(_)) = reader.next() {
        let end = body.len() - reader.rest().len();
        parts.push(&body[from..end]);
        from = end;
    }
    parts
}

/// The samples in these series of a write request.
pub(super) fn count(series: &[&[u8]]) -> u64 {
    let count = |body: &&[u8]| read_write_request(body).unwrap_or_default();
    series.iter().flat_map(count).map(|series| series.samples.len() as u64).sum()
}

/// The series of a write request of our own, without histograms that are none: whether to take these
/// is for the backend to say.
pub(super) fn read_write_request(body: &[u8]) -> Result<Vec<TimeSeries>, WireError> {
    let mut all = Vec::new();
    each_series(body, |series, _| {
        all.push(series);
        Ok(())
    })?;
    Ok(all)
}

/// A request for the samples in `range` of the series that all `matchers` accept.
pub(super) fn read_request(matchers: &[Matcher], range: TimeRange) -> Vec<u8> {
    let mut request = Vec::new();
    Writer::new(&mut request).message(1, |query| {
        query.int(1, range.start.as_millis());
        query.int(2, range.end.as_millis());
        for matcher in matchers {
            let (operator, name, value) = matcher.key();
            let kind = ["=", "!=", "=~", "!~"].iter().position(|&known| known == operator);
            query.message(3, |message| {
                message.uint(1, kind.unwrap_or_default() as u64);
                message.bytes(2, &*name);
                message.bytes(3, &*value);
            });
        }
    });
    request
}

/// The series of all results of a remote read.
pub(super) fn read_read_response(body: &[u8]) -> Result<Vec<TimeSeries>, WireError> {
    let mut all = Vec::new();
    let mut reader = Reader::new(body);
    while let Some((number, field)) = reader.next()? {
        if number == 1 {
            each_series(field.bytes("results")?, |series, wrong| {
                all.push(series);
                wrong.map_or(Ok(()), |wrong| Err(wrong.into()))
            })?;
        }
    }
    Ok(all)
}

/// Calls `each` with every series of a message, and with what is wrong with a histogram that was left
/// out of it.
fn each_series(
    message: &[u8],
    mut each: impl FnMut(TimeSeries, Option<HistogramError>) -> Result<(), WireError>,
) -> Result<(), WireError> {
    let mut reader = Reader::new(message);
    while let Some((number, field)) = reader.next()? {
        if number == SERIES {
            let (series, wrong) = read_series(field.bytes("timeseries")?)?;
            each(series, wrong)?;
        }
    }
    Ok(())
}

fn read_series(message: &[u8]) -> Result<(TimeSeries, Option<HistogramError>), ProtobufError> {
    let (mut labels, mut samples, mut exemplars) = (Vec::new(), Vec::new(), Vec::new());
    let mut wrong = None;
    let mut reader = Reader::new(message);
    while let Some((number, field)) = reader.next()? {
        match number {
            1 => labels.push(read_label(field.bytes("labels")?)?),
            2 => {
                let (mut value, mut at) = (0.0, 0);
                let mut sample = Reader::new(field.bytes("samples")?);
                while let Some((number, field)) = sample.next()? {
                    match number {
                        1 => value = field.double("value")?,
                        2 => at = field.int("timestamp")?,
                        _ => {}
                    }
                }
                samples.push(Sample { at: Timestamp::from_millis(at), value: value.into() });
            }
            3 => exemplars.push(read_exemplar(field.bytes("exemplars")?)?),
            4 => match histogram::decode(field.bytes("histograms")?)? {
                (at, Ok(value)) => samples.push(Sample { at, value }),
                (_, Err(error)) => wrong = Some(error),
            },
            _ => {}
        }
    }
    // Numbers and histograms stand apart in the message.
    samples.sort_by_key(|sample| sample.at);
    Ok((TimeSeries { labels: Labels::from_pairs(labels), samples, exemplars }, wrong))
}

fn read_label(message: &[u8]) -> Result<(&str, &str), ProtobufError> {
    let (mut name, mut value) = ("", "");
    let mut reader = Reader::new(message);
    while let Some((number, field)) = reader.next()? {
        match number {
            1 => name = field.text("name")?,
            2 => value = field.text("value")?,
            _ => {}
        }
    }
    Ok((name, value))
}

fn read_exemplar(message: &[u8]) -> Result<Exemplar, ProtobufError> {
    let (mut labels, mut value, mut at) = (Vec::new(), 0.0, 0);
    let mut reader = Reader::new(message);
    while let Some((number, field)) = reader.next()? {
        match number {
            1 => labels.push(read_label(field.bytes("labels")?)?),
            2 => value = field.double("value")?,
            3 => at = field.int("timestamp")?,
            _ => {}
        }
    }
    let at = Timestamp::from_millis(at);
    Ok(Exemplar { labels: Labels::from_pairs(labels), value, at })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hms_ops_core::sample::{CounterReset, Histogram};

    use super::*;

    fn histogram(positive: Vec<(i32, f64)>, count: f64) -> Histogram {
        Histogram {
            schema: 3,
            zero_threshold: 1e-128,
            zero_count: 2.0,
            count,
            sum: f64::NAN,
            positive,
            negative: vec![(-2, 1.0), (7, 2.0)],
            custom_edges: Vec::new(),
            reset: CounterReset::Gauge,
        }
    }

    fn series(name: &str) -> TimeSeries {
        let at = Timestamp::from_millis;
        let of = |h: Histogram| Value::Histogram(Arc::new(h));
        let fractions = of(histogram(vec![(-3, 1.0), (0, 2.5), (1, 3.0)], 12.5));
        let whole = of(histogram(vec![(-3, 1.0), (0, 9.0), (1, 3.0)], 18.0));
        let own_edges = of(Histogram {
            schema: -53,
            zero_threshold: 0.0,
            zero_count: 0.0,
            negative: Vec::new(),
            custom_edges: vec![0.5, 1.0],
            ..histogram(vec![(0, 1.0), (2, 3.0)], 4.0)
        });
        let values = [Value::STALE, fractions, whole, own_edges, (-0.0).into()];
        TimeSeries {
            labels: Labels::metric(name).with("zone", "größe\n"),
            samples: (-1..).zip(values).map(|(t, value)| Sample { at: at(t), value }).collect(),
            exemplars: vec![Exemplar { labels: Labels::empty(), value: -0.0, at: at(7) }],
        }
    }

    fn body(all: &[TimeSeries]) -> Vec<u8> {
        let mut body = Vec::new();
        for one in all {
            put_series(&mut body, &one.labels, &one.samples, &one.exemplars);
        }
        body
    }

    fn response(result: &[u8]) -> Vec<u8> {
        let mut response = Vec::new();
        Writer::new(&mut response).bytes(1, result);
        response
    }

    #[test]
    fn series_read_back_as_they_were_written_and_bodies_are_joined_by_their_bytes() {
        let all = [series("a"), series("b")];
        let joined = [body(&all[..1]), body(&all[1..])].concat();
        assert_eq!(read_write_request(&joined).unwrap(), all);
        assert_eq!(split(&joined), [body(&all[..1]), body(&all[1..])]);
        assert_eq!(read_read_response(&response(&joined)).unwrap(), all);
        assert_eq!(inflate(&compress(&joined), joined.len()).unwrap(), joined);
    }

    #[test]
    fn a_histogram_that_is_none_fails_an_answer_and_costs_a_request_of_our_own_itself_alone() {
        let mut written = series("a");
        let bad = Histogram { schema: 99, ..histogram(Vec::new(), 5.0) };
        let at = Timestamp::from_millis(9);
        written.samples.push(Sample { at, value: Value::Histogram(Arc::new(bad)) });
        let body = body(&[written]);
        assert_eq!(read_write_request(&body).unwrap(), [series("a")]);
        let error = read_read_response(&response(&body)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a histogram is malformed: schema 99 is none of -53 and -4 to 8"
        );
    }

    #[test]
    fn a_declared_length_is_checked_before_memory_is_taken() {
        let snappy = [0xff, 0xff, 0xff, 0xff, 0x0f, 0x00];
        let refused = inflate(&snappy, 1 << 20);
        assert!(matches!(refused, Err(WireError::Body(SnappyError::TooLong { .. }))));
        let mut result = Vec::new();
        Writer::new(&mut result).message(SERIES, |series| {
            series.message(4, |histogram| histogram.message(11, |span| span.uint(2, u64::MAX)));
        });
        let refused = read_read_response(&response(&result));
        assert!(matches!(refused, Err(WireError::Histogram { .. })));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_readers_panic(bytes: Vec<u8>, cut in 0..400usize, flip: u8) {
            let _ = read_write_request(&bytes);
            let _ = inflate(&bytes, 1000);
            let mut message = body(&[series("a")]);
            let at = cut % message.len();
            message[at] ^= flip;
            let _ = read_write_request(&message);
            let _ = read_read_response(&message);
            let _ = read_write_request(&message[..at]);
            let _ = split(&message[..at]);
        }
    }
}
