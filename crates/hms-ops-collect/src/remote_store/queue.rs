//! The queue on disk: what was committed and is not yet safe with the backend.
//!
//! A thread of its own owns the log. Commits that wait are written one after the other and synced
//! once. A record is acknowledged when the backend has taken it, and *safe* when that was long enough
//! ago that the backend has it on its disk, and it was not gone since. From the first record that is not safe on, everything is
//! here, readable, and sent again when the backend or this process was gone.
//!
//! A record is `S`, when it was committed (milliseconds, 8 bytes), its samples (4 bytes) and the body
//! of a write request; or `P` and the first number that is not safe (8 bytes). Little-endian.

use std::collections::VecDeque;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use hms_ops_core::clock::Clock;
use hms_ops_core::sample::Sample;
use hms_ops_core::store::StoreError;
use hms_ops_core::time::Timestamp;
use hms_ops_wal::disk::{Disk, DiskLock};
use hms_ops_wal::log::{Log, LogError, LogOptions, Seq};
use tokio::sync::{mpsc, oneshot, watch};

use super::recent::{Batch, Recent, Taken};
use super::wire;

/// Calls that may wait for the thread; further ones wait before it.
const CALLS: usize = 1024;
/// Bytes of the newest records that are kept in memory, so that a sender which keeps up reads no disk.
const TAIL_BYTES: usize = 16 << 20;
/// Into how many steps the time until a record is safe is divided.
const STEPS: u32 = 32;
/// How often at most the position is written down.
const NOTE_PAUSE: Duration = Duration::from_secs(1);
/// Samples of one series in one piece of a body, so that a record can be cut between them.
const RUN: usize = 1000;
const HEAD_BYTES: usize = 13;

#[derive(Debug, Clone)]
pub(super) struct QueueOptions {
    pub(super) bytes: u64,
    pub(super) request_bytes: usize,
    pub(super) request_samples: usize,
    pub(super) keep: Duration,
    pub(super) sync: bool,
}

/// One record, ready to be part of a request.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) seq: Seq,
    pub(super) at: Timestamp,
    pub(super) samples: u32,
    pub(super) body: Arc<[u8]>,
}

/// What is counted, for everybody to read.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) queued_samples: AtomicU64,
    pub(super) queued_bytes: AtomicU64,
    pub(super) dropped_full: AtomicU64,
    /// When the oldest record that waits was committed; 0 when none does.
    pub(super) oldest: AtomicU64,
    /// Whether the last write to the disk failed.
    pub(super) broken: AtomicBool,
}

/// Where it is said what became of a commit.
type Done = oneshot::Sender<Result<(), StoreError>>;

#[derive(Debug)]
enum Call {
    Commit { batch: Batch, done: Done },
    Next { from: Seq, reply: oneshot::Sender<Vec<Record>> },
    Acknowledge { records: Vec<(Seq, u32)> },
    Rewind { reply: oneshot::Sender<Seq> },
    Settle,
    Close,
}

/// The way to the thread.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    calls: mpsc::Sender<Call>,
    pub(super) counts: Arc<Counts>,
    pub(super) progress: watch::Receiver<Progress>,
}

/// How far the queue has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Progress {
    /// The first record that is not safe.
    pub(super) safe: Seq,
    /// The first record that was never acknowledged.
    pub(super) acknowledged: Seq,
    /// Behind the last record with samples.
    pub(super) end: Seq,
}

pub(super) type Shared = Arc<Mutex<Recent>>;

pub(super) fn lock(recent: &Mutex<Recent>) -> std::sync::MutexGuard<'_, Recent> {
    recent.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Thread {
    log: Log,
    _lock: Box<dyn DiskLock>,
    options: QueueOptions,
    clock: Arc<dyn Clock>,
    recent: Shared,
    counts: Arc<Counts>,
    progress: watch::Sender<Progress>,
    /// The newest records, all from `tail_from` on.
    tail: VecDeque<Record>,
    tail_bytes: usize,
    tail_from: Seq,
    /// What part of the log was last read, and its records.
    loaded: (Range<Seq>, VecDeque<Record>),
    /// Until when what was acknowledged, the latest last.
    steps: VecDeque<(Timestamp, Seq)>,
    noted: (Option<Timestamp>, Seq),
    reader: Option<(Seq, oneshot::Sender<Vec<Record>>)>,
}

