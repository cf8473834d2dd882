//! [`Store`], over head and blocks.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use async_trait::async_trait;
use hms_ops_core::labels::{self, Labels};
use hms_ops_core::matcher::Matcher;
use hms_ops_core::sample::{Exemplar, Sample, Value};
use hms_ops_core::store::{
    Appender, SelectHint, SeriesRef, SeriesSet, Store, StoreError, StoreStats,
};
use hms_ops_core::time::{TimeRange, Timestamp};
use tokio::runtime::Handle;

use crate::block::{Block, ChunkRef};
use crate::compact::in_order;
use crate::error::TsdbError;
use crate::head::series::Runs;
use crate::head::{BatchView, OfSeries, Selected};
use crate::record::SeriesId;
use crate::tsdb::{Inner, Tsdb};
use crate::writer::InFlight;

#[async_trait]
impl Store for Tsdb {
    fn appender(&self) -> Box<dyn Appender + '_> {
        let samples = InFlight { head: self.inner.head.clone(), samples: Vec::new() };
        Box::new(Batch {
            inner: &self.inner,
            number: self.inner.head.next_batch(),
            latest: self.inner.latest(),
            samples,
            by_time: OnceCell::new(),
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
        let (matchers, only_last) = (matchers.to_vec(), hint.only_last);
        let found = self.off(range, move |inner| inner.select(&matchers, range, only_last));
        Ok(Box::new(found.await?))
    }

    async fn series(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Vec<Labels>, StoreError> {
        let matchers = matchers.to_vec();
        self.off(range, move |inner| inner.select(&matchers, range, true).all_labels()).await?
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
        Ok(self.inner.head.select_exemplars(matchers, range))
    }

    async fn ready(&self) -> Result<(), StoreError> {
        self.inner.writer.ready().await?;
        match self.inner.trouble() {
            None => Ok(()),
            Some(error) => Err(TsdbError::Shared(error).into()),
        }
    }

    async fn stats(&self) -> StoreStats {
        self.inner.stats()
    }
}

impl Tsdb {
    /// Does a read off the executor where it may wait for the disk.
    async fn off<T: Send + 'static>(
        &self,
        range: TimeRange,
        read: impl FnOnce(&Inner) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        let from_disk = self.inner.blocks().iter().any(|block| block.overlaps(range));
        match Handle::try_current() {
            Ok(runtime) if from_disk => {
                let inner = self.inner.clone();
                let done = runtime.spawn_blocking(move || read(&inner)).await;
                // The runtime ends, or the read has panicked.
                done.map_err(|failed| StoreError::Backend(Box::new(failed)))
            }
            _ => Ok(read(&self.inner)),
        }
    }
}

impl Inner {
    fn select(&self, matchers: &[Matcher], range: TimeRange, only_last: bool) -> Found {
        let besides = || self.blocks();
        let (in_head, blocks) = self.head.select(matchers, range, only_last, besides);
        // Of several samples at one instant the first stays: what came as history, comes last.
        let (imported, sealed): (Vec<_>, Vec<_>) =
            blocks.iter().filter(|b| b.overlaps(range)).partition(|block| block.is_imported());
        let mut sources: Vec<(Labels, Source)> = Vec::new();
        sealed.into_iter().for_each(|block| block_sources(block, matchers, range, &mut sources));
        sources.extend(in_head.into_iter().map(|(labels, selected)| {
            (
                labels,
                match selected {
                    Selected::Newest(sample) => Source::Sample(sample),
                    Selected::Runs(runs) => Source::Head(runs),
                },
            )
        }));
        imported.into_iter().for_each(|block| block_sources(block, matchers, range, &mut sources));
        sources.sort_by(|a, b| a.0.cmp(&b.0));
        Found {
            sources: sources.into_iter().peekable(),
            range,
            only_last,
            labels: Labels::empty(),
            current: Vec::new(),
            read: None,
        }
    }

    fn stats(&self) -> StoreStats {
        let counters = &self.head.counters;
        let blocks = self.blocks();
        let in_blocks: u64 = blocks.iter().map(|block| block.meta.samples).sum();
        let live = counters.series.load(Relaxed);
        let series = if blocks.is_empty() {
            live
        } else {
            // A series may be in several: the largest part is a lower bound that costs nothing.
            blocks.iter().map(|block| block.meta.series.into()).max().unwrap_or(0).max(live)
        };
        StoreStats {
            series,
            samples: counters.samples.load(Relaxed) + in_blocks,
            refused_series: counters.refused_series.load(Relaxed),
            dropped_samples: counters.dropped.load(Relaxed),
            late_samples: counters.late.load(Relaxed),
            damaged: self.damaged(),
            memory_bytes: counters.bytes.load(Relaxed),
            disk_bytes: self.bytes_on_disk(),
        }
    }
}

/// What a block has of the series that are wanted.
fn block_sources(
    block: &Arc<Block>,
    matchers: &[Matcher],
    range: TimeRange,
    into: &mut Vec<(Labels, Source)>,
) {
    for series in block.matching(matchers) {
        let Some(labels) = block.labels(series) else { continue };
        let mut chunks = block.chunks(series);
        chunks.retain(|chunk| chunk.start <= range.end && chunk.end >= range.start);
        if !chunks.is_empty() {
            into.push((labels, Source::Block { block: block.clone(), series, chunks }));
        }
    }
}

/// Samples on their way into the store.
#[derive(Debug)]
struct Batch<'a> {
    inner: &'a Inner,
    number: u32,
    /// No sample may be later.
    latest: Timestamp,
    samples: InFlight,
    by_time: OnceCell<HashMap<(u32, Timestamp), usize>>,
    exemplars: Vec<OfSeries>,
    newest_exemplars: HashMap<SeriesId, Exemplar>,
}

