//! Requests that mean harm: one clear answer each, and bounds that hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use axum::http::Request;
use hms_ops_core::query::{Answer, Data, QueryEngine, QueryError, QueryOptions};
use hms_ops_core::time::{TimeRange, Timestamp};
use tokio::sync::Semaphore;

use crate::http::world::{Got, api, get, post, send, store, world};

/// Answers when it is let, and counts.
#[derive(Debug)]
struct Heavy {
    go: Semaphore,
    running: AtomicUsize,
}

#[async_trait]
impl QueryEngine for Heavy {
    async fn instant(&self, _: &str, _: Timestamp, _: &QueryOptions) -> Result<Answer, QueryError> {
        self.running.fetch_add(1, Ordering::SeqCst);
        self.go.acquire().await.unwrap().forget();
        Ok(Data::Vector(vec![]).into())
    }

    async fn range(
        &self,
        query: &str,
        range: TimeRange,
        _: Duration,
        options: &QueryOptions,
    ) -> Result<Answer, QueryError> {
        self.instant(query, range.end, options).await
    }
}

#[tokio::test]
async fn of_fifty_heavy_requests_at_once_a_few_are_answered_and_the_others_told_to_come_again() {
    let engine = Arc::new(Heavy { go: Semaphore::new(0), running: AtomicUsize::new(0) });
    let routes = api(engine.clone(), store().await).max_requests(4).router();
    let all: Vec<_> = (0..50)
        .map(|_| {
            let routes = routes.clone();
            tokio::spawn(async move { get(&routes, "/api/v1/query?query=x").await })
        })
        .collect();
    let (mut refused, mut waiting) = (Vec::<Got>::new(), Vec::new());
    // Those that were refused end by themselves; the others wait to be let.
    while refused.len() < 46 {
        tokio::task::yield_now().await;
        let ended = all.iter().filter(|task| task.is_finished()).count();
        if ended == 46 {
            break;
        }
    }
    assert_eq!(engine.running.load(Ordering::SeqCst), 4);
    engine.go.add_permits(4);
    for task in all {
        let got = task.await.unwrap();
        if got.status == 200 { waiting.push(got) } else { refused.push(got) }
    }
    assert_eq!((waiting.len(), refused.len()), (4, 46));
    for got in refused {
        assert_eq!(got.status, 503);
        assert_eq!(
            got.text(),
            r#"{"status":"error","errorType":"unavailable","error":"4 requests are being answered already; ask again later"}"#
        );
    }
    // The places are free again.
    engine.go.add_permits(1);
    assert_eq!(get(&routes, "/api/v1/query?query=x").await.status, 200);
}

#[tokio::test]
async fn a_client_that_reads_nothing_keeps_its_place_and_gives_it_back_when_it_leaves() {
    let labels = |n: usize| format!("m{n:06}{}", "x".repeat(100));
    let sample = hms_ops_core::sample::Sample { at: Timestamp::default(), value: 1.0.into() };
    let series =
        (0..5000).map(|n| (hms_ops_core::labels::Labels::metric(&labels(n)), sample.clone()));
    let data = Data::Vector(series.collect());
    let engine = crate::http::world::Says::new(move || Ok(data.clone().into()));
    let routes = api(engine, store().await).max_requests(1).router();
    let request = || Request::get("/api/v1/query?query=x").body(Body::empty()).unwrap();
    let unread = tower::ServiceExt::oneshot(routes.clone(), request()).await.unwrap();
    assert_eq!(unread.status(), 200);
    assert_eq!(send(&routes, request()).await.status, 503);
    drop(unread);
    assert_eq!(send(&routes, request()).await.status, 200);
}

#[tokio::test]
async fn answers_that_nobody_reads_take_no_more_memory_than_they_may() {
    let sample = hms_ops_core::sample::Sample { at: Timestamp::default(), value: 1.0.into() };
    let series = (hms_ops_core::labels::Labels::metric("up"), vec![sample; 100_000]);
    let data = Data::Matrix(vec![series]);
    let engine = crate::http::world::Says::new(move || Ok(data.clone().into()));
    let routes = api(engine, store().await).max_sent(3).router();
    let request = || Request::get("/api/v1/query?query=x").body(Body::empty()).unwrap();
    let unread = tower::ServiceExt::oneshot(routes.clone(), request()).await.unwrap();
    let refused = send(&routes, request()).await;
    assert_eq!(refused.status, 503);
    let why = "answers of 3 MiB are being sent already; ask again later";
    assert_eq!(refused.json()["error"], why);
    drop(unread);
    assert_eq!(send(&routes, request()).await.status, 200);
}

#[tokio::test]
async fn a_form_that_is_too_long_is_refused_and_a_long_query_is_answered() {
    let routes = world().await;
    let long = format!("query=up{{job=\"{}\"}}", "x".repeat(60 << 10));
    assert_eq!(post(&routes, "/api/v1/query", &long).await.status, 200);
    let too_long = format!("query={}", "x".repeat(1 << 20));
    let got = post(&routes, "/api/v1/query", &too_long).await;
    assert_eq!(got.status, 400);
    assert_eq!(got.json()["errorType"], "bad_data");
}

#[tokio::test]
async fn bytes_that_are_no_text_are_refused_wherever_they_stand() {
    let routes = world().await;
    for path in ["query?query=%ff", "labels?match[]=%c3%28", "series?match%ff=up"] {
        let got = get(&routes, &format!("/api/v1/{path}")).await;
        assert_eq!(got.status, 400, "{path}");
        assert_eq!(got.json()["error"], "error parsing form values: a field is not UTF-8");
    }
    let request = Request::post("/api/v1/query")
        .header("content-type", "application/x-www-form-urlencoded; charset=utf-8");
    let got = send(&routes, request.body(vec![b'q', b'=', 0xff].into()).unwrap()).await;
    assert_eq!(got.status, 400);
    assert_eq!(get(&routes, "/api/v1/label/%ff/values").await.status, 400);
}

#[tokio::test]
async fn times_at_the_ends_of_time_are_answered_or_refused() {
    let routes = world().await;
    // What there is can be looked up at any time; an evaluation has to look back from there.
    for (at, looked_up) in [
        ("-9223372036854775", 200),
        ("9223372036854774", 200),
        ("9223372036854776", 400),
        ("-1e400", 400),
        ("NaN", 400),
    ] {
        for (path, status) in [
            ("series?match[]=up", looked_up),
            ("query_exemplars?query=up", looked_up),
            ("query_range?query=up&step=1", 400),
        ] {
            let got = get(&routes, &format!("/api/v1/{path}&start={at}&end={at}")).await;
            assert_eq!(got.status.as_u16(), status, "{path} {at}: {}", got.text());
        }
    }
    for (step, status) in [("1e10", 400), ("106751d", 200), ("0.0001", 400), ("9e9", 200)] {
        let path = format!("/api/v1/query_range?query=up&start=0&end=1&step={step}");
        let got = get(&routes, &path).await;
        assert_eq!(got.status.as_u16(), status, "{step}: {}", got.text());
    }
}
