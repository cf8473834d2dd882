//! A store on any backend that speaks Prometheus: Prometheus, Mimir, Thanos, VictoriaMetrics.
//!
//! **Writes** go to a queue on disk and from there to the backend by remote write 1.0. A commit
//! resolves when its samples are in the queue: on the disk, or with [`RemoteOptions::sync`] off with
//! the operating system. From then on they reach the backend whatever ends and begins again, this
//! process or the backend, as long as the queue has room.
//!
//! That a backend has acknowledged a write does not mean that it has it on its disk. So samples stay
//! in the queue for [`RemoteOptions::keep`] after that, and are sent again when the backend was gone
//! meanwhile, or this process was. Sent twice is harmless: the backend knows a sample by its instant.
//! VictoriaMetrics does so with `-dedup.minScrapeInterval=1ms`; without it, `count_over_time` and its
//! kin may count such a sample twice when they are evaluated there.
//!
//! **Reads** ask the backend and add what is queued, so that a sample can be read once its commit has
//! resolved. When the backend cannot be asked, or does not answer within 300 ms, ranges that begin
//! after everything older became safe are answered from the queue alone, which knows what was written
//! here and nothing that others have written to the same backend; other ranges are an error. Series are
//! listed as the backend lists them: Prometheus may name some that have no sample in the range.
//!
//! Remote read is asked for samples, and not for streamed XOR chunks. An answer is held as samples of
//! 24 bytes in either case, since it is merged with what is queued; chunks would save the 18 bytes that
//! a sample has in a body meanwhile, at most [`RemoteOptions::answer_bytes`] in all, for a decoder of a
//! format that nothing else here has. Long ranges are for [`RemoteQuery`], which reads the answer alone.
//!
//! **Limits.** Of what waits in the queue as much can be read as fits in memory
//! ([`RemoteOptions::recent_samples`], the newest); the rest can be read once it is sent. A sample that
//! is within the out-of-order window and older than what is in memory is judged by the backend. Behind
//! a proxy that answers for a backend which is gone, only the start time in its `/metrics` tells that
//! it was.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use hms_ops_core::clock::{Clock, SystemClock};
use hms_ops_core::labels::{self, Labels};
use hms_ops_core::matcher::Matcher;
use hms_ops_core::sample::{Exemplar, Value};
use hms_ops_core::store::{
    Appender, SelectHint, SeriesRef, SeriesSet, Store, StoreError, StoreStats,
};
use hms_ops_core::time::{TimeRange, Timestamp};
use hms_ops_wal::disk::{Disk, OsDisk};
use tokio::task;
use tokio::time::timeout;

mod answer;
mod backend;
mod merge;
mod query;
mod queue;
mod recent;
mod sender;
#[cfg(test)]
mod tests;
mod wire;

pub use backend::{Credentials, RemoteError};
pub use query::RemoteQuery;
pub use wire::WireError;

use backend::Backend;
use merge::{Merged, merge};
use queue::{Counts, Queue, QueueOptions, Shared, lock};
use recent::{Batch, Limits, Recent};
use sender::{Sender, Sent};

/// How often a backend with samples that are not safe is asked since when it runs.
const WATCH_PAUSE: Duration = Duration::from_secs(10);

/// How long the backend may take when what is here suffices: rules have to be evaluated in time.
const PATIENCE: Duration = Duration::from_millis(300);

/// What a [`RemoteStore`] may take, and how it sends.
#[derive(Clone, Debug)]
pub struct RemoteOptions {
    /// Where writes go, when it is not `/api/v1/write` below the backend: Mimir has `/api/v1/push`.
    pub write_url: Option<String>,
    /// How the backend knows who asks.
    pub credentials: Credentials,
    /// Whose word about an `https` backend counts, as PEM; without it, the roots of the system.
    pub ca_file: Option<PathBuf>,
    /// Headers of every request, such as `X-Scope-OrgID`; their values are never shown.
    pub headers: Vec<(String, String)>,
    /// Bytes of the queue on disk; 1 GiB. Beyond, the oldest samples are dropped and counted.
    pub queue_bytes: u64,
    /// Whether a commit waits until its samples are on the disk, and survive a loss of power; true.
    pub sync: bool,
    /// How long samples stay in the queue after the backend has acknowledged them; 120 s, longer than rules look back.
    pub keep: Duration,
    /// Series whose handles are known at once; 100,000. Those that are silent make room.
    pub series: usize,
    /// Samples of the queue that can be read; 1,000,000, about 80 MB.
    pub recent_samples: usize,
    /// How much older than the newest of its series a sample may be; zero, as in Prometheus unless
    /// it is told.
    pub out_of_order_window: Duration,
    /// Bytes of one request before compression, of which one series may take more; 1 MiB.
    pub request_bytes: usize,
    /// Samples in one request, unless one commit has more; 10,000.
    pub request_samples: usize,
    /// How long one request may take; 30 s.
    pub timeout: Duration,
    /// The longest pause between two tries; 30 s. A backend may ask for up to 5 min.
    pub longest_pause: Duration,
    /// Bytes of one answer of the backend, as sent and inflated; 64 MiB.
    pub answer_bytes: usize,
    /// The disk of the queue.
    pub disk: Arc<dyn Disk>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
}

