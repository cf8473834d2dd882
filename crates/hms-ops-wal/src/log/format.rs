//! The bytes of format 1, which `docs/format.md` draws.

use super::Seq;

/// The newest format that this release reads, and the one that it writes.
pub(super) const VERSION: u16 = 1;

/// Bytes of a header: two copies of the same.
pub(super) const HEADER_BYTES: u64 = 2 * COPY as u64;

/// Bytes of a frame in front of its record.
pub(super) const FRAME_BYTES: usize = 20;

/// The highest number that is believed; adding to it cannot overflow.
const LAST_SEQ: Seq = i64::MAX as u64;

const MAGIC: [u8; 4] = *b"hwal";
const COPY: usize = 32;

/// The name of the segment that begins with record `first`; sorts as the numbers do.
pub(super) fn name(first: Seq) -> String {
    format!("{first:020}.wal")
}

/// The first record of the segment called `name`; `None` when that is not the name of one.
pub(super) fn first_of(name: &str) -> Option<Seq> {
    let digits = name.strip_suffix(".wal")?;
    let first = digits.parse().ok().filter(|first| (1..=LAST_SEQ).contains(first))?;
    (self::name(first) == name).then_some(first)
}

/// What a segment says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: [u8; 4],
    pub(super) first: Seq,
    /// Random. Frames of another segment, and bytes that look like frames, do not fit to it.
    pub(super) salt: u64,
}

impl Header {
    pub(super) fn encode(&self) -> [u8; HEADER_BYTES as usize] {
        let mut copy = [0; COPY];
        copy[..4].copy_from_slice(&MAGIC);
        copy[4..6].copy_from_slice(&VERSION.to_le_bytes());
        copy[8..12].copy_from_slice(&self.kind);
        copy[12..20].copy_from_slice(&self.first.to_le_bytes());
        copy[20..28].copy_from_slice(&self.salt.to_le_bytes());
        let crc = crc32fast::hash(&copy[..28]);
        copy[28..].copy_from_slice(&crc.to_le_bytes());
        let mut header = [0; HEADER_BYTES as usize];
        header[..COPY].copy_from_slice(&copy);
        header[COPY..].copy_from_slice(&copy);
        header
    }

    /// Reads the header of a segment from whichever copy is whole; `None` when neither is.
    ///
    /// # Errors
    ///
    /// The version, when it is one that this release does not know.
    pub(super) fn decode(segment: &[u8]) -> Result<Option<Self>, u16> {
        for copy in segment.chunks_exact(COPY).take(2) {
            if copy[..4] != MAGIC || crc32fast::hash(&copy[..28]) != u32_at(copy, 28) {
                continue;
            }
            let version = u16::from_le_bytes([copy[4], copy[5]]);
            if version != VERSION {
                return Err(version);
            }
            let kind = [copy[8], copy[9], copy[10], copy[11]];
            let header = Self { kind, first: u64_at(copy, 12), salt: u64_at(copy, 20) };
            return Ok(Some(header).filter(|_| segment.len() as u64 >= HEADER_BYTES));
        }
        Ok(None)
    }
}

/// Appends the frame of a record that will stand at offset `at` of its segment.
pub(super) fn encode_frame(to: &mut Vec<u8>, salt: u64, at: u64, seq: Seq, record: &[u8]) {
    // Records are limited to what fits.
    let len = record.len() as u32;
    to.extend_from_slice(&len.to_le_bytes());
    to.extend_from_slice(&seq.to_le_bytes());
    to.extend_from_slice(&head_crc(salt, at, len, seq).to_le_bytes());
    to.extend_from_slice(&record_crc(salt, seq, record).to_le_bytes());
    to.extend_from_slice(record);
}

/// A run of bytes of a segment.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    Record {
        seq: Seq,
        record: &'a [u8],
    },
    /// No frame is here. When it reaches to the end, nothing is behind it.
    Broken {
        from: usize,
        to: usize,
    },
}

/// Takes the body of a segment apart. Numbers only rise.
#[derive(Debug)]
pub(super) struct Pieces<'a> {
    segment: &'a [u8],
    salt: u64,
    at: usize,
    next_seq: Seq,
}

impl<'a> Pieces<'a> {
    /// The pieces of a whole segment behind its header, where no record below `next_seq` is
    /// believed.
    pub(super) fn new(segment: &'a [u8], salt: u64, next_seq: Seq) -> Self {
        Self { segment, salt, at: HEADER_BYTES as usize, next_seq }
    }

