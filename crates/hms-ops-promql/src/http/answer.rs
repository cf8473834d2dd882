//! The answer to a query as a document.

use std::sync::Arc;
use std::vec;

use hms_ops_core::labels::Labels;
use hms_ops_core::query::{Answer, Data};
use hms_ops_core::sample::{Histogram, Sample, Value};
use hms_ops_core::time::Timestamp;

use super::document::{Document, Notices, PIECE};
use super::json;
use crate::histogram::buckets;

/// `{"resultType":…,"result":…}`, with at most `limit` series.
pub(crate) fn document(answer: Answer, limit: usize) -> Document {
    let Answer { data, warnings, infos } = answer;
    let mut notices = Notices { warnings, infos };
    let mut truncate = |len| {
        if len > limit {
            notices.truncated();
        }
    };
    match data {
        Data::Scalar(at, value) => {
            let mut result = br#"{"resultType":"scalar","result":["#.to_vec();
            json::plain_timestamp(&mut result, at);
            result.extend_from_slice(b",\"");
            json::plain_number(&mut result, value);
            Document::success(&result, |_| false, b"\"]}", &notices)
        }
        Data::Text(at, text) => {
            let mut result = br#"{"resultType":"string","result":["#.to_vec();
            json::plain_timestamp(&mut result, at);
            result.push(b',');
            json::text(&mut result, &text);
            Document::success(&result, |_| false, b"]}", &notices)
        }
        Data::Vector(series) => {
            truncate(series.len());
            let series = series.into_iter().take(limit);
            let write = |out: &mut Vec<u8>, (labels, sample): (Labels, Sample)| {
                open(out, &labels);
                match sample.value {
                    Value::Float(value) => {
                        out.extend_from_slice(br#","value":"#);
                        point(out, sample.at, value);
                    }
                    Value::Histogram(histogram) => {
                        out.extend_from_slice(br#","histogram":"#);
                        histogram_point(out, sample.at, &histogram);
                    }
                }
                out.push(b'}');
            };
            let before = br#"{"resultType":"vector","result":"#;
            Document::list(before, series, write, b"}", &notices)
        }
        Data::Matrix(mut series) => {
            truncate(series.len());
            series.truncate(limit);
            let mut matrix = Matrix { series: series.into_iter(), current: None, first: true };
            let before = br#"{"resultType":"matrix","result":["#;
            Document::success(before, move |out| matrix.advance(out), b"]}", &notices)
        }
    }
}

/// About how many bytes an answer takes in memory.
pub(crate) fn bytes(answer: &Answer) -> usize {
    match &answer.data {
        Data::Scalar(..) => 0,
        Data::Text(_, text) => text.len(),
        Data::Vector(series) => series.len() * size_of::<(Labels, Sample)>(),
        Data::Matrix(series) => {
            let samples: usize = series.iter().map(|(_, samples)| samples.len()).sum();
            series.len() * size_of::<(Labels, Vec<Sample>)>() + samples * size_of::<Sample>()
        }
    }
}

/// What is left of a matrix.
struct Matrix {
    series: vec::IntoIter<(Labels, Vec<Sample>)>,
    current: Option<Current>,
    first: bool,
}

/// The series that is being written.
struct Current {
    samples: vec::IntoIter<Sample>,
    /// Whether a number was written.
    numbers: bool,
    /// They come after the numbers.
    histograms: Vec<(Timestamp, Arc<Histogram>)>,
}

impl Matrix {
    fn advance(&mut self, out: &mut Vec<u8>) -> bool {
        if let Some(current) = &mut self.current {
            if current.advance(out) {
                self.current = None;
            }
            return true;
        }
        let Some((labels, samples)) = self.series.next() else { return false };
        if !std::mem::take(&mut self.first) {
            out.push(b',');
        }
        open(out, &labels);
        let samples = samples.into_iter();
        self.current = Some(Current { samples, numbers: false, histograms: Vec::new() });
        true
    }
}

impl Current {
    /// Writes a piece; `true` when the series is over.
    fn advance(&mut self, out: &mut Vec<u8>) -> bool {
        for Sample { at, value } in self.samples.by_ref() {
            match value {
                Value::Float(value) => {
                    let before: &[u8] = if self.numbers { b"," } else { br#","values":["# };
                    out.extend_from_slice(before);
                    self.numbers = true;
                    point(out, at, value);
                }
                Value::Histogram(histogram) => self.histograms.push((at, histogram)),
            }
            if out.len() >= PIECE {
                return false;
            }
        }
        if self.numbers {
            out.push(b']');
        }
        if !self.histograms.is_empty() {
            out.extend_from_slice(br#","histograms":"#);
            json::list(out, &self.histograms, |out, (at, h)| histogram_point(out, *at, h));
        }
        out.push(b'}');
        true
    }
}

fn open(out: &mut Vec<u8>, labels: &Labels) {
    out.extend_from_slice(br#"{"metric":"#);
    json::labels(out, labels);
}

/// `[1700000000.123,"17.5"]`.
fn point(out: &mut Vec<u8>, at: Timestamp, value: f64) {
    out.push(b'[');
    json::timestamp(out, at);
    out.push(b',');
    json::quoted_number(out, value);
    out.push(b']');
}

/// `[1700000000.123,{"count":"3","sum":"17.5","buckets":[[0,"1","2","3"]]}]`.
fn histogram_point(out: &mut Vec<u8>, at: Timestamp, histogram: &Histogram) {
    out.push(b'[');
    json::timestamp(out, at);
    out.extend_from_slice(br#",{"count":"#);
    json::quoted_number(out, histogram.count);
    out.extend_from_slice(br#","sum":"#);
    json::quoted_number(out, histogram.sum);
    let mut buckets = buckets(histogram).peekable();
    if buckets.peek().is_some() {
        out.extend_from_slice(br#","buckets":"#);
        json::list(out, buckets, |out, bucket| {
            out.extend_from_slice(&[b'[', b'0' + bucket.bounds as u8]);
            for number in [bucket.lower, bucket.upper, bucket.count] {
                out.push(b',');
                json::quoted_number(out, number);
            }
            out.push(b']');
        });
    }
    out.extend_from_slice(b"}]");
}
