//! The series of one target: from the text of an exposition to samples in the store.
//!
//! The text of a series leads straight to its handle, so that only new series cost label work.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;

use hms_ops_core::clock::Stopwatch;
use hms_ops_core::exposition::edge_label;
use hms_ops_core::labels::{Labels, NAME};
use hms_ops_core::sample::{Exemplar, Value};
use hms_ops_core::store::{Appender, SeriesRef, Store, StoreError};
use hms_ops_core::time::Timestamp;

use super::{Limits, ScrapeError};
use crate::exposition::{self, Event, Exposition, Format, Pairs, Sample, excerpt};

/// Resolves when a batch is stored.
pub(super) type Commit = Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send>>;

/// The series of one target as of its last scrape.
#[derive(Debug)]
pub(super) struct TargetSeries {
    exposed: ExposedSeries,
    own: [OwnSeries; 3],
}

/// The series that were exposed, as of the last exposition.
#[derive(Debug)]
pub(super) struct ExposedSeries {
    labels: Labels,
    limits: Limits,
    exposed: HashMap<Box<str>, Exposed>,
    /// Counts expositions, to tell which series the current one has.
    scrape: u64,
}

/// A series that the target exposes.
#[derive(Debug)]
struct Exposed {
    series: SeriesRef,
    last_scrape: u64,
}

/// A series that says how the scrape went.
#[derive(Debug)]
struct OwnSeries {
    labels: Labels,
    series: Option<SeriesRef>,
}

/// What became of the samples of one scrape.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) samples: usize,
    pub(super) refused: usize,
}

/// A sample that has been read, before its series has been looked up in the store.
struct Read<'a> {
    text: &'a str,
    series: Option<SeriesRef>,
    value: f64,
    exemplar: Option<exposition::Exemplar<'a>>,
}

impl TargetSeries {
    pub(super) fn new(labels: Labels, limits: Limits) -> Self {
        let own = ["up", "scrape_duration_seconds", "scrape_samples_scraped"];
        let own = own.map(|name| OwnSeries { labels: labels.with(NAME, name), series: None });
        Self { exposed: ExposedSeries::new(labels, limits), own }
    }

    /// Appends the samples of `body`, all at `at`, and that the target is up.
    pub(super) fn success(
        &mut self,
        store: &dyn Store,
        body: &[u8],
        format: Format,
        at: Timestamp,
        took: Stopwatch,
    ) -> Result<(Counts, Commit), ScrapeError> {
        let (mut appender, counts) = self.exposed.append(store, body, format, at)?;
        let values = [1.0, took.elapsed().as_secs_f64(), counts.samples as f64];
        self.report(&mut *appender, at, values)?;
        Ok((counts, appender.commit()))
    }

    /// Ends all series and appends that the target is down.
    pub(super) fn failure(
        &mut self,
        store: &dyn Store,
        at: Timestamp,
        took: Stopwatch,
    ) -> Result<Commit, StoreError> {
        let mut appender = store.appender();
        self.exposed.end(&mut *appender, at)?;
        self.report(&mut *appender, at, [0.0, took.elapsed().as_secs_f64(), 0.0])?;
        Ok(appender.commit())
    }

    /// Ends all series: the target is no longer scraped.
    pub(super) fn end(&mut self, store: &dyn Store, at: Timestamp) -> Result<Commit, StoreError> {
        let mut appender = store.appender();
        self.exposed.end(&mut *appender, at)?;
        for own in &mut self.own {
            if let Some(series) = own.series.take() {
                end(&mut *appender, series, at)?;
            }
        }
        Ok(appender.commit())
    }

    fn report(
        &mut self,
        appender: &mut dyn Appender,
        at: Timestamp,
        values: [f64; 3],
    ) -> Result<(), StoreError> {
        for (own, value) in self.own.iter_mut().zip(values) {
            if let Some(series) = own.series {
                match appender.append(series, at, Value::Float(value)) {
                    Err(StoreError::UnknownSeries { .. }) => {}
                    result => {
                        accepted(result)?;
                        continue;
                    }
                }
            }
            let series = match appender.series(&own.labels) {
                Err(StoreError::TooManySeries { .. }) => continue,
                series => series?,
            };
            own.series = Some(series);
            accepted(appender.append(series, at, Value::Float(value)))?;
        }
        Ok(())
    }
}

