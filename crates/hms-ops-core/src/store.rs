//! Where samples are kept: the trait [`Store`] and its oracle, [`MemoryStore`].

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use async_trait::async_trait;

use crate::labels::Labels;
use crate::matcher::Matcher;
use crate::sample::{Exemplar, Sample, Value};
use crate::time::{TimeRange, Timestamp};

mod memory;

pub use memory::MemoryStore;

/// Keeps samples by series and finds them again.
///
/// A backend is finished when it passes `hms_ops_testkit::store`. What every backend promises:
///
/// - A sample is visible to `select` once the `commit` that carried it has resolved.
/// - A late sample, one older than the newest of its series, is put in its place while it is not
///   older by more than the store's out-of-order window, which may be zero. Beyond the window it is
///   refused, whether or not it is there already. A store that seals what is old may refuse what is
///   older than that, too.
/// - Within the window, the same timestamp with the same value again is no error and changes
///   nothing; with another value it is refused.
/// - Series come in the order of their labels, samples in the order of their time.
/// - Limits refuse new series only; those that exist keep flowing.
/// - Exemplars are kept in the order of their time, a bounded number; the oldest make room.
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// Begins a batch of samples. Dropped without `commit`, it leaves no sample behind.
    fn appender(&self) -> Box<dyn Appender + '_>;

    /// The series that all `matchers` accept and that have a sample in `range`.
    ///
    /// Cancel safe. The set reads lazily and may be dropped half-way.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the backend cannot be read.
    async fn select(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        hint: &SelectHint,
    ) -> Result<Box<dyn SeriesSet>, StoreError>;

    /// The label sets of the series that all `matchers` accept and that have a sample in `range`,
    /// sorted.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the backend cannot be read.
    async fn series(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Vec<Labels>, StoreError>;

    /// The label names of these series, sorted.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the backend cannot be read.
    async fn label_names(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Vec<String>, StoreError>;

    /// The values that the label `name` has in these series, sorted.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the backend cannot be read.
    async fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Vec<String>, StoreError>;

    /// The exemplars in `range` of the series that all `matchers` accept: series with at least one,
    /// sorted by labels, their exemplars in the order of their time.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the backend cannot be read.
    async fn exemplars(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Vec<(Labels, Vec<Exemplar>)>, StoreError>;

    /// Whether what is written now would be kept.
    ///
    /// # Errors
    ///
    /// [`StoreError`] that a commit would meet now.
    async fn ready(&self) -> Result<(), StoreError>;

    /// How full the store is.
    async fn stats(&self) -> StoreStats;
}

/// One batch of samples on its way into a [`Store`].
pub trait Appender: Send {
    /// The handle of a series, which is made if it is new. Costly next to [`Appender::append`]:
    /// keep the handle and use it in later batches too.
    ///
    /// # Errors
    ///
    /// [`StoreError::TooManySeries`] when the series is new and the store is full.
    fn series(&mut self, labels: &Labels) -> Result<SeriesRef, StoreError>;

    /// Adds one sample to the batch.
    ///
    /// # Errors
    ///
    /// [`StoreError::UnknownSeries`] when the handle has expired: ask for it again.
    /// [`StoreError::OutOfOrder`], [`StoreError::Duplicate`] and [`StoreError::TooFarAhead`] refuse
    /// this sample alone.
    fn append(&mut self, series: SeriesRef, at: Timestamp, value: Value) -> Result<(), StoreError>;

    /// Adds an exemplar of a series to the batch. A repetition of the newest is no error and changes
    /// nothing.
    ///
    /// # Errors
    ///
    /// [`StoreError::UnknownSeries`] when the handle has expired: ask for it again.
    /// [`StoreError::OutOfOrder`] when it is older than the newest of its series; it alone is refused.
    fn exemplar(&mut self, series: SeriesRef, exemplar: Exemplar) -> Result<(), StoreError>;

    /// Stores the batch; resolves at the durability that the backend promises. What another batch
    /// has stored meanwhile stays: a sample that would now be refused is dropped and counted.
    fn commit(self: Box<Self>) -> Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send>>;
}

/// The handle of a series in one store. It expires when the series is dropped; `generation` keeps
/// it from meaning the next series in the same place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SeriesRef {
    /// Which place.
    pub id: u64,
    /// Which series in that place.
    pub generation: u32,
}

/// What a reader will do with the series, for backends that can save work by knowing.
#[derive(Clone, Copy, Debug, Default)]
pub struct SelectHint {
    /// Only the newest sample of each series in the range is wanted.
    pub only_last: bool,
}

/// Series, one after the other, in the order of their labels.
pub trait SeriesSet: Send {
    /// Goes to the next series; `false` after the last.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the backend cannot be read.
    fn advance(&mut self) -> Result<bool, StoreError>;

    /// The labels of the current series.
    fn labels(&self) -> &Labels;

    /// Appends the current series' samples in the range to `into`, in the order of their time.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the backend cannot be read.
    fn read(&mut self, into: &mut Vec<Sample>) -> Result<(), StoreError>;
}

/// How full a store is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Series held.
    pub series: u64,
    /// Samples held.
    pub samples: u64,
    /// New series refused because the store was full.
    pub refused_series: u64,
    /// Samples dropped to make room for newer ones, or because another batch came first.
    pub dropped_samples: u64,
    /// Samples taken although a newer one of their series was there.
    pub late_samples: u64,
    /// Pieces that were found damaged, and that cannot be served: frames of a log, chunks, blocks.
    pub damaged: u64,
    /// Bytes of memory, as far as the store counts them.
    pub memory_bytes: u64,
    /// Bytes on disk.
    pub disk_bytes: u64,
}

