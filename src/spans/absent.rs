//! A build without spans.

use crate::Error;

/// Nowhere.
#[cfg_attr(not(feature = "mesh-in-process"), expect(dead_code, reason = "only the router asks"))]
pub(crate) fn sink() -> Option<std::sync::Arc<dyn crate::core::span::SpanSink>> {
    None
}

/// Nothing to send.
#[derive(Debug)]
pub(crate) struct Sending;

impl Sending {
    pub(crate) fn start(_service: Option<&str>, engine: Option<&str>) -> Result<Self, Error> {
        match engine {
            Some(_) => Err(Error::setup("sending spans to an engine needs the feature `trace`")),
            None => Ok(Self),
        }
    }

    pub(crate) async fn shutdown(&mut self) {}
}

#[cfg(feature = "alert")]
#[path = "no_collect.rs"]
mod collect;
#[cfg(feature = "alert")]
pub(crate) use collect::Collecting;
