//! `Arc` and `Box` of an implementation are one too, of every trait.

use std::sync::Arc;

use crate::clock::Clock;
use crate::span::{SpanRecord, SpanSink};
use crate::time::Timestamp;

/// Implements a trait for both pointers; the methods are written once.
macro_rules! forward {
    ($(#[$attribute:meta])? $trait:ident { $($methods:tt)* }) => {
        forward!(@ Arc $(#[$attribute])? $trait { $($methods)* });
        forward!(@ Box $(#[$attribute])? $trait { $($methods)* });
    };
    (@ $pointer:ident $(#[$attribute:meta])? $trait:ident { $($methods:tt)* }) => {
        $(#[$attribute])?
        impl<T: $trait + ?Sized> $trait for $pointer<T> {
            $($methods)*
        }
    };
}

#[cfg(feature = "engine")]
mod engine;

forward!(Clock {
    fn now(&self) -> Timestamp {
        (**self).now()
    }
});

forward!(SpanSink {
    fn record(&self, span: SpanRecord) {
        (**self).record(span);
    }
});
