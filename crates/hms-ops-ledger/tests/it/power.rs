//! Whatever call the power is lost at, or the disk refuses.

use std::sync::Arc;
use std::time::Duration;

use hms_ops_core::clock::ManualClock;
use hms_ops_core::ledger::{Entry, Fence, History, Ledger, LedgerError};
use hms_ops_ledger::FileLedger;
use hms_ops_testkit::block_on;
use hms_ops_testkit::fault_disk::{Fault, FaultDisk};

use super::{entries, lease, note, open, open_with, run, small};

/// What a ledger has been asked for, and what it has acknowledged.
#[derive(Default)]
struct Told {
    /// Whether it was acknowledged, and what.
    batches: Vec<(bool, Vec<Entry>)>,
}

impl Told {
    /// Appends twelve batches with a claim in each, three of them at a time.
    async fn tell(&mut self, ledger: &FileLedger, fence: &Fence, round: &str) {
        let ledger = &ledger;
        for i in 0..4 {
            let batch = |j| {
                let name = format!("{round} {i} {j}");
                vec![note(&name), run(&name), note(&"long ".repeat(20))]
            };
            let [a, b, c] = [batch(0), batch(1), batch(2)];
            let append = async |batch: &Vec<Entry>| ledger.append(fence, batch.clone()).await;
            let (x, y, z) = tokio::join!(append(&a), append(&b), append(&c));
            for (done, batch) in [(x, a), (y, b), (z, c)] {
                if let Err(error) = &done {
                    assert!(matches!(error, LedgerError::Backend(_)), "{error:?}");
                }
                self.batches.push((done.is_ok(), batch));
            }
        }
    }

    /// All of what was acknowledged is there, and of the rest all or nothing.
    async fn check(&self, ledger: &FileLedger, what: &str) {
        let head = ledger.verify().await.unwrap_or_else(|error| panic!("{what}: {error}"));
        let found = entries(ledger).await;
        assert_eq!(found.len() as u64, head.0, "{what}");
        let found: Vec<_> = found.iter().map(|recorded| recorded.entry.clone()).collect();
        let fence = lease(ledger).await;
        let mut kept = 0;
        for (acknowledged, batch) in &self.batches {
            let together = found.windows(3).any(|three| three == batch);
            assert!(together || !acknowledged, "{what}: {batch:?} is gone");
            let some = found.iter().any(|entry| *entry == batch[0] || *entry == batch[1]);
            assert_eq!(some, together, "{what}: {batch:?} is there in part");
            kept += if together { 3 } else { 0 };
        }
        assert_eq!(found.len(), kept, "{what}: nothing else is there");
        assert_eq!(ledger.history().await.unwrap(), History::read(ledger).await.unwrap(), "{what}");
        for (_, batch) in &self.batches {
            let claimed = found.contains(&batch[1]);
            let refused = ledger.append(&fence, vec![batch[1].clone()]).await.is_err();
            assert_eq!(refused, claimed, "{what}: {:?}", batch[1]);
        }
        ledger.verify().await.unwrap();
    }
}

/// Opens a ledger and tells it things until the disk fails.
async fn story(disk: &FaultDisk) -> Told {
    let mut told = Told::default();
    let clock = Arc::new(ManualClock::default());
    let Ok(ledger) = open_with(disk, small(clock)) else { return told };
    let lease = ledger.lease("me", Duration::from_secs(60)).await;
    let Ok(Some(fence)) = lease else { return told };
    told.tell(&ledger, &fence, "first").await;
    told
}

#[test]
fn what_was_acknowledged_survives_a_loss_of_power_at_any_call() {
    block_on(async {
        let whole = FaultDisk::new();
        let told = story(&whole).await;
        assert!(
            told.batches.len() == 12 && told.batches.iter().all(|(acknowledged, _)| *acknowledged)
        );
        for call in 1..=whole.calls() + 1 {
            let disk = FaultDisk::new();
            disk.fail_from(call, Fault::Io);
            let told = story(&disk).await;
            for seed in 0..5 {
                let after = disk.crash(seed * 1000 + call);
                told.check(&open(&after), &format!("power lost at call {call}, seed {seed}")).await;
            }
        }
    });
}

#[test]
fn a_call_that_fails_costs_the_appends_that_it_fails_and_no_others() {
    block_on(async {
        let whole = FaultDisk::new();
        story(&whole).await;
        for call in 1..=whole.calls() {
            for fault in [Fault::Io, Fault::Full, Fault::Short] {
                let disk = FaultDisk::new();
                disk.fail_at(call, fault);
                let mut told = story(&disk).await;
                disk.heal();
                let ledger = open(&disk);
                let fence = lease(&ledger).await;
                told.tell(&ledger, &fence, "second").await;
                assert!(told.batches.iter().rev().take(12).all(|(acknowledged, _)| *acknowledged));
                let what = format!("{fault:?} at call {call}");
                drop(ledger);
                told.check(&open(&disk.crash(call)), &what).await;
            }
        }
    });
}

#[test]
fn a_full_disk_refuses_and_goes_on_where_there_is_room_again() {
    block_on(async {
        let disk = FaultDisk::new();
        let ledger = open(&disk);
        let fence = lease(&ledger).await;
        let mut told = Told::default();
        told.tell(&ledger, &fence, "with room").await;
        disk.set_capacity(Some(disk.files().values().sum::<u64>() + 700));
        told.tell(&ledger, &fence, "without").await;
        let refused = told.batches.iter().filter(|(acknowledged, _)| !acknowledged).count();
        assert!(refused >= 10, "{refused}");
        disk.set_capacity(None);
        told.tell(&ledger, &fence, "again").await;
        assert!(told.batches.iter().rev().take(12).all(|(acknowledged, _)| *acknowledged));
        drop(ledger);
        told.check(&open(&disk), "after a full disk").await;
    });
}