impl Queue {
    /// Opens the queue in `folder` and starts its thread, which ends after the last `Queue`.
    pub(super) fn open(
        disk: Arc<dyn Disk>,
        folder: &Path,
        options: QueueOptions,
        clock: Arc<dyn Clock>,
        recent: Shared,
    ) -> Result<(Self, JoinHandle<()>), LogError> {
        let io = |action, path: &Path| {
            let path = path.to_owned();
            move |source| LogError::Io { action, path, source }
        };
        disk.create_dir(folder).map_err(io("make", folder))?;
        let lock_file = folder.join("lock");
        let held = disk.lock(&lock_file).map_err(io("lock", &lock_file))?;
        let log_options = LogOptions {
            kind: *b"rmtw",
            segment_bytes: (options.bytes / 32).clamp(64 << 10, 8 << 20),
            ..LogOptions::default()
        };
        let now = clock.now();
        let (mut safe, mut queued) = (1, VecDeque::<(Seq, Timestamp, u64)>::new());
        let (log, _) =
            Log::open::<LogError>(disk, &folder.join("queue"), log_options, |seq, record| {
                if let Some(said) = position(record) {
                    safe = said;
                    while queued.front().is_some_and(|&(seq, ..)| seq < safe) {
                        queued.pop_front();
                    }
                } else if let Some(record) = samples(seq, record) {
                    queued.push_back((seq, record.at, u64::from(record.samples)));
                    // What is damaged in a way that no checksum sees is sent, and judged there.
                    for one in wire::read_write_request(&record.body).unwrap_or_default() {
                        lock(&recent).restore(one, seq, now);
                    }
                }
                Ok(())
            })?;
        lock(&recent).forget_before(safe);
        let safe = queued.front().map_or(log.next_seq(), |&(seq, ..)| seq);
        let end = queued.back().map_or(safe, |&(seq, ..)| seq + 1);
        let counts = Arc::<Counts>::default();
        counts.queued_samples.store(queued.iter().map(|&(.., samples)| samples).sum(), Relaxed);
        counts.queued_bytes.store(log.bytes(), Relaxed);
        let oldest = queued.front().map_or(0, |&(_, at, _)| at.as_millis() as u64);
        counts.oldest.store(oldest, Relaxed);
        // Whether the backend was gone meanwhile, too, nobody knows: what is not safe goes again.
        let (progress, seen) = watch::channel(Progress { safe, acknowledged: safe, end });
        let thread = Thread {
            tail_from: log.next_seq(),
            log,
            _lock: held,
            options,
            clock,
            recent,
            counts: counts.clone(),
            progress,
            tail: VecDeque::new(),
            tail_bytes: 0,
            loaded: (0..0, VecDeque::new()),
            steps: VecDeque::new(),
            noted: (None, safe),
            reader: None,
        };
        let (calls, waiting) = mpsc::channel(CALLS);
        let builder = thread::Builder::new().name("hms-ops-remote".into());
        let thread = builder.spawn(move || thread.run(waiting)).map_err(io("start", folder))?;
        Ok((Self { calls, counts, progress: seen }, thread))
    }

