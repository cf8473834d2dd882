//! Spans of this process: switched on, drained, and handed on.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
/// How many spans may wait for one taker; the oldest make room.
const MAX_WAITING: usize = 65_536;

/// Every taker of this process: whoever drains, all get the spans.
static INBOXES: Mutex<Vec<Arc<Inbox>>> = Mutex::new(Vec::new());

type Inbox = Mutex<VecDeque<SpanRecord>>;

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

/// Collects the finished spans of this process.
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
        let inbox = Arc::<Inbox>::default();
        lock(&INBOXES).push(inbox.clone());
        let task = tokio::spawn(async move {
            let mut last = false;
            while !last {
                last = tokio::time::timeout(DRAIN_EVERY, stopped.wait_for(|s| *s)).await.is_ok();
                hand_out();
                let spans: Vec<_> = lock(&inbox).drain(..).collect();
                if !spans.is_empty() {
                    take(spans).await;
                }
            }
            lock(&INBOXES).retain(|other| !Arc::ptr_eq(other, &inbox));
        });
        Self { stop, task }
    }

    /// Collects once more, and joins.
    pub(crate) async fn shutdown(self) {
        self.stop.send_replace(true);
        let _ = self.task.await;
    }
}

/// Gives what has ended to every taker.
fn hand_out() {
    let inboxes = lock(&INBOXES);
    let mut spans = Vec::new();
    hms_ops_trace::drain(&mut spans);
    for inbox in &*inboxes {
        let mut inbox = lock(inbox);
        inbox.extend(spans.iter().cloned());
        let over = inbox.len().saturating_sub(MAX_WAITING);
        inbox.drain(..over);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where others in this process hand in their spans, such as the router.
#[cfg_attr(not(feature = "mesh-in-process"), expect(dead_code, reason = "only the router does"))]
pub(crate) fn sink() -> Option<Arc<dyn SpanSink>> {
    Some(Arc::new(hms_ops_trace::GlobalSink))
}
