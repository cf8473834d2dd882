//! The series of one target: from the text of an exposition to samples in the store.
//!
//! The text of a series leads straight to its handle, so that only new series cost label work.

use std::borrow::Cow;
use std::collections::HashMap;
use std::future::Future;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::pin::Pin;
use std::sync::Arc;

use hms_ops_core::clock::Stopwatch;
use hms_ops_core::exposition::edge_label;
use hms_ops_core::labels::{Labels, NAME};
use hms_ops_core::metadata::{MetadataStore, MetricType};
use hms_ops_core::sample::{Exemplar, Value};
use hms_ops_core::store::{Appender, SeriesRef, Store, StoreError};
use hms_ops_core::time::Timestamp;

use super::relabel::relabel;
use super::{KeptLimits, Limits, Manner, ScrapeError, Target};
use crate::exposition::{self, Event, Exposition, Format, Pairs, Sample, excerpt};

/// Resolves when a batch is stored.
pub(crate) type Commit = Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send>>;

/// The series of one target as of its last scrape.
#[derive(Debug)]
pub(super) struct TargetSeries {
    exposed: ExposedSeries,
    own: [OwnSeries; 5],
}

/// The series that were exposed, as of the last exposition.
#[derive(Debug)]
pub(super) struct ExposedSeries {
    labels: Labels,
    limits: Limits,
    manner: Arc<Manner>,
    descriptions: Descriptions,
    exposed: HashMap<Box<str>, Exposed>,
    /// Counts expositions, to tell which series the current one has.
    scrape: u64,
}

/// A series that the target exposes.
#[derive(Debug)]
struct Exposed {
    /// `None` when relabelling drops it.
    series: Option<SeriesRef>,
    last_scrape: u64,
    /// Whether it gets a marker when it is no longer there.
    ends: bool,
}

/// A series that says how the scrape went.
#[derive(Debug)]
struct OwnSeries {
    labels: Labels,
    series: Option<SeriesRef>,
}

/// What the target said about its metrics the last time.
#[derive(Debug)]
struct Descriptions {
    metadata: Arc<MetadataStore>,
    /// The hash of all of it: what is as before needs no look-up.
    last: u64,
}

/// What became of the samples of one scrape.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) samples: usize,
    /// Those that relabelling did not drop.
    kept: usize,
    /// Series that the scrape before did not have.
    added: usize,
    pub(super) refused: usize,
}

/// A sample that has been read, before its series has been looked up in the store.
struct Read<'a> {
    text: &'a str,
    series: Place,
    value: f64,
    /// When, if it says so and that is heeded.
    at: Option<Timestamp>,
    exemplar: Option<exposition::Exemplar<'a>>,
}

/// Where a sample belongs.
enum Place {
    Known(SeriesRef),
    /// A series that has not been seen before, by the labels under which it is stored.
    New(Labels),
    /// A series that has its sample already.
    Again,
}

