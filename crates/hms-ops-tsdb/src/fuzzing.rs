//! What fuzz targets do with bytes that anybody may have written. For them and for tests alone.
//!
//! Each function panics when a promise is broken, and says whether the bytes were what they should
//! be.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use hms_ops_core::labels::{INSTANCE, Labels, NAME};
use hms_ops_core::matcher::Matcher;
use hms_ops_core::sample::{Histogram, Sample};
use hms_ops_core::time::TimeRange;
use hms_ops_wal::disk::{Disk, DiskFileExt};

use crate::block::{Block, ChunkRef, Tombstones};
use crate::chunk::{
    ChunkError, MAX_SAMPLES, XorDecoder, XorEncoder, decode_histograms, decode_times,
    decode_values, encode_histograms, encode_times, encode_values,
};
use crate::head::{Head, Replay};
use crate::options::Options;
use crate::record::{
    Record, decode, encode_batch, encode_chunk, encode_delete, encode_exemplars, encode_floor,
    encode_series,
};

/// Chunks of a block that are read: few bytes can say where many are, and of thousands of samples
/// each.
const CHUNKS: usize = 256;
/// Series of a block whose labels are looked for.
const SERIES: u32 = 8;
/// Bytes of the footer of a block.
const FOOTER: usize = 36;

/// Reads and rewrites a record of the log; the head takes it, and once more changes nothing.
pub fn record(bytes: &[u8]) -> bool {
    assert_eq!(replayed(bytes, 1), replayed(bytes, 2), "it changes what is there already");
    let Some(record) = decode(bytes) else { return false };
    let encoded = match &record {
        Record::Series(series) => encode_series(series.iter().map(|(id, labels)| (*id, labels))),
        Record::Batch { samples, exemplars } => {
            encode_batch(samples.iter().map(|(id, s)| (*id, s.at, &s.value)), exemplars)
        }
        Record::Delete { series, range } => encode_delete(series, *range),
        Record::Floor(floor) => encode_floor(*floor),
        Record::Chunk { series, histograms, count, bytes } => {
            encode_chunk(*series, *histograms, *count, bytes)
        }
        Record::Exemplars(exemplars) => encode_exemplars(exemplars),
    };
    assert_eq!(decode(&encoded), Some(record));
    true
}

/// What a head has that knows series 1 and 2 and takes a record so many times.
fn replayed(record: &[u8], times: usize) -> BTreeMap<Labels, Vec<Sample>> {
    let mut replay = Replay::new(Head::new(&Options::default()));
    let known = [(1, Labels::metric("a")), (2, Labels::metric("b"))];
    replay.take(&encode_series(known.iter().map(|(id, labels)| (*id, labels))));
    (0..times).for_each(|_| replay.take(record));
    let (head, _) = replay.finish();
    let mut content = BTreeMap::new();
    for (_, labels, runs) in head.shares(TimeRange::ALL).flatten() {
        let mut samples = Vec::new();
        assert_eq!(runs.read(TimeRange::ALL, &mut samples), Ok(()), "{labels}");
        assert!(samples.is_sorted_by(|a, b| a.at < b.at), "{labels}: {samples:?}");
        content.insert(labels, samples);
    }
    content
}

/// Decodes a chunk and encodes it again. The first byte says how it is encoded, the next two how
/// many samples it has.
pub fn chunk(bytes: &[u8]) -> bool {
    let Some(([encoding, low, high], bytes)) = bytes.split_first_chunk() else { return false };
    let count = usize::from(u16::from_le_bytes([*low, *high]));
    match encoding % 4 {
        0 => comes_back(bytes, count, numbers, |samples, into| {
            let mut chunk = XorEncoder::new();
            samples.iter().for_each(|(at, bits)| chunk.push(*at, f64::from_bits(*bits)));
            into.extend_from_slice(chunk.bytes());
        }),
        1 => {
            comes_back::<(i64, Arc<Histogram>)>(bytes, count, decode_histograms, encode_histograms)
        }
        2 => comes_back(bytes, count, decode_times, encode_times),
        _ => comes_back(bytes, count, values, |bits, into| {
            encode_values(&bits.iter().copied().map(f64::from_bits).collect::<Vec<_>>(), into);
        }),
    }
}

/// Decodes numbers as bits, so that a NaN is the same as itself.
fn numbers(bytes: &[u8], count: usize, into: &mut Vec<(i64, u64)>) -> Result<(), ChunkError> {
    for sample in XorDecoder::new(bytes, count)? {
        let (at, value) = sample?;
        into.push((at, value.to_bits()));
    }
    Ok(())
}

fn values(bytes: &[u8], count: usize, into: &mut Vec<u64>) -> Result<(), ChunkError> {
    let mut values = Vec::new();
    let decoded = decode_values(bytes, count, &mut values);
    into.extend(values.into_iter().map(f64::to_bits));
    decoded
}

fn comes_back<T: Debug + PartialEq>(
    bytes: &[u8],
    count: usize,
    decode: impl Fn(&[u8], usize, &mut Vec<T>) -> Result<(), ChunkError>,
    encode: impl Fn(&[T], &mut Vec<u8>),
) -> bool {
    let (mut decoded, mut encoded, mut again) = (Vec::new(), Vec::new(), Vec::new());
    let whole = decode(bytes, count, &mut decoded).is_ok();
    assert!(decoded.len() <= count.min(MAX_SAMPLES), "{} of {count}", decoded.len());
    if whole {
        assert_eq!(decoded.len(), count);
        encode(&decoded, &mut encoded);
        assert_eq!(decode(&encoded, count, &mut again), Ok(()));
        assert_eq!(decoded, again);
    }
    whole
}

