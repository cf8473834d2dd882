//! Remote write: from the bytes of a request to samples in the store.
//!
//! The bytes that name a series lead straight to its handle, so that a steady sender costs no label
//! work and, sample by sample, no allocation.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use bytes::Bytes;
use hms_ops_core::labels::{Labels, NAME};
use hms_ops_core::metadata::{MetadataStore, MetricType};
use hms_ops_core::sample::{Exemplar, Value};
use hms_ops_core::store::{Appender, SeriesRef, Store, StoreError};
use hms_ops_core::time::Timestamp;

use super::histogram::{self, HistogramError};
use super::{Limits, SnappyError, snappy};
use crate::protobuf::{ProtobufError, Reader};
use crate::series_cache::SeriesCache;

mod v1;
mod v2;

pub(super) use self::v1::write_series;
pub use self::v1::{encode_metadata_v1, encode_v1};
pub use self::v2::encode_v2;

/// Refusals of one request that are told word by word; the others are counted.
const TOLD: usize = 3;
/// Bytes of one of them.
const TOLD_BYTES: usize = 512;
/// Characters of the labels of an exemplar, as OpenMetrics has it.
const EXEMPLAR_CHARS: usize = 128;
/// Bytes of a buffer that is kept for the next request, and how many are.
const KEPT_BYTES: usize = 4 << 20;
const KEPT: usize = 16;
/// A message of more bytes is read off the executor, which it would hold up.
const LONG_BYTES: usize = 1 << 20;

/// After so many series of a request others may write to the cache.
const LEASE: usize = 1024;

/// Which message a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Remote write 1.0: `prometheus.WriteRequest`.
    V1,
    /// Remote write 2.0: `io.prometheus.write.v2.Request`.
    V2,
}

/// Takes remote writes into a store.
///
/// ```
/// use std::sync::Arc;
/// use hms_ops_collect::remote::{Limits, RemoteWriter, Version, deflate, encode_v1};
/// use hms_ops_core::labels::Labels;
/// use hms_ops_core::metadata::MetadataStore;
/// use hms_ops_core::sample::Sample;
/// use hms_ops_core::store::MemoryStore;
/// use hms_ops_core::time::Timestamp;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Arc::new(MemoryStore::new());
/// let writer = RemoteWriter::new(store, Arc::new(MetadataStore::new()), Limits::default());
/// let writer = Arc::new(writer);
/// let sample = Sample { at: Timestamp::from_millis(1000), value: 1.0.into() };
/// let mut message = Vec::new();
/// encode_v1([(&Labels::metric("up"), &[sample][..])], &mut message);
/// let written = writer.write(Version::V1, deflate(&message)?.into()).await?;
/// assert_eq!(written.samples, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct RemoteWriter {
    store: Arc<dyn Store>,
    metadata: Arc<MetadataStore>,
    limits: Limits,
    v1: RwLock<SeriesCache>,
    v2: RwLock<SeriesCache>,
    /// For the messages of requests to come.
    buffers: std::sync::Mutex<Vec<Vec<u8>>>,
    counters: Counters,
}

/// What became of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Numbers taken.
    pub samples: u64,
    /// Histograms taken.
    pub histograms: u64,
    /// Exemplars taken.
    pub exemplars: u64,
    /// What was not taken, and why. To send it again would not help.
    pub refused: Option<Refused>,
}

/// What a request has brought that the store will never take; everything else was stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.message())]
pub struct Refused {
    /// Numbers and histograms not taken.
    pub samples: u64,
    /// Exemplars not taken.
    pub exemplars: u64,
    /// How many reasons there were.
    pub reasons: u64,
    /// The first three of them.
    pub first: Vec<String>,
}

