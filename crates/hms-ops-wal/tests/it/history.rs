//! A log beside a model of it: what was accepted, and what of it must survive what.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::path::Path;
use std::sync::Arc;

use hms_ops_testkit::fault_disk::FaultDisk;
use hms_ops_wal::disk::Disk;
use hms_ops_wal::log::{Log, LogError, LogOptions, Recovery, Seq};

pub(crate) const DIR: &str = "/data/wal";

pub(crate) fn dir() -> &'static Path {
    Path::new(DIR)
}

/// A disk on which the folder above the log is durable.
pub(crate) fn disk() -> FaultDisk {
    let disk = FaultDisk::new();
    disk.create_dir(Path::new("/data")).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    disk
}

/// Segments small enough to have several of them.
pub(crate) fn small(segment_bytes: u64) -> LogOptions {
    LogOptions { segment_bytes, ..LogOptions::default() }
}

pub(crate) type Records = BTreeMap<Seq, Vec<u8>>;

/// Opens the log on `disk`, with all that it delivers.
///
/// # Panics
///
/// When it does not deliver in order.
pub(crate) fn open(
    disk: &FaultDisk,
    options: &LogOptions,
) -> Result<(Log, Recovery, Records), LogError> {
    let mut records = Records::new();
    let (log, recovery) =
        Log::open(Arc::new(disk.clone()), dir(), options.clone(), collect(&mut records))?;
    assert_eq!(recovery.records, records.len() as u64);
    assert!(records.keys().all(|&seq| seq < log.next_seq()));
    Ok((log, recovery, records))
}

pub(crate) fn read(disk: &FaultDisk, options: &LogOptions) -> (Recovery, Records) {
    let mut records = Records::new();
    let recovery = Log::read(disk, dir(), options, collect(&mut records)).unwrap();
    (recovery, records)
}

fn collect(to: &mut Records) -> impl FnMut(Seq, &[u8]) -> Result<(), LogError> {
    |seq, record| {
        let last = to.last_key_value().map_or(0, |(&last, _)| last);
        assert!(seq > last, "{seq} after {last}");
        to.insert(seq, record.to_vec());
        Ok(())
    }
}

/// SplitMix64, so that a seed says everything.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((u128::from(z ^ (z >> 31)) * u128::from(bound)) >> 64) as u64
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    /// So many records of so many bytes.
    Append {
        records: u64,
        bytes: u64,
        sync: bool,
    },
    /// One record that repeats the bytes of the newest segment.
    AppendCopy,
    Sync,
    Rotate,
    /// Removes all before the newest but so many.
    RemoveAllBut(u64),
    /// The process ends without a word, and another one opens the log.
    Restart,
}

impl Op {
    pub(crate) fn random(random: &mut Random) -> Self {
        match random.below(16) {
            0 => Self::AppendCopy,
            1 | 2 => Self::Sync,
            3 => Self::Rotate,
            4 => Self::RemoveAllBut(random.below(20)),
            5 => Self::Restart,
            _ => Self::Append {
                records: 1 + random.below(3),
                bytes: random.below(4) * random.below(300),
                sync: random.below(3) == 0,
            },
        }
    }
}

pub(crate) struct History {
    pub(crate) disk: FaultDisk,
    options: LogOptions,
    /// `None` until it could be opened.
    log: Option<Log>,
    accepted: Records,
    /// Of these, the ones that a loss of power must not take.
    durable: BTreeSet<Seq>,
    /// What a failed sync has caught; on this machine they are there, on the disk perhaps not.
    suspect: BTreeSet<Seq>,
    /// Refused, by a log that has not said since that it has removed them.
    refused: BTreeSet<(Seq, Vec<u8>)>,
    removed_before: Seq,
    /// What was before that; a loss of power may bring it back.
    removed: BTreeSet<(Seq, Vec<u8>)>,
    made: u64,
}

impl History {
    pub(crate) fn new(segment_bytes: u64) -> Self {
        Self {
            disk: disk(),
            options: small(segment_bytes),
            log: None,
            accepted: Records::new(),
            durable: BTreeSet::new(),
            suspect: BTreeSet::new(),
            refused: BTreeSet::new(),
            removed_before: 0,
            removed: BTreeSet::new(),
            made: 0,
        }
    }

