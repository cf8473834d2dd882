//! Spans of this process: switched on, drained, and handed on.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

#[cfg(feature = "alert")]
mod collect;
#[cfg(feature = "alert")]
mod export;
#[cfg(not(feature = "alert"))]
#[path = "spans/no_export.rs"]
mod export;

#[cfg(feature = "alert")]
pub(crate) use collect::Collecting;

use crate::Error;
use crate::core::span::{SpanRecord, SpanSink};

/// How often finished spans are collected.
const DRAIN_EVERY: Duration = Duration::from_millis(250);

/// Sends the spans of an agent to its engine.
#[derive(Debug)]
pub(crate) struct Sending {
    draining: Option<Draining>,
    exporter: Option<export::Exporter>,
}

impl Sending {
    pub(crate) fn start(service: Option<&str>, engine: Option<&str>) -> Result<Self, Error> {
        let Some(engine) = engine else { return Ok(Self { draining: None, exporter: None }) };
        let exporter = export::Exporter::start(engine)?;
        let sink = exporter.sink();
        let draining = Draining::start(service, move |spans: Vec<SpanRecord>| {
            spans.into_iter().for_each(|span| sink.record(span));
            std::future::ready(())
        });
        Ok(Self { draining: Some(draining), exporter: Some(exporter) })
    }

    pub(crate) async fn shutdown(&mut self) {
        if let Some(draining) = self.draining.take() {
            draining.shutdown().await;
        }
        if let Some(exporter) = self.exporter.take() {
            exporter.shutdown().await;
        }
    }
}

/// Collects the finished spans of this process. There should be one in a process.
#[derive(Debug)]
pub(crate) struct Draining {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Draining {
    /// Switches spans on, and hands them to `take` as they end.
    pub(crate) fn start<F: Future<Output = ()> + Send>(
        service: Option<&str>,
        take: impl Fn(Vec<SpanRecord>) -> F + Send + 'static,
    ) -> Self {
        if let Some(service) = service {
            hms_ops_trace::set_service(service.to_owned());
        }
        hms_ops_trace::enable(true);
        let (stop, mut stopped) = watch::channel(false);
        let task = tokio::spawn(async move {
            let mut last = false;
            while !last {
                last = tokio::time::timeout(DRAIN_EVERY, stopped.wait_for(|s| *s)).await.is_ok();
                let mut spans = Vec::new();
                hms_ops_trace::drain(&mut spans);
                if !spans.is_empty() {
                    take(spans).await;
                }
            }
        });
        Self { stop, task }
    }

    /// Collects once more, and joins.
    pub(crate) async fn shutdown(self) {
        self.stop.send_replace(true);
        let _ = self.task.await;
    }
}

/// Where others in this process hand in their spans, such as the router.
#[cfg_attr(not(feature = "mesh-in-process"), expect(dead_code, reason = "only the router does"))]
pub(crate) fn sink() -> Option<Arc<dyn SpanSink>> {
    Some(Arc::new(hms_ops_trace::GlobalSink))
}
