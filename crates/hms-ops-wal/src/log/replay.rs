//! Reading a log, whatever state it is in.

use std::collections::VecDeque;
use std::fmt;
use std::path::Path;

use super::format::{self, FRAME_BYTES, HEADER_BYTES, Header, Piece, Pieces, VERSION};
use super::{LogError, LogOptions, Segment, Seq};
use crate::disk::Disk;

/// Stretches of damage that are listed one by one.
const LISTED: usize = 100;

/// Takes each record of a log with its number.
type Replay<'a, E> = dyn FnMut(Seq, &[u8]) -> Result<(), E> + 'a;

/// What was found in a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovery {
    /// Records that were delivered.
    pub records: u64,
    /// Bytes at the end that are no whole frame, as a crash leaves them when it interrupts a write.
    pub torn_bytes: u64,
    /// The first 100 stretches of damage, in order.
    pub damaged: Vec<Damage>,
    /// How many there are.
    pub damaged_stretches: u64,
    /// Bytes in all of them.
    pub damaged_bytes: u64,
}

/// Bytes in the middle of a log that are no frame.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Damage {
    /// The file, below the folder of the log.
    pub segment: String,
    /// Where it begins in the file.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
    /// Whether there is a copy, `quarantine/SEGMENT-OFFSET`. [`super::Log::read`] makes none.
    pub copied: bool,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} bytes at byte {} are damaged", self.segment, self.len, self.offset)
    }
}

/// A log as found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) recovery: Recovery,
    pub(super) segments: VecDeque<Segment>,
    pub(super) next_seq: Seq,
    /// The last segment, unless it is damaged as a whole.
    pub(super) end: Option<End>,
}

#[derive(Debug)]
pub(super) struct End {
    pub(super) first: Seq,
    pub(super) salt: u64,
    /// Where the last whole frame ends, or the header; 0 when not even that is whole.
    pub(super) bytes: u64,
    /// Whether there is something behind it.
    pub(super) torn: bool,
}

/// Reads every segment in `dir`, and changes nothing.
pub(super) fn run<E: From<LogError>>(
    disk: &dyn Disk,
    dir: &Path,
    options: &LogOptions,
    replay: &mut Replay<'_, E>,
) -> Result<Found, E> {
    let names = disk.list(dir).map_err(LogError::io("list", dir))?;
    let firsts: Vec<Seq> = names.iter().filter_map(|name| format::first_of(name)).collect();
    let mut found = Found { next_seq: 1, ..Found::default() };
    for &first in &firsts {
        let path = dir.join(format::name(first));
        let segment = disk.read(&path).map_err(LogError::io("read", &path))?;
        let header = Header::decode(&segment).map_err(|found| LogError::UnknownFormat {
            path: path.clone(),
            found,
            known: VERSION,
        })?;
        let is_last = Some(&first) == firsts.last();
        found.next_seq = found.next_seq.max(first);
        match header.filter(|header| header.first == first) {
            None => found.without_header(first, segment.len() as u64, is_last),
            Some(header) if header.kind != options.kind => {
                let (found, expected) = (header.kind, options.kind);
                return Err(LogError::OtherKind { path, found, expected }.into());
            }
            Some(header) => found.segment(header, &segment, is_last, replay)?,
        }
    }
    Ok(found)
}

/// Reads the accepted part of a segment that is open, and skips what is damaged.
pub(super) fn whole<E: From<LogError>>(
    content: &[u8],
    segment: &Segment,
    path: &Path,
    each: &mut Replay<'_, E>,
) -> Result<(), E> {
    let accepted = usize::try_from(segment.bytes).unwrap_or(usize::MAX).min(content.len());
    let content = &content[..accepted];
    let unknown = |found| LogError::UnknownFormat { path: path.to_owned(), found, known: VERSION };
    let Some(header) = Header::decode(content).map_err(unknown)? else { return Ok(()) };
    for piece in Pieces::new(content, header.salt, segment.first) {
        if let Piece::Record { seq, record } = piece {
            each(seq, record)?;
        }
    }
    Ok(())
}

impl Found {
    fn segment<E>(
        &mut self,
        header: Header,
        segment: &[u8],
        is_last: bool,
        replay: &mut Replay<'_, E>,
    ) -> Result<(), E> {
        let mut bytes = segment.len() as u64;
        for piece in Pieces::new(segment, header.salt, self.next_seq) {
            match piece {
                Piece::Record { seq, record } => {
                    replay(seq, record)?;
                    self.recovery.records += 1;
                    self.next_seq = seq + 1;
                }
                Piece::Broken { from, to } if is_last && to == segment.len() => {
                    bytes = from as u64;
                    self.recovery.torn_bytes += (to - from) as u64;
                }
                Piece::Broken { from, to } => {
                    self.recovery.damage(header.first, from as u64, (to - from) as u64);
                }
            }
        }
        if is_last {
            let torn = bytes < segment.len() as u64;
            self.end = Some(End { first: header.first, salt: header.salt, bytes, torn });
        }
        self.segments.push_back(Segment { first: header.first, bytes });
        Ok(())
    }

    fn without_header(&mut self, first: Seq, bytes: u64, is_last: bool) {
        self.segments.push_back(Segment { first, bytes });
        if is_last && bytes <= HEADER_BYTES {
            // A crash came before its header was on the disk, and records come after that.
            self.recovery.torn_bytes += bytes;
            self.end = Some(End { first, salt: 0, bytes: 0, torn: true });
            return;
        }
        self.recovery.damage(first, 0, bytes);
        if is_last {
            // Nobody knows how many records are lost, but no more than that; no number is given
            // twice.
            self.next_seq = self.next_seq.max(first + bytes / FRAME_BYTES as u64);
        }
    }
}

impl Recovery {
    fn damage(&mut self, first: Seq, offset: u64, len: u64) {
        self.damaged_stretches += 1;
        self.damaged_bytes += len;
        if self.damaged.len() < LISTED {
            let segment = format::name(first);
            self.damaged.push(Damage { segment, offset, len, copied: false });
        }
    }
}
