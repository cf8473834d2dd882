//! The suite of [`SpanStore`].
//!
//! ```
//! mod memory_span_store {
//!     use hms_ops_core::span_store::MemorySpanStore;
//!
//!     hms_ops_testkit::span_store_suite! {
//!         MemorySpanStore::new(),
//!         ten_spans: MemorySpanStore::with_limits(10, 10)
//!     }
//! }
//! ```

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use hms_ops_core::span::{AttributeValue, SpanId, SpanKind, SpanRecord, SpanStatus, TraceId};
use hms_ops_core::span_store::{MemorySpanStore, SpanStore, TraceQuery, TraceSummary};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::block_on;

/// One test for each promise of [`SpanStore`](hms_ops_core::span_store::SpanStore); see
/// [`span_store`](crate::span_store).
///
/// The second form, with a store that holds ten spans, adds the promises about bounds.
#[macro_export]
macro_rules! span_store_suite {
    ($store:expr, ten_spans: $small:expr $(,)?) => {
        $crate::span_store_suite!($store);
        $crate::cases! { $small;
            the_oldest_traces_make_room_and_are_counted
            ; span_store
        }
    };
    ($store:expr $(,)?) => {
        $crate::cases! { $store;
            an_unknown_trace_is_empty
            a_trace_is_sorted_by_start_in_whatever_order_it_came
            a_span_that_comes_twice_is_kept_once
            a_span_reads_back_as_it_was_written
            a_trace_is_summed_up
            the_root_is_the_earliest_span_while_there_is_no_root
            search_finds_the_newest_first
            search_finds_by_service
            search_finds_by_duration
            the_limit_counts_what_fits
            without_a_limit_there_are_fifty
            concurrent_appends_lose_nothing
            ; span_store
        }

        #[test]
        fn any_spans_read_back_as_from_the_memory_span_store() {
            $crate::span_store::against_oracle(async || $store);
        }
    };
}

/// Nothing is no error.
pub async fn an_unknown_trace_is_empty(store: impl SpanStore) {
    assert_eq!(store.trace(trace(1)).await.unwrap(), []);
    assert_eq!(store.search(&TraceQuery::default()).await.unwrap(), []);
    store.append(Vec::new()).await.unwrap();
    store.append(vec![span(1, 1)]).await.unwrap();
    assert_eq!(store.trace(trace(2)).await.unwrap(), []);
    assert_eq!(store.dropped().await, 0);
}

/// Children end, and so come, before their parents; other processes' spans come when they come.
pub async fn a_trace_is_sorted_by_start_in_whatever_order_it_came(store: impl SpanStore) {
    store.append(vec![span(1, 3), span(2, 1), span(1, 5)]).await.unwrap();
    store.append(vec![span(1, 1)]).await.unwrap();
    store.append(vec![span(1, 4), span(1, 2)]).await.unwrap();
    assert_eq!(
        store.trace(trace(1)).await.unwrap(),
        (1..=5).map(|i| span(1, i)).collect::<Vec<_>>()
    );
    assert_eq!(store.trace(trace(2)).await.unwrap(), [span(2, 1)]);
}

/// By trace and span id; the same span id in another trace is another span.
pub async fn a_span_that_comes_twice_is_kept_once(store: impl SpanStore) {
    store.append(vec![span(1, 1), span(1, 1), span(2, 1)]).await.unwrap();
    store.append(vec![span(1, 1), span(1, 2)]).await.unwrap();
    assert_eq!(store.trace(trace(1)).await.unwrap(), [span(1, 1), span(1, 2)]);
    assert_eq!(store.trace(trace(2)).await.unwrap(), [span(2, 1)]);
    let mut found = search(&store, TraceQuery::default()).await;
    found.sort_by_key(|summary| summary.trace_id);
    assert_eq!(found.iter().map(|summary| summary.spans).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(store.dropped().await, 0);
}

/// Every field, with any text, to the nanosecond.
pub async fn a_span_reads_back_as_it_was_written(store: impl SpanStore) {
    let hostile = "quote \" backslash \\ line\nbreak \u{0}\u{1f}\u{7f} größe \u{1f98a} \u{2028}";
    let kinds = [
        SpanKind::Internal,
        SpanKind::Server,
        SpanKind::Client,
        SpanKind::Producer,
        SpanKind::Consumer,
    ];
    let statuses =
        [SpanStatus::Unset, SpanStatus::Ok, SpanStatus::Error(hostile.into()), SpanStatus::Ok];
    let attributes = [
        ("z.last".into(), AttributeValue::Bool(true)),
        ("int".into(), AttributeValue::Int(i64::MIN)),
        ("float".into(), AttributeValue::Float(0.1 + 0.2)),
        (hostile.into(), AttributeValue::Text(hostile.into())),
        ("a.first".into(), AttributeValue::Text("".into())),
    ];
    let whole = |(i, kind): (usize, SpanKind)| SpanRecord {
        trace_id: TraceId::new(u128::MAX).unwrap(),
        span_id: SpanId::new(u64::MAX - i as u64).unwrap(),
        parent_id: (i > 0).then(|| SpanId::new(u64::MAX).unwrap()),
        service: hostile.into(),
        name: hostile.into(),
        kind,
        start_ns: 1_767_225_600_123_456_789 + i as u64,
        duration: Duration::from_nanos(1_000_000_001),
        status: statuses[i % 4].clone(),
        attributes: attributes[i % 2..].to_vec(),
    };
    let spans: Vec<_> = kinds.into_iter().enumerate().map(whole).collect();
    store.append(spans.clone()).await.unwrap();
    assert_eq!(store.trace(spans[0].trace_id).await.unwrap(), spans);
}

/// Root, start, duration from first start to last end, errors and services.
pub async fn a_trace_is_summed_up(store: impl SpanStore) {
    let root = SpanRecord { name: "GET /claims".into(), ..span(1, 10) };
    let child = |i, service: &'static str, status| SpanRecord {
        parent_id: Some(root.span_id),
        service: service.into(),
        status,
        ..span(1, i)
    };
    let error = SpanStatus::Error("no answer".into());
    let late = SpanRecord { duration: Duration::from_nanos(700), ..child(12, "db", error.clone()) };
    // A clock that is behind lets a child begin before its parent.
    store
        .append(vec![child(9, "web", error), late, child(11, "db", SpanStatus::Ok)])
        .await
        .unwrap();
    store.append(vec![root.clone()]).await.unwrap();
    let expected = TraceSummary {
        trace_id: trace(1),
        root: ("eligibility-svc".to_owned(), "GET /claims".to_owned()),
        has_root: true,
        start_ns: 900,
        duration: Duration::from_nanos(1000),
        spans: 4,
        errors: 2,
        services: ["db", "eligibility-svc", "web"].map(str::to_owned).into(),
    };
    assert_eq!(search(&store, TraceQuery::default()).await, [expected]);
}

