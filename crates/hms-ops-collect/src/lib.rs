//! Brings samples and spans in from outside: scraping, parsers, the ingest routes.

#[cfg(feature = "http")]
mod body;
mod client;
#[cfg(feature = "prometheus-config")]
pub mod discovery;
pub mod exposition;
#[doc(hidden)]
pub mod fuzzing;
pub mod otlp;
mod protobuf;
pub mod registry;
pub mod remote;
#[cfg(feature = "remote-store")]
pub mod remote_store;
pub mod scrape;
#[cfg(feature = "prometheus-config")]
pub mod scrape_config;
mod series_cache;

pub use client::ClientError;
