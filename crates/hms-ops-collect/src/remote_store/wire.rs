//! The messages of remote write 1.0 and of remote read, as Protobuf in Snappy's block format.
//!
//! Source: `prompb/types.proto` and `prompb/remote.proto` of Prometheus; *Prometheus Remote-Write
//! Specification 1.0*. Bodies are concatenated series, so requests are joined by joining bytes.

use std::sync::Arc;

use hms_ops_core::labels::Labels;
use hms_ops_core::matcher::Matcher;
use hms_ops_core::sample::{CounterReset, Exemplar, Histogram, Sample, Value};
use hms_ops_core::time::{TimeRange, Timestamp};

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
    /// The bytes end in the middle of a field, or a field is of no known kind.
    #[error("the message breaks off or is malformed at byte {at}")]
    Malformed { at: usize },

    /// A text is not UTF-8.
    #[error("a label is not UTF-8")]
    Text,

    /// A histogram's buckets contradict each other, or are more than anybody has.
    #[error("a histogram is malformed")]
    Histogram,

    /// The body is not in Snappy's block format.
    #[error("the body is not valid snappy")]
    Snappy(#[source] snap::Error),

    /// The body would inflate to more than is held.
    #[error("the body has {bytes} bytes, the limit is {limit}")]
    TooLong { bytes: usize, limit: usize },
}

/// The field of a series in a write request.
const SERIES: u32 = 1;
/// Buckets of one histogram, which no schema has in earnest.
const MAX_BUCKETS: usize = 100_000;
/// From here on not every whole number is one of 64 bits' floats.
const WHOLE: f64 = 9_007_199_254_740_992.0;

pub(super) fn compress(body: &[u8]) -> Vec<u8> {
    let mut out = snap::raw::Encoder::new();
    out.compress_vec(body).expect("a body is shorter than 4 GiB, and the buffer is made to fit")
}

pub(super) fn inflate(body: &[u8], limit: usize) -> Result<Vec<u8>, WireError> {
    let bytes = snap::raw::decompress_len(body).map_err(WireError::Snappy)?;
    if bytes > limit {
        return Err(WireError::TooLong { bytes, limit });
    }
    snap::raw::Decoder::new().decompress_vec(body).map_err(WireError::Snappy)
}

/// Appends one series to the body of a write request.
pub(super) fn put_series(
    body: &mut Vec<u8>,
    labels: &Labels,
    samples: &[Sample],
    exemplars: &[Exemplar],
) {
    let mut series = Vec::new();
    put_labels(&mut series, labels);
    for sample in samples {
        match &sample.value {
            Value::Float(value) => {
                let mut message = Vec::new();
                put_double(&mut message, 1, *value);
                put_varint(&mut message, 2, sample.at.as_millis() as u64);
                put_bytes(&mut series, 2, &message);
            }
            Value::Histogram(histogram) => {
                put_bytes(&mut series, 4, &histogram_message(histogram, sample.at));
            }
        }
    }
    for exemplar in exemplars {
        let mut message = Vec::new();
        put_labels(&mut message, &exemplar.labels);
        put_double(&mut message, 2, exemplar.value);
        put_varint(&mut message, 3, exemplar.at.as_millis() as u64);
        put_bytes(&mut series, 3, &message);
    }
    put_bytes(body, SERIES, &series);
}

/// The series of a write request, each as the bytes of a request with it alone.
pub(super) fn split(body: &[u8]) -> Vec<&[u8]> {
    let mut fields = Fields::of(body);
    let mut parts = Vec::new();
    let mut from = 0;
    while let Ok(Some(_)) = fields.next() {
        parts.push(&body[from..fields.at]);
        from = fields.at;
    }
    parts
}

/// The samples in these series of a write request.
pub(super) fn count(series: &[&[u8]]) -> u64 {
    let count = |body: &&[u8]| read_write_request(body).unwrap_or_default();
    series.iter().flat_map(count).map(|series| series.samples.len() as u64).sum()
}

pub(super) fn read_write_request(body: &[u8]) -> Result<Vec<TimeSeries>, WireError> {
    let mut all = Vec::new();
    let mut fields = Fields::of(body);
    while let Some(field) = fields.next()? {
        if let (SERIES, Field::Bytes(series)) = field {
            all.push(read_series(series)?);
        }
    }
    Ok(all)
}

