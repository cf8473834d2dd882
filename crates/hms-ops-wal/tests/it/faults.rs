//! Calls that fail.

use hms_ops_testkit::fault_disk::{Fault, FaultDisk};
use hms_ops_wal::log::{LogError, LogOptions};

use crate::history::{self, History, Op, disk, small};

const STORY: &[Op] = &[
    Op::Append { records: 2, bytes: 40, sync: true },
    Op::Append { records: 1, bytes: 100, sync: false },
    Op::Append { records: 3, bytes: 10, sync: false },
    Op::Sync,
    Op::Append { records: 1, bytes: 300, sync: false },
    Op::Append { records: 1, bytes: 0, sync: true },
    Op::Rotate,
    Op::Append { records: 2, bytes: 200, sync: true },
    Op::RemoveAllBut(5),
    Op::Append { records: 1, bytes: 20, sync: false },
    Op::Restart,
    Op::Append { records: 1, bytes: 600, sync: false },
    Op::Append { records: 1, bytes: 30, sync: true },
];

/// Tells the story once for each call that it makes, with `faults` beginning at that call. Then all
/// is well again, and what was accepted must be there, and what was refused must not.
fn for_each_call(faults: impl Fn(&FaultDisk, u64)) {
    let mut undisturbed = History::new(400);
    let before = undisturbed.disk.calls();
    STORY.iter().for_each(|&op| undisturbed.run(op).unwrap());
    let calls = undisturbed.disk.calls() - before;
    assert!(calls > 40);
    for call in 1..=calls {
        let mut history = History::new(400);
        faults(&history.disk, call);
        for &op in STORY {
            // It may fail; the history remembers what follows from that.
            let _ = history.run(op);
        }
        history.disk.heal();
        history.run(Op::Append { records: 1, bytes: 50, sync: true }).unwrap();
        history.run(Op::Restart).unwrap();
        for seed in 0..5 {
            history.crash(seed);
        }
    }
}

#[test]
fn a_device_that_fails_at_any_call_costs_what_it_refused_and_nothing_else() {
    for_each_call(|disk, call| disk.fail_at(call, Fault::Io));
}

#[test]
fn a_disk_that_is_full_at_any_call_costs_what_it_refused_and_nothing_else() {
    for_each_call(|disk, call| disk.fail_at(call, Fault::Full));
}

#[test]
fn a_short_write_is_no_error() {
    for_each_call(|disk, call| disk.fail_at(call, Fault::Short));
}

#[test]
fn a_short_write_and_then_an_error_leave_no_half_frame() {
    for_each_call(|disk, call| {
        disk.fail_at(call, Fault::Short);
        disk.fail_at(call + 1, Fault::Full);
    });
}

#[test]
fn two_calls_that_fail_leave_no_half_frame_either() {
    for_each_call(|disk, call| {
        disk.fail_at(call, Fault::Short);
        disk.fail_at(call + 1, Fault::Io);
        disk.fail_at(call + 2, Fault::Io);
        disk.fail_at(call + 3, Fault::Io);
    });
}

#[test]
fn a_device_that_stays_away_from_any_call_on_is_back_when_it_is_back() {
    for_each_call(|disk, call| disk.fail_from(call, Fault::Io));
}

#[test]
fn a_log_that_cannot_remove_what_it_refused_refuses_everything_until_it_can() {
    let (disk, options) = (disk(), LogOptions::default());
    let (mut log, ..) = history::open(&disk, &options).unwrap();
    log.append(&[b"kept"], true).unwrap();
    disk.fail_at(1, Fault::Short);
    disk.fail_from(2, Fault::Io);
    assert!(matches!(
        log.append(&[b"refused"], false),
        Err(LogError::Io { action: "write to", .. })
    ));
    for _ in 0..3 {
        assert!(matches!(log.append(&[b"x"], false), Err(LogError::Io { action: "cut", .. })));
        assert!(matches!(log.sync(), Err(LogError::Io { action: "cut", .. })));
    }
    disk.heal();
    assert_eq!(log.append(&[b"next"], true).unwrap(), 2..3);
    let (recovery, records) = history::read(&disk, &options);
    assert_eq!(records, [(1, b"kept".to_vec()), (2, b"next".to_vec())].into());
    assert_eq!((recovery.torn_bytes, recovery.damaged_bytes), (0, 0));
}

#[test]
fn records_that_a_failed_sync_has_caught_are_named_until_somebody_takes_note() {
    let (disk, options) = (disk(), LogOptions::default());
    let (mut log, ..) = history::open(&disk, &options).unwrap();
    log.append(&[b"safe"], true).unwrap();
    log.append(&[b"two", b"three"], false).unwrap();
    disk.fail_at(2, Fault::Io);
    assert!(matches!(log.append(&[b"four"], true), Err(LogError::Io { action: "sync", .. })));
    assert_eq!(log.next_seq(), 4);
    // The next sync works, and proves nothing of those two.
    assert!(matches!(log.sync(), Err(LogError::Suspect { from: 2, to: 3 })));
    assert!(matches!(log.sync(), Err(LogError::Suspect { from: 2, to: 3 })));
    assert_eq!(log.append(&[b"another four"], true).unwrap(), 4..5);
    assert!(log.unsynced());
    assert_eq!(log.take_suspect(), Some(2..4));
    assert!(!log.unsynced());
    assert_eq!(log.append(&[b"two again", b"three again"], true).unwrap(), 5..7);
    log.sync().unwrap();
    for seed in 0..100 {
        let (_, records) = history::read(&disk.crash(seed), &options);
        let expected: [&[u8]; 4] = [b"safe", b"another four", b"two again", b"three again"];
        assert_eq!([1, 4, 5, 6].map(|seq| &*records[&seq]), expected);
    }
}

#[test]
fn a_full_disk_refuses_until_there_is_room_and_opens_meanwhile() {
    let (disk, options) = (disk(), small(500));
    let (mut log, ..) = history::open(&disk, &options).unwrap();
    disk.set_capacity(Some(1000));
    let accepted = (0..100).take_while(|_| log.append(&[&[7; 50]], true).is_ok()).count();
    assert!((8..14).contains(&accepted), "{accepted}");
    drop(log);
    let (mut log, _, records) = history::open(&disk, &options).unwrap();
    assert_eq!(records.len(), accepted);
    assert!(log.append(&[&[7; 50]], true).is_err());
    log.remove_before(log.next_seq()).unwrap();
    assert_eq!(log.append(&[&[7; 50]], true).unwrap().start, accepted as u64 + 1);
}