    /// The frame at `at`: its number, its record if that is whole, and where it ends. `None` when
    /// none begins here.
    fn frame(&self, at: usize) -> Option<(Seq, Option<&'a [u8]>, usize)> {
        let (head, behind) = self.segment[at..].split_at_checked(FRAME_BYTES)?;
        let (len, seq) = (u32_at(head, 0), u64_at(head, 4));
        let record = behind.get(..len as usize)?;
        if seq > LAST_SEQ || head_crc(self.salt, at as u64, len, seq) != u32_at(head, 12) {
            return None;
        }
        let whole = record_crc(self.salt, seq, record) == u32_at(head, 16);
        Some((seq, whole.then_some(record), at + FRAME_BYTES + record.len()))
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        let from = self.at;
        while self.at < self.segment.len() {
            match self.frame(self.at) {
                Some((seq, Some(record), end)) if seq >= self.next_seq => {
                    if from < self.at {
                        // It is found again by the next call.
                        return Some(Piece::Broken { from, to: self.at });
                    }
                    self.at = end;
                    self.next_seq = seq + 1;
                    return Some(Piece::Record { seq, record });
                }
                // The length is trusted where a frame is due; where one is only sought, a header
                // without its record proves too little.
                Some((_, _, end)) if from == self.at => self.at = end,
                _ => self.at += 1,
            }
        }
        (from < self.at).then_some(Piece::Broken { from, to: self.at })
    }
}

/// Binds a frame to its place: a copy of it anywhere else, say in a record that somebody made up,
/// is not a frame.
fn head_crc(salt: u64, at: u64, len: u32, seq: Seq) -> u32 {
    let mut bytes = [0; 28];
    bytes[..8].copy_from_slice(&salt.to_le_bytes());
    bytes[8..16].copy_from_slice(&at.to_le_bytes());
    bytes[16..20].copy_from_slice(&len.to_le_bytes());
    bytes[20..].copy_from_slice(&seq.to_le_bytes());
    crc32fast::hash(&bytes)
}

fn record_crc(salt: u64, seq: Seq, record: &[u8]) -> u32 {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&salt.to_le_bytes());
    bytes[8..].copy_from_slice(&seq.to_le_bytes());
    let mut crc = crc32fast::Hasher::new();
    crc.update(&bytes);
    crc.update(record);
    crc.finalize()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: u64 = 7;

    fn segment(frames: &[(Seq, &[u8])]) -> Vec<u8> {
        let mut segment = Header { kind: *b"test", first: 1, salt: SALT }.encode().to_vec();
        for (seq, record) in frames {
            let at = segment.len() as u64;
            encode_frame(&mut segment, SALT, at, *seq, record);
        }
        segment
    }

    fn records(segment: &[u8]) -> Vec<Seq> {
        let pieces = Pieces::new(segment, SALT, 1);
        pieces
            .filter_map(|p| if let Piece::Record { seq, .. } = p { Some(seq) } else { None })
            .collect()
    }

    #[test]
    fn names_sort_as_numbers_do_and_nothing_else_is_a_name() {
        let mut names: Vec<_> = [1, 9, 10, 12_345, LAST_SEQ].map(name).into();
        assert!(names.is_sorted());
        assert_eq!(names.pop().and_then(|name| first_of(&name)), Some(LAST_SEQ));
        for other in ["1.wal", "00000000000000000000.wal", "quarantine", "+0000000000000000001.wal"]
        {
            assert_eq!(first_of(other), None, "{other}");
        }
        assert_eq!(first_of("18446744073709551615.wal"), None);
    }

    #[test]
    fn one_whole_copy_of_a_header_is_enough() {
        let header = Header { kind: *b"test", first: 42, salt: SALT };
        for broken in 0..COPY {
            let mut bytes = header.encode();
            bytes[broken] ^= 1;
            assert_eq!(Header::decode(&bytes), Ok(Some(header)));
            bytes[COPY + broken] ^= 1;
            assert_eq!(Header::decode(&bytes), Ok(None));
        }
        assert_eq!(Header::decode(&header.encode()[..63]), Ok(None));
    }

    #[test]
    fn a_frame_is_one_only_where_it_was_written() {
        let (mut whole, mut moved) = (segment(&[(1, b"a"), (2, b"b")]), segment(&[(1, b"a")]));
        assert_eq!(records(&whole), [1, 2]);
        let second = whole.split_off(moved.len());
        moved.push(0);
        moved.extend(second);
        assert_eq!(records(&moved), [1]);
    }

    #[test]
    fn numbers_that_do_not_rise_are_damage() {
        let segment = segment(&[(5, b"a"), (5, b"b"), (4, b"c"), (LAST_SEQ + 1, b"d"), (6, b"e")]);
        assert_eq!(records(&segment), [5, 6]);
        let broken = Pieces::new(&segment, SALT, 1).nth(1);
        assert_eq!(broken, Some(Piece::Broken { from: 85, to: 148 }));
    }
}
