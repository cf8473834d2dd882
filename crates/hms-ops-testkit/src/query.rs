//! The suite of [`QueryEngine`], over a store that the suite has filled.
//!
//! ```
//! mod selector_engine {
//!     use hms_ops_core::query::SelectorEngine;
//!
//!     // `store` is an `Arc<dyn Store>`.
//!     hms_ops_testkit::query_suite!(|store| SelectorEngine::new(store));
//! }
//! ```
//!
//! The queries are plain selectors, which every engine answers; what PromQL has beyond is tested
//! where PromQL is.

use std::sync::Arc;
use std::time::Duration;

use hms_ops_core::labels::Labels;
use hms_ops_core::query::{LOOKBACK, QueryEngine, QueryError, QueryOptions};
use hms_ops_core::sample::{CounterReset, Histogram, Sample, Value};
use hms_ops_core::store::{MemoryStore, Store, StoreExt};
use hms_ops_core::time::{TimeRange, Timestamp};

use crate::world::{at, secs};

/// One test for each promise of [`QueryEngine`](hms_ops_core::query::QueryEngine); see
/// [`query`](crate::query).
#[macro_export]
macro_rules! query_suite {
    (|$store:ident| $engine:expr) => {
        $crate::cases! { async |$store| $engine;
            an_instant_sees_the_newest_sample
            the_lookback_leaves_out_the_instant_five_minutes_ago
            a_staleness_marker_hides_a_series_until_it_reports_again
            a_range_has_a_point_for_each_step
            instants_without_a_value_are_left_out
            series_come_in_the_order_of_their_labels
            matchers_of_all_four_kinds_select
            a_name_is_found_in_both_spellings
            what_nobody_recorded_is_an_empty_answer
            values_are_kept_as_they_are
            a_malformed_query_is_refused_with_the_reason
            a_range_without_length_or_step_is_refused
            an_answer_of_too_many_points_is_refused
            ; query
        }
    };
}

/// What a suite's expression is turned into.
type Answer = Vec<(Labels, Value)>;

const PLAIN: QueryOptions = QueryOptions { timeout: None, lookback: None };

/// Not an older one, and not one that was not yet there.
pub async fn an_instant_sees_the_newest_sample<E: QueryEngine>(
    make: impl AsyncFnOnce(Arc<dyn Store>) -> E,
) {
    let engine = over(make, (1..=3).map(|i| (up("a"), at(i * 10), Value::Float(i as f64)))).await;
    for (when, expected) in
        [(9, None), (10, Some(1.0)), (19, Some(1.0)), (20, Some(2.0)), (99, Some(3.0))]
    {
        let expected: Answer = expected.map(|v| (up("a"), Value::Float(v))).into_iter().collect();
        assert_eq!(instant(&engine, "up", at(when)).await, expected, "at {when} s");
    }
}

/// [`LOOKBACK`] is open at its older end, for instants and for every step of a range.
pub async fn the_lookback_leaves_out_the_instant_five_minutes_ago<E: QueryEngine>(
    make: impl AsyncFnOnce(Arc<dyn Store>) -> E,
) {
    let engine = over(make, [(up("a"), at(1000), 1.0.into())]).await;
    let last = at(1000) + LOOKBACK - Duration::from_millis(1);
    assert_eq!(instant(&engine, "up", last).await, [(up("a"), 1.0.into())]);
    assert_eq!(instant(&engine, "up", at(1000) + LOOKBACK).await, []);

    let range = TimeRange::new(at(900), at(1400));
    let found = matrix(&engine, "up", range, secs(100)).await;
    assert_eq!(found, [(up("a"), [1000, 1100, 1200].map(|s| sample(s, 1.0)).into())]);
}

/// And it hides that one series only.
pub async fn a_staleness_marker_hides_a_series_until_it_reports_again<E: QueryEngine>(
    make: impl AsyncFnOnce(Arc<dyn Store>) -> E,
) {
    let values = [(10, Value::Float(1.0)), (20, Value::STALE), (40, Value::Float(2.0))];
    let samples = values.map(|(when, value)| (up("a"), at(when), value));
    let engine = over(make, samples.into_iter().chain([(up("b"), at(10), 7.0.into())])).await;
    let b = (up("b"), Value::Float(7.0));
    assert_eq!(instant(&engine, "up", at(19)).await, [(up("a"), 1.0.into()), b.clone()]);
    for hidden in [20, 39] {
        assert_eq!(instant(&engine, "up", at(hidden)).await, std::slice::from_ref(&b));
    }
    assert_eq!(instant(&engine, "up", at(40)).await, [(up("a"), 2.0.into()), b]);

    let range = TimeRange::new(at(10), at(40));
    let found = matrix(&engine, "up{cluster=\"a\"}", range, secs(10)).await;
    assert_eq!(found, [(up("a"), vec![sample(10, 1.0), sample(40, 2.0)])]);
}

