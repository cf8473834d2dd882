//! The store: opens a folder, and keeps its parts in step.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use hms_ops_core::labels::Labels;
use hms_ops_core::matcher::Matcher;
use hms_ops_core::sample::Sample;
use hms_ops_core::time::{TimeRange, Timestamp};
use hms_ops_wal::disk::{Disk, DiskLock, OsDisk};
use hms_ops_wal::log::{Log, LogOptions, Recovery};

use crate::block::{BLOCK, Block, BlockWriter, DELETED, INDEX};
use crate::checkpoint;
use crate::compact::{self, in_order};
use crate::error::TsdbError;
use crate::head::{Head, Replay};
use crate::options::Options;
use crate::record::encode_delete;
use crate::writer::{MAX_RECORD, Shared, Writer};

/// Bytes of log after which the head is written down, so that a replay stays short.
const LOG_BYTES: u64 = 256 << 20;

/// The embedded store.
///
/// One process has a folder open at a time. Dropped, it writes down what waits; [`Tsdb::close`] says
/// whether that went well.
///
/// ```
/// use hms_ops_core::labels::Labels;
/// use hms_ops_core::store::{Store, StoreExt};
/// use hms_ops_core::time::{TimeRange, Timestamp};
/// use hms_ops_tsdb::{Options, Tsdb};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// let store = Tsdb::open(folder.path(), Options::default())?;
/// store.append_one(&Labels::metric("up"), Timestamp::from_millis(1000), 1.0).await?;
/// store.close()?;
///
/// let store = Tsdb::open(folder.path(), Options::default())?;
/// assert_eq!(store.collect(&[], TimeRange::ALL).await?.len(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Tsdb {
    pub(crate) inner: Arc<Inner>,
    maintainer: Mutex<Option<JoinHandle<()>>>,
    lock: Mutex<Option<Box<dyn DiskLock>>>,
}

/// What the store's threads share.
#[derive(Debug)]
pub(crate) struct Inner {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    options: Options,
    pub(crate) head: Arc<Head>,
    pub(crate) writer: Writer,
    /// Sorted by start.
    blocks: RwLock<Arc<[Arc<Block>]>>,
    /// Held while files come and go.
    maintenance: Mutex<()>,
    bell: Arc<Bell>,
    /// Whether there may be files of blocks that are none of the store's: a call has failed.
    unsure: AtomicBool,
    /// The floor that the last checkpoint has.
    written_floor: AtomicI64,
    /// Why the last maintenance failed.
    trouble: Mutex<Option<Arc<TsdbError>>>,
    /// Pieces that were found damaged when the folder was opened.
    damaged: u64,
    /// Blocks that were left aside since they cannot be read.
    unreadable: Vec<PathBuf>,
}

/// Wakes the maintainer.
#[derive(Debug, Default)]
struct Bell {
    rung: Mutex<bool>,
    wake: Condvar,
    closed: AtomicBool,
    /// Newest sample at which something is due.
    due_at: AtomicI64,
    /// Bytes of the head at which something is due.
    due_bytes: AtomicU64,
}

/// What a folder holds, and what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Blocks that can be read.
    pub blocks: u64,
    /// Series, samples: of all blocks and the head together; a series counts in each.
    pub series: u64,
    /// Samples of all blocks and the head.
    pub samples: u64,
    /// Records of the write-ahead log.
    pub records: u64,
    /// What is damaged, a sentence each.
    pub damaged: Vec<String>,
}

impl Tsdb {
    /// Opens a folder, or makes one.
    ///
    /// # Errors
    ///
    /// [`TsdbError::InUse`], [`TsdbError::UnknownFormat`], or as the disk says. Damage is no error:
    /// what can be read is served, the rest is counted and stays where it is.
    pub fn open(dir: impl AsRef<Path>, options: Options) -> Result<Self, TsdbError> {
        Self::open_on(Arc::new(OsDisk), dir, options)
    }