    /// Does `op`, whether it works or not, and remembers what that means.
    pub(crate) fn run(&mut self, op: Op) -> Result<(), LogError> {
        if self.log.is_none() {
            self.open(false)?;
        }
        let done = match op {
            Op::Append { records, bytes, sync } => {
                let records: Vec<_> = (0..records).map(|_| self.record(bytes)).collect();
                self.append(&records, sync)
            }
            Op::AppendCopy => {
                let files = self.disk.files();
                let newest = files.keys().rfind(|path| path.parent() == Some(dir()));
                let copy = newest.and_then(|path| self.disk.read(path).ok());
                let copy = copy.map_or(Vec::new(), |copy| copy.to_vec());
                self.append(&[copy], false)
            }
            Op::Sync => self.log().sync().inspect(|()| self.synced()),
            Op::Rotate => self.log().rotate().inspect(|()| self.synced()),
            Op::RemoveAllBut(newest) => {
                let seq = self.log().next_seq().saturating_sub(newest);
                self.removed_before = self.removed_before.max(seq);
                self.log().remove_before(seq)
            }
            Op::Restart => {
                self.log = None;
                self.open(false)
            }
        };
        if let Some(log) = &mut self.log {
            self.suspect.extend(log.take_suspect().into_iter().flatten());
        }
        done
    }

    /// Takes the power away; then a machine starts with what is left.
    pub(crate) fn crash(&mut self, seed: u64) {
        self.log = None;
        self.disk = self.disk.crash(seed);
        self.open(true).unwrap();
    }

    fn log(&mut self) -> &mut Log {
        self.log.as_mut().unwrap()
    }

    fn record(&mut self, bytes: u64) -> Vec<u8> {
        self.made += 1;
        let mut record = self.made.to_string().into_bytes();
        let mut random = Random(self.made);
        record.extend((0..bytes).map(|_| random.below(256) as u8));
        record
    }

    fn append(&mut self, records: &[Vec<u8>], sync: bool) -> Result<(), LogError> {
        let log = self.log.as_mut().unwrap();
        let numbered = (log.next_seq()..).zip(records.iter().cloned());
        let slices: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
        match log.append(&slices, sync) {
            Ok(seqs) => {
                assert_eq!(seqs.end - seqs.start, records.len() as u64);
                assert_eq!(seqs.end, log.next_seq());
                self.accepted.extend(numbered);
                self.refused.clear();
                if sync {
                    // The order is that of the log: first what a failed sync has caught.
                    self.suspect.extend(log.take_suspect().into_iter().flatten());
                    self.synced();
                }
                Ok(())
            }
            Err(error) => {
                self.refused.extend(numbered);
                Err(error)
            }
        }
    }

    fn synced(&mut self) {
        self.refused.clear();
        let all = self.accepted.keys().copied();
        self.durable = all.filter(|seq| !self.suspect.contains(seq)).collect();
    }

    fn open(&mut self, power_was_lost: bool) -> Result<(), LogError> {
        let (log, _, found) = open(&self.disk, &self.options).inspect_err(|_| {
            // Perhaps it was the sync, and no later one tells.
            let all = self.accepted.keys().copied();
            self.suspect.extend(all.filter(|seq| !self.durable.contains(seq)));
        })?;
        for (&seq, record) in &found {
            let accepted = self.accepted.get(&seq) == Some(record);
            let other = (seq, record.clone());
            let known = accepted || self.refused.contains(&other) || self.removed.contains(&other);
            assert!(known, "record {seq} was invented: {}", record.escape_ascii());
            if !accepted {
                self.suspect.insert(seq);
            }
        }
        for &seq in self.accepted.range(self.removed_before..).map(|(seq, _)| seq) {
            let needed = !power_was_lost || self.durable.contains(&seq);
            assert!(!needed || found.contains_key(&seq), "record {seq} was lost");
        }
        let last = self.durable.last().copied().unwrap_or(0);
        assert!(log.next_seq() > last, "number {} is given twice", log.next_seq());
        if power_was_lost {
            self.suspect.clear();
        }
        self.log = Some(log);
        self.removed.extend(mem::replace(&mut self.accepted, found));
        self.removed.retain(|(seq, _)| *seq < self.removed_before);
        self.synced();
        self.removed_before = self.removed_before.min(self.log().next_seq());
        Ok(())
    }
}
