//! `GET api/stream`: everything that happens to one service, as server-sent events.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, Uri};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hms_ops_core::name::Service;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::sync::{OwnedSemaphorePermit, TryAcquireError};
use tokio::time::timeout;

use super::{ApiError, query};
use crate::dashboard::Shared;
use crate::room::{Frame, Joined, event};

/// After this long without an event a comment keeps the connection open.
const HEARTBEAT: Duration = Duration::from_secs(10);
const COMMENT: &[u8] = b":\n\n";

#[derive(Deserialize)]
struct Wanted {
    service: Option<String>,
}

pub(crate) async fn open(
    State(shared): State<Arc<Shared>>,
    uri: Uri,
) -> Result<Response, ApiError> {
    let wanted: Wanted = query(&uri)?;
    let known = shared.sources.services().await?;
    let service = match wanted.service.filter(|name| !name.is_empty()) {
        Some(name) => Service::from(name),
        None => known.first().cloned().ok_or(ApiError::NoService)?,
    };
    if !known.contains(&service) {
        return Err(ApiError::UnknownService { service: service.to_string() });
    }
    let permit = shared.streams.clone().try_acquire_owned().map_err(|refused| match refused {
        TryAcquireError::NoPermits => ApiError::TooManyStreams,
        TryAcquireError::Closed => ApiError::Closed,
    })?;
    let Shared { sources, feed, tasks, rooms, .. } = &*shared;
    let joined = rooms.join(&service, sources, feed, tasks).await;
    let Joined { hello, frames } = joined.ok_or(ApiError::Closed)?;
    let viewer = Viewer { hello: Some(hello), frames, over: false, _permit: permit };
    let headers = [
        (CONTENT_TYPE, "text/event-stream"),
        // Proxies that gather responses would hold events back.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, Body::new(Events { next: Some(Box::pin(viewer.next())) })).into_response())
}

/// One who looks at the page.
struct Viewer {
    hello: Option<Bytes>,
    frames: Receiver<Frame>,
    over: bool,
    _permit: OwnedSemaphorePermit,
}

impl Viewer {
    /// Waits for what to write next; `None` when the stream ends.
    async fn next(mut self) -> Option<(Self, Bytes)> {
        if self.over {
            return None;
        }
        if let Some(hello) = self.hello.take() {
            return Some((self, hello));
        }
        let bytes = match timeout(HEARTBEAT, self.frames.recv()).await {
            Err(_) => Bytes::from_static(COMMENT),
            Ok(Ok(Frame::Event(event))) => event,
            Ok(Ok(Frame::Resync) | Err(RecvError::Lagged(_))) => {
                self.over = true;
                event("resync", &json!({}))
            }
            Ok(Err(RecvError::Closed)) => return None,
        };
        Some((self, bytes))
    }
}

/// The body of the response: what its viewer says, piece by piece.
struct Events {
    next: Option<Next>,
}

type Next = Pin<Box<dyn Future<Output = Option<(Viewer, Bytes)>> + Send>>;

impl http_body::Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        let Some(next) = &mut self.next else { return Poll::Ready(None) };
        let said = ready!(next.as_mut().poll(cx));
        let (next, frame) = said
            .map(|(viewer, bytes)| -> (Next, _) {
                (Box::pin(viewer.next()), Ok(http_body::Frame::data(bytes)))
            })
            .unzip();
        self.next = next;
        Poll::Ready(frame)
    }
}
