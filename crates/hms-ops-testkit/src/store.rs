//! The suite of [`Store`], its appenders and its series.
//!
//! ```
//! mod memory_store {
//!     use std::time::Duration;
//!     use hms_ops_core::store::MemoryStore;
//!
//!     hms_ops_testkit::store_suite! {
//!         MemoryStore::new(),
//!         out_of_order: Duration::from_secs(300),
//!         two_series: MemoryStore::with_limits(2, 100)
//!     }
//! }
//! ```
//!
//! A store on disk keeps its folder until the test ends:
//!
//! ```
//! # struct TempDir;
//! # fn tempdir() -> TempDir { TempDir }
//! # struct Tsdb;
//! # impl Tsdb {
//! #     fn open(_: &TempDir) -> hms_ops_core::store::MemoryStore {
//! #         hms_ops_core::store::MemoryStore::new().out_of_order_window(Default::default())
//! #     }
//! # }
//! hms_ops_testkit::store_suite!(Tsdb::open(&hms_ops_testkit::keep(tempdir())));
//! ```

use std::sync::Arc;
use std::time::Duration;

use hms_ops_core::labels::{Labels, NAME};
use hms_ops_core::matcher::Matcher;
use hms_ops_core::sample::{CounterReset, Histogram, Sample, Value};
use hms_ops_core::store::{SelectHint, SeriesLimit, SeriesRef, Store, StoreError, StoreExt};
use hms_ops_core::time::{TimeRange, Timestamp};

use crate::world::at;

mod exemplars;
mod late;
mod oracle;

pub use exemplars::*;
pub use late::*;
pub use oracle::against_oracle;

/// Older than any store's out-of-order window, in seconds.
const LONG_AGO: i64 = 7 * 86_400;

/// One test for each promise of [`Store`](hms_ops_core::store::Store); see [`store`](crate::store).
///
/// The store must have room for 1,000 samples of a series. Its out-of-order window is zero, or what
/// `out_of_order` says: then from a second to a day. With `two_series`, a store that is full with
/// two series, the suite has the promises about limits too.
#[macro_export]
macro_rules! store_suite {
    (
        $store:expr
        $(, out_of_order: $window:expr)?
        $(, two_series: $full:expr)?
        $(,)?
    ) => {
        $(
            $crate::cases! { $full;
                a_full_store_refuses_new_series_and_no_others
                ; store
            }
        )?

        $(
            $crate::cases! { ($store, $window);
                a_late_sample_is_put_in_its_place
                late_samples_of_one_batch_are_put_in_their_places
                a_sample_at_the_edge_of_the_window_is_taken
                a_sample_later_than_the_window_is_refused_alone
                the_same_late_sample_again_changes_nothing
                another_value_for_a_late_sample_is_refused_alone
                a_sample_that_became_late_before_its_commit_is_put_in_its_place
                ; store
            }
        )?

        $crate::cases! { $store;
            a_sample_is_visible_once_its_commit_has_resolved
            a_dropped_batch_leaves_no_sample
            an_empty_store_has_nothing
            series_come_in_the_order_of_their_labels
            samples_come_in_the_order_of_their_time
            a_range_is_closed_at_both_ends
            times_before_the_epoch_are_times_too
            a_handle_is_good_for_later_batches
            an_unknown_handle_is_refused
            the_same_sample_again_changes_nothing
            another_value_at_the_same_time_is_refused_alone
            an_older_sample_is_refused_alone
            what_another_batch_has_stored_first_stays
            the_staleness_marker_is_kept_bit_for_bit
            numbers_are_kept_bit_for_bit
            native_histograms_read_back_as_they_were_written
            a_series_may_hold_numbers_and_histograms
            matchers_of_all_four_kinds_select
            an_absent_label_matches_as_the_empty_value
            names_values_and_series_agree_with_select
            series_without_a_sample_in_the_range_are_not_listed
            the_newest_sample_is_there_when_only_the_last_is_wanted
            a_set_may_be_read_in_part
            stats_count_series_and_samples
            concurrent_batches_lose_nothing
            concurrent_writers_of_one_series_keep_its_order
            exemplars_come_by_series_in_the_order_of_their_time
            the_newest_exemplar_again_changes_nothing
            an_older_exemplar_is_refused_alone
            an_exemplar_of_an_unknown_handle_is_refused
            a_dropped_batch_leaves_no_exemplar
            a_store_that_takes_samples_is_ready
            ; store
        }

        #[test]
        fn any_history_reads_back_as_from_the_memory_store() {
            let window: &[std::time::Duration] = &[$($window)?];
            let window = window.first().copied().unwrap_or_default();
            $crate::store::against_oracle(async || $store, window);
        }
    };
}

