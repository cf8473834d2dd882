//! Every kind of failure: its status and its JSON, byte by byte.

use std::time::Duration;

use hms_ops_core::query::QueryError;
use hms_ops_core::store::StoreError;

use crate::http::world::{Says, api, get, post, store, world};

async fn failed(path: &str) -> (u16, String) {
    let got = get(&world().await, &format!("/api/v1/{path}")).await;
    (got.status.as_u16(), got.text().to_owned())
}

fn bad_data(why: &str) -> (u16, String) {
    let why = why.replace('"', "\\\"");
    (400, format!(r#"{{"status":"error","errorType":"bad_data","error":"{why}"}}"#))
}

#[tokio::test]
async fn a_request_that_makes_no_sense_is_bad_data_in_the_words_of_prometheus() {
    let ok = "query=up&start=0&end=100&step=15";
    for (path, why) in [
        (
            "query?query=up&time=x",
            r#"invalid parameter "time": Invalid time value for 'time': cannot parse "x" to a valid timestamp"#,
        ),
        (
            "query?query=up&time=1e300",
            r#"invalid parameter "time": Invalid time value for 'time': cannot parse "1e300" to a valid timestamp"#,
        ),
        (
            "query?query=up&timeout=x",
            r#"invalid parameter "timeout": cannot parse "x" to a valid duration"#,
        ),
        ("query?query=up&limit=-1", r#"invalid parameter "limit": limit must be non-negative"#),
        (
            "query?query=up&lookback_delta=x",
            r#"error parsing lookback delta duration: cannot parse "x" to a valid duration"#,
        ),
        (
            "query_range?query=up",
            r#"invalid parameter "start": cannot parse "" to a valid timestamp"#,
        ),
        (
            "query_range?query=up&start=0",
            r#"invalid parameter "end": cannot parse "" to a valid timestamp"#,
        ),
        (
            "query_range?query=up&start=2&end=1&step=1",
            r#"invalid parameter "end": end timestamp must not be before start time"#,
        ),
        (
            "query_range?query=up&start=0&end=1",
            r#"invalid parameter "step": cannot parse "" to a valid duration"#,
        ),
        (
            "query_range?query=up&start=0&end=1&step=0",
            r#"invalid parameter "step": zero or negative query resolution step widths are not accepted. Try a positive integer"#,
        ),
        (
            "query_range?query=up&start=0&end=1&step=-1",
            r#"invalid parameter "step": zero or negative query resolution step widths are not accepted. Try a positive integer"#,
        ),
        (
            "query_range?query=up&start=0&end=11001&step=1",
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
        ),
        (
            "query_range?query=up&start=-9223309901257974&end=9223309901257974&step=1",
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
        ),
        ("series", "no match[] parameter provided"),
        (
            "series?match[]=up&start=x",
            r#"invalid parameter "start": Invalid time value for 'start': cannot parse "x" to a valid timestamp"#,
        ),
        (
            "query_exemplars?query=up&start=2&end=1",
            "end timestamp must not be before start timestamp",
        ),
        ("metadata?limit=x", "limit must be a number"),
        ("metadata?limit_per_metric=x", "limit_per_metric must be a number"),
        ("query?query=%zz", r#"error parsing form values: invalid URL escape "%zz""#),
    ] {
        assert_eq!(failed(path).await, bad_data(why), "{path}");
    }
    for end in ["11000", "0"] {
        let at_the_edge = ok.replace("100&step=15", &format!("{end}&step=1"));
        let got = get(&world().await, &format!("/api/v1/query_range?{at_the_edge}")).await;
        assert_eq!(got.status, 200, "{}", got.text());
    }
}

#[tokio::test]
async fn what_the_engine_fails_with_has_the_status_of_its_kind() {
    let store = store().await;
    for (kind, status, error) in [
        ("bad_data", 400, QueryError::Malformed { query: "x".into(), reason: "no".into() }),
        ("execution", 422, QueryError::Failed("many-to-many".into())),
        ("execution", 422, QueryError::TooLarge { points: 2, limit: 1 }),
        ("execution", 422, QueryError::TooCostly { unit: "samples", limit: 1 }),
        ("timeout", 503, QueryError::TimedOut(Duration::from_secs(2))),
        ("canceled", 499, QueryError::Cancelled),
        ("unavailable", 503, QueryError::Busy { waiting: 3 }),
        ("internal", 500, QueryError::Store(StoreError::Backend("disk".into()))),
    ] {
        let message = match &error {
            QueryError::Malformed { reason, .. } => {
                format!("invalid parameter \"query\": {reason}")
            }
            other => other.to_string(),
        };
        let mut error = Some(error);
        let routes = api(Says::new(move || Err(error.take().unwrap())), store.clone()).router();
        let got = get(&routes, "/api/v1/query?query=x").await;
        let message = message.replace('"', "\\\"");
        assert_eq!(got.status.as_u16(), status);
        assert_eq!(got.headers["content-type"], "application/json");
        assert_eq!(
            got.text(),
            format!(r#"{{"status":"error","errorType":"{kind}","error":"{message}"}}"#)
        );
    }
}

#[tokio::test]
async fn a_query_that_is_none_is_told_why() {
    for got in [
        get(&world().await, "/api/v1/query?query=up{").await,
        post(&world().await, "/api/v1/query_range", "query=up{&start=0&end=1&step=1").await,
    ] {
        assert_eq!(got.status, 400);
        let error = got.json()["error"].as_str().unwrap().to_owned();
        assert!(error.starts_with("invalid parameter \"query\": "), "{error}");
    }
}
