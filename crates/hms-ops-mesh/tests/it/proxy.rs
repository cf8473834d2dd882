//! The reverse proxy against real sockets.

use std::convert::Infallible;
use std::future::pending;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use hms_ops_core::ledger::Fence;
use hms_ops_core::mesh::{ClusterTraffic, MeshController, ShiftRequest};
use hms_ops_core::name::Cluster;
use hms_ops_core::span::{AttributeValue, SpanContext, SpanKind, SpanRecord, SpanSink, SpanStatus};
use hms_ops_mesh::{Router, RouterBuilder, Serving};
use http::{HeaderMap, Response, StatusCode};
use http_body_util::channel::Channel;
use http_body_util::{BodyExt, Full};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;

use crate::backend::{
    Backend, body, connect, nowhere, raw, request, send, send_body, soon, text, until,
};

fn to(backend: &Backend) -> RouterBuilder {
    Router::builder("svc").cluster("cluster-a", backend.url())
}

async fn serve(router: &Router) -> Serving {
    router.serve(TcpListener::bind("127.0.0.1:0").await.unwrap()).unwrap()
}

async fn shift(router: &Router, to: &str, key: &str) {
    let request = ShiftRequest {
        service: router.service().clone(),
        to: Cluster::new(to),
        percent: 100,
        key: key.to_owned(),
        cause: "test".to_owned(),
    };
    let plan = router.plan(&request).await.unwrap();
    router.apply(&plan, &Fence { holder: "test".to_owned(), epoch: 1 }).await.unwrap();
}

async fn traffic(router: &Router, cluster: &str) -> ClusterTraffic {
    let traffic = router.observe(router.service()).await.unwrap();
    traffic.into_iter().find(|t| t.cluster.as_str() == cluster).unwrap()
}

/// A backend that notes the headers of each request and answers with some of its own.
async fn noting(seen: &Arc<Mutex<Vec<HeaderMap>>>) -> Backend {
    let seen = seen.clone();
    Backend::start(move |request| {
        seen.lock().unwrap().push(request.headers().clone());
        async {
            let mut answer = text(StatusCode::OK, "noted");
            for (name, value) in [
                ("connection", "x-hop, close"),
                ("x-hop", "backend"),
                ("keep-alive", "timeout=5"),
                ("x-kept", "yes"),
            ] {
                answer.headers_mut().append(name, value.parse().unwrap());
            }
            Ok(answer)
        }
    })
    .await
}

#[tokio::test]
async fn a_request_reaches_the_cluster_with_weight_and_its_answer_comes_back() {
    let backend = Backend::start(|request| async move {
        let line = format!("{} {}: ", request.method(), request.uri());
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let mut answer = Response::new(Full::from([line.as_bytes(), &body].concat()).boxed());
        *answer.status_mut() = StatusCode::CREATED;
        Ok(answer)
    })
    .await;
    let router = to(&backend).build().unwrap();
    let serving = serve(&router).await;
    let answer = send_body(serving.address(), request("POST", "/claims?id=7"), "hello").await;
    assert_eq!(answer.status(), StatusCode::CREATED);
    assert_eq!(body(answer).await, "POST /claims?id=7: hello");
    serving.shutdown().await;
    let seen = traffic(&router, "cluster-a").await;
    assert_eq!((seen.requests, seen.errors, seen.active), (1, 0, 0));
}

#[tokio::test]
async fn hop_by_hop_headers_end_at_the_router_and_others_pass() {
    let seen = Arc::default();
    let backend = noting(&seen).await;
    let serving = serve(&to(&backend).build().unwrap()).await;
    let answer = send(
        serving.address(),
        request("GET", "/")
            .header("connection", "keep-alive, x-secret")
            .header("x-secret", "hop")
            .header("keep-alive", "timeout=1")
            .header("proxy-authorization", "Basic eA==")
            .header("te", "trailers")
            .header("upgrade", "h2c")
            .header("x-forwarded-for", "10.0.0.1")
            .header("via", "1.0 fred")
            .header("x-end-to-end", "yes"),
    )
    .await;
    let headers = seen.lock().unwrap().remove(0);
    for gone in ["connection", "x-secret", "keep-alive", "proxy-authorization", "te", "upgrade"] {
        assert!(!headers.contains_key(gone), "{gone} of the request");
    }
    for (name, value) in [
        ("host", "eligibility.test"),
        ("x-forwarded-for", "10.0.0.1, 127.0.0.1"),
        ("x-forwarded-host", "eligibility.test"),
        ("x-forwarded-proto", "http"),
        ("via", "1.0 fred, 1.1 hms-ops"),
        ("x-end-to-end", "yes"),
    ] {
        assert_eq!(headers[name], value);
    }
    for gone in ["x-hop", "keep-alive"] {
        assert!(!answer.headers().contains_key(gone), "{gone} of the answer");
    }
    assert_eq!(answer.headers()["x-kept"], "yes");
    assert_eq!(answer.headers()["via"], "1.1 hms-ops");
}

