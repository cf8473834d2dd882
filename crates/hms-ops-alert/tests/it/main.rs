//! What a user sees of rules, engine and notifiers.

#![allow(clippy::unwrap_used, reason = "tests")]

#[cfg(feature = "notify-alertmanager")]
mod alertmanager;
mod conformance;
mod delivery;
mod hook;
mod incident;
mod outbox;
mod tls;
