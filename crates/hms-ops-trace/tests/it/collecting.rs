use std::cell::Cell;
use std::sync::PoisonError;
use std::sync::mpsc;
use std::thread;

use hms_ops_core::span::{SpanRecord, SpanSink};
use hms_ops_trace::{
    GlobalSink, Span, SpanContext, current, dropped, enable, in_span, set_service,
};

use crate::{RECORDING, named, parent, record, recording, spans_of};

#[test]
fn what_an_idle_thread_has_recorded_is_drained() {
    let _held = recording();
    let caller = SpanContext::root();
    let (recorded, was_recorded) = mpsc::channel();
    let (stop, stopped) = mpsc::channel::<()>();
    let idle = thread::spawn(move || {
        drop(Span::new("before it idled").with_parent(caller).enter());
        recorded.send(()).unwrap();
        stopped.recv().unwrap();
    });
    was_recorded.recv().unwrap();
    assert_eq!(spans_of(caller.trace_id).len(), 1);
    stop.send(()).unwrap();
    idle.join().unwrap();
    assert_eq!(spans_of(caller.trace_id).len(), 1);
}

#[test]
fn two_threads_have_contexts_of_their_own() {
    let _held = recording();
    let caller = SpanContext::root();
    let work = |names: [&'static str; 2]| {
        move || {
            assert_eq!(current(), None);
            let _outer = Span::new(names[0]).with_parent(caller).enter();
            for _ in 0..300 {
                drop(Span::new(names[1]).enter());
            }
        }
    };
    let before = dropped();
    thread::scope(|scope| {
        scope.spawn(work(["a", "a leaf"]));
        scope.spawn(work(["b", "b leaf"]));
    });
    assert_eq!(dropped(), before);

    let spans = spans_of(caller.trace_id);
    assert_eq!(spans.len(), 602);
    for (name, leaf) in [("a", "a leaf"), ("b", "b leaf")] {
        let id = named(&spans, name).span_id;
        let leaves = spans.iter().filter(|span| span.parent_id == Some(id));
        assert!(leaves.clone().all(|span| span.name == leaf));
        assert_eq!(leaves.count(), 300);
    }
}

#[test]
fn nothing_is_recorded_while_recording_is_off() {
    let _alone = RECORDING.write().unwrap_or_else(PoisonError::into_inner);
    enable(false);
    let caller = SpanContext::root();
    let guard = Span::new("off").with_parent(caller).with("n", 1).enter();
    assert!(!guard.is_recording());
    assert_eq!(current(), None);
    drop(guard);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let output = runtime.block_on(in_span("off", Some(caller), async { (current(), 7) }));
    assert_eq!(output, (None, 7));
    GlobalSink.record(routed(caller));
    assert_eq!(spans_of(caller.trace_id), []);
    traced(|| panic!("a field was made")).unwrap();
}

#[test]
fn a_span_that_began_while_recording_was_on_is_recorded() {
    let _alone = RECORDING.write().unwrap_or_else(PoisonError::into_inner);
    let caller = SpanContext::root();
    enable(true);
    let guard = Span::new("on").with_parent(caller).enter();
    enable(false);
    drop(guard);
    assert_eq!(spans_of(caller.trace_id).len(), 1);
}

#[test]
fn spans_from_elsewhere_join_those_of_this_process() {
    let _held = recording();
    assert_eq!(set_service("claims"), "claims");
    let caller = SpanContext::root();
    GlobalSink.record(routed(caller));
    drop(Span::new("answer").with_parent(caller).enter());

    let spans = spans_of(caller.trace_id);
    assert_eq!(named(&spans, "route").service, "router");
    assert_eq!(named(&spans, "answer").service, "claims");
}

#[hms_ops_macros::trace(crate = hms_ops_trace, fields(n = field()))]
fn traced(field: fn() -> u8) -> Result<(), u8> {
    Ok(())
}

fn routed(context: SpanContext) -> SpanRecord {
    SpanRecord {
        trace_id: context.trace_id,
        span_id: context.span_id,
        parent_id: None,
        service: "router".into(),
        name: "route".into(),
        kind: Default::default(),
        start_ns: 0,
        duration: Default::default(),
        status: Default::default(),
        attributes: Vec::new(),
    }
}

#[test]
fn spans_of_a_thread_that_ends_are_kept_to_its_last_moment() {
    thread_local! {
        static LAST: Cell<Last> = const { Cell::new(Last(None)) };
    }

    struct Last(Option<SpanContext>);

    impl Drop for Last {
        fn drop(&mut self) {
            if let Some(parent) = self.0 {
                drop(Span::new("last").with_parent(parent));
            }
        }
    }

    // Which of the two a thread drops first depends on which it used first.
    let first = |parent| drop(Span::new("first").with_parent(parent).enter());
    let last = |parent| LAST.set(Last(Some(parent)));
    for last_first in [false, true] {
        let spans = record(|| {
            let here = current().unwrap();
            let ends = move || match last_first {
                false => (first(here), last(here)),
                true => (last(here), first(here)),
            };
            thread::spawn(ends).join().unwrap();
        });
        assert_eq!(parent(&spans, "first"), Some("test"));
        assert_eq!(parent(&spans, "last"), Some("test"));
    }
}