#[tokio::test]
async fn the_host_of_an_absolute_target_wins_over_the_header() {
    let seen = Arc::default();
    let backend = noting(&seen).await;
    let serving = serve(&to(&backend).build().unwrap()).await;
    let asked = "GET http://real.test/x HTTP/1.1\r\nhost: fake.test\r\nconnection: close\r\n\r\n";
    assert!(raw(serving.address(), asked).await.starts_with("HTTP/1.1 200"));
    let without = "GET / HTTP/1.0\r\n\r\n";
    assert!(raw(serving.address(), without).await.contains(" 200 "));
    let headers = seen.lock().unwrap();
    assert_eq!(headers[0]["host"], "real.test");
    assert_eq!(headers[1]["host"], backend.address.to_string().as_str());
}

#[tokio::test]
async fn what_is_no_plain_request_is_refused_with_a_sentence() {
    let backend = Backend::named("a").await;
    let serving = serve(&to(&backend).build().unwrap()).await;
    let close = "connection: close\r\n\r\n";
    let long = "x".repeat(100_000);
    for (head, status, sentence) in [
        ("GET / HTTP/1.1\r\n".to_owned(), " 400 ", "exactly one host"),
        ("GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n".to_owned(), " 400 ", "exactly one host"),
        ("CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n".to_owned(), " 501 ", "no tunnels"),
        ("GET / HTTP/1.1\r\nhost: a\r\nupgrade: WebSocket\r\n".to_owned(), " 501 ", "no tunnels"),
        (format!("GET / HTTP/1.1\r\nhost: a\r\nx-long: {long}\r\n"), " 431 ", ""),
    ] {
        let answer = raw(serving.address(), &format!("{head}{close}")).await;
        assert!(answer.contains(status) && answer.contains(sentence), "{head:.40}: {answer}");
    }
    assert_eq!(backend.served(), 0);
}

#[tokio::test]
async fn a_request_with_two_lengths_reaches_the_cluster_as_one_request() {
    let seen = Arc::default();
    let backend = noting(&seen).await;
    let serving = serve(&to(&backend).build().unwrap()).await;
    let smuggled = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 44\r\n\
                    transfer-encoding: chunked\r\nconnection: close\r\n\r\n\
                    0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";
    raw(serving.address(), smuggled).await;
    assert!(seen.lock().unwrap().len() <= 1);
}

#[tokio::test]
async fn a_head_request_keeps_the_length_of_the_body_it_does_not_get() {
    let backend = Backend::named("nine byte").await;
    let serving = serve(&to(&backend).build().unwrap()).await;
    let answer = send(serving.address(), request("HEAD", "/")).await;
    assert_eq!(answer.headers()["content-length"], "9");
    assert_eq!(body(answer).await, "");
}

#[tokio::test]
async fn bodies_stream_both_ways_at_once() {
    let backend = Backend::start(|request| async move {
        let (mut sender, answer) = Channel::<Bytes, Infallible>::new(1);
        tokio::spawn(async move {
            let mut body = request.into_body();
            while let Some(Ok(frame)) = body.frame().await {
                let _ = sender.send(frame).await;
            }
        });
        Ok(Response::new(answer.boxed()))
    })
    .await;
    let router = to(&backend).build().unwrap();
    let serving = serve(&router).await;
    let mut client = connect(serving.address()).await;
    let (mut upload, body) = Channel::<Bytes, Infallible>::new(1);
    let asked = request("POST", "/echo").body(body).unwrap();
    let answer = soon(client.send_request(asked)).await.unwrap();
    let mut echo = answer.into_body();
    for part in ["one", "two", "three"] {
        upload.send_data(Bytes::from(part)).await.unwrap();
        let frame = soon(echo.frame()).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), part, "echoed before the next part is sent");
    }
    assert_eq!(traffic(&router, "cluster-a").await.active, 1);
    drop(upload);
    assert!(soon(echo.frame()).await.is_none());
    until(async || traffic(&router, "cluster-a").await.active == 0).await;
}

