//! Which span is current on this thread.

use std::cell::Cell;
use std::marker::PhantomData;

use hms_ops_core::span::SpanContext;

thread_local! {
    static CURRENT: Cell<Option<SpanContext>> = const { Cell::new(None) };
}

/// The span that this code runs in; `None` outside of any, and while spans are not recorded.
///
/// This is what a call to another process carries, and the parent of a span that begins here.
#[inline]
pub fn current() -> Option<SpanContext> {
    CURRENT.get()
}

/// Makes a span current, and returns the one that was.
#[inline]
pub(crate) fn enter(context: SpanContext) -> Option<SpanContext> {
    CURRENT.replace(Some(context))
}

/// Makes current again what was before [`enter`], on the same thread.
#[inline]
pub(crate) fn leave(previous: Option<SpanContext>) {
    CURRENT.set(previous);
}

/// A span that is current while this lives.
#[derive(Debug)]
pub(crate) struct Entered {
    previous: Option<SpanContext>,
    // The previous context is this thread's.
    not_send: PhantomData<*const ()>,
}

impl Entered {
    #[inline]
    pub(crate) fn new(context: SpanContext) -> Self {
        Self { previous: enter(context), not_send: PhantomData }
    }
}

impl Drop for Entered {
    #[inline]
    fn drop(&mut self) {
        leave(self.previous);
    }
}