/// What `select` gives after `commit` is what was appended.
pub async fn a_sample_is_visible_once_its_commit_has_resolved(store: impl Store) {
    for i in 1..=3 {
        let samples = [(up("a"), at(i), Value::Float(i as f64)), (up("b"), at(i), 0.0.into())];
        write(&store, samples).await;
        let all = everything(&store).await;
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].1.len(), i as usize);
        assert_eq!(all[0].1.last().unwrap(), &Sample { at: at(i), value: (i as f64).into() });
    }
}

/// Neither a sample nor a trace of one: the same instant takes another value afterwards.
pub async fn a_dropped_batch_leaves_no_sample(store: impl Store) {
    {
        let mut batch = store.appender();
        let series = batch.series(&up("a")).unwrap();
        batch.append(series, at(10), 1.0.into()).unwrap();
    }
    assert_nothing(&store, &[]).await;
    write(&store, [(up("a"), at(5), 2.0.into())]).await;
    assert_eq!(everything(&store).await, [(up("a"), vec![sample(5, 2.0)])]);
}

/// No series, no names, no values, and no error.
pub async fn an_empty_store_has_nothing(store: impl Store) {
    assert_nothing(&store, &[]).await;
    assert_nothing(&store, &[Matcher::metric("up")]).await;
    let commit = store.appender().commit();
    commit.await.unwrap();
    assert_nothing(&store, &[]).await;
}

/// The order is that of [`Labels`], also for names and values that begin alike and for any text.
pub async fn series_come_in_the_order_of_their_labels(store: impl Store) {
    let mut all = vec![
        Labels::metric("up"),
        Labels::metric("up").with("a", "2"),
        Labels::metric("up").with("a", "10"),
        Labels::metric("up").with("ab", "1"),
        Labels::metric("up").with("a", "1").with("b", "1"),
        Labels::metric("up_down"),
        Labels::metric("u").with("z", "\u{0}\n\"\\{}=,"),
        Labels::metric("up").with("Z", "größe \u{1f98a}"),
        Labels::metric("up").with("a", "\u{7f}"),
        Labels::metric("up").with("a", "ÿ"),
        Labels::from_pairs([("a", "no name")]),
    ];
    write(&store, all.iter().rev().map(|labels| (labels.clone(), at(1), 1.0.into()))).await;
    all.sort();
    let selected: Vec<_> = everything(&store).await.into_iter().map(|(l, _)| l).collect();
    assert_eq!(selected, all);
    assert_eq!(store.series(&[], TimeRange::ALL).await.unwrap(), all);
}

/// Over many commits, of one sample and of many, and over more samples than one chunk holds.
pub async fn samples_come_in_the_order_of_their_time(store: impl Store) {
    let (mut next, mut expected) = (0, Vec::new());
    for batch in [1, 1, 300, 7, 500, 1] {
        let samples: Vec<_> = (next..next + batch).map(|i| sample(i * 15, i as f64)).collect();
        write(&store, samples.iter().map(|s| (up("a"), s.at, s.value.clone()))).await;
        expected.extend(samples);
        next += batch;
    }
    assert_eq!(everything(&store).await, [(up("a"), expected)]);
}

