//! Spans over OTLP/HTTP.

use std::sync::Arc;
use std::time::Duration;

use hms_ops_collect::otlp::{ExporterOptions, SpanExporter, decode};
use hms_ops_core::span::{SpanContext, SpanKind, SpanRecord, SpanSink, SpanStatus};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::server::{serve, until_closed};

const PATIENT: Duration = Duration::from_secs(60);

pub(crate) fn span(name: &str) -> SpanRecord {
    let context = SpanContext::root();
    SpanRecord {
        trace_id: context.trace_id,
        span_id: context.span_id,
        parent_id: None,
        service: "claims".into(),
        name: name.to_owned().into(),
        kind: SpanKind::Server,
        start_ns: 1_767_225_600_000_000_000,
        duration: Duration::from_millis(3),
        status: SpanStatus::Ok,
        attributes: Vec::new(),
    }
}

async fn read_body(stream: &mut TcpStream, head: &str) -> Vec<u8> {
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).await.unwrap();
    body
}

/// An engine that answers with these statuses, one after the other, and passes on what it was sent.
async fn engine(statuses: &'static [&'static str]) -> (String, mpsc::Receiver<(String, Vec<u8>)>) {
    let (sender, receiver) = mpsc::channel(statuses.len());
    let next = Arc::new(std::sync::Mutex::new(statuses.iter()));
    let address = serve(move |mut stream, head| {
        let (sender, status) = (sender.clone(), *next.lock().unwrap().next().unwrap());
        async move {
            let body = read_body(&mut stream, &head).await;
            sender.send((head, body)).await.unwrap();
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\n{{}}");
            stream.write_all(answer.as_bytes()).await.unwrap();
            until_closed(stream).await;
        }
    });
    (format!("http://{}", address.await), receiver)
}

fn prompt() -> ExporterOptions {
    ExporterOptions {
        linger: Duration::from_millis(1),
        timeout: PATIENT,
        ..ExporterOptions::default()
    }
}

#[tokio::test]
async fn a_batch_is_sent_again_until_the_engine_takes_it() {
    let (url, mut requests) = engine(&["503 Busy", "429 Later", "200 OK"]).await;
    let exporter = SpanExporter::start(&url, prompt()).unwrap();
    let sent = span("pay");
    exporter.sink().record(sent.clone());

    for _ in 0..3 {
        let (head, body) = requests.recv().await.unwrap();
        assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
        assert!(head.contains("content-type: application/json\r\n"), "{head}");
        assert_eq!(decode(&body).unwrap(), std::slice::from_ref(&sent));
    }
    assert_eq!(exporter.shutdown(PATIENT).await, 0);
}

#[tokio::test]
async fn a_batch_that_is_refused_for_good_is_dropped_and_counted() {
    let (url, mut requests) = engine(&["400 Bad", "200 OK"]).await;
    let exporter = SpanExporter::start(&url, prompt()).unwrap();
    let sink = exporter.sink();
    sink.record(span("bad"));
    requests.recv().await.unwrap();
    sink.record(span("good"));
    let (_, body) = requests.recv().await.unwrap();
    assert_eq!(&*decode(&body).unwrap()[0].name, "good");
    assert_eq!(exporter.shutdown(PATIENT).await, 1);
}

#[tokio::test]
async fn shutdown_sends_what_is_waiting_at_once() {
    let (url, mut requests) = engine(&["200 OK"]).await;
    let patient = ExporterOptions { linger: PATIENT * 60, ..prompt() };
    let exporter = SpanExporter::start(&url, patient).unwrap();
    let sink = exporter.sink();
    for name in ["a", "b", "c"] {
        sink.record(span(name));
    }
    assert_eq!(exporter.shutdown(PATIENT).await, 0);
    let (_, body) = requests.recv().await.unwrap();
    assert_eq!(decode(&body).unwrap().len(), 3);
    sink.record(span("late"));
}

#[tokio::test]
async fn an_engine_that_is_away_costs_a_bounded_queue_and_nothing_more() {
    let options = ExporterOptions { queue: 10, batch: 5, ..prompt() };
    let exporter = SpanExporter::start("http://127.0.0.1:1", options).unwrap();
    let sink = exporter.sink();
    for _ in 0..1_000 {
        sink.record(span("lost"));
    }
    assert_eq!(exporter.dropped(), 990);
    assert_eq!(exporter.shutdown(Duration::from_millis(10)).await, 1_000);
}