/// Until the root comes, and also if it never does.
pub async fn the_root_is_the_earliest_span_while_there_is_no_root(store: impl SpanStore) {
    let child = |i, name: &'static str| SpanRecord {
        parent_id: SpanId::new(999),
        name: name.into(),
        ..span(1, i)
    };
    store.append(vec![child(3, "third"), child(2, "second")]).await.unwrap();
    assert_eq!(search(&store, TraceQuery::default()).await[0].root.1, "second");
    store.append(vec![SpanRecord { name: "root".into(), ..span(1, 4) }]).await.unwrap();
    assert_eq!(search(&store, TraceQuery::default()).await[0].root.1, "root");
}

/// New is what began late, in whatever order it came.
pub async fn search_finds_the_newest_first(store: impl SpanStore) {
    for id in [3, 1, 4, 2] {
        store.append(vec![begun(id)]).await.unwrap();
    }
    assert_eq!(ids(&store, TraceQuery::default()).await, [4, 3, 2, 1]);
}

/// Wherever in the trace the service took part.
pub async fn search_finds_by_service(store: impl SpanStore) {
    let by = |id, i, service: &'static str| SpanRecord {
        service: service.into(),
        start_ns: id * 1000 + i,
        ..span(id, i)
    };
    store.append(vec![by(1, 1, "web"), by(1, 2, "db"), by(2, 1, "web")]).await.unwrap();
    let of = |service: &str| TraceQuery { service: Some(service.to_owned()), ..Default::default() };
    assert_eq!(ids(&store, of("web")).await, [2, 1]);
    assert_eq!(ids(&store, of("db")).await, [1]);
    assert!(ids(&store, of("d")).await.is_empty());
    assert!(ids(&store, of("")).await.is_empty());
}

/// At least as long, the whole trace and not one span of it.
pub async fn search_finds_by_duration(store: impl SpanStore) {
    store.append(vec![begun(1), begun(2)]).await.unwrap();
    let end = SpanRecord { span_id: SpanId::new(77).unwrap(), ..begun(2) };
    store.append(vec![SpanRecord { start_ns: end.start_ns + 900, ..end }]).await.unwrap();
    let at_least = |ns| TraceQuery { min_duration: Duration::from_nanos(ns), ..Default::default() };
    assert_eq!(ids(&store, at_least(100)).await, [2, 1]);
    assert_eq!(ids(&store, at_least(101)).await, [2]);
    assert_eq!(ids(&store, at_least(1000)).await, [2]);
    assert!(ids(&store, at_least(1001)).await.is_empty());
}

/// The newest of those that fit, not those that fit of the newest.
pub async fn the_limit_counts_what_fits(store: impl SpanStore) {
    let service = |id: u64| if id.is_multiple_of(2) { "even" } else { "odd" };
    let spans = (1..=20).map(|id| SpanRecord { service: service(id).into(), ..begun(id) });
    store.append(spans.collect()).await.unwrap();
    let odd = |limit| TraceQuery { service: Some("odd".to_owned()), limit, ..Default::default() };
    assert_eq!(ids(&store, odd(3)).await, [19, 17, 15]);
    assert_eq!(ids(&store, odd(1)).await, [19]);
    assert_eq!(ids(&store, odd(1000)).await.len(), 10);
}

