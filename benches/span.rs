//! What `#[trace]` adds to a call, beside fastrace. Informative: this release promises nothing.
//!
//! A batch is ten traces of a root and a hundred calls. What collects the spans runs off the clock:
//! ours after each batch, fastrace's in a thread of its own.

use std::hint::black_box;
use std::time::Duration;

use fastrace::collector::{Config, Reporter, SpanContext, SpanRecord};
use fastrace::local::LocalSpan;
use hms_ops_benches::{Case, Report, allocations, compare};
use hms_ops_macros::trace;
use hms_ops_trace::Span;

const TRACES: usize = 10;
const CALLS: usize = 100;

fn main() {
    hms_ops_trace::enable(true);
    let config = Config::default().report_interval(Duration::from_millis(10));
    fastrace::set_reporter(Nobody, config);

    let calls = TRACES * CALLS;
    let case = |name, batch: fn()| Case::new(name, calls, batch).after(collect);
    let on = compare(&[
        case("#[trace]", || ours(|| each(traced))),
        case("fastrace", || theirs(|| each(fast))),
        case("not traced, in a span", || ours(|| each(plain))),
    ]);
    let with_field = compare(&[
        case("#[trace(fields(n))]", || ours(|| each(traced_with_field))),
        case("fastrace", || theirs(|| each(fast_with_field))),
    ]);
    let futures = compare(&[
        case("#[trace]", || ours(|| block_on(async || await_each(traced_future).await))),
        case("fastrace", || theirs(|| block_on(async || await_each(fast_future).await))),
    ]);
    let allocated = allocations(|| ours(|| each(traced))) as f64 / calls as f64;
    collect();

    hms_ops_trace::enable(false);
    let off = compare(&[
        case("#[trace]", || (0..TRACES).for_each(|_| each(traced))),
        case("fastrace, no parent", || (0..TRACES).for_each(|_| each(fast))),
        case("not traced", || (0..TRACES).for_each(|_| each(plain))),
    ]);

    let mut report = Report::new("span", env!("CARGO_TARGET_TMPDIR"));
    report.group_with_allocations("a function", &on, &[allocated]);
    report.group("a function, one field", &with_field);
    report.group("an async function", &futures);
    report.group("a function, spans off", &off);
    report.finish();
}

#[inline(never)]
fn plain(n: u64) -> u64 {
    n.wrapping_mul(3)
}

#[trace(crate = hms_ops_trace)]
#[inline(never)]
fn traced(n: u64) -> u64 {
    n.wrapping_mul(3)
}

#[trace(crate = hms_ops_trace, fields(n))]
#[inline(never)]
fn traced_with_field(n: u64) -> u64 {
    n.wrapping_mul(3)
}

#[trace(crate = hms_ops_trace)]
async fn traced_future(n: u64) -> u64 {
    n.wrapping_mul(3)
}

#[fastrace::trace]
#[inline(never)]
fn fast(n: u64) -> u64 {
    n.wrapping_mul(3)
}

#[inline(never)]
fn fast_with_field(n: u64) -> u64 {
    let _span = LocalSpan::enter_with_local_parent("fast_with_field")
        .with_property(|| ("n", n.to_string()));
    n.wrapping_mul(3)
}

#[fastrace::trace]
async fn fast_future(n: u64) -> u64 {
    n.wrapping_mul(3)
}

fn each(f: impl Fn(u64) -> u64) {
    (0..CALLS as u64).for_each(|n| {
        black_box(f(black_box(n)));
    });
}

async fn await_each<F: Future<Output = u64>>(f: impl Fn(u64) -> F) {
    for n in 0..CALLS as u64 {
        black_box(f(black_box(n)).await);
    }
}

/// Polls once: nothing here waits.
fn block_on<F: Future>(future: impl FnOnce() -> F) {
    use std::task::{Context, Waker};
    let poll = std::pin::pin!(future()).poll(&mut Context::from_waker(Waker::noop()));
    assert!(poll.is_ready());
}

fn ours(calls: impl Fn()) {
    for _ in 0..TRACES {
        let _root = Span::new("root").enter();
        calls();
    }
}

fn theirs(calls: impl Fn()) {
    for _ in 0..TRACES {
        let root = fastrace::Span::root("root", SpanContext::random());
        let _current = root.set_local_parent();
        calls();
    }
}

fn collect() {
    let mut spans = Vec::with_capacity(TRACES * (CALLS + 1));
    hms_ops_trace::drain(&mut spans);
    black_box(spans);
}

/// Takes fastrace's spans and does nothing with them.
struct Nobody;

impl Reporter for Nobody {
    fn report(&mut self, spans: Vec<SpanRecord>) {
        black_box(spans);
    }
}
