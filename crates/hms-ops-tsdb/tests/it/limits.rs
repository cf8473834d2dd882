//! How much a store takes, how long it keeps it, and what it says when somebody wants more.

use std::time::Duration;

use hms_ops_core::labels::Labels;
use hms_ops_core::matcher::Matcher;
use hms_ops_core::sample::{Exemplar, Value};
use hms_ops_core::store::{SeriesLimit, Store, StoreError, StoreExt};
use hms_ops_core::time::{TimeRange, Timestamp};
use hms_ops_testkit::block_on;
use hms_ops_tsdb::{Options, SeriesLimits, Tsdb, TsdbError};
use tempfile::{TempDir, tempdir};

use crate::world::options;

const START: i64 = 1_767_225_600_000;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(START + seconds * 1000)
}

fn store(options: Options) -> (TempDir, Tsdb) {
    let folder = tempdir().unwrap();
    let store = Tsdb::open(folder.path().join("store"), options).unwrap();
    (folder, store)
}

fn series(metric: &str, instance: &str, n: usize) -> Labels {
    Labels::metric(metric).with("instance", instance).with("n", &n.to_string())
}

/// Samples each ten seconds, from the start.
async fn fill(store: &Tsdb, labels: &Labels, seconds: std::ops::Range<i64>) {
    for second in seconds.step_by(10) {
        store.append_one(labels, at(second), second as f64).await.unwrap();
    }
}

async fn count(store: &Tsdb) -> usize {
    store.collect(&[], TimeRange::ALL).await.unwrap().iter().map(|(_, s)| s.len()).sum()
}

#[test]
fn a_series_too_many_is_refused_with_the_limit_and_the_others_keep_flowing() {
    let refusal = |limits: SeriesLimits, offered: &[Labels]| {
        block_on(async {
            let (_folder, store) = store(Options { series: limits, ..options() });
            let mut batch = store.appender();
            let handles: Vec<_> = offered.iter().map(|labels| batch.series(labels)).collect();
            let (last, before) = handles.split_last().unwrap();
            for handle in before {
                batch.append(*handle.as_ref().unwrap(), at(0), 1.0.into()).unwrap();
            }
            batch.commit().await.unwrap();
            assert_eq!(store.stats().await.refused_series, 1);
            assert_eq!(count(&store).await, before.len());
            match last {
                Err(StoreError::TooManySeries { limit, .. }) => *limit,
                other => panic!("{other:?}"),
            }
        })
    };
    let none = SeriesLimits { store: 100, metric: 100, target: 100 };
    let [a, b, c] = [1, 2, 3].map(|n| series("up", "i1", n));
    let three = [a.clone(), b.clone(), c.clone()];
    assert_eq!(refusal(SeriesLimits { store: 2, ..none }, &three), SeriesLimit::Store(2));
    assert_eq!(refusal(SeriesLimits { metric: 2, ..none }, &three), SeriesLimit::Metric(2));
    let elsewhere = [a, series("down", "i1", 1), series("up", "i2", 1), c];
    assert_eq!(refusal(SeriesLimits { target: 2, ..none }, &elsewhere), SeriesLimit::Target(2));
}

#[test]
fn a_million_new_series_take_no_more_memory_than_the_budget() {
    block_on(async {
        let memory = 4 << 20;
        let (_folder, store) = store(Options { memory, ..options() });
        let mut refused = 0;
        for batch in 0..20 {
            let commit = {
                let mut batch_of = store.appender();
                for n in 0..2000 {
                    match batch_of.series(&series("bomb", "i", batch * 2000 + n)) {
                        Ok(of) => batch_of.append(of, at(batch as i64), 1.0.into()).unwrap(),
                        Err(StoreError::TooManySeries { limit, .. }) => {
                            assert_eq!(limit, SeriesLimit::Memory(memory));
                            refused += 1;
                        }
                        Err(other) => panic!("{other}"),
                    }
                }
                batch_of.commit()
            };
            commit.await.unwrap();
        }
        let stats = store.stats().await;
        assert_eq!((stats.refused_series, stats.series + refused), (refused, 40_000));
        assert!(stats.series > 5_000, "{stats:?}");
    });
}

#[test]
fn a_head_that_fills_its_memory_is_sealed_early() {
    block_on(async {
        let block = Duration::from_secs(3600);
        let (_folder, store) = store(Options { memory: 64 << 10, block, ..options() });
        let labels: Vec<_> = (0..20).map(|n| series("up", "i", n)).collect();
        for second in 0..2000 {
            let commit = {
                let mut batch = store.appender();
                for labels in &labels {
                    let of = batch.series(labels).unwrap();
                    batch.append(of, at(second), f64::from(second as u32).sqrt().into()).unwrap();
                }
                batch.commit()
            };
            commit.await.unwrap();
            store.maintain().unwrap();
        }
        let stats = store.stats().await;
        assert!(stats.memory_bytes < 64 << 10, "{stats:?}");
        assert_eq!((stats.refused_series, count(&store).await), (0, 40_000));
    });
}

#[test]
fn what_is_older_than_the_retention_is_dropped_a_block_at_a_time() {
    block_on(async {
        let retention = Duration::from_secs(600);
        let (_folder, store) = store(Options { retention, ..options() });
        let up = Labels::metric("up");
        fill(&store, &up, 0..3000).await;
        store.maintain().unwrap();
        let all = store.collect(&[], TimeRange::ALL).await.unwrap();
        let oldest = all[0].1[0].at;
        // Blocks grow to twelve minutes, and go as a whole.
        assert!(at(2990 - 600 - 720) <= oldest && oldest <= at(2990 - 600), "{oldest}");
    });
}

