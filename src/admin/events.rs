//! Events out: every entry of the ledger as a CloudEvent, for policy engines, simulators and archives.
//!
//! Source: *CloudEvents 1.0.2*, its JSON event format and JSON batch format; *HTML Living Standard*,
//! section 9.2, "Server-sent events".

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use futures_util::stream::unfold;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;

use crate::core::ledger::{Event, Ledger, LedgerError, Recorded, Seq};
use crate::ops::Shown;

/// Entries that are read at once.
const PAGE: usize = 100;
/// Entries of one answer that is no stream.
const MAX_BATCH: usize = 1000;
/// Streams that are open at once; each reads the ledger at its reader's pace, and has no queue.
const MAX_STREAMS: usize = 64;
/// After this long without an entry a comment keeps the connection open.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// The header in which a stream is asked to go on after an event.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// `GET /api/v1/events?after=SEQ`: entries after that one, as a stream where the client accepts
/// `text/event-stream`, else as a batch of at most `limit`.
pub(super) fn router(shown: &Arc<Shown>, stopped: watch::Receiver<bool>) -> Router {
    let streams = Arc::new(Semaphore::new(MAX_STREAMS));
    let state = Arc::new(Shared { ledger: shown.ledger.clone(), streams, stopped });
    Router::new().route("/api/v1/events", get(events)).with_state(state)
}

struct Shared {
    ledger: Arc<dyn Ledger>,
    streams: Arc<Semaphore>,
    stopped: watch::Receiver<bool>,
}

async fn events(State(shared): State<Arc<Shared>>, uri: Uri, headers: HeaderMap) -> Response {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let wants_stream = text(ACCEPT).is_some_and(|accept| accept.contains("text/event-stream"));
    let (after, limit) = match asked(uri.query().unwrap_or_default(), text(LAST_EVENT_ID)) {
        Ok(asked) => asked,
        Err(why) => return (StatusCode::BAD_REQUEST, why).into_response(),
    };
    if wants_stream {
        return match shared.streams.clone().try_acquire_owned() {
            Ok(place) => stream(&shared, after, place),
            Err(_) => {
                let why = format!("{MAX_STREAMS} streams of events are open; try again later\n");
                (StatusCode::SERVICE_UNAVAILABLE, why).into_response()
            }
        };
    }
    match shared.ledger.read(after.next(), limit).await {
        Ok(page) => {
            let batch: Vec<_> = page.iter().map(|recorded| cloud_event(recorded)).collect();
            let kind = [(CONTENT_TYPE, "application/cloudevents-batch+json")];
            (kind, Value::from(batch).to_string()).into_response()
        }
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response(),
    }
}

/// After which entry, and how many at most. What a stream has seen last counts over `after`.
fn asked(query: &str, last: Option<&str>) -> Result<(Seq, usize), String> {
    let (mut after, mut limit) = (Seq::default(), MAX_BATCH);
    let number = |name: &str, text: &str| {
        text.parse::<u64>().map_err(|_| format!("{name} is a whole number, not {text:?}\n"))
    };
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("after", text)) => after = Seq(number("after", text)?),
            Some(("limit", text)) => {
                limit = usize::try_from(number("limit", text)?).unwrap_or(MAX_BATCH).min(MAX_BATCH);
            }
            _ => return Err(format!("{pair:?} is neither `after` nor `limit`\n")),
        }
    }
    if let Some(text) = last {
        after = Seq(number("Last-Event-ID", text)?);
    }
    // There is none after the last.
    Ok((after.min(Seq(u64::MAX - 1)), limit))
}

