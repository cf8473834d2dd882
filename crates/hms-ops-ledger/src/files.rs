//! The log, where its segments begin, and which of them are kept.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use hms_ops_core::ledger::{History, Recorded, Seq};
use hms_ops_core::time::Timestamp;
use hms_ops_wal::disk::Disk;
use hms_ops_wal::log::{Log, LogError, LogOptions, Recovery};

use crate::book::{Book, Chain};
use crate::record::{Record, Snapshot};
use crate::{FileLedgerError, FileLedgerOptions};

/// The log as it lies in its folder.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) log: Log,
    /// Every snapshot that is kept, oldest first.
    marks: VecDeque<Mark>,
    /// Bytes of all records that were ever seen; only differences count.
    position: u64,
}

/// Where a snapshot lies.
#[derive(Clone, Copy, Debug)]
struct Mark {
    record: u64,
    at: Timestamp,
    /// The entry before.
    seq: Seq,
    position: u64,
    bytes: u64,
}

/// What was found in the folder.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) book: Book,
    pub(crate) history: History,
    /// Entries since the last snapshot, each with its bytes.
    pub(crate) recent: Vec<(Recorded, usize)>,
    pub(crate) recovery: Recovery,
    /// The first entry since the last snapshot that is not what was written.
    pub(crate) bad: Option<Seq>,
}

/// The place of a new segment, if it is written.
pub(crate) struct Turn {
    marks: VecDeque<Mark>,
    pub(crate) at: Timestamp,
    pub(crate) floor: u64,
}

impl Files {
    /// Opens the log, and reads it from its last snapshot on. Memory is bounded by one segment.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        folder: &Path,
    ) -> Result<(Self, Found), FileLedgerError> {
        // Segments begin where the writer says so, with a snapshot. That has all claims and may be
        // larger than any append.
        let options = LogOptions {
            kind: *b"ldgr",
            segment_bytes: u64::MAX,
            max_record_bytes: u32::MAX as usize,
            ..LogOptions::default()
        };
        let (mut marks, mut position, mut floor) = (VecDeque::new(), 0, 0);
        let mut since: Vec<(u64, Vec<u8>)> = Vec::new();
        let (log, recovery) = Log::open(disk, folder, options, |record, bytes: &[u8]| {
            if let Some(Record::Snapshot(snapshot)) = Record::decode(bytes) {
                let Snapshot { at, seq, .. } = snapshot;
                marks.push_back(Mark { record, at, seq, position, bytes: bytes.len() as u64 });
                floor = snapshot.floor;
                since.clear();
            }
            position += bytes.len() as u64;
            since.push((record, bytes.to_vec()));
            Ok::<_, LogError>(())
        })?;
        let mut files = Self { log, marks, position };
        // A loss of power may have brought some of them back.
        files.drop_before(floor)?;
        Ok((files, Found::read(&since, recovery)?))
    }

    /// Whether the next record should begin a segment. A large snapshot is not repeated before as
    /// much has been written.
    pub(crate) fn is_due(&self, segment_bytes: u64) -> bool {
        self.marks.back().is_none_or(|mark| {
            self.position - mark.position - mark.bytes >= segment_bytes.max(mark.bytes)
        })
    }

    /// Begins a segment, and says which ones it makes superfluous.
    pub(crate) fn turn(
        &mut self,
        seq: Seq,
        options: &FileLedgerOptions,
    ) -> Result<Turn, FileLedgerError> {
        self.log.rotate()?;
        let at = options.clock.now();
        let mut marks = self.marks.clone();
        let (record, position) = (self.log.next_seq(), self.position);
        marks.push_back(Mark { record, at, seq, position, bytes: 0 });
        while let [first, next, ..] = marks.make_contiguous() {
            // What lies before a snapshot is no younger than it.
            let old = at.since(next.at) > options.retention;
            if !old && position - first.position <= options.retention_bytes {
                break;
            }
            marks.pop_front();
        }
        let floor = marks[0].record;
        Ok(Turn { marks, at, floor })
    }

    /// Writes records, all or none, the first of them the snapshot of `turn` if there is one.
    pub(crate) fn append(
        &mut self,
        turn: Option<Turn>,
        records: &[Vec<u8>],
    ) -> Result<(), LogError> {
        let slices: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
        self.log.append(&slices, true)?;
        self.position += records.iter().map(|record| record.len() as u64).sum::<u64>();
        if let Some(turn) = turn {
            self.marks = turn.marks;
            let mark = self.marks.back_mut().expect("a turn adds one");
            mark.bytes = records[0].len() as u64;
            if let Err(error) = self.drop_before(turn.floor) {
                // The floor is written down; the next turn or start tries again.
                tracing::warn!(%error, "cannot drop old segments of the ledger");
            }
        }
        Ok(())
    }

    fn drop_before(&mut self, floor: u64) -> Result<(), LogError> {
        self.marks.retain(|mark| mark.record >= floor);
        self.log.remove_before(floor)
    }

    /// Where a page that begins with `from` has to be looked for.
    pub(crate) fn place(&self, from: Seq) -> u64 {
        let after = self.marks.partition_point(|mark| mark.seq < from);
        let mark = after.checked_sub(1).map(|i| self.marks[i].record);
        mark.unwrap_or_else(|| self.first())
    }

    /// The first record that is kept.
    pub(crate) fn first(&self) -> u64 {
        self.log.segments().next().unwrap_or(self.log.next_seq())
    }
}

impl Found {
    fn read(records: &[(u64, Vec<u8>)], recovery: Recovery) -> Result<Self, FileLedgerError> {
        let mut found = Self { recovery, ..Self::default() };
        let mut chain = Chain::default();
        for (number, bytes) in records {
            let Some(record) = Record::decode(bytes) else {
                found.bad.get_or_insert(chain.seq.next());
                continue;
            };
            if let Record::Snapshot(snapshot) = &record {
                let opened = Book::open(snapshot);
                let opened = opened.map_err(|_| FileLedgerError::Snapshot { record: *number })?;
                (found.book, found.history) = opened;
                chain = found.book.chain.clone();
            }
            if let Err(seq) = chain.follow(&record) {
                found.bad.get_or_insert(seq);
            }
            let Record::Entries(stored) = &record else {
                found.book.read(&record);
                continue;
            };
            for (read, stored) in found.book.read(&record).into_iter().zip(stored) {
                match read {
                    Ok(recorded) => {
                        found.history.apply(&recorded);
                        found.recent.push((recorded, stored.json.len()));
                    }
                    Err(error) => tracing::warn!(%error, "it is left out of what is known"),
                }
            }
        }
        found.book.chain = chain;
        Ok(found)
    }
}
