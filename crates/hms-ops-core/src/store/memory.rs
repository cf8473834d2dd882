//! A bounded store in memory: the default of a small embedder, and the oracle of every other store.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;

use super::{Appender, SelectHint, SeriesRef, SeriesSet, Store, StoreError, StoreStats};
use crate::labels::{Labels, NAME};
use crate::matcher::Matcher;
use crate::sample::{Sample, Value};
use crate::time::{TimeRange, Timestamp};

/// Keeps the newest samples of each series in memory.
///
/// Bounded twice: in series, where new ones are refused, and in samples per series, where the
/// oldest make room. Durable as long as the process lives. A series stays until the store goes.
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
    inner: RwLock<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    ids: HashMap<Labels, usize>,
    by_name: BTreeMap<Arc<str>, Vec<usize>>,
    series: Vec<Series>,
    samples: u64,
    refused_series: u64,
    dropped_samples: u64,
}

#[derive(Debug)]
struct Series {
    labels: Labels,
    samples: VecDeque<Sample>,
}

impl MemoryStore {
    /// A store for 10,000 series of 1,000 samples each: a quarter of an hour sampled each second, four
    /// hours scraped every 15 s. Full, it takes about 250 MB.
    pub fn new() -> Self {
        Self::with_limits(10_000, 1000)
    }

    /// A store with these bounds.
    pub fn with_limits(max_series: usize, max_samples_per_series: usize) -> Self {
        Self { max_series, max_samples_per_series, inner: RwLock::default() }
    }

    fn matching(&self, matchers: &[Matcher], range: TimeRange, only_last: bool) -> Matched {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        let named = matchers.iter().find(|m| m.name() == NAME).and_then(Matcher::literal);
        let candidates: Box<dyn Iterator<Item = &Series>> = match named {
            Some(name) => {
                let ids = inner.by_name.get(name).map(Vec::as_slice).unwrap_or_default();
                Box::new(ids.iter().map(|&id| &inner.series[id]))
            }
            None => Box::new(inner.series.iter()),
        };
        let mut all: Vec<_> = candidates
            .filter(|series| Matcher::all(matchers, &series.labels))
            .filter_map(|series| {
                let samples = &series.samples;
                let start = samples.partition_point(|s| s.at < range.start);
                let end = samples.partition_point(|s| s.at <= range.end).max(start);
                let start = if only_last { start.max(end.saturating_sub(1)) } else { start };
                let found: Vec<_> = samples.range(start..end).cloned().collect();
                (!found.is_empty()).then(|| (series.labels.clone(), found))
            })
            .collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        Matched { rest: all.into_iter(), current: (Labels::empty(), Vec::new()) }
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn appender(&self) -> Box<dyn Appender + '_> {
        Box::new(Batch { store: self, samples: Vec::new(), last: HashMap::new() })
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
        let series = self.series(matchers, range).await?;
        let names: BTreeSet<&str> = series.iter().flat_map(|l| l.iter().map(|(n, _)| n)).collect();
        Ok(names.into_iter().map(str::to_owned).collect())
    }

    async fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Vec<String>, StoreError> {
        let series = self.series(matchers, range).await?;
        let values: BTreeSet<&str> = series.iter().filter_map(|l| l.get(name)).collect();
        Ok(values.into_iter().map(str::to_owned).collect())
    }

    async fn stats(&self) -> StoreStats {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        StoreStats {
            series: inner.series.len() as u64,
            samples: inner.samples,
            refused_series: inner.refused_series,
            dropped_samples: inner.dropped_samples,
        }
    }
}

struct Batch<'a> {
    store: &'a MemoryStore,
    samples: Vec<(SeriesRef, Sample)>,
    /// Where the batch's newest sample of each series is.
    last: HashMap<SeriesRef, usize>,
}

impl Appender for Batch<'_> {
    fn series(&mut self, labels: &Labels) -> Result<SeriesRef, StoreError> {
        let mut inner = self.store.inner.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(&id) = inner.ids.get(labels) {
            return Ok(SeriesRef { id: id as u64, generation: 0 });
        }
        if inner.series.len() >= self.store.max_series {
            inner.refused_series += 1;
            let limit = self.store.max_series;
            return Err(StoreError::TooManySeries { labels: labels.clone(), limit });
        }
        let id = inner.series.len();
        inner.series.push(Series { labels: labels.clone(), samples: VecDeque::new() });
        inner.ids.insert(labels.clone(), id);
        inner.by_name.entry(labels.name().unwrap_or_default().into()).or_default().push(id);
        Ok(SeriesRef { id: id as u64, generation: 0 })
    }

    fn append(&mut self, series: SeriesRef, at: Timestamp, value: Value) -> Result<(), StoreError> {
        let inner = self.store.inner.read().unwrap_or_else(PoisonError::into_inner);
        let id = usize::try_from(series.id).unwrap_or(usize::MAX);
        let known = inner.series.get(id).filter(|_| series.generation == 0);
        let Some(Series { labels, samples }) = known else {
            return Err(StoreError::UnknownSeries { series });
        };
        let in_batch = self.last.get(&series).map(|&place| &self.samples[place].1);
        match in_batch.or(samples.back()) {
            Some(last) if last.at > at => {
                return Err(StoreError::OutOfOrder { labels: labels.clone(), at, newest: last.at });
            }
            Some(last) if last.at == at => {
                return if last.value == value {
                    Ok(())
                } else {
                    Err(StoreError::Duplicate { labels: labels.clone(), at })
                };
            }
            _ => {}
        }
        drop(inner);
        self.last.insert(series, self.samples.len());
        self.samples.push((series, Sample { at, value }));
        Ok(())
    }

    fn commit(self: Box<Self>) -> Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send>> {
        let mut inner = self.store.inner.write().unwrap_or_else(PoisonError::into_inner);
        for (series, sample) in self.samples {
            let ring = &mut inner.series[series.id as usize].samples;
            // Another batch may have come first; its samples stay.
            if ring.back().is_some_and(|last| last.at >= sample.at) {
                inner.dropped_samples += 1;
                continue;
            }
            ring.push_back(sample);
            if ring.len() > self.store.max_samples_per_series {
                ring.pop_front();
                inner.dropped_samples += 1;
            } else {
                inner.samples += 1;
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
