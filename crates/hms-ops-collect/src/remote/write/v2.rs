//! Remote write 2.0: `io.prometheus.write.v2.Request`.

use std::collections::HashMap;
use std::mem::{discriminant, replace};

use hms_ops_core::labels::{Labels, NAME};
use hms_ops_core::sample::Sample;

use super::{Batch, EXEMPLAR_CHARS, Refusal, WriteError, checked, v1};
use crate::protobuf::{ProtobufError, Reader, Uints, Writer};

/// Symbols of a request.
const MAX_SYMBOLS: usize = 1 << 20;

/// The texts of a request, to which everything else refers by number.
struct Symbols<'a> {
    texts: Vec<&'a [u8]>,
    /// The one that is `__name__`.
    name: Option<u64>,
    /// Of which metrics has been kept what is said about them.
    described: Vec<bool>,
}

/// What is used again from series to series.
#[derive(Default)]
struct Scratch {
    references: Vec<u64>,
    key: Vec<u8>,
}

/// Appends what a message brings.
pub(super) fn read(message: &[u8], batch: &mut Batch<'_>) -> Result<(), WriteError> {
    // To the end first: the symbols may come last.
    let mut texts = Vec::new();
    let mut reader = Reader::new(message);
    while let Some((number, field)) = reader.next()? {
        if number == 4 {
            if texts.len() == MAX_SYMBOLS {
                return Err(WriteError::TooMany { what: "symbols", limit: MAX_SYMBOLS });
            }
            texts.push(field.bytes("symbols")?);
        }
    }
    let name = texts.iter().position(|text| *text == NAME.as_bytes()).map(|n| n as u64);
    let described = vec![false; texts.len()];
    let mut symbols = Symbols { texts, name, described };
    let mut scratch = Scratch::default();
    let mut reader = Reader::new(message);
    while let Some((number, field)) = reader.next()? {
        if number == 5 {
            series(field.bytes("timeseries")?, &mut symbols, &mut scratch, batch)?;
        }
    }
    Ok(())
}

fn series(
    message: &[u8],
    symbols: &mut Symbols<'_>,
    Scratch { references, key }: &mut Scratch,
    batch: &mut Batch<'_>,
) -> Result<(), WriteError> {
    batch.enter()?;
    references.clear();
    let writer = batch.writer;
    let mut is_empty = true;
    let mut reader = Reader::new(message);
    while let Some((number, field)) = reader.next()? {
        match number {
            1 => gather(field.uints("labels_refs")?, writer.limits.labels, references)?,
            2 | 3 => is_empty = false,
            _ => {}
        }
    }
    if is_empty {
        let labels = symbols.pairs(references).map(Labels::from_pairs);
        batch.refuse(0, 0, labels.map_or_else(|why| why, |l| Refusal::Empty(l.to_string())));
        return Ok(());
    }
    let key = symbols.write_key(references, key).then_some(&key[..]);
    let mut named = batch.series(key, || checked(symbols.pairs(references)?, &writer.limits))?;
    let mut said = None;
    let mut reader = Reader::new(message);
    while let Some((number, field)) = reader.next()? {
        match number {
            2 => batch.sample(&mut named, field.bytes("samples")?)?,
            3 => batch.histogram(&mut named, field.bytes("histograms")?)?,
            4 => {
                let (mut references, mut value, mut at) = (Vec::new(), 0.0, 0);
                let mut reader = Reader::new(field.bytes("exemplars")?);
                while let Some((number, field)) = reader.next()? {
                    match number {
                        1 => {
                            gather(field.uints("labels_refs")?, EXEMPLAR_CHARS, &mut references)?;
                        }
                        2 => value = field.double("value")?,
                        3 => at = field.int("timestamp")?,
                        _ => {}
                    }
                }
                batch.exemplar(&mut named, symbols.pairs(&references), value, at)?;
            }
            5 => said = Some(field.bytes("metadata")?),
            _ => {}
        }
    }
    if let Some(said) = said.filter(|_| named.series.is_some()) {
        metadata(said, references, symbols, batch)?;
    }
    Ok(())
}

