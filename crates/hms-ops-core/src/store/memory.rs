//! A bounded store in memory: the default of a small embedder, and the oracle of every other store.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use async_trait::async_trait;

use super::{
    Appender, SelectHint, SeriesLimit, SeriesRef, SeriesSet, Store, StoreError, StoreStats,
};
use crate::labels::{self, Labels, NAME};
use crate::matcher::Matcher;
use crate::sample::{Exemplar, Sample, Value};
use crate::time::{TimeRange, Timestamp};

/// How many exemplars a store keeps, of all series together.
const EXEMPLARS: usize = 10_000;

/// Keeps the newest samples of each series in memory.
///
/// Bounded in series, where new ones are refused; in samples per series and in exemplars, 10,000 of
/// them, where the oldest make room. Durable as long as the process lives. A series stays until the
/// store goes.
///
/// ```
/// use hms_ops_core::{labels::Labels, store::{MemoryStore, Store}};
///
/// let store = MemoryStore::new();
/// let mut batch = store.appender();
/// let up = batch.series(&Labels::metric("up"))?;
/// batch.append(up, hms_ops_core::time::Timestamp::from_millis(1000), 1.0.into())?;
/// drop(batch.commit());
/// # Ok::<(), hms_ops_core::store::StoreError>(())
/// ```
#[derive(Debug)]
pub struct MemoryStore {
    max_series: usize,
    max_samples_per_series: usize,
    window: Duration,
    inner: RwLock<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    ids: HashMap<Labels, usize>,
    by_name: BTreeMap<Arc<str>, Vec<usize>>,
    series: Vec<Series>,
    /// Whose exemplars were taken, oldest first.
    exemplars: VecDeque<usize>,
    samples: u64,
    refused_series: u64,
    dropped_samples: u64,
    late_samples: u64,
}

#[derive(Debug)]
struct Series {
    labels: Labels,
    samples: VecDeque<Sample>,
    exemplars: VecDeque<Exemplar>,
}

impl MemoryStore {
    /// A store for 10,000 series of 1,000 samples each: a quarter of an hour sampled each second, four
    /// hours scraped every 15 s. Full, it takes about 250 MB.
    pub fn new() -> Self {
        Self::with_limits(10_000, 1000)
    }

    /// A store with these bounds.
    pub fn with_limits(max_series: usize, max_samples_per_series: usize) -> Self {
        let window = Duration::from_secs(300);
        Self { max_series, max_samples_per_series, window, inner: RwLock::default() }
    }

    /// How much older than the newest of its series a sample may be; 5 min unless told.
    #[must_use]
    pub fn out_of_order_window(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }

    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn matching(&self, matchers: &[Matcher], range: TimeRange, only_last: bool) -> Matched {
        let inner = self.read();
        let mut all: Vec<_> = inner
            .matching(matchers)
            .filter_map(|series| {
                let samples = &series.samples;
                let (start, end) = span(samples, |s| s.at, range);
                let start = if only_last { start.max(end.saturating_sub(1)) } else { start };
                let found: Vec<_> = samples.range(start..end).cloned().collect();
                (!found.is_empty()).then(|| (series.labels.clone(), found))
            })
            .collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        Matched { rest: all.into_iter(), current: (Labels::empty(), Vec::new()) }
    }
}

impl Inner {
    fn matching<'a>(&'a self, matchers: &'a [Matcher]) -> impl Iterator<Item = &'a Series> {
        let names = matchers.iter().filter(|m| m.name() == NAME).find_map(Matcher::alternatives);
        let candidates: Box<dyn Iterator<Item = &Series>> = match names {
            Some(names) => {
                let ids = names.iter().filter_map(|name| self.by_name.get(name)).flatten();
                Box::new(ids.map(|&id| &self.series[id]))
            }
            None => Box::new(self.series.iter()),
        };
        candidates.filter(|series| Matcher::all(matchers, &series.labels))
    }

    fn known(&self, series: SeriesRef) -> Result<&Series, StoreError> {
        let id = usize::try_from(series.id).unwrap_or(usize::MAX);
        let known = self.series.get(id).filter(|_| series.generation == 0);
        known.ok_or(StoreError::UnknownSeries { series })
    }
}