#[cfg(feature = "http")]
mod routes {
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll};

    use axum::body::Body;
    use axum::http::{Request, StatusCode};
    use hms_ops_collect::otlp::{MAX_BODY_BYTES, encode, metrics_router, router};
    use hms_ops_core::span_store::{MemorySpanStore, SpanStore};
    use hms_ops_core::store::MemoryStore;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;

    async fn post(
        store: Arc<MemorySpanStore>,
        content_type: &str,
        body: Vec<u8>,
    ) -> (StatusCode, String) {
        let request = Request::post("/v1/traces").header("content-type", content_type);
        let request = request.body(Body::from(body)).unwrap();
        let response = router(store).oneshot(request).await.unwrap();
        assert_eq!(response.headers()["content-type"], "application/json");
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn spans_that_are_posted_are_stored() {
        let store = Arc::new(MemorySpanStore::new());
        let span = span("pay");
        let body = encode(std::slice::from_ref(&span));
        let answer = post(store.clone(), "application/json; charset=utf-8", body).await;
        assert_eq!(answer, (StatusCode::OK, "{}".to_owned()));
        assert_eq!(store.trace(span.trace_id).await.unwrap(), [span]);
    }

    #[tokio::test]
    async fn a_long_export_is_stored_like_any_other() {
        let store = Arc::new(MemorySpanStore::new());
        let spans: Vec<_> = (0..5_000).map(|n| span(&format!("pay {n}"))).collect();
        let body = encode(&spans);
        assert!(body.len() > 1 << 20);
        let answer = post(store.clone(), "application/json", body).await;
        assert_eq!(answer, (StatusCode::OK, "{}".to_owned()));
        assert_eq!(store.trace(spans[4_999].trace_id).await.unwrap(), spans[4_999..]);
    }

    /// A body of which nothing ever comes.
    struct Never;

    impl hyper::body::Body for Never {
        type Data = bytes::Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<hyper::body::Frame<Self::Data>, Self::Error>>> {
            Poll::Pending
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_comes_is_given_up_and_only_so_many_are_waited_for() {
        let metrics = metrics_router(Arc::new(MemoryStore::new()), Arc::default());
        for (routes, path) in
            [(router(Arc::new(MemorySpanStore::new())), "/v1/traces"), (metrics, "/v1/metrics")]
        {
            let post = |body: Body| {
                let request = Request::post(path).header("content-type", "application/json");
                routes.clone().oneshot(request.body(body).unwrap())
            };
            let slow: Vec<_> = (0..16).map(|_| tokio::spawn(post(Body::new(Never)))).collect();
            tokio::task::yield_now().await;
            let good = tokio::spawn(post(Body::from("{}")));
            let mut good = pin!(good);
            let early = tokio::time::timeout(Duration::from_secs(29), &mut good).await;
            assert!(early.is_err(), "{path}: it does not wait");
            for slow in slow {
                assert_eq!(slow.await.unwrap().unwrap().status(), StatusCode::REQUEST_TIMEOUT);
            }
            assert_eq!(good.await.unwrap().unwrap().status(), StatusCode::OK);
        }
    }

    #[tokio::test]
    async fn what_is_not_an_export_is_refused_with_the_reason() {
        for (content_type, body, status, reason) in [
            ("application/json", b"{".to_vec(), StatusCode::BAD_REQUEST, "EOF while parsing"),
            (
                "application/x-protobuf",
                vec![],
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "OTLP is taken in JSON only for now",
            ),
            (
                "application/json",
                vec![b' '; MAX_BODY_BYTES + 1],
                StatusCode::PAYLOAD_TOO_LARGE,
                "more than 4194304 bytes",
            ),
        ] {
            let (answered, json) = post(Arc::default(), content_type, body).await;
            assert_eq!(answered, status);
            let json: serde_json::Value = serde_json::from_str(&json).unwrap();
            assert!(json["message"].as_str().unwrap().contains(reason), "{json}");
        }
    }
}