/// Both ends belong to the range; a range that ends before it starts is empty.
pub async fn a_range_is_closed_at_both_ends(store: impl Store) {
    write(&store, (1..=5).map(|i| (up("a"), at(i), Value::Float(i as f64)))).await;
    let ms = Duration::from_millis(1);
    for (start, end, expected) in [
        (at(2), at(4), 2..=4),
        (at(2) - ms, at(4) + ms, 2..=4),
        (at(2) + ms, at(4) - ms, 3..=3),
        (at(3), at(3), 3..=3),
        (at(5), Timestamp::MAX, 5..=5),
        (Timestamp::MIN, at(1), 1..=1),
    ] {
        let expected: Vec<_> = expected.map(|i| sample(i, i as f64)).collect();
        let found = store.collect(&[], TimeRange::new(start, end)).await.unwrap();
        assert_eq!(found, [(up("a"), expected)], "{start} to {end}");
    }
    for (start, end) in [(at(4), at(2)), (at(6), at(9)), (at(2) + ms, at(3) - ms)] {
        let found = store.collect(&[], TimeRange::new(start, end)).await.unwrap();
        assert_eq!(found, [], "{start} to {end}");
    }
}

/// Time is signed.
pub async fn times_before_the_epoch_are_times_too(store: impl Store) {
    write(&store, (-3..3).map(|i| (up("a"), at(i), Value::Float(i as f64)))).await;
    let found = store.collect(&[], TimeRange::new(at(-2), at(0))).await.unwrap();
    assert_eq!(found, [(up("a"), vec![sample(-2, -2.0), sample(-1, -1.0), sample(0, 0.0)])]);
}

/// A steady writer asks for the handle once.
pub async fn a_handle_is_good_for_later_batches(store: impl Store) {
    let (series, commit) = {
        let mut batch = store.appender();
        let series = batch.series(&up("a")).unwrap();
        batch.append(series, at(1), 1.0.into()).unwrap();
        (series, batch.commit())
    };
    commit.await.unwrap();
    for i in 2..5 {
        let commit = {
            let mut batch = store.appender();
            batch.append(series, at(i), (i as f64).into()).unwrap();
            batch.commit()
        };
        commit.await.unwrap();
    }
    let expected = (1..5).map(|i| sample(i, i as f64)).collect();
    assert_eq!(everything(&store).await, [(up("a"), expected)]);
}

/// Neither another place nor another generation of a place is taken for a series, and the rest of
/// the batch is kept.
pub async fn an_unknown_handle_is_refused(store: impl Store) {
    let commit = {
        let mut batch = store.appender();
        let known = batch.series(&up("a")).unwrap();
        for unknown in [
            SeriesRef { id: u64::MAX, ..known },
            SeriesRef { generation: known.generation.wrapping_add(1), ..known },
        ] {
            let error = batch.append(unknown, at(1), 1.0.into()).unwrap_err();
            let told = matches!(error, StoreError::UnknownSeries { series } if series == unknown);
            assert!(told, "{unknown:?} gave {error:?}");
        }
        batch.append(known, at(1), 2.0.into()).unwrap();
        batch.commit()
    };
    commit.await.unwrap();
    assert_eq!(everything(&store).await, [(up("a"), vec![sample(1, 2.0)])]);
}

/// The same value at the same time is no error, in one batch and over two, for any value.
pub async fn the_same_sample_again_changes_nothing(store: impl Store) {
    let values = [1.5.into(), Value::Float(f64::NAN), Value::STALE, histogram(f64::NAN)];
    for (i, value) in values.into_iter().enumerate() {
        let (series, when) = (up(&i.to_string()), at(7));
        let once = (series.clone(), when, value.clone());
        write(&store, [once.clone(), once.clone()]).await;
        write(&store, [once]).await;
        let only = [Matcher::equal("cluster", &i.to_string())];
        let found = store.collect(&only, TimeRange::ALL).await.unwrap();
        assert_eq!(found, [(series, vec![Sample { at: when, value }])]);
    }
}

/// In one batch and over two; the first value stays, and so does the rest of the batch.
pub async fn another_value_at_the_same_time_is_refused_alone(store: impl Store) {
    write(&store, [(up("a"), at(1), 1.0.into())]).await;
    let commit = {
        let mut batch = store.appender();
        let series = batch.series(&up("a")).unwrap();
        let mut refused = |when, value: Value| {
            let error = batch.append(series, when, value).unwrap_err();
            let told = matches!(
                &error,
                StoreError::Duplicate { labels, at } if *labels == up("a") && *at == when
            );
            assert!(told, "expected a duplicate at {when}, got {error:?}");
        };
        refused(at(1), 2.0.into());
        refused(at(1), histogram(0.0));
        batch.append(series, at(2), 0.0.into()).unwrap();
        // Equal to `==` of numbers, but not the same value.
        let error = batch.append(series, at(2), (-0.0).into()).unwrap_err();
        assert!(matches!(error, StoreError::Duplicate { .. }), "{error:?}");
        batch.append(series, at(3), 3.0.into()).unwrap();
        batch.commit()
    };
    commit.await.unwrap();
    let expected = vec![sample(1, 1.0), sample(2, 0.0), sample(3, 3.0)];
    assert_eq!(everything(&store).await, [(up("a"), expected)]);
}

