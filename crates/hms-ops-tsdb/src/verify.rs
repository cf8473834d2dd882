//! Verification: reads everything in a folder and changes nothing.

use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;

use hms_ops_wal::disk::{Disk, OsDisk};
use hms_ops_wal::log::Log;

use crate::block::{BLOCK, Block};
use crate::checkpoint;
use crate::error::TsdbError;
use crate::head::{Head, Replay};
use crate::options::Options;
use crate::tsdb::{Tsdb, blocks_dir, lock_folder, log_dir, log_options};

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