impl ExposedSeries {
    pub(super) fn new(labels: Labels, limits: Limits) -> Self {
        Self { labels, limits, exposed: HashMap::new(), scrape: 0 }
    }

    /// A batch of the samples of `body`, all at `at`, and of the ends of series that are no longer
    /// there. There is none when anything is wrong with the body.
    pub(super) fn append<'s>(
        &mut self,
        store: &'s dyn Store,
        body: &[u8],
        format: Format,
        at: Timestamp,
    ) -> Result<(Box<dyn Appender + 's>, Counts), ScrapeError> {
        self.scrape += 1;
        // To the end first: a limit may be passed in the last line.
        let (read, samples) = self.read(body, format)?;
        let mut appender = store.appender();
        let mut counts = Counts { samples, refused: samples - read.len() };
        for sample in read {
            let accepted = self.append_sample(&mut *appender, &sample, at)?;
            counts.refused += usize::from(!accepted);
        }
        let scrape = self.scrape;
        for (_, gone) in self.exposed.extract_if(|_, exposed| exposed.last_scrape != scrape) {
            end(&mut *appender, gone.series, at)?;
        }
        Ok((appender, counts))
    }

    /// Ends all series.
    pub(super) fn end(
        &mut self,
        appender: &mut dyn Appender,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        // The memory goes too: the target that comes back may be another.
        for (_, exposed) in std::mem::take(&mut self.exposed) {
            end(appender, exposed.series, at)?;
        }
        Ok(())
    }

    /// Reads the whole body within the limits; each series once, and how many samples there were.
    fn read<'a>(
        &mut self,
        body: &'a [u8],
        format: Format,
    ) -> Result<(Vec<Read<'a>>, usize), ScrapeError> {
        let limit = self.limits.samples;
        let mut read = Vec::with_capacity(self.exposed.len());
        let (mut samples, mut metadata) = (0, 0);
        let mut events = Exposition::new(body, format)?;
        while let Some(event) = events.next() {
            let line = events.line();
            let Event::Sample(sample) = event? else {
                metadata += 1;
                if metadata > limit {
                    return Err(ScrapeError::TooMany { line, what: "lines of metadata", limit });
                }
                continue;
            };
            samples += 1;
            if samples > limit {
                return Err(ScrapeError::TooMany { line, what: "samples", limit });
            }
            let Sample { series: text, value, exemplar, .. } = sample;
            match self.exposed.get_mut(text) {
                Some(exposed) if exposed.last_scrape == self.scrape => {}
                Some(exposed) => {
                    exposed.last_scrape = self.scrape;
                    let series = Some(exposed.series);
                    read.push(Read { text, series, value, exemplar });
                }
                None => {
                    self.limits.check(&sample, line)?;
                    read.push(Read { text, series: None, value, exemplar });
                }
            }
        }
        Ok((read, samples))
    }

    /// Appends one sample; `false` when the store refuses this one alone.
    fn append_sample(
        &mut self,
        appender: &mut dyn Appender,
        sample: &Read<'_>,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        if let Some(series) = sample.series {
            match sample.append(appender, series, at) {
                Err(StoreError::UnknownSeries { .. }) => {}
                result => return accepted(result),
            }
        } else if self.exposed.get(sample.text).is_some_and(|seen| seen.last_scrape == self.scrape)
        {
            return Ok(false);
        }
        let labels = merge(&self.labels, sample.text);
        let series = match appender.series(&labels) {
            Err(StoreError::TooManySeries { .. }) => {
                self.exposed.remove(sample.text);
                return Ok(false);
            }
            series => series?,
        };
        self.exposed.insert(sample.text.into(), Exposed { series, last_scrape: self.scrape });
        accepted(sample.append(appender, series, at))
    }
}

