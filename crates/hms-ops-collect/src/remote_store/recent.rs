//! What the backend is not yet known to keep, readable in memory; and the table of series.
//!
//! Samples leave in the order in which they came, when the queue says that they are safe with the
//! backend, or when there are too many of them: then the queue still has them, and they can be read
//! again once the backend has them, too.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use hms_ops_core::labels::{Labels, NAME};
use hms_ops_core::matcher::Matcher;
use hms_ops_core::sample::{Exemplar, Sample, Value};
use hms_ops_core::store::{SeriesLimit, SeriesRef, StoreError, StoreStats};
use hms_ops_core::time::{TimeRange, Timestamp};
use hms_ops_wal::log::Seq;

use super::wire::TimeSeries;

/// How many exemplars are kept, of all series together.
const EXEMPLARS: usize = 10_000;
/// How long the place of a series without samples stays for those who have its handle.
const IDLE: Duration = Duration::from_secs(600);

#[derive(Clone, Debug)]
pub(super) struct Limits {
    pub(super) series: usize,
    pub(super) samples: usize,
    pub(super) window: Duration,
}

#[derive(Debug)]
pub(super) struct Recent {
    limits: Limits,
    ids: HashMap<Labels, usize>,
    by_name: BTreeMap<Arc<str>, BTreeSet<usize>>,
    places: Vec<Place>,
    free: Vec<usize>,
    /// Samples in the order in which they came.
    order: VecDeque<(Seq, SeriesRef, Timestamp)>,
    /// Exemplars in the order in which they came.
    exemplars: VecDeque<(Seq, SeriesRef)>,
    /// Every sample from here on that was stored here is here still.
    complete_from: Timestamp,
    refused_series: u64,
    dropped_samples: u64,
    late_samples: u64,
    /// When places were last looked through for idle ones.
    swept: Option<Timestamp>,
}

#[derive(Debug, Default)]
struct Place {
    generation: u32,
    series: Option<Series>,
}

#[derive(Debug)]
struct Series {
    labels: Labels,
    /// When its handle was last asked for, or written to.
    used: Timestamp,
    /// Stays when its sample has gone.
    newest: Option<Sample>,
    samples: VecDeque<Sample>,
    newest_exemplar: Option<Exemplar>,
    exemplars: VecDeque<Exemplar>,
}

/// Samples and exemplars on their way in.
#[derive(Debug, Default)]
pub(super) struct Batch {
    samples: Vec<(SeriesRef, Sample)>,
    /// Where the batch's sample of a series at a time is.
    places: BTreeMap<(u64, Timestamp), usize>,
    exemplars: Vec<(SeriesRef, Exemplar)>,
    /// Where the batch's newest exemplar of each series is.
    newest_exemplars: HashMap<SeriesRef, usize>,
}

/// What of a batch is taken of one series, in the order in which it was appended.
#[derive(Debug)]
pub(super) struct Taken {
    series: SeriesRef,
    pub(super) labels: Labels,
    pub(super) samples: Vec<Sample>,
    pub(super) exemplars: Vec<Exemplar>,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.samples.is_empty() && self.exemplars.is_empty()
    }

    fn newest(&self, series: SeriesRef) -> Option<Timestamp> {
        let of_series = (series.id, Timestamp::MIN)..=(series.id, Timestamp::MAX);
        self.places.range(of_series).next_back().map(|(&(_, at), _)| at)
    }
}

impl Recent {
    /// Nothing, as of `now`.
    pub(super) fn new(limits: Limits, now: Timestamp) -> Self {
        Self {
            limits,
            ids: HashMap::new(),
            by_name: BTreeMap::new(),
            places: Vec::new(),
            free: Vec::new(),
            order: VecDeque::new(),
            exemplars: VecDeque::new(),
            complete_from: now,
            refused_series: 0,
            dropped_samples: 0,
            late_samples: 0,
            swept: None,
        }
    }

