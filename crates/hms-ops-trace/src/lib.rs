//! The span runtime: records spans with their parents and carries their context between processes.
//!
//! A span is a child of the one that is current where it begins. `#[trace]` makes one for every
//! call of a function; [`in_span`], [`server_span`] and [`Span`] make them by hand. It costs next
//! to nothing until [`enable`] is called, and needs no async runtime.
//!
//! Ended spans wait in memory, within bounds, until a collector fetches them with [`drain`].
//!
//! ```
//! hms_ops_trace::enable(true);
//!
//! {
//!     let _outer = hms_ops_trace::Span::new("pay").with("parts", 2).enter();
//!     let _inner = hms_ops_trace::Span::new("settle").enter();
//! }
//!
//! let mut spans = Vec::new();
//! hms_ops_trace::drain(&mut spans);
//! assert_eq!(spans[0].name, "settle");
//! assert_eq!(spans[0].parent_id, Some(spans[1].span_id));
//! ```

mod attribute;
mod callsite;
mod context;
mod future;
mod output;
#[cfg(feature = "http")]
pub mod propagation;
mod sink;
mod span;
mod text;

pub use attribute::IntoAttribute;
pub use callsite::Callsite;
pub use context::current;
pub use future::{Instrumented, in_span, server_span};
pub use hms_ops_core::span::{AttributeValue, SpanContext, SpanKind, SpanStatus};
pub use sink::{GlobalSink, drain, dropped, enable, is_enabled, set_service};
pub use span::{Span, SpanGuard};

/// What `#[trace]` expands to; not for use by hand.
#[doc(hidden)]
pub mod __private {
    pub mod trace {
        pub use crate::output::{
            AnyOutput, DebugError, DisplayError, OtherError, Output, call, display,
        };
        pub use crate::{Callsite, Span, SpanKind};
    }
}
