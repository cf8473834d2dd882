//! HMS-OPS as a service uses it: embedded, over real sockets, with real runbook processes.

#![allow(clippy::unwrap_used, reason = "tests")]

mod embedded;
mod healing;

hms_ops::test_entry!();
