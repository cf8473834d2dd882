//! Spans that have begun and not ended.

use std::borrow::Cow;
use std::marker::PhantomData;
use std::time::Duration;

use hms_ops_core::clock::SystemClock;
use hms_ops_core::span::{SpanContext, SpanKind, SpanRecord, SpanStatus};

use crate::attribute::IntoAttribute;
use crate::callsite::Callsite;
use crate::context::{Entered, current, enter, leave};
use crate::future::Instrumented;
use crate::sink::{self, Ended, is_enabled};

/// A span that has begun. It ends when it is dropped.
///
/// It is not current by itself: [`Span::enter`] makes it current for a scope, [`Span::wrap`] for a
/// future. While spans are not recorded it is empty, and every method does nothing.
///
/// ```
/// use hms_ops_trace::{Span, SpanKind};
///
/// let mut span = Span::new("charge").with_kind(SpanKind::Client).with("amount", 12.5).enter();
/// span.set("currency", "EUR");
/// ```
#[derive(Debug)]
#[must_use = "a span ends when it is dropped: `enter` it, or `wrap` a future in it"]
pub struct Span(Option<Box<Open>>);

#[derive(Debug)]
struct Open {
    ended: Ended,
    sampled: bool,
    /// What was current before a guard entered it; here, so that a guard is as small as a span.
    previous: Option<SpanContext>,
    // A span that begins while a panic unwinds has not panicked itself.
    unwinding: bool,
}

impl Span {
    /// Begins a span, as a child of the current one or as the first of a new trace.
    pub fn new(name: impl Into<Cow<'static, str>>) -> Self {
        Self(is_enabled().then(|| Open::begin(name.into(), None)))
    }

    /// As [`Span::new`], with the callsite's name; what is recorded says where that is.
    #[inline]
    pub fn at(callsite: &'static Callsite) -> Self {
        let begin = || Open::begin(Cow::Borrowed(callsite.name()), Some(callsite));
        Self(is_enabled().then(begin))
    }

    /// Makes the span a child of `parent`, such as one in another process.
    ///
    /// Whether `parent` is sampled is passed on; it is recorded either way.
    pub fn with_parent(mut self, parent: SpanContext) -> Self {
        if let Some(open) = &mut self.0 {
            open.ended.record.trace_id = parent.trace_id;
            open.ended.record.parent_id = Some(parent.span_id);
            open.sampled = parent.sampled;
        }
        self
    }

    /// Says what part it plays in a call between processes.
    pub fn with_kind(mut self, kind: SpanKind) -> Self {
        if let Some(open) = &mut self.0 {
            open.ended.record.kind = kind;
        }
        self
    }

    /// Adds an attribute, see [`Span::set`].
    pub fn with(mut self, key: impl Into<Cow<'static, str>>, value: impl IntoAttribute) -> Self {
        self.set(key, value);
        self
    }

    /// Sets an attribute; one with the same key is replaced.
    pub fn set(&mut self, key: impl Into<Cow<'static, str>>, value: impl IntoAttribute) {
        let Some(open) = &mut self.0 else { return };
        let (key, value) = (key.into(), value.into_attribute());
        let attributes = &mut open.ended.record.attributes;
        match attributes.iter_mut().find(|(known, _)| *known == key) {
            Some((_, old)) => *old = value,
            None => attributes.push((key, value)),
        }
    }

    /// Says how it ends.
    pub fn set_status(&mut self, status: SpanStatus) {
        if let Some(open) = &mut self.0 {
            open.ended.record.status = status;
        }
    }

    /// Whether it is recorded; if not, attributes need not be made.
    #[inline]
    pub fn is_recording(&self) -> bool {
        self.0.is_some()
    }

    /// Makes it current until the guard is dropped, which ends it.
    ///
    /// Not in `async` code: at an `.await` the thread goes on with other work, which would seem to
    /// be this span's. Use [`Span::wrap`] there.
    #[inline]
    pub fn enter(mut self) -> SpanGuard {
        if let Some(open) = &mut self.0 {
            open.previous = enter(open.context());
        }
        SpanGuard { span: self, not_send: PhantomData }
    }

