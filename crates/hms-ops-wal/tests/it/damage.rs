//! Bits that flip, files that are cut, and bytes that somebody made up.

use std::ops::Range;
use std::path::PathBuf;

use hms_ops_testkit::fault_disk::FaultDisk;
use hms_ops_wal::disk::{Disk, DiskFileExt};
use hms_ops_wal::log::{Log, LogError, LogOptions};
use proptest::prelude::*;

use crate::history::{self, Records, dir, disk, small};

const HEADER: u64 = 64;
const FRAME: u64 = 20;

/// A log of a few segments.
struct Written {
    disk: FaultDisk,
    options: LogOptions,
    records: Records,
    /// Where each record's frame is.
    frames: Vec<(u64, PathBuf, Range<u64>)>,
    segments: Vec<(PathBuf, u64)>,
}

fn written() -> Written {
    let (disk, options) = (disk(), small(250));
    let (mut log, ..) = history::open(&disk, &options).unwrap();
    let (mut records, mut frames) = (Records::new(), Vec::new());
    for n in 0..9_u8 {
        let record = vec![b'a' + n; usize::from(n) * 7 % 60];
        let seq = log.append(&[&record], true).unwrap().start;
        let (path, len) = disk.files().into_iter().next_back().unwrap();
        frames.push((seq, path, len - FRAME - record.len() as u64..len));
        records.insert(seq, record);
    }
    let segments: Vec<_> = disk.files().into_iter().collect();
    assert_eq!(segments.len(), 3);
    Written { disk, options, records, frames, segments }
}

impl Written {
    /// A copy to do harm to. Nothing is lost in it, since all is synced.
    fn copy(&self) -> FaultDisk {
        self.disk.crash(0)
    }

    fn without(&self, lost: impl Fn(&PathBuf, &Range<u64>) -> bool) -> Records {
        let lost = self.frames.iter().filter(|(_, path, frame)| lost(path, frame));
        let lost: Vec<u64> = lost.map(|(seq, ..)| *seq).collect();
        self.records.clone().into_iter().filter(|(seq, _)| !lost.contains(seq)).collect()
    }
}

#[test]
fn a_flipped_bit_costs_the_record_that_it_hits_and_nothing_else() {
    let log = written();
    for (path, len) in &log.segments {
        for bit in 0..len * 8 {
            let at = bit / 8;
            let expected = log.without(|other, frame| other == path && frame.contains(&at));
            log.disk.flip_bit(path, bit);
            let (recovery, records) = history::read(&log.disk, &log.options);
            assert_eq!(records, expected, "bit {bit} of {}", path.display());
            let found = recovery.torn_bytes + recovery.damaged_bytes;
            let frame = log.frames.iter().find(|(_, p, frame)| p == path && frame.contains(&at));
            assert_eq!(found, frame.map_or(0, |(.., frame)| frame.end - frame.start), "bit {bit}");
            log.disk.flip_bit(path, bit);
        }
    }
}

#[test]
fn a_log_with_a_flipped_bit_opens_and_goes_on() {
    let log = written();
    for (path, len) in &log.segments {
        for at in 0..*len {
            let disk = log.copy();
            disk.flip_bit(path, at * 8 + at % 8);
            goes_on(&disk, &log, |other, frame| other == path && frame.contains(&at));
        }
    }
}

#[test]
fn a_cut_file_costs_what_was_behind_the_cut_and_nothing_else() {
    let log = written();
    for (path, len) in &log.segments {
        for cut in 0..*len {
            let disk = log.copy();
            disk.cut(path, cut);
            goes_on(&disk, &log, |other, frame| other == path && frame.end > cut);
        }
    }
}

fn goes_on(disk: &FaultDisk, log: &Written, lost: impl Fn(&PathBuf, &Range<u64>) -> bool) {
    let mut expected = log.without(lost);
    let (mut opened, recovery, records) = history::open(disk, &log.options).unwrap();
    assert_eq!(records, expected);
    assert!(recovery.damaged.iter().all(|damage| damage.copied));
    let next = opened.append(&[b"after"], true).unwrap().start;
    expected.insert(next, b"after".to_vec());
    let (again, records) = history::read(&disk.crash(1), &log.options);
    assert_eq!(records, expected);
    assert_eq!((again.torn_bytes, again.damaged_bytes), (0, recovery.damaged_bytes));
}

#[test]
fn a_segment_whose_header_is_lost_is_damage_as_a_whole_and_its_numbers_are_not_given_again() {
    let log = written();
    for (path, len) in &log.segments {
        let disk = log.copy();
        disk.flip_bit(path, 0);
        disk.flip_bit(path, HEADER / 2 * 8);
        let (opened, recovery, records) = history::open(&disk, &log.options).unwrap();
        assert_eq!(records, log.without(|other, _| other == path));
        assert_eq!((recovery.damaged_stretches, recovery.damaged_bytes), (1, *len));
        assert!(opened.next_seq() > 9);
        goes_on(&disk, &log, |other, _| other == path);
    }
}

#[test]
fn a_copy_of_a_segment_under_another_name_delivers_nothing_twice() {
    let log = written();
    let bytes = log.disk.read(&log.segments[1].0).unwrap();
    let mut copy = log.disk.create(&dir().join("00000000000000000100.wal")).unwrap();
    copy.write_all(&bytes).unwrap();
    let (opened, _, records) = history::open(&log.disk, &log.options).unwrap();
    assert_eq!(records, log.records);
    assert!(opened.next_seq() >= 100);
}

