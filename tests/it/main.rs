//! HMS-OPS as a service uses it: embedded, over real sockets, with real runbook processes.

#![allow(clippy::unwrap_used, reason = "tests")]

#[cfg(any(feature = "api-prometheus", feature = "dashboard"))]
mod access;
#[cfg(feature = "api-prometheus")]
mod api;
mod control;
mod embedded;
#[cfg(any(feature = "api-prometheus", feature = "dashboard"))]
mod events;
#[cfg(feature = "exporter-prometheus")]
mod exporter;
mod healing;
#[cfg(feature = "store-tsdb")]
mod history;
mod ledger_away;
#[cfg(feature = "api-prometheus")]
mod peers;
#[cfg(all(feature = "api-prometheus", feature = "prometheus-config"))]
mod reload;
#[cfg(feature = "store-prometheus")]
mod remote;
#[cfg(all(feature = "api-prometheus", feature = "store-prometheus"))]
mod remote_api;
mod replay;
#[cfg(feature = "ledger-file")]
mod restart;
#[cfg(feature = "api-prometheus")]
mod storm;

hms_ops::test_entry!();