/// As [`TraceQuery::limit`] says of 0.
pub async fn without_a_limit_there_are_fifty(store: impl SpanStore) {
    store.append((1..=60).map(begun).collect()).await.unwrap();
    assert_eq!(ids(&store, TraceQuery::default()).await, (11..=60).rev().collect::<Vec<_>>());
}

/// Four writers at once, each with spans of one trace and of its own.
pub async fn concurrent_appends_lose_nothing(store: impl SpanStore) {
    let store = Arc::new(store);
    let writers: Vec<_> = (1..=4)
        .map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                for i in 0..25 {
                    let shared = span(9, writer * 100 + i);
                    store.append(vec![shared, span(writer, i + 1)]).await.unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(store.trace(trace(9)).await.unwrap().len(), 100);
    for writer in 1..=4 {
        assert_eq!(store.trace(trace(writer)).await.unwrap().len(), 25);
    }
}

/// Of a store that holds ten spans, whole traces go, the oldest first; the newest is complete.
pub async fn the_oldest_traces_make_room_and_are_counted(store: impl SpanStore) {
    let five = |id| (1..=5).map(move |i| SpanRecord { start_ns: id * 1000 + i, ..span(id, i) });
    for id in 1..=2 {
        store.append(five(id).collect()).await.unwrap();
    }
    assert_eq!(store.dropped().await, 0);
    for id in 3..=4 {
        store.append(five(id).collect()).await.unwrap();
    }
    assert_eq!(store.dropped().await, 10);
    assert_eq!(ids(&store, TraceQuery::default()).await, [4, 3]);
    assert_eq!(store.trace(trace(1)).await.unwrap(), []);
    assert_eq!(store.trace(trace(4)).await.unwrap(), five(4).collect::<Vec<_>>());
}

/// Appends random spans to stores from `make` and to the [`MemorySpanStore`], and compares every
/// answer.
pub fn against_oracle<S: SpanStore>(make: impl AsyncFn() -> S) {
    let span = (1..5u64, 1..20u64, any::<bool>(), 0..300u64, 0..3usize).prop_map(
        |(id, i, root, ns, service)| SpanRecord {
            parent_id: if root && i == 1 { None } else { SpanId::new(1) },
            service: ["web", "db", "queue"][service].into(),
            duration: Duration::from_nanos(ns),
            // Instants differ between traces, so that their order is no matter of taste.
            start_ns: i * 100 + id,
            ..self::span(id, i)
        },
    );
    let batches = prop::collection::vec(prop::collection::vec(span, 0..12), 0..8);
    let query =
        (prop::option::of(0..3usize), 0..2000u64, 0..4usize).prop_map(|(service, ns, limit)| {
            TraceQuery {
                service: service.map(|i| ["web", "db", "queue"][i].to_owned()),
                min_duration: Duration::from_nanos(ns),
                limit,
            }
        });
    let config = Config { cases: 128, failure_persistence: None, ..Config::default() };
    let played = TestRunner::new(config).run(&(batches, query), |(batches, query)| {
        block_on(async {
            let (store, oracle) = (make().await, MemorySpanStore::new());
            // What becomes of two spans with one id is not promised, only that one is kept.
            let mut seen = BTreeSet::new();
            for mut batch in batches {
                batch.retain(|span| seen.insert((span.trace_id, span.span_id)));
                store.append(batch.clone()).await.unwrap();
                oracle.append(batch).await.unwrap();
            }
            for id in 1..5 {
                let expected = oracle.trace(trace(id)).await.unwrap();
                assert_eq!(store.trace(trace(id)).await.unwrap(), expected);
            }
            let expected = oracle.search(&query).await.unwrap();
            assert_eq!(store.search(&query).await.unwrap(), expected, "{query:?}");
        });
        Ok(())
    });
    if let Err(failure) = played {
        panic!("{failure}");
    }
}

fn trace(id: u64) -> TraceId {
    TraceId::new(id.into()).expect("ids of the suite begin at 1")
}

/// A root span that begins at 100 ns times `i` and takes 100 ns.
fn span(id: u64, i: u64) -> SpanRecord {
    SpanRecord {
        trace_id: trace(id),
        span_id: SpanId::new(i + 1).expect("not zero"),
        parent_id: None,
        service: "eligibility-svc".into(),
        name: "work".into(),
        kind: SpanKind::Internal,
        start_ns: i * 100,
        duration: Duration::from_nanos(100),
        status: SpanStatus::Unset,
        attributes: Vec::new(),
    }
}

/// The only span of a trace that began the later, the higher its id.
fn begun(id: u64) -> SpanRecord {
    SpanRecord { start_ns: id * 1_000_000, ..span(id, 1) }
}

async fn search(store: &impl SpanStore, query: TraceQuery) -> Vec<TraceSummary> {
    store.search(&query).await.unwrap()
}

async fn ids(store: &impl SpanStore, query: TraceQuery) -> Vec<u64> {
    search(store, query).await.iter().map(|summary| summary.trace_id.get() as u64).collect()
}