impl Default for RemoteOptions {
    fn default() -> Self {
        let half_a_minute = Duration::from_secs(30);
        Self {
            write_url: None,
            credentials: Credentials::None,
            ca_file: None,
            headers: Vec::new(),
            queue_bytes: 1 << 30,
            sync: true,
            keep: Duration::from_secs(120),
            series: 100_000,
            recent_samples: 1_000_000,
            out_of_order_window: Duration::ZERO,
            request_bytes: 1 << 20,
            request_samples: 10_000,
            timeout: half_a_minute,
            longest_pause: half_a_minute,
            answer_bytes: 64 << 20,
            disk: Arc::new(OsDisk),
            clock: Arc::new(SystemClock),
        }
    }
}

/// How the queue is, and what has become of what was in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RemoteMetrics {
    /// Bytes on disk, samples that are acknowledged and not yet safe among them.
    pub queued_bytes: u64,
    /// Samples that the backend has not acknowledged.
    pub queued_samples: u64,
    /// Samples that the backend has acknowledged, repetitions among them.
    pub sent_samples: u64,
    /// Write requests that were made.
    pub requests: u64,
    /// Connections that were tried to open, for writes and reads: few, as they are used again.
    pub connections: u64,
    /// Samples that the backend has refused for good.
    pub refused_samples: u64,
    /// Samples that were sent again and refused, since the backend has them.
    pub repeated_samples: u64,
    /// Samples that were dropped because the queue was full.
    pub overflowed_samples: u64,
    /// Tries that were not the first.
    pub retries: u64,
    /// Times that everything which is not safe was sent again.
    pub rewinds: u64,
    /// The age of the oldest commit that waits to be sent; zero when none does.
    pub lag: Duration,
    /// Whether the backend took, or refused for good, what it was sent last.
    pub reachable: bool,
    /// Why the backend last refused or failed.
    pub last_error: Option<String>,
}

/// Keeps samples in a backend that speaks Prometheus; see the [module](self).
///
/// ```no_run
/// use std::sync::Arc;
/// use std::time::Duration;
/// use hms_ops_collect::remote_store::{RemoteOptions, RemoteStore};
/// use hms_ops_core::{labels::Labels, store::StoreExt, time::Timestamp};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let folder = "/var/lib/my-service/remote".as_ref();
/// let store = RemoteStore::open("http://127.0.0.1:9090", folder, RemoteOptions::default())?;
/// store.append_one(&Labels::metric("up"), Timestamp::from_millis(1_767_225_600_000), 1.0).await?;
/// store.close(Duration::from_secs(5)).await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct RemoteStore {
    backend: Arc<Backend>,
    recent: Shared,
    queue: Queue,
    sent: Arc<Sent>,
    clock: Arc<dyn Clock>,
    /// Ended by [`RemoteStore::close`], or with the store.
    running: Mutex<Option<(task::JoinHandle<()>, JoinHandle<()>)>>,
}

impl RemoteStore {
    /// Opens the queue in `folder`, which is made if it is missing, and starts to send to the backend
    /// at `url`, `http://host:port` or `https` with the feature `tls`, with or without a path. It need
    /// not be there. Blocks while the
    /// queue is read; must be called within a Tokio runtime. One process at a time may have the
    /// folder.
    ///
    /// # Errors
    ///
    /// [`RemoteError::Client`], [`RemoteError::Header`] or [`RemoteError::Queue`].
    pub fn open(url: &str, folder: &Path, options: RemoteOptions) -> Result<Self, RemoteError> {
        let backend = Arc::new(Backend::new(url, &options)?);
        let limits = Limits {
            series: options.series,
            samples: options.recent_samples,
            window: options.out_of_order_window,
        };
        let clock = options.clock;
        let recent = Arc::new(Mutex::new(Recent::new(limits, clock.now())));
        // A backend whose end is noticed a look too late has still lost no more than is kept.
        let watch_pause = WATCH_PAUSE.min(options.keep / 4).max(Duration::from_millis(100));
        let queue = QueueOptions {
            bytes: options.queue_bytes,
            request_bytes: options.request_bytes,
            request_samples: options.request_samples,
            keep: options.keep + watch_pause * u32::from(options.keep > Duration::ZERO),
            sync: options.sync,
        };
        let (queue, thread) =
            Queue::open(options.disk, folder, queue, clock.clone(), recent.clone())?;
        let sent = Arc::<Sent>::default();
        let sender = Sender {
            backend: backend.clone(),
            queue: queue.clone(),
            sent: sent.clone(),
            longest_pause: options.longest_pause,
            watch_pause,
        };
        let running = Mutex::new(Some((tokio::spawn(sender.run()), thread)));
        Ok(Self { backend, recent, queue, sent, clock, running })
    }

