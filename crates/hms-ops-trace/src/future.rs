//! Futures in spans.

use std::borrow::Cow;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use hms_ops_core::span::{SpanContext, SpanKind};
use pin_project_lite::pin_project;

use crate::span::Span;

/// Runs `future` in a span of its own, within `parent` or else within the current span.
///
/// The current span is that of the call, so that what is spawned stays in its trace:
/// `spawn(in_span("refresh", None, refresh()))`. A future that is spawned bare begins a new trace.
pub fn in_span<F: Future>(
    name: impl Into<Cow<'static, str>>,
    parent: Option<SpanContext>,
    future: F,
) -> Instrumented<F> {
    begin(name, parent).wrap(future)
}

/// As [`in_span`], for the answer to a call; `parent` is what the caller sent.
///
/// ```
/// use hms_ops_trace::{SpanContext, current, server_span};
///
/// # async fn page() -> Option<SpanContext> { current() }
/// # async fn serve() {
/// let caller = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// let answer = server_span("GET /claims", SpanContext::from_traceparent(caller), page()).await;
/// # }
/// ```
pub fn server_span<F: Future>(
    name: impl Into<Cow<'static, str>>,
    parent: Option<SpanContext>,
    future: F,
) -> Instrumented<F> {
    begin(name, parent).with_kind(SpanKind::Server).wrap(future)
}

fn begin(name: impl Into<Cow<'static, str>>, parent: Option<SpanContext>) -> Span {
    let span = Span::new(name);
    match parent {
        Some(parent) => span.with_parent(parent),
        None => span,
    }
}

/// What [`Span::wrap`] calls when the future completes: nothing.
type Nothing<F> = fn(&mut Span, &<F as Future>::Output);

pin_project! {
    /// A future in a span, made by [`Span::wrap`].
    ///
    /// The span is current during each poll and not between them. It ends when the future
    /// completes; with an error when the future panics; with the attribute `cancelled` when it is
    /// dropped before either.
    #[must_use = "futures do nothing unless they are awaited"]
    pub struct Instrumented<F: Future, E = Nothing<F>> {
        // `None` once it is over.
        #[pin]
        future: Option<F>,
        span: Span,
        end: Option<E>,
    }

    impl<F: Future, E> PinnedDrop for Instrumented<F, E> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if this.future.is_some() {
                let _entered = this.span.entered();
                this.future.set(None);
                this.span.set("cancelled", true);
                this.span.end();
            }
        }
    }
}

impl<F: Future, E> Instrumented<F, E> {
    pub(crate) fn new(span: Span, future: F, end: E) -> Self {
        Self { future: Some(future), span, end: Some(end) }
    }
}

impl<F, E> Future for Instrumented<F, E>
where
    F: Future,
    E: FnOnce(&mut Span, &F::Output),
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        let _entered = this.span.entered();
        let running = Running(this.span);
        let future = this.future.as_mut().as_pin_mut().expect("polled after it completed");
        let Poll::Ready(output) = future.poll(cx) else { return Poll::Pending };

        // First, as what it holds may end spans of its own.
        this.future.set(None);
        if let Some(end) = this.end.take().filter(|_| running.0.is_recording()) {
            end(running.0, &output);
        }
        running.0.end();
        Poll::Ready(output)
    }
}

/// A span during a poll, which may panic.
struct Running<'a>(&'a mut Span);

impl Drop for Running<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.0.notice_panic() {
            self.0.end();
        }
    }
}

impl<F: Future + fmt::Debug, E> fmt::Debug for Instrumented<F, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { future, span, .. } = self;
        f.debug_struct("Instrumented").field("future", future).field("span", span).finish()
    }
}