    /// Writes a batch down; resolves when it is as durable as the options say.
    ///
    /// Dropped after it was called, the batch is stored all the same, unless the thread is so far
    /// behind that the batch waits before it.
    pub(super) fn commit(
        &self,
        batch: Batch,
    ) -> impl Future<Output = Result<(), StoreError>> + Send + use<> {
        let (done, answer) = oneshot::channel();
        let early = self.calls.try_send(Call::Commit { batch, done });
        let calls = self.calls.clone();
        async move {
            match early {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(call)) => {
                    calls.send(call).await.map_err(|_| closed())?;
                }
                Err(mpsc::error::TrySendError::Closed(_)) => return Err(closed()),
            }
            answer.await.map_err(|_| closed())?
        }
    }

    /// The records from `from` on that fit into one request; waits until there is one. Empty when the
    /// queue is closed.
    pub(super) async fn next(&self, from: Seq) -> Vec<Record> {
        let (reply, records) = oneshot::channel();
        if self.calls.send(Call::Next { from, reply }).await.is_err() {
            return Vec::new();
        }
        records.await.unwrap_or_default()
    }

    /// Says that the backend has taken these records, or refused them for good.
    pub(super) async fn acknowledge(&self, records: &[Record]) {
        let records = records.iter().map(|record| (record.seq, record.samples)).collect();
        // Closed, it is sent again next time.
        let _ = self.calls.send(Call::Acknowledge { records }).await;
    }

    /// Says that the backend may have lost what is not safe. Gives the first record to send again;
    /// until it is acknowledged anew, no more of them become safe.
    pub(super) async fn rewind(&self) -> Option<Seq> {
        let (reply, safe) = oneshot::channel();
        self.calls.send(Call::Rewind { reply }).await.ok()?;
        safe.await.ok()
    }

    /// Lets the thread end after what was called before.
    pub(super) async fn close(&self) {
        let _ = self.calls.send(Call::Close).await;
    }

    /// Says that the backend was not gone until now, so that what it acknowledged long ago is safe.
    pub(super) async fn settle(&self) {
        let _ = self.calls.send(Call::Settle).await;
    }
}

fn closed() -> StoreError {
    StoreError::Backend("the queue is closed".into())
}

/// The position that a record says, if it is one of those.
fn position(record: &[u8]) -> Option<Seq> {
    match record {
        [b'P', seq @ ..] => Some(Seq::from_le_bytes(seq.try_into().ok()?)),
        _ => None,
    }
}

fn samples(seq: Seq, record: &[u8]) -> Option<Record> {
    let (head, body) = record.split_at_checked(HEAD_BYTES)?;
    let [b'S', head @ ..] = head else { return None };
    let (at, samples) = head.split_first_chunk::<8>()?;
    let at = Timestamp::from_millis(i64::from_le_bytes(*at));
    let samples = u32::from_le_bytes(samples.try_into().ok()?);
    Some(Record { seq, at, samples, body: body.into() })
}

/// Records of what was taken, none much larger than `limit` unless one series is.
fn encode(taken: &[Taken], at: Timestamp, limit: usize) -> Vec<Vec<u8>> {
    let head = |samples: u32| {
        let mut record = vec![b'S'];
        record.extend(at.as_millis().to_le_bytes());
        record.extend(samples.to_le_bytes());
        record
    };
    let (mut records, mut record, mut count) = (Vec::new(), head(0), 0u32);
    let mut series = Vec::new();
    let mut finish = |record: &mut Vec<u8>, count: &mut u32| {
        record[9..HEAD_BYTES].copy_from_slice(&count.to_le_bytes());
        records.push(std::mem::replace(record, head(0)));
        *count = 0;
    };
    for one in taken {
        let mut samples: Vec<Sample> = one.samples.clone();
        samples.sort_by_key(|sample| sample.at);
        let mut exemplars = &one.exemplars[..];
        let runs: Vec<&[Sample]> =
            if samples.is_empty() { vec![&[]] } else { samples.chunks(RUN).collect() };
        for run in runs {
            series.clear();
            wire::put_series(&mut series, &one.labels, run, std::mem::take(&mut exemplars));
            if record.len() > HEAD_BYTES && record.len() + series.len() > limit {
                finish(&mut record, &mut count);
            }
            record.extend_from_slice(&series);
            count += run.len() as u32;
        }
    }
    finish(&mut record, &mut count);
    records
}

impl Thread {
    fn run(mut self, mut calls: mpsc::Receiver<Call>) {
        let mut open = true;
        while open && let Some(call) = calls.blocking_recv() {
            let mut done = Vec::new();
            let mut call = Some(call);
            while let Some(this) = call {
                match this {
                    Call::Commit { batch, done: waits } => done.push((waits, self.write(batch))),
                    Call::Next { from, reply } => self.reader = Some((from, reply)),
                    Call::Acknowledge { records } => self.acknowledge(&records),
                    Call::Rewind { reply } => {
                        self.steps.clear();
                        let _ = reply.send(self.progress.borrow().safe);
                    }
                    Call::Settle => self.settle(),
                    Call::Close => {
                        open = false;
                        break;
                    }
                }
                call = if done.len() < CALLS { calls.try_recv().ok() } else { None };
            }
            self.finish(done);
            self.serve();
        }
        self.note();
    }

