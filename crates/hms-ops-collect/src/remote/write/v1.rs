//! Remote write 1.0: `prometheus.WriteRequest`.

use std::sync::Arc;

use hms_ops_core::labels::Labels;
use hms_ops_core::metadata::{Metadata, MetricType};
use hms_ops_core::sample::{Sample, Value};

use super::{Batch, EXEMPLAR_CHARS, Refusal, WriteError, checked};
use crate::protobuf::{Reader, Writer};
use crate::remote::histogram;

/// Appends what a message brings.
pub(super) fn read(message: &[u8], batch: &mut Batch<'_>) -> Result<(), WriteError> {
    let mut scattered = Vec::new();
    let mut reader = Reader::new(message);
    while let Some((number, field)) = reader.next()? {
        match number {
            1 => series(field.bytes("timeseries")?, &mut scattered, batch)?,
            3 => metadata(field.bytes("metadata")?, batch)?,
            _ => {}
        }
    }
    Ok(())
}

/// Everybody writes the labels first, and one after the other; whoever does not has them gathered in
/// `scattered`.
fn series(
    message: &[u8],
    scattered: &mut Vec<u8>,
    batch: &mut Batch<'_>,
) -> Result<(), WriteError> {
    let (mut start, mut labels_end, mut together) = (0, 0, true);
    let mut reader = Reader::new(message);
    while let Some((number, _)) = reader.next()? {
        let end = message.len() - reader.rest().len();
        if number == 1 && start == labels_end {
            labels_end = end;
        } else if number == 1 {
            together = false;
        }
        start = end;
    }
    batch.enter()?;
    if labels_end == message.len() {
        return Ok(());
    }
    let (mut labels, mut rest) = message.split_at(labels_end);
    if !together {
        scattered.clear();
        let (mut start, mut reader) = (0, Reader::new(message));
        while let Some((number, _)) = reader.next()? {
            let end = message.len() - reader.rest().len();
            if number == 1 {
                scattered.extend_from_slice(&message[start..end]);
            }
            start = end;
        }
        (labels, rest) = (scattered, message);
    }
    let writer = batch.writer;
    let mut named = batch.series(Some(labels), || {
        let mut pairs = Vec::new();
        let mut reader = Reader::new(labels);
        while let Some((_, field)) = reader.next()? {
            pairs.push(pair(field.bytes("labels")?)?);
            // One too many is kept, to tell that there were too many.
            if pairs.len() > writer.limits.labels {
                break;
            }
        }
        checked(pairs, &writer.limits)
    })?;
    let mut reader = Reader::new(rest);
    while let Some((number, field)) = reader.next()? {
        match number {
            2 => batch.sample(&mut named, field.bytes("samples")?)?,
            3 => {
                let (mut pairs, mut value, mut at) = (Vec::new(), 0.0, 0);
                let mut reader = Reader::new(field.bytes("exemplars")?);
                while let Some((number, field)) = reader.next()? {
                    match number {
                        1 if pairs.len() > EXEMPLAR_CHARS => {}
                        1 => pairs.push(pair(field.bytes("labels")?)),
                        2 => value = field.double("value")?,
                        3 => at = field.int("timestamp")?,
                        _ => {}
                    }
                }
                batch.exemplar(&mut named, pairs.into_iter().collect(), value, at)?;
            }
            4 => batch.histogram(&mut named, field.bytes("histograms")?)?,
            _ => {}
        }
    }
    Ok(())
}

fn pair(message: &[u8]) -> Result<(&str, &str), Refusal> {
    let (mut name, mut value) = ("", "");
    let mut reader = Reader::new(message);
    while let Some((number, field)) = reader.next()? {
        match number {
            1 => name = field.text("the name")?,
            2 => value = field.text("the value")?,
            _ => {}
        }
    }
    Ok((name, value))
}

fn metadata(message: &[u8], batch: &mut Batch<'_>) -> Result<(), WriteError> {
    batch.enter()?;
    let (mut metric_type, mut metric, mut help, mut unit) = (0, &b""[..], &b""[..], &b""[..]);
    let mut reader = Reader::new(message);
    while let Some((number, field)) = reader.next()? {
        match number {
            1 => metric_type = field.uint("type")?,
            2 => metric = field.bytes("metric_family_name")?,
            4 => help = field.bytes("help")?,
            5 => unit = field.bytes("unit")?,
            _ => {}
        }
    }
    let [metric, help, unit] = [metric, help, unit].map(String::from_utf8_lossy);
    batch.describe(&metric, metric_type, &help, &unit);
    Ok(())
}

/// Appends a request of remote write 1.0, not yet deflated, to `into`.
pub fn encode_v1<'a>(
    series: impl IntoIterator<Item = (&'a Labels, &'a [Sample])>,
    into: &mut Vec<u8>,
) {
    let mut writer = Writer::new(into);
    for (labels, samples) in series {
        writer.message(1, |writer| write_series(labels, samples, writer));
    }
}

/// Appends what is known about metrics to `into`, as (part of) a request of remote write 1.0.
pub fn encode_metadata_v1(metadata: &[(Arc<str>, Metadata)], into: &mut Vec<u8>) {
    let mut writer = Writer::new(into);
    for (metric, said) in metadata {
        writer.message(3, |writer| {
            writer.uint(1, number_of(said.metric_type));
            writer.bytes(2, &**metric);
            writer.bytes(4, &*said.help);
            writer.bytes(5, &*said.unit);
        });
    }
}

/// Writes the fields of a series, as in an answer to a read, too.
pub(in crate::remote) fn write_series(
    labels: &Labels,
    samples: &[Sample],
    writer: &mut Writer<'_>,
) {
    for (name, value) in labels.iter() {
        writer.message(1, |writer| {
            writer.bytes(1, name);
            writer.bytes(2, value);
        });
    }
    write_samples(samples, 4, writer);
}

/// Writes samples, and histograms as another field.
pub(super) fn write_samples(samples: &[Sample], histograms: u32, writer: &mut Writer<'_>) {
    for Sample { at, value } in samples {
        match value {
            Value::Float(value) => writer.message(2, |writer| {
                writer.double(1, *value);
                writer.int(2, at.as_millis());
            }),
            Value::Histogram(histogram) => {
                writer.message(histograms, |writer| histogram::encode(histogram, *at, writer));
            }
        }
    }
}

fn number_of(metric_type: MetricType) -> u64 {
    match metric_type {
        MetricType::Unknown => 0,
        MetricType::Counter => 1,
        MetricType::Gauge => 2,
        MetricType::Histogram => 3,
        MetricType::GaugeHistogram => 4,
        MetricType::Summary => 5,
        MetricType::Info => 6,
        MetricType::StateSet => 7,
    }
}
