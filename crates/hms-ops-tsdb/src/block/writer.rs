//! Writes a block: series by series, in the order of their labels.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};

use hms_ops_core::labels::Labels;
use hms_ops_core::sample::{Sample, Value};
use hms_ops_core::time::Timestamp;
use hms_ops_wal::disk::{Disk, DiskFile, DiskFileExt};

use super::index::encode;
use super::{BLOCK, ChunkRef, HEADER_BYTES, INDEX, Kind, MAGIC, Meta, VERSION, new_name};
use crate::chunk::{XorEncoder, encode_histograms, encode_times, encode_values};
use crate::error::TsdbError;

/// From so many numbers on, a column is worth its header.
const COLUMN: usize = 60;
/// Samples in the longest run: a short query decodes no more.
const LONGEST: usize = 1920;
/// Histograms in the longest run.
const LONGEST_HISTOGRAMS: usize = 120;
/// Columns of times that are remembered, to be shared. Series of one target have the same times.
const COLUMNS: usize = 4096;
/// Bytes that are collected before they are written.
const BUFFER: usize = 1 << 20;

/// Writes a block under a temporary name.
#[derive(Debug)]
pub(crate) struct BlockWriter<'a> {
    disk: &'a dyn Disk,
    dir: &'a Path,
    temporary: PathBuf,
    file: Box<dyn DiskFile>,
    buffer: Vec<u8>,
    /// Bytes before the buffer.
    written: u64,
    series: Vec<(Labels, Vec<ChunkRef>)>,
    meta: Meta,
    columns: Columns,
    scratch: Vec<u8>,
    /// Whether the temporary name is gone.
    named: bool,
}

impl<'a> BlockWriter<'a> {
    /// Begins a block in `dir`.
    pub(crate) fn new(disk: &'a dyn Disk, dir: &'a Path) -> Result<Self, TsdbError> {
        let meta = Meta {
            start: Timestamp::MAX,
            end: Timestamp::MIN,
            floor: Timestamp::MIN,
            samples: 0,
            series: 0,
            parents: Vec::new(),
        };
        let temporary = dir.join(format!("{}.tmp", new_name(meta.start, meta.end)));
        let file = disk.create(&temporary).map_err(TsdbError::io("create", &temporary))?;
        let mut buffer = Vec::with_capacity(BUFFER);
        buffer.extend_from_slice(MAGIC);
        buffer.extend_from_slice(&VERSION.to_le_bytes());
        buffer.resize(HEADER_BYTES, 0);
        Ok(Self {
            disk,
            dir,
            temporary,
            file,
            buffer,
            written: 0,
            series: Vec::new(),
            meta,
            columns: Columns::default(),
            scratch: Vec::new(),
            named: false,
        })
    }

    /// Adds a series; `samples` are in the order of their time. One without samples is left out.
    pub(crate) fn add(&mut self, labels: &Labels, samples: &[Sample]) -> Result<(), TsdbError> {
        let (Some(first), Some(last)) = (samples.first(), samples.last()) else { return Ok(()) };
        self.meta.start = self.meta.start.min(first.at);
        self.meta.end = self.meta.end.max(last.at);
        self.meta.samples += samples.len() as u64;
        let mut chunks = Vec::new();
        let is_number = |sample: &Sample| matches!(sample.value, Value::Float(_));
        for run in samples.chunk_by(|a, b| is_number(a) == is_number(b)) {
            let numbers = run.first().is_some_and(is_number);
            let longest = if numbers { LONGEST } else { LONGEST_HISTOGRAMS };
            // Of equal length: the rest of a long run is not left alone in a short chunk.
            let pieces = run.len().div_ceil(longest);
            for piece in run.chunks(run.len().div_ceil(pieces)) {
                chunks.push(if numbers { self.numbers(piece)? } else { self.histograms(piece)? });
            }
        }
        self.series.push((labels.clone(), chunks));
        Ok(())
    }

    /// Finishes the block and gives it its name: its path, or `None` when nothing was added. Durable
    /// when this returns.
    pub(crate) fn finish(
        mut self,
        floor: Timestamp,
        parents: Vec<String>,
    ) -> Result<Option<PathBuf>, TsdbError> {
        let named = self.try_finish(floor, parents)?;
        self.named = named.is_some();
        Ok(named)
    }

