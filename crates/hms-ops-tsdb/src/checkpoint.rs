//! Checkpoints: the head as a log of its own, so that the write-ahead log before it can go.
//!
//! A checkpoint is written while samples flow. It has everything that was in the log when it began,
//! and possibly more; what follows it in the log changes nothing where it is there already.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hms_ops_core::labels::Labels;
use hms_ops_core::time::TimeRange;
use hms_ops_wal::disk::Disk;
use hms_ops_wal::log::{Log, LogError, LogOptions, Recovery, Seq};

use crate::error::TsdbError;
use crate::head::series::Runs;
use crate::head::{Head, Replay};
use crate::record::{SeriesId, encode_chunk, encode_exemplars, encode_floor};
use crate::writer::definitions;

const PREFIX: &str = "checkpoint-";
const TEMPORARY: &str = "checkpoint.tmp";
/// Bytes that are collected before they are written.
const BUFFER: usize = 1 << 20;

fn options() -> LogOptions {
    LogOptions { kind: *b"chkp", ..LogOptions::default() }
}

/// The newest checkpoint in `dir`: its folder, and the first record that it may lack. Older ones and
/// unfinished ones are removed.
pub(crate) fn newest(disk: &dyn Disk, dir: &Path) -> Result<Option<(PathBuf, Seq)>, TsdbError> {
    let mut found = list(disk, dir)?;
    let newest = found.pop();
    for (old, ..) in found {
        disk.remove_dir(&old).map_err(TsdbError::io("remove", &old))?;
    }
    let unfinished = dir.join(TEMPORARY);
    if disk.list(&unfinished).is_ok() {
        disk.remove_dir(&unfinished).map_err(TsdbError::io("remove", &unfinished))?;
    }
    Ok(newest)
}

/// All finished checkpoints, oldest first. Their names say the first record that they may lack, and
/// count those for which that is the same.
pub(crate) fn list(disk: &dyn Disk, dir: &Path) -> Result<Vec<(PathBuf, Seq)>, TsdbError> {
    let names = disk.list(dir).map_err(TsdbError::io("list", dir))?;
    // Sorted by name is sorted by number: the numbers are padded.
    let numbered = names.iter().filter_map(|name| {
        let (seq, _) = name.strip_prefix(PREFIX)?.split_once('-')?;
        Some((dir.join(name), seq.parse().ok()?))
    });
    Ok(numbered.collect())
}

/// Hands a checkpoint to `replay`.
pub(crate) fn read(
    disk: &dyn Disk,
    path: &Path,
    replay: &mut Replay,
) -> Result<Recovery, TsdbError> {
    let mut recovery = Log::read(disk, path, &options(), |_, record| {
        replay.take(record);
        Ok::<_, TsdbError>(())
    })?;
    // It was whole when it got its name: what is missing at its end was not torn by a crash.
    recovery.damaged_stretches += u64::from(recovery.torn_bytes > 0);
    Ok(recovery)
}

/// Writes a checkpoint of `head`, which has all records before `seq`; durable when this returns.
pub(crate) fn write(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    head: &Head,
    seq: Seq,
) -> Result<(), TsdbError> {
    let temporary = dir.join(TEMPORARY);
    if disk.list(&temporary).is_ok() {
        disk.remove_dir(&temporary).map_err(TsdbError::io("remove", &temporary))?;
    }
    let ignore = |_, _: &[u8]| Ok::<_, LogError>(());
    let (log, _) = Log::open(disk.clone(), &temporary, options(), ignore)?;
    let mut out = Out { log, records: Vec::new(), bytes: 0 };
    out.add(encode_floor(head.floor()))?;
    for share in head.shares(TimeRange::ALL) {
        out.series(share)?;
    }
    // At most 1 MiB each, so that a record can hold them.
    for some in head.exemplars().chunks(32) {
        out.add(encode_exemplars(some))?;
    }
    out.finish()?;
    let older = list(&**disk, dir)?;
    let name = |number: u32| dir.join(format!("{PREFIX}{seq:020}-{number:010}"));
    let newer = |path: &PathBuf| older.iter().all(|(other, _)| other < path);
    let path = (0..=9999).map(name).find(newer).unwrap_or_else(|| name(0));
    disk.rename(&temporary, &path).map_err(TsdbError::io("rename", &temporary))?;
    disk.sync_dir(dir).map_err(TsdbError::io("sync", dir))?;
    for (old, _) in older {
        disk.remove_dir(&old).map_err(TsdbError::io("remove", &old))?;
    }
    Ok(())
}

/// Records on their way into a checkpoint.
struct Out {
    log: Log,
    records: Vec<Vec<u8>>,
    bytes: usize,
}

impl Out {
    fn series(&mut self, share: Vec<(SeriesId, Labels, Runs)>) -> Result<(), TsdbError> {
        let names: Vec<_> = share.iter().map(|(id, labels, _)| (*id, labels.clone())).collect();
        // Twice, as in the log.
        for record in definitions(&names).chain(definitions(&names)) {
            self.add(record)?;
        }
        for (id, _, runs) in share {
            // By the time they are read, late samples may be later than the window allows.
            let runs = if runs.late.is_empty() { runs } else { runs.in_order() };
            for chunk in &runs.chunks {
                self.add(encode_chunk(id, chunk.histograms, chunk.count, &chunk.bytes))?;
            }
        }
        Ok(())
    }

    fn add(&mut self, record: Vec<u8>) -> Result<(), TsdbError> {
        self.bytes += record.len();
        self.records.push(record);
        if self.bytes >= BUFFER { self.flush(false) } else { Ok(()) }
    }

    fn flush(&mut self, sync: bool) -> Result<(), TsdbError> {
        let records: Vec<&[u8]> = self.records.iter().map(Vec::as_slice).collect();
        self.log.append(&records, sync)?;
        self.records.clear();
        self.bytes = 0;
        Ok(())
    }

    fn finish(mut self) -> Result<(), TsdbError> {
        self.flush(true)
    }
}