/// In one batch and over two, also when it is there already; other series are not affected.
pub async fn an_older_sample_is_refused_alone(store: impl Store) {
    let now = at(LONG_AGO);
    let old = now - Duration::from_secs(LONG_AGO as u64);
    write(&store, [(up("a"), old, 0.0.into()), (up("a"), now, 1.0.into())]).await;
    let commit = {
        let mut batch = store.appender();
        let (a, b) = (batch.series(&up("a")).unwrap(), batch.series(&up("b")).unwrap());
        let error = batch.append(a, old, 0.0.into()).unwrap_err();
        let told = matches!(
            &error,
            StoreError::OutOfOrder { labels, at, newest }
                if *labels == up("a") && *at == old && *newest == now
        );
        assert!(told, "expected an older sample than at {now}, got {error:?}");
        batch.append(b, at(3 * LONG_AGO), 2.0.into()).unwrap();
        let error = batch.append(b, at(2 * LONG_AGO), 3.0.into()).unwrap_err();
        assert!(matches!(error, StoreError::OutOfOrder { .. }), "{error:?}");
        batch.append(a, at(LONG_AGO + 1), 4.0.into()).unwrap();
        batch.commit()
    };
    commit.await.unwrap();
    let a = vec![sample(0, 0.0), sample(LONG_AGO, 1.0), sample(LONG_AGO + 1, 4.0)];
    let b = vec![sample(3 * LONG_AGO, 2.0)];
    assert_eq!(everything(&store).await, [(up("a"), a), (up("b"), b)]);
}

/// Of two batches at once, the first to commit wins; what the second loses is counted.
pub async fn what_another_batch_has_stored_first_stays(store: impl Store) {
    let (old, now) = (at(0), at(LONG_AGO));
    let (mut first, mut second) = (store.appender(), store.appender());
    let series = second.series(&up("a")).unwrap();
    second.append(series, old, 1.0.into()).unwrap();
    second.append(series, now, 2.0.into()).unwrap();
    second.append(series, at(LONG_AGO + 1), 3.0.into()).unwrap();
    first.append(series, now, 4.0.into()).unwrap();
    first.commit().await.unwrap();
    second.commit().await.unwrap();
    let expected = vec![sample(LONG_AGO, 4.0), sample(LONG_AGO + 1, 3.0)];
    assert_eq!(everything(&store).await, [(up("a"), expected)]);
    let stats = store.stats().await;
    assert_eq!((stats.samples, stats.dropped_samples), (2, 2), "{stats:?}");
}

/// It is told from every other NaN.
pub async fn the_staleness_marker_is_kept_bit_for_bit(store: impl Store) {
    let values = [1.0.into(), Value::STALE, Value::Float(f64::NAN), Value::STALE, 2.0.into()];
    let samples = (0..).map(at).zip(values);
    write(&store, samples.map(|(at, value)| (up("a"), at, value))).await;
    let found = everything(&store).await;
    let stale: Vec<_> = found[0].1.iter().map(|s| s.value.is_stale()).collect();
    assert_eq!(stale, [false, true, false, true, false]);
}

/// NaNs with their payload, infinities, both zeros, the smallest and the largest.
pub async fn numbers_are_kept_bit_for_bit(store: impl Store) {
    let numbers = [
        f64::NAN,
        f64::from_bits(0xfff8_0000_0000_0001),
        f64::INFINITY,
        f64::NEG_INFINITY,
        0.0,
        -0.0,
        f64::from_bits(1),
        f64::MIN_POSITIVE,
        f64::MAX,
        f64::MIN,
        f64::EPSILON,
        0.1 + 0.2,
        1e-300,
        9_007_199_254_740_993.0,
        -1.0,
        1.0,
        1.0,
    ];
    write(&store, (0..).map(at).zip(numbers).map(|(at, v)| (up("a"), at, v.into()))).await;
    let found = everything(&store).await;
    let bits = |v: f64| format!("{v} {:016x}", v.to_bits());
    let read: Vec<_> = found[0].1.iter().map(|s| bits(s.value.as_float().unwrap())).collect();
    assert_eq!(read, numbers.map(bits));
}

