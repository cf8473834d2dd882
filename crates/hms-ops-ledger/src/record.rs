//! The records of the log; their bytes are drawn in `docs/format.md`.

use hms_ops_core::ledger::{Entry, History, Recorded, Seq};
use hms_ops_core::time::Timestamp;
use sha2::{Digest, Sha256};

const ENTRIES: u8 = b'E';
const LEASE: u8 = b'L';
const SNAPSHOT: u8 = b'S';

/// Hexadecimal digits of a hash.
const HASH: usize = 64;

/// What is kept of a claim: the first half of its SHA-256, so that a long name costs no more.
pub(crate) type Claim = [u8; 16];

pub(crate) fn claim_of(key: &str) -> Claim {
    *Sha256::digest(key).first_chunk().expect("a SHA-256 has 32 bytes")
}

/// A record, read in place.
#[derive(Debug)]
pub(crate) enum Record<'a> {
    /// The entries of one append; not empty.
    Entries(Vec<Stored<'a>>),
    /// This epoch was granted.
    Lease(u64),
    /// All that is known where a segment begins.
    Snapshot(Snapshot<'a>),
}

impl<'a> Record<'a> {
    /// `None` when it is no record of this release.
    pub(crate) fn decode(record: &'a [u8]) -> Option<Self> {
        let (&tag, mut rest) = record.split_first()?;
        let rest = &mut rest;
        match tag {
            ENTRIES => entries(rest).map(Self::Entries),
            LEASE => count(rest).map(Self::Lease),
            SNAPSHOT => Snapshot::decode(rest).map(Self::Snapshot),
            _ => None,
        }
    }
}

/// An entry as it is stored.
#[derive(Debug)]
pub(crate) struct Stored<'a> {
    pub(crate) seq: Seq,
    pub(crate) epoch: u64,
    pub(crate) previous: &'a str,
    pub(crate) hash: &'a str,
    pub(crate) json: &'a [u8],
}

impl Stored<'_> {
    pub(crate) fn is_intact(&self) -> bool {
        self.hash == Recorded::hash_of_json(self.seq, self.epoch, self.previous, self.json)
    }

    pub(crate) fn read(&self) -> Result<Recorded, serde_json::Error> {
        let entry = serde_json::from_slice(self.json)?;
        let (previous, hash) = (self.previous.to_owned(), self.hash.to_owned());
        Ok(Recorded { seq: self.seq, epoch: self.epoch, previous, hash, entry })
    }
}

/// All that is known where a segment begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Snapshot<'a> {
    /// When it was written.
    pub(crate) at: Timestamp,
    /// Records before this one are dropped, whether or not their files are gone.
    pub(crate) floor: u64,
    /// The newest epoch.
    pub(crate) epoch: u64,
    /// The newest entry.
    pub(crate) seq: Seq,
    /// The hash of that one; zeros when there is none.
    pub(crate) hash: &'a str,
    claims: &'a [Claim],
    history: &'a [u8],
}

impl<'a> Snapshot<'a> {
    fn decode(rest: &mut &'a [u8]) -> Option<Self> {
        let at = Timestamp::from_millis(number(rest)?.cast_signed());
        let (floor, epoch, seq, hash) = (count(rest)?, count(rest)?, count(rest)?, hash(rest)?);
        let claims = usize::try_from(count(rest)?).ok()?.checked_mul(size_of::<Claim>())?;
        let (claims, history) = rest.split_at_checked(claims)?;
        let (claims, _) = claims.as_chunks();
        Some(Self { at, floor, epoch, seq: Seq(seq), hash, claims, history })
    }

    pub(crate) fn claims(&self) -> impl Iterator<Item = Claim> {
        self.claims.iter().copied()
    }

    pub(crate) fn history(&self) -> Result<History, serde_json::Error> {
        serde_json::from_slice(self.history)
    }
}

/// Begins the record of one append; each entry follows by [`push_entry`].
pub(crate) fn begin_entries(epoch: u64, first: Seq, previous: &str) -> Vec<u8> {
    let mut record = vec![ENTRIES];
    record.extend(epoch.to_le_bytes());
    record.extend(first.0.to_le_bytes());
    record.extend(previous.as_bytes());
    record
}

pub(crate) fn push_entry(record: &mut Vec<u8>, hash: &str, json: &[u8]) {
    record.extend(hash.as_bytes());
    record.extend((json.len() as u64).to_le_bytes());
    record.extend(json);
}