impl Refused {
    fn message(&self) -> String {
        let Self { samples, exemplars, reasons, first } = self;
        let told = first.join("; ");
        let more = match reasons - first.len() as u64 {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        format!("refused {samples} samples and {exemplars} exemplars: {told}{more}")
    }
}

/// Why nothing of a request was stored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each message explains its fields")]
pub enum WriteError {
    /// The body cannot be inflated.
    #[error(transparent)]
    Snappy(#[from] SnappyError),

    /// The message is none.
    #[error("the message is damaged: {0}")]
    Damaged(String),

    /// The message passes a limit.
    #[error("the message has more than {limit} {what}")]
    TooMany { what: &'static str, limit: usize },

    /// The store has failed; to send it again may help.
    #[error("the samples could not be stored: {0}")]
    Store(#[from] StoreError),
}

impl From<ProtobufError> for WriteError {
    fn from(error: ProtobufError) -> Self {
        Self::Damaged(error.to_string())
    }
}

/// What has come in since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriteStats {
    /// Requests, those that failed included.
    pub requests: u64,
    /// Numbers taken.
    pub samples: u64,
    /// Histograms taken.
    pub histograms: u64,
    /// Exemplars taken.
    pub exemplars: u64,
    /// Numbers and histograms refused.
    pub refused_samples: u64,
    /// Exemplars refused.
    pub refused_exemplars: u64,
    /// Requests of which nothing could be read.
    pub bad_requests: u64,
    /// Requests that met a store that failed.
    pub failed_requests: u64,
}

#[derive(Debug, Default)]
struct Counters {
    requests: AtomicU64,
    samples: AtomicU64,
    histograms: AtomicU64,
    exemplars: AtomicU64,
    refused_samples: AtomicU64,
    refused_exemplars: AtomicU64,
    bad_requests: AtomicU64,
    failed_requests: AtomicU64,
}

impl RemoteWriter {
    /// Takes writes into `store`, and what they say about metrics into `metadata`.
    pub fn new(store: Arc<dyn Store>, metadata: Arc<MetadataStore>, limits: Limits) -> Self {
        let cache = || RwLock::new(SeriesCache::new(limits.cache_bytes));
        let (v1, v2) = (cache(), cache());
        let (buffers, counters) = (std::sync::Mutex::default(), Counters::default());
        Self { store, metadata, limits, v1, v2, buffers, counters }
    }

    /// Stores what a body brings, in one commit.
    ///
    /// Must be called within a Tokio runtime when a message has more than 1 MiB. Cancel safe: dropped,
    /// the samples may or may not be stored, and may be sent again.
    ///
    /// # Errors
    ///
    /// [`WriteError`] when nothing was stored. What is refused sample by sample is in [`Written`].
    pub async fn write(
        self: &Arc<Self>,
        version: Version,
        body: Bytes,
    ) -> Result<Written, WriteError> {
        self.counters.requests.fetch_add(1, Relaxed);
        let declared = snappy::declared(&body, self.limits.message_bytes);
        let appended = if declared.is_ok_and(|bytes| bytes > LONG_BYTES) {
            let writer = self.clone();
            let appended = tokio::task::spawn_blocking(move || writer.append(version, &body)).await;
            // The runtime ends, or reading has panicked.
            appended.unwrap_or_else(|failed| Err(StoreError::Backend(Box::new(failed)).into()))
        } else {
            self.append(version, &body)
        };
        let written = match appended {
            Ok((commit, written)) => commit.await.map_err(WriteError::from).map(|()| written),
            Err(error) => Err(error),
        };
        self.count(&written);
        written
    }

    /// What has come in since the start.
    pub fn stats(&self) -> WriteStats {
        let of = |counter: &AtomicU64| counter.load(Relaxed);
        WriteStats {
            requests: of(&self.counters.requests),
            samples: of(&self.counters.samples),
            histograms: of(&self.counters.histograms),
            exemplars: of(&self.counters.exemplars),
            refused_samples: of(&self.counters.refused_samples),
            refused_exemplars: of(&self.counters.refused_exemplars),
            bad_requests: of(&self.counters.bad_requests),
            failed_requests: of(&self.counters.failed_requests),
        }
    }

    /// The limits it was given.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    fn append(&self, version: Version, body: &[u8]) -> Result<(Commit, Written), WriteError> {
        let mut buffer = lock(&self.buffers).pop().unwrap_or_default();
        let message = snappy::inflate(body, self.limits.message_bytes, &mut buffer);
        let appended =
            message.map_err(WriteError::from).and_then(|m| self.append_message(version, m));
        let mut buffers = lock(&self.buffers);
        if buffers.len() < KEPT && buffer.len() <= KEPT_BYTES {
            buffers.push(buffer);
        }
        appended
    }

    fn append_message(
        &self,
        version: Version,
        message: &[u8],
    ) -> Result<(Commit, Written), WriteError> {
        let cache = match version {
            Version::V1 => &self.v1,
            Version::V2 => &self.v2,
        };
        let mut batch = Batch {
            writer: self,
            appender: self.store.appender(),
            cache,
            known: Some(cache.read().unwrap_or_else(PoisonError::into_inner)),
            named: Vec::new(),
            weight: 0,
            entries: 0,
            written: Written::default(),
        };
        let read = match version {
            Version::V1 => v1::read(message, &mut batch),
            Version::V2 => v2::read(message, &mut batch),
        };
        let Batch { appender, known, named, written, .. } = batch;
        drop(known);
        if !named.is_empty() {
            let mut cache = cache.write().unwrap_or_else(PoisonError::into_inner);
            named.into_iter().for_each(|(key, series)| cache.add(key, series));
        }
        read?;
        Ok((appender.commit(), written))
    }

    fn count(&self, written: &Result<Written, WriteError>) {
        let count = |counter: &AtomicU64, many| _ = counter.fetch_add(many, Relaxed);
        match written {
            Ok(written) => {
                count(&self.counters.samples, written.samples);
                count(&self.counters.histograms, written.histograms);
                count(&self.counters.exemplars, written.exemplars);
                if let Some(refused) = &written.refused {
                    count(&self.counters.refused_samples, refused.samples);
                    count(&self.counters.refused_exemplars, refused.exemplars);
                }
            }
            Err(WriteError::Store(_)) => count(&self.counters.failed_requests, 1),
            Err(_) => count(&self.counters.bad_requests, 1),
        }
    }
}

type Commit = std::pin::Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send>>;

/// One request on its way into the store.
struct Batch<'w> {
    writer: &'w RemoteWriter,
    appender: Box<dyn Appender + 'w>,
    cache: &'w RwLock<SeriesCache>,
    /// There but for the moment in which somebody else may write.
    known: Option<RwLockReadGuard<'w, SeriesCache>>,
    /// Series that are to be remembered, by the bytes that name them.
    named: Vec<(Box<[u8]>, SeriesRef)>,
    weight: usize,
    /// Series and metadata, with or without anything in them.
    entries: usize,
    written: Written,
}

/// Why a series, a sample or an exemplar is not taken.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("series {0} has no name")]
    NoName(String),
    #[error("series {0} has a label without a name")]
    EmptyName(String),
    #[error("series {series} has the label {name:?} twice")]
    Twice { name: String, series: String },
    #[error("series {series} has more than {limit} labels")]
    TooManyLabels { series: String, limit: usize },
    #[error("a label {what} of {length} bytes, the limit is {limit}: {start:?}…")]
    TooLong { what: &'static str, length: usize, limit: usize, start: String },
    #[error("a label is damaged: {0}")]
    Label(#[from] ProtobufError),
    #[error("label references point to symbol {reference}, of {symbols}")]
    Reference { reference: u64, symbols: usize },
    #[error("a label reference without its value: there are {0} of them")]
    Odd(usize),
    #[error("series {0} has neither a sample nor a histogram")]
    Empty(String),
    #[error("the labels of an exemplar have more than {EXEMPLAR_CHARS} characters")]
    ExemplarTooLong,
    #[error("the histogram of {labels} at {at} is none: {error}")]
    Histogram { labels: String, at: Timestamp, error: HistogramError },
    #[error(transparent)]
    Store(StoreError),
}

/// The series whose samples are read: the bytes that name it, and how to read them.
struct Named<'k, F> {
    key: Option<&'k [u8]>,
    labels: F,
    /// `None` when it was refused.
    series: Option<SeriesRef>,
    newest: Option<Timestamp>,
}

impl<'w> Batch<'w> {
    /// The series that `key` names, and `labels` reads when it is not known yet. Without a key it is
    /// never known.
    fn series<'k, F: Fn() -> Result<Labels, Refusal>>(
        &mut self,
        key: Option<&'k [u8]>,
        labels: F,
    ) -> Result<Named<'k, F>, WriteError> {
        let mut named = Named { key, labels, series: None, newest: None };
        let known = |key: &'k [u8]| Some((key, self.known.as_ref()?.get(key)?));
        match key.and_then(known) {
            Some((key, found)) => {
                if found.is_old {
                    self.named.push((key.into(), found.series));
                }
                named.series = Some(found.series);
            }
            None => self.look_up(&mut named)?,
        }
        Ok(named)
    }

    /// Asks the store for the series.
    #[cold]
    fn look_up<F: Fn() -> Result<Labels, Refusal>>(
        &mut self,
        named: &mut Named<'_, F>,
    ) -> Result<(), WriteError> {
        named.series = None;
        let labels = match (named.labels)() {
            Ok(labels) => labels,
            Err(refusal) => {
                self.refuse(0, 0, refusal);
                return Ok(());
            }
        };
        match self.appender.series(&labels) {
            Ok(series) => {
                named.series = Some(series);
                if let Some(key) = named.key {
                    self.named.push((key.into(), series));
                }
            }
            Err(error @ StoreError::TooManySeries { .. }) => {
                self.refuse(0, 0, Refusal::Store(error));
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Appends one number.
    #[inline]
    fn sample<F: Fn() -> Result<Labels, Refusal>>(
        &mut self,
        named: &mut Named<'_, F>,
        message: &[u8],
    ) -> Result<(), WriteError> {
        let (mut value, mut at) = (0.0, 0);
        let mut reader = Reader::new(message);
        while let Some((number, field)) = reader.next()? {
            match number {
                1 => value = field.double("value")?,
                2 => at = field.int("timestamp")?,
                _ => {}
            }
        }
        let taken = self.append(named, Timestamp::from_millis(at), Value::Float(value))?;
        self.written.samples += u64::from(taken);
        Ok(())
    }

    /// Appends one histogram.
    fn histogram<F: Fn() -> Result<Labels, Refusal>>(
        &mut self,
        named: &mut Named<'_, F>,
        message: &[u8],
    ) -> Result<(), WriteError> {
        let (at, value) = histogram::decode(message)?;
        match value {
            Ok(value) => {
                let taken = self.append(named, at, value)?;
                self.written.histograms += u64::from(taken);
            }
            Err(error) => {
                self.weigh(1)?;
                let labels = (named.labels)().map(|l| l.to_string()).unwrap_or_default();
                self.refuse(1, 0, Refusal::Histogram { labels, at, error });
            }
        }
        Ok(())
    }

    /// Appends one sample; `false` when it is refused.
    #[inline]
    fn append<F: Fn() -> Result<Labels, Refusal>>(
        &mut self,
        named: &mut Named<'_, F>,
        at: Timestamp,
        value: Value,
    ) -> Result<bool, WriteError> {
        self.weigh(histogram::weight(&value))?;
        let Some(series) = named.series else {
            self.refused().samples += 1;
            return Ok(false);
        };
        named.newest = named.newest.max(Some(at));
        let mut appended = self.appender.append(series, at, value.clone());
        if let Err(StoreError::UnknownSeries { .. }) = appended {
            self.look_up(named)?;
            let Some(series) = named.series else {
                self.refused().samples += 1;
                return Ok(false);
            };
            appended = self.appender.append(series, at, value);
        }
        match appended {
            Ok(()) => Ok(true),
            Err(error) => {
                self.refuse(1, 0, only_this(error)?);
                Ok(false)
            }
        }
    }

    /// Appends one exemplar whose labels have been read. Without a time of its own it is from when
    /// the newest sample before it is.
    fn exemplar<F: Fn() -> Result<Labels, Refusal>>(
        &mut self,
        named: &mut Named<'_, F>,
        labels: Result<Vec<(&str, &str)>, Refusal>,
        value: f64,
        at: i64,
    ) -> Result<(), WriteError> {
        let labels = labels.and_then(|pairs| {
            self.weight += pairs.len();
            if pairs.len() > EXEMPLAR_CHARS {
                return Err(Refusal::ExemplarTooLong);
            }
            let chars = |(name, value): &(&str, &str)| name.chars().count() + value.chars().count();
            match pairs.iter().map(chars).sum::<usize>() <= EXEMPLAR_CHARS {
                true => Ok(Labels::from_pairs(pairs)),
                false => Err(Refusal::ExemplarTooLong),
            }
        });
        self.weigh(1)?;
        let at = match at {
            0 => named.newest.unwrap_or(Timestamp::from_millis(0)),
            at => Timestamp::from_millis(at),
        };
        let labels = match (named.series, labels) {
            (Some(_), Ok(labels)) => labels,
            (None, _) => {
                self.refused().exemplars += 1;
                return Ok(());
            }
            (_, Err(refusal)) => {
                self.refuse(0, 1, refusal);
                return Ok(());
            }
        };
        let exemplar = Exemplar { labels, value, at };
        for _ in 0..2 {
            let Some(series) = named.series else { break };
            match self.appender.exemplar(series, exemplar.clone()) {
                Ok(()) => {
                    self.written.exemplars += 1;
                    return Ok(());
                }
                Err(StoreError::UnknownSeries { .. }) => self.look_up(named)?,
                Err(error) => {
                    self.refuse(0, 1, only_this(error)?);
                    return Ok(());
                }
            }
        }
        self.refused().exemplars += 1;
        Ok(())
    }

    /// Keeps what is said about a metric.
    fn describe(&self, metric: &str, metric_type: u64, help: &str, unit: &str) {
        // The numbers are the same in both versions.
        let metric_type = match metric_type {
            1 => MetricType::Counter,
            2 => MetricType::Gauge,
            3 => MetricType::Histogram,
            4 => MetricType::GaugeHistogram,
            5 => MetricType::Summary,
            6 => MetricType::Info,
            7 => MetricType::StateSet,
            _ => MetricType::Unknown,
        };
        if !metric.is_empty() {
            self.writer.metadata.set(metric, metric_type, help, unit);
        }
    }

    /// Counts a series or what is said about a metric.
    fn enter(&mut self) -> Result<(), WriteError> {
        self.entries += 1;
        if self.entries.is_multiple_of(LEASE) {
            // Who waits to write may be on the executor, and keeps all others waiting.
            self.known = None;
            self.known = Some(self.cache.read().unwrap_or_else(PoisonError::into_inner));
        }
        let limit = self.writer.limits.samples;
        match self.entries > limit {
            true => Err(WriteError::TooMany { what: "series", limit }),
            false => Ok(()),
        }
    }

    fn weigh(&mut self, weight: usize) -> Result<(), WriteError> {
        self.weight += weight;
        let limit = self.writer.limits.samples;
        if self.weight > limit {
            return Err(WriteError::TooMany { what: "samples", limit });
        }
        Ok(())
    }

    fn refused(&mut self) -> &mut Refused {
        self.written.refused.get_or_insert_default()
    }

    #[cold]
    fn refuse(&mut self, samples: u64, exemplars: u64, refusal: Refusal) {
        let refused = self.refused();
        refused.samples += samples;
        refused.exemplars += exemplars;
        refused.reasons += 1;
        if refused.first.len() < TOLD {
            let mut reason = refusal.to_string();
            reason.truncate(reason.floor_char_boundary(TOLD_BYTES));
            refused.first.push(reason);
        }
    }
}

/// Lets an error pass that concerns one sample or exemplar alone.
fn only_this(error: StoreError) -> Result<Refusal, WriteError> {
    match error {
        StoreError::OutOfOrder { .. }
        | StoreError::Duplicate { .. }
        | StoreError::TooFarAhead { .. }
        | StoreError::TooManySeries { .. } => Ok(Refusal::Store(error)),
        error => Err(error.into()),
    }
}

/// Labels as Prometheus takes them: in any order, but each name once, none empty, and among them
/// that of the metric. A label without a value is none.
fn checked(mut pairs: Vec<(&str, &str)>, limits: &Limits) -> Result<Labels, Refusal> {
    let too_long = |what, text: &str, limit| Refusal::TooLong {
        what,
        length: text.len(),
        limit,
        start: text.chars().take(80).collect(),
    };
    for (name, value) in &pairs {
        if name.len() > limits.name_bytes {
            return Err(too_long("name", name, limits.name_bytes));
        }
        if value.len() > limits.value_bytes {
            return Err(too_long("value", value, limits.value_bytes));
        }
    }
    pairs.sort_by_key(|(name, _)| *name);
    let labels = Labels::from_pairs(pairs.iter().copied());
    if pairs.len() > limits.labels {
        let series = labels.only(&[NAME]).to_string();
        return Err(Refusal::TooManyLabels { series, limit: limits.labels });
    }
    if pairs.first().is_some_and(|(name, _)| name.is_empty()) {
        return Err(Refusal::EmptyName(labels.to_string()));
    }
    if let Some(pair) = pairs.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(Refusal::Twice { name: pair[0].0.to_owned(), series: labels.to_string() });
    }
    if labels.name().is_none() {
        return Err(Refusal::NoName(labels.to_string()));
    }
    Ok(labels)
}

fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
