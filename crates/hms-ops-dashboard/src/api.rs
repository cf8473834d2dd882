//! The routes: JSON and events under `api/`, the page everywhere else.

mod services;
mod stream;
mod traces;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Query;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderValue, StatusCode, Uri};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hms_ops_core::span::BadId;
use hms_ops_core::span_store::SpanStoreError;
use hms_ops_core::store::StoreError;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::dashboard::Shared;
use crate::page;

/// Nothing but what this origin serves; no frame, no form, no inline script.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data:; connect-src 'self'; font-src 'self'; base-uri 'none'; \
    form-action 'self'; frame-ancestors 'none'";

pub(crate) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/api/services", get(services::list))
        .route("/api/stream", get(stream::open))
        .route("/api/traces", get(traces::list))
        .route("/api/traces/{id}", get(traces::show))
        .route("/api/{*rest}", get(unknown))
        .fallback(page::serve)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(map_response(guard))
        .with_state(shared)
}

async fn unknown(uri: Uri) -> ApiError {
    ApiError::NoSuchPath { path: uri.path().to_owned() }
}

async fn method_not_allowed() -> ApiError {
    ApiError::MethodNotAllowed
}

/// Adds the headers that every response has; what a route has set itself stays.
async fn guard(mut response: Response) -> Response {
    const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (OPENER_POLICY, "same-origin"),
        (CACHE_CONTROL, "no-store"),
    ] {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// Why a request was not answered.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each message explains its fields")]
pub(crate) enum ApiError {
    #[error("there is no service {service:?} here")]
    UnknownService { service: String },

    #[error("no service has reported yet")]
    NoService,

    #[error("no trace {id} is stored")]
    UnknownTrace { id: String },

    #[error("{id:?} is no trace id: expected 32 lower-case hexadecimal digits, not all zero")]
    BadTraceId { id: String, source: BadId },

    #[error("cannot read the query of the URL: {reason}")]
    BadQuery { reason: String },

    #[error("there is nothing at {path}")]
    NoSuchPath { path: String },

    #[error("only GET is answered here")]
    MethodNotAllowed,

    #[error("too many pages are open; close one and try again")]
    TooManyStreams,

    #[error("no page can be opened right now; the service may be shutting down")]
    Closed,

    #[error(transparent)]
    Store(#[from] StoreError),

    #[error(transparent)]
    Spans(#[from] SpanStoreError),
}

impl ApiError {
    fn status(&self) -> StatusCode {
        match self {
            Self::UnknownService { .. }
            | Self::NoService
            | Self::UnknownTrace { .. }
            | Self::NoSuchPath { .. } => StatusCode::NOT_FOUND,
            Self::BadTraceId { .. } | Self::BadQuery { .. } => StatusCode::BAD_REQUEST,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooManyStreams | Self::Closed => StatusCode::SERVICE_UNAVAILABLE,
            Self::Store(_) | Self::Spans(_) => StatusCode::BAD_GATEWAY,
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        answer(self.status(), &json!({ "error": self.to_string() }))
    }
}

/// A response of JSON. Whatever hostile text is in it, only serde_json writes it.
fn answer(status: StatusCode, body: &impl Serialize) -> Response {
    let body = serde_json::to_vec(body).expect("what the page is sent has text keys only");
    (status, [(CONTENT_TYPE, "application/json")], Body::from(body)).into_response()
}

fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T, ApiError> {
    let read = Query::try_from_uri(uri);
    read.map(|Query(query)| query)
        .map_err(|refused| ApiError::BadQuery { reason: refused.body_text() })
}
