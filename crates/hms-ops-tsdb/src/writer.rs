//! The writer: the one thread that appends to the log and changes the head.
//!
//! Commits queue up. The writer takes all that wait, writes a record of each in one call, syncs once
//! for all if that is what a commit survives, applies them in the order of the log, and says so.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use hms_ops_core::clock::Stopwatch;
use hms_ops_core::labels::Labels;
use hms_ops_wal::log::{Log, Seq};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::error::TsdbError;
use crate::head::{Head, OfSeries, Pending};
use crate::options::Durability;
use crate::record::{SeriesId, encode_batch, encode_series};

/// Bytes of the largest record.
pub(crate) const MAX_RECORD: usize = 64 << 20;
/// Bytes that may wait to be written, in KiB; more wait to wait.
const QUEUE_KIB: u32 = 128 << 10;
/// Bytes of labels after which a record of definitions is full.
const DEFINITION_BYTES: usize = 1 << 20;

/// The writer's side of the store, and the door to it.
#[derive(Debug)]
pub(crate) struct Writer {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What the writer shares with the rest of the store.
#[derive(Debug)]
pub(crate) struct Shared {
    head: Arc<Head>,
    /// Whoever holds it sees a head that has all of the log.
    log: Mutex<Log>,
    queue: Mutex<Queue>,
    wake: Condvar,
    room: Arc<Semaphore>,
    durability: Durability,
    /// Bytes of the log, for those who do not want to wait for a write.
    log_bytes: AtomicU64,
    /// Why the last write failed.
    trouble: Mutex<Option<Arc<TsdbError>>>,
    /// Something acknowledged may not be on the disk: a checkpoint writes it anew.
    suspect: AtomicBool,
}

#[derive(Debug, Default)]
struct Queue {
    jobs: Vec<Job>,
    closed: bool,
}

/// One commit.
#[derive(Debug)]
struct Job {
    record: Vec<u8>,
    samples: InFlight,
    exemplars: Vec<OfSeries>,
    done: oneshot::Sender<Result<(), TsdbError>>,
    _room: OwnedSemaphorePermit,
}

/// Samples that keep their series alive until they are stored or given up.
#[derive(Debug)]
pub(crate) struct InFlight {
    pub(crate) head: Arc<Head>,
    pub(crate) samples: Vec<Pending>,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.head.give_up(&self.samples);
    }
}

