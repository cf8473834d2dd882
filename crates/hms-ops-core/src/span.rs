//! Spans: their ids, their context between processes, and the record of a finished one.
//!
//! Source: W3C Trace Context, level 2, section 3 (`traceparent`).

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::random::next_u64;

/// The header that carries a span context by the W3C's specification.
pub const TRACEPARENT: &str = "traceparent";
/// The header that carries the trace id alone, 32 hexadecimal digits. `traceparent` wins over it.
pub const TRACE_ID_HEADER: &str = "x-hms-trace-id";

macro_rules! id {
    ($(#[$doc:meta])* $type:ident, $inner:ty, $digits:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(into = "String", try_from = "String")]
        pub struct $type($inner);

        impl $type {
            /// The id with this value; `None` for zero, which no id has.
            pub const fn new(value: $inner) -> Option<Self> {
                if value == 0 { None } else { Some(Self(value)) }
            }

            /// The value.
            pub const fn get(self) -> $inner {
                self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!("{:0", $digits, "x}"), self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        /// Takes exactly the digits that `Display` writes: lower case, all of them, not all zero.
        impl FromStr for $type {
            type Err = BadId;

            fn from_str(text: &str) -> Result<Self, BadId> {
                let digits = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
                if text.len() != $digits || !digits {
                    return Err(BadId);
                }
                <$inner>::from_str_radix(text, 16).ok().and_then(Self::new).ok_or(BadId)
            }
        }

        impl From<$type> for String {
            fn from(id: $type) -> Self {
                id.to_string()
            }
        }

        impl TryFrom<String> for $type {
            type Error = BadId;

            fn try_from(text: String) -> Result<Self, BadId> {
                text.parse()
            }
        }
    };
}

/// A text that is not a trace or span id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an id: expected lower-case hexadecimal digits, not all zero")]
pub struct BadId;

id! {
    /// Names a trace: 16 bytes, printed as 32 hexadecimal digits, never zero.
    TraceId, u128, 32
}

id! {
    /// Names a span within its trace: 8 bytes, printed as 16 hexadecimal digits, never zero.
    SpanId, u64, 16
}

impl TraceId {
    /// A random id.
    pub fn random() -> Self {
        Self((u128::from(next_u64()) << 64) | u128::from(next_u64() | 1))
    }
}

impl SpanId {
    /// A random id.
    pub fn random() -> Self {
        Self(next_u64() | 1)
    }
}

/// What a span hands to its children, also to those in other processes.
///
/// ```
/// use hms_ops_core::span::SpanContext;
///
/// let header = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// let parent = SpanContext::from_traceparent(header).unwrap();
/// assert_eq!(parent.to_traceparent(), header);
/// assert_eq!(parent.child().trace_id, parent.trace_id);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanContext {
    /// The trace.
    pub trace_id: TraceId,
    /// The span.
    pub span_id: SpanId,
    /// Whether the caller records the trace.
    pub sampled: bool,
}

impl SpanContext {
    /// The context of the first span of a new trace.
    pub fn root() -> Self {
        Self { trace_id: TraceId::random(), span_id: SpanId::random(), sampled: true }
    }

    /// The context of a new span in the same trace.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { span_id: SpanId::random(), ..*self }
    }

    /// Reads a `traceparent` header; `None` when it is malformed, so that a new trace begins.
    ///
    /// A version above `00` may have more fields behind the flags; `ff` is never valid.
    pub fn from_traceparent(header: &str) -> Option<Self> {
        let mut fields = header.split('-');
        let (version, trace_id, span_id, flags) =
            (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let version = hex_byte(version)?;
        if version == 0xff || (version == 0 && fields.next().is_some()) {
            return None;
        }
        let sampled = hex_byte(flags)? & 1 == 1;
        Some(Self { trace_id: trace_id.parse().ok()?, span_id: span_id.parse().ok()?, sampled })
    }

    /// Writes a `traceparent` header of version `00`.
    pub fn to_traceparent(&self) -> String {
        format!("00-{}-{}-{:02x}", self.trace_id, self.span_id, u8::from(self.sampled))
    }

    /// The parent that a request names: `traceparent` where it is valid, else `x-hms-trace-id`,
    /// else none. With the trace id alone, the span id is made up, as the caller's is not known.
    pub fn from_headers(traceparent: Option<&str>, trace_id: Option<&str>) -> Option<Self> {
        traceparent.and_then(Self::from_traceparent).or_else(|| {
            let trace_id = trace_id?.parse().ok()?;
            Some(Self { trace_id, ..Self::root() })
        })
    }
}

fn hex_byte(text: &str) -> Option<u8> {
    let digits = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    (text.len() == 2 && digits).then(|| u8::from_str_radix(text, 16).ok()).flatten()
}

/// A span that has ended.
#[derive(Clone, Debug, PartialEq)]
pub struct SpanRecord {
    /// The trace it belongs to.
    pub trace_id: TraceId,
    /// Its own id.
    pub span_id: SpanId,
    /// The span that caused it; `None` for the first of a trace.
    pub parent_id: Option<SpanId>,
    /// The service that recorded it.
    pub service: Cow<'static, str>,
    /// What was done.
    pub name: Cow<'static, str>,
    /// Its part in a call.
    pub kind: SpanKind,
    /// When it began: nanoseconds since the epoch.
    pub start_ns: u64,
    /// How long it took.
    pub duration: Duration,
    /// How it ended.
    pub status: SpanStatus,
    /// More about it; few, in the order they were set.
    pub attributes: Vec<(Cow<'static, str>, AttributeValue)>,
}

/// The part that a span plays in a call between processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpanKind {
    /// Work within one process.
    #[default]
    Internal,
    /// Answers a call.
    Server,
    /// Makes a call.
    Client,
    /// Sends a message.
    Producer,
    /// Handles a message.
    Consumer,
}

/// How a span ended.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum SpanStatus {
    /// Nobody said.
    #[default]
    Unset,
    /// Well.
    Ok,
    /// Badly, with the reason.
    Error(Cow<'static, str>),
}

/// The value of a span's attribute.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum AttributeValue {
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// A text.
    Text(Cow<'static, str>),
}

/// Takes finished spans as they come; must not block and may drop, counted.
pub trait SpanSink: fmt::Debug + Send + Sync + 'static {
    /// Takes one span.
    fn record(&self, span: SpanRecord);
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_malformed_traceparent_is_refused() {
        for header in [
            "",
            "00",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-extra",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
            "0-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(SpanContext::from_traceparent(header), None, "{header:?}");
        }
    }

    #[test]
    fn a_later_version_may_have_more_fields() {
        let header = "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00-more";
        assert!(!SpanContext::from_traceparent(header).unwrap().sampled);
    }

    #[test]
    fn traceparent_wins_over_the_trace_id_header() {
        let other = "ffffffffffffffffffffffffffffffff";
        let both = SpanContext::from_headers(Some(PARENT), Some(other)).unwrap();
        assert_eq!(both.to_traceparent(), PARENT);
        let alone = SpanContext::from_headers(Some("broken"), Some(other)).unwrap();
        assert_eq!(alone.trace_id.to_string(), other);
        assert_eq!(SpanContext::from_headers(None, Some("nope")), None);
    }
}
