use std::panic::{AssertUnwindSafe, catch_unwind};

use hms_ops_core::span::{AttributeValue, SpanStatus};
use hms_ops_trace::{Span, SpanContext, SpanKind, current};

use crate::{attribute, named, parent, record, recording, spans_of};

#[test]
fn a_span_is_a_child_of_the_one_around_it() {
    let spans = record(|| {
        let _outer = Span::new("outer").enter();
        drop(Span::new("first").enter());
        drop(Span::new("second").enter());
    });
    assert_eq!(spans.len(), 4);
    assert_eq!(spans[0].name, "test");
    assert_eq!(parent(&spans, "test"), None);
    assert_eq!(parent(&spans, "outer"), Some("test"));
    assert_eq!(parent(&spans, "first"), Some("outer"));
    assert_eq!(parent(&spans, "second"), Some("outer"));
}

#[test]
fn a_child_lies_within_its_parent() {
    let spans = record(|| drop(Span::new("child").enter()));
    let (test, child) = (named(&spans, "test"), named(&spans, "child"));
    let end = |span: &hms_ops_core::span::SpanRecord| {
        span.start_ns + u64::try_from(span.duration.as_nanos()).unwrap()
    };
    assert!(test.start_ns <= child.start_ns && end(child) <= end(test), "{spans:#?}");
}

#[test]
fn after_a_span_the_one_before_is_current_again() {
    let _held = recording();
    assert_eq!(current(), None);
    let outer = Span::new("outer").enter();
    let around = current();
    let inner = Span::new("inner").enter();
    assert_ne!(current(), around);
    assert_eq!(current().unwrap().trace_id, around.unwrap().trace_id);
    drop(inner);
    assert_eq!(current(), around);
    drop(outer);
    assert_eq!(current(), None);
}

#[test]
fn a_span_that_is_not_entered_is_not_current_and_ends_when_it_is_dropped() {
    let spans = record(|| {
        let around = current();
        let span = Span::new("aside");
        assert_eq!(current(), around);
        drop(span);
    });
    assert_eq!(parent(&spans, "aside"), Some("test"));
}

#[test]
fn a_remote_parent_puts_the_span_into_its_trace() {
    let _held = recording();
    let caller = SpanContext { sampled: false, ..SpanContext::root() };
    let guard = Span::new("answer").with_parent(caller).with_kind(SpanKind::Server).enter();
    let here = current().unwrap();
    assert_eq!((here.trace_id, here.sampled), (caller.trace_id, false));
    drop(guard);

    let spans = spans_of(caller.trace_id);
    assert_eq!(spans.len(), 1);
    assert_eq!(spans[0].parent_id, Some(caller.span_id));
    assert_eq!(spans[0].span_id, here.span_id);
    assert_eq!(spans[0].kind, SpanKind::Server);
}

#[test]
fn an_attribute_that_is_set_again_is_replaced() {
    let spans = record(|| {
        let mut span = Span::new("work").with("parts", 2_usize).with("name", "a").enter();
        span.set("parts", u64::MAX);
        span.set("ratio", 0.5);
        span.set_status(SpanStatus::Ok);
    });
    let work = named(&spans, "work");
    assert_eq!(attribute(work, "parts"), Some(&AttributeValue::Int(i64::MAX)));
    assert_eq!(attribute(work, "ratio"), Some(&AttributeValue::Float(0.5)));
    assert_eq!(work.attributes.len(), 3);
    assert_eq!(work.status, SpanStatus::Ok);
}

#[test]
fn a_panic_is_an_error_of_the_spans_it_leaves_and_of_no_other() {
    struct Tidy;

    impl Drop for Tidy {
        fn drop(&mut self) {
            drop(Span::new("tidy").enter());
        }
    }

    let spans = record(|| {
        let caught = catch_unwind(AssertUnwindSafe(|| {
            let _outer = Span::new("outer").enter();
            let _tidy = Tidy;
            let _inner = Span::new("inner").enter();
            panic!("as planned");
        }));
        assert!(caught.is_err());
        drop(Span::new("after").enter());
    });
    let panicked = SpanStatus::Error("panicked".into());
    assert_eq!(named(&spans, "inner").status, panicked);
    assert_eq!(named(&spans, "outer").status, panicked);
    assert_eq!(named(&spans, "tidy").status, SpanStatus::Unset);
    assert_eq!(named(&spans, "test").status, SpanStatus::Unset);
    assert_eq!(parent(&spans, "tidy"), Some("outer"));
    assert_eq!(parent(&spans, "after"), Some("test"));
}