impl Writer {
    /// Starts the writer; `after` is called by it when it has changed the head.
    pub(crate) fn start(
        head: Arc<Head>,
        log: Log,
        durability: Durability,
        after: impl Fn(&Shared) + Send + 'static,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            head,
            log_bytes: AtomicU64::new(log.bytes()),
            log: Mutex::new(log),
            queue: Mutex::default(),
            wake: Condvar::new(),
            room: Arc::new(Semaphore::new(QUEUE_KIB as usize)),
            durability,
            trouble: Mutex::default(),
            suspect: AtomicBool::new(false),
        });
        let running = shared.clone();
        let thread = thread::Builder::new().name("hms-ops-writer".to_owned());
        let thread = thread.spawn(move || running.run(after))?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Stores a batch; resolves at the durability that was asked for.
    ///
    /// Cancel safe: dropped before it has resolved, the batch may be stored or not, as a whole.
    pub(crate) fn commit(
        &self,
        samples: InFlight,
        exemplars: Vec<OfSeries>,
    ) -> impl Future<Output = Result<(), TsdbError>> + Send + use<> {
        let entries = samples.samples.iter().map(|s| (s.id, s.at, &s.value));
        let of_series = exemplars.iter().map(|(id, _, exemplar)| (*id, exemplar.clone()));
        let record = encode_batch(entries, &of_series.collect::<Vec<_>>());
        let shared = self.shared.clone();
        async move {
            if record.len() > MAX_RECORD {
                return Err(TsdbError::BatchTooLarge { bytes: record.len(), limit: MAX_RECORD });
            }
            if samples.samples.is_empty() && exemplars.is_empty() {
                return Ok(());
            }
            shared.submit(record, samples, exemplars).await
        }
    }

    /// Fails with what the last write failed with, unless writing works again.
    pub(crate) async fn ready(&self) -> Result<(), TsdbError> {
        if lock(&self.shared.trouble).is_none() {
            return Ok(());
        }
        // An empty commit finds out whether the disk is back.
        let samples = InFlight { head: self.shared.head.clone(), samples: Vec::new() };
        let record = encode_batch([].into_iter(), &[]);
        self.shared.submit(record, samples, Vec::new()).await
    }

    /// The log, between two writes.
    pub(crate) fn log(&self) -> MutexGuard<'_, Log> {
        lock(&self.shared.log)
    }

    /// Bytes of the log as of the last write.
    pub(crate) fn log_bytes(&self) -> u64 {
        self.shared.log_bytes.load(Relaxed)
    }

    /// Drops the log before `seq`, which is written down elsewhere.
    pub(crate) fn drop_log_before(&self, seq: Seq) -> Result<(), TsdbError> {
        let mut log = self.log();
        log.remove_before(seq)?;
        self.shared.log_bytes.store(log.bytes(), Relaxed);
        Ok(())
    }

    /// Whether something acknowledged may not be on the disk; asks once.
    pub(crate) fn take_suspect(&self) -> bool {
        self.shared.suspect.swap(false, Relaxed)
    }

    /// Begins a new segment; its first record is the one that is returned.
    pub(crate) fn rotate_log(&self) -> Result<Seq, TsdbError> {
        let mut log = self.log();
        let rotated = log.rotate();
        self.shared.note_suspect(&mut log);
        rotated?;
        Ok(log.next_seq())
    }

    /// It still may not be.
    pub(crate) fn put_back_suspect(&self) {
        self.shared.suspect.store(true, Relaxed);
    }

    /// Writes what waits, syncs, and ends.
    pub(crate) fn close(&self) -> Result<(), TsdbError> {
        lock(&self.shared.queue).closed = true;
        self.shared.wake.notify_all();
        self.shared.room.close();
        if let Some(thread) = lock(&self.thread).take() {
            // An error is a panic, which has been reported where it happened.
            let _ = thread.join();
            self.log().sync()?;
        }
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!(%error, "the last samples may not be on the disk");
        }
    }
}

impl Shared {
    async fn submit(
        &self,
        record: Vec<u8>,
        samples: InFlight,
        exemplars: Vec<OfSeries>,
    ) -> Result<(), TsdbError> {
        let bytes = record.len() + samples.samples.len() * size_of::<Pending>();
        let kib = u32::try_from(bytes >> 10).unwrap_or(u32::MAX).clamp(1, QUEUE_KIB);
        let room = self.room.clone().acquire_many_owned(kib).await;
        let room = room.map_err(|_| TsdbError::Closed)?;
        let (done, stored) = oneshot::channel();
        {
            let mut queue = lock(&self.queue);
            if queue.closed {
                return Err(TsdbError::Closed);
            }
            queue.jobs.push(Job { record, samples, exemplars, done, _room: room });
        }
        self.wake.notify_one();
        stored.await.unwrap_or(Err(TsdbError::Closed))
    }

    fn run(&self, after: impl Fn(&Self)) {
        let _last = Last(self);
        let mut since_sync = Stopwatch::start();
        loop {
            let due = match self.durability {
                Durability::Interval(interval) if lock(&self.log).unsynced() => {
                    Some(interval.saturating_sub(since_sync.elapsed()))
                }
                _ => None,
            };
            let Some(jobs) = self.wait(due) else { break };
            let first_unsynced = !jobs.is_empty() && !lock(&self.log).unsynced();
            if !jobs.is_empty() {
                self.write(jobs);
                after(self);
            }
            match self.durability {
                Durability::Interval(_) if first_unsynced => since_sync = Stopwatch::start(),
                Durability::Interval(interval) if since_sync.elapsed() >= interval => {
                    let mut log = lock(&self.log);
                    let synced = log.sync().map_err(TsdbError::from);
                    self.note_suspect(&mut log);
                    self.note(synced.err().map(Arc::new));
                    drop(log);
                    after(self);
                    since_sync = Stopwatch::start();
                }
                _ => {}
            }
        }
    }