    /// Opens a folder on a disk of the caller's.
    ///
    /// # Errors
    ///
    /// As [`Tsdb::open`].
    pub fn open_on(
        disk: Arc<dyn Disk>,
        dir: impl AsRef<Path>,
        options: Options,
    ) -> Result<Self, TsdbError> {
        let dir = dir.as_ref().to_owned();
        let folder = blocks_dir(&dir);
        disk.create_dir(&folder).map_err(TsdbError::io("make", &folder))?;
        let lock = lock_folder(&*disk, &dir)?;
        if let Some(above) = dir.parent().filter(|above| !above.as_os_str().is_empty()) {
            // The folder may be new.
            disk.sync_dir(above).map_err(TsdbError::io("sync", above))?;
        }
        // A process that was killed has left names that are not durable. What is seen now is built on.
        for dir in [&dir, &folder] {
            disk.sync_dir(dir).map_err(TsdbError::io("sync", dir))?;
        }

        let (blocks, unreadable) = open_blocks(&*disk, &folder)?;
        let mut head = Head::new(&options);
        head.set_floor(floor_of(&blocks));
        let mut replay = Replay::new(head);
        let mut damaged = 0;
        let mut count = |recovery: &Recovery| {
            damaged += recovery.damaged_stretches;
            for damage in &recovery.damaged {
                tracing::error!(%damage, "a part of the log is damaged; the rest is read");
            }
        };
        let mut first_seq = 1;
        if let Some((path, seq)) = checkpoint::newest(&*disk, &dir)? {
            count(&checkpoint::read(&*disk, &path, &mut replay)?);
            first_seq = seq;
        }
        let log_options = LogOptions { first_seq, ..log_options() };
        let (log, recovery) =
            Log::open(disk.clone(), &log_dir(&dir), log_options, |seq, record| {
                if seq >= first_seq {
                    replay.take(record);
                }
                Ok::<_, TsdbError>(())
            })?;
        count(&recovery);
        let written_floor = replay.written_floor();
        let (head, counts) = replay.finish();
        if counts.orphans > 0 || counts.unreadable > 0 {
            damaged += counts.orphans + counts.unreadable;
            tracing::error!(
                samples = counts.orphans,
                records = counts.unreadable,
                "the log has samples of series that it does not define, or records that are none"
            );
        }

        let head = Arc::new(head);
        let bell = Arc::new(Bell::default());
        bell.due_at.store(i64::MIN, Relaxed);
        bell.due_bytes.store(options.memory / 4 * 3, Relaxed);
        let after = {
            let (head, bell) = (head.clone(), bell.clone());
            move |writer: &Shared| {
                if bell.is_due(&head) || writer.wants_checkpoint(LOG_BYTES) {
                    bell.ring();
                }
            }
        };
        let writer = Writer::start(head.clone(), log, options.durability, after);
        let writer = writer.map_err(TsdbError::io("start a thread for", &dir))?;
        let inner = Arc::new(Inner {
            disk,
            options,
            head,
            writer,
            blocks: RwLock::new(blocks.into()),
            maintenance: Mutex::default(),
            bell,
            unsure: AtomicBool::new(false),
            written_floor: AtomicI64::new(written_floor.as_millis()),
            trouble: Mutex::default(),
            damaged,
            unreadable,
            dir: dir.clone(),
        });
        let maintainer = if inner.options.background {
            let inner = inner.clone();
            let thread = thread::Builder::new().name("hms-ops-maintain".to_owned());
            let thread = thread.spawn(move || inner.maintain_until_closed());
            Some(thread.map_err(TsdbError::io("start a thread for", &dir))?)
        } else {
            None
        };
        Ok(Self { inner, maintainer: Mutex::new(maintainer), lock: Mutex::new(Some(lock)) })
    }

    /// Whether a process has the folder open now.
    pub fn is_in_use(dir: impl AsRef<Path>) -> bool {
        // A folder without the file was never open.
        let path = dir.as_ref().join("lock");
        let held = path.exists().then(|| OsDisk.lock(&path));
        held.is_some_and(|held| held.is_err_and(|e| e.kind() == io::ErrorKind::WouldBlock))
    }

    /// Does what is due: seals what the head has collected, drops what is too old, makes long blocks
    /// of short ones. Blocks until that is done; a thread of the store's own calls it where
    /// [`Options::background`] says so.
    ///
    /// # Errors
    ///
    /// [`TsdbError`]; nothing is lost, and the next call tries again.
    pub fn maintain(&self) -> Result<(), TsdbError> {
        self.inner.maintain()
    }

    /// Seals everything that the head holds into a block. Samples that are older than the newest one
    /// are refused from then on.
    ///
    /// # Errors
    ///
    /// As [`Tsdb::maintain`].
    pub fn seal(&self) -> Result<(), TsdbError> {
        let _one = self.inner.changing()?;
        let Some(newest) = self.inner.head.newest() else { return Ok(()) };
        self.inner.or_unsure(self.inner.seal(newest + Duration::from_millis(1)))
    }

