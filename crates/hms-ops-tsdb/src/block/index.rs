//! The index of a block: texts, series, and which series have which label.
//!
//! Tables of fixed width, so that a mapped index is searched where it lies. It is only used when its
//! checksum holds, and still trusted with nothing: a place that leads out of it gives nothing.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use hms_ops_core::labels::Labels;
use hms_ops_core::matcher::Matcher;
use hms_ops_core::time::Timestamp;
use hms_ops_wal::disk::Content;

use super::{ChunkRef, FOOTER_BYTES, Kind, MAGIC, Meta, VERSION};
use crate::error::TsdbError;
use crate::postings::{Postings, union};
use crate::varint::{read_i64, read_u64, write_i64, write_u64};

/// A mapped index.
pub(super) struct Index {
    content: Content,
    /// Where it lies in the content.
    place: Range<usize>,
    meta: Meta,
    symbols: Table,
    series: Table,
    postings: Table,
    /// Texts that were asked for.
    texts: Vec<OnceLock<Arc<str>>>,
}

/// A run of entries of any length: where each begins, and where the bytes are.
#[derive(Clone, Copy, Debug, Default)]
struct Table {
    entries: u32,
    /// Of `entries + 1` offsets, within the index.
    offsets: usize,
    bytes: usize,
}

/// Writes index and footer of a block; `begins` is where in its file.
pub(super) fn encode(meta: &Meta, series: &[(Labels, Vec<ChunkRef>)], begins: u64) -> Vec<u8> {
    let texts: BTreeSet<&str> =
        series.iter().flat_map(|(labels, _)| labels.iter()).flat_map(|(n, v)| [n, v]).collect();
    let symbols: HashMap<&str, u32> = texts.iter().copied().zip(0..).collect();

    let mut out = Vec::new();
    let mut head = Vec::new();
    write_i64(&mut head, meta.start.as_millis());
    write_i64(&mut head, meta.end.as_millis());
    write_i64(&mut head, meta.floor.as_millis());
    write_u64(&mut head, meta.samples);
    write_u64(&mut head, meta.parents.len() as u64);
    for parent in &meta.parents {
        write_u64(&mut head, parent.len() as u64);
        head.extend_from_slice(parent.as_bytes());
    }
    out.extend_from_slice(&u32::try_from(head.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(&head);

    table(&mut out, texts.iter(), |out, text| out.extend_from_slice(text.as_bytes()));
    table(&mut out, series.iter(), |out, (labels, chunks)| {
        write_u64(out, labels.len() as u64);
        for (name, value) in labels.iter() {
            write_u64(out, symbols[name].into());
            write_u64(out, symbols[value].into());
        }
        encode_chunks(out, meta.start, chunks);
    });
    let mut lists: BTreeMap<(u32, u32), Vec<u32>> = BTreeMap::new();
    for (place, (labels, _)) in (0..).zip(series) {
        for (name, value) in labels.iter() {
            lists.entry((symbols[name], symbols[value])).or_default().push(place);
        }
    }
    table(&mut out, lists.iter(), |out, ((name, value), list)| {
        out.extend_from_slice(&name.to_le_bytes());
        out.extend_from_slice(&value.to_le_bytes());
        let mut last = 0;
        for &place in list {
            write_u64(out, u64::from(place - last));
            last = place;
        }
    });

    let mut footer = Vec::with_capacity(FOOTER_BYTES);
    footer.extend_from_slice(MAGIC);
    footer.extend_from_slice(&VERSION.to_le_bytes());
    footer.extend_from_slice(&[0; 2]);
    footer.extend_from_slice(&begins.to_le_bytes());
    footer.extend_from_slice(&(out.len() as u64).to_le_bytes());
    footer.extend_from_slice(&crc32fast::hash(&out).to_le_bytes());
    footer.extend_from_slice(&crc32fast::hash(&footer).to_le_bytes());
    out.extend_from_slice(&footer);
    out
}

/// The runs of a series, each told from the one before.
fn encode_chunks(out: &mut Vec<u8>, start: Timestamp, chunks: &[ChunkRef]) {
    write_u64(out, chunks.len() as u64);
    let (mut at, mut offset) = (start.as_millis(), 0u64);
    for chunk in chunks {
        out.push(match chunk.kind {
            Kind::Numbers => 0,
            Kind::Histograms => 1,
            Kind::Column => 2,
        });
        write_i64(out, chunk.start.as_millis().wrapping_sub(at));
        write_i64(out, chunk.end.as_millis().wrapping_sub(chunk.start.as_millis()));
        write_u64(out, chunk.count.into());
        write_i64(out, chunk.offset.wrapping_sub(offset).cast_signed());
        write_u64(out, chunk.len.into());
        if chunk.kind == Kind::Column {
            write_i64(out, chunk.times.0.wrapping_sub(chunk.offset).cast_signed());
            write_u64(out, chunk.times.1.into());
        }
        (at, offset) = (chunk.end.as_millis(), chunk.offset);
    }
}

fn decode_chunks(bytes: &mut &[u8], start: Timestamp) -> Option<Vec<ChunkRef>> {
    let count = read_u64(bytes)?;
    let (mut at, mut offset) = (start.as_millis(), 0u64);
    let mut chunks = Vec::new();
    for _ in 0..count {
        let (kind, rest) = bytes.split_first()?;
        *bytes = rest;
        let kind = match kind {
            0 => Kind::Numbers,
            1 => Kind::Histograms,
            2 => Kind::Column,
            _ => return None,
        };
        let start = at.wrapping_add(read_i64(bytes)?);
        let end = start.wrapping_add(read_i64(bytes)?);
        let count = u32::try_from(read_u64(bytes)?).ok()?;
        offset = offset.wrapping_add(read_i64(bytes)?.cast_unsigned());
        let len = u32::try_from(read_u64(bytes)?).ok()?;
        let times = if kind == Kind::Column {
            let times = offset.wrapping_add(read_i64(bytes)?.cast_unsigned());
            (times, u32::try_from(read_u64(bytes)?).ok()?)
        } else {
            (0, 0)
        };
        at = end;
        let (start, end) = (Timestamp::from_millis(start), Timestamp::from_millis(end));
        chunks.push(ChunkRef { kind, start, end, count, offset, len, times });
    }
    Some(chunks)
}

/// Writes a count, offsets, and the entries that they lead to.
fn table<T>(
    out: &mut Vec<u8>,
    entries: impl ExactSizeIterator<Item = T>,
    write: impl Fn(&mut Vec<u8>, T),
) {
    let offset = |bytes: &Vec<u8>| u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes();
    out.extend_from_slice(&u32::try_from(entries.len()).unwrap_or(u32::MAX).to_le_bytes());
    let (mut offsets, mut bytes) = (Vec::with_capacity(4 * entries.len() + 4), Vec::new());
    for entry in entries {
        offsets.extend_from_slice(&offset(&bytes));
        write(&mut bytes, entry);
    }
    offsets.extend_from_slice(&offset(&bytes));
    out.extend_from_slice(&offsets);
    out.extend_from_slice(&bytes);
}

impl Index {
    /// Finds the index by the footer at the end of `content`.
    pub(super) fn open(content: &Content, path: &Path) -> Result<Self, TsdbError> {
        let damaged = |what| TsdbError::Damaged { path: path.to_owned(), what };
        let unknown =
            |found| TsdbError::UnknownFormat { path: path.to_owned(), found, known: VERSION };
        let footer = content.len().checked_sub(FOOTER_BYTES).map(|at| (at, &content[at..]));
        let footer = footer.filter(|(_, footer)| {
            footer.starts_with(MAGIC)
                && crc32fast::hash(&footer[..FOOTER_BYTES - 4]) == number(footer, FOOTER_BYTES - 4)
        });
        let Some((at, footer)) = footer else {
            // Without a footer the beginning can still say that another release wrote it.
            return Err(match content.get(MAGIC.len()..MAGIC.len() + 2) {
                Some(&[low, high])
                    if content.starts_with(MAGIC) && [low, high] != VERSION.to_le_bytes() =>
                {
                    unknown(u16::from_le_bytes([low, high]))
                }
                _ => damaged("it has no footer"),
            });
        };
        let version = u16::from_le_bytes([footer[8], footer[9]]);
        if version != VERSION {
            return Err(unknown(version));
        }
        let begins = usize::try_from(long(footer, 12)).ok();
        let len = usize::try_from(long(footer, 20)).ok();
        let place =
            begins.zip(len).and_then(|(begins, len)| Some(begins..begins.checked_add(len)?));
        let place = place.filter(|place| place.end == at).ok_or(damaged("its index is missing"))?;
        if crc32fast::hash(&content[place.clone()]) != number(footer, 28) {
            return Err(damaged("the checksum of its index is wrong"));
        }
        Self::read(content.clone(), place).ok_or(damaged("its index makes no sense"))
    }

    fn read(content: Content, place: Range<usize>) -> Option<Self> {
        let index = &content[place.clone()];
        let head_len =
            usize::try_from(index.first_chunk().map(|n| u32::from_le_bytes(*n))?).ok()?;
        let mut head = index.get(4..4 + head_len)?;
        let head = &mut head;
        let mut time = || Some(Timestamp::from_millis(read_i64(head)?));
        let (start, end, floor) = (time()?, time()?, time()?);
        let samples = read_u64(head)?;
        let mut parents = Vec::new();
        for _ in 0..read_u64(head)? {
            let len = usize::try_from(read_u64(head)?).ok()?;
            parents.push(String::from_utf8(head.get(..len)?.to_vec()).ok()?);
            *head = &head[len..];
        }
        let mut at = 4 + head_len;
        let symbols = Table::read(index, &mut at)?;
        let series = Table::read(index, &mut at)?;
        let postings = Table::read(index, &mut at)?;
        let texts = (0..symbols.entries).map(|_| OnceLock::new()).collect();
        let meta = Meta { start, end, floor, samples, series: series.entries, parents };
        Some(Self { place, meta, symbols, series, postings, texts, content })
    }

    pub(super) fn meta(&self) -> &Meta {
        &self.meta
    }

    pub(super) fn len(&self) -> u32 {
        self.series.entries
    }

    pub(super) fn labels(&self, series: u32) -> Option<Labels> {
        let mut entry = self.series.get(self.bytes(), series)?;
        let count = read_u64(&mut entry)?;
        let mut pairs = Vec::new();
        for _ in 0..count {
            pairs.push((self.symbol(&mut entry)?, self.symbol(&mut entry)?));
        }
        Some(Labels::from_pairs(pairs))
    }

    pub(super) fn chunks(&self, series: u32) -> Option<Vec<ChunkRef>> {
        let mut entry = self.series.get(self.bytes(), series)?;
        for _ in 0..read_u64(&mut entry)?.checked_mul(2)? {
            read_u64(&mut entry)?;
        }
        decode_chunks(&mut entry, self.meta.start)
    }

    fn bytes(&self) -> &[u8] {
        &self.content[self.place.clone()]
    }

    fn symbol(&self, entry: &mut &[u8]) -> Option<Arc<str>> {
        let number = u32::try_from(read_u64(entry)?).ok()?;
        let known = self.texts.get(number as usize)?;
        if let Some(text) = known.get() {
            return Some(text.clone());
        }
        let text: Arc<str> = self.text(number)?.into();
        Some(known.get_or_init(|| text).clone())
    }

    fn text(&self, symbol: u32) -> Option<&str> {
        std::str::from_utf8(self.symbols.get(self.bytes(), symbol)?).ok()
    }

    /// The number of a text.
    fn find(&self, text: &str) -> Option<u32> {
        let found = search(self.symbols.entries, |symbol| {
            self.symbols.get(self.bytes(), symbol) < Some(text.as_bytes())
        });
        (self.text(found)? == text).then_some(found)
    }

    /// The numbers of name and value of an entry of the postings.
    fn pair(&self, entry: u32) -> Option<(u32, u32)> {
        let bytes = self.postings.get(self.bytes(), entry)?;
        Some((number_at(bytes, 0)?, number_at(bytes, 4)?))
    }

    fn list(&self, entry: u32) -> Option<Cow<'_, [u32]>> {
        let mut bytes = self.postings.get(self.bytes(), entry)?.get(8..)?;
        let (mut list, mut last) = (Vec::new(), 0u32);
        while !bytes.is_empty() {
            last = last.checked_add(u32::try_from(read_u64(&mut bytes)?).ok()?)?;
            if last >= self.len() || list.last() >= Some(&last) {
                return None;
            }
            list.push(last);
        }
        Some(Cow::Owned(list))
    }

    /// The entries of a label's values, from the first that is not below `prefix`.
    fn entries(&self, name: u32, prefix: &str) -> impl Iterator<Item = (u32, &str)> {
        let from = search(self.postings.entries, |entry| {
            self.pair(entry).is_some_and(|(of, value)| {
                (of, self.symbols.get(self.bytes(), value)) < (name, Some(prefix.as_bytes()))
            })
        });
        (from..self.postings.entries).map_while(move |entry| {
            let (of, value) = self.pair(entry)?;
            (of == name).then_some((entry, self.text(value)?))
        })
    }
}

impl Postings for Index {
    fn all(&self) -> Cow<'_, [u32]> {
        Cow::Owned((0..self.len()).collect())
    }

    fn with<'a>(&'a self, matcher: &Matcher, accepted: bool) -> Cow<'a, [u32]> {
        let Some(name) = self.find(matcher.name()) else { return Cow::Borrowed(&[]) };
        let one = |value: &Arc<str>| {
            let (entry, _) =
                self.entries(name, value).next().filter(|(_, found)| *found == &**value)?;
            self.list(entry)
        };
        match matcher.alternatives() {
            Some(values) if accepted => union(values.iter().filter_map(one)),
            _ => {
                let prefix = if accepted { matcher.prefix() } else { "" };
                let values = self.entries(name, prefix);
                let values = values.take_while(|(_, value)| value.starts_with(prefix));
                let meant = values.filter(|(_, value)| matcher.accepts(value) == accepted);
                union(meant.filter_map(|(entry, _)| self.list(entry)))
            }
        }
    }
}