impl Appender for Batch<'_> {
    fn series(&mut self, labels: &Labels) -> Result<SeriesRef, StoreError> {
        self.inner.head.series(labels)
    }

    fn append(&mut self, series: SeriesRef, at: Timestamp, value: Value) -> Result<(), StoreError> {
        let (pending, by_time) = (&self.samples.samples, &self.by_time);
        let (number, latest) = (self.number, self.latest);
        let view = BatchView { number, latest, pending, by_time };
        let taken = self.inner.head.append(series, at, &value, &view)?;
        if let Some(sample) = taken {
            if let Some(by_time) = self.by_time.get_mut() {
                by_time.insert((sample.place, sample.at), self.samples.samples.len());
            }
            self.samples.samples.push(sample);
        }
        Ok(())
    }

    fn exemplar(&mut self, series: SeriesRef, exemplar: Exemplar) -> Result<(), StoreError> {
        let newest = &self.newest_exemplars;
        if let Some((id, labels)) = self.inner.head.exemplar(series, &exemplar, newest)? {
            self.newest_exemplars.insert(id, exemplar.clone());
            self.exemplars.push((id, labels, exemplar));
        }
        Ok(())
    }

    fn commit(self: Box<Self>) -> Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send>> {
        let stored = self.inner.writer.commit(self.samples, self.exemplars);
        Box::pin(async { stored.await.map_err(StoreError::from) })
    }
}

/// Series that were selected. What they have in memory was copied; blocks are read as it advances.
struct Found {
    sources: std::iter::Peekable<std::vec::IntoIter<(Labels, Source)>>,
    range: TimeRange,
    only_last: bool,
    labels: Labels,
    current: Vec<Source>,
    /// The current samples, where they had to be read to know that there are some.
    read: Option<Vec<Sample>>,
}

/// Where a series' samples are.
enum Source {
    Sample(Sample),
    Head(Runs),
    Block { block: Arc<Block>, series: u32, chunks: Vec<ChunkRef> },
}

impl Found {
    fn all_labels(mut self) -> Result<Vec<Labels>, StoreError> {
        let mut all = Vec::new();
        while self.advance()? {
            all.push(self.labels.clone());
        }
        Ok(all)
    }

    fn samples(&self) -> Result<Vec<Sample>, StoreError> {
        let mut samples = Vec::new();
        for source in &self.current {
            source.read(self.range, self.only_last, &mut samples).map_err(StoreError::from)?;
        }
        in_order(&mut samples);
        Ok(samples)
    }
}

impl SeriesSet for Found {
    fn advance(&mut self) -> Result<bool, StoreError> {
        while let Some((labels, source)) = self.sources.next() {
            self.current.clear();
            self.current.push(source);
            while let Some((_, more)) = self.sources.next_if(|(other, _)| *other == labels) {
                self.current.push(more);
            }
            self.labels = labels;
            self.read = None;
            if self.current.iter().any(|source| source.has_some_in(self.range)) {
                return Ok(true);
            }
            let samples = self.samples()?;
            if !samples.is_empty() {
                self.read = Some(samples);
                return Ok(true);
            }
        }
        self.current.clear();
        self.read = None;
        Ok(false)
    }

    fn labels(&self) -> &Labels {
        &self.labels
    }

    fn read(&mut self, into: &mut Vec<Sample>) -> Result<(), StoreError> {
        let mut samples = match self.read.take() {
            Some(samples) => samples,
            None => self.samples()?,
        };
        into.append(&mut samples);
        Ok(())
    }
}

impl Source {
    /// Whether a look at its ends shows that it has a sample in `range`.
    fn has_some_in(&self, range: TimeRange) -> bool {
        let ends = |start, end| range.contains(start) || range.contains(end);
        match self {
            Self::Sample(_) => true,
            Self::Head(runs) => {
                !runs.late.is_empty()
                    || runs.chunks.iter().any(|chunk| ends(chunk.start, chunk.end))
            }
            // A chunk may turn out to be damaged, and a sample deleted.
            Self::Block { .. } => false,
        }
    }

    /// Appends the samples in `range`; of those that are not wanted some may be left out.
    fn read(
        &self,
        range: TimeRange,
        only_last: bool,
        into: &mut Vec<Sample>,
    ) -> Result<(), TsdbError> {
        let before = into.len();
        match self {
            Self::Sample(sample) => into.push(sample.clone()),
            Self::Head(runs) => {
                let chunks = runs.chunks.iter();
                let read = |chunk: &crate::head::series::Chunk, into: &mut Vec<Sample>| {
                    if let Err(error) = chunk.read(range, into) {
                        tracing::error!(%error, "a chunk in memory is damaged");
                    }
                };
                if only_last {
                    for chunk in chunks.rev() {
                        read(chunk, into);
                        if into.len() > before {
                            break;
                        }
                    }
                } else {
                    chunks.for_each(|chunk| read(chunk, into));
                }
                into.extend(runs.late.iter().cloned());
            }
            Self::Block { block, series, chunks } => {
                if only_last {
                    for chunk in chunks.iter().rev() {
                        block.read(*series, chunk, range, into);
                        if into.len() > before {
                            break;
                        }
                    }
                } else {
                    chunks.iter().for_each(|chunk| block.read(*series, chunk, range, into));
                }
            }
        }
        Ok(())
    }
}