    /// Deletes samples in `range` of the series that all `matchers` accept. They are no longer
    /// served when this returns; their bytes are gone after the next [`Tsdb::maintain`].
    ///
    /// # Errors
    ///
    /// As the disk says; then a part may be deleted.
    pub fn delete(&self, matchers: &[Matcher], range: TimeRange) -> Result<(), TsdbError> {
        let inner = &self.inner;
        let _one = inner.changing()?;
        {
            let mut log = inner.writer.log();
            let ids = inner.head.ids(matchers);
            if !ids.is_empty() {
                log.append(&[&encode_delete(&ids, range)], true)?;
                inner.head.delete(&ids, range);
            }
        }
        for block in inner.blocks().iter() {
            block.delete(&*inner.disk, matchers, range)?;
        }
        // Or the log would bring back what is deleted from a block, once that block is gone.
        inner.write_floor()?;
        inner.bell.ring();
        Ok(())
    }

    /// Puts a copy of the store into `to`, a folder that does not exist yet. Files are shared with
    /// the store where the file system can do that. It has everything that was committed when this
    /// was called, and can be opened as a store.
    ///
    /// # Errors
    ///
    /// As the disk says.
    pub fn snapshot(&self, to: &Path) -> Result<(), TsdbError> {
        self.inner.snapshot(to)
    }

    /// Adds history: series in the order of their labels, each with samples in the order of their
    /// time, which may be older than anything there is. Where a sample is there already, it stays.
    ///
    /// # Errors
    ///
    /// [`TsdbError::TooFarAhead`], or as the disk says; then nothing is added.
    pub fn import(
        &self,
        series: impl IntoIterator<Item = (Labels, Vec<Sample>)>,
    ) -> Result<(), TsdbError> {
        let inner = &self.inner;
        let _one = inner.changing()?;
        inner.or_unsure(inner.import(series))
    }

    /// Ends the store: what waits is written and synced, its threads are joined, the folder is free.
    /// What is committed later is refused; what is there can still be read.
    ///
    /// # Errors
    ///
    /// [`TsdbError::Log`] when the last samples may not be on the disk.
    pub fn close(&self) -> Result<(), TsdbError> {
        self.inner.bell.closed.store(true, Relaxed);
        self.inner.bell.ring();
        let closed = self.inner.writer.close();
        if let Some(thread) = lock(&self.maintainer).take() {
            // An error is a panic, which has been reported where it happened.
            let _ = thread.join();
        }
        // Whoever changes files comes to an end first.
        let _last = lock(&self.inner.maintenance);
        lock(&self.lock).take();
        closed
    }

    /// Reads everything in a folder and says what is damaged; changes nothing. The folder must not
    /// be in use.
    ///
    /// # Errors
    ///
    /// As [`Tsdb::open`].
    pub fn verify(dir: impl AsRef<Path>) -> Result<Report, TsdbError> {
        Self::verify_on(&OsDisk, dir.as_ref())
    }

    /// As [`Tsdb::verify`], on a disk of the caller's.
    ///
    /// # Errors
    ///
    /// As [`Tsdb::open`].
    pub fn verify_on(disk: &dyn Disk, dir: &Path) -> Result<Report, TsdbError> {
        disk.list(dir).map_err(TsdbError::io("list", dir))?;
        let _lock = lock_folder(disk, dir)?;
        let mut report = Report::default();
        let folder = blocks_dir(dir);
        for name in disk.list(&folder).map_err(TsdbError::io("list", &folder))? {
            if !name.ends_with(&format!(".{BLOCK}")) {
                continue;
            }
            match Block::open(disk, &folder.join(name)) {
                Ok(block) => {
                    report.blocks += 1;
                    report.series += u64::from(block.len());
                    report.samples += block.meta.samples;
                    report.damaged.extend(block.verify());
                }
                Err(error @ TsdbError::Damaged { .. }) => report.damaged.push(error.to_string()),
                Err(error) => return Err(error),
            }
        }
        let mut replay = Replay::new(Head::new(&Options::default()));
        let mut logs = Vec::new();
        let mut first_seq = 1;
        if let Some((path, seq)) = checkpoint::list(disk, dir)?.pop() {
            logs.push(checkpoint::read(disk, &path, &mut replay)?);
            first_seq = seq;
        }
        if disk.list(&log_dir(dir)).is_ok() {
            logs.push(Log::read(disk, &log_dir(dir), &log_options(), |seq, record| {
                if seq >= first_seq {
                    replay.take(record);
                }
                Ok::<_, TsdbError>(())
            })?);
        }
        for log in logs {
            report.records += log.records;
            report.damaged.extend(log.damaged.iter().map(ToString::to_string));
            let unlisted = log.damaged_stretches - log.damaged.len() as u64;
            if unlisted > 0 {
                report.damaged.push(format!("{unlisted} more places of the log"));
            }
        }
        let (head, counts) = replay.finish();
        report.series += head.counters.series.load(Relaxed);
        report.samples += head.counters.samples.load(Relaxed);
        if counts.orphans > 0 {
            report.damaged.push(format!("{} samples of unknown series", counts.orphans));
        }
        if counts.unreadable > 0 {
            report.damaged.push(format!("{} records that are none", counts.unreadable));
        }
        Ok(report)
    }
}

