//! OTLP/HTTP in JSON: spans in and out.
//!
//! Source: *OpenTelemetry Protocol 1.x*, "OTLP/HTTP" and "JSON Protobuf Encoding".

mod export;
mod json;
#[cfg(feature = "http")]
mod routes;

pub use self::export::{ExportSink, ExporterOptions, SpanExporter};
pub use self::json::{OtlpError, decode, encode};
#[cfg(feature = "http")]
pub use self::routes::router;

/// The longest body of one export that is read: 4 MiB.
pub const MAX_BODY_BYTES: usize = 4 << 20;