/// A request for the samples in `range` of the series that all `matchers` accept.
pub(super) fn read_request(matchers: &[Matcher], range: TimeRange) -> Vec<u8> {
    let mut query = Vec::new();
    put_varint(&mut query, 1, range.start.as_millis() as u64);
    put_varint(&mut query, 2, range.end.as_millis() as u64);
    for matcher in matchers {
        let (operator, name, value) = matcher.key();
        let kind = ["=", "!=", "=~", "!~"].iter().position(|&known| known == operator);
        let mut message = Vec::new();
        put_varint(&mut message, 1, kind.unwrap_or_default() as u64);
        put_bytes(&mut message, 2, name.as_bytes());
        put_bytes(&mut message, 3, value.as_bytes());
        put_bytes(&mut query, 3, &message);
    }
    let mut request = Vec::new();
    put_bytes(&mut request, 1, &query);
    request
}

/// The series of all results of a remote read.
pub(super) fn read_read_response(body: &[u8]) -> Result<Vec<TimeSeries>, WireError> {
    let mut all = Vec::new();
    let mut fields = Fields::of(body);
    while let Some(field) = fields.next()? {
        if let (1, Field::Bytes(result)) = field {
            // A result and a write request have their series in the same field.
            all.append(&mut read_write_request(result)?);
        }
    }
    Ok(all)
}

fn read_series(message: &[u8]) -> Result<TimeSeries, WireError> {
    let (mut labels, mut samples, mut exemplars) = (Vec::new(), Vec::new(), Vec::new());
    let mut fields = Fields::of(message);
    while let Some(field) = fields.next()? {
        match field {
            (1, Field::Bytes(message)) => labels.push(read_label(message)?),
            (2, Field::Bytes(message)) => {
                let (value, at) = (read_double(message, 1)?, read_time(message, 2)?);
                samples.push(Sample { at, value: value.into() });
            }
            (3, Field::Bytes(message)) => exemplars.push(read_exemplar(message)?),
            (4, Field::Bytes(message)) => {
                let value = Value::Histogram(Arc::new(read_histogram(message)?));
                samples.push(Sample { at: read_time(message, 15)?, value });
            }
            _ => {}
        }
    }
    // Numbers and histograms stand apart in the message.
    samples.sort_by_key(|sample| sample.at);
    Ok(TimeSeries { labels: Labels::from_pairs(labels), samples, exemplars })
}

fn read_label(message: &[u8]) -> Result<(String, String), WireError> {
    let (mut name, mut value) = (String::new(), String::new());
    let mut fields = Fields::of(message);
    while let Some(field) = fields.next()? {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|_| WireError::Text);
        match field {
            (1, Field::Bytes(bytes)) => name = text(bytes)?,
            (2, Field::Bytes(bytes)) => value = text(bytes)?,
            _ => {}
        }
    }
    Ok((name, value))
}

fn read_exemplar(message: &[u8]) -> Result<Exemplar, WireError> {
    let mut labels = Vec::new();
    let mut fields = Fields::of(message);
    while let Some(field) = fields.next()? {
        if let (1, Field::Bytes(label)) = field {
            labels.push(read_label(label)?);
        }
    }
    let (value, at) = (read_double(message, 2)?, read_time(message, 3)?);
    Ok(Exemplar { labels: Labels::from_pairs(labels), value, at })
}

fn read_double(message: &[u8], number: u32) -> Result<f64, WireError> {
    let mut fields = Fields::of(message);
    let mut found = 0.0;
    while let Some(field) = fields.next()? {
        if let (at, Field::Fixed(bits)) = field
            && at == number
        {
            found = f64::from_bits(bits);
        }
    }
    Ok(found)
}

fn read_time(message: &[u8], number: u32) -> Result<Timestamp, WireError> {
    let mut fields = Fields::of(message);
    let mut found = 0;
    while let Some(field) = fields.next()? {
        if let (at, Field::Varint(value)) = field
            && at == number
        {
            found = value as i64;
        }
    }
    Ok(Timestamp::from_millis(found))
}