    /// Judges a batch, writes it to the log and makes it visible.
    fn write(&mut self, batch: Batch) -> Result<(), StoreError> {
        let now = self.clock.now();
        let shared = self.recent.clone();
        let mut recent = lock(&shared);
        let taken = recent.judge(batch);
        if taken.is_empty() {
            return Ok(());
        }
        let records = encode(&taken, now, self.options.request_bytes);
        let slices: Vec<&[u8]> = records.iter().map(|record| &record[..]).collect();
        let written = self.log.append(&slices, false);
        self.counts.broken.store(written.is_err(), Relaxed);
        let seqs = written.map_err(|error| StoreError::Backend(error.into()))?;
        recent.insert(taken, seqs.end - 1, now);
        drop(recent);
        self.publish(|progress| progress.end = seqs.end);
        for (seq, record) in seqs.zip(&records) {
            let Some(record) = samples(seq, record) else { continue };
            self.counts.queued_samples.fetch_add(u64::from(record.samples), Relaxed);
            let first = record.at.as_millis() as u64;
            let _ = self.counts.oldest.compare_exchange(0, first, Relaxed, Relaxed);
            self.tail_bytes += record.body.len();
            self.tail.push_back(record);
        }
        while self.tail_bytes > TAIL_BYTES {
            self.forget_tail();
        }
        Ok(())
    }

    /// Makes what was written durable, says so, and keeps the queue within its bound.
    fn finish(&mut self, done: Vec<(Done, Result<(), StoreError>)>) {
        if done.is_empty() {
            return;
        }
        let synced = if self.options.sync { self.log.sync() } else { Ok(()) };
        if synced.is_err() {
            self.counts.broken.store(true, Relaxed);
            // They are sent all the same; whoever committed them is told.
            let _ = self.log.take_suspect();
        }
        for (waits, result) in done {
            let result = match &synced {
                Ok(()) => result,
                Err(error) => result.and(Err(StoreError::Backend(error.to_string().into()))),
            };
            // Nobody may wait any more.
            let _ = waits.send(result);
        }
        while self.log.bytes() > self.options.bytes && self.log.segments().len() > 1 {
            if !self.drop_oldest() {
                break;
            }
        }
        self.counts.queued_bytes.store(self.log.bytes(), Relaxed);
    }

    /// Lets the oldest segment go, whether it was sent or not; whether the disk did, too.
    fn drop_oldest(&mut self) -> bool {
        let Progress { safe, acknowledged, .. } = *self.progress.borrow();
        let next = self.log.segments().nth(1).unwrap_or(self.log.next_seq());
        let lost = self.count(acknowledged, next);
        self.counts.dropped_full.fetch_add(lost, Relaxed);
        lower(&self.counts.queued_samples, lost);
        self.publish(|progress| {
            progress.acknowledged = acknowledged.max(next);
            progress.safe = safe.max(next);
        });
        self.remove_safe().is_ok()
    }

    /// Samples in the records of `from..end`.
    fn count(&self, mut from: Seq, end: Seq) -> u64 {
        let mut count = 0;
        while from < end {
            let read = self.log.read_segment::<LogError>(from, |seq, record| {
                if seq < end {
                    count += samples(seq, record).map_or(0, |record| u64::from(record.samples));
                }
                Ok(())
            });
            let Ok(next) = read else { break };
            from = next;
        }
        count
    }

    fn acknowledge(&mut self, records: &[(Seq, u32)]) {
        let Some(&(last, _)) = records.last() else { return };
        let (end, before) = (last + 1, self.progress.borrow().acknowledged);
        let first_time = records.iter().filter(|&&(seq, _)| seq >= before);
        lower(&self.counts.queued_samples, first_time.map(|&(_, n)| u64::from(n)).sum());
        self.publish(|progress| progress.acknowledged = before.max(end));
        // A step counts as of its end, so none is safe too early.
        let now = self.clock.now();
        match self.steps.back_mut() {
            Some((at, last)) if now <= *at => *last = end.max(*last),
            _ => self.steps.push_back((now + self.options.keep / STEPS, end)),
        }
    }