/// Every field, for exponential and custom buckets, counters and gauges.
pub async fn native_histograms_read_back_as_they_were_written(store: impl Store) {
    let plain = Histogram {
        schema: 3,
        zero_threshold: 1e-128,
        zero_count: 2.0,
        count: 12.5,
        sum: -17.25,
        positive: vec![(-3, 1.0), (0, 2.5), (1, 3.0), (400, 1.0)],
        negative: vec![(-2, 1.0), (7, 2.0)],
        custom_edges: Vec::new(),
        reset: CounterReset::Unknown,
    };
    let custom = Histogram {
        schema: -53,
        zero_threshold: 0.0,
        zero_count: 0.0,
        count: 3.0,
        sum: 700.0,
        positive: vec![(0, 1.0), (2, 2.0)],
        negative: Vec::new(),
        custom_edges: vec![100.0, 300.0],
        reset: CounterReset::NotReset,
    };
    let values: Vec<Value> = [
        plain.clone(),
        Histogram { count: 13.5, positive: vec![(0, 9.5)], ..plain.clone() },
        Histogram { reset: CounterReset::Reset, schema: -4, ..plain.clone() },
        Histogram { reset: CounterReset::Gauge, schema: 8, ..plain.clone() },
        custom.clone(),
        Histogram { custom_edges: vec![0.5], positive: vec![(1, 3.0)], ..custom },
        Histogram { sum: f64::NAN, positive: Vec::new(), negative: Vec::new(), ..plain },
    ]
    .map(|histogram| Value::Histogram(Arc::new(histogram)))
    .into();
    write(&store, (0..).map(at).zip(&values).map(|(at, v)| (up("a"), at, v.clone()))).await;
    let found = everything(&store).await;
    let read: Vec<_> = found[0].1.iter().map(|s| s.value.clone()).collect();
    assert_eq!(read, values);
}

/// A series that turns from numbers to histograms and back keeps both.
pub async fn a_series_may_hold_numbers_and_histograms(store: impl Store) {
    let values = [1.0.into(), histogram(5.0), histogram(6.0), Value::STALE, 2.0.into()];
    write(&store, (0..).map(at).zip(values.clone()).map(|(at, v)| (up("a"), at, v))).await;
    let read: Vec<_> = everything(&store).await[0].1.iter().map(|s| s.value.clone()).collect();
    assert_eq!(read, values);
}

/// `=`, `!=`, `=~` and `!~`, alone and together; no matcher selects everything.
pub async fn matchers_of_all_four_kinds_select(store: impl Store) {
    let series =
        |name, cluster, code| Labels::metric(name).with("cluster", cluster).with("code", code);
    let all = [
        series("errors", "a", "500"),
        series("requests", "a", "200"),
        series("requests", "a", "503"),
        series("requests", "b", "200"),
    ];
    write(&store, all.iter().map(|labels| (labels.clone(), at(1), 1.0.into()))).await;
    let matching = |name, pattern| Matcher::regex(name, pattern).unwrap();
    let not_matching = |name, pattern| Matcher::not_regex(name, pattern).unwrap();
    for (matchers, expected) in [
        (vec![], vec![0, 1, 2, 3]),
        (vec![Matcher::metric("requests")], vec![1, 2, 3]),
        (vec![Matcher::metric("request")], vec![]),
        (vec![Matcher::not_equal(NAME, "requests")], vec![0]),
        (vec![matching(NAME, "req.*|nothing")], vec![1, 2, 3]),
        (vec![matching(NAME, "equest")], vec![]),
        (vec![Matcher::equal("cluster", "a")], vec![0, 1, 2]),
        (vec![Matcher::not_equal("cluster", "a")], vec![3]),
        (vec![matching("code", "5..")], vec![0, 2]),
        (vec![matching("code", "50")], vec![]),
        (vec![not_matching("code", "5..")], vec![1, 3]),
        (vec![not_matching("code", ".*")], vec![]),
        (vec![Matcher::metric("requests"), matching("code", "5..")], vec![2]),
        (vec![Matcher::equal("cluster", "a"), Matcher::not_equal("code", "200")], vec![0, 2]),
        (vec![matching("code", "2.."), matching("code", ".0.")], vec![1, 3]),
        (vec![Matcher::equal("code", "200"), Matcher::equal("code", "503")], vec![]),
    ] {
        assert_selects(&store, &matchers, expected.into_iter().map(|i| &all[i])).await;
    }
}

