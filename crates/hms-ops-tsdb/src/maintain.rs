//! Maintenance: seals what the head has collected, makes long blocks of short ones, and drops what
//! is too old.
//!
//! Whoever changes files holds [`Inner::changing`]. A call that fails leaves the store as it was: what
//! it has left on the disk is swept before anything else is changed.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hms_ops_core::time::{TimeRange, Timestamp};

use crate::block::{BLOCK, Block, BlockWriter};
use crate::checkpoint;
use crate::compact;
use crate::error::TsdbError;
use crate::head::Head;
use crate::tsdb::{Inner, LOG_BYTES, blocks_dir, lock, remove_block};

/// Wakes the maintainer.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    rung: Mutex<bool>,
    wake: Condvar,
    pub(crate) closed: AtomicBool,
    /// Newest sample at which something is due.
    pub(crate) due_at: AtomicI64,
    /// Bytes of the head at which something is due.
    pub(crate) due_bytes: AtomicU64,
}

impl Inner {
    /// One change of files at a time, and none when the folder may be another's.
    pub(crate) fn changing(&self) -> Result<MutexGuard<'_, ()>, TsdbError> {
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
    pub(crate) fn or_unsure<T>(&self, done: Result<T, TsdbError>) -> Result<T, TsdbError> {
        if done.is_err() {
            self.unsure.store(self.sweep().is_err(), Relaxed);
        }
        done
    }

    /// Removes the blocks that are none of the store's: they would be, when it is opened.
    fn sweep(&self) -> Result<(), TsdbError> {
        let (folder, blocks) = (blocks_dir(&self.dir), self.blocks());
        for name in self.disk.list(&folder).map_err(TsdbError::io("list", &folder))? {
            if name.ends_with(".tmp") {
                let path = folder.join(&name);
                self.disk.remove(&path).map_err(TsdbError::io("remove", &path))?;
                continue;
            }
            let path = folder.join(&name).with_extension(BLOCK);
            let known = blocks.iter().any(|block| block.path == path);
            if !known && !self.unreadable.contains(&path) {
                remove_block(&*self.disk, &path)?;
            }
        }
        self.disk.sync_dir(&folder).map_err(TsdbError::io("sync", &folder))
    }

    pub(crate) fn maintain_until_closed(&self) {
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

    pub(crate) fn maintain(&self) -> Result<(), TsdbError> {
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
        let early = newest - self.late();
        (full && early > start).then_some(early)
    }

    /// How far the newest sample must be past a range before it is sealed.
    fn lag(&self) -> Duration {
        self.late().max(self.options.block / 4)
    }

    /// How much older than the newest sample of all one may be that is to be taken: it may be late,
    /// or the newest one ahead of the clock.
    fn late(&self) -> Duration {
        const ENOUGH: Duration = Duration::from_secs(3600);
        self.options.out_of_order_window.max(self.options.ahead.min(ENOUGH))
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
    pub(crate) fn seal(&self, floor: Timestamp) -> Result<(), TsdbError> {
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
    pub(crate) fn checkpoint(&self) -> Result<(), TsdbError> {
        let seq = self.writer.rotate_log()?;
        let floor = self.head.floor();
        checkpoint::write(&self.disk, &self.dir, &self.head, seq)?;
        self.written_floor.fetch_max(floor.as_millis(), Relaxed);
        self.writer.drop_log_before(seq)
    }

    /// Sees to it that a checkpoint says what is in blocks.
    pub(crate) fn write_floor(&self) -> Result<(), TsdbError> {
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
}

impl Bell {
    pub(crate) fn ring(&self) {
        *lock(&self.rung) = true;
        self.wake.notify_all();
    }

    pub(crate) fn is_due(&self, head: &Head) -> bool {
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
