//! What is deleted from a block, until it is compacted without it.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use hms_ops_core::time::{TimeRange, Timestamp};
use hms_ops_wal::disk::{Disk, DiskFileExt};

use crate::error::TsdbError;
use crate::varint::{read_i64, read_u64, write_i64, write_u64};

/// What a copy begins with: a name, and the format version.
const MAGIC: &[u8; 8] = b"HMSDELE\x01";
/// Where the version stands.
const VERSION: usize = MAGIC.len() - 1;

/// Ranges of time that are gone, in a file that has them twice, by the place of their series.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tombstones {
    ranges: BTreeMap<u32, Vec<TimeRange>>,
}

impl Tombstones {
    /// Reads a file; none is an empty one.
    pub(crate) fn read(disk: &dyn Disk, path: &Path) -> Result<Self, TsdbError> {
        let content = match disk.read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            content => content.map_err(TsdbError::io("read", path))?,
        };
        let (first, second) = content.split_at(content.len() / 2);
        let read = Self::decode_copy(first).or_else(|| Self::decode_copy(second));
        // Two copies that say the same are not damaged in the same place.
        if let (None, Some(&found), Some(&same)) = (&read, first.get(VERSION), second.get(VERSION))
            && found == same
            && found != MAGIC[VERSION]
        {
            let (path, known) = (path.to_owned(), MAGIC[VERSION].into());
            return Err(TsdbError::UnknownFormat { path, found: found.into(), known });
        }
        read.ok_or(TsdbError::Damaged { path: path.to_owned(), what: "deletions cannot be read" })
    }

    /// Writes the file anew; durable when this returns.
    pub(crate) fn write(&self, disk: &dyn Disk, path: &Path) -> Result<(), TsdbError> {
        let mut body = Vec::new();
        write_u64(&mut body, self.ranges.len() as u64);
        for (series, ranges) in &self.ranges {
            write_u64(&mut body, (*series).into());
            write_u64(&mut body, ranges.len() as u64);
            for range in ranges {
                write_i64(&mut body, range.start.as_millis());
                write_i64(&mut body, range.end.as_millis());
            }
        }
        let crc = crc32fast::hash(&body).to_le_bytes();
        let temporary = path.with_extension("deleted-tmp");
        // Left over from a try that failed.
        let _ = disk.remove(&temporary);
        let written = disk.create(&temporary).and_then(|mut file| {
            let copy = [MAGIC, &body[..], &crc].concat();
            file.write_all(&[&copy[..], &copy].concat())?;
            file.sync()?;
            disk.rename(&temporary, path)?;
            disk.sync_dir(path.parent().unwrap_or(path))
        });
        written.map_err(TsdbError::io("write", path))
    }

    /// Adds a range to each of these series.
    pub(crate) fn add(&mut self, series: &[u32], range: TimeRange) {
        for series in series {
            let ranges = self.ranges.entry(*series).or_default();
            if !ranges.contains(&range) {
                ranges.push(range);
            }
        }
    }

    /// What is gone of a series.
    pub(crate) fn of(&self, series: u32) -> Option<&[TimeRange]> {
        self.ranges.get(&series).map(Vec::as_slice)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    fn decode_copy(copy: &[u8]) -> Option<Self> {
        let (body, crc) = copy.strip_prefix(MAGIC)?.split_last_chunk()?;
        let whole = crc32fast::hash(body) == u32::from_le_bytes(*crc);
        whole.then(|| Self::decode(body)).flatten()
    }

    fn decode(mut body: &[u8]) -> Option<Self> {
        let body = &mut body;
        let mut tombstones = Self::default();
        for _ in 0..read_u64(body)? {
            let series = u32::try_from(read_u64(body)?).ok()?;
            for _ in 0..read_u64(body)? {
                let mut time = || Some(Timestamp::from_millis(read_i64(body)?));
                let range = TimeRange::new(time()?, time()?);
                tombstones.ranges.entry(series).or_default().push(range);
            }
        }
        Some(tombstones)
    }
}
