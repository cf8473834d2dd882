//! What becomes of runbooks, good and bad, in processes of their own.

#![allow(clippy::unwrap_used, reason = "tests")]

mod behaviours;
mod conformance;
mod grants;
mod outcomes;
mod protocol;
mod world;

hms_ops_runbook::test_entry!();