/// A label that a series does not have is empty, for all four kinds.
pub async fn an_absent_label_matches_as_the_empty_value(store: impl Store) {
    let all = [Labels::metric("up"), up("a"), up("b")];
    write(&store, all.iter().map(|labels| (labels.clone(), at(1), 1.0.into()))).await;
    let matching = |pattern| Matcher::regex("cluster", pattern).unwrap();
    let not_matching = |pattern| Matcher::not_regex("cluster", pattern).unwrap();
    for (matcher, expected) in [
        (Matcher::equal("cluster", ""), vec![0]),
        (Matcher::not_equal("cluster", ""), vec![1, 2]),
        (Matcher::not_equal("cluster", "a"), vec![0, 2]),
        (matching("a|"), vec![0, 1]),
        (matching(".*"), vec![0, 1, 2]),
        (matching(".+"), vec![1, 2]),
        (not_matching("a"), vec![0, 2]),
        (not_matching(".+"), vec![0]),
        (Matcher::equal("no_such_label", ""), vec![0, 1, 2]),
        (Matcher::not_equal("no_such_label", "x"), vec![0, 1, 2]),
        (Matcher::not_equal("no_such_label", ""), vec![]),
    ] {
        assert_selects(&store, &[matcher], expected.into_iter().map(|i| &all[i])).await;
    }
}

/// Each is what one would read off the selected series.
pub async fn names_values_and_series_agree_with_select(store: impl Store) {
    let all = [
        up("b").with("instance", "1"),
        up("a").with("instance", "10"),
        Labels::metric("down").with("zone", "x"),
        up("a").with("instance", "2"),
    ];
    let samples = (1..).zip(&all).map(|(i, labels)| (labels.clone(), at(i), 1.0.into()));
    write(&store, samples.collect::<Vec<_>>()).await;
    for matchers in [
        vec![],
        vec![Matcher::metric("up")],
        vec![Matcher::equal("cluster", "a")],
        vec![Matcher::equal("cluster", "")],
        vec![Matcher::metric("nothing")],
    ] {
        for range in [TimeRange::ALL, TimeRange::new(at(2), at(3)), TimeRange::new(at(9), at(9))] {
            let selected = store.collect(&matchers, range).await.unwrap();
            let selected: Vec<_> = selected.into_iter().map(|(labels, _)| labels).collect();
            assert_lists(&store, &matchers, range, &selected).await;
        }
    }
    let values = store.label_values("instance", &[], TimeRange::ALL).await.unwrap();
    assert_eq!(values, ["1", "10", "2"]);
}

/// A series that was silent in the range is not in it.
pub async fn series_without_a_sample_in_the_range_are_not_listed(store: impl Store) {
    write(&store, [(up("a"), at(1), 1.0.into()), (up("b"), at(2), 1.0.into())]).await;
    write(&store, [(up("a"), at(9), 1.0.into())]).await;
    for (range, expected) in [
        (TimeRange::new(at(1), at(1)), vec![up("a")]),
        (TimeRange::new(at(2), at(8)), vec![up("b")]),
        (TimeRange::new(at(3), at(8)), vec![]),
    ] {
        assert_lists(&store, &[], range, &expected).await;
    }
}

