//! What is deleted is gone, and does not come back.

use hms_ops_core::labels::Labels;
use hms_ops_core::matcher::Matcher;
use hms_ops_core::store::{SelectHint, Store};
use hms_ops_core::time::TimeRange;
use hms_ops_testkit::block_on;
use hms_ops_tsdb::Tsdb;

use crate::scene::{
    Mishap, NOTHING, at, befall, fill, fresh, open, prepare_compaction, put_exemplar, reopen,
    seconds,
};

#[test]
fn a_series_of_which_everything_is_deleted_is_not_listed() {
    block_on(async {
        let (_disk, store) = fresh();
        fill(&store, "up", 0..100).await;
        store.delete(&[], TimeRange::ALL).unwrap();
        assert_eq!(seconds(&store, "up").await, NOTHING);
        assert_eq!(store.series(&[], TimeRange::ALL).await.unwrap(), Vec::<Labels>::new());
    });
}

#[test]
fn the_last_sample_is_the_last_that_is_not_deleted() {
    block_on(async {
        let (_disk, store) = fresh();
        fill(&store, "up", 0..100).await;
        store.delete(&[], TimeRange::new(at(50), at(1000))).unwrap();
        let hint = SelectHint { only_last: true };
        let mut found = store.select(&[], TimeRange::ALL, &hint).await.unwrap();
        assert!(found.advance().unwrap());
        let mut samples = Vec::new();
        found.read(&mut samples).unwrap();
        assert_eq!(samples.last().unwrap().at, at(40));
    });
}

#[test]
fn a_deleted_sample_may_be_written_again() {
    block_on(async {
        let (disk, store) = fresh();
        fill(&store, "up", 0..100).await;
        store.delete(&[], TimeRange::ALL).unwrap();
        fill(&store, "up", 90..91).await;
        assert_eq!(seconds(&store, "up").await, [90]);
        let store = reopen(&disk, store);
        assert_eq!(seconds(&store, "up").await, [90]);
    });
}

#[test]
fn a_deleted_exemplar_may_be_written_again() {
    block_on(async {
        let (_disk, store) = fresh();
        put_exemplar(&store, "up", 0).await;
        store.delete(&[], TimeRange::ALL).unwrap();
        assert_eq!(store.exemplars(&[], TimeRange::ALL).await.unwrap(), []);
        put_exemplar(&store, "up", 0).await;
        assert_eq!(store.exemplars(&[], TimeRange::ALL).await.unwrap().len(), 1);
    });
}

#[test]
fn exemplars_are_deleted_also_when_their_samples_are_sealed() {
    block_on(async {
        let (disk, store) = fresh();
        put_exemplar(&store, "up", 0).await;
        store.seal().unwrap();
        store.delete(&[], TimeRange::ALL).unwrap();
        assert_eq!(store.exemplars(&[], TimeRange::ALL).await.unwrap(), []);
        let store = reopen(&disk, store);
        assert_eq!(store.exemplars(&[], TimeRange::ALL).await.unwrap(), []);
    });
}

/// Deletes `up` after each mishap that can befall `step`, and opens the store once more.
async fn delete_after(prepare: impl AsyncFn(&Tsdb), step: impl Fn(&Tsdb)) {
    for mishap in [Mishap::Fault, Mishap::Outage, Mishap::Kill, Mishap::Power(0)] {
        for n in 1.. {
            let (disk, store) = fresh();
            prepare(&store).await;
            let Some((disk, store)) = befall(mishap, n, disk, store, &step) else { break };
            store.delete(&[Matcher::metric("up")], TimeRange::ALL).unwrap();
            if n % 2 == 0 {
                store.maintain().unwrap();
            }
            assert_eq!(seconds(&store, "up").await, NOTHING, "{mishap:?} at call {n}");
            let store = reopen(&disk, store);
            assert_eq!(
                seconds(&store, "up").await,
                NOTHING,
                "{mishap:?} at call {n}, opened again"
            );
            assert_eq!(seconds(&store, "later").await, [200], "{mishap:?} at call {n}");
        }
    }
}

#[test]
fn what_is_deleted_after_a_seal_that_failed_does_not_come_back() {
    let prepare = async |store: &Tsdb| {
        fill(store, "up", 0..30).await;
        store.seal().unwrap();
        fill(store, "up", 30..60).await;
        fill(store, "later", 200..201).await;
    };
    block_on(delete_after(prepare, |store| drop(store.seal())));
}

#[test]
fn what_is_deleted_after_a_compaction_that_failed_does_not_come_back() {
    block_on(delete_after(prepare_compaction, |store| drop(store.maintain())));
}

#[test]
fn a_block_that_is_deleted_does_not_come_back_with_the_power() {
    block_on(async {
        for seed in 0..12 {
            for n in 1.. {
                let (disk, store) = fresh();
                fill(&store, "up", 0..60).await;
                store.seal().unwrap();
                store.delete(&[], TimeRange::ALL).unwrap();
                let maintain = |store: &Tsdb| drop(store.maintain());
                let power = Mishap::Power(seed);
                let Some((_disk, store)) = befall(power, n, disk, store, maintain) else { break };
                assert_eq!(seconds(&store, "up").await, NOTHING, "seed {seed}, call {n}");
            }
        }
    });
}

#[test]
fn a_flipped_bit_among_deletions_costs_nothing_and_one_in_each_copy_hides_the_block() {
    block_on(async {
        let (disk, store) = fresh();
        fill(&store, "up", 0..60).await;
        store.seal().unwrap();
        store.delete(&[], TimeRange::new(at(0), at(0))).unwrap();
        store.close().unwrap();
        let is_deletions = |(path, _): &(std::path::PathBuf, u64)| {
            path.extension().is_some_and(|extension| extension == "deleted")
        };
        let (file, bytes) = disk.files().into_iter().find(is_deletions).unwrap();
        for bit in 0..bytes * 8 {
            let hurt = disk.crash(0);
            hurt.flip_bit(&file, bit);
            assert_eq!(seconds(&open(&hurt), "up").await, [10, 20, 30, 40, 50], "bit {bit}");
        }
        disk.flip_bit(&file, 80);
        disk.flip_bit(&file, bytes * 4 + 80);
        let store = open(&disk.crash(0));
        assert_eq!(seconds(&store, "up").await, NOTHING);
        assert_eq!(store.stats().await.damaged, 1);
    });
}