#[test]
fn blocks_beyond_the_size_go_oldest_first() {
    block_on(async {
        let (_folder, store) = store(Options { retention_bytes: Some(10_000), ..options() });
        for n in 0..20 {
            fill(&store, &series("up", "i", n), n as i64 * 300..n as i64 * 300 + 300).await;
            store.maintain().unwrap();
        }
        store.maintain().unwrap();
        let stats = store.stats().await;
        let left: Vec<_> = store.series(&[], TimeRange::ALL).await.unwrap();
        assert!(!left.contains(&series("up", "i", 0)), "{left:?}");
        assert!(left.contains(&series("up", "i", 19)), "{left:?}");
        assert!(stats.disk_bytes < 40_000, "{stats:?}");
    });
}

#[test]
fn a_series_that_ended_makes_room_when_its_samples_are_sealed() {
    block_on(async {
        let limits = SeriesLimits { store: 1, ..SeriesLimits::default() };
        let (_folder, store) = store(Options { series: limits, ..options() });
        let old = Labels::metric("old");
        let handle = store.appender().series(&old).unwrap();
        fill(&store, &old, 0..60).await;
        assert!(store.append_one(&Labels::metric("new"), at(60), 1.0).await.is_err());
        store.seal().unwrap();
        store.append_one(&Labels::metric("new"), at(60), 1.0).await.unwrap();

        // The handle does not come to mean the other.
        let error = store.appender().append(handle, at(61), 1.0.into()).unwrap_err();
        assert!(matches!(error, StoreError::UnknownSeries { .. }), "{error}");
        assert_eq!(store.series(&[], TimeRange::ALL).await.unwrap().len(), 2);
    });
}

#[test]
fn a_batch_under_way_keeps_its_series() {
    block_on(async {
        let (_folder, store) = store(options());
        fill(&store, &Labels::metric("other"), 0..100).await;
        let mut batch = store.appender();
        let up = batch.series(&Labels::metric("up")).unwrap();
        batch.append(up, at(200), 1.0.into()).unwrap();
        store.seal().unwrap();
        batch.commit().await.unwrap();
        let found = store.collect(&[Matcher::metric("up")], TimeRange::ALL).await.unwrap();
        assert_eq!(found.len(), 1);
    });
}

#[test]
fn a_second_process_is_told_that_the_folder_is_in_use() {
    let (folder, store) = store(options());
    let path = folder.path().join("store");
    let error = Tsdb::open(&path, options()).unwrap_err();
    assert!(matches!(&error, TsdbError::InUse { .. }));
    assert_eq!(
        error.to_string(),
        format!("{} is in use by another process; a folder has one writer", path.display())
    );
    assert!(Tsdb::is_in_use(&path));
    store.close().unwrap();
    assert!(!Tsdb::is_in_use(&path));
    Tsdb::open(&path, options()).unwrap();
}

#[test]
fn a_closed_store_refuses_writes_and_serves_reads() {
    block_on(async {
        let (_folder, store) = store(options());
        store.append_one(&Labels::metric("up"), at(0), 1.0).await.unwrap();
        store.close().unwrap();
        let error = store.append_one(&Labels::metric("up"), at(1), 1.0).await.unwrap_err();
        assert!(error.to_string().contains("the store is closed"), "{error}");
        assert!(matches!(store.seal(), Err(TsdbError::Closed)));
        assert_eq!(count(&store).await, 1);
    });
}

#[test]
fn imported_history_is_older_than_the_head_and_changes_nothing_that_is_there() {
    block_on(async {
        let (_folder, store) = store(options());
        let up = Labels::metric("up");
        fill(&store, &up, 100..200).await;
        store.seal().unwrap();
        let sample = |seconds, value: f64| hms_ops_core::sample::Sample {
            at: at(seconds),
            value: value.into(),
        };
        let history = vec![sample(-90_000, 1.0), sample(100, 7.0), sample(105, 2.0)];
        store.import([(up.clone(), history)]).unwrap();
        let all = store.collect(&[], TimeRange::ALL).await.unwrap();
        let values: Vec<_> = all[0].1.iter().take(4).map(|s| s.value.as_float()).collect();
        assert_eq!(values, [1.0, 100.0, 2.0, 110.0].map(Some));
        // New samples come as before.
        store.append_one(&up, at(300), 1.0).await.unwrap();
    });
}

#[test]
fn exemplars_are_there_after_a_restart_and_after_sealing() {
    block_on(async {
        let (folder, store) = store(options());
        let up = Labels::metric("latency_ms_bucket").with("le", "300");
        let trace = |n: i64| Exemplar {
            labels: Labels::from_pairs([("trace_id", format!("{n:032x}"))]),
            value: n as f64,
            at: at(n),
        };
        for n in 0..3 {
            let commit = {
                let mut batch = store.appender();
                let of = batch.series(&up).unwrap();
                batch.append(of, at(n), Value::Float(1.0)).unwrap();
                batch.exemplar(of, trace(n)).unwrap();
                batch.commit()
            };
            commit.await.unwrap();
            if n == 1 {
                store.seal().unwrap();
            }
        }
        store.close().unwrap();
        drop(store);
        let store = Tsdb::open(folder.path().join("store"), options()).unwrap();
        let found = store.exemplars(&[], TimeRange::ALL).await.unwrap();
        assert_eq!(found, [(up, (0..3).map(trace).collect())]);
    });
}