fn stream(shared: &Shared, after: Seq, place: OwnedSemaphorePermit) -> Response {
    let (ledger, stopped) = (shared.ledger.clone(), shared.stopped.clone());
    let reader = Reader { ledger, stopped, after, _place: place };
    let pieces = unfold(reader, async |mut reader| {
        let piece = reader.next().await?;
        Some((Ok::<_, Infallible>(piece), reader))
    });
    let headers = [
        (CONTENT_TYPE, "text/event-stream"),
        (CACHE_CONTROL, "no-store"),
        // Proxies that gather responses would hold events back.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (headers, Body::from_stream(pieces)).into_response()
}

/// One who reads the stream.
struct Reader {
    ledger: Arc<dyn Ledger>,
    stopped: watch::Receiver<bool>,
    after: Seq,
    _place: OwnedSemaphorePermit,
}

impl Reader {
    /// Waits for what to write next; `None` when the stream ends.
    async fn next(&mut self) -> Option<Bytes> {
        let (ledger, after) = (&self.ledger, self.after);
        let waited = tokio::select! {
            biased;
            _ = self.stopped.wait_for(|stopped| *stopped) => return None,
            waited = timeout(HEARTBEAT, page(&**ledger, after)) => waited,
        };
        // The client comes again, with the last event that it has seen.
        let Ok(page) = waited.unwrap_or(Ok(Vec::new())) else { return None };
        let mut piece = String::new();
        for recorded in &page {
            let Seq(seq) = recorded.seq;
            self.after = recorded.seq;
            piece += &format!("id: {seq}\ndata: {}\n\n", cloud_event(recorded));
        }
        Some(if piece.is_empty() { Bytes::from_static(b":\n\n") } else { piece.into() })
    }
}

/// The next entries, waiting until there is one.
async fn page(ledger: &dyn Ledger, after: Seq) -> Result<Vec<Arc<Recorded>>, LedgerError> {
    loop {
        let page = ledger.read(after.next(), PAGE).await?;
        if !page.is_empty() {
            return Ok(page);
        }
        ledger.changed(after).await?;
    }
}

/// An entry as a CloudEvent: `id` is its place in the ledger, `data` the entry with its hashes.
fn cloud_event(recorded: &Recorded) -> Value {
    let data = json!(recorded);
    let kind = data["kind"].as_str().unwrap_or("unknown");
    let mut event = json!({
        "specversion": "1.0",
        "id": recorded.seq.0.to_string(),
        "source": "/hms-ops/ledger",
        "type": format!("hms_ops.{kind}"),
        "time": recorded.entry.at.to_string(),
        "datacontenttype": "application/json",
    });
    if let Some(subject) = subject(&recorded.entry.event) {
        event["subject"] = subject.into();
    }
    event["data"] = data;
    event
}

/// What an event is about: an alert, a run, a shift or a receiver.
fn subject(event: &Event) -> Option<String> {
    Some(match event {
        Event::Transition { alert, .. } => alert.name.clone(),
        Event::RunClaimed { execution, .. }
        | Event::RunStarted { execution, .. }
        | Event::CallIntent { execution, .. }
        | Event::CallResult { execution, .. }
        | Event::Note { execution, .. }
        | Event::RunFinished { execution, .. } => execution.to_string(),
        Event::ShiftPlanned { shift, .. } | Event::ShiftReached { shift, .. } => shift.clone(),
        Event::NotificationQueued { receiver, .. }
        | Event::NotificationSettled { receiver, .. } => receiver.clone(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_goes_on_after_what_it_has_seen() {
        assert_eq!(asked("", None), Ok((Seq(0), 1000)));
        assert_eq!(asked("after=7&limit=5", None), Ok((Seq(7), 5)));
        assert_eq!(asked("after=7&limit=5000", Some("9")), Ok((Seq(9), 1000)));
        let refused = asked("after=x", None).unwrap_err();
        assert_eq!(refused, "after is a whole number, not \"x\"\n");
        assert!(asked("since=1", None).unwrap_err().contains("neither `after` nor `limit`"));
        let last = format!("after={}", u64::MAX);
        assert_eq!(asked(&last, None), Ok((Seq(u64::MAX - 1), 1000)));
    }
}
