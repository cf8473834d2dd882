//! What a user sees of rules, engine and notifiers.

#![allow(clippy::unwrap_used, reason = "tests")]

mod conformance;
mod delivery;
mod incident;