/// Counts are sent as whole numbers when they are, which every backend takes.
fn histogram_message(histogram: &Histogram, at: Timestamp) -> Vec<u8> {
    let mut out = Vec::new();
    let both = [(8, &histogram.negative), (11, &histogram.positive)];
    let buckets = both.iter().flat_map(|(_, buckets)| buckets.iter().map(|&(_, count)| count));
    let mut counts = buckets.chain([histogram.count, histogram.zero_count]);
    let whole = counts.all(|count| count.trunc() == count && (0.0..WHOLE).contains(&count));
    if whole {
        put_varint(&mut out, 1, histogram.count as u64);
        put_varint(&mut out, 6, histogram.zero_count as u64);
    } else {
        put_double(&mut out, 2, histogram.count);
        put_double(&mut out, 7, histogram.zero_count);
    }
    put_double(&mut out, 3, histogram.sum);
    put_varint(&mut out, 4, zigzag(i64::from(histogram.schema)));
    put_double(&mut out, 5, histogram.zero_threshold);
    for (number, buckets) in both {
        put_spans(&mut out, number, buckets);
        if whole {
            let before = [0].into_iter().chain(buckets.iter().map(|&(_, count)| count as i64));
            let counts = buckets.iter().map(|&(_, count)| count as i64);
            let mut packed = Vec::new();
            for (count, before) in counts.zip(before) {
                put_raw(&mut packed, zigzag(count - before));
            }
            if !packed.is_empty() {
                put_bytes(&mut out, number + 1, &packed);
            }
        } else {
            put_doubles(&mut out, number + 2, buckets.iter().map(|&(_, count)| count));
        }
    }
    let reset = match histogram.reset {
        CounterReset::Unknown => 0,
        CounterReset::Reset => 1,
        CounterReset::NotReset => 2,
        CounterReset::Gauge => 3,
    };
    put_varint(&mut out, 14, reset);
    put_varint(&mut out, 15, at.as_millis() as u64);
    put_doubles(&mut out, 16, histogram.custom_edges.iter().copied());
    out
}

/// Runs of buckets without a gap: how far each begins after the end of the one before, and its
/// length.
fn put_spans(out: &mut Vec<u8>, number: u32, buckets: &[(i32, f64)]) {
    let mut end = 0;
    for run in buckets.chunk_by(|a, b| i64::from(a.0) + 1 == i64::from(b.0)) {
        let mut span = Vec::new();
        put_varint(&mut span, 1, zigzag(i64::from(run[0].0) - end));
        put_varint(&mut span, 2, run.len() as u64);
        put_bytes(out, number, &span);
        end = i64::from(run[0].0) + run.len() as i64;
    }
}

#[derive(Default)]
struct Buckets {
    indexes: Vec<i32>,
    next: i64,
    deltas: Vec<i64>,
    counts: Vec<f64>,
}

impl Buckets {
    fn span(&mut self, message: &[u8]) -> Result<(), WireError> {
        let (mut offset, mut length) = (0, 0);
        let mut fields = Fields::of(message);
        while let Some(field) = fields.next()? {
            match field {
                (1, Field::Varint(value)) => offset = unzigzag(value),
                (2, Field::Varint(value)) => length = value,
                _ => {}
            }
        }
        if length > (MAX_BUCKETS - self.indexes.len()) as u64 {
            return Err(WireError::Histogram);
        }
        self.next = self.next.checked_add(offset).ok_or(WireError::Histogram)?;
        for _ in 0..length {
            self.indexes.push(i32::try_from(self.next).map_err(|_| WireError::Histogram)?);
            self.next += 1;
        }
        Ok(())
    }

    /// Index and count of those that are not empty.
    fn finish(mut self) -> Result<Vec<(i32, f64)>, WireError> {
        let mut count = 0i64;
        for delta in &self.deltas {
            count = count.wrapping_add(*delta);
            self.counts.push(count as f64);
        }
        if self.counts.len() != self.indexes.len() || !self.indexes.is_sorted_by(|a, b| a < b) {
            return Err(WireError::Histogram);
        }
        Ok(self.indexes.into_iter().zip(self.counts).filter(|&(_, count)| count != 0.0).collect())
    }
}

