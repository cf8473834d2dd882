//! Compaction: short blocks become long ones, and what is deleted goes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hms_ops_core::labels::Labels;
use hms_ops_core::sample::Sample;
use hms_ops_core::time::{TimeRange, Timestamp};
use hms_ops_wal::disk::Disk;

use crate::block::{Block, BlockWriter};
use crate::error::TsdbError;

/// Lengths that blocks grow to, in lengths of the shortest.
const GROWTH: [u32; 3] = [1, 4, 12];

/// Blocks that should be one, if there are some: those with deletions, alone; or several within one
/// longer range that the head has left behind.
pub(crate) fn due(
    blocks: &[Arc<Block>],
    block: Duration,
    floor: Timestamp,
) -> Option<Vec<Arc<Block>>> {
    // What is damaged stays as it is, for whoever can mend it.
    let whole = |block: &&Arc<Block>| block.damaged() == 0;
    if let Some(deleted) = blocks.iter().filter(whole).find(|block| !block.tombstones().is_empty())
    {
        return Some(vec![deleted.clone()]);
    }
    GROWTH.iter().find_map(|growth| {
        let length = block.saturating_mul(*growth);
        let done = |block: &&Arc<Block>| {
            let (start, end) = range_of(block.meta.start, length);
            block.meta.end < end && end <= floor && start <= block.meta.start
        };
        let mut within: Vec<_> = blocks.iter().filter(whole).filter(done).collect();
        within.sort_by_key(|block| block.meta.start);
        let mut groups = within
            .chunk_by(|a, b| range_of(a.meta.start, length) == range_of(b.meta.start, length));
        let group = groups.find(|group| group.len() > 1)?;
        Some(group.iter().map(|block| Arc::clone(block)).collect())
    })
}

/// The range of `length`, counted from the epoch, in which `at` lies; its end does not belong to it.
pub(crate) fn range_of(at: Timestamp, length: Duration) -> (Timestamp, Timestamp) {
    let millis = i64::try_from(length.as_millis()).unwrap_or(i64::MAX).max(1);
    let start = Timestamp::from_millis(at.as_millis().div_euclid(millis).saturating_mul(millis));
    (start, Timestamp::from_millis(start.as_millis().saturating_add(millis)))
}

/// Writes one block of several; `None` when nothing is left of them.
///
/// # Errors
///
/// [`TsdbError::Damaged`] when one of them is not whole: then they stay as they are.
pub(crate) fn merge(
    disk: &dyn Disk,
    dir: &Path,
    blocks: &[Arc<Block>],
) -> Result<Option<PathBuf>, TsdbError> {
    let mut writer = BlockWriter::new(disk, dir)?;
    // Where samples meet, the first stays: one that came as history gives way.
    let mut by_rank: Vec<_> = blocks.iter().collect();
    by_rank.sort_by_key(|block| block.is_imported());
    let mut cursors: Vec<_> = by_rank.into_iter().map(|block| Cursor::new(block)).collect();
    let mut samples = Vec::new();
    while let Some(labels) = cursors.iter().filter_map(|cursor| cursor.labels.clone()).min() {
        samples.clear();
        for cursor in &mut cursors {
            if cursor.labels.as_ref() == Some(&labels) {
                cursor.take(&mut samples);
            }
        }
        in_order(&mut samples);
        writer.add(&labels, &samples)?;
    }
    if let Some(damaged) = blocks.iter().find(|block| block.damaged() > 0) {
        let what = "it is not compacted";
        return Err(TsdbError::Damaged { path: damaged.path.clone(), what });
    }
    let floor = blocks.iter().map(|block| block.meta.floor).max();
    let parents = blocks.iter().map(|block| block.name()).collect();
    writer.finish(floor.unwrap_or(Timestamp::MIN), parents)
}

/// Brings samples in the order of their time. Of several at one instant the first stays.
pub(crate) fn in_order(samples: &mut Vec<Sample>) {
    if !samples.is_sorted_by(|a, b| a.at < b.at) {
        samples.sort_by_key(|sample| sample.at);
        samples.dedup_by_key(|sample| sample.at);
    }
}

/// A place in the series of a block.
struct Cursor<'a> {
    block: &'a Block,
    series: u32,
    labels: Option<Labels>,
}

impl<'a> Cursor<'a> {
    fn new(block: &'a Block) -> Self {
        let mut cursor = Self { block, series: 0, labels: None };
        cursor.find();
        cursor
    }

    /// Appends the samples of the current series, and goes to the next.
    fn take(&mut self, into: &mut Vec<Sample>) {
        for chunk in self.block.chunks(self.series) {
            self.block.read(self.series, &chunk, TimeRange::ALL, into);
        }
        self.series += 1;
        self.find();
    }

    /// Skips series that cannot be read.
    fn find(&mut self) {
        self.labels = None;
        while self.series < self.block.len() && self.labels.is_none() {
            self.labels = self.block.labels(self.series);
            self.series += u32::from(self.labels.is_none());
        }
    }
}
