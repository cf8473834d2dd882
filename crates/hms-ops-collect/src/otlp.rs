//! OTLP/HTTP: spans in and out in JSON, metrics in, in JSON and protobuf.
//!
//! Source: *OpenTelemetry Protocol 1.x*, "OTLP/HTTP" and "JSON Protobuf Encoding".

mod common;
mod export;
mod json;
mod metrics;
#[cfg(feature = "http")]
mod routes;

pub use self::export::{ExportSink, ExporterOptions, SpanExporter};
pub use self::json::{OtlpError, decode, encode};
#[cfg(feature = "http")]
pub use self::metrics::metrics_router;
pub use self::metrics::{
    Encoding, MAX_METRICS_BODY_BYTES, MAX_SAMPLES, MetricsError, MetricsReceiver, Refused,
};
#[cfg(feature = "http")]
pub use self::routes::router;

/// A body of more bytes is read off the executor, which it would hold up.
const LONG_BYTES: usize = 1 << 20;
/// The longest body of one export of spans that is read: 4 MiB.
pub const MAX_BODY_BYTES: usize = 4 << 20;