    /// How the queue is.
    pub fn metrics(&self) -> RemoteMetrics {
        let (counts, sent) = (&self.queue.counts, &self.sent);
        RemoteMetrics {
            queued_bytes: counts.queued_bytes.load(Relaxed),
            queued_samples: counts.queued_samples.load(Relaxed),
            sent_samples: sent.samples.load(Relaxed),
            requests: sent.requests.load(Relaxed),
            connections: self.backend.pool.opened(),
            refused_samples: sent.refused.load(Relaxed),
            repeated_samples: sent.repeated.load(Relaxed),
            overflowed_samples: counts.dropped_full.load(Relaxed),
            retries: sent.retries.load(Relaxed),
            rewinds: sent.rewinds.load(Relaxed),
            lag: self.waiting().lag(),
            reachable: sent.reachable.load(Relaxed),
            last_error: sent.last_error(),
        }
    }

    fn waiting(&self) -> Waiting {
        Waiting { counts: self.queue.counts.clone(), clock: self.clock.clone() }
    }

    /// An engine that hands whole queries to the backend.
    pub fn query_engine(&self) -> RemoteQuery {
        RemoteQuery::new(self.backend.clone(), self.waiting())
    }

    /// Waits until the backend has acknowledged, or refused for good, all that was committed before.
    ///
    /// Cancel safe.
    pub async fn flush(&self) {
        let mut progress = self.queue.progress.clone();
        let end = progress.borrow_and_update().end;
        // Closed, there is nobody left to wait for.
        let _ = progress.wait_for(|progress| progress.acknowledged >= end).await;
    }

    /// Whether the backend says that it is ready. [`Store::ready`] does not ask it: the queue takes
    /// what is written while the backend is gone.
    ///
    /// # Errors
    ///
    /// [`RemoteError`] with what it says, or why it does not.
    pub async fn backend_ready(&self) -> Result<(), RemoteError> {
        self.backend.ready().await
    }

    /// Sends what waits for as long as `within`, then ends and frees the folder. What is left is sent
    /// next time; what is committed later is refused.
    pub async fn close(&self, within: Duration) {
        let _ = timeout(within, self.flush()).await;
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((sender, thread)) = running else { return };
        sender.abort();
        let _ = sender.await;
        self.queue.close().await;
        let _ = task::spawn_blocking(|| thread.join()).await;
    }
}

/// For how long samples wait to be sent.
#[derive(Clone, Debug)]
struct Waiting {
    counts: Arc<Counts>,
    clock: Arc<dyn Clock>,
}

impl Waiting {
    /// The age of the oldest commit that waits; zero when none does.
    fn lag(&self) -> Duration {
        let oldest = i64::try_from(self.counts.oldest.load(Relaxed)).unwrap_or_default();
        if oldest == 0 || self.counts.queued_samples.load(Relaxed) == 0 {
            return Duration::ZERO;
        }
        self.clock.now().since(Timestamp::from_millis(oldest))
    }
}

impl Drop for RemoteStore {
    fn drop(&mut self) {
        // The thread ends by itself, after the last way to it.
        if let Some((sender, _)) = self.running.get_mut().ok().and_then(Option::take) {
            sender.abort();
        }
    }
}

