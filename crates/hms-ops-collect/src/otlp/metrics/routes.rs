//! The route that takes metrics.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use hms_ops_core::metadata::MetadataStore;
use hms_ops_core::store::Store;

use tokio::sync::Semaphore;

use super::{Encoding, MAX_METRICS_BODY_BYTES, MetricsError, MetricsReceiver, Refused};
use crate::body::{MAX_REQUESTS, whole};
use crate::client::{ClientError, in_one_line};
use crate::protobuf::Writer;

/// `POST /api/v1/otlp/v1/metrics`, where Prometheus has it, and `POST /v1/metrics`: OTLP/HTTP in
/// protobuf or JSON, plain or in gzip, up to 16 MiB, 16 requests at once, into `store` and `metadata`.
///
/// Answers in the encoding of the request: 200 with what was refused, if anything was; a status
/// message with 400 for a body that is wrong, 408 for one that takes too long, 413 for one that is too
/// long, 415 for one in another format, and 503 when the store fails.
pub fn metrics_router(store: Arc<dyn Store>, metadata: Arc<MetadataStore>) -> Router {
    Router::new()
        .route("/api/v1/otlp/v1/metrics", post(metrics))
        .route("/v1/metrics", post(metrics))
        .with_state(Arc::new(Metrics {
            receiver: Arc::new(MetricsReceiver::new(store, metadata)),
            requests: Semaphore::new(MAX_REQUESTS),
        }))
}

#[derive(Debug)]
struct Metrics {
    receiver: Arc<MetricsReceiver>,
    requests: Semaphore,
}

async fn metrics(State(metrics): State<Arc<Metrics>>, headers: HeaderMap, body: Body) -> Response {
    let Metrics { receiver, requests } = &*metrics;
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = header(CONTENT_TYPE).split(';').next().unwrap_or_default().trim();
    let Some(encoding) = Encoding::of(media_type) else {
        let message = format!(
            "content type {media_type:?} is neither application/x-protobuf nor application/json"
        );
        return Encoding::Json.status(StatusCode::UNSUPPORTED_MEDIA_TYPE, &message);
    };
    let is_gzip = match header(CONTENT_ENCODING).to_ascii_lowercase().as_str() {
        "" | "identity" => false,
        "gzip" => true,
        other => {
            let message = format!("content encoding {other:?} is neither gzip nor identity");
            return encoding.status(StatusCode::UNSUPPORTED_MEDIA_TYPE, &message);
        }
    };
    let _permit = requests.acquire().await;
    let body = match whole(body, MAX_METRICS_BODY_BYTES).await {
        Ok(body) => body,
        Err((status, message)) => return encoding.status(status, &message),
    };
    let received = match is_gzip {
        true => receiver.receive_gzip(body, encoding).await,
        false => receiver.receive(body, encoding).await,
    };
    let error = match received {
        Ok(refused) => return encoding.success(&refused),
        Err(error) => error,
    };
    let status = match error {
        MetricsError::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
        MetricsError::Gzip(ClientError::TooLong { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
        _ => StatusCode::BAD_REQUEST,
    };
    encoding.status(status, &in_one_line(&error))
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
