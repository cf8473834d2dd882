//! The suites pass for what keeps a contract, and fail for what breaks one promise of it.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::panic::{AssertUnwindSafe, catch_unwind};

mod control;
mod ledger;
mod mesh;
mod notifier;
mod rule;
mod runbook;
mod store;

/// Whether a case fails; time stands still for it, so that its patience costs none.
fn fails(case: impl Future<Output = ()>) -> bool {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().unwrap();
    catch_unwind(AssertUnwindSafe(|| runtime.block_on(case))).is_err()
}
