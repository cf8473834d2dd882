//! Bodies of requests: whole, in time, and within a limit.

use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};

/// Requests that a route of OTLP reads at once; more wait.
pub(crate) const MAX_REQUESTS: usize = 16;
/// How long a body may take to arrive.
const PATIENCE: Duration = Duration::from_secs(30);

/// The whole body.
///
/// # Errors
///
/// The status and the reason, when it has more than `limit` bytes, breaks off, or takes too long.
pub(crate) async fn whole(body: Body, limit: usize) -> Result<Bytes, (StatusCode, String)> {
    let collected = Limited::new(body, limit).collect();
    match tokio::time::timeout(PATIENCE, collected).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err((StatusCode::PAYLOAD_TOO_LARGE, format!("the body has more than {limit} bytes")))
        }
        Ok(Err(error)) => Err((StatusCode::BAD_REQUEST, format!("the body breaks off: {error}"))),
        Err(_) => Err((
            StatusCode::REQUEST_TIMEOUT,
            format!("the body did not arrive within {PATIENCE:?}"),
        )),
    }
}
