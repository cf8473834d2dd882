//! The route that takes spans.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use hms_ops_core::span_store::SpanStore;

use super::{MAX_BODY_BYTES, decode};
use crate::client::in_one_line;

/// `POST /v1/traces`: OTLP/HTTP in JSON, up to 4 MiB, into `store`.
///
/// Answers `{}`, or `{"message": ...}` with 400 for a body that is wrong, 413 for one that is too
/// long, 415 for one that is not plain JSON, and 503 when the store fails.
pub fn router(store: Arc<dyn SpanStore>) -> Router {
    Router::new()
        .route("/v1/traces", post(traces))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(store)
}

async fn traces(
    State(store): State<Arc<dyn SpanStore>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
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
    let body = match body {
        Ok(body) => body,
        Err(rejection) => return refuse(rejection.status(), &rejection.body_text()),
    };
    let spans = match decode(&body) {
        Ok(spans) => spans,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    match store.append(spans).await {
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