/// The limit that a new series has met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SeriesLimit {
    /// Series of the store.
    Store(usize),
    /// Series of one metric.
    Metric(usize),
    /// Series of one target: those with the same label `instance`.
    Target(usize),
    /// Bytes of memory.
    Memory(u64),
}

/// Says that it is reached: `the limit of 100 series per metric is reached`.
impl fmt::Display for SeriesLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (limit, per) = match *self {
            Self::Store(limit) => (limit, ""),
            Self::Metric(limit) => (limit, " per metric"),
            Self::Target(limit) => (limit, " per target"),
            Self::Memory(bytes) => {
                let (size, unit) = match bytes {
                    b if b.is_multiple_of(1 << 20) => (b >> 20, "MiB"),
                    b if b.is_multiple_of(1 << 10) => (b >> 10, "KiB"),
                    b => (b, "bytes"),
                };
                return write!(f, "the memory budget of {size} {unit} is used up");
            }
        };
        write!(f, "the limit of {limit} series{per} is reached")
    }
}

/// Why a store refused or failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each message explains its fields")]
pub enum StoreError {
    /// The series is new and there is no room for it.
    #[error("series {labels} is new and {limit}")]
    TooManySeries { labels: Labels, limit: SeriesLimit },

    /// The handle has expired.
    #[error("no series {} of generation {}", series.id, series.generation)]
    UnknownSeries { series: SeriesRef },

    /// A newer one is there already, and this one is later than the out-of-order window allows.
    #[error("sample of {labels} at {at} comes too late, the newest is at {newest}")]
    OutOfOrder { labels: Labels, at: Timestamp, newest: Timestamp },

    /// It lies in the future, where one wrong clock would take the place of all that comes.
    #[error("sample of {labels} at {at} lies ahead of the clock, which allows {latest}")]
    TooFarAhead { labels: Labels, at: Timestamp, latest: Timestamp },

    /// Another value is there already.
    #[error("sample of {labels} at {at} has another value than the one stored")]
    Duplicate { labels: Labels, at: Timestamp },

    /// The backend could not be reached, read or written.
    #[error("the store failed: {0}")]
    Backend(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Conveniences over [`Store`]; never implemented by hand.
#[async_trait]
pub trait StoreExt: Store {
    /// Appends one sample and waits until it is durable.
    ///
    /// # Errors
    ///
    /// As [`Appender::series`] and [`Appender::append`].
    async fn append_one(
        &self,
        labels: &Labels,
        at: Timestamp,
        value: impl Into<Value> + Send,
    ) -> Result<(), StoreError> {
        let commit = {
            let mut appender = self.appender();
            let series = appender.series(labels)?;
            appender.append(series, at, value.into())?;
            appender.commit()
        };
        commit.await
    }

    /// Reads all series that `matchers` accept in `range`, sorted by labels.
    ///
    /// # Errors
    ///
    /// As [`Store::select`].
    async fn collect(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Vec<(Labels, Vec<Sample>)>, StoreError> {
        let mut set = self.select(matchers, range, &SelectHint::default()).await?;
        let mut all = Vec::new();
        while set.advance()? {
            let mut samples = Vec::new();
            set.read(&mut samples)?;
            all.push((set.labels().clone(), samples));
        }
        Ok(all)
    }
}

impl<T: Store + ?Sized> StoreExt for T {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_series_is_told_which_limit_it_met() {
        for (limit, message) in [
            (SeriesLimit::Store(100), "the limit of 100 series is reached"),
            (SeriesLimit::Metric(100), "the limit of 100 series per metric is reached"),
            (SeriesLimit::Target(100), "the limit of 100 series per target is reached"),
            (SeriesLimit::Memory(64 << 20), "the memory budget of 64 MiB is used up"),
            (SeriesLimit::Memory(1 << 10), "the memory budget of 1 KiB is used up"),
            (SeriesLimit::Memory(1500), "the memory budget of 1500 bytes is used up"),
        ] {
            let error = StoreError::TooManySeries { labels: Labels::metric("up"), limit };
            assert_eq!(error.to_string(), format!("series up is new and {message}"));
        }
    }
}
