//! HMS-OPS as a service uses it: embedded, over real sockets, with real runbook processes.

#![allow(clippy::unwrap_used, reason = "tests")]

mod control;
mod embedded;
#[cfg(feature = "exporter-prometheus")]
mod exporter;
mod healing;
#[cfg(feature = "store-tsdb")]
mod history;
mod ledger_away;

hms_ops::test_entry!();