impl TargetSeries {
    pub(super) fn new(target: &Target, metadata: Arc<MetadataStore>) -> Self {
        let Target { labels, limits, manner, .. } = target;
        let own = [
            "up",
            "scrape_duration_seconds",
            "scrape_samples_scraped",
            "scrape_samples_post_metric_relabeling",
            "scrape_series_added",
        ];
        let own = own.map(|name| OwnSeries { labels: labels.with(NAME, name), series: None });
        let (labels, limits, manner) = (labels.clone(), limits.clone(), manner.clone());
        Self { exposed: ExposedSeries::new(labels, limits, manner, metadata), own }
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
        let [samples, kept, added] = [counts.samples, counts.kept, counts.added].map(|n| n as f64);
        let values = [1.0, took.elapsed().as_secs_f64(), samples, kept, added];
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
        self.report(&mut *appender, at, [0.0, took.elapsed().as_secs_f64(), 0.0, 0.0, 0.0])?;
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
        values: [f64; 5],
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
    pub(super) fn new(
        labels: Labels,
        limits: Limits,
        manner: Arc<Manner>,
        metadata: Arc<MetadataStore>,
    ) -> Self {
        let descriptions = Descriptions { metadata, last: 0 };
        Self { labels, limits, manner, descriptions, exposed: HashMap::new(), scrape: 0 }
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
        let (read, mut counts) = self.read(body, format)?;
        let mut appender = store.appender();
        for sample in read {
            let accepted = self.append_sample(&mut *appender, &sample, at, &mut counts)?;
            counts.refused += usize::from(!accepted);
        }
        let scrape = self.scrape;
        for (_, gone) in self.exposed.extract_if(|_, exposed| exposed.last_scrape != scrape) {
            gone.end(&mut *appender, at)?;
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
            exposed.end(appender, at)?;
        }
        Ok(())
    }

    /// Reads the whole body within the limits; each series once, and how many samples there were.
    fn read<'a>(
        &mut self,
        body: &'a [u8],
        format: Format,
    ) -> Result<(Vec<Read<'a>>, Counts), ScrapeError> {
        let limit = self.limits.samples;
        let mut read = Vec::with_capacity(self.exposed.len());
        let (mut counts, mut metadata) = (Counts::default(), Vec::new());
        let mut events = Exposition::new(body, format)?;
        while let Some(event) = events.next() {
            let line = events.line();
            let sample = match event? {
                Event::Sample(sample) => sample,
                said => {
                    if metadata.len() == limit {
                        return Err(ScrapeError::TooMany {
                            line,
                            what: "lines of metadata",
                            limit,
                        });
                    }
                    metadata.push(said);
                    continue;
                }
            };
            counts.samples += 1;
            if counts.samples > limit {
                return Err(ScrapeError::TooMany { line, what: "samples", limit });
            }
            let place = self.place(&sample, line)?;
            let Some(series) = place else { continue };
            counts.kept += 1;
            if counts.kept > self.manner.kept.samples {
                let limit = self.manner.kept.samples;
                return Err(ScrapeError::TooMany {
                    line,
                    what: "samples after relabelling",
                    limit,
                });
            }
            let Sample { series: text, value, exemplar, .. } = sample;
            let at = self.stated(&sample);
            match series {
                Place::Again => counts.refused += 1,
                series => read.push(Read { text, series, value, at, exemplar }),
            }
        }
        self.descriptions.keep(&metadata);
        Ok((read, counts))
    }

    /// Where a sample belongs; `None` when relabelling drops it.
    fn place(&mut self, sample: &Sample<'_>, line: usize) -> Result<Option<Place>, ScrapeError> {
        let at = self.stated(sample);
        let ends = at.is_none() || self.manner.track_timestamps_staleness;
        if let Some(exposed) = self.exposed.get_mut(sample.series) {
            let again = exposed.last_scrape == self.scrape && at.is_none();
            exposed.last_scrape = self.scrape;
            exposed.ends = ends;
            let place = if again {
                Place::Again
            } else {
                exposed.series.map_or(Place::Again, Place::Known)
            };
            return Ok(exposed.series.map(|_| place));
        }
        self.limits.check(sample, line)?;
        let Some(labels) = self.labels_of(sample.series) else {
            let dropped = Exposed { series: None, last_scrape: self.scrape, ends };
            self.exposed.insert(sample.series.into(), dropped);
            return Ok(None);
        };
        if labels.name().is_none() {
            return Err(ScrapeError::NoName { line, excerpt: excerpt(sample.series) });
        }
        self.manner.kept.check(&labels, line)?;
        Ok(Some(Place::New(labels)))
    }

    /// When a sample was taken, if it says so and that is heeded.
    fn stated(&self, sample: &Sample<'_>) -> Option<Timestamp> {
        let heeded = sample.timestamp.filter(|_| self.manner.honor_timestamps);
        heeded.map(Timestamp::from_millis)
    }

    /// The labels under which a series is stored; `None` when relabelling drops it.
    fn labels_of(&self, series: &str) -> Option<Labels> {
        let merged = merge(&self.labels, series, self.manner.honor_labels);
        if self.manner.relabel.is_empty() {
            return Some(merged);
        }
        relabel(&self.manner.relabel, &merged).filter(|labels| !labels.is_empty())
    }

    /// Appends one sample; `false` when the store refuses this one alone.
    fn append_sample(
        &mut self,
        appender: &mut dyn Appender,
        sample: &Read<'_>,
        at: Timestamp,
        counts: &mut Counts,
    ) -> Result<bool, StoreError> {
        let (labels, is_new) = match &sample.series {
            Place::Again => return Ok(false),
            Place::Known(series) => match sample.append(appender, *series, at) {
                Err(StoreError::UnknownSeries { .. }) => match self.labels_of(sample.text) {
                    Some(labels) => (labels, false),
                    None => return Ok(false),
                },
                result => return accepted(result),
            },
            Place::New(labels) => (labels.clone(), true),
        };
        let seen = self.exposed.get(sample.text).filter(|seen| seen.last_scrape == self.scrape);
        if let Some(series) = seen.filter(|_| is_new).and_then(|seen| seen.series) {
            return match sample.at {
                // A second sample at another time.
                Some(_) => accepted(sample.append(appender, series, at)),
                None => Ok(false),
            };
        }
        let series = match appender.series(&labels) {
            Err(StoreError::TooManySeries { .. }) => {
                self.exposed.remove(sample.text);
                return Ok(false);
            }
            series => series?,
        };
        counts.added += usize::from(is_new);
        let ends = sample.at.is_none() || self.manner.track_timestamps_staleness;
        let exposed = Exposed { series: Some(series), last_scrape: self.scrape, ends };
        self.exposed.insert(sample.text.into(), exposed);
        accepted(sample.append(appender, series, at))
    }
}