#[async_trait]
impl Store for RemoteStore {
    fn appender(&self) -> Box<dyn Appender + '_> {
        Box::new(RemoteAppender { store: self, batch: Batch::default() })
    }

    /// Holds the whole answer of the backend, of at most [`RemoteOptions::answer_bytes`].
    async fn select(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        hint: &SelectHint,
    ) -> Result<Box<dyn SeriesSet>, StoreError> {
        if range.end < range.start {
            return Ok(Box::new(Merged::of(Vec::new())));
        }
        let asked = self.backend.select(matchers, range);
        let remote = self.unless_covered(asked, range).await?;
        // Read after the backend was asked: what leaves memory meanwhile was acknowledged long ago.
        let recent = lock(&self.recent).select(matchers, range);
        let remote = remote.into_iter().map(|series| (series.labels, series.samples));
        let mut all = merge(remote, recent, range);
        if hint.only_last {
            for (_, samples) in &mut all {
                samples.drain(..samples.len() - 1);
            }
        }
        Ok(Box::new(Merged::of(all)))
    }

    async fn series(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Vec<Labels>, StoreError> {
        if range.end < range.start {
            return Ok(Vec::new());
        }
        let asked = self.backend.series(matchers, range);
        let mut all = self.unless_covered(asked, range).await?;
        all.append(&mut self.recent_series(matchers, range));
        Ok(sorted(all))
    }

    async fn label_names(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Vec<String>, StoreError> {
        if range.end < range.start {
            return Ok(Vec::new());
        }
        let asked = self.backend.labels(None, matchers, range);
        let mut all = self.unless_covered(asked, range).await?;
        all.append(&mut labels::names(&self.recent_series(matchers, range)));
        Ok(sorted(all))
    }

    async fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Vec<String>, StoreError> {
        if range.end < range.start {
            return Ok(Vec::new());
        }
        let asked = self.backend.labels(Some(name), matchers, range);
        let mut all = self.unless_covered(asked, range).await?;
        all.append(&mut labels::values(name, &self.recent_series(matchers, range)));
        Ok(sorted(all))
    }

    async fn exemplars(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Vec<(Labels, Vec<Exemplar>)>, StoreError> {
        if range.end < range.start {
            return Ok(Vec::new());
        }
        let asked = self.backend.exemplars(matchers, range);
        let remote = self.unless_covered(asked, range).await?;
        let recent = lock(&self.recent).exemplars(matchers, range);
        Ok(merge(remote.into_iter(), recent, range))
    }

    /// Whether the queue takes what is written. The backend need not be there; see
    /// [`RemoteStore::backend_ready`].
    async fn ready(&self) -> Result<(), StoreError> {
        if self.queue.counts.broken.load(Relaxed) {
            return Err(StoreError::Backend("the queue could not be written to its disk".into()));
        }
        Ok(())
    }

    /// Of what is here; what the backend has it counts itself.
    async fn stats(&self) -> StoreStats {
        let mut stats = lock(&self.recent).stats();
        stats.disk_bytes = self.queue.counts.queued_bytes.load(Relaxed);
        stats.dropped_samples += self.queue.counts.dropped_full.load(Relaxed);
        stats.dropped_samples += self.sent.refused.load(Relaxed);
        stats
    }
}

impl RemoteStore {
    /// What the backend answers; nothing when it is silent and what is here suffices.
    async fn unless_covered<T>(
        &self,
        asked: impl Future<Output = Result<Vec<T>, RemoteError>>,
        range: TimeRange,
    ) -> Result<Vec<T>, StoreError> {
        let suffices = || lock(&self.recent).covers(range);
        let asked = match suffices() {
            true if self.backend.is_silent() => return Ok(Vec::new()),
            true => {
                let late = |_| Err(self.backend.late(PATIENCE));
                timeout(PATIENCE, asked).await.unwrap_or_else(late)
            }
            false => asked.await,
        };
        match asked {
            Err(error) if error.is_silence() && suffices() => Ok(Vec::new()),
            asked => Ok(asked?),
        }
    }

    fn recent_series(&self, matchers: &[Matcher], range: TimeRange) -> Vec<Labels> {
        let found = lock(&self.recent).select(matchers, range);
        found.into_iter().map(|(labels, _)| labels).collect()
    }
}

fn sorted<T: Ord>(mut all: Vec<T>) -> Vec<T> {
    all.sort_unstable();
    all.dedup();
    all
}

struct RemoteAppender<'a> {
    store: &'a RemoteStore,
    batch: Batch,
}

impl Appender for RemoteAppender<'_> {
    fn series(&mut self, labels: &Labels) -> Result<SeriesRef, StoreError> {
        let now = self.store.clock.now();
        lock(&self.store.recent).series(labels, now)
    }

    fn append(&mut self, series: SeriesRef, at: Timestamp, value: Value) -> Result<(), StoreError> {
        lock(&self.store.recent).append(&mut self.batch, series, at, value)
    }

    fn exemplar(&mut self, series: SeriesRef, exemplar: Exemplar) -> Result<(), StoreError> {
        lock(&self.store.recent).exemplar(&mut self.batch, series, exemplar)
    }

    fn commit(self: Box<Self>) -> Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send>> {
        if self.batch.is_empty() {
            return Box::pin(std::future::ready(Ok(())));
        }
        Box::pin(self.store.queue.commit(self.batch))
    }
}