fn read_histogram(message: &[u8]) -> Result<Histogram, WireError> {
    let [mut negative, mut positive] = [Buckets::default(), Buckets::default()];
    let mut found = Histogram {
        schema: 0,
        zero_threshold: 0.0,
        zero_count: 0.0,
        count: 0.0,
        sum: 0.0,
        positive: Vec::new(),
        negative: Vec::new(),
        custom_edges: Vec::new(),
        reset: CounterReset::Unknown,
    };
    let mut fields = Fields::of(message);
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            (1, Field::Varint(count)) => found.count = count as f64,
            (2, Field::Fixed(bits)) => found.count = f64::from_bits(bits),
            (3, Field::Fixed(bits)) => found.sum = f64::from_bits(bits),
            (4, Field::Varint(value)) => {
                found.schema = i8::try_from(unzigzag(value)).map_err(|_| WireError::Histogram)?;
            }
            (5, Field::Fixed(bits)) => found.zero_threshold = f64::from_bits(bits),
            (6, Field::Varint(count)) => found.zero_count = count as f64,
            (7, Field::Fixed(bits)) => found.zero_count = f64::from_bits(bits),
            (8, Field::Bytes(span)) => negative.span(span)?,
            (11, Field::Bytes(span)) => positive.span(span)?,
            (9, field) => read_varints(field, |v| negative.deltas.push(unzigzag(v)))?,
            (12, field) => read_varints(field, |v| positive.deltas.push(unzigzag(v)))?,
            (10, field) => read_doubles(field, &mut negative.counts)?,
            (13, field) => read_doubles(field, &mut positive.counts)?,
            (14, Field::Varint(reset)) => {
                found.reset = match reset {
                    1 => CounterReset::Reset,
                    2 => CounterReset::NotReset,
                    3 => CounterReset::Gauge,
                    _ => CounterReset::Unknown,
                };
            }
            (16, field) => read_doubles(field, &mut found.custom_edges)?,
            _ => {}
        }
    }
    (found.negative, found.positive) = (negative.finish()?, positive.finish()?);
    Ok(found)
}

fn put_labels(out: &mut Vec<u8>, labels: &Labels) {
    for (name, value) in labels.iter() {
        let mut label = Vec::new();
        put_bytes(&mut label, 1, name.as_bytes());
        put_bytes(&mut label, 2, value.as_bytes());
        put_bytes(out, 1, &label);
    }
}

fn put_key(out: &mut Vec<u8>, number: u32, kind: u32) {
    put_raw(out, u64::from(number << 3 | kind));
}

fn put_varint(out: &mut Vec<u8>, number: u32, value: u64) {
    put_key(out, number, 0);
    put_raw(out, value);
}

fn put_double(out: &mut Vec<u8>, number: u32, value: f64) {
    put_key(out, number, 1);
    out.extend(value.to_le_bytes());
}

pub(super) fn put_bytes(out: &mut Vec<u8>, number: u32, value: &[u8]) {
    put_key(out, number, 2);
    put_raw(out, value.len() as u64);
    out.extend(value);
}

fn put_doubles(out: &mut Vec<u8>, number: u32, values: impl Iterator<Item = f64>) {
    let packed: Vec<u8> = values.flat_map(f64::to_le_bytes).collect();
    if !packed.is_empty() {
        put_bytes(out, number, &packed);
    }
}

fn put_raw(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63) as u64
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Packed, or one by one.
fn read_varints(field: Field<'_>, mut each: impl FnMut(u64)) -> Result<(), WireError> {
    match field {
        Field::Varint(value) => each(value),
        Field::Bytes(packed) => {
            let mut packed = Fields::of(packed);
            while packed.at < packed.bytes.len() {
                each(packed.varint()?);
            }
        }
        Field::Fixed(_) => return Err(WireError::Histogram),
    }
    Ok(())
}

fn read_doubles(field: Field<'_>, into: &mut Vec<f64>) -> Result<(), WireError> {
    match field {
        Field::Fixed(bits) => into.push(f64::from_bits(bits)),
        Field::Bytes(packed) => {
            let (values, rest) = packed.as_chunks::<8>();
            if !rest.is_empty() {
                return Err(WireError::Histogram);
            }
            into.extend(values.iter().map(|bytes| f64::from_le_bytes(*bytes)));
        }
        Field::Varint(_) => return Err(WireError::Histogram),
    }
    Ok(())
}

