//! Sends spans by OTLP.

use std::time::Duration;

use hms_ops_collect::otlp::{ExporterOptions, SpanExporter};

use crate::Error;
use crate::core::span::SpanSink;

/// How long the last spans may take to be sent.
const LAST_SPANS: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Exporter(SpanExporter);

impl Exporter {
    pub(super) fn start(engine: &str) -> Result<Self, Error> {
        SpanExporter::start(engine, ExporterOptions::default()).map(Self).map_err(Error::setup)
    }

    pub(super) fn sink(&self) -> impl SpanSink + use<> {
        self.0.sink()
    }

    pub(super) async fn shutdown(self) {
        let lost = self.0.shutdown(LAST_SPANS).await;
        if lost > 0 {
            tracing::warn!(lost, "spans were not sent to the engine");
        }
    }
}
