//! What a query may use, and what happens beyond.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hms_ops_core::labels::Labels;
use hms_ops_core::matcher::Matcher;
use hms_ops_core::query::{Data, QueryEngine, QueryError, QueryOptions};
use hms_ops_core::sample::{Exemplar, Sample, Value};
use hms_ops_core::store::{
    Appender, MemoryStore, SelectHint, SeriesSet, Store, StoreError, StoreStats,
};
use hms_ops_core::time::{TimeRange, Timestamp};
use hms_ops_promql::{Engine, EngineOptions};

const PLAIN: QueryOptions = QueryOptions { timeout: None, lookback: None };

/// `series` series `m{n="…"}` with a sample each second from 1 to `seconds`.
async fn store(series: usize, seconds: i64) -> Arc<dyn Store> {
    let store = MemoryStore::with_limits(10_000, 10_000);
    let mut batch = store.appender();
    for n in 0..series {
        let labels = Labels::metric("m").with("n", &n.to_string());
        let series = batch.series(&labels).unwrap();
        for s in 1..=seconds {
            batch.append(series, at(s), Value::Float(s as f64)).unwrap();
        }
    }
    batch.commit().await.unwrap();
    Arc::new(store)
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

fn minutes(n: u64) -> Duration {
    Duration::from_secs(60 * n)
}

#[tokio::test]
async fn a_query_that_reads_more_samples_than_it_may_is_refused() {
    let options = EngineOptions { samples: 999, ..EngineOptions::default() };
    let engine = Engine::with_options(store(10, 100).await, options);
    let answer = engine.instant("sum(sum_over_time(m[99s]))", at(100), &PLAIN).await.unwrap();
    assert_eq!(answer.into_values().len(), 1);

    let error = engine.instant("sum_over_time(m[100s])", at(100), &PLAIN).await.unwrap_err();
    assert!(matches!(error, QueryError::TooCostly { unit: "samples", limit: 999 }), "{error:?}");
}

#[tokio::test]
async fn a_query_that_holds_more_memory_than_it_may_is_refused_and_one_that_streams_is_not() {
    let options = EngineOptions { bytes: 100_000, ..EngineOptions::default() };
    let engine = Engine::with_options(store(100, 1000).await, options);
    let range = TimeRange::new(at(1), at(1000));
    let second = Duration::from_secs(1);
    let sum = engine.range("sum(m)", range, second, &PLAIN).await.unwrap();
    assert_eq!(sum.into_matrix()[0].1.len(), 1000);

    for query in ["m", "topk(1, m)", "m * on(n) m", "label_replace(m, \"a\", \"b\", \"n\", \".*\")"]
    {
        let error = engine.range(query, range, second, &PLAIN).await.unwrap_err();
        assert!(
            matches!(error, QueryError::TooCostly { unit: "bytes", limit: 100_000 }),
            "{query} gave {error:?}"
        );
    }
}

#[tokio::test]
async fn a_subquery_with_too_many_instants_is_refused_before_any_is_evaluated() {
    let engine = Engine::new(store(1, 10).await);
    let error = engine.instant("max_over_time(m[10000d:1ms])", at(10), &PLAIN).await.unwrap_err();
    assert!(matches!(error, QueryError::TooLarge { limit: 1_000_000, .. }), "{error:?}");
}

#[tokio::test]
async fn a_query_that_takes_too_long_is_given_up_and_its_place_is_free_again() {
    let options = EngineOptions { at_once: 1, ..EngineOptions::default() };
    let engine = Engine::with_options(store(50, 5000).await, options);
    let hurry = QueryOptions { timeout: Some(Duration::from_millis(1)), ..PLAIN };
    let range = TimeRange::new(at(1), at(5000));
    let query = "quantile_over_time(0.5, m[1h])";
    let error = engine.range(query, range, Duration::from_secs(1), &hurry).await.unwrap_err();
    assert!(matches!(error, QueryError::TimedOut(after) if after == hurry.timeout.unwrap()));

    // Were the evaluation not stopped, this would wait for it.
    let answer = engine.instant("vector(1)", at(1), &PLAIN).await.unwrap();
    assert_eq!(answer.into_values(), [(Labels::empty(), 1.0.into())]);
}

#[tokio::test]
async fn more_queries_than_may_wait_are_refused_at_once() {
    let options = EngineOptions { at_once: 1, waiting: 2, ..EngineOptions::default() };
    let engine = Engine::with_options(store(50, 2000).await, options);
    let range = TimeRange::new(at(1), at(2000));
    let ask = || engine.range("stddev_over_time(m[30m])", range, Duration::from_secs(2), &PLAIN);
    let (a, b, c, d, e) = tokio::join!(ask(), ask(), ask(), ask(), ask());
    let (busy, answered): (Vec<_>, Vec<_>) =
        [a, b, c, d, e].into_iter().partition(|a| matches!(a, Err(QueryError::Busy { .. })));
    assert_eq!((answered.len(), busy.len()), (3, 2));
    assert!(answered.iter().all(Result::is_ok));
}

#[tokio::test]
async fn a_query_nested_too_deep_is_refused_and_nothing_overflows() {
    let engine = Engine::new(store(1, 10).await);
    for (open, close) in [("(", ")"), ("-", ""), ("abs(", ")"), ("m + (", ")")] {
        let query = format!("{}m{}", open.repeat(10_000), close.repeat(10_000));
        let error = engine.instant(&query, at(1), &PLAIN).await.unwrap_err();
        assert!(matches!(error, QueryError::Malformed { .. }), "{open} gave {error:?}");
    }
}

#[tokio::test]
async fn a_time_at_the_end_of_all_time_is_refused_or_answered_but_overflows_nothing() {
    let engine = Engine::new(store(1, 10).await);
    for when in [i64::MIN, i64::MIN / 4 - 1, i64::MIN / 4, i64::MAX / 4, i64::MAX] {
        for query in ["m offset 9999y", "rate(m[9999y])", "m @ 9e15", "max_over_time(m[9999y:1y])"]
        {
            let when = Timestamp::from_millis(when);
            match engine.instant(query, when, &PLAIN).await {
                Ok(answer) => assert_eq!(answer.data, Data::Vector(Vec::new()), "{query}"),
                Err(QueryError::Malformed { .. } | QueryError::Failed(_)) => {}
                Err(other) => panic!("{query} at {when} gave {other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn the_lookback_of_a_query_is_its_own() {
    let engine = Engine::new(store(1, 10).await);
    let patient = QueryOptions { lookback: Some(minutes(60)), ..PLAIN };
    let late = at(10) + minutes(30);
    assert!(engine.instant("m", late, &PLAIN).await.unwrap().into_values().is_empty());
    assert_eq!(engine.instant("m", late, &patient).await.unwrap().into_values().len(), 1);
}

#[tokio::test]
async fn the_tallest_queries_that_are_read_are_evaluated() {
    let engine = Engine::new(store(1, 10).await);
    let tall = [
        format!("m{}", " + 1".repeat(200)),
        format!("{}m{}", "(".repeat(100), ")".repeat(100)),
        format!("{}m{}", "abs(".repeat(100), ")".repeat(100)),
        format!("{}m{}", "sum(".repeat(100), ")".repeat(100)),
        format!("m{}", " or m".repeat(200)),
        format!("{}m{}", "max_over_time(".repeat(50), "[1m:1s])".repeat(50)),
        format!("m{}", " + on(n) m".repeat(200)),
    ];
    for query in tall {
        let answer = engine.instant(&query, at(10), &PLAIN).await;
        assert!(answer.is_ok(), "{query} gave {answer:?}");
    }
}

/// A store whose series cannot be read without a panic.
#[derive(Debug)]
struct Broken(MemoryStore);

struct Panics(Labels);

impl SeriesSet for Panics {
    fn advance(&mut self) -> Result<bool, StoreError> {
        Ok(true)
    }

    fn labels(&self) -> &Labels {
        &self.0
    }

    fn read(&mut self, _into: &mut Vec<Sample>) -> Result<(), StoreError> {
        panic!("a store of somebody's")
    }
}

#[async_trait]
impl Store for Broken {
    fn appender(&self) -> Box<dyn Appender + '_> {
        self.0.appender()
    }

    async fn select(
        &self,
        _matchers: &[Matcher],
        _range: TimeRange,
        _hint: &SelectHint,
    ) -> Result<Box<dyn SeriesSet>, StoreError> {
        Ok(Box::new(Panics(Labels::metric("m"))))
    }

    async fn series(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Vec<Labels>, StoreError> {
        self.0.series(matchers, range).await
    }

    async fn label_names(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Vec<String>, StoreError> {
        self.0.label_names(matchers, range).await
    }

    async fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Vec<String>, StoreError> {
        self.0.label_values(name, matchers, range).await
    }

    async fn exemplars(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Vec<(Labels, Vec<Exemplar>)>, StoreError> {
        self.0.exemplars(matchers, range).await
    }

    async fn ready(&self) -> Result<(), StoreError> {
        self.0.ready().await
    }

    async fn stats(&self) -> StoreStats {
        self.0.stats().await
    }
}

#[tokio::test]
async fn a_panic_in_an_evaluation_is_an_error_of_that_query_and_leaves_room_for_the_next() {
    let options = EngineOptions { at_once: 1, ..EngineOptions::default() };
    let engine = Engine::with_options(Arc::new(Broken(MemoryStore::new())), options);
    for _ in 0..3 {
        let error = engine.instant("sum(m)", at(1), &PLAIN).await.unwrap_err();
        assert!(matches!(&error, QueryError::Failed(why) if why.contains("panicked")), "{error:?}");
    }
    let answer = engine.instant("vector(1)", at(1), &PLAIN).await.unwrap();
    assert_eq!(answer.into_values(), [(Labels::empty(), 1.0.into())]);
}
