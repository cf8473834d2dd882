//! The ends of time, the largest and the smallest options, labels and histograms of any size.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hms_ops_core::clock::ManualClock;
use hms_ops_core::labels::Labels;
use hms_ops_core::matcher::Matcher;
use hms_ops_core::sample::{CounterReset, Exemplar, Histogram, Value};
use hms_ops_core::store::{Store, StoreError, StoreExt};
use hms_ops_core::time::{TimeRange, Timestamp};
use hms_ops_testkit::block_on;
use hms_ops_tsdb::{Options, Tsdb, TsdbError};

use crate::scene::{at, fill, fresh, fresh_with, open_with, reopen, sample, seconds};
use crate::world;

const MILLISECOND: Duration = Duration::from_millis(1);

async fn count(store: &Tsdb) -> usize {
    store.collect(&[], TimeRange::ALL).await.unwrap().iter().map(|(_, s)| s.len()).sum()
}

/// As everywhere here, but with the usual patience with clocks.
fn options() -> Options {
    Options { ahead: Duration::from_secs(600), ..world::options() }
}

#[test]
fn a_sample_far_ahead_of_the_clock_is_refused_alone() {
    block_on(async {
        let day = 24 * 3600;
        let clock = Arc::new(ManualClock::at(at(day)));
        let usual = Options { clock: clock.clone(), background: false, ..Options::default() };
        let (_disk, store) = fresh_with(usual);
        for hour in 0..24 {
            fill(&store, "up", hour * 3600..hour * 3600 + 60).await;
            store.maintain().unwrap();
        }
        let wrong = Labels::metric("wrong_clock");
        let commit = {
            let mut batch = store.appender();
            let of = batch.series(&wrong).unwrap();
            let error = batch.append(of, at(day + 600) + MILLISECOND, 1.0.into()).unwrap_err();
            let StoreError::TooFarAhead { labels, at: refused, latest } = error else {
                panic!("{error}")
            };
            assert_eq!(
                (labels, refused, latest),
                (wrong, at(day + 600) + MILLISECOND, at(day + 600))
            );
            batch.append(of, at(day + 600), 1.0.into()).unwrap();
            batch.commit()
        };
        commit.await.unwrap();
        for minute in 0..600 {
            fill(&store, "up", day + minute * 60..day + minute * 60 + 1).await;
            store.maintain().unwrap();
            clock.advance(Duration::from_secs(60));
        }
        assert_eq!(seconds(&store, "wrong_clock").await, [day + 600]);
        assert_eq!(seconds(&store, "up").await.len(), 24 * 6 + 600);
    });
}

#[test]
fn a_sample_somewhat_ahead_of_the_clock_does_not_make_the_present_too_late() {
    block_on(async {
        let clock = Arc::new(ManualClock::at(at(100)));
        let (_disk, store) = fresh_with(Options { clock, ..options() });
        fill(&store, "up", 0..100).await;
        fill(&store, "fast_clock", 700..701).await;
        store.maintain().unwrap();
        fill(&store, "up", 100..110).await;
        assert_eq!(seconds(&store, "up").await.len(), 11);
    });
}

#[test]
fn imported_history_far_ahead_of_the_clock_is_refused_as_a_whole() {
    block_on(async {
        let clock = Arc::new(ManualClock::at(at(1000)));
        let (_disk, store) = fresh_with(Options { clock, ..options() });
        fill(&store, "up", 0..1000).await;
        store.maintain().unwrap();
        let wrong = Labels::metric("wrong_clock");
        let history = vec![sample(0), sample(1601)];
        let series = [(Labels::metric("right"), vec![sample(0)]), (wrong.clone(), history)];
        let error = store.import(series).unwrap_err();
        let TsdbError::TooFarAhead { labels, at: refused } = error else { panic!("{error}") };
        assert_eq!((labels, refused), (wrong, at(1601)));
        store.maintain().unwrap();
        fill(&store, "up", 1000..1010).await;
        assert_eq!(seconds(&store, "up").await.len(), 101);
        assert_eq!(count(&store).await, 101);
    });
}