    fn try_finish(
        &mut self,
        floor: Timestamp,
        parents: Vec<String>,
    ) -> Result<Option<PathBuf>, TsdbError> {
        if self.series.is_empty() {
            return Ok(None);
        }
        self.meta.series = u32::try_from(self.series.len()).unwrap_or(u32::MAX);
        (self.meta.floor, self.meta.parents) = (floor, parents);
        let begins = self.written + self.buffer.len() as u64;
        let index = encode(&self.meta, &self.series, begins);
        self.write(&index)?;
        self.flush()?;
        self.file.sync().map_err(TsdbError::io("sync", &self.temporary))?;

        let path = self.dir.join(new_name(self.meta.start, self.meta.end));
        let (block, second) = (path.with_extension(BLOCK), path.with_extension(INDEX));
        let second_index = encode(&self.meta, &self.series, 0);
        let mut file = self.disk.create(&second).map_err(TsdbError::io("create", &second))?;
        let copied = file.write_all(&second_index).and_then(|()| file.sync());
        let named = copied.map_err(TsdbError::io("write", &second)).and_then(|()| {
            let renamed = self.disk.rename(&self.temporary, &block);
            renamed.map_err(TsdbError::io("rename", &self.temporary))
        });
        if let Err(error) = named {
            let _ = self.disk.remove(&second);
            return Err(error);
        }
        // Or the names may not survive a loss of power.
        self.disk.sync_dir(self.dir).map_err(TsdbError::io("sync", self.dir))?;
        Ok(Some(block))
    }

    fn numbers(&mut self, samples: &[Sample]) -> Result<ChunkRef, TsdbError> {
        let number = |sample: &Sample| sample.value.as_float().unwrap_or_default();
        if samples.len() >= COLUMN {
            let times: Vec<i64> = samples.iter().map(|sample| sample.at.as_millis()).collect();
            let values: Vec<f64> = samples.iter().map(number).collect();
            let times = self.times(&times)?;
            let mut bytes = std::mem::take(&mut self.scratch);
            bytes.clear();
            encode_values(&values, &mut bytes);
            let chunk = self.chunk(Kind::Column, samples, &bytes, times);
            self.scratch = bytes;
            return chunk;
        }
        let mut encoder = XorEncoder::new();
        samples.iter().for_each(|sample| encoder.push(sample.at.as_millis(), number(sample)));
        self.chunk(Kind::Numbers, samples, encoder.bytes(), (0, 0))
    }

    fn histograms(&mut self, samples: &[Sample]) -> Result<ChunkRef, TsdbError> {
        let pairs = samples.iter().filter_map(|sample| match &sample.value {
            Value::Histogram(histogram) => Some((sample.at.as_millis(), histogram.clone())),
            Value::Float(_) => None,
        });
        let mut bytes = Vec::new();
        encode_histograms(&pairs.collect::<Vec<_>>(), &mut bytes);
        self.chunk(Kind::Histograms, samples, &bytes, (0, 0))
    }

    /// Where these times stand; written unless another chunk has the same.
    fn times(&mut self, times: &[i64]) -> Result<(u64, u32), TsdbError> {
        let print = self.columns.print(times);
        if let Some(place) = self.columns.places.get(&print) {
            return Ok(*place);
        }
        let mut bytes = Vec::new();
        encode_times(times, &mut bytes);
        let place = self.checked(&bytes)?;
        self.columns.remember(print, place);
        Ok(place)
    }

    fn chunk(
        &mut self,
        kind: Kind,
        samples: &[Sample],
        bytes: &[u8],
        times: (u64, u32),
    ) -> Result<ChunkRef, TsdbError> {
        let (offset, len) = self.checked(bytes)?;
        let ends = |sample: Option<&Sample>| sample.map_or(Timestamp::MIN, |sample| sample.at);
        let (start, end) = (ends(samples.first()), ends(samples.last()));
        let count = u32::try_from(samples.len()).unwrap_or(u32::MAX);
        Ok(ChunkRef { kind, start, end, count, offset, len, times })
    }

    /// Writes bytes with their checksum.
    fn checked(&mut self, bytes: &[u8]) -> Result<(u64, u32), TsdbError> {
        let offset = self.written + self.buffer.len() as u64;
        self.write(bytes)?;
        self.write(&crc32fast::hash(bytes).to_le_bytes())?;
        Ok((offset, u32::try_from(bytes.len()).unwrap_or(u32::MAX)))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), TsdbError> {
        if self.buffer.len() + bytes.len() > BUFFER {
            self.flush()?;
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), TsdbError> {
        self.file.write_all(&self.buffer).map_err(TsdbError::io("write", &self.temporary))?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

impl Drop for BlockWriter<'_> {
    fn drop(&mut self) {
        if !self.named {
            // What cannot be removed now is when the store is opened.
            let _ = self.disk.remove(&self.temporary);
        }
    }
}

/// Columns of times that were written last.
#[derive(Debug, Default)]
struct Columns {
    /// Two keyed hashes: nobody outside can make two columns alike.
    hashers: [RandomState; 2],
    places: HashMap<Print, (u64, u32)>,
    order: VecDeque<Print>,
}

/// What tells one column from another.
type Print = (usize, u64, u64);

impl Columns {
    fn print(&self, times: &[i64]) -> Print {
        (times.len(), self.hashers[0].hash_one(times), self.hashers[1].hash_one(times))
    }

    fn remember(&mut self, print: Print, place: (u64, u32)) {
        if self.order.len() >= COLUMNS
            && let Some(oldest) = self.order.pop_front()
        {
            self.places.remove(&oldest);
        }
        self.order.push_back(print);
        self.places.insert(print, place);
    }
}
