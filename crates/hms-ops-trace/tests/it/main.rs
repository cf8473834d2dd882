//! Spans as a program makes and drains them.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod collecting;
mod futures;
mod scopes;
mod traced;

use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard};

use hms_ops_core::span::{AttributeValue, SpanRecord, TraceId};
use hms_ops_trace::{Span, current, drain, enable, in_span};

/// Held to read by tests that record, and to write by the one that must not. With `cargo test` all
/// of them share a process.
static RECORDING: RwLock<()> = RwLock::new(());

/// All that was drained by any test: a drain takes what the others have recorded as well.
static DRAINED: Mutex<Vec<SpanRecord>> = Mutex::new(Vec::new());

fn recording() -> RwLockReadGuard<'static, ()> {
    let held = RECORDING.read().unwrap_or_else(PoisonError::into_inner);
    enable(true);
    held
}

/// The spans of a trace that have ended, by their start.
fn spans_of(trace: TraceId) -> Vec<SpanRecord> {
    let mut drained = DRAINED.lock().unwrap_or_else(PoisonError::into_inner);
    drain(&mut drained);
    let mut spans: Vec<_> = drained.iter().filter(|span| span.trace_id == trace).cloned().collect();
    spans.sort_by_key(|span| span.start_ns);
    spans
}

/// What `work` records, behind a root span that is called `test`.
fn record(work: impl FnOnce()) -> Vec<SpanRecord> {
    let _held = recording();
    let root = Span::new("test").enter();
    let trace = current().unwrap().trace_id;
    work();
    drop(root);
    spans_of(trace)
}

/// What `work` records on one thread, behind a root span that is called `test`.
fn record_async(work: impl AsyncFnOnce()) -> Vec<SpanRecord> {
    let _held = recording();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let trace = runtime.block_on(in_span("test", None, async {
        work().await;
        current().unwrap().trace_id
    }));
    spans_of(trace)
}

/// The one span with this name.
fn named<'a>(spans: &'a [SpanRecord], name: &str) -> &'a SpanRecord {
    let found: Vec<_> = spans.iter().filter(|span| span.name == name).collect();
    assert_eq!(found.len(), 1, "{name} in {spans:#?}");
    found[0]
}

/// The name of the span's parent.
fn parent<'a>(spans: &'a [SpanRecord], name: &str) -> Option<&'a str> {
    let parent = named(spans, name).parent_id?;
    spans.iter().find(|span| span.span_id == parent).map(|span| &*span.name)
}

fn attribute<'a>(span: &'a SpanRecord, key: &str) -> Option<&'a AttributeValue> {
    span.attributes.iter().find(|(known, _)| known == key).map(|(_, value)| value)
}