#[test]
fn samples_at_the_end_of_time_are_kept_where_the_clock_allows_them() {
    let clock = Arc::new(ManualClock::at(Timestamp::MAX));
    for allowing in [Options { clock, ..options() }, Options { ahead: Duration::MAX, ..options() }]
    {
        block_on(async {
            let allowing = Options { retention: Duration::MAX, ..allowing };
            let (disk, store) = fresh_with(allowing.clone());
            let up = Labels::metric("up");
            for at in [at(0), Timestamp::MAX - MILLISECOND, Timestamp::MAX] {
                store.append_one(&up, at, 1.0).await.unwrap();
                store.maintain().unwrap();
            }
            store.seal().unwrap();
            store.maintain().unwrap();
            assert_eq!(count(&store).await, 3);
            store.close().unwrap();
            drop(store);
            assert_eq!(count(&open_with(&disk, allowing)).await, 3);
        });
    }
}

#[test]
fn samples_at_the_beginning_of_time_are_kept_also_of_the_series_without_labels() {
    block_on(async {
        let (disk, store) = fresh();
        store.append_one(&Labels::metric("a"), Timestamp::MIN, 1.0).await.unwrap();
        store.append_one(&Labels::empty(), Timestamp::MIN + MILLISECOND, 1.0).await.unwrap();
        store.append_one(&Labels::metric("b"), at(0), 1.0).await.unwrap();
        assert_eq!(count(&store).await, 3);
        store.seal().unwrap();
        store.maintain().unwrap();
        assert_eq!(count(&store).await, 3);
        assert_eq!(count(&reopen(&disk, store)).await, 3);
    });
}

#[test]
fn a_block_may_be_as_short_or_as_long_as_a_duration_can_say() {
    for block in [Duration::ZERO, Duration::MAX] {
        block_on(async {
            let (disk, store) = fresh_with(Options { block, ..options() });
            fill(&store, "up", 0..100).await;
            store.maintain().unwrap();
            fill(&store, "up", 100..200).await;
            store.seal().unwrap();
            store.maintain().unwrap();
            assert_eq!(seconds(&store, "up").await.len(), 20);
            assert_eq!(seconds(&reopen(&disk, store), "up").await.len(), 20);
        });
    }
}

#[test]
fn of_batches_of_one_series_that_interleave_the_first_value_stays_and_the_others_are_counted() {
    block_on(async {
        let (_disk, store) = fresh();
        let (first, second, refused) = {
            let (mut first, mut second) = (store.appender(), store.appender());
            let up = first.series(&Labels::metric("up")).unwrap();
            first.append(up, at(10), 1.0.into()).unwrap();
            second.append(up, at(10), 2.0.into()).unwrap();
            // May be refused at once, or dropped by the commit.
            let refused = first.append(up, at(10), 3.0.into()).is_err();
            (first.commit(), second.commit(), u64::from(refused))
        };
        first.await.unwrap();
        second.await.unwrap();
        let found = store.collect(&[], TimeRange::ALL).await.unwrap();
        let values: Vec<_> = found[0].1.iter().map(|sample| sample.value.as_float()).collect();
        assert_eq!(values, [Some(1.0)]);
        assert_eq!(store.stats().await.dropped_samples + refused, 2);
    });
}

#[test]
fn a_pattern_finds_the_values_that_came_after_all_others_went() {
    block_on(async {
        let (_disk, store) = fresh();
        let pod = |pod| Labels::metric("up").with("pod", pod);
        let pattern = [Matcher::regex("pod", "[ab].*").unwrap()];
        store.append_one(&pod("a1"), at(0), 1.0).await.unwrap();
        assert_eq!(store.series(&pattern, TimeRange::ALL).await.unwrap(), [pod("a1")]);
        fill(&store, "other", 1000..1001).await;
        store.maintain().unwrap();
        store.append_one(&pod("b1"), at(1001), 1.0).await.unwrap();
        let since = TimeRange::new(at(900), at(2000));
        assert_eq!(store.series(&pattern, since).await.unwrap(), [pod("b1")]);
    });
}

