use std::future::{pending, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::{Context, Waker};

use hms_ops_core::span::{AttributeValue, SpanRecord, SpanStatus};
use hms_ops_trace::{Span, SpanContext, SpanKind, current, in_span, server_span};
use tokio::task::yield_now;

use crate::{attribute, named, parent, record, record_async, recording, spans_of};

/// A span that gives way to other work in the middle.
async fn leaf(name: &'static str) {
    in_span(name, None, yield_now()).await;
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap()
}

#[test]
fn the_parent_is_the_same_before_and_after_an_await() {
    let spans = record_async(async || {
        let outer = in_span("outer", None, async {
            let here = current();
            leaf("before").await;
            yield_now().await;
            assert_eq!(current(), here);
            leaf("after").await;
        });
        outer.await;
    });
    assert_eq!(parent(&spans, "outer"), Some("test"));
    assert_eq!(parent(&spans, "before"), Some("outer"));
    assert_eq!(parent(&spans, "after"), Some("outer"));
}

#[test]
fn futures_that_take_turns_keep_their_own_parents() {
    let spans = record_async(async || {
        let left = in_span("left", None, async {
            leaf("left 1").await;
            leaf("left 2").await;
        });
        let right = in_span("right", None, async {
            leaf("right 1").await;
            leaf("right 2").await;
        });
        tokio::join!(left, right);
    });
    for (child, of) in
        [("left 1", "left"), ("left 2", "left"), ("right 1", "right"), ("right 2", "right")]
    {
        assert_eq!(parent(&spans, child), Some(of));
    }
    assert_eq!(parent(&spans, "left"), Some("test"));
    assert_eq!(parent(&spans, "right"), Some("test"));
}

#[test]
fn a_span_is_not_current_while_its_future_waits() {
    let spans = record(|| {
        let around = current();
        let mut waiting = pin!(in_span("waiting", None, pending::<()>()));
        let polled = waiting.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending());
        assert_eq!(current(), around);
        drop(Span::new("meanwhile").enter());
    });
    assert_eq!(parent(&spans, "meanwhile"), Some("test"));
}

#[test]
fn what_is_spawned_bare_begins_a_trace() {
    let _held = recording();
    let runtime = runtime();
    let trace = runtime.block_on(in_span("spawner", None, async {
        let here = current().unwrap();
        let spawned = tokio::spawn(async {
            let outside = current();
            (outside, in_span("spawned", None, async { current() }).await)
        });
        let (outside, inside) = spawned.await.unwrap();
        assert_eq!(outside, None);
        let inside = inside.unwrap();
        assert_ne!(inside.trace_id, here.trace_id);
        inside.trace_id
    }));
    let spans = spans_of(trace);
    assert_eq!(parent(&spans, "spawned"), None);
    assert_eq!(named(&spans, "spawned").parent_id, None);
}

#[test]
fn what_is_spawned_in_a_span_stays_in_the_trace() {
    let _held = recording();
    let runtime = runtime();
    let trace = runtime.block_on(in_span("spawner", None, async {
        tokio::spawn(in_span("spawned", None, leaf("leaf"))).await.unwrap();
        current().unwrap().trace_id
    }));
    let spans = spans_of(trace);
    assert_eq!(parent(&spans, "spawned"), Some("spawner"));
    assert_eq!(parent(&spans, "leaf"), Some("spawned"));
}

#[test]
fn a_future_that_is_dropped_early_is_cancelled_after_its_children() {
    let cancelled = |span: &SpanRecord| attribute(span, "cancelled").cloned();
    let spans = record(|| {
        let inner = in_span("inner", None, pending::<()>());
        let mut outer = Box::pin(in_span("outer", None, async {
            in_span("quick", None, ready(())).await;
            let _on_drop = OnDrop;
            inner.await;
        }));
        let polled = outer.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending());
        drop(outer);
        drop(in_span("unpolled", None, ready(())));
    });
    for name in ["inner", "outer", "unpolled"] {
        let span = named(&spans, name);
        assert_eq!(cancelled(span), Some(AttributeValue::Bool(true)), "{name}");
        assert_eq!(span.status, SpanStatus::Unset, "{name}");
    }
    assert_eq!(cancelled(named(&spans, "quick")), None);
    assert_eq!(parent(&spans, "on drop"), Some("outer"));
    let end = |name| {
        let span = named(&spans, name);
        span.start_ns + u64::try_from(span.duration.as_nanos()).unwrap()
    };
    assert!(end("inner") <= end("outer") && end("on drop") <= end("outer"));
}

struct OnDrop;

impl Drop for OnDrop {
    fn drop(&mut self) {
        drop(Span::new("on drop").enter());
    }
}

#[test]
fn a_future_that_panics_ends_with_an_error_and_is_not_cancelled() {
    let spans = record(|| {
        let around = current();
        let mut future = Box::pin(in_span("panics", None, async { panic!("as planned") }));
        let polled = catch_unwind(AssertUnwindSafe(|| {
            let _: std::task::Poll<()> =
                future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        }));
        assert!(polled.is_err());
        assert_eq!(current(), around);
    });
    let span = named(&spans, "panics");
    assert_eq!(span.status, SpanStatus::Error("panicked".into()));
    assert_eq!(attribute(span, "cancelled"), None);
}

#[test]
fn a_task_that_panics_ends_with_an_error() {
    let _held = recording();
    let parent = SpanContext::root();
    let task = in_span("panics", Some(parent), async {
        yield_now().await;
        panic!("as planned");
    });
    let joined = runtime().block_on(async { tokio::spawn(task).await });
    assert!(joined.is_err());
    let spans = spans_of(parent.trace_id);
    assert_eq!(named(&spans, "panics").status, SpanStatus::Error("panicked".into()));
}

#[test]
fn a_server_span_continues_the_callers_trace() {
    let caller = SpanContext::root();
    let spans = record_async(async move || {
        let here = server_span("GET /", Some(caller), async { current() }).await;
        assert_eq!(here.unwrap().trace_id, caller.trace_id);
        server_span("GET /own", None, leaf("work")).await;
    });
    assert_eq!(parent(&spans, "GET /own"), Some("test"));
    assert_eq!(parent(&spans, "work"), Some("GET /own"));

    let remote = spans_of(caller.trace_id);
    assert_eq!(named(&remote, "GET /").parent_id, Some(caller.span_id));
    assert_eq!(named(&remote, "GET /").kind, SpanKind::Server);
}

#[test]
fn what_a_future_returns_may_say_how_the_span_ended() {
    let spans = record_async(async || {
        let answer = Span::new("answer").wrap_with(ready(503_u16), |span, &code| {
            span.set("http.response.status_code", code);
            if code >= 500 {
                span.set_status(SpanStatus::Error("503".into()));
            }
        });
        assert_eq!(answer.await, 503);
    });
    let answer = named(&spans, "answer");
    assert_eq!(answer.status, SpanStatus::Error("503".into()));
    let code = attribute(answer, "http.response.status_code");
    assert_eq!(code, Some(&AttributeValue::Int(503)));
}

#[test]
fn a_future_in_a_span_may_be_sent_if_it_may_be_without() {
    fn sends<T: Send>(value: T) -> T {
        value
    }
    drop(sends(in_span("sent", None, leaf("leaf"))));
}