/// From the start on, never beyond the end, stamped with the instant that was asked for.
pub async fn a_range_has_a_point_for_each_step<E: QueryEngine>(
    make: impl AsyncFnOnce(Arc<dyn Store>) -> E,
) {
    let engine = over(make, (0..100).map(|i| (up("a"), at(i), Value::Float(i as f64)))).await;
    for (start, end, step, expected) in [
        (10, 40, 10, vec![10, 20, 30, 40]),
        (10, 39, 10, vec![10, 20, 30]),
        (10, 41, 10, vec![10, 20, 30, 40]),
        (10, 10, 10, vec![10]),
        (10, 12, 60, vec![10]),
    ] {
        let range = TimeRange::new(at(start), at(end));
        let found = matrix(&engine, "up", range, secs(step)).await;
        let expected: Vec<_> = expected.into_iter().map(|s| sample(s, s as f64)).collect();
        assert_eq!(found, [(up("a"), expected)], "{start} to {end} by {step} s");
    }
    let range = TimeRange::new(at(10), at(11));
    let found = matrix(&engine, "up", range, Duration::from_millis(500)).await;
    let times: Vec<_> = found[0].1.iter().map(|s| s.at.as_millis()).collect();
    assert_eq!(times, [10_000, 10_500, 11_000]);
}

/// And a series without any value is not in the answer.
pub async fn instants_without_a_value_are_left_out<E: QueryEngine>(
    make: impl AsyncFnOnce(Arc<dyn Store>) -> E,
) {
    let samples = [(up("a"), at(0), 1.0.into()), (up("a"), at(1000), 2.0.into())];
    let engine = over(make, samples.into_iter().chain([(up("b"), at(2000), 3.0.into())])).await;
    let range = TimeRange::new(at(200), at(1200));
    let found = matrix(&engine, "up", range, secs(200)).await;
    assert_eq!(found, [(up("a"), vec![sample(200, 1.0), sample(1000, 2.0), sample(1200, 2.0)])]);
}

/// In instants and in ranges.
pub async fn series_come_in_the_order_of_their_labels<E: QueryEngine>(
    make: impl AsyncFnOnce(Arc<dyn Store>) -> E,
) {
    let clusters = ["b", "", "ab", "a", "B"];
    let engine = over(make, clusters.map(|name| (up(name), at(1), 1.0.into()))).await;
    let expected = ["", "B", "a", "ab", "b"].map(up);
    let found = instant(&engine, "up", at(1)).await;
    assert_eq!(
        found.iter().map(|(labels, _)| labels).collect::<Vec<_>>(),
        expected.iter().collect::<Vec<_>>()
    );
    let found = matrix(&engine, "up", TimeRange::new(at(1), at(2)), secs(1)).await;
    assert_eq!(
        found.iter().map(|(labels, _)| labels).collect::<Vec<_>>(),
        expected.iter().collect::<Vec<_>>()
    );
}

