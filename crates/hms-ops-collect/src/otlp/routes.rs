//! The route that takes spans.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use hms_ops_core::span_store::SpanStore;

use tokio::sync::Semaphore;

use super::{LONG_BYTES, MAX_BODY_BYTES, decode};
use crate::body::{MAX_REQUESTS, whole};
use crate::client::in_one_line;

/// `POST /v1/traces`: OTLP/HTTP in JSON, up to 4 MiB, 16 requests at once, into `store`.
///
/// Answers `{}`, or `{"message": ...}` with 400 for a body that is wrong, 408 for one that takes too
/// long, 413 for one that is too long, 415 for one that is not plain JSON, and 503 when the store fails.
pub fn router(store: Arc<dyn SpanStore>) -> Router {
    Router::new()
        .route("/v1/traces", post(traces))
        .with_state(Arc::new(Traces { store, requests: Semaphore::new(MAX_REQUESTS) }))
}

#[derive(Debug)]
struct Traces {
    store: Arc<dyn SpanStore>,
    requests: Semaphore,
}

async fn traces(State(traces): State<Arc<Traces>>, headers: HeaderMap, body: Body) -> Response {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = header(CONTENT_TYPE).split(';').next().unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case("application/json") {
        let message = format!(
            "content type {media_type:?} is not application/json: OTLP is taken in JSON only for now"
        );
        return refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, &message);
    }
    if !matches!(header(CONTENT_ENCODING), "" | "identity") {
        return refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body is compressed: send it plain");
    }
    let _permit = traces.requests.acquire().await;
    let body = match whole(body, MAX_BODY_BYTES).await {
        Ok(body) => body,
        Err((status, message)) => return refuse(status, &message),
    };
    let decoded = if body.len() <= LONG_BYTES {
        decode(&body)
    } else {
        match tokio::task::spawn_blocking(move || decode(&body)).await {
            Ok(decoded) => decoded,
            Err(failed) => {
                return refuse(StatusCode::SERVICE_UNAVAILABLE, &in_one_line(&failed));
            }
        }
    };
    let spans = match decoded {
        Ok(spans) => spans,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    match traces.store.append(spans).await {
        Ok(()) => answer(StatusCode::OK, "{}".to_owned()),
        Err(error) => refuse(StatusCode::SERVICE_UNAVAILABLE, &in_one_line(&error)),
    }
}

fn refuse(status: StatusCode, message: &str) -> Response {
    answer(status, serde_json::json!({ "message": message }).to_string())
}

fn answer(status: StatusCode, json: String) -> Response {
    (status, [(CONTENT_TYPE, "application/json")], json).into_response()
}
