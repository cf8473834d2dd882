//! The route, through HTTP.

use std::sync::atomic::Ordering::SeqCst;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use hms_ops_collect::otlp::{MAX_METRICS_BODY_BYTES, metrics_router};
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::*;
use crate::scrape::Watched;
use crate::server::gzip;

const PATH: &str = "/api/v1/otlp/v1/metrics";
const JSON: &str = "application/json";
const PROTOBUF: &str = "application/x-protobuf";

async fn post(
    routes: Router,
    path: &str,
    (content_type, encoding): (&str, &str),
    body: Vec<u8>,
) -> (StatusCode, String, Vec<u8>) {
    let request = Request::post(path)
        .header("content-type", content_type)
        .header("content-encoding", encoding)
        .body(Body::from(body));
    let response = routes.oneshot(request.unwrap()).await.unwrap();
    let answered = response.headers()["content-type"].to_str().unwrap().to_owned();
    let status = response.status();
    (status, answered, response.into_body().collect().await.unwrap().to_bytes().to_vec())
}

#[tokio::test]
async fn metrics_are_taken_in_both_encodings_plain_and_compressed() {
    let (json, protobuf) = (everything().to_string(), to_protobuf("Export", &everything()));
    for (content_type, body, success) in [
        ("Application/JSON; charset=utf-8", json.into_bytes(), &b"{}"[..]),
        (PROTOBUF, protobuf, b""),
    ] {
        for path in [PATH, "/v1/metrics"] {
            for (encoding, body) in [("identity", body.clone()), ("gzip", gzip(&body))] {
                let store = Arc::new(MemoryStore::new());
                let routes = metrics_router(store.clone(), Arc::default());
                let (status, answered, answer) =
                    post(routes, path, (content_type, encoding), body).await;
                let (wanted, _) = content_type.split_once(';').unwrap_or((content_type, ""));
                assert_eq!((status, &*answer), (StatusCode::OK, success));
                assert_eq!(answered, wanted.to_ascii_lowercase());
                assert_eq!(stored(&store).await.len(), 14);
            }
        }
    }
}

#[tokio::test]
async fn what_is_refused_is_counted_in_a_partial_success() {
    let mut delta = metric("claims", "", "sum", json!([{"asInt": "1"}, {"asInt": "2"}]));
    delta["sum"]["aggregationTemporality"] = 1.into();
    let export = export(&json!([delta]));
    let message = r#""claims": 2 data points: delta temporality is not taken"#;
    let routes = metrics_router(Arc::new(MemoryStore::new()), Arc::default());

    let body = export.to_string().into_bytes();
    let (status, _, answer) = post(routes.clone(), PATH, (JSON, ""), body).await;
    let partial = json!({"rejectedDataPoints": "2", "errorMessage": message});
    let answer: Json = serde_json::from_slice(&answer).unwrap();
    assert_eq!((status, answer), (StatusCode::OK, json!({"partialSuccess": partial})));

    let body = to_protobuf("Export", &export);
    let (status, _, answer) = post(routes, PATH, (PROTOBUF, ""), body).await;
    let partial = [&[0x08, 2][..], &protobuf::nested(2, message.as_bytes())].concat();
    assert_eq!((status, answer), (StatusCode::OK, protobuf::nested(1, &partial)));
}

#[tokio::test]
async fn what_is_not_an_export_is_refused_with_the_reason() {
    let too_long = vec![b' '; MAX_METRICS_BODY_BYTES + 1];
    let bomb = gzip(&too_long);
    for (headers, body, status, reason) in [
        ((JSON, ""), b"{".to_vec(), StatusCode::BAD_REQUEST, "EOF while parsing"),
        ((PROTOBUF, ""), b"{".to_vec(), StatusCode::BAD_REQUEST, "wire type 3"),
        ((JSON, "gzip"), b"{}".to_vec(), StatusCode::BAD_REQUEST, "not valid gzip"),
        ((JSON, "br"), vec![], StatusCode::UNSUPPORTED_MEDIA_TYPE, "\"br\" is neither gzip nor"),
        (
            ("text/plain", ""),
            vec![],
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "\"text/plain\" is neither",
        ),
        ((JSON, ""), too_long, StatusCode::PAYLOAD_TOO_LARGE, "more than 16777216 bytes"),
        ((PROTOBUF, "gzip"), bomb, StatusCode::PAYLOAD_TOO_LARGE, "more than 16777216 bytes"),
    ] {
        let routes = metrics_router(Arc::new(MemoryStore::new()), Arc::default());
        let (answered, content_type, answer) = post(routes, PATH, headers, body).await;
        assert_eq!(answered, status, "{reason}");
        let message = if content_type == PROTOBUF {
            assert_eq!(answer[0], 2 << 3 | 2, "the message of a status");
            String::from_utf8_lossy(&answer).into_owned()
        } else {
            let status: Json = serde_json::from_slice(&answer).unwrap();
            status["message"].as_str().unwrap().to_owned()
        };
        assert!(message.contains(reason), "{message}");
    }
}

#[tokio::test]
async fn while_the_store_fails_the_sender_is_asked_to_come_again() {
    let store = Arc::new(Watched::default());
    store.fails.store(true, SeqCst);
    let body = everything().to_string().into_bytes();
    let (status, _, answer) =
        post(metrics_router(store, Arc::default()), PATH, (JSON, ""), body).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    let status: Json = serde_json::from_slice(&answer).unwrap();
    let reason = "the samples could not be stored: the store failed: no space: no space";
    assert_eq!(status["message"], reason);
}
