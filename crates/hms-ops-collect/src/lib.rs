//! Brings samples and spans in from outside: scraping, parsers, the ingest routes.

mod client;
pub mod exposition;
pub mod otlp;
pub mod registry;
pub mod scrape;

pub use client::ClientError;