impl Read<'_> {
    /// Appends the sample and, where there is one, its exemplar.
    fn append(
        &self,
        appender: &mut dyn Appender,
        series: SeriesRef,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        appender.append(series, at, Value::Float(self.value))?;
        if let Some(exposition::Exemplar { labels, value, timestamp }) = self.exemplar {
            // None from the future, which would keep later ones out.
            let at = timestamp.map_or(at, |t| Timestamp::from_millis(t).min(at));
            // An example that is refused is no reason to refuse what it stands for.
            let _ = appender.exemplar(
                series,
                Exemplar { labels: Labels::from_pairs(labels.iter()), value, at },
            );
        }
        Ok(())
    }
}

impl Limits {
    /// Checks a series that has not been seen before.
    fn check(&self, sample: &Sample<'_>, line: usize) -> Result<(), ScrapeError> {
        let check = |what, text: &str, limit| match text.len() <= limit {
            true => Ok(()),
            false => Err(ScrapeError::TooLong { line, what, excerpt: excerpt(text), limit }),
        };
        check("metric name", sample.name, self.name_bytes)?;
        for (index, (name, value)) in sample.labels.iter().enumerate() {
            if index == self.labels {
                return Err(ScrapeError::TooMany { line, what: "labels", limit: self.labels });
            }
            check("label name", name, self.name_bytes)?;
            check("label value", &value, self.value_bytes)?;
        }
        Ok(())
    }
}

/// The labels under which a series is stored: those of the target win, and what the series says
/// otherwise under such a name is kept as `exported_name`.
fn merge(target: &Labels, series: &str) -> Labels {
    let (metric, exposed) = Pairs::of_series(series);
    let mut pairs: Vec<(String, String)> = target.clone().into();
    pairs.push((NAME.to_owned(), metric.to_owned()));
    for (name, value) in exposed.iter().filter(|(_, value)| !value.is_empty()) {
        let mut stored = name.to_owned();
        while target.get(&stored).is_some()
            || (stored != name && exposed.iter().any(|(other, _)| other == stored))
        {
            stored.insert_str(0, "exported_");
        }
        // One edge, one label, however the formats write the number.
        let edge = match name {
            "le" if metric.ends_with("_bucket") => value.parse().ok(),
            "quantile" => value.parse().ok(),
            _ => None,
        };
        pairs.push((stored, edge.map_or_else(|| value.into_owned(), edge_label)));
    }
    Labels::from_pairs(pairs)
}

/// Marks the end of a series; one that the store no longer knows has ended already.
fn end(appender: &mut dyn Appender, series: SeriesRef, at: Timestamp) -> Result<(), StoreError> {
    match appender.append(series, at, Value::STALE) {
        Err(StoreError::UnknownSeries { .. }) => Ok(()),
        result => accepted(result).map(drop),
    }
}

/// Whether a sample was taken, where not taking it is no failure of the store.
fn accepted(result: Result<(), StoreError>) -> Result<bool, StoreError> {
    match result {
        Ok(()) => Ok(true),
        Err(
            StoreError::OutOfOrder { .. }
            | StoreError::Duplicate { .. }
            | StoreError::TooFarAhead { .. },
        ) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_targets_labels_win_and_what_was_exposed_is_kept_beside_them() {
        let target = Labels::from_pairs([("cluster", "a"), ("instance", "i:1")]);
        for (series, merged) in [
            ("up", r#"up{cluster="a",instance="i:1"}"#),
            ("m{x=\"\\n\"}", r#"m{cluster="a",instance="i:1",x="\n"}"#),
            ("m {cluster=\"b\"}", r#"m{cluster="a",exported_cluster="b",instance="i:1"}"#),
            ("m{cluster=\"\"}", r#"m{cluster="a",instance="i:1"}"#),
            (
                "m{cluster=\"b\",exported_cluster=\"c\"}",
                r#"m{cluster="a",exported_cluster="c",exported_exported_cluster="b",instance="i:1"}"#,
            ),
        ] {
            assert_eq!(merge(&target, series).to_string(), merged);
        }
    }

    #[test]
    fn an_edge_has_one_spelling_whatever_the_format() {
        let le = |text: &str| merge(&Labels::empty(), &format!("m_bucket{{le=\"{text}\"}}"));
        assert_eq!(le("10.0"), le("10"));
        assert_eq!(le("1e+06"), le("1000000"));
        assert_eq!(le("+Inf").get("le"), Some("+Inf"));
        assert_eq!(le("much").get("le"), Some("much"));
    }
}
