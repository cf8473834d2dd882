//! A log on a disk on which all is well.

use std::sync::Arc;

use hms_ops_wal::disk::Disk;
use hms_ops_wal::log::{Log, LogError, LogOptions};

use crate::history::{self, dir, disk, small};

#[test]
fn records_are_numbered_from_one_and_read_back_in_order() {
    let (disk, options) = (disk(), small(100));
    let (mut log, ..) = history::open(&disk, &options).unwrap();
    assert_eq!(log.next_seq(), 1);
    assert_eq!(log.append(&[b"a", b"", &[3; 500]], false).unwrap(), 1..4);
    assert_eq!(log.append(&[], true).unwrap(), 4..4);
    assert_eq!(log.append(&[b"d"], true).unwrap(), 4..5);
    drop(log);
    let (log, recovery, records) = history::open(&disk, &options).unwrap();
    let expected = [b"a".to_vec(), vec![], vec![3; 500], b"d".to_vec()];
    assert_eq!(records, (1..).zip(expected).collect());
    assert_eq!((recovery.records, recovery.torn_bytes, recovery.damaged_bytes), (4, 0, 0));
    assert_eq!(log.next_seq(), 5);
}

#[test]
fn a_batch_stays_in_one_segment_and_a_segment_within_its_size() {
    let (disk, options) = (disk(), small(1000));
    let (mut log, ..) = history::open(&disk, &options).unwrap();
    for _ in 0..20 {
        log.append(&[&[1; 100], &[2; 100]], false).unwrap();
    }
    let files = disk.files();
    assert_eq!(files.len(), 7);
    assert!(files.values().all(|&bytes| bytes <= 1000), "{files:?}");
    assert_eq!(log.bytes(), files.values().sum::<u64>());
    log.append(&[&[0; 5000]], false).unwrap();
    assert!(disk.files().values().any(|&bytes| bytes > 5000));
}

#[test]
fn an_open_log_is_read_segment_by_segment_from_any_number() {
    let (disk, options) = (disk(), small(250));
    let (mut log, ..) = history::open(&disk, &options).unwrap();
    for n in 1..12 {
        log.append(&[&[n; 50]], false).unwrap();
    }
    let segments: Vec<_> = log.segments().collect();
    assert!(segments.len() > 2 && segments[0] == 1, "{segments:?}");
    for from in 0..14 {
        let mut read = Vec::new();
        let end = log.read_segment(from, |seq, record| {
            assert_eq!(record, [seq as u8; 50]);
            read.push(seq);
            Ok::<_, LogError>(())
        });
        let end = end.unwrap();
        let next = segments.iter().find(|&&first| first > from.max(1));
        assert_eq!(end, next.copied().unwrap_or(12), "from {from}");
        assert_eq!(read, (from.max(1)..end).collect::<Vec<_>>(), "from {from}");
    }
}

#[test]
fn segments_before_a_number_are_removed_and_the_numbers_go_on() {
    let (disk, options) = (disk(), small(250));
    let (mut log, ..) = history::open(&disk, &options).unwrap();
    for n in 0..12 {
        log.append(&[&[n; 50]], true).unwrap();
    }
    log.remove_before(6).unwrap();
    let (_, records) = history::read(&disk, &options);
    // Record 5 shares a segment with 6.
    assert_eq!(records.keys().copied().collect::<Vec<_>>(), [5, 6, 7, 8, 9, 10, 11, 12]);
    log.rotate().unwrap();
    log.rotate().unwrap();
    log.remove_before(u64::MAX).unwrap();
    assert_eq!(disk.files().len(), 1);
    drop(log);
    let (mut log, _, records) = history::open(&disk.crash(3), &options).unwrap();
    assert_eq!(records.len(), 0);
    assert_eq!(log.append(&[b"x"], false).unwrap(), 13..14);
}

#[test]
fn numbers_that_the_owner_has_used_elsewhere_are_not_given() {
    let disk = disk();
    for first_seq in [7, 3, 20] {
        let options = LogOptions { first_seq, ..LogOptions::default() };
        let (mut log, ..) = history::open(&disk, &options).unwrap();
        let next = log.next_seq();
        assert!(next >= first_seq);
        assert_eq!(log.append(&[b"x"], true).unwrap().start, next);
        log.rotate().unwrap();
    }
    let (recovery, records) = history::read(&disk, &LogOptions::default());
    assert_eq!(records.into_keys().collect::<Vec<_>>(), [7, 8, 20]);
    assert_eq!(recovery.damaged_stretches, 0);
    // The empty segment 9 is gone.
    assert_eq!(disk.files().len(), 4);
}

