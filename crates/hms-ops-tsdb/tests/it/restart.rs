//! What a store has of its past when it is opened again.

use std::path::Path;
use std::time::Duration;

use hms_ops_core::labels::Labels;
use hms_ops_core::sample::Exemplar;
use hms_ops_core::store::{Store, StoreExt};
use hms_ops_core::time::TimeRange;
use hms_ops_testkit::block_on;
use hms_ops_tsdb::{Options, Tsdb};

use crate::scene::{
    Mishap, NOTHING, at, befall, fill, fresh, open, open_with, prepare_compaction, put_exemplar,
    reopen, seconds,
};
use crate::world::options;

#[test]
fn late_samples_stay_when_the_window_is_smaller_than_it_was() {
    block_on(async {
        let (disk, store) = fresh();
        fill(&store, "up", 10..11).await;
        fill(&store, "up", 5..6).await;
        store.close().unwrap();
        drop(store);
        let out_of_order_window = Duration::ZERO;
        let store = open_with(&disk, Options { out_of_order_window, ..options() });
        assert_eq!(seconds(&store, "up").await, [5, 10]);
    });
}

#[test]
fn a_late_sample_at_the_end_of_the_log_is_not_taken_for_the_newest() {
    block_on(async {
        let (disk, store) = fresh();
        fill(&store, "up", 10..11).await;
        fill(&store, "up", 5..6).await;
        let store = reopen(&disk, store);
        // What is older than the newest of all is refused from then on.
        store.seal().unwrap();
        let error = store.append_one(&Labels::metric("other"), at(7), 1.0).await.unwrap_err();
        assert!(error.to_string().contains("comes too late"), "{error}");
    });
}

#[test]
fn a_new_series_has_nothing_of_one_that_went_before_the_restart() {
    block_on(async {
        let (disk, store) = fresh();
        put_exemplar(&store, "old", 100).await;
        store.seal().unwrap();
        let store = reopen(&disk, store);
        // It may have an older exemplar than the other's newest.
        let mut batch = store.appender();
        let new = batch.series(&Labels::metric("new")).unwrap();
        let exemplar = Exemplar { labels: Labels::empty(), value: 2.0, at: at(50) };
        batch.exemplar(new, exemplar).unwrap();
        batch.commit().await.unwrap();
        let found = store.exemplars(&[], TimeRange::ALL).await.unwrap();
        let found: Vec<_> = found.iter().map(|(labels, some)| (labels, some[0].at)).collect();
        assert_eq!(found, [(&Labels::metric("new"), at(50)), (&Labels::metric("old"), at(100))]);
    });
}

#[test]
fn exemplars_that_fill_several_records_of_a_checkpoint_come_back() {
    block_on(async {
        let (disk, store) = fresh();
        let series = |n: i64| Labels::metric("up").with("n", &format!("{n:03}"));
        let exemplar = |n| Exemplar { labels: series(n), value: 1.0, at: at(n) };
        let commit = {
            let mut batch = store.appender();
            for n in 0..100 {
                let of = batch.series(&series(n)).unwrap();
                batch.exemplar(of, exemplar(n)).unwrap();
            }
            batch.commit()
        };
        commit.await.unwrap();
        store.snapshot(Path::new("/data/snapshot")).unwrap();
        let found = reopen(&disk, store).exemplars(&[], TimeRange::ALL).await.unwrap();
        let expected: Vec<_> = (0..100).map(|n| (series(n), vec![exemplar(n)])).collect();
        assert_eq!(found, expected);
    });
}

#[test]
fn the_missing_end_of_a_checkpoint_is_counted_as_damage() {
    block_on(async {
        let (disk, store) = fresh();
        fill(&store, "up", 0..60).await;
        store.snapshot(Path::new("/data/snapshot")).unwrap();
        store.close().unwrap();
        drop(store);
        let mut files = disk.files().into_iter();
        let (file, bytes) =
            files.find(|(path, _)| path.to_string_lossy().contains("store/checkpoint-")).unwrap();
        disk.cut(&file, bytes - 5);
        let store = open(&disk);
        assert_eq!(seconds(&store, "up").await, NOTHING);
        assert_eq!(store.stats().await.damaged, 1);
    });
}

/// After each mishap that can befall `step` the store is opened, drops the log that it has read, and
/// the power goes: `up` has all its samples.
async fn build_on(prepare: impl AsyncFn(&Tsdb), step: impl Fn(&Tsdb)) {
    for mishap in [Mishap::Fault, Mishap::Outage, Mishap::Kill] {
        for n in 1.. {
            let (disk, store) = fresh();
            prepare(&store).await;
            let Some((disk, store)) = befall(mishap, n, disk, store, &step) else { break };
            let store = reopen(&disk, store);
            store.snapshot(Path::new("/data/snapshot")).unwrap();
            for seed in 0..10 {
                let store = open(&disk.crash(seed));
                let left = seconds(&store, "up").await;
                assert_eq!(left, [0, 10, 20, 30, 40, 50], "{mishap:?} at call {n}, seed {seed}");
            }
        }
    }
}

#[test]
fn what_a_seal_that_did_not_end_has_left_is_safe_to_build_on() {
    let prepare = async |store: &Tsdb| {
        fill(store, "up", 0..30).await;
        store.seal().unwrap();
        fill(store, "up", 30..60).await;
    };
    block_on(build_on(prepare, |store| drop(store.seal())));
}

#[test]
fn what_a_compaction_that_did_not_end_has_left_is_safe_to_build_on() {
    block_on(build_on(prepare_compaction, |store| drop(store.maintain())));
}