/// From where to where a run that is sorted by time lies in `range`.
fn span<T>(run: &VecDeque<T>, at: impl Fn(&T) -> Timestamp, range: TimeRange) -> (usize, usize) {
    let start = run.partition_point(|x| at(x) < range.start);
    (start, run.partition_point(|x| at(x) <= range.end).max(start))
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn appender(&self) -> Box<dyn Appender + '_> {
        Box::new(Batch {
            store: self,
            samples: Vec::new(),
            places: BTreeMap::new(),
            exemplars: Vec::new(),
            newest_exemplars: HashMap::new(),
        })
    }

    async fn select(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        hint: &SelectHint,
    ) -> Result<Box<dyn SeriesSet>, StoreError> {
        Ok(Box::new(self.matching(matchers, range, hint.only_last)))
    }

    async fn series(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Vec<Labels>, StoreError> {
        Ok(self.matching(matchers, range, true).rest.map(|(labels, _)| labels).collect())
    }

    async fn label_names(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Vec<String>, StoreError> {
        Ok(labels::names(&self.series(matchers, range).await?))
    }

    async fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Vec<String>, StoreError> {
        Ok(labels::values(name, &self.series(matchers, range).await?))
    }

    async fn exemplars(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Vec<(Labels, Vec<Exemplar>)>, StoreError> {
        let inner = self.read();
        let mut all: Vec<_> = inner
            .matching(matchers)
            .filter_map(|series| {
                let (start, end) = span(&series.exemplars, |e| e.at, range);
                let found: Vec<_> = series.exemplars.range(start..end).cloned().collect();
                (!found.is_empty()).then(|| (series.labels.clone(), found))
            })
            .collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(all)
    }

    async fn ready(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn stats(&self) -> StoreStats {
        let inner = self.read();
        StoreStats {
            series: inner.series.len() as u64,
            samples: inner.samples,
            refused_series: inner.refused_series,
            dropped_samples: inner.dropped_samples,
            late_samples: inner.late_samples,
            ..StoreStats::default()
        }
    }
}

struct Batch<'a> {
    store: &'a MemoryStore,
    samples: Vec<(SeriesRef, Sample)>,
    /// Where the batch's sample of a series at a time is.
    places: BTreeMap<(u64, Timestamp), usize>,
    exemplars: Vec<(SeriesRef, Exemplar)>,
    /// Where the batch's newest exemplar of each series is.
    newest_exemplars: HashMap<SeriesRef, usize>,
}

impl Appender for Batch<'_> {
    fn series(&mut self, labels: &Labels) -> Result<SeriesRef, StoreError> {
        let mut inner = self.store.write();
        if let Some(&id) = inner.ids.get(labels) {
            return Ok(SeriesRef { id: id as u64, generation: 0 });
        }
        if inner.series.len() >= self.store.max_series {
            inner.refused_series += 1;
            let limit = SeriesLimit::Store(self.store.max_series);
            return Err(StoreError::TooManySeries { labels: labels.clone(), limit });
        }
        let id = inner.series.len();
        let (samples, exemplars) = (VecDeque::new(), VecDeque::new());
        inner.series.push(Series { labels: labels.clone(), samples, exemplars });
        inner.ids.insert(labels.clone(), id);
        inner.by_name.entry(labels.name().unwrap_or_default().into()).or_default().push(id);
        Ok(SeriesRef { id: id as u64, generation: 0 })
    }

    fn append(&mut self, series: SeriesRef, at: Timestamp, value: Value) -> Result<(), StoreError> {
        let inner = self.store.read();
        let Series { labels, samples, .. } = inner.known(series)?;
        let id = series.id;
        let of_series = (id, Timestamp::MIN)..=(id, Timestamp::MAX);
        let in_batch = self.places.range(of_series).next_back().map(|(&(_, at), _)| at);
        let newest = in_batch.max(samples.back().map(|s| s.at));
        if let Some(newest) = newest.filter(|newest| newest.since(at) > self.store.window) {
            return Err(StoreError::OutOfOrder { labels: labels.clone(), at, newest });
        }
        let place = samples.partition_point(|s| s.at < at);
        let stored = samples.get(place).filter(|s| s.at == at);
        let batched = self.places.get(&(id, at)).map(|&place| &self.samples[place].1);
        match stored.or(batched) {
            Some(same) if same.value == value => return Ok(()),
            Some(_) => return Err(StoreError::Duplicate { labels: labels.clone(), at }),
            None => {}
        }
        drop(inner);
        self.places.insert((id, at), self.samples.len());
        self.samples.push((series, Sample { at, value }));
        Ok(())
    }

    fn exemplar(&mut self, series: SeriesRef, exemplar: Exemplar) -> Result<(), StoreError> {
        let inner = self.store.read();
        let Series { labels, exemplars, .. } = inner.known(series)?;
        let in_batch = self.newest_exemplars.get(&series).map(|&place| &self.exemplars[place].1);
        match in_batch.or(exemplars.back()) {
            Some(newest) if *newest == exemplar => return Ok(()),
            Some(newest) if exemplar.at < newest.at => {
                let (labels, at, newest) = (labels.clone(), exemplar.at, newest.at);
                return Err(StoreError::OutOfOrder { labels, at, newest });
            }
            _ => {}
        }
        drop(inner);
        self.newest_exemplars.insert(series, self.exemplars.len());
        self.exemplars.push((series, exemplar));
        Ok(())
    }

    /// Another batch may have come first; what it stored stays.
    fn commit(self: Box<Self>) -> Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send>> {
        let mut inner = self.store.write();
        let inner = &mut *inner;
        for (series, sample) in self.samples {
            let ring = &mut inner.series[series.id as usize].samples;
            let place = ring.partition_point(|s| s.at < sample.at);
            let late = place < ring.len();
            let taken = ring.get(place).filter(|s| s.at == sample.at);
            let too_late = ring.back().is_some_and(|s| s.at.since(sample.at) > self.store.window);
            if too_late || taken.is_some() {
                let same = !too_late && taken == Some(&sample);
                inner.dropped_samples += u64::from(!same);
                continue;
            }
            ring.insert(place, sample);
            inner.late_samples += u64::from(late);
            if ring.len() > self.store.max_samples_per_series {
                ring.pop_front();
                inner.dropped_samples += 1;
            } else {
                inner.samples += 1;
            }
        }
        for (series, exemplar) in self.exemplars {
            let id = series.id as usize;
            let kept = &mut inner.series[id].exemplars;
            if kept.back().is_some_and(|newest| *newest == exemplar || exemplar.at < newest.at) {
                continue;
            }
            kept.push_back(exemplar);
            inner.exemplars.push_back(id);
            if inner.exemplars.len() > EXEMPLARS
                && let Some(oldest) = inner.exemplars.pop_front()
            {
                inner.series[oldest].exemplars.pop_front();
            }
        }
        Box::pin(ready(Ok(())))
    }
}

struct Matched {
    rest: std::vec::IntoIter<(Labels, Vec<Sample>)>,
    current: (Labels, Vec<Sample>),
}

impl SeriesSet for Matched {
    fn advance(&mut self) -> Result<bool, StoreError> {
        match self.rest.next() {
            Some(next) => self.current = next,
            None => return Ok(false),
        }
        Ok(true)
    }

    fn labels(&self) -> &Labels {
        &self.current.0
    }

    fn read(&mut self, into: &mut Vec<Sample>) -> Result<(), StoreError> {
        into.append(&mut self.current.1);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreExt;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_millis(secs * 1000)
    }

    #[tokio::test]
    async fn the_oldest_exemplars_make_room_whatever_their_series() {
        let store = MemoryStore::new();
        let exemplar = |secs| Exemplar { labels: Labels::empty(), value: 1.0, at: at(secs) };
        for (name, times) in [("a", 0..2), ("b", 0..EXEMPLARS as i64), ("a", 2..3)] {
            let mut batch = store.appender();
            let series = batch.series(&Labels::metric(name)).unwrap();
            for time in times {
                batch.exemplar(series, exemplar(time)).unwrap();
            }
            batch.commit().await.unwrap();
        }
        let found = store.exemplars(&[], TimeRange::ALL).await.unwrap();
        let found: Vec<_> = found.into_iter().map(|(_, all)| (all.len(), all[0].at)).collect();
        assert_eq!(found, [(1, at(2)), (EXEMPLARS - 1, at(1))]);
    }

    #[tokio::test]
    async fn in_a_full_series_the_oldest_sample_makes_room_for_a_late_one() {
        let store = MemoryStore::with_limits(1, 3);
        let up = Labels::metric("up");
        for time in [10, 20, 30, 25, 15] {
            store.append_one(&up, at(time), 1.0).await.unwrap();
        }
        let found = store.collect(&[], TimeRange::ALL).await.unwrap();
        let times: Vec<_> = found[0].1.iter().map(|s| s.at).collect();
        assert_eq!(times, [at(20), at(25), at(30)]);
        let stats = store.stats().await;
        assert_eq!((stats.samples, stats.late_samples, stats.dropped_samples), (3, 2, 2));
    }
}
