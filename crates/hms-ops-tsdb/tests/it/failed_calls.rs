//! Calls that fail leave nothing behind, and can be made again.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hms_ops_core::labels::Labels;
use hms_ops_testkit::block_on;
use hms_ops_testkit::fault_disk::FaultDisk;
use hms_ops_tsdb::{Tsdb, TsdbError};

use crate::scene::{Mishap, befall, fill, fresh, prepare_compaction, reopen, sample, seconds};
use crate::world::{DIR, options};

fn import(store: &Tsdb) -> Result<(), TsdbError> {
    store.import([(Labels::metric("imported"), vec![sample(0), sample(10)])])
}

#[test]
fn an_import_that_fails_adds_nothing() {
    block_on(async {
        for mishap in [Mishap::Fault, Mishap::Outage] {
            for n in 1.. {
                let (disk, store) = fresh();
                let mut imported = Ok(());
                let step = |store: &Tsdb| imported = import(store);
                let Some((disk, store)) = befall(mishap, n, disk, store, step) else { break };
                let expected = if imported.is_ok() { &[0, 10][..] } else { &[] };
                let found = seconds(&store, "imported").await;
                assert_eq!(found, expected, "{mishap:?} at call {n}");
                store.maintain().unwrap();
                let found = seconds(&reopen(&disk, store), "imported").await;
                assert_eq!(found, expected, "{mishap:?} at call {n}, opened again");
            }
        }
    });
}

#[test]
fn a_snapshot_that_fails_can_be_taken_again_at_the_same_place() {
    block_on(async {
        let to = Path::new("/data/snapshot");
        for n in 1.. {
            let (disk, store) = fresh();
            fill(&store, "up", 0..60).await;
            store.seal().unwrap();
            fill(&store, "up", 60..120).await;
            let mut taken = Ok(());
            let step = |store: &Tsdb| taken = store.snapshot(to);
            let Some((disk, store)) = befall(Mishap::Fault, n, disk, store, step) else { break };
            if taken.is_err() {
                store.snapshot(to).unwrap();
            }
            let copy = Tsdb::open_on(Arc::new(disk), to, options()).unwrap();
            assert_eq!(seconds(&copy, "up").await, seconds(&store, "up").await, "call {n}");
        }
    });
}

/// Files of blocks that are not there as a whole.
fn leftovers(disk: &FaultDisk) -> Vec<PathBuf> {
    let files = disk.files();
    let is_whole = |file: &PathBuf| {
        ["block", "index"].iter().all(|half| files.contains_key(&file.with_extension(half)))
    };
    let of_blocks = files.keys().filter(|file| file.starts_with(Path::new(DIR).join("blocks")));
    of_blocks.filter(|file| !is_whole(file)).cloned().collect()
}

/// After each mishap of `step` a maintenance that goes well leaves no sample twice, and no file over.
async fn sweep_after(step: impl Fn(&Tsdb)) {
    for mishap in [Mishap::Fault, Mishap::Outage] {
        for n in 1.. {
            let (disk, store) = fresh();
            prepare_compaction(&store).await;
            fill(&store, "later", 210..220).await;
            let Some((disk, store)) = befall(mishap, n, disk, store, &step) else { break };
            store.maintain().unwrap();
            let mut served = 0;
            for metric in ["up", "later", "imported"] {
                served += seconds(&store, metric).await.len() as u64;
            }
            store.close().unwrap();
            let report = Tsdb::verify_on(&disk, Path::new(DIR)).unwrap();
            assert_eq!(report.samples, served, "{mishap:?} at call {n}");
            assert_eq!(leftovers(&disk), [] as [PathBuf; 0], "{mishap:?} at call {n}");
        }
    }
}

#[test]
fn what_a_seal_that_fails_has_left_is_swept_away() {
    block_on(sweep_after(|store| drop(store.seal())));
}

#[test]
fn what_an_import_that_fails_has_left_is_swept_away() {
    block_on(sweep_after(|store| drop(import(store))));
}

#[test]
fn what_a_compaction_that_fails_has_left_is_swept_away() {
    block_on(sweep_after(|store| drop(store.maintain())));
}