    /// Makes it current whenever `future` runs, and ends it when `future` completes.
    ///
    /// Its parent is the span that is current here, also when the future is then spawned elsewhere.
    pub fn wrap<F: Future>(self, future: F) -> Instrumented<F> {
        self.wrap_with(future, |_: &mut Self, _: &F::Output| {})
    }

    /// As [`Span::wrap`]; `end` is called with what `future` returns, and may say how the span
    /// ended.
    pub fn wrap_with<F, E>(self, future: F, end: E) -> Instrumented<F, E>
    where
        F: Future,
        E: FnOnce(&mut Self, &F::Output),
    {
        Instrumented::new(self, future, end)
    }

    /// Makes it current while what this returns lives.
    #[inline]
    pub(crate) fn entered(&self) -> Option<Entered> {
        self.0.as_ref().map(|open| Entered::new(open.context()))
    }

    /// Notes that it panicked, where a panic unwinds that began within it, and says whether.
    #[inline]
    pub(crate) fn notice_panic(&mut self) -> bool {
        let Some(open) = &mut self.0 else { return false };
        let panicked = !open.unwinding && std::thread::panicking();
        if panicked {
            open.ended.record.status = SpanStatus::Error(Cow::Borrowed("panicked"));
        }
        panicked
    }

    /// Records it, unless that was done.
    #[inline]
    pub(crate) fn end(&mut self) {
        if let Some(open) = self.0.take() {
            open.end();
        }
    }
}

impl Drop for Span {
    #[inline]
    fn drop(&mut self) {
        self.end();
    }
}

impl Open {
    #[inline(never)]
    fn begin(name: Cow<'static, str>, callsite: Option<&'static Callsite>) -> Box<Self> {
        let parent = current();
        let context = parent.map_or_else(SpanContext::root, |parent| parent.child());
        Box::new(Self {
            ended: Ended {
                record: SpanRecord {
                    trace_id: context.trace_id,
                    span_id: context.span_id,
                    parent_id: parent.map(|parent| parent.span_id),
                    service: Cow::Borrowed(""),
                    name,
                    kind: SpanKind::Internal,
                    start_ns: SystemClock::unix_nanos(),
                    duration: Duration::ZERO,
                    status: SpanStatus::Unset,
                    attributes: Vec::new(),
                },
                callsite,
            },
            sampled: context.sampled,
            previous: None,
            unwinding: std::thread::panicking(),
        })
    }

    fn context(&self) -> SpanContext {
        let SpanRecord { trace_id, span_id, .. } = self.ended.record;
        SpanContext { trace_id, span_id, sampled: self.sampled }
    }

    #[inline(never)]
    fn end(mut self: Box<Self>) {
        let record = &mut self.ended.record;
        let took = SystemClock::unix_nanos().saturating_sub(record.start_ns);
        record.duration = Duration::from_nanos(took);
        sink::push(self.ended);
    }
}

/// Keeps a span current; it ends when this is dropped. Not to be held across an `.await`.
///
/// Guards are dropped in the reverse of the order in which they were made, as local variables are.
#[derive(Debug)]
#[must_use = "the span ends when the guard is dropped"]
pub struct SpanGuard {
    span: Span,
    // What is current is this thread's.
    not_send: PhantomData<*const ()>,
}

impl SpanGuard {
    /// Whether the span is recorded; if not, attributes need not be made.
    #[inline]
    pub fn is_recording(&self) -> bool {
        self.span.is_recording()
    }

    /// Sets an attribute; one with the same key is replaced.
    pub fn set(&mut self, key: impl Into<Cow<'static, str>>, value: impl IntoAttribute) {
        self.span.set(key, value);
    }

    /// Says how the span ends.
    #[inline]
    pub fn set_status(&mut self, status: SpanStatus) {
        self.span.set_status(status);
    }
}

impl Drop for SpanGuard {
    #[inline]
    fn drop(&mut self) {
        if let Some(open) = &self.span.0 {
            leave(open.previous);
            self.span.notice_panic();
        }
    }
}