    /// All jobs that wait, after waiting for one, or for `due`; `None` at the end.
    fn wait(&self, due: Option<Duration>) -> Option<Vec<Job>> {
        let mut queue = lock(&self.queue);
        loop {
            if !queue.jobs.is_empty() || due.is_some_and(|due| due.is_zero()) {
                return Some(std::mem::take(&mut queue.jobs));
            }
            if queue.closed {
                return None;
            }
            queue = match due {
                None => self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner),
                Some(due) => {
                    let waited = self.wake.wait_timeout(queue, due);
                    let (queue, waited) = waited.unwrap_or_else(PoisonError::into_inner);
                    if waited.timed_out() && queue.jobs.is_empty() {
                        return Some(Vec::new());
                    }
                    queue
                }
            };
        }
    }

    /// Writes jobs as one group: all of them are stored, or none.
    fn write(&self, jobs: Vec<Job>) {
        let undefined = self.head.take_undefined();
        // Twice: whoever loses one of the two records still knows what the samples are of.
        let definitions: Vec<_> = [(); 2].iter().flat_map(|()| definitions(&undefined)).collect();
        let records = definitions.iter().chain(jobs.iter().map(|job| &job.record));
        let records: Vec<&[u8]> = records.map(Vec::as_slice).collect();
        let mut log = lock(&self.log);
        let written = log.append(&records, self.durability == Durability::EachCommit);
        self.note_suspect(&mut log);
        match written {
            Ok(_) => {
                self.note(None);
                let (parts, acks): (Vec<_>, Vec<_>) = jobs
                    .into_iter()
                    .map(|mut job| {
                        let samples = std::mem::take(&mut job.samples.samples);
                        ((samples, job.exemplars), job.done)
                    })
                    .unzip();
                self.head.apply(parts.into_iter());
                self.log_bytes.store(log.bytes(), Relaxed);
                drop(log);
                for done in acks {
                    // Nobody listens any more: it is stored all the same.
                    let _ = done.send(Ok(()));
                }
            }
            Err(error) => {
                drop(log);
                self.head.put_back_undefined(undefined);
                let error = Arc::new(TsdbError::from(error));
                self.note(Some(error.clone()));
                for job in jobs {
                    let _ = job.done.send(Err(TsdbError::Shared(error.clone())));
                }
            }
        }
    }

    /// Whether there is something for the maintainer to do: more log than a replay should have, or
    /// a part of it that may not be on the disk.
    pub(crate) fn wants_checkpoint(&self, log_bytes: u64) -> bool {
        self.suspect.load(Relaxed) || self.log_bytes.load(Relaxed) > log_bytes
    }

    fn note_suspect(&self, log: &mut Log) {
        if log.take_suspect().is_some() {
            self.suspect.store(true, Relaxed);
        }
    }

    /// Remembers why writing fails, or that it works.
    fn note(&self, trouble: Option<Arc<TsdbError>>) {
        let mut known = lock(&self.trouble);
        match (&*known, &trouble) {
            (None, Some(error)) => tracing::error!(%error, "the store cannot write"),
            (Some(_), None) => tracing::info!("the store can write again"),
            _ => {}
        }
        *known = trouble;
    }
}

/// When the writer ends, in whatever way, nobody waits for it any more.
struct Last<'a>(&'a Shared);

impl Drop for Last<'_> {
    fn drop(&mut self) {
        let mut queue = lock(&self.0.queue);
        queue.closed = true;
        self.0.room.close();
        let left = std::mem::take(&mut queue.jobs);
        drop(queue);
        for job in left {
            let _ = job.done.send(Err(TsdbError::Closed));
        }
    }
}

/// Records that define series.
pub(crate) fn definitions(series: &[(SeriesId, Labels)]) -> impl Iterator<Item = Vec<u8>> {
    let mut bytes = 0;
    let fits = move |(_, labels): &(SeriesId, Labels), _: &(SeriesId, Labels)| {
        bytes += labels.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
        let fits = bytes < DEFINITION_BYTES;
        bytes = if fits { bytes } else { 0 };
        fits
    };
    series.chunk_by(fits).map(|s| encode_series(s.iter().map(|(id, labels)| (*id, labels))))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
