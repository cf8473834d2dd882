//! Sends spans to an engine, in batches, from a task of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use hms_ops_core::random;
use hms_ops_core::span::{SpanRecord, SpanSink};
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::encode;
use crate::client::{ClientError, Endpoint};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// An engine answers with a few bytes.
const MAX_ANSWER_BYTES: usize = 64 << 10;

/// How a [`SpanExporter`] batches and waits.
#[derive(Clone, Debug)]
pub struct ExporterOptions {
    /// Spans that may wait to be sent; further ones are dropped. 8,192.
    pub queue: usize,
    /// Spans in one request. 512.
    pub batch: usize,
    /// How long a batch waits to fill up. 1 s.
    pub linger: Duration,
    /// How long one request may take. 10 s.
    pub timeout: Duration,
}

impl Default for ExporterOptions {
    fn default() -> Self {
        let (linger, timeout) = (Duration::from_secs(1), Duration::from_secs(10));
        Self { queue: 8192, batch: 512, linger, timeout }
    }
}

/// Sends spans to an engine by OTLP/HTTP JSON.
///
/// A batch is tried again, after growing pauses, until the engine takes it or says that it never
/// will; what comes meanwhile waits in the bounded queue. Owns its task: dropped without
/// [`SpanExporter::shutdown`], it ends at once.
///
/// ```
/// use std::time::Duration;
/// use hms_ops_collect::otlp::{ExporterOptions, SpanExporter};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), hms_ops_collect::ClientError> {
/// let exporter = SpanExporter::start("http://127.0.0.1:9110", ExporterOptions::default())?;
/// let sink = exporter.sink(); // a `SpanSink`, for whatever records spans
/// let lost = exporter.shutdown(Duration::from_secs(5)).await;
/// assert_eq!(lost, 0);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct SpanExporter {
    sink: ExportSink,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

/// Hands spans to a [`SpanExporter`]; never blocks.
#[derive(Clone, Debug)]
pub struct ExportSink {
    queue: mpsc::Sender<SpanRecord>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    sent: AtomicU64,
    dropped: AtomicU64,
    /// Taken and neither sent nor dropped yet.
    waiting: AtomicU64,
}

struct Task {
    endpoint: Endpoint,
    options: ExporterOptions,
    queue: mpsc::Receiver<SpanRecord>,
    /// `None` once it has been heard.
    stop: Option<oneshot::Receiver<()>>,
    counts: Arc<Counts>,
}

impl SpanExporter {
    /// Starts to send to `url`: `http://host:port`, to which `/v1/traces` is added, or with a path
    /// of its own. Must be called within a Tokio runtime.
    ///
    /// # Errors
    ///
    /// [`ClientError::Url`], [`ClientError::Tls`] or [`ClientError::Credentials`].
    pub fn start(url: &str, options: ExporterOptions) -> Result<Self, ClientError> {
        let mut endpoint: Endpoint = url.parse()?;
        if endpoint.has_no_path() {
            endpoint = format!("{}/v1/traces", url.trim_end_matches('/')).parse()?;
        }
        let (sender, queue) = mpsc::channel(options.queue.max(1));
        let (stop, stopped) = oneshot::channel();
        let counts = Arc::<Counts>::default();
        let sink = ExportSink { queue: sender, counts: counts.clone() };
        let task = Task { endpoint, options, queue, stop: Some(stopped), counts };
        Ok(Self { sink, stop: Some(stop), task: tokio::spawn(task.run()) })
    }

    /// Where to hand spans in.
    pub fn sink(&self) -> ExportSink {
        self.sink.clone()
    }

    /// Spans that the engine has taken.
    pub fn sent(&self) -> u64 {
        self.sink.counts.sent.load(Relaxed)
    }

    /// Spans that were lost: the queue was full, or the engine refused them.
    pub fn dropped(&self) -> u64 {
        self.sink.counts.dropped.load(Relaxed)
    }

    /// Sends what is waiting, for as long as `within`, and joins the task. Returns how many spans
    /// were lost in all.
    pub async fn shutdown(mut self, within: Duration) -> u64 {
        drop(self.stop.take());
        if timeout(within, &mut self.task).await.is_err() {
            self.task.abort();
            let _ = (&mut self.task).await;
        }
        let counts = &self.sink.counts;
        counts.dropped.fetch_add(counts.waiting.swap(0, Relaxed), Relaxed);
        self.dropped()
    }
}

impl Drop for SpanExporter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl SpanSink for ExportSink {
    fn record(&self, span: SpanRecord) {
        // Before the span can be sent, so that the count never falls below zero.
        self.counts.waiting.fetch_add(1, Relaxed);
        if self.queue.try_send(span).is_err() {
            self.counts.settle(&self.counts.dropped, 1);
        }
    }
}

impl Counts {
    fn settle(&self, fate: &AtomicU64, spans: usize) {
        fate.fetch_add(spans as u64, Relaxed);
        self.waiting.fetch_sub(spans as u64, Relaxed);
    }
}

impl Task {
    async fn run(mut self) {
        while let Some(batch) = self.next_batch().await {
            let fate =
                if self.deliver(&batch).await { &self.counts.sent } else { &self.counts.dropped };
            self.counts.settle(fate, batch.len());
        }
    }

    /// Full, or as full as it gets in time; `None` after the last.
    async fn next_batch(&mut self) -> Option<Vec<SpanRecord>> {
        let mut batch = vec![self.next_span().await?];
        let linger = sleep(self.options.linger);
        tokio::pin!(linger);
        while batch.len() < self.options.batch {
            tokio::select! {
                span = self.next_span() => match span {
                    Some(span) => batch.push(span),
                    None => break,
                },
                () = &mut linger => break,
            }
        }
        Some(batch)
    }

    /// Cancel safe.
    async fn next_span(&mut self) -> Option<SpanRecord> {
        if let Some(stop) = &mut self.stop {
            tokio::select! {
                biased;
                _ = stop => {}
                span = self.queue.recv() => return span,
            }
            self.stop = None;
            self.queue.close();
        }
        self.queue.recv().await
    }

    /// Sends one batch until it is taken or refused for good; says whether it was taken.
    async fn deliver(&self, batch: &[SpanRecord]) -> bool {
        let body = Bytes::from(encode(batch));
        let mut pause = FIRST_PAUSE;
        loop {
            let mut request = self.endpoint.request(body.clone());
            *request.method_mut() = hyper::Method::POST;
            let json = HeaderValue::from_static("application/json");
            request.headers_mut().insert(CONTENT_TYPE, json);
            let exchange = self.endpoint.exchange(request, MAX_ANSWER_BYTES);
            match timeout(self.options.timeout, exchange).await {
                Ok(Ok(_)) => return true,
                Ok(Err(error)) if is_permanent(&error) => return false,
                _ => {}
            }
            // Half of it at random, so that agents do not come back all at once.
            let half = pause / 2;
            let jitter = random::below(u64::try_from(half.as_nanos()).unwrap_or(u64::MAX));
            sleep(half + Duration::from_nanos(jitter)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// Whether the same request can never succeed ("OTLP/HTTP", "Failures").
fn is_permanent(error: &ClientError) -> bool {
    let again = [
        StatusCode::TOO_MANY_REQUESTS,
        StatusCode::BAD_GATEWAY,
        StatusCode::SERVICE_UNAVAILABLE,
        StatusCode::GATEWAY_TIMEOUT,
    ];
    match error {
        ClientError::Status { status } => !again.contains(status),
        ClientError::Connect { .. } | ClientError::Broken { .. } => false,
        _ => true,
    }
}