/// `=`, `!=`, `=~` and `!~`, together, and against an absent label.
pub async fn matchers_of_all_four_kinds_select<E: QueryEngine>(
    make: impl AsyncFnOnce(Arc<dyn Store>) -> E,
) {
    let engine = over(make, ["", "a", "b", "bb"].map(|name| (up(name), at(1), 1.0.into()))).await;
    for (query, expected) in [
        (r#"up{cluster="a"}"#, vec!["a"]),
        (r#"up{cluster=""}"#, vec![""]),
        (r#"up{cluster!="a"}"#, vec!["", "b", "bb"]),
        (r#"up{cluster=~"a|b"}"#, vec!["a", "b"]),
        (r#"up{cluster!~"b.*"}"#, vec!["", "a"]),
        (r#"up{cluster=~"b+", cluster!="b"}"#, vec!["bb"]),
        (r#"{__name__="up", cluster="a"}"#, vec!["a"]),
        (r#"{cluster="a"}"#, vec!["a"]),
    ] {
        let found = instant(&engine, query, at(1)).await;
        let found: Vec<_> = found.into_iter().map(|(labels, _)| labels).collect();
        assert_eq!(found, expected.into_iter().map(up).collect::<Vec<_>>(), "{query}");
    }
}

/// With dots, as it was given, and with underscores, as it is stored.
pub async fn a_name_is_found_in_both_spellings<E: QueryEngine>(
    make: impl AsyncFnOnce(Arc<dyn Store>) -> E,
) {
    let labels = Labels::metric("eligibility.latency_ms_count");
    let engine = over(make, [(labels.clone(), at(1), 1.0.into())]).await;
    for query in ["eligibility.latency_ms_count", "eligibility_latency_ms_count"] {
        let found = instant(&engine, query, at(1)).await;
        assert_eq!(found, [(labels.clone(), 1.0.into())], "{query}");
    }
}

/// No series is no error.
pub async fn what_nobody_recorded_is_an_empty_answer<E: QueryEngine>(
    make: impl AsyncFnOnce(Arc<dyn Store>) -> E,
) {
    let engine = over(make, [(up("a"), at(1), 1.0.into())]).await;
    for query in ["down", "up{cluster=\"z\"}", "up{no_such_label=\"x\"}"] {
        assert_eq!(instant(&engine, query, at(1)).await, [], "{query}");
        let range = TimeRange::new(at(1), at(9));
        assert_eq!(matrix(&engine, query, range, secs(1)).await, [], "{query}");
    }
}

/// A NaN that is not the staleness marker, infinities, and histograms.
pub async fn values_are_kept_as_they_are<E: QueryEngine>(
    make: impl AsyncFnOnce(Arc<dyn Store>) -> E,
) {
    let histogram = Value::Histogram(Arc::new(Histogram {
        schema: 1,
        zero_threshold: 0.001,
        zero_count: 0.0,
        count: 3.0,
        sum: 12.5,
        positive: vec![(2, 1.0), (5, 2.0)],
        negative: Vec::new(),
        custom_edges: Vec::new(),
        reset: CounterReset::Unknown,
    }));
    let values = [Value::Float(f64::NAN), f64::INFINITY.into(), (-0.0).into(), histogram];
    let samples = (1..).zip(values).map(|(i, value)| (up("a"), at(i), value)).collect::<Vec<_>>();
    let engine = over(make, samples.clone()).await;
    for (_, when, value) in samples {
        assert_eq!(instant(&engine, "up", when).await, [(up("a"), value)], "at {when}");
    }
}

/// The error repeats the query and says what is wrong.
pub async fn a_malformed_query_is_refused_with_the_reason<E: QueryEngine>(
    make: impl AsyncFnOnce(Arc<dyn Store>) -> E,
) {
    let engine = over(make, [(up("a"), at(1), 1.0.into())]).await;
    let long = format!("up{{{}", "a".repeat(10_000));
    for query in
        ["", "up{", "up{cluster}", "up{cluster=}", "up{cluster=~\"(\"}", "up}", "{}", &long]
    {
        let instant = engine.instant(query, at(1), &PLAIN).await.err();
        let range = engine.range(query, TimeRange::new(at(1), at(2)), secs(1), &PLAIN).await.err();
        for error in [instant, range] {
            let told = matches!(
                &error,
                Some(QueryError::Malformed { query: q, reason }) if q == query && !reason.is_empty()
            );
            assert!(told, "{query:?} gave {error:?}");
        }
    }
}

/// There is no answer to give.
pub async fn a_range_without_length_or_step_is_refused<E: QueryEngine>(
    make: impl AsyncFnOnce(Arc<dyn Store>) -> E,
) {
    let engine = over(make, [(up("a"), at(1), 1.0.into())]).await;
    for (start, end, step) in [(1, 9, Duration::ZERO), (9, 1, secs(1))] {
        let asked = engine.range("up", TimeRange::new(at(start), at(end)), step, &PLAIN).await;
        assert!(asked.is_err(), "{start} to {end} by {step:?} gave {asked:?}");
    }
}

/// Before it is made: at once, and without the memory for it.
pub async fn an_answer_of_too_many_points_is_refused<E: QueryEngine>(
    make: impl AsyncFnOnce(Arc<dyn Store>) -> E,
) {
    let engine = over(make, [(up("a"), at(1), 1.0.into())]).await;
    let year = at(365 * 86_400);
    for (start, end) in [(at(0), year), (Timestamp::MIN, Timestamp::MAX)] {
        let range = TimeRange::new(start, end);
        let error = engine.range("up", range, Duration::from_millis(1), &PLAIN).await.unwrap_err();
        let told = matches!(error, QueryError::TooLarge { points, limit } if points > limit);
        assert!(told, "{start} to {end} gave {error:?}");
    }
}

fn up(cluster: &str) -> Labels {
    Labels::metric("up").with("cluster", cluster)
}

fn sample(secs: i64, value: f64) -> Sample {
    Sample { at: at(secs), value: value.into() }
}

/// The values at one instant.
async fn instant(engine: &impl QueryEngine, query: &str, at: Timestamp) -> Answer {
    engine.instant(query, at, &PLAIN).await.unwrap().into_values()
}

/// The values in a range.
async fn matrix(
    engine: &impl QueryEngine,
    query: &str,
    range: TimeRange,
    step: Duration,
) -> Vec<(Labels, Vec<Sample>)> {
    engine.range(query, range, step, &PLAIN).await.unwrap().into_matrix()
}

/// An engine over a store with these samples.
async fn over<E: QueryEngine>(
    make: impl AsyncFnOnce(Arc<dyn Store>) -> E,
    samples: impl IntoIterator<Item = (Labels, Timestamp, Value)>,
) -> E {
    let store = MemoryStore::new();
    for (labels, at, value) in samples {
        store.append_one(&labels, at, value).await.unwrap();
    }
    make(Arc::new(store)).await
}