pub(crate) fn lease(epoch: u64, holder: &str) -> Vec<u8> {
    let mut record = vec![LEASE];
    record.extend(epoch.to_le_bytes());
    record.extend(holder.as_bytes());
    record
}

/// Writes a snapshot whose `claims` are these.
pub(crate) fn snapshot<'a>(
    (at, floor): (Timestamp, u64),
    (epoch, seq, hash): (u64, Seq, &str),
    claims: impl ExactSizeIterator<Item = &'a Claim>,
    history: &History,
) -> Vec<u8> {
    let mut record = vec![SNAPSHOT];
    for number in [at.as_millis().cast_unsigned(), floor, epoch, seq.0] {
        record.extend(number.to_le_bytes());
    }
    record.extend(hash.as_bytes());
    record.extend((claims.len() as u64).to_le_bytes());
    claims.for_each(|claim| record.extend(claim));
    record.extend(serde_json::to_vec(history).expect("a history holds only what JSON can"));
    record
}

pub(crate) fn json_of(entry: &Entry) -> Vec<u8> {
    serde_json::to_vec(entry).expect("entries hold only what JSON can")
}

fn entries<'a>(rest: &mut &'a [u8]) -> Option<Vec<Stored<'a>>> {
    let (epoch, first, mut previous) = (count(rest)?, count(rest)?, hash(rest)?);
    let mut entries = Vec::new();
    while !rest.is_empty() {
        let hash = hash(rest)?;
        let len = usize::try_from(count(rest)?).ok()?;
        let seq = Seq(first + entries.len() as u64);
        let json;
        (json, *rest) = rest.split_at_checked(len)?;
        entries.push(Stored { seq, epoch, previous, hash, json });
        previous = hash;
    }
    Some(entries).filter(|entries| !entries.is_empty())
}

fn number(rest: &mut &[u8]) -> Option<u64> {
    let number;
    (number, *rest) = rest.split_first_chunk()?;
    Some(u64::from_le_bytes(*number))
}

/// A number that counting on from it cannot make overflow.
fn count(rest: &mut &[u8]) -> Option<u64> {
    number(rest).filter(|number| *number <= i64::MAX as u64)
}

fn hash<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let hash;
    (hash, *rest) = rest.split_at_checked(HASH)?;
    std::str::from_utf8(hash).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One of each kind.
    fn records() -> [Vec<u8>; 3] {
        let hash = "0".repeat(HASH);
        let mut entries = begin_entries(1, Seq(7), &hash);
        push_entry(&mut entries, &hash, b"{}");
        push_entry(&mut entries, &hash, b"[1, 2]");
        let claims = [claim_of("run/x"), claim_of("shift/y")];
        let (place, head) = ((Timestamp::from_millis(-5), 3), (1, Seq(6), &*hash));
        let snapshot = snapshot(place, head, claims.iter(), &History::default());
        [entries, lease(4, "me"), snapshot]
    }

    #[test]
    fn what_is_written_is_read() {
        let [written, lease, snapshot] = records();
        let Some(Record::Entries(entries)) = Record::decode(&written) else { panic!() };
        let json: Vec<_> = entries.iter().map(|entry| (entry.seq, entry.json)).collect();
        assert_eq!(json, [(Seq(7), &b"{}"[..]), (Seq(8), b"[1, 2]")]);
        assert!(matches!(Record::decode(&lease), Some(Record::Lease(4))));
        let Some(Record::Snapshot(snapshot)) = Record::decode(&snapshot) else { panic!() };
        assert_eq!((snapshot.at, snapshot.floor), (Timestamp::from_millis(-5), 3));
        assert_eq!((snapshot.epoch, snapshot.seq), (1, Seq(6)));
        assert!(snapshot.claims().eq([claim_of("run/x"), claim_of("shift/y")]));
        assert_eq!(snapshot.history().unwrap(), History::default());
    }

    #[test]
    fn whatever_the_bytes_are_they_are_read_or_refused() {
        for record in records() {
            for len in 0..record.len() {
                Record::decode(&record[..len]);
            }
            for at in 0..record.len() {
                for byte in [0, 0x7f, 0x80, 0xff] {
                    let mut record = record.clone();
                    record[at..].iter_mut().take(8).for_each(|b| *b = byte);
                    if let Some(Record::Entries(entries)) = Record::decode(&record) {
                        assert!(entries.iter().all(|entry| entry.read().is_err()));
                    }
                }
            }
        }
    }
}
