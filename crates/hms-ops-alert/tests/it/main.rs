//! What a user sees of rules, engine and notifiers.

#![allow(clippy::unwrap_used, reason = "tests")]

mod conformance;
mod hook;
mod incident;
mod outbox;
#[cfg(all(
    feature = "notify-alertmanager",
    feature = "notify-ntfy",
    feature = "notify-pagerduty",
    feature = "notify-slack",
    feature = "tls"
))]
mod receivers;
