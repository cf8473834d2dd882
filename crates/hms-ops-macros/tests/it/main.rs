//! What `#[runbook]` and `#[hms_ops::main]` make of a function.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod entry;
mod runbooks;

/// Stands in for `hms_ops`, which depends on the macros.
mod ops {
    use std::cell::Cell;

    thread_local! {
        pub(crate) static ENTERED: Cell<bool> = const { Cell::new(false) };
    }

    pub(crate) fn enter() {
        ENTERED.set(true);
    }

    pub(crate) mod __private {
        pub(crate) use hms_ops_core as core;
        pub(crate) use hms_ops_core::inventory;

        pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
            tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
        }

        pub(crate) use block_on as block_on_current_thread;
    }
}
