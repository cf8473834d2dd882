//! Behaviour of the collector, through its public API.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod allocations;
mod conformance;
mod exposition;
mod hostile;
mod otlp;
mod scrape;
mod server;
