//! Why a request was not answered, as every client of Prometheus expects to be told.

use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use hms_ops_core::query::QueryError;
use hms_ops_core::store::StoreError;

use super::json;

/// Why a request was not answered: its kind, which decides about the status, and a sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    kind: Kind,
    message: String,
}

/// The `errorType` of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// `bad_data`, 400: the request makes no sense.
    BadData,
    /// `execution`, 422: it makes sense, and cannot be done.
    Execution,
    /// `canceled`, 499: whoever asked does not wait any more, or somebody stopped it.
    Canceled,
    /// `timeout`, 503: it takes too long.
    Timeout,
    /// `unavailable`, 503: not now.
    Unavailable,
    /// `not_found`, 404: there is no such thing.
    NotFound,
    /// `internal`, 500: something here is broken.
    Internal,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::BadData => "bad_data",
            Self::Execution => "execution",
            Self::Canceled => "canceled",
            Self::Timeout => "timeout",
            Self::Unavailable => "unavailable",
            Self::NotFound => "not_found",
            Self::Internal => "internal",
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::BadData => StatusCode::BAD_REQUEST,
            Self::Execution => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Canceled => StatusCode::from_u16(499).expect("it is between 100 and 999"),
            Self::Timeout | Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl Failure {
    /// A failure of this kind.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    pub(crate) fn bad_data(message: impl Into<String>) -> Self {
        Self::new(Kind::BadData, message)
    }

    /// A field has a value that it must not have.
    pub fn invalid(parameter: &str, why: impl std::fmt::Display) -> Self {
        Self::bad_data(format!("invalid parameter {parameter:?}: {why}"))
    }
}

impl From<QueryError> for Failure {
    fn from(error: QueryError) -> Self {
        let kind = match &error {
            QueryError::Malformed { reason, .. } => return Self::invalid("query", reason),
            QueryError::TimedOut(_) => Kind::Timeout,
            QueryError::Cancelled => Kind::Canceled,
            QueryError::Busy { .. } => Kind::Unavailable,
            QueryError::Store(_) => Kind::Internal,
            _ => Kind::Execution,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::new(Kind::Internal, error.to_string())
    }
}

/// `{"status":"error","errorType":"bad_data","error":"…"}`.
impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut body = br#"{"status":"error","errorType":""#.to_vec();
        body.extend_from_slice(self.kind.word().as_bytes());
        body.extend_from_slice(br#"","error":"#);
        json::text(&mut body, &self.message);
        body.push(b'}');
        (self.kind.status(), [(CONTENT_TYPE, "application/json")], body).into_response()
    }
}