/// Opens a block on a disk that is empty, selects its series and reads them. Checksums are put right
/// first: hardly anything would get behind them.
pub fn block(disk: &dyn Disk, bytes: &[u8]) -> bool {
    let mut bytes = bytes.to_vec();
    mend_index(&mut bytes);
    let Some(block) = open(disk, "/index.block", &bytes) else { return false };
    for (_, chunk) in chunks(&block) {
        mend_piece(&mut bytes, chunk.offset, chunk.len);
        mend_piece(&mut bytes, chunk.times.0, chunk.times.1);
    }
    // Where pieces and index overlap, hostile ones, this is another index now.
    mend_index(&mut bytes);
    let Some(block) = open(disk, "/pieces.block", &bytes) else { return false };

    PATTERNS.iter().for_each(|pattern| select(&block, std::slice::from_ref(pattern)));
    for labels in (0..block.len().min(SERIES)).filter_map(|series| block.labels(series)) {
        for (name, value) in labels.iter() {
            let equal = Matcher::equal(name, value);
            let others = [Matcher::not_equal(name, value), Matcher::not_equal(name, "")];
            select(&block, &others);
            select(&block, &[PATTERNS[0].clone(), equal]);
        }
    }
    let mut samples = Vec::new();
    for (series, chunk) in chunks(&block) {
        for range in [TimeRange::ALL, TimeRange::new(chunk.start, chunk.end)] {
            samples.clear();
            block.read(series, &chunk, range, &mut samples);
            assert!(samples.len() <= MAX_SAMPLES, "{} samples", samples.len());
            assert!(samples.is_sorted_by(|a, b| a.at < b.at), "{samples:?}");
            assert!(samples.iter().all(|sample| range.contains(sample.at)), "{samples:?}");
        }
    }
    block.damaged() == 0
}

static PATTERNS: LazyLock<[Matcher; 3]> = LazyLock::new(|| {
    [
        Matcher::not_regex(NAME, "up|down"),
        Matcher::regex(INSTANCE, "i1|i3"),
        Matcher::regex("le", "[0-9]+"),
    ]
    .map(|matcher| matcher.expect("these are patterns"))
});

/// Each series is selected once.
fn select(block: &Block, matchers: &[Matcher]) {
    let found = block.matching(matchers);
    assert!(found.is_sorted_by(|a, b| a < b), "{matchers:?} select {found:?}");
    assert!(found.last().is_none_or(|last| *last < block.len()), "{matchers:?} select {found:?}");
}

fn chunks(block: &Block) -> Vec<(u32, ChunkRef)> {
    let of = |series| block.chunks(series).into_iter().map(move |chunk| (series, chunk));
    (0..block.len()).flat_map(of).take(CHUNKS).collect()
}

/// Puts the footer right, and with it the checksum of an index that begins where it says.
fn mend_index(bytes: &mut [u8]) {
    let Some((before, footer)) = bytes.split_last_chunk_mut::<FOOTER>() else { return };
    let begins = footer[12..20].first_chunk().map_or(0, |begins| u64::from_le_bytes(*begins));
    if let Some(index) = usize::try_from(begins).ok().and_then(|begins| before.get(begins..)) {
        footer[20..28].copy_from_slice(&(index.len() as u64).to_le_bytes());
        footer[28..32].copy_from_slice(&crc32fast::hash(index).to_le_bytes());
    }
    let crc = crc32fast::hash(&footer[..32]);
    footer[32..].copy_from_slice(&crc.to_le_bytes());
}

/// Puts the checksum behind a piece right, if there is room for both.
fn mend_piece(bytes: &mut [u8], offset: u64, len: u32) {
    let piece = usize::try_from(offset).ok().and_then(|offset| bytes.get_mut(offset..));
    let piece = piece.and_then(|from| from.split_at_mut_checked(len as usize));
    if let Some((piece, behind)) = piece
        && let Some(crc) = behind.first_chunk_mut()
    {
        *crc = crc32fast::hash(piece).to_le_bytes();
    }
}

/// Reads what is deleted from a block and writes it again, on a disk that is empty. The checksums of
/// both copies are put right first.
pub fn deletions(disk: &dyn Disk, bytes: &[u8]) -> bool {
    let mut bytes = bytes.to_vec();
    let middle = bytes.len() / 2;
    let (first, second) = bytes.split_at_mut(middle);
    for copy in [first, second] {
        if let Some((before, crc)) = copy.split_last_chunk_mut()
            && let Some(body) = before.get(8..)
        {
            *crc = crc32fast::hash(body).to_le_bytes();
        }
    }
    let [path, again] = ["/a.deleted", "/b.deleted"].map(Path::new);
    write(disk, path, &bytes);
    let Ok(deleted) = Tombstones::read(disk, path) else { return false };
    deleted.write(disk, again).expect("the disk does not fail");
    assert_eq!(Tombstones::read(disk, again).expect("it was written"), deleted);
    true
}

fn open(disk: &dyn Disk, path: &str, bytes: &[u8]) -> Option<Block> {
    write(disk, Path::new(path), bytes);
    Block::open(disk, Path::new(path)).ok()
}

fn write(disk: &dyn Disk, path: &Path, bytes: &[u8]) {
    let written = disk.create(path).and_then(|mut file| file.write_all(bytes));
    written.expect("the disk does not fail");
}
