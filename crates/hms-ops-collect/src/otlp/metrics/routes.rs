//! The route that takes metrics.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use hms_ops_core::metadata::MetadataStore;
use hms_ops_core::store::Store;

use super::{Encoding, MAX_METRICS_BODY_BYTES, MetricsError, MetricsReceiver, Refused};
use crate::client::{ClientError, gunzip, in_one_line};
use crate::protobuf::Writer;

/// `POST /api/v1/otlp/v1/metrics`, where Prometheus has it, and `POST /v1/metrics`: OTLP/HTTP in
/// protobuf or JSON, plain or in gzip, up to 16 MiB, into `store` and `metadata`.
///
/// Answers in the encoding of the request: 200 with what was refused, if anything was; a status
/// message with 400 for a body that is wrong, 413 for one that is too long, 415 for one in another
/// format, and 503 when the store fails.
pub fn metrics_router(store: Arc<dyn Store>, metadata: Arc<MetadataStore>) -> Router {
    Router::new()
        .route("/api/v1/otlp/v1/metrics", post(metrics))
        .route("/v1/metrics", post(metrics))
        .layer(DefaultBodyLimit::max(MAX_METRICS_BODY_BYTES))
        .with_state(Arc::new(MetricsReceiver::new(store, metadata)))
}

async fn metrics(
    State(receiver): State<Arc<MetricsReceiver>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = header(CONTENT_TYPE).split(';').next().unwrap_or_default().trim();
    let Some(encoding) = Encoding::of(media_type) else {
        let message = format!(
            "content type {media_type:?} is neither application/x-protobuf nor application/json"
        );
        return Encoding::Json.status(StatusCode::UNSUPPORTED_MEDIA_TYPE, &message);
    };
    let body = match body {
        Ok(body) => body,
        Err(rejection) => return encoding.status(rejection.status(), &rejection.body_text()),
    };
    let received = match header(CONTENT_ENCODING).to_ascii_lowercase().as_str() {
        "" | "identity" => receiver.receive(&body, encoding).await,
        "gzip" => match gunzip(&body, MAX_METRICS_BODY_BYTES) {
            Ok(inflated) => receiver.receive(&inflated, encoding).await,
            Err(error) => {
                let status = match error {
                    ClientError::TooLong { .. } => StatusCode::PAYLOAD_TOO_LARGE,
                    _ => StatusCode::BAD_REQUEST,
                };
                return encoding.status(status, &in_one_line(&error));
            }
        },
        other => {
            let message = format!("content encoding {other:?} is neither gzip nor identity");
            return encoding.status(StatusCode::UNSUPPORTED_MEDIA_TYPE, &message);
        }
    };
    match received {
        Ok(refused) => encoding.success(&refused),
        Err(error @ MetricsError::Store(_)) => {
            encoding.status(StatusCode::SERVICE_UNAVAILABLE, &in_one_line(&error))
        }
        Err(error) => encoding.status(StatusCode::BAD_REQUEST, &in_one_line(&error)),
    }
}

impl Encoding {
    fn of(media_type: &str) -> Option<Self> {
        let is = |other: &str| media_type.eq_ignore_ascii_case(other);
        if is("application/json") {
            Some(Self::Json)
        } else {
            is("application/x-protobuf").then_some(Self::Protobuf)
        }
    }

    /// An `ExportMetricsServiceResponse`.
    fn success(self, refused: &Refused) -> Response {
        let (points, message) = (refused.points(), refused.to_string());
        let body = match self {
            _ if refused.is_empty() => match self {
                Self::Json => b"{}".to_vec(),
                Self::Protobuf => Vec::new(),
            },
            Self::Json => serde_json::json!({
                "partialSuccess": {
                    "rejectedDataPoints": points.to_string(),
                    "errorMessage": message,
                }
            })
            .to_string()
            .into_bytes(),
            Self::Protobuf => {
                let mut body = Vec::new();
                Writer::new(&mut body).message(1, |partial| {
                    partial.uint(1, points);
                    partial.bytes(2, &message);
                });
                body
            }
        };
        self.answer(StatusCode::OK, body)
    }

    /// A `google.rpc.Status`, without a code, which says no more than that of HTTP.
    fn status(self, status: StatusCode, message: &str) -> Response {
        let body = match self {
            Self::Json => serde_json::json!({ "message": message }).to_string().into_bytes(),
            Self::Protobuf => {
                let mut body = Vec::new();
                Writer::new(&mut body).bytes(2, message);
                body
            }
        };
        self.answer(status, body)
    }

    fn answer(self, status: StatusCode, body: Vec<u8>) -> Response {
        let media_type = match self {
            Self::Json => "application/json",
            Self::Protobuf => "application/x-protobuf",
        };
        (status, [(CONTENT_TYPE, media_type)], body).into_response()
    }
}