#[test]
fn frames_within_a_record_are_never_taken_for_records() {
    let (disk, options) = (disk(), LogOptions::default());
    let (mut log, ..) = history::open(&disk, &options).unwrap();
    log.append(&[b"one", b"two", b"three"], true).unwrap();
    let (path, len) = disk.files().into_iter().next().unwrap();
    // Whole frames of this very file, with its salt and numbers.
    let hostile = disk.read(&path).unwrap();
    log.append(&[&hostile, b"five"], true).unwrap();
    // Without the frames that they repeat, and without the header in front of them.
    let broken = [HEADER + 4, HEADER + FRAME + 3 + 4, HEADER + 2 * (FRAME + 3) + 4];
    for at in broken.into_iter().chain(len..len + FRAME) {
        disk.flip_bit(&path, at * 8);
    }
    let (recovery, records) = history::read(&disk, &options);
    assert_eq!(records, [(5, b"five".to_vec())].into());
    assert_eq!(recovery.damaged_stretches, 1);
}

#[test]
fn damage_is_copied_once_and_stays_where_it_is() {
    let log = written();
    let (_, path, frame) = &log.frames[1];
    log.disk.flip_bit(path, frame.start * 8);
    let damaged = log.disk.read(path).unwrap();
    for _ in 0..2 {
        let (_, recovery, _) = history::open(&log.disk, &log.options).unwrap();
        let damage = &recovery.damaged[0];
        assert_eq!((damage.offset, damage.len), (frame.start, frame.end - frame.start));
        let copy = format!("quarantine/{}-{}", damage.segment, damage.offset);
        let copy = log.disk.read(&dir().join(copy)).unwrap();
        assert_eq!(*copy, damaged[frame.start as usize..frame.end as usize]);
        assert_eq!(log.disk.list(&dir().join("quarantine")).unwrap().len(), 1);
        assert_eq!(*log.disk.read(path).unwrap(), *damaged);
    }
}

#[test]
fn a_log_opens_when_there_is_no_room_for_a_copy_of_its_damage() {
    let log = written();
    let (_, path, frame) = &log.frames[1];
    log.disk.flip_bit(path, frame.start * 8);
    log.disk.set_capacity(Some(log.disk.files().values().sum::<u64>() + 3));
    let (_, recovery, records) = history::open(&log.disk, &log.options).unwrap();
    assert_eq!(records.len(), 8);
    assert!(!recovery.damaged[0].copied);
    // The half that fitted is made anew.
    log.disk.set_capacity(None);
    let (_, recovery, _) = history::open(&log.disk, &log.options).unwrap();
    assert!(recovery.damaged[0].copied);
}

#[test]
fn copies_of_damage_do_not_fill_the_disk() {
    let log = written();
    let garbage = log.disk.create(&dir().join("00000000000000000003.wal"));
    garbage.unwrap().write_all(&vec![7; 65 << 20]).unwrap();
    let (_, recovery, records) = history::open(&log.disk, &log.options).unwrap();
    assert_eq!(records, log.records);
    assert_eq!(recovery.damaged_bytes, 65 << 20);
    assert!(!recovery.damaged[0].copied);
}

#[derive(Clone, Debug)]
enum Harm {
    Flip(usize, u64),
    Cut(usize, u64),
    /// Puts bytes of one place over another.
    Copy {
        segment: usize,
        from: u64,
        to: u64,
        len: u64,
    },
}

fn harm() -> impl Strategy<Value = Harm> {
    let segment = || 0..3_usize;
    prop_oneof![
        4 => (segment(), any::<u64>()).prop_map(|(segment, bit)| Harm::Flip(segment, bit)),
        1 => (segment(), any::<u64>()).prop_map(|(segment, len)| Harm::Cut(segment, len)),
        2 => (segment(), any::<u64>(), any::<u64>(), 1..100_u64)
            .prop_map(|(segment, from, to, len)| Harm::Copy { segment, from, to, len }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..Default::default() })]

    #[test]
    fn whatever_is_done_to_a_log_it_delivers_its_own_records_in_order(
        harms in prop::collection::vec(harm(), 1..8)
    ) {
        let log = written();
        let disk = log.copy();
        for harm in harms {
            let (Harm::Flip(segment, _) | Harm::Cut(segment, _) | Harm::Copy { segment, .. }) = harm;
            let path = &log.segments[segment].0;
            let len = disk.files()[path];
            match harm {
                _ if len == 0 => {}
                Harm::Flip(_, bit) => disk.flip_bit(path, bit % (len * 8)),
                Harm::Cut(_, to) => disk.cut(path, to % len),
                Harm::Copy { from, to, len: bytes, .. } => {
                    let mut content = disk.read(path).unwrap().to_vec();
                    let (from, to) = ((from % len) as usize, (to % len) as usize);
                    let end = content.len().min(from + bytes as usize);
                    let end = end.min(from + content.len() - to);
                    content.copy_within(from..end, to);
                    disk.cut(path, 0);
                    disk.open(path).unwrap().write_all(&content).unwrap();
                }
            }
        }
        let (mut opened, _, records) = history::open(&disk, &log.options).unwrap();
        for (seq, record) in &records {
            prop_assert_eq!(log.records.get(seq), Some(record));
        }
        let next = opened.append(&[b"after"], true).unwrap().start;
        let (_, again) = history::read(&disk, &log.options);
        prop_assert_eq!(again.len(), records.len() + 1);
        prop_assert_eq!(&*again[&next], b"after");
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let disk = disk();
        disk.create_dir(dir()).unwrap();
        let path = dir().join("00000000000000000001.wal");
        disk.create(&path).unwrap().write_all(&bytes).unwrap();
        let ignore = |_, _: &[u8]| Ok::<_, LogError>(());
        let recovery = Log::read(&disk, dir(), &LogOptions::default(), ignore).unwrap();
        prop_assert_eq!(recovery.records, 0);
    }
}