#[test]
fn a_new_log_writes_nothing_before_its_first_record() {
    let disk = disk();
    let (log, ..) = history::open(&disk, &LogOptions::default()).unwrap();
    assert_eq!((log.bytes(), disk.files().len()), (0, 0));
    assert!(!log.unsynced());
}

#[test]
fn what_is_not_synced_is_said() {
    let disk = disk();
    let (mut log, ..) = history::open(&disk, &LogOptions::default()).unwrap();
    log.append(&[b"a"], false).unwrap();
    assert!(log.unsynced());
    log.sync().unwrap();
    assert!(!log.unsynced());
    log.append(&[b"b"], false).unwrap();
    log.append(&[b"c"], true).unwrap();
    assert!(!log.unsynced());
}

#[test]
fn one_call_writes_a_whole_batch() {
    let disk = disk();
    let (mut log, ..) = history::open(&disk, &LogOptions::default()).unwrap();
    log.append(&[b"first"], true).unwrap();
    let before = disk.calls();
    log.append(&[b"a", b"b", &[9; 20_000]], false).unwrap();
    assert_eq!(disk.calls() - before, 1);
    log.append(&[b"c"], true).unwrap();
    assert_eq!(disk.calls() - before, 3);
}

#[test]
fn a_record_over_the_limit_is_refused_and_so_are_those_beside_it() {
    let (disk, options) = (disk(), LogOptions { max_record_bytes: 10, ..LogOptions::default() });
    let (mut log, ..) = history::open(&disk, &options).unwrap();
    let error = log.append(&[b"small", &[0; 11]], false).unwrap_err();
    assert_eq!(error.to_string(), "a record of 11 bytes is over the limit of 10");
    assert_eq!(log.append(&[&[0; 10]], false).unwrap(), 1..2);
}

#[test]
fn a_log_of_another_kind_is_refused_by_name() {
    let disk = disk();
    let (mut log, ..) = history::open(&disk, &LogOptions::default()).unwrap();
    log.append(&[b"a"], true).unwrap();
    drop(log);
    let options = LogOptions { kind: *b"ldgr", ..LogOptions::default() };
    let error = history::open(&disk, &options).unwrap_err();
    let path = dir().join("00000000000000000001.wal");
    assert_eq!(error.to_string(), format!("{} holds `log `, not `ldgr`", path.display()));
}

#[test]
fn an_error_of_the_owner_ends_the_replay_and_changes_nothing() {
    let (disk, options) = (disk(), LogOptions::default());
    let (mut log, ..) = history::open(&disk, &options).unwrap();
    log.append(&[b"a", b"b", b"c"], true).unwrap();
    drop(log);
    let (path, len) = disk.files().into_iter().next().unwrap();
    disk.cut(&path, len - 1);

    #[derive(Debug)]
    enum Mine {
        NotToday,
        Log,
    }
    impl From<LogError> for Mine {
        fn from(_: LogError) -> Self {
            Self::Log
        }
    }
    let mut seen = 0;
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let error = Log::open(shared, dir(), options, |_, _| {
        seen += 1;
        Err(Mine::NotToday)
    });
    assert!(matches!(error, Err(Mine::NotToday)));
    assert_eq!((seen, disk.files()[&path]), (1, len - 1));
}

#[test]
fn reading_changes_nothing() {
    let (disk, options) = (disk(), LogOptions::default());
    let (mut log, ..) = history::open(&disk, &options).unwrap();
    log.append(&[b"a", b"b", b"c"], true).unwrap();
    let (path, len) = disk.files().into_iter().next().unwrap();
    disk.flip_bit(&path, 70 * 8);
    disk.cut(&path, len - 1);
    let (recovery, records) = history::read(&disk, &options);
    assert_eq!(records, [(2, b"b".to_vec())].into());
    assert_eq!((recovery.torn_bytes, recovery.damaged_bytes), (20, 21));
    assert_eq!(disk.files(), [(path, len - 1)].into());
}