impl Table {
    /// Finds a table at `at`, and moves behind it.
    fn read(index: &[u8], at: &mut usize) -> Option<Self> {
        let entries = number_at(index, *at)?;
        let offsets = *at + 4;
        let bytes = offsets.checked_add((entries as usize).checked_add(1)?.checked_mul(4)?)?;
        let len = number_at(index, bytes.checked_sub(4)?)? as usize;
        *at = bytes.checked_add(len).filter(|end| *end <= index.len())?;
        // Entries that overlap could say, all together, far more than there is.
        let (all, _) = index.get(offsets..bytes)?.as_chunks();
        all.is_sorted_by_key(|offset| u32::from_le_bytes(*offset)).then_some(Self {
            entries,
            offsets,
            bytes,
        })
    }

    fn get<'a>(&self, index: &'a [u8], entry: u32) -> Option<&'a [u8]> {
        if entry >= self.entries {
            return None;
        }
        let offset = |entry: usize| number_at(index, self.offsets + 4 * entry);
        let (from, to) = (offset(entry as usize)? as usize, offset(entry as usize + 1)? as usize);
        index.get(self.bytes.checked_add(from)?..self.bytes.checked_add(to)?)
    }
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Index").field("meta", &self.meta).finish_non_exhaustive()
    }
}

/// The first of `0..end` that is not below.
fn search(end: u32, below: impl Fn(u32) -> bool) -> u32 {
    let (mut low, mut high) = (0, end);
    while low < high {
        let middle = low + (high - low) / 2;
        if below(middle) { low = middle + 1 } else { high = middle }
    }
    low
}

fn number_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn number(bytes: &[u8], at: usize) -> u32 {
    number_at(bytes, at).unwrap_or_default()
}

fn long(bytes: &[u8], at: usize) -> u64 {
    bytes
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .map_or(0, |eight| u64::from_le_bytes(*eight))
}