impl Drop for Tsdb {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!(%error, "the store did not end well");
        }
    }
}

impl Inner {
    pub(crate) fn blocks(&self) -> Arc<[Arc<Block>]> {
        self.blocks.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// One change of files at a time, and none when the folder may be another's.
    fn changing(&self) -> Result<MutexGuard<'_, ()>, TsdbError> {
        let one = lock(&self.maintenance);
        if self.bell.closed.load(Relaxed) {
            return Err(TsdbError::Closed);
        }
        if self.unsure.load(Relaxed) {
            self.sweep()?;
            self.unsure.store(false, Relaxed);
        }
        Ok(one)
    }

    /// Removes what is left over when something has failed; or remembers to do so.
    fn or_unsure<T>(&self, done: Result<T, TsdbError>) -> Result<T, TsdbError> {
        if done.is_err() {
            self.unsure.store(self.sweep().is_err(), Relaxed);
        }
        done
    }

    /// Removes the blocks that are none of the store's: they would be, when it is opened.
    fn sweep(&self) -> Result<(), TsdbError> {
        let (folder, blocks) = (blocks_dir(&self.dir), self.blocks());
        for name in self.disk.list(&folder).map_err(TsdbError::io("list", &folder))? {
            let path = folder.join(&name).with_extension(BLOCK);
            let known = blocks.iter().any(|block| block.path == path);
            if !known && !self.unreadable.contains(&path) && !name.ends_with(".tmp") {
                remove_block(&*self.disk, &path)?;
            }
        }
        self.disk.sync_dir(&folder).map_err(TsdbError::io("sync", &folder))
    }

    /// No sample may be later.
    pub(crate) fn latest(&self) -> Timestamp {
        self.options.clock.now() + self.options.ahead
    }

    /// Why maintenance fails.
    pub(crate) fn trouble(&self) -> Option<Arc<TsdbError>> {
        lock(&self.trouble).clone()
    }

    /// Pieces found damaged, since the folder was opened and then.
    pub(crate) fn damaged(&self) -> u64 {
        let blocks: u64 = self.blocks().iter().map(|block| block.damaged()).sum();
        self.damaged + self.unreadable.len() as u64 + blocks
    }

    /// Bytes of all files.
    pub(crate) fn bytes_on_disk(&self) -> u64 {
        let blocks: u64 = self.blocks().iter().map(|block| block.bytes).sum();
        blocks + self.writer.log_bytes()
    }

    fn maintain_until_closed(&self) {
        while self.bell.wait() {
            let failed = self.maintain().err().map(Arc::new);
            let mut trouble = lock(&self.trouble);
            if let Some(error) = &failed {
                tracing::error!(%error, "the head cannot be sealed; the next try is in a while");
                // Not with each commit.
                let newest = self.head.newest().unwrap_or(Timestamp::MIN);
                self.bell.due_at.store((newest + Duration::from_secs(60)).as_millis(), Relaxed);
                let bytes = self.head.counters.bytes.load(Relaxed);
                self.bell.due_bytes.store(bytes + bytes / 8, Relaxed);
            }
            *trouble = failed;
        }
    }

    fn maintain(&self) -> Result<(), TsdbError> {
        let _one = self.changing()?;
        self.or_unsure(self.maintain_alone())
    }