/// With the hint a backend may leave out older samples, never a series or its newest sample.
pub async fn the_newest_sample_is_there_when_only_the_last_is_wanted(store: impl Store) {
    let samples = (1..=9).map(|i| (up(["a", "b"][i as usize % 2]), at(i), (i as f64).into()));
    write(&store, samples.collect::<Vec<_>>()).await;
    for end in 1..=10 {
        let range = TimeRange::new(at(2), at(end));
        let mut expected = store.collect(&[], range).await.unwrap();
        for (_, samples) in &mut expected {
            samples.drain(..samples.len() - 1);
        }
        let hint = SelectHint { only_last: true };
        let mut set = store.select(&[], range, &hint).await.unwrap();
        let mut found = Vec::new();
        while set.advance().unwrap() {
            let mut samples = Vec::new();
            set.read(&mut samples).unwrap();
            found.push((set.labels().clone(), samples.split_off(samples.len() - 1)));
        }
        assert_eq!(found, expected, "up to {}", at(end));
    }
}

/// A reader may skip series and stop half-way; `read` appends to what it is given.
pub async fn a_set_may_be_read_in_part(store: impl Store) {
    let names = ["a", "b", "c", "d"];
    write(&store, names.map(|name| (up(name), at(1), 1.0.into()))).await;
    let mut set = store.select(&[], TimeRange::ALL, &SelectHint::default()).await.unwrap();
    let mut samples = vec![sample(0, 7.0)];
    assert!(set.advance().unwrap() && set.advance().unwrap());
    assert_eq!(set.labels(), &up("b"));
    set.read(&mut samples).unwrap();
    assert_eq!(samples, [sample(0, 7.0), sample(1, 1.0)]);
    assert!(set.advance().unwrap());
    drop(set);

    let mut set = store.select(&[], TimeRange::ALL, &SelectHint::default()).await.unwrap();
    for name in names {
        assert!(set.advance().unwrap());
        assert_eq!(set.labels(), &up(name));
    }
    assert!(!set.advance().unwrap());
    assert!(!set.advance().unwrap(), "after the last series there is none");
}

/// What was stored counts, once.
pub async fn stats_count_series_and_samples(store: impl Store) {
    for i in 1..=3 {
        write(&store, [(up("a"), at(i), 1.0.into()), (up("b"), at(i), 1.0.into())]).await;
    }
    write(&store, [(up("b"), at(3), 1.0.into())]).await;
    let stats = store.stats().await;
    assert_eq!((stats.series, stats.samples), (2, 6), "{stats:?}");
    assert_eq!((stats.refused_series, stats.dropped_samples), (0, 0), "{stats:?}");
}

