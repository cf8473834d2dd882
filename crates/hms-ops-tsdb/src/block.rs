//! Blocks: sealed samples of a range of time, in a file that never changes.
//!
//! The layout is drawn in `docs/format/block.md`. A block is two files: `NAME.block` has the
//! chunks, each with a checksum, and the index; `NAME.index` has the index once more, so that
//! damage to one place costs one chunk at most. What is damaged is skipped and counted.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};

use hms_ops_core::labels::Labels;
use hms_ops_core::matcher::Matcher;
use hms_ops_core::random;
use hms_ops_core::sample::{Sample, Value};
use hms_ops_core::time::{TimeRange, Timestamp};
use hms_ops_wal::disk::{Content, Disk};

use crate::chunk::{decode_times, decode_values};
use crate::error::TsdbError;
use crate::head::series::decode;
use crate::postings::matching;

mod index;
mod tombstones;
mod writer;

use self::index::Index;
pub(crate) use self::tombstones::Tombstones;
pub(crate) use self::writer::BlockWriter;

/// Extension of the file with the chunks; where it is, the block is.
pub(crate) const BLOCK: &str = "block";
/// Extension of the second copy of the index.
pub(crate) const INDEX: &str = "index";
/// Extension of what is deleted.
pub(crate) const DELETED: &str = "deleted";

/// The format that is written and read.
const VERSION: u16 = 1;
/// What a block begins with, before its version.
const MAGIC: &[u8; 8] = b"HMSBLOCK";
/// Magic, version, six bytes unused.
const HEADER_BYTES: usize = 16;
/// Magic, version, two bytes unused, where the index begins, its length and checksum, and a checksum
/// of all that.
const FOOTER_BYTES: usize = 36;
/// Behind each chunk.
const CRC_BYTES: usize = 4;

/// What a block holds, and of what it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    /// The first sample.
    pub(crate) start: Timestamp,
    /// The last sample.
    pub(crate) end: Timestamp,
    /// The head has nothing older than this any more; nothing, for a block of imported samples.
    pub(crate) floor: Timestamp,
    pub(crate) samples: u64,
    pub(crate) series: u32,
    /// Blocks that this one takes the place of.
    pub(crate) parents: Vec<String>,
}

/// How the samples of a chunk are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// As in the head: times and numbers.
    Numbers,
    /// As in the head: times and histograms.
    Histograms,
    /// Numbers alone; their times are a column that other chunks may share.
    Column,
}

/// Where a run of samples stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChunkRef {
    pub(crate) kind: Kind,
    pub(crate) start: Timestamp,
    pub(crate) end: Timestamp,
    pub(crate) count: u32,
    pub(crate) offset: u64,
    pub(crate) len: u32,
    /// Where the times stand, of a [`Kind::Column`].
    pub(crate) times: (u64, u32),
}

/// A block that is open for reading.
pub(crate) struct Block {
    pub(crate) path: PathBuf,
    pub(crate) meta: Meta,
    /// Bytes of its files.
    pub(crate) bytes: u64,
    chunks: Content,
    index: Index,
    tombstones: RwLock<Arc<Tombstones>>,
    damaged: AtomicU64,
}

impl Block {
    /// Opens a block.
    ///
    /// # Errors
    ///
    /// [`TsdbError::UnknownFormat`], [`TsdbError::Damaged`] when neither copy of the index is whole,
    /// [`TsdbError::Io`].
    pub(crate) fn open(disk: &dyn Disk, path: &Path) -> Result<Self, TsdbError> {
        let chunks = disk.read(path).map_err(TsdbError::io("read", path))?;
        let second_path = path.with_extension(INDEX);
        let second = disk.read(&second_path).unwrap_or_else(|_| Content::new([]));
        let bytes = (chunks.len() + second.len()) as u64;
        let first = Index::open(&chunks, path);
        let damaged = u64::from(first.is_err());
        let index = match first {
            Ok(index) => index,
            Err(error @ TsdbError::UnknownFormat { .. }) => return Err(error),
            Err(error) => Index::open(&second, &second_path).map_err(|_| error)?,
        };
        let meta = index.meta().clone();
        let tombstones = Tombstones::read(disk, &path.with_extension(DELETED))?;
        Ok(Self {
            path: path.to_owned(),
            meta,
            bytes,
            chunks,
            index,
            tombstones: RwLock::new(Arc::new(tombstones)),
            damaged: AtomicU64::new(damaged),
        })
    }

