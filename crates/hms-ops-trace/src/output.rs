//! What a traced function's return value says of its span.
//!
//! Method resolution takes the first trait that fits, counted from the outermost reference: so
//! `(&&&&Output(&value)).status()` finds the most that can be said of `value` without the user's
//! error having to implement anything. Public for the expansion of `#[trace]` alone.

use std::borrow::Cow;
use std::fmt::{Debug, Display};

use hms_ops_core::span::{AttributeValue, SpanStatus};

use crate::text::cut;

/// What a function returned.
#[derive(Debug)]
pub struct Output<'a, T>(pub &'a T);

/// Of a `Result` whose error has `Display`.
pub trait DisplayError {
    /// Bad when it is an error, with its text.
    fn status(&self) -> SpanStatus;
}

impl<T, E: Display> DisplayError for &&&Output<'_, Result<T, E>> {
    fn status(&self) -> SpanStatus {
        failed(self.0, |e| Cow::Owned(cut(format_args!("{e}"))))
    }
}

/// Of a `Result` whose error has `Debug`.
pub trait DebugError {
    /// Bad when it is an error, with its text.
    fn status(&self) -> SpanStatus;
}

impl<T, E: Debug> DebugError for &&Output<'_, Result<T, E>> {
    fn status(&self) -> SpanStatus {
        failed(self.0, |e| Cow::Owned(cut(format_args!("{e:?}"))))
    }
}

/// Of any other `Result`.
pub trait OtherError {
    /// Bad when it is an error.
    fn status(&self) -> SpanStatus;
}

impl<T, E> OtherError for &Output<'_, Result<T, E>> {
    fn status(&self) -> SpanStatus {
        failed(self.0, |_| Cow::Borrowed("error"))
    }
}

/// Of any other value.
pub trait AnyOutput {
    /// Nothing is said.
    fn status(&self) -> SpanStatus;
}

impl<T> AnyOutput for Output<'_, T> {
    fn status(&self) -> SpanStatus {
        SpanStatus::Unset
    }
}

fn failed<T, E>(result: &Result<T, E>, reason: fn(&E) -> Cow<'static, str>) -> SpanStatus {
    match result {
        Ok(_) => SpanStatus::Unset,
        Err(e) => SpanStatus::Error(reason(e)),
    }
}

/// Calls `body`; that it takes an `FnOnce` lets the body return what it borrows from arguments.
#[inline]
pub fn call<T>(body: impl FnOnce() -> T) -> T {
    body()
}

/// What `value` prints, cut to 256 bytes.
pub fn display(value: &impl Display) -> AttributeValue {
    AttributeValue::Text(Cow::Owned(cut(format_args!("{value}"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    macro_rules! status {
        ($value:expr) => {
            (&&&&Output(&$value)).status()
        };
    }

    #[derive(Debug)]
    struct OnlyDebug;

    struct Neither;

    #[test]
    fn an_error_is_told_as_well_as_it_can_be() {
        let failed = |reason: &'static str| SpanStatus::Error(reason.into());
        assert_eq!(status!(Err::<u8, _>("broken")), failed("broken"));
        assert_eq!(status!(Err::<u8, _>(OnlyDebug)), failed("OnlyDebug"));
        assert_eq!(status!(Err::<u8, _>(Neither)), failed("error"));
        assert_eq!(status!(Ok::<_, Neither>(1)), SpanStatus::Unset);
        assert_eq!(status!(7), SpanStatus::Unset);
        assert_eq!(status!(Neither), SpanStatus::Unset);
    }

    #[test]
    fn an_unknown_error_is_still_an_error() {
        fn of<E>(result: Result<(), E>) -> SpanStatus {
            status!(result)
        }
        assert_eq!(of(Err(Neither)), SpanStatus::Error("error".into()));
    }
}