    fn maintain_alone(&self) -> Result<(), TsdbError> {
        let closed = || self.bell.closed.load(Relaxed);
        while !closed()
            && let Some(floor) = self.due_floor()
        {
            self.seal(floor)?;
        }
        // Before a block can go that says what is older.
        self.write_floor()?;
        self.drop_old()?;
        while !closed()
            && let Some(group) = compact::due(&self.blocks(), self.options.block, self.head.floor())
        {
            match compact::merge(&*self.disk, &blocks_dir(&self.dir), &group) {
                Ok(path) => self.replace(&group, path.as_deref())?,
                // Now known as damaged, and no longer due.
                Err(TsdbError::Damaged { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let suspect = self.writer.take_suspect();
        let log_bytes = self.writer.log_bytes();
        if (suspect || log_bytes > LOG_BYTES)
            && let Err(error) = self.checkpoint()
        {
            if suspect {
                self.writer.put_back_suspect();
            }
            return Err(error);
        }
        self.plan_next();
        Ok(())
    }

    /// Up to where the head is to be sealed, if it is due.
    fn due_floor(&self) -> Option<Timestamp> {
        let (start, newest) = (self.head.start()?, self.head.newest()?);
        let floor = self.head.floor();
        if start < floor {
            // A try before has failed.
            return Some(floor);
        }
        let (_, end) = compact::range_of(start, self.options.block);
        if end > start && newest >= end + self.lag() {
            return Some(end);
        }
        let full = self.head.counters.bytes.load(Relaxed) > self.options.memory / 4 * 3;
        let early = newest - self.options.out_of_order_window;
        (full && early > start).then_some(early)
    }

    /// How far the newest sample must be past a range before it is sealed.
    fn lag(&self) -> Duration {
        self.options.out_of_order_window.max(self.options.block / 4)
    }

    /// Says when the maintainer is to be woken.
    fn plan_next(&self) {
        let due = self.head.start().map_or(Timestamp::MIN, |start| {
            compact::range_of(start, self.options.block).1 + self.lag()
        });
        self.bell.due_at.store(due.as_millis(), Relaxed);
        let bytes = self.head.counters.bytes.load(Relaxed);
        // Where nothing more can be sealed, not with each commit.
        let due = (self.options.memory / 4 * 3).max(bytes + bytes / 8);
        self.bell.due_bytes.store(due, Relaxed);
    }

    /// Makes a block of what is older than `floor`.
    fn seal(&self, floor: Timestamp) -> Result<(), TsdbError> {
        self.head.raise_floor(floor);
        let sealed = TimeRange::new(Timestamp::MIN, floor - Duration::from_millis(1));
        let shares = self.head.shares(sealed);
        let mut series: Vec<_> = shares
            .flatten()
            .filter(|(_, _, runs)| !runs.chunks.is_empty() || !runs.late.is_empty())
            .map(|(_, labels, runs)| (labels, runs))
            .collect();
        series.sort_by(|a, b| a.0.cmp(&b.0));
        let folder = blocks_dir(&self.dir);
        let mut writer = BlockWriter::new(&*self.disk, &folder)?;
        let mut samples = Vec::new();
        for (labels, runs) in &series {
            samples.clear();
            if let Err(error) = runs.read(sealed, &mut samples) {
                tracing::error!(%labels, %error, "a chunk in memory is damaged");
            }
            writer.add(labels, &samples)?;
        }
        drop(series);
        let path = writer.finish(floor, Vec::new())?;
        let block = path.map(|path| Block::open(&*self.disk, &path)).transpose()?;
        self.head.truncate(floor, || {
            self.change_blocks(|blocks| blocks.extend(block.map(Arc::new)));
        });
        self.checkpoint()
    }

    /// Writes the head down, and drops the log before it.
    fn checkpoint(&self) -> Result<(), TsdbError> {
        let seq = self.writer.rotate_log()?;
        let floor = self.head.floor();
        checkpoint::write(&self.disk, &self.dir, &self.head, seq)?;
        self.written_floor.fetch_max(floor.as_millis(), Relaxed);
        self.writer.drop_log_before(seq)
    }

    /// Sees to it that a checkpoint says what is in blocks.
    fn write_floor(&self) -> Result<(), TsdbError> {
        if self.head.floor().as_millis() > self.written_floor.load(Relaxed) {
            self.checkpoint()?;
        }
        Ok(())
    }

    /// Drops blocks that are too old, or too many.
    fn drop_old(&self) -> Result<(), TsdbError> {
        let blocks = self.blocks();
        let Some(newest) = self.head.newest().max(blocks.iter().map(|b| b.meta.end).max()) else {
            return Ok(());
        };
        let oldest = newest - self.options.retention;
        let mut left: u64 = blocks.iter().map(|block| block.bytes).sum();
        let limit = self.options.retention_bytes.unwrap_or(u64::MAX);
        let mut by_age: Vec<_> = blocks.iter().collect();
        by_age.sort_by_key(|block| block.meta.end);
        for block in by_age {
            if block.meta.end < oldest || left > limit {
                left -= block.bytes;
                self.replace(std::slice::from_ref(block), None)?;
            }
        }
        Ok(())
    }

    /// Puts one block in the place of others.
    fn replace(&self, gone: &[Arc<Block>], path: Option<&Path>) -> Result<(), TsdbError> {
        let block = path.map(|path| Block::open(&*self.disk, path)).transpose()?;
        self.change_blocks(|blocks| {
            blocks.retain(|block| !gone.iter().any(|gone| gone.path == block.path));
            blocks.extend(block.map(Arc::new));
        });
        for block in gone {
            remove_block(&*self.disk, &block.path)?;
        }
        let folder = blocks_dir(&self.dir);
        self.disk.sync_dir(&folder).map_err(TsdbError::io("sync", &folder))
    }

    fn change_blocks(&self, change: impl FnOnce(&mut Vec<Arc<Block>>)) {
        let mut blocks = self.blocks.write().unwrap_or_else(PoisonError::into_inner);
        let mut changed = blocks.to_vec();
        change(&mut changed);
        changed.sort_by_key(|block| block.meta.start);
        *blocks = changed.into();
    }

    fn import(
        &self,
        series: impl IntoIterator<Item = (Labels, Vec<Sample>)>,
    ) -> Result<(), TsdbError> {
        let (folder, latest) = (blocks_dir(&self.dir), self.latest());
        let mut writer = BlockWriter::new(&*self.disk, &folder)?;
        for (labels, mut samples) in series {
            in_order(&mut samples);
            if let Some(at) = samples.last().map(|last| last.at).filter(|at| *at > latest) {
                return Err(TsdbError::TooFarAhead { labels, at });
            }
            writer.add(&labels, &samples)?;
        }
        if let Some(path) = writer.finish(Timestamp::MIN, Vec::new())? {
            let block = Arc::new(Block::open(&*self.disk, &path)?);
            self.change_blocks(|blocks| blocks.push(block));
        }
        Ok(())
    }

    fn snapshot(&self, to: &Path) -> Result<(), TsdbError> {
        let _one = self.changing()?;
        if self.disk.list(to).is_ok() {
            let source = io::ErrorKind::AlreadyExists.into();
            return Err(TsdbError::io("make", to)(source));
        }
        let taken = self.take_snapshot(to);
        if taken.is_err() {
            // A half would pass for a whole; what cannot be removed is named by the next try.
            let _ = self.disk.remove_dir(to);
        }
        taken
    }

    fn take_snapshot(&self, to: &Path) -> Result<(), TsdbError> {
        self.checkpoint()?;
        let folder = blocks_dir(to);
        self.disk.create_dir(&folder).map_err(TsdbError::io("make", &folder))?;
        for block in self.blocks().iter() {
            for extension in [BLOCK, INDEX, DELETED] {
                let file = block.path.with_extension(extension);
                self.link(&file, &folder, extension == BLOCK)?;
            }
        }
        let Some((written, _)) = checkpoint::list(&*self.disk, &self.dir)?.pop() else {
            return Ok(());
        };
        let copy = to.join(written.file_name().unwrap_or_default());
        self.disk.create_dir(&copy).map_err(TsdbError::io("make", &copy))?;
        for name in self.disk.list(&written).map_err(TsdbError::io("list", &written))? {
            self.link(&written.join(name), &copy, true)?;
        }
        let above = to.parent().filter(|above| !above.as_os_str().is_empty());
        for dir in [&folder, &copy, to, above.unwrap_or(Path::new("."))] {
            self.disk.sync_dir(dir).map_err(TsdbError::io("sync", dir))?;
        }
        Ok(())
    }

    /// Gives a file a second name in `dir`, or copies it where that cannot be.
    fn link(&self, file: &Path, dir: &Path, required: bool) -> Result<(), TsdbError> {
        use hms_ops_wal::disk::DiskFileExt;

        let to = dir.join(file.file_name().unwrap_or_default());
        match self.disk.hard_link(file, &to) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !required => return Ok(()),
            Err(_) => {}
        }
        let content = self.disk.read(file).map_err(TsdbError::io("read", file))?;
        let copied = self.disk.create(&to).and_then(|mut copy| {
            copy.write_all(&content)?;
            copy.sync()
        });
        copied.map_err(TsdbError::io("write", &to))
    }
}

impl Bell {
    fn ring(&self) {
        *lock(&self.rung) = true;
        self.wake.notify_all();
    }

    fn is_due(&self, head: &Head) -> bool {
        let newest = head.newest().map_or(i64::MIN, Timestamp::as_millis);
        let bytes = head.counters.bytes.load(Relaxed);
        newest >= self.due_at.load(Relaxed) || bytes > self.due_bytes.load(Relaxed)
    }

    /// Waits until it is rung; `false` at the end.
    fn wait(&self) -> bool {
        let mut rung = lock(&self.rung);
        while !*rung {
            rung = self.wake.wait(rung).unwrap_or_else(PoisonError::into_inner);
        }
        *rung = false;
        !self.closed.load(Relaxed)
    }
}

fn blocks_dir(dir: &Path) -> PathBuf {
    dir.join("blocks")
}

fn log_dir(dir: &Path) -> PathBuf {
    dir.join("wal")
}

fn log_options() -> LogOptions {
    LogOptions { kind: *b"tsdb", max_record_bytes: MAX_RECORD, ..LogOptions::default() }
}

fn lock_folder(disk: &dyn Disk, dir: &Path) -> Result<Box<dyn DiskLock>, TsdbError> {
    let path = dir.join("lock");
    disk.lock(&path).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => TsdbError::InUse { folder: dir.to_owned() },
        _ => TsdbError::io("lock", &path)(error),
    })
}

/// What is older than this is in blocks.
fn floor_of(blocks: &[Arc<Block>]) -> Timestamp {
    blocks.iter().map(|block| block.meta.floor).max().unwrap_or(Timestamp::MIN)
}

/// Opens all blocks, sorted by start, and finishes what was under way; says which are unreadable.
fn open_blocks(
    disk: &dyn Disk,
    folder: &Path,
) -> Result<(Vec<Arc<Block>>, Vec<PathBuf>), TsdbError> {
    let names = disk.list(folder).map_err(TsdbError::io("list", folder))?;
    let (mut blocks, mut unreadable) = (Vec::new(), Vec::new());
    for name in &names {
        let path = folder.join(name);
        let of_block = |name: &str| names.iter().any(|other| other == name);
        match name.rsplit_once('.') {
            Some((_, BLOCK)) => match Block::open(disk, &path) {
                Ok(block) => blocks.push(Arc::new(block)),
                Err(error @ TsdbError::Damaged { .. }) => {
                    tracing::error!(%error, "the block is left aside");
                    unreadable.push(path);
                }
                Err(error) => return Err(error),
            },
            Some((stem, INDEX | DELETED)) if of_block(&format!("{stem}.{BLOCK}")) => {}
            Some((_, INDEX | DELETED | "tmp" | "deleted-tmp")) => {
                disk.remove(&path).map_err(TsdbError::io("remove", &path))?;
            }
            _ => {}
        }
    }
    let parents: Vec<String> = blocks.iter().flat_map(|b| b.meta.parents.clone()).collect();
    let is_parent = |block: &mut Arc<Block>| parents.contains(&block.name());
    for parent in blocks.extract_if(.., is_parent) {
        remove_block(disk, &parent.path)?;
    }
    blocks.sort_by_key(|block| block.meta.start);
    Ok((blocks, unreadable))
}

fn remove_block(disk: &dyn Disk, path: &Path) -> Result<(), TsdbError> {
    let remove = |extension| {
        let path = path.with_extension(extension);
        match disk.remove(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(TsdbError::io("remove", &path)(error))
            }
            _ => Ok(()),
        }
    };
    remove(BLOCK)?;
    // A block that comes back with the power, must not do so without what is deleted from it.
    let folder = path.parent().unwrap_or(path);
    disk.sync_dir(folder).map_err(TsdbError::io("sync", folder))?;
    remove(INDEX)?;
    remove(DELETED)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