    /// The name that its files share.
    pub(crate) fn name(&self) -> String {
        self.path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Pieces that were found damaged so far.
    pub(crate) fn damaged(&self) -> u64 {
        self.damaged.load(Relaxed)
    }

    /// Whether it may have a sample in `range`.
    pub(crate) fn overlaps(&self, range: TimeRange) -> bool {
        self.meta.start <= range.end && self.meta.end >= range.start
    }

    /// Whether its samples came as history, and not through the head.
    pub(crate) fn is_imported(&self) -> bool {
        self.meta.floor == Timestamp::MIN
    }

    /// The places of the series that all `matchers` accept, in the order of their labels.
    pub(crate) fn matching(&self, matchers: &[Matcher]) -> Vec<u32> {
        matching(&self.index, matchers)
    }

    /// How many series there are; their places count from 0, in the order of their labels.
    pub(crate) fn len(&self) -> u32 {
        self.index.len()
    }

    pub(crate) fn labels(&self, series: u32) -> Option<Labels> {
        self.index.labels(series)
    }

    /// The runs of a series, in the order of their time.
    pub(crate) fn chunks(&self, series: u32) -> Vec<ChunkRef> {
        self.index.chunks(series).unwrap_or_else(|| {
            self.count_damage("a series of the index");
            Vec::new()
        })
    }

    /// Appends the samples of a run that lie in `range` to `into`. A damaged run has none.
    pub(crate) fn read(
        &self,
        series: u32,
        chunk: &ChunkRef,
        range: TimeRange,
        into: &mut Vec<Sample>,
    ) {
        let before = into.len();
        if let Err(what) = self.decode(chunk, range, into) {
            into.truncate(before);
            self.count_damage(what);
        }
        let tombstones = self.tombstones();
        if let Some(ranges) = tombstones.of(series) {
            let mut place = 0;
            into.retain(|sample| {
                place += 1;
                place <= before || !ranges.iter().any(|gone| gone.contains(sample.at))
            });
        }
    }

    pub(crate) fn tombstones(&self) -> Arc<Tombstones> {
        self.tombstones.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Deletes the samples in `range` of the series that all `matchers` accept; durable when this
    /// returns. Says whether there was such a series.
    pub(crate) fn delete(
        &self,
        disk: &dyn Disk,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<bool, TsdbError> {
        let series = self.matching(matchers);
        if series.is_empty() || !self.overlaps(range) {
            return Ok(false);
        }
        let mut tombstones = (*self.tombstones()).clone();
        tombstones.add(&series, range);
        tombstones.write(disk, &self.path.with_extension(DELETED))?;
        *self.tombstones.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(tombstones);
        Ok(true)
    }

    /// Reads everything there is, and says what is damaged, a sentence each.
    pub(crate) fn verify(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        if let Err(error) = Index::open(&self.chunks, &self.path) {
            complaints.push(error.to_string());
        }
        for series in 0..self.len() {
            let Some(chunks) = self.index.chunks(series) else {
                complaints.push(format!("{}: series {series} is unreadable", self.path.display()));
                continue;
            };
            for chunk in chunks {
                let mut samples = Vec::new();
                if let Err(what) = self.decode(&chunk, TimeRange::ALL, &mut samples) {
                    let labels = self.labels(series).unwrap_or_default();
                    complaints.push(format!(
                        "{}: {what} of {labels} from {} to {} at byte {} is damaged",
                        self.path.display(),
                        chunk.start,
                        chunk.end,
                        chunk.offset
                    ));
                }
            }
        }
        complaints
    }

    fn decode(
        &self,
        chunk: &ChunkRef,
        range: TimeRange,
        into: &mut Vec<Sample>,
    ) -> Result<(), &'static str> {
        let bytes = self.checked(chunk.offset, chunk.len).ok_or("a chunk")?;
        if chunk.kind != Kind::Column {
            let histograms = chunk.kind == Kind::Histograms;
            return decode(histograms, chunk.count, bytes, range, into).map_err(|_| "a chunk");
        }
        let times = self.checked(chunk.times.0, chunk.times.1).ok_or("a column of times")?;
        let count = chunk.count as usize;
        let (mut all_times, mut values) = (Vec::new(), Vec::new());
        decode_times(times, count, &mut all_times).map_err(|_| "a column of times")?;
        decode_values(bytes, count, &mut values).map_err(|_| "a chunk")?;
        let from = all_times.partition_point(|&at| at < range.start.as_millis());
        let to = all_times.partition_point(|&at| at <= range.end.as_millis()).max(from);
        let pairs = all_times[from..to].iter().zip(&values[from..to]);
        into.extend(pairs.map(|(&at, &value)| Sample {
            at: Timestamp::from_millis(at),
            value: Value::Float(value),
        }));
        Ok(())
    }

    /// Bytes whose checksum holds.
    fn checked(&self, offset: u64, len: u32) -> Option<&[u8]> {
        let offset = usize::try_from(offset).ok()?;
        let end = offset.checked_add(len as usize)?;
        let bytes = self.chunks.get(offset..end)?;
        let crc = self.chunks.get(end..end.checked_add(CRC_BYTES)?)?;
        (crc == crc32fast::hash(bytes).to_le_bytes()).then_some(bytes)
    }

    fn count_damage(&self, what: &str) {
        if self.damaged.fetch_add(1, Relaxed) == 0 {
            tracing::error!(block = %self.path.display(), what, "damaged; the rest is served");
        }
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Block").field("path", &self.path).field("meta", &self.meta).finish()
    }
}

/// A name for a block: its range for people, and a number that makes it the only one.
fn new_name(start: Timestamp, end: Timestamp) -> String {
    format!("{}_{}_{:08x}", start.as_millis(), end.as_millis(), random::next_u64() as u32)
}