#[tokio::test]
async fn connections_to_a_cluster_are_used_again() {
    let connections = Arc::new(AtomicU64::new(0));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let counter = connections.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counter.fetch_add(1, Ordering::SeqCst);
            let ok = hyper::service::service_fn(|_| async {
                Ok::<_, Infallible>(text(StatusCode::OK, "ok"))
            });
            let http = hyper::server::conn::http1::Builder::new();
            let stream = hyper_util::rt::TokioIo::new(stream);
            tokio::spawn(async move { drop(http.serve_connection(stream, ok).await) });
        }
    });
    let router = Router::builder("svc").cluster("a", format!("http://{address}")).build().unwrap();
    let serving = serve(&router).await;
    for _ in 0..20 {
        assert_eq!(body(send(serving.address(), request("GET", "/")).await).await, "ok");
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_cluster_that_cannot_be_reached_is_503_one_that_breaks_off_502_one_that_is_late_504() {
    let breaks = Backend::start(|_| async { Err("broken") }).await;
    let hangs = Backend::start(|_| pending()).await;
    for (url, status, line) in [
        (nowhere().await, 503, "svc cannot be reached\n"),
        (breaks.url(), 502, "svc broke off before its answer\n"),
        (hangs.url(), 504, "svc did not answer within 20ms\n"),
    ] {
        let patience = Duration::from_millis(20);
        let router = Router::builder("svc").cluster("a", url).response_timeout(patience);
        let router = router.build().unwrap();
        let serving = serve(&router).await;
        let answer = send(serving.address(), request("GET", "/")).await;
        assert_eq!(answer.status().as_u16(), status);
        assert_eq!(answer.headers()["content-type"], "text/plain; charset=utf-8");
        assert_eq!(body(answer).await, line);
        let seen = traffic(&router, "a").await;
        assert_eq!((seen.errors, seen.active), (seen.requests, 0), "{line}");
        serving.shutdown().await;
    }
}

#[tokio::test]
async fn an_idempotent_request_that_broke_off_is_tried_at_another_cluster() {
    let breaks = Backend::start(|_| async { Err("broken") }).await;
    let fine = Backend::named("fine").await;
    let router = to(&breaks).cluster("cluster-b", fine.url()).weight(1).build().unwrap();
    let serving = serve(&router).await;
    for _ in 0..50 {
        assert_eq!(body(send(serving.address(), request("GET", "/")).await).await, "fine");
    }
    let (a, b) = (traffic(&router, "cluster-a").await, traffic(&router, "cluster-b").await);
    assert_eq!((a.errors, b.requests, b.errors), (a.requests, 50, 0));
}

#[tokio::test]
async fn a_request_that_may_have_had_an_effect_is_not_tried_again() {
    let breaks = Backend::start(|_| async { Err("broken") }).await;
    let fine = Backend::named("fine").await;
    // The weight is small enough never to be picked first here, and large enough for a retry.
    let router = to(&breaks).weight(u32::MAX).cluster("cluster-b", fine.url()).weight(1);
    let serving = serve(&router.build().unwrap()).await;
    for (method, body) in [("POST", ""), ("PUT", "a body")] {
        let answer = send_body(serving.address(), request(method, "/"), body).await;
        assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
    }
    assert_eq!((breaks.served(), fine.served()), (2, 0));
}

#[tokio::test]
async fn a_request_of_which_nothing_was_sent_is_tried_again_whatever_it_is() {
    let fine = Backend::start(|request| async move {
        let body = request.into_body().collect().await.unwrap().to_bytes();
        Ok(Response::new(Full::from(body).boxed()))
    })
    .await;
    let router = Router::builder("svc").cluster("cluster-a", nowhere().await).weight(u32::MAX);
    let router = router.cluster("cluster-b", fine.url()).weight(1).build().unwrap();
    let serving = serve(&router).await;
    let answer = send_body(serving.address(), request("POST", "/"), "precious").await;
    assert_eq!(body(answer).await, "precious");
    assert_eq!(traffic(&router, "cluster-a").await.errors, 1);
}

#[tokio::test]
async fn a_cluster_killed_in_the_middle_of_an_answer_breaks_that_answer_off() {
    let backend = Backend::start(|_| async {
        let (mut sender, answer) = Channel::<Bytes, Infallible>::new(1);
        tokio::spawn(async move {
            let _ = sender.send_data(Bytes::from("half")).await;
            pending::<()>().await;
        });
        Ok(Response::new(answer.boxed()))
    })
    .await;
    let router = to(&backend).build().unwrap();
    let serving = serve(&router).await;
    let mut answer = send(serving.address(), request("GET", "/")).await.into_body();
    assert_eq!(soon(answer.frame()).await.unwrap().unwrap().into_data().unwrap(), "half");
    backend.kill().await;
    assert!(soon(answer.frame()).await.unwrap().is_err());
    until(async || traffic(&router, "cluster-a").await.active == 0).await;
    assert_eq!(traffic(&router, "cluster-a").await.errors, 1);
}

#[tokio::test]
async fn an_answer_that_stands_still_is_broken_off() {
    let backend = Backend::start(|_| async {
        let (sender, answer) = Channel::<Bytes, Infallible>::new(1);
        // Never ends, and never says anything.
        std::mem::forget(sender);
        Ok(Response::new(answer.boxed()))
    })
    .await;
    let router = to(&backend).idle_timeout(Duration::from_millis(10)).build().unwrap();
    let serving = serve(&router).await;
    let answer = send(serving.address(), request("GET", "/")).await;
    assert!(soon(answer.into_body().collect()).await.is_err());
    until(async || traffic(&router, "cluster-a").await.errors == 1).await;
}

#[tokio::test]
async fn a_client_that_leaves_is_no_error_of_the_cluster() {
    let (asked, backend) = {
        let asked = Arc::new(Notify::new());
        let notify = asked.clone();
        let backend = Backend::start(move |_| {
            notify.notify_one();
            pending()
        });
        (asked, backend.await)
    };
    let router = to(&backend).build().unwrap();
    let serving = serve(&router).await;
    let mut client = connect(serving.address()).await;
    let asking = client.send_request(request("GET", "/").body(Full::<Bytes>::default()).unwrap());
    let mut asking = Box::pin(asking);
    tokio::select! {
        _ = &mut asking => panic!("nobody answers"),
        () = asked.notified() => {}
    }
    drop((asking, client));
    until(async || traffic(&router, "cluster-a").await.active == 0).await;
    assert_eq!(traffic(&router, "cluster-a").await.errors, 0);
}

#[tokio::test]
async fn a_slow_request_is_finished_by_the_cluster_that_began_it() {
    let (begun, gate) = (Arc::new(Notify::new()), Arc::new(Semaphore::new(0)));
    let (begins, waits) = (begun.clone(), gate.clone());
    let old = Backend::start(move |_| {
        begins.notify_one();
        let waits = waits.clone();
        async move {
            let _ = waits.acquire().await;
            Ok(text(StatusCode::OK, "old"))
        }
    })
    .await;
    let new = Backend::named("new").await;
    let router = to(&old).cluster("cluster-b", new.url()).build().unwrap();
    let serving = serve(&router).await;
    let address = serving.address();
    let slow = tokio::spawn(async move { body(send(address, request("GET", "/")).await).await });
    soon(begun.notified()).await;
    shift(&router, "cluster-b", "away").await;
    assert_eq!(body(send(address, request("GET", "/")).await).await, "new");
    assert_eq!(traffic(&router, "cluster-a").await.active, 1);
    gate.add_permits(1);
    assert_eq!(soon(slow).await.unwrap(), "old");
    until(async || traffic(&router, "cluster-a").await.active == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_is_lost_while_traffic_flips_a_hundred_times() {
    let (a, b) = (Backend::named("a").await, Backend::named("b").await);
    let router = to(&a).cluster("cluster-b", b.url()).build().unwrap();
    let serving = serve(&router).await;
    let (address, over) = (serving.address(), Arc::new(AtomicBool::new(false)));
    let mut clients = JoinSet::new();
    for client in 0..8 {
        let over = over.clone();
        clients.spawn(async move {
            let (mut connection, mut answered) = (connect(address).await, 0u64);
            while !over.load(Ordering::Relaxed) {
                let method = if client % 2 == 0 { "GET" } else { "POST" };
                let asked = request(method, "/").body(Full::<Bytes>::from("claim")).unwrap();
                let answer = connection.send_request(asked).await.expect("a request was lost");
                assert_eq!(answer.status(), StatusCode::OK);
                answer.into_body().collect().await.expect("an answer was lost");
                answered += 1;
            }
            answered
        });
    }
    for flip in 0..100 {
        let to = if flip % 2 == 0 { "cluster-b" } else { "cluster-a" };
        let before = a.served() + b.served();
        shift(&router, to, &format!("flip {flip}")).await;
        until(async || a.served() + b.served() >= before + 20).await;
    }
    over.store(true, Ordering::Relaxed);
    let answered: u64 = soon(clients.join_all()).await.into_iter().sum();
    assert_eq!(answered, a.served() + b.served());
    serving.shutdown().await;
    let (a, b) = (traffic(&router, "cluster-a").await, traffic(&router, "cluster-b").await);
    assert_eq!((a.requests + b.requests, a.errors + b.errors), (answered, 0));
    assert_eq!((a.active, b.active), (0, 0));
}

#[tokio::test]
async fn shutdown_lets_requests_finish_and_takes_no_new_ones() {
    let (begun, gate) = (Arc::new(Notify::new()), Arc::new(Semaphore::new(0)));
    let (begins, waits) = (begun.clone(), gate.clone());
    let backend = Backend::start(move |_| {
        begins.notify_one();
        let waits = waits.clone();
        async move {
            let _ = waits.acquire().await;
            Ok(text(StatusCode::OK, "late"))
        }
    })
    .await;
    let serving = serve(&to(&backend).build().unwrap()).await;
    let address = serving.address();
    let slow = tokio::spawn(async move { send(address, request("GET", "/")).await });
    soon(begun.notified()).await;
    let shutdown = tokio::spawn(serving.shutdown());
    until(async || TcpStream::connect(address).await.is_err()).await;
    assert!(!shutdown.is_finished());
    gate.add_permits(1);
    let answer = soon(slow).await.unwrap();
    assert_eq!(answer.headers()["connection"], "close");
    assert_eq!(body(answer).await, "late");
    soon(shutdown).await.unwrap();
}

#[tokio::test]
async fn what_outlasts_the_drain_timeout_is_broken_off() {
    let begun = Arc::new(Notify::new());
    let begins = begun.clone();
    let backend = Backend::start(move |_| {
        begins.notify_one();
        pending()
    })
    .await;
    let router = to(&backend).drain_timeout(Duration::from_millis(10)).build().unwrap();
    let serving = serve(&router).await;
    let mut client = connect(serving.address()).await;
    let asking = client.send_request(request("GET", "/").body(Full::<Bytes>::default()).unwrap());
    let asking = tokio::spawn(asking);
    soon(begun.notified()).await;
    soon(serving.shutdown()).await;
    assert!(soon(asking).await.unwrap().is_err());
    assert_eq!(traffic(&router, "cluster-a").await.active, 0);
}

#[tokio::test]
async fn connections_beyond_the_bound_wait_for_a_place() {
    let backend = Backend::named("a").await;
    let serving = serve(&to(&backend).max_connections(1).build().unwrap()).await;
    let mut first = connect(serving.address()).await;
    let asked = || request("GET", "/").body(Full::<Bytes>::default()).unwrap();
    soon(first.send_request(asked())).await.unwrap().into_body().collect().await.unwrap();
    let mut second = connect(serving.address()).await;
    let waiting = tokio::spawn(second.send_request(asked()));
    soon(first.ready()).await.unwrap();
    soon(first.send_request(asked())).await.unwrap().into_body().collect().await.unwrap();
    assert!(!waiting.is_finished());
    drop(first);
    assert_eq!(soon(waiting).await.unwrap().unwrap().status(), StatusCode::OK);
}

#[derive(Debug, Default)]
struct Spans(Mutex<Vec<SpanRecord>>);

impl SpanSink for Spans {
    fn record(&self, span: SpanRecord) {
        self.0.lock().unwrap().push(span);
    }
}

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

#[tokio::test]
async fn a_trace_goes_through_the_router_and_gains_its_span() {
    let (seen, spans) = (Arc::default(), Arc::new(Spans::default()));
    let backend = noting(&seen).await;
    let serving = serve(&to(&backend).spans(spans.clone()).build().unwrap()).await;
    let asked = request("GET", "/claims?id=secret")
        .header("traceparent", PARENT)
        .header("tracestate", "vendor=1")
        .header("x-hms-trace-id", "ffffffffffffffffffffffffffffffff");
    let answer = send(serving.address(), asked).await;
    assert_eq!(answer.headers()["x-hms-trace-id"], TRACE);
    body(answer).await;
    serving.shutdown().await;

    let headers = seen.lock().unwrap().remove(0);
    let sent = SpanContext::from_traceparent(headers["traceparent"].to_str().unwrap()).unwrap();
    assert_eq!(
        (headers["x-hms-trace-id"].as_bytes(), &headers["tracestate"]),
        (TRACE.as_bytes(), &"vendor=1".parse().unwrap())
    );
    let span = spans.0.lock().unwrap().remove(0);
    assert_eq!((span.trace_id, span.span_id), (sent.trace_id, sent.span_id));
    assert_eq!(span.parent_id.unwrap().to_string(), "00f067aa0ba902b7");
    assert_eq!(
        (&*span.service, &*span.name, span.kind),
        ("router", "GET /claims", SpanKind::Server)
    );
    assert_eq!(span.status, SpanStatus::Unset);
    let text = |text: &'static str| AttributeValue::Text(text.into());
    for (name, value) in [
        ("http.request.method", text("GET")),
        ("url.path", text("/claims")),
        ("hms.cluster", text("cluster-a")),
        ("http.response.status_code", AttributeValue::Int(200)),
    ] {
        assert!(span.attributes.contains(&(name.into(), value)), "{name}: {:?}", span.attributes);
    }
}

#[tokio::test]
async fn a_request_without_a_valid_parent_begins_a_trace_or_joins_the_one_it_names() {
    let (seen, spans) = (Arc::default(), Arc::new(Spans::default()));
    let backend = noting(&seen).await;
    let serving = serve(&to(&backend).spans(spans.clone()).build().unwrap()).await;
    let broken = request("GET", "/").header("traceparent", "broken").header("tracestate", "v=1");
    body(send(serving.address(), broken).await).await;
    let named = request("GET", "/").header("x-hms-trace-id", TRACE);
    let answer = send(serving.address(), named).await;
    assert_eq!(answer.headers()["x-hms-trace-id"], TRACE);
    body(answer).await;
    serving.shutdown().await;
    assert!(!seen.lock().unwrap()[0].contains_key("tracestate"));
    let spans = spans.0.lock().unwrap();
    assert_eq!(spans.iter().map(|span| span.parent_id).collect::<Vec<_>>(), [None, None]);
    assert_eq!(spans[1].trace_id.to_string(), TRACE);
}

#[tokio::test]
async fn a_failed_request_has_a_failed_span_and_an_unsampled_one_has_none() {
    let spans = Arc::new(Spans::default());
    let backend =
        Backend::start(|_| async { Ok(text(StatusCode::INTERNAL_SERVER_ERROR, "oh")) }).await;
    let router = to(&backend).spans(spans.clone()).build().unwrap();
    let serving = serve(&router).await;
    body(send(serving.address(), request("GET", "/")).await).await;
    let unsampled = request("GET", "/").header("traceparent", PARENT.replace("-01", "-00"));
    body(send(serving.address(), unsampled).await).await;
    serving.shutdown().await;
    assert_eq!(traffic(&router, "cluster-a").await.errors, 2);
    let spans = spans.0.lock().unwrap();
    let status: Vec<_> = spans.iter().map(|span| span.status.clone()).collect();
    assert_eq!(status, [SpanStatus::Error("answered 500".into())]);
}
