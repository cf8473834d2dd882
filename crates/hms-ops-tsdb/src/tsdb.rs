//! The store: opens a folder, and keeps its parts in step.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
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
use crate::compact::in_order;
use crate::error::TsdbError;
use crate::head::{Head, Replay};
use crate::maintain::Bell;
use crate::options::Options;
use crate::record::encode_delete;
use crate::writer::{MAX_RECORD, Shared, Writer};

/// Bytes of log after which the head is written down, so that a replay stays short.
pub(crate) const LOG_BYTES: u64 = 64 << 20;

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
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    pub(crate) options: Options,
    pub(crate) head: Arc<Head>,
    pub(crate) writer: Writer,
    /// Sorted by start.
    pub(crate) blocks: RwLock<Arc<[Arc<Block>]>>,
    /// Held while files come and go.
    pub(crate) maintenance: Mutex<()>,
    pub(crate) bell: Arc<Bell>,
    /// Whether there may be files of blocks that are none of the store's: a call has failed.
    pub(crate) unsure: AtomicBool,
    /// The floor that the last checkpoint has.
    pub(crate) written_floor: AtomicI64,
    /// Why the last maintenance failed.
    pub(crate) trouble: Mutex<Option<Arc<TsdbError>>>,
    /// Pieces that were found damaged when the folder was opened.
    pub(crate) damaged: u64,
    /// Blocks that were left aside since they cannot be read.
    pub(crate) unreadable: Vec<PathBuf>,
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
    /// [`TsdbError::TooFarAhead`], or as the disk says; then nothing is added. What a disk that is
    /// out of order does not let go of, the next change of files removes.
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

    pub(crate) fn change_blocks(&self, change: impl FnOnce(&mut Vec<Arc<Block>>)) {
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
}

pub(crate) fn blocks_dir(dir: &Path) -> PathBuf {
    dir.join("blocks")
}

pub(crate) fn log_dir(dir: &Path) -> PathBuf {
    dir.join("wal")
}

pub(crate) fn log_options() -> LogOptions {
    LogOptions { kind: *b"tsdb", max_record_bytes: MAX_RECORD, ..LogOptions::default() }
}

pub(crate) fn lock_folder(disk: &dyn Disk, dir: &Path) -> Result<Box<dyn DiskLock>, TsdbError> {
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

pub(crate) fn remove_block(disk: &dyn Disk, path: &Path) -> Result<(), TsdbError> {
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

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