impl Descriptions {
    fn keep(&mut self, said: &[Event<'_>]) {
        let mut hash = DefaultHasher::new();
        for event in said {
            match event {
                Event::Help { family, text } => (0, family, text.raw()).hash(&mut hash),
                Event::Type { family, metric_type } => (1, family, metric_type).hash(&mut hash),
                Event::Unit { family, unit } => (2, family, unit).hash(&mut hash),
                _ => {}
            }
        }
        let hash = hash.finish();
        if self.last == hash {
            return;
        }
        self.last = hash;
        let mut families: HashMap<&str, (MetricType, Cow<'_, str>, &str)> = HashMap::new();
        for event in said {
            match *event {
                Event::Help { family, text } => {
                    families.entry(family).or_default().1 = text.decode()
                }
                Event::Type { family, metric_type } => {
                    families.entry(family).or_default().0 = metric_type;
                }
                Event::Unit { family, unit } => families.entry(family).or_default().2 = unit,
                _ => {}
            }
        }
        for (family, (metric_type, help, unit)) in families {
            self.metadata.set(family, metric_type, &help, unit);
        }
    }
}

impl Exposed {
    fn end(&self, appender: &mut dyn Appender, at: Timestamp) -> Result<(), StoreError> {
        match self.series.filter(|_| self.ends) {
            Some(series) => end(appender, series, at),
            None => Ok(()),
        }
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
        let at = self.at.unwrap_or(at);
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

impl KeptLimits {
    /// Checks a series by the labels under which it would be stored.
    fn check(&self, labels: &Labels, line: usize) -> Result<(), ScrapeError> {
        if labels.len() > self.labels {
            let what = "labels after relabelling";
            return Err(ScrapeError::TooMany { line, what, limit: self.labels });
        }
        for (name, value) in labels.iter() {
            for (what, text, limit) in
                [("label name", name, self.name_bytes), ("label value", value, self.value_bytes)]
            {
                if text.len() > limit {
                    let excerpt = excerpt(text);
                    return Err(ScrapeError::TooLong { line, what, excerpt, limit });
                }
            }
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

/// The labels under which a series is stored, before relabelling. Where it and the target say
/// something else of one name, the target wins, and the former is kept as `exported_name`; unless
/// `honor` is set, when the series wins, also with an empty value.
fn merge(target: &Labels, series: &str, honor: bool) -> Labels {
    let (metric, exposed) = Pairs::of_series(series);
    let mut pairs: Vec<(String, String)> = target.clone().into();
    pairs.push((NAME.to_owned(), metric.to_owned()));
    for (name, value) in exposed.iter().filter(|(_, value)| honor || !value.is_empty()) {
        let mut stored = name.to_owned();
        while !honor
            && (target.get(&stored).is_some()
                || (stored != name && exposed.iter().any(|(other, _)| other == stored)))
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
            assert_eq!(merge(&target, series, false).to_string(), merged);
        }
    }

    #[test]
    fn what_was_exposed_wins_where_it_is_honored() {
        let target = Labels::from_pairs([("cluster", "a"), ("instance", "i:1")]);
        for (series, merged) in [
            ("m{cluster=\"b\"}", r#"m{cluster="b",instance="i:1"}"#),
            ("m{cluster=\"\"}", r#"m{instance="i:1"}"#),
        ] {
            assert_eq!(merge(&target, series, true).to_string(), merged);
        }
    }

    #[test]
    fn an_edge_has_one_spelling_whatever_the_format() {
        let le = |text: &str| merge(&Labels::empty(), &format!("m_bucket{{le=\"{text}\"}}"), false);
        assert_eq!(le("10.0"), le("10"));
        assert_eq!(le("1e+06"), le("1000000"));
        assert_eq!(le("+Inf").get("le"), Some("+Inf"));
        assert_eq!(le("much").get("le"), Some("much"));
    }
}
