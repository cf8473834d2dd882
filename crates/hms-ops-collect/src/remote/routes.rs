//! The routes that take remote writes and answer remote reads.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use hms_ops_core::store::Store;
use tokio::sync::Semaphore;

use super::{ReadError, Refused, RemoteWriter, SnappyError, Version, WriteError, Written, read};
use crate::body::whole;

const PROTOBUF: &str = "application/x-protobuf";

#[derive(Debug)]
struct Remote {
    store: Arc<dyn Store>,
    writer: Arc<RemoteWriter>,
    requests: Semaphore,
}

/// `POST /api/v1/write`, remote write 1.0 and 2.0 through `writer`, and `POST /api/v1/read`, remote
/// read of `store` with answers of type SAMPLES.
///
/// A write is answered with 204 when everything is stored, in 1.0 but for exemplars; with 400 when
/// something, or the whole message, is wrong, and then the rest is stored; with 413 and 415 for a body
/// that is too long or of another kind. Senders drop all of these. With 503 nothing is stored, and
/// senders try again.
pub fn router(store: Arc<dyn Store>, writer: Arc<RemoteWriter>) -> Router {
    let requests = Semaphore::new(writer.limits().requests.max(1));
    Router::new()
        .route("/api/v1/write", post(write_route))
        .route("/api/v1/read", post(read_route))
        .with_state(Arc::new(Remote { store, writer, requests }))
}

async fn write_route(
    State(remote): State<Arc<Remote>>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let version = match version(&headers) {
        Ok(version) => version,
        Err(message) => return (StatusCode::UNSUPPORTED_MEDIA_TYPE, message).into_response(),
    };
    let _permit = remote.requests.acquire().await;
    let body = match whole(body, remote.writer.limits().body_bytes).await {
        Ok(body) => body,
        Err(refusal) => return refusal.into_response(),
    };
    let (written, mut response) = match remote.writer.write(version, body).await {
        Ok(written) => {
            let response = match &written.refused {
                None => StatusCode::NO_CONTENT.into_response(),
                // To a sender of 1.0, 400 says that none of the samples was stored.
                Some(Refused { samples: 0, exemplars: 1.., .. }) if version == Version::V1 => {
                    StatusCode::NO_CONTENT.into_response()
                }
                Some(refused) => (StatusCode::BAD_REQUEST, refused.to_string()).into_response(),
            };
            (written, response)
        }
        Err(error) => {
            let status = match &error {
                WriteError::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
                WriteError::Snappy(SnappyError::TooLong { .. }) | WriteError::TooMany { .. } => {
                    StatusCode::PAYLOAD_TOO_LARGE
                }
                _ => StatusCode::BAD_REQUEST,
            };
            (Written::default(), (status, error.to_string()).into_response())
        }
    };
    if version == Version::V2 {
        let headers = response.headers_mut();
        for (name, count) in [
            ("x-prometheus-remote-write-samples-written", written.samples),
            ("x-prometheus-remote-write-histograms-written", written.histograms),
            ("x-prometheus-remote-write-exemplars-written", written.exemplars),
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from(count));
        }
    }
    response
}

async fn read_route(State(remote): State<Arc<Remote>>, headers: HeaderMap, body: Body) -> Response {
    if let Err(message) = snappy_only(&headers) {
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, message).into_response();
    }
    let _permit = remote.requests.acquire().await;
    let limits = remote.writer.limits();
    let body = match whole(body, limits.body_bytes).await {
        Ok(body) => body,
        Err(refusal) => return refusal.into_response(),
    };
    match read(&remote.store, limits, &body).await {
        Ok(answer) => {
            ([(CONTENT_TYPE, PROTOBUF), (CONTENT_ENCODING, "snappy")], answer).into_response()
        }
        Err(error) => {
            let status = match &error {
                ReadError::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
                _ => StatusCode::BAD_REQUEST,
            };
            (status, error.to_string()).into_response()
        }
    }
}

/// Which message the headers announce. As in Prometheus, none of them means 1.0 in Snappy.
fn version(headers: &HeaderMap) -> Result<Version, String> {
    snappy_only(headers)?;
    let said = text(headers, CONTENT_TYPE);
    let mut parts = said.split(';').map(str::trim);
    if !said.is_empty() && !parts.next().is_some_and(|part| part.eq_ignore_ascii_case(PROTOBUF)) {
        return Err(format!("content type {said:?} is not {PROTOBUF}"));
    }
    let proto = parts.filter_map(|part| part.split_once('=')).find(|(name, _)| *name == "proto");
    match proto.map(|(_, message)| message.trim_matches('"')) {
        None | Some("prometheus.WriteRequest") => Ok(Version::V1),
        Some("io.prometheus.write.v2.Request") => Ok(Version::V2),
        Some(other) => Err(format!(
            "message {other:?} is none of prometheus.WriteRequest and io.prometheus.write.v2.Request"
        )),
    }
}

fn snappy_only(headers: &HeaderMap) -> Result<(), String> {
    let said = text(headers, CONTENT_ENCODING);
    match said.is_empty() || said.eq_ignore_ascii_case("snappy") {
        true => Ok(()),
        false => Err(format!("content encoding {said:?} is not snappy")),
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> &str {
    headers.get(name).map_or("", |value| value.to_str().unwrap_or("unreadable")).trim()
}
