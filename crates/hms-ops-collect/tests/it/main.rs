//! Behaviour of the collector, through its public API.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod allocations;
#[cfg(feature = "http")]
mod broken_store;
mod conformance;
#[cfg(feature = "prometheus-config")]
mod discovery;
mod exposition;
mod hostile;
mod otlp;
mod otlp_metrics;
#[cfg(feature = "http")]
mod remote;
#[cfg(feature = "remote-store")]
mod remote_store;
#[cfg(all(feature = "prometheus-config", feature = "remote-store", feature = "tls"))]
mod remote_store_tls;
mod scrape;
#[cfg(feature = "prometheus-config")]
mod scrape_config;
mod server;
#[cfg(all(feature = "prometheus-config", feature = "tls"))]
mod tls;