#[test]
fn labels_over_a_mebibyte_are_refused_and_everything_else_goes_on() {
    block_on(async {
        let (disk, store) = fresh();
        // Each label has 8 bytes besides its name and value: 8 + 4 of the name, 1 of `v`.
        let labels =
            |more: usize| Labels::metric("huge").with("v", &"x".repeat((1 << 20) - 29 + more));
        let refused = |error: StoreError| {
            let error = error.to_string();
            let told = "labels of 1048577 bytes, the limit is 1048576: huge{v=\"xxx";
            assert!(error.contains(told) && error.len() < 200, "{error}");
        };
        let commit = {
            let mut batch = store.appender();
            refused(batch.series(&labels(1)).unwrap_err());
            let of = batch.series(&labels(0)).unwrap();
            batch.append(of, at(0), 1.0.into()).unwrap();
            let exemplar = |more| Exemplar { labels: labels(more), value: 1.0, at: at(0) };
            refused(batch.exemplar(of, exemplar(1)).unwrap_err());
            batch.exemplar(of, exemplar(0)).unwrap();
            batch.commit()
        };
        commit.await.unwrap();
        fill(&store, "up", 0..10).await;
        let store = reopen(&disk, store);
        assert_eq!(store.series(&[], TimeRange::ALL).await.unwrap().len(), 2);
        let exemplars = store.exemplars(&[], TimeRange::ALL).await.unwrap();
        assert_eq!(exemplars[0].1[0].labels, labels(0));
    });
}

#[test]
fn many_long_labels_come_in_one_batch() {
    block_on(async {
        let (_disk, store) = fresh();
        let long = "x".repeat(1_000_000);
        let commit = {
            let mut batch = store.appender();
            for n in 0..68 {
                let of = batch.series(&Labels::metric("long").with("v", &format!("{n}{long}")));
                batch.append(of.unwrap(), at(0), 1.0.into()).unwrap();
            }
            batch.commit()
        };
        commit.await.unwrap();
        assert_eq!(seconds(&store, "long").await.len(), 68);
    });
}

fn histogram(buckets: i32, of: f64) -> Value {
    Value::Histogram(Arc::new(Histogram {
        schema: 2,
        zero_threshold: 0.0,
        zero_count: 0.0,
        count: 1.5,
        sum: 0.1,
        positive: (0..buckets).map(|i| (i, of + f64::from(i))).collect(),
        negative: Vec::new(),
        custom_edges: Vec::new(),
        reset: CounterReset::Unknown,
    }))
}

#[test]
fn a_checkpoint_holds_histograms_of_any_size() {
    block_on(async {
        let (_disk, store) = fresh();
        let large = [histogram(200_000, 0.1), histogram(200_000, 0.7)];
        for n in 0..40 {
            let value = large[n as usize % 2].clone();
            store.append_one(&Labels::metric("h"), at(n), value).await.unwrap();
        }
        store.append_one(&Labels::metric("h"), at(41), histogram(20, 0.1)).await.unwrap();
        store.snapshot(Path::new("/data/snapshot")).unwrap();
    });
}

#[test]
fn histograms_count_as_the_memory_that_they_take() {
    block_on(async {
        let (_disk, store) = fresh();
        let before = store.stats().await.memory_bytes;
        for n in 0..20 {
            store.append_one(&Labels::metric("h"), at(n), histogram(1000, 0.1)).await.unwrap();
        }
        let counted = store.stats().await.memory_bytes - before;
        assert!(counted >= 20 * 16_000, "{counted} bytes counted");
    });
}