/// Four writers at once, each with series of its own and one that all ask for.
pub async fn concurrent_batches_lose_nothing(store: impl Store) {
    let store = Arc::new(store);
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                for i in 0..50 {
                    let own = Labels::metric("own").with("writer", &writer.to_string());
                    let shared = Labels::metric("shared").with("i", &format!("{writer} {i}"));
                    write(&*store, [(own, at(i), 1.0.into()), (shared, at(i), 1.0.into())]).await;
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let own = store.collect(&[Matcher::metric("own")], TimeRange::ALL).await.unwrap();
    let expected: Vec<_> = (0..50).map(|i| sample(i, 1.0)).collect();
    assert_eq!(own.len(), 4);
    for (labels, samples) in own {
        assert_eq!(samples, expected, "{labels}");
    }
    let shared = store.series(&[Matcher::metric("shared")], TimeRange::ALL).await.unwrap();
    assert_eq!(shared.len(), 200);
}

/// Whoever wins at an instant: times grow, each value is one that was written, the newest is there.
pub async fn concurrent_writers_of_one_series_keep_its_order(store: impl Store) {
    let store = Arc::new(store);
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                for i in 0..50 {
                    let commit = {
                        let mut batch = store.appender();
                        let series = batch.series(&up("a")).unwrap();
                        // Refused where another writer was first or is ahead.
                        let _ = batch.append(series, at(i), f64::from(writer).into());
                        batch.commit()
                    };
                    commit.await.unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let found = everything(&*store).await;
    let samples = &found[0].1;
    assert!(samples.is_sorted_by(|a, b| a.at < b.at), "{samples:?}");
    assert_eq!(samples.last().map(|s| s.at), Some(at(49)));
    let written =
        |s: &Sample| s.value.as_float().is_some_and(|v| [0.0, 1.0, 2.0, 3.0].contains(&v));
    assert!(samples.iter().all(written), "{samples:?}");
}

/// The third series is refused and counted; the two that exist keep flowing, in the same batch too.
pub async fn a_full_store_refuses_new_series_and_no_others(store: impl Store) {
    write(&store, [(up("a"), at(1), 1.0.into()), (up("b"), at(1), 1.0.into())]).await;
    let commit = {
        let mut batch = store.appender();
        let a = batch.series(&up("a")).unwrap();
        let error = batch.series(&up("c")).unwrap_err();
        let told = matches!(
            &error,
            StoreError::TooManySeries { labels, limit: SeriesLimit::Store(2) }
                if *labels == up("c")
        );
        assert!(told, "expected too many series, got {error:?}");
        let b = batch.series(&up("b")).unwrap();
        batch.append(a, at(2), 2.0.into()).unwrap();
        batch.append(b, at(2), 2.0.into()).unwrap();
        batch.commit()
    };
    commit.await.unwrap();
    let both = vec![sample(1, 1.0), sample(2, 2.0)];
    assert_eq!(everything(&store).await, [(up("a"), both.clone()), (up("b"), both)]);
    let stats = store.stats().await;
    assert_eq!((stats.series, stats.refused_series), (2, 1), "{stats:?}");
}

fn up(cluster: &str) -> Labels {
    Labels::metric("up").with("cluster", cluster)
}

fn sample(secs: i64, value: f64) -> Sample {
    Sample { at: at(secs), value: value.into() }
}

fn histogram(sum: f64) -> Value {
    Value::Histogram(Arc::new(Histogram {
        schema: 0,
        zero_threshold: 0.001,
        zero_count: 1.0,
        count: 3.0,
        sum,
        positive: vec![(1, 2.0)],
        negative: Vec::new(),
        custom_edges: Vec::new(),
        reset: CounterReset::Unknown,
    }))
}

/// Appends samples in one batch, none of which may be refused.
async fn write(store: &impl Store, samples: impl IntoIterator<Item = (Labels, Timestamp, Value)>) {
    let commit = {
        let mut batch = store.appender();
        for (labels, at, value) in samples {
            let series = batch.series(&labels).unwrap();
            batch.append(series, at, value).unwrap();
        }
        batch.commit()
    };
    commit.await.unwrap();
}

async fn everything(store: &impl Store) -> Vec<(Labels, Vec<Sample>)> {
    store.collect(&[], TimeRange::ALL).await.unwrap()
}

async fn assert_nothing(store: &impl Store, matchers: &[Matcher]) {
    assert_eq!(store.collect(matchers, TimeRange::ALL).await.unwrap(), []);
    assert_lists(store, matchers, TimeRange::ALL, &[]).await;
    assert_eq!(store.stats().await.samples, 0);
}

async fn assert_selects<'a>(
    store: &impl Store,
    matchers: &[Matcher],
    expected: impl Iterator<Item = &'a Labels>,
) {
    let expected: Vec<_> = expected.cloned().collect();
    let found = store.collect(matchers, TimeRange::ALL).await.unwrap();
    let found: Vec<_> = found.into_iter().map(|(labels, _)| labels).collect();
    assert_eq!(found, expected, "{matchers:?}");
    assert_lists(store, matchers, TimeRange::ALL, &expected).await;
}

/// The listings are what one would read off `series`.
async fn assert_lists(
    store: &impl Store,
    matchers: &[Matcher],
    range: TimeRange,
    series: &[Labels],
) {
    assert_eq!(store.series(matchers, range).await.unwrap(), series, "{matchers:?}");
    let mut names: Vec<_> =
        series.iter().flat_map(Labels::iter).map(|(name, _)| name.to_owned()).collect();
    names.sort();
    names.dedup();
    assert_eq!(store.label_names(matchers, range).await.unwrap(), names, "{matchers:?}");
    for name in names.iter().map(String::as_str).chain(["no_such_label"]) {
        let mut values: Vec<_> =
            series.iter().filter_map(|l| l.get(name)).map(str::to_owned).collect();
        values.sort();
        values.dedup();
        let listed = store.label_values(name, matchers, range).await.unwrap();
        assert_eq!(listed, values, "{name} of {matchers:?}");
    }
}