/// What a field holds; 32 bits wide ones occur in none of the messages and are passed over.
pub(super) enum Field<'a> {
    Varint(u64),
    Fixed(u64),
    Bytes(&'a [u8]),
}

/// Takes a message apart.
pub(super) struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn next(&mut self) -> Result<Option<(u32, Field<'a>)>, WireError> {
        while self.at < self.bytes.len() {
            let key = self.varint()?;
            let number = u32::try_from(key >> 3).map_err(|_| self.malformed())?;
            let field = match key & 7 {
                0 => Field::Varint(self.varint()?),
                1 => {
                    let bytes = self.take(8)?.try_into().map_err(|_| self.malformed())?;
                    Field::Fixed(u64::from_le_bytes(bytes))
                }
                2 => {
                    let length = self.varint()?;
                    Field::Bytes(self.take(usize::try_from(length).unwrap_or(usize::MAX))?)
                }
                5 => {
                    self.take(4)?;
                    continue;
                }
                _ => return Err(self.malformed()),
            };
            return Ok(Some((number, field)));
        }
        Ok(None)
    }

    fn varint(&mut self) -> Result<u64, WireError> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.malformed())
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], WireError> {
        let taken = self.bytes[self.at..].get(..length).ok_or_else(|| self.malformed())?;
        self.at += length;
        Ok(taken)
    }

    fn malformed(&self) -> WireError {
        WireError::Malformed { at: self.at }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(positive: Vec<(i32, f64)>, count: f64) -> Value {
        Value::Histogram(Arc::new(Histogram {
            schema: 3,
            zero_threshold: 1e-128,
            zero_count: 2.0,
            count,
            sum: f64::NAN,
            positive,
            negative: vec![(-2, 1.0), (7, 2.0)],
            custom_edges: vec![0.5, 1.0],
            reset: CounterReset::Gauge,
        }))
    }

    fn series(name: &str) -> TimeSeries {
        let at = Timestamp::from_millis;
        let fractions = histogram(vec![(-3, 1.0), (0, 2.5), (1, 3.0)], 12.5);
        let whole = histogram(vec![(-3, 1.0), (0, 9.0), (1, 3.0)], 13.0);
        let values = [Value::STALE, fractions, whole, (-0.0).into()];
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

    #[test]
    fn series_read_back_as_they_were_written_and_bodies_are_joined_by_their_bytes() {
        let all = [series("a"), series("b")];
        let joined = [body(&all[..1]), body(&all[1..])].concat();
        assert_eq!(read_write_request(&joined).unwrap(), all);
        assert_eq!(split(&joined), [body(&all[..1]), body(&all[1..])]);
        let mut response = Vec::new();
        put_bytes(&mut response, 1, &joined);
        assert_eq!(read_read_response(&response).unwrap(), all);
        assert_eq!(inflate(&compress(&joined), joined.len()).unwrap(), joined);
    }

    #[test]
    fn counts_of_whole_numbers_are_read_from_their_differences() {
        let mut message = Vec::new();
        put_varint(&mut message, 1, 6);
        let mut span = Vec::new();
        put_varint(&mut span, 1, zigzag(-2));
        put_varint(&mut span, 2, 3);
        put_bytes(&mut message, 11, &span);
        let deltas: Vec<u8> = [3, -2, 1].map(zigzag).iter().map(|&v| v as u8).collect();
        put_bytes(&mut message, 12, &deltas);
        let read = read_histogram(&message).unwrap();
        assert_eq!((read.count, read.positive), (6.0, vec![(-2, 3.0), (-1, 1.0), (0, 2.0)]));
    }

    #[test]
    fn a_declared_length_is_checked_before_memory_is_taken() {
        let snappy = [0xff, 0xff, 0xff, 0xff, 0x0f, 0x00];
        assert!(matches!(inflate(&snappy, 1 << 20), Err(WireError::TooLong { .. })));
        let mut span = Vec::new();
        put_varint(&mut span, 2, u64::MAX);
        let mut message = Vec::new();
        put_bytes(&mut message, 11, &span);
        assert!(matches!(read_histogram(&message), Err(WireError::Histogram)));
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