/// One pair too many is kept, to tell that there were too many.
fn gather(mut packed: Uints<'_>, labels: usize, into: &mut Vec<u64>) -> Result<(), ProtobufError> {
    packed.try_for_each(|reference| {
        let reference = reference?;
        if into.len() / 2 <= labels {
            into.push(reference);
        }
        Ok(())
    })
}

impl<'a> Symbols<'a> {
    /// Writes the texts of these labels, each behind its length; `false` when one does not exist.
    #[inline]
    fn write_key(&self, references: &[u64], key: &mut Vec<u8>) -> bool {
        key.clear();
        references.iter().all(|&reference| match self.texts.get(reference as usize) {
            Some(text) => {
                key.extend_from_slice(&(text.len() as u32).to_le_bytes());
                key.extend_from_slice(text);
                true
            }
            None => false,
        })
    }

    fn pairs(&self, references: &[u64]) -> Result<Vec<(&'a str, &'a str)>, Refusal> {
        let (pairs, odd) = references.as_chunks::<2>();
        if !odd.is_empty() {
            return Err(Refusal::Odd(references.len()));
        }
        pairs.iter().map(|[name, value]| Ok((self.text(*name)?, self.text(*value)?))).collect()
    }

    fn text(&self, reference: u64) -> Result<&'a str, Refusal> {
        let symbols = self.texts.len();
        let text = usize::try_from(reference).ok().and_then(|n| self.texts.get(n));
        let text = text.ok_or(Refusal::Reference { reference, symbols })?;
        Ok(std::str::from_utf8(text).map_err(|_| ProtobufError::Utf8 { name: "a symbol" })?)
    }
}

/// Keeps what is said about the metric of a series, once a request.
fn metadata(
    message: &[u8],
    references: &[u64],
    symbols: &mut Symbols<'_>,
    batch: &Batch<'_>,
) -> Result<(), ProtobufError> {
    let (pairs, _) = references.as_chunks::<2>();
    let Some([_, metric]) = pairs.iter().find(|[name, _]| Some(*name) == symbols.name) else {
        return Ok(());
    };
    let Ok(metric_text) = symbols.text(*metric) else { return Ok(()) };
    let (mut metric_type, mut help, mut unit) = (0, 0, 0);
    let mut reader = Reader::new(message);
    while let Some((number, field)) = reader.next()? {
        match number {
            1 => metric_type = field.uint("type")?,
            3 => help = field.uint("help_ref")?,
            4 => unit = field.uint("unit_ref")?,
            _ => {}
        }
    }
    let described = &mut symbols.described[*metric as usize];
    if replace(described, true) || (metric_type, help, unit) == (0, 0, 0) {
        return Ok(());
    }
    let [help, unit] = [help, unit].map(|reference| symbols.text(reference).unwrap_or_default());
    // The family, not each of its series.
    let suffixes: &[&str] = match metric_type {
        3 => &["_bucket", "_count", "_sum"],
        4 => &["_bucket", "_gcount", "_gsum"],
        5 => &["_count", "_sum"],
        _ => &[],
    };
    let family = suffixes.iter().find_map(|suffix| metric_text.strip_suffix(suffix));
    batch.describe(family.unwrap_or(metric_text), metric_type, help, unit);
    Ok(())
}

/// Appends a request of remote write 2.0, not yet deflated, to `into`. A series without samples is
/// left out.
pub fn encode_v2<'a>(
    series: impl IntoIterator<Item = (&'a Labels, &'a [Sample])> + Clone,
    into: &mut Vec<u8>,
) {
    let mut writer = Writer::new(into);
    let mut numbers = HashMap::from([("", 0)]);
    writer.bytes(4, "");
    for text in series.clone().into_iter().flat_map(|(labels, _)| labels.iter()).flat_map(texts) {
        let next = numbers.len() as u64;
        numbers.entry(text).or_insert_with(|| {
            writer.bytes(4, text);
            next
        });
    }
    for (labels, samples) in series {
        // A series may not have numbers and histograms at once.
        for run in samples.chunk_by(|a, b| discriminant(&a.value) == discriminant(&b.value)) {
            writer.message(5, |writer| {
                writer.uints(1, labels.iter().flat_map(texts).map(|text| numbers[text]));
                v1::write_samples(run, 3, writer);
            });
        }
    }
}

fn texts<'a>((name, value): (&'a str, &'a str)) -> [&'a str; 2] {
    [name, value]
}