    /// Lets go of what has become safe.
    fn settle(&mut self) {
        let now = self.clock.now();
        let mut safe = self.progress.borrow().safe;
        while let Some(&(at, end)) = self.steps.front()
            && now.since(at) >= self.options.keep
        {
            safe = safe.max(end);
            self.steps.pop_front();
        }
        self.publish(|progress| progress.safe = safe);
        let (noted, at) = self.noted;
        if safe > at && noted.is_none_or(|noted| now < noted || now.since(noted) >= NOTE_PAUSE) {
            self.noted.0 = Some(now);
            self.note();
        }
    }

    /// Writes down what is safe, and removes it.
    fn note(&mut self) {
        let safe = self.progress.borrow().safe;
        if safe <= self.noted.1 {
            return;
        }
        let record = [&b"P"[..], &safe.to_le_bytes()].concat();
        // Not noted or not removed, it is sent again, or tried again with the next.
        if self.log.append(&[&record], false).is_ok() && self.remove_safe().is_ok() {
            self.noted.1 = safe;
            self.counts.queued_bytes.store(self.log.bytes(), Relaxed);
        }
    }

    fn remove_safe(&mut self) -> Result<(), LogError> {
        let safe = self.progress.borrow().safe;
        lock(&self.recent).forget_before(safe);
        while self.tail.front().is_some_and(|record| record.seq < safe) {
            self.forget_tail();
        }
        self.log.remove_before(safe)
    }

    fn forget_tail(&mut self) {
        if let Some(gone) = self.tail.pop_front() {
            self.tail_bytes -= gone.body.len();
            self.tail_from = self.tail_from.max(gone.seq + 1);
        }
    }

    fn publish(&mut self, change: impl FnOnce(&mut Progress)) {
        self.progress.send_if_modified(|progress| {
            let before = *progress;
            change(progress);
            *progress != before
        });
        if self.counts.queued_samples.load(Relaxed) == 0 {
            self.counts.oldest.store(0, Relaxed);
        }
    }

    /// Answers the reader, if there is something for it.
    fn serve(&mut self) {
        let Some((from, reply)) = self.reader.take() else { return };
        let from = from.max(self.progress.borrow().safe);
        let records = self.read(from);
        if records.is_empty() && !reply.is_closed() {
            self.reader = Some((from, reply));
        } else {
            if let Some(first) = records.first()
                && first.seq >= self.progress.borrow().acknowledged
            {
                self.counts.oldest.store(first.at.as_millis() as u64, Relaxed);
            }
            // Whoever no longer waits asks again for the same.
            let _ = reply.send(records);
        }
    }

    /// The records from `from` on that fit into one request.
    fn read(&mut self, mut from: Seq) -> Vec<Record> {
        while from < self.tail_from {
            let (range, records) = &mut self.loaded;
            if !range.contains(&from) {
                records.clear();
                let read = self.log.read_segment::<LogError>(from, |seq, record| {
                    records.extend(samples(seq, record));
                    Ok(())
                });
                // The reader comes again.
                let Ok(end) = read else { return Vec::new() };
                *range = from..end;
            }
            let found = fitting(records, from, &self.options);
            if !found.is_empty() {
                return found;
            }
            from = range.end;
        }
        self.loaded = (0..0, VecDeque::new());
        fitting(&self.tail, from, &self.options)
    }
}

/// Those of `records` from `from` on that fit into one request; the first always does.
fn fitting(records: &VecDeque<Record>, from: Seq, options: &QueueOptions) -> Vec<Record> {
    let start = records.partition_point(|record| record.seq < from);
    let (mut bytes, mut samples) = (0, 0);
    let fit = records.range(start..).enumerate().take_while(|(i, record)| {
        bytes += record.body.len();
        samples += record.samples as usize;
        *i == 0 || (bytes <= options.request_bytes && samples <= options.request_samples)
    });
    fit.map(|(_, record)| record.clone()).collect()
}

fn lower(count: &AtomicU64, by: u64) {
    count.update(Relaxed, Relaxed, |count| count.saturating_sub(by));
}