    /// The handle of a series, which is made if it is new.
    pub(super) fn series(
        &mut self,
        labels: &Labels,
        now: Timestamp,
    ) -> Result<SeriesRef, StoreError> {
        if let Some(&id) = self.ids.get(labels) {
            let place = &mut self.places[id];
            if let Some(series) = &mut place.series {
                series.used = now;
            }
            return Ok(SeriesRef { id: id as u64, generation: place.generation });
        }
        if self.ids.len() >= self.limits.series && !self.sweep(now) {
            self.refused_series += 1;
            let limit = SeriesLimit::Store(self.limits.series);
            return Err(StoreError::TooManySeries { labels: labels.clone(), limit });
        }
        let id = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place::default());
            self.places.len() - 1
        });
        self.places[id].series = Some(Series {
            labels: labels.clone(),
            used: now,
            newest: None,
            samples: VecDeque::new(),
            newest_exemplar: None,
            exemplars: VecDeque::new(),
        });
        self.ids.insert(labels.clone(), id);
        self.by_name.entry(labels.name().unwrap_or_default().into()).or_default().insert(id);
        Ok(SeriesRef { id: id as u64, generation: self.places[id].generation })
    }

    /// Frees the places of series that are empty and idle; whether there are any. Looks through them
    /// at most once a second.
    fn sweep(&mut self, now: Timestamp) -> bool {
        let pause = Duration::from_secs(1);
        if self.swept.is_some_and(|swept| swept <= now && now.since(swept) < pause) {
            return false;
        }
        self.swept = Some(now);
        for (id, place) in self.places.iter_mut().enumerate() {
            let is_idle = |s: &mut Series| {
                s.samples.is_empty() && s.exemplars.is_empty() && now.since(s.used) > IDLE
            };
            let Some(gone) = place.series.take_if(is_idle) else { continue };
            place.generation = place.generation.wrapping_add(1);
            self.ids.remove(&gone.labels);
            let name: Arc<str> = gone.labels.name().unwrap_or_default().into();
            if let Some(ids) = self.by_name.get_mut(&name) {
                ids.remove(&id);
                if ids.is_empty() {
                    self.by_name.remove(&name);
                }
            }
            self.free.push(id);
        }
        self.ids.len() < self.limits.series
    }

    /// Adds a sample to a batch, unless it is refused.
    pub(super) fn append(
        &self,
        batch: &mut Batch,
        series: SeriesRef,
        at: Timestamp,
        value: Value,
    ) -> Result<(), StoreError> {
        let Series { labels, newest, samples, .. } = self.known(series)?;
        let newest = newest.as_ref();
        let last = batch.newest(series).max(newest.map(|sample| sample.at));
        if let Some(last) = last.filter(|last| last.since(at) > self.limits.window) {
            return Err(StoreError::OutOfOrder { labels: labels.clone(), at, newest: last });
        }
        let batched = batch.places.get(&(series.id, at)).map(|&place| &batch.samples[place].1);
        let newest = newest.filter(|newest| newest.at == at);
        match stored(samples, at).or(newest).or(batched) {
            Some(same) if same.value == value => return Ok(()),
            Some(_) => return Err(StoreError::Duplicate { labels: labels.clone(), at }),
            None => {}
        }
        batch.places.insert((series.id, at), batch.samples.len());
        batch.samples.push((series, Sample { at, value }));
        Ok(())
    }

    /// Adds an exemplar to a batch, unless it is refused.
    pub(super) fn exemplar(
        &self,
        batch: &mut Batch,
        series: SeriesRef,
        exemplar: Exemplar,
    ) -> Result<(), StoreError> {
        let Series { labels, newest_exemplar, .. } = self.known(series)?;
        let in_batch = batch.newest_exemplars.get(&series).map(|&place| &batch.exemplars[place].1);
        match in_batch.or(newest_exemplar.as_ref()) {
            Some(newest) if *newest == exemplar => return Ok(()),
            Some(newest) if exemplar.at < newest.at => {
                let (labels, at, newest) = (labels.clone(), exemplar.at, newest.at);
                return Err(StoreError::OutOfOrder { labels, at, newest });
            }
            _ => {}
        }
        batch.newest_exemplars.insert(series, batch.exemplars.len());
        batch.exemplars.push((series, exemplar));
        Ok(())
    }

    /// What of a batch is stored now: all but what another batch has made late or has stored.
    pub(super) fn judge(&mut self, batch: Batch) -> Vec<Taken> {
        let mut taken: BTreeMap<u64, Taken> = BTreeMap::new();
        for (series, sample) in batch.samples {
            let Ok(known) = self.known(series) else {
                self.dropped_samples += 1;
                continue;
            };
            let newest = known.newest.as_ref();
            let too_late = newest.is_some_and(|n| n.at.since(sample.at) > self.limits.window);
            let newest = newest.filter(|newest| newest.at == sample.at);
            let there = stored(&known.samples, sample.at).or(newest);
            if too_late || there.is_some() {
                self.dropped_samples += u64::from(too_late || there != Some(&sample));
                continue;
            }
            let new = || Taken::of(series, known);
            taken.entry(series.id).or_insert_with(new).samples.push(sample);
        }
        for (series, exemplar) in batch.exemplars {
            let Ok(known) = self.known(series) else { continue };
            let entry = taken.entry(series.id).or_insert_with(|| Taken::of(series, known));
            let newest = entry.exemplars.last().or(known.newest_exemplar.as_ref());
            if newest.is_none_or(|newest| *newest != exemplar && newest.at <= exemplar.at) {
                entry.exemplars.push(exemplar);
            }
        }
        taken.retain(|_, taken| !taken.samples.is_empty() || !taken.exemplars.is_empty());
        taken.into_values().collect()
    }

    /// Stores what was judged, under the number of the last record that it is in.
    pub(super) fn insert(&mut self, taken: Vec<Taken>, seq: Seq, now: Timestamp) {
        for Taken { series, samples, exemplars, .. } in taken {
            let Some(known) = self.places[series.id as usize].series.as_mut() else { continue };
            known.used = now;
            for sample in samples {
                let late = known.newest.as_ref().is_some_and(|newest| sample.at < newest.at);
                self.late_samples += u64::from(late);
                self.order.push_back((seq, series, sample.at));
                if !late {
                    known.newest = Some(sample.clone());
                }
                let place = known.samples.partition_point(|s| s.at < sample.at);
                known.samples.insert(place, sample);
            }
            for exemplar in exemplars {
                self.exemplars.push_back((seq, series));
                known.newest_exemplar = Some(exemplar.clone());
                known.exemplars.push_back(exemplar);
            }
        }
        while self.order.len() > self.limits.samples {
            self.forget_oldest();
        }
        while self.exemplars.len() > EXEMPLARS {
            self.forget_oldest_exemplar();
        }
    }

    /// Puts back what a record of the queue says.
    pub(super) fn restore(&mut self, one: TimeSeries, seq: Seq, now: Timestamp) {
        // Full, it is sent all the same, and read from the backend.
        let Ok(series) = self.series(&one.labels, now) else { return };
        let mut batch = Batch::default();
        for Sample { at, value } in one.samples {
            let _ = self.append(&mut batch, series, at, value);
        }
        for exemplar in one.exemplars {
            let _ = self.exemplar(&mut batch, series, exemplar);
        }
        let taken = self.judge(batch);
        self.insert(taken, seq, now);
    }

    /// Lets go of everything before record `safe`.
    pub(super) fn forget_before(&mut self, safe: Seq) {
        while self.order.front().is_some_and(|&(seq, ..)| seq < safe) {
            self.forget_oldest();
        }
        while self.exemplars.front().is_some_and(|&(seq, _)| seq < safe) {
            self.forget_oldest_exemplar();
        }
    }

    fn forget_oldest(&mut self) {
        let Some((_, series, at)) = self.order.pop_front() else { return };
        self.complete_from = self.complete_from.max(at + Duration::from_millis(1));
        let samples = self.places[series.id as usize].series.as_mut().map(|s| &mut s.samples);
        if let Some(samples) = samples
            && let Ok(place) = samples.binary_search_by_key(&at, |sample| sample.at)
        {
            samples.remove(place);
        }
    }

    fn forget_oldest_exemplar(&mut self) {
        let Some((_, series)) = self.exemplars.pop_front() else { return };
        if let Some(series) = &mut self.places[series.id as usize].series {
            series.exemplars.pop_front();
        }
    }

    fn known(&self, series: SeriesRef) -> Result<&Series, StoreError> {
        let id = usize::try_from(series.id).unwrap_or(usize::MAX);
        let place = self.places.get(id).filter(|place| place.generation == series.generation);
        place.and_then(|place| place.series.as_ref()).ok_or(StoreError::UnknownSeries { series })
    }

    /// Whether every sample in `range` that was stored here is here.
    pub(super) fn covers(&self, range: TimeRange) -> bool {
        range.start >= self.complete_from
    }

    pub(super) fn select(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Vec<(Labels, Vec<Sample>)> {
        self.matching(matchers, |series| within(&series.samples, |s| s.at, range))
    }

    pub(super) fn exemplars(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Vec<(Labels, Vec<Exemplar>)> {
        self.matching(matchers, |series| within(&series.exemplars, |e| e.at, range))
    }

    /// What `of` finds in each series that `matchers` accept, unless it is nothing.
    fn matching<T>(
        &self,
        matchers: &[Matcher],
        of: impl Fn(&Series) -> Vec<T>,
    ) -> Vec<(Labels, Vec<T>)> {
        let names = matchers.iter().filter(|m| m.name() == NAME).find_map(Matcher::alternatives);
        let candidates: Box<dyn Iterator<Item = usize>> = match names {
            Some(names) => {
                let ids = names.iter().filter_map(|name| self.by_name.get(name)).flatten();
                Box::new(ids.copied())
            }
            None => Box::new(0..self.places.len()),
        };
        let found = candidates.filter_map(|id| {
            let series = self.places[id].series.as_ref()?;
            if !Matcher::all(matchers, &series.labels) {
                return None;
            }
            Some((series.labels.clone(), of(series))).filter(|(_, found)| !found.is_empty())
        });
        found.collect()
    }

    pub(super) fn stats(&self) -> StoreStats {
        let series = self.places.iter().filter_map(|place| place.series.as_ref());
        StoreStats {
            series: series.filter(|series| !series.samples.is_empty()).count() as u64,
            samples: self.order.len() as u64,
            refused_series: self.refused_series,
            dropped_samples: self.dropped_samples,
            late_samples: self.late_samples,
            ..StoreStats::default()
        }
    }
}

impl Taken {
    fn of(series: SeriesRef, known: &Series) -> Self {
        let labels = known.labels.clone();
        Self { series, labels, samples: Vec::new(), exemplars: Vec::new() }
    }
}

fn stored(samples: &VecDeque<Sample>, at: Timestamp) -> Option<&Sample> {
    samples.binary_search_by_key(&at, |sample| sample.at).ok().map(|place| &samples[place])
}

fn within<T: Clone>(run: &VecDeque<T>, at: impl Fn(&T) -> Timestamp, range: TimeRange) -> Vec<T> {
    let start = run.partition_point(|x| at(x) < range.start);
    let end = run.partition_point(|x| at(x) <= range.end).max(start);
    run.range(start..end).cloned().collect()
}
