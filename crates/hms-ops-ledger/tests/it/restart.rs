//! What a ledger knows when it is opened again, and what it drops.

use std::sync::Arc;
use std::time::Duration;

use hms_ops_core::clock::ManualClock;
use hms_ops_core::ledger::{Event, Ledger, LedgerError, Seq};
use hms_ops_core::time::Timestamp;
use hms_ops_ledger::{FileLedger, FileLedgerError, FileLedgerOptions};
use hms_ops_testkit::block_on;
use hms_ops_testkit::fault_disk::FaultDisk;

use super::{entries, entry, execution, is_claimed, lease, note, open, open_with, run, small};

#[test]
fn a_restart_keeps_entries_claims_and_what_they_add_up_to() {
    block_on(async {
        let disk = FaultDisk::new();
        let mut known = Vec::new();
        for round in 0..6 {
            let ledger = open(&disk);
            assert_eq!(entries(&ledger).await, known);
            let fence = lease(&ledger).await;
            for earlier in 0..round {
                assert!(is_claimed(&ledger, &fence, &format!("incident {earlier}")).await);
            }
            ledger.append(&fence, vec![run(&format!("incident {round}"))]).await.unwrap();
            for i in 0..round * 3 {
                ledger.append(&fence, vec![note(&format!("{round} {i}"))]).await.unwrap();
            }
            known = entries(&ledger).await;
            let history = ledger.history().await.unwrap();
            assert_eq!(history.open_runs.len(), round + 1);
            drop(ledger);
            let again = open(&disk);
            assert_eq!(again.history().await.unwrap(), history);
            assert_eq!(again.verify().await.unwrap(), history.seq);
        }
    });
}

#[test]
fn the_next_process_has_the_lease_at_once_and_with_a_higher_epoch() {
    block_on(async {
        let disk = FaultDisk::new();
        let mut last = None;
        for _ in 0..4 {
            let ledger = open(&disk);
            if let Some(old) = &last {
                let error = ledger.append(old, vec![note("late")]).await.unwrap_err();
                assert!(matches!(error, LedgerError::Fenced { .. }), "{error:?}");
            }
            let fence = lease(&ledger).await;
            assert!(last.is_none_or(|old| fence.epoch > old.epoch));
            last = Some(fence);
        }
    });
}

#[test]
fn a_folder_has_one_ledger_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let open = || FileLedger::open(folder.path(), FileLedgerOptions::default());
    let ledger = open().unwrap();
    let error = open().unwrap_err();
    assert!(matches!(error, FileLedgerError::InUse { .. }), "{error:?}");
    drop(ledger);
    open().unwrap();
}

#[test]
fn beyond_its_bytes_the_oldest_segments_go_and_claims_stay() {
    block_on(async {
        let disk = FaultDisk::new();
        let options = || FileLedgerOptions {
            retention_bytes: 5000,
            ..small(Arc::new(ManualClock::default()))
        };
        let ledger = open_with(&disk, options()).unwrap();
        let fence = lease(&ledger).await;
        ledger.append(&fence, vec![run("first")]).await.unwrap();
        for i in 0..300 {
            ledger.append(&fence, vec![note(&format!("{i}"))]).await.unwrap();
        }
        let check = async |ledger: &FileLedger| {
            let found = entries(ledger).await;
            assert!(found.len() > 3 && found.len() < 40, "{}", found.len());
            assert_eq!(found.last().unwrap().seq, Seq(301));
            assert_eq!(ledger.verify().await.unwrap(), Seq(301));
            assert_eq!(ledger.history().await.unwrap().open_runs.len(), 1);
            let fence = lease(ledger).await;
            assert!(is_claimed(ledger, &fence, "first").await);
        };
        check(&ledger).await;
        let bytes: u64 = disk.files().values().sum();
        assert!(bytes < 10_000, "{bytes}");
        drop(ledger);
        // Whichever of the dropped segments a loss of power brings back.
        for seed in 0..50 {
            check(&open_with(&disk.crash(seed), options()).unwrap()).await;
        }
    });
}

#[test]
fn beyond_their_age_the_oldest_segments_go() {
    block_on(async {
        let clock = Arc::new(ManualClock::at(Timestamp::from_millis(0)));
        let retention = Duration::from_secs(100);
        let options = FileLedgerOptions { retention, ..small(clock.clone()) };
        let ledger = open_with(&FaultDisk::new(), options).unwrap();
        let fence = lease(&ledger).await;
        for second in 0..300 {
            clock.set(Timestamp::from_millis(second * 1000));
            ledger.append(&fence, vec![note(&format!("{second}"))]).await.unwrap();
        }
        let oldest = entries(&ledger).await[0].seq.0;
        assert!((180..=200).contains(&oldest), "{oldest}");
        assert_eq!(ledger.verify().await.unwrap(), Seq(300));
    });
}

#[test]
fn an_append_that_is_too_large_is_refused_by_its_size() {
    block_on(async {
        let ledger = open(&FaultDisk::new());
        let fence = lease(&ledger).await;
        let error = ledger.append(&fence, vec![note(&"x".repeat(17 << 20))]).await.unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains("the limit is 16777216"), "{source}");
        assert_eq!(ledger.append(&fence, vec![note("x")]).await.unwrap(), Seq(1));
    });
}

#[test]
fn an_entry_that_nobody_could_read_back_is_refused() {
    block_on(async {
        let ledger = open(&FaultDisk::new());
        let fence = lease(&ledger).await;
        let deep =
            |depth| (0..depth).fold(serde_json::json!(1), |inner, _| serde_json::json!([inner]));
        let call = |depth| {
            let (execution, capability) = (execution("x"), "mesh.shift".to_owned());
            entry(Event::CallIntent { execution, call: 1, capability, args: deep(depth) })
        };
        ledger.append(&fence, vec![call(100)]).await.unwrap();
        ledger.append(&fence, vec![note("x"), call(200)]).await.unwrap_err();
        assert_eq!(ledger.append(&fence, vec![note("y")]).await.unwrap(), Seq(2));
        assert_eq!(entries(&ledger).await.len(), 2);
    });
}
