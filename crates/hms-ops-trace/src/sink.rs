//! Where ended spans wait for the collector, within bounds.
//!
//! A thread writes into a buffer of its own. Its lock is only ever contended by [`drain`], and only
//! while that exchanges the buffer for an empty one. A full buffer moves to the queue that all
//! threads share; one that cannot, because another thread is there, grows a little and tries again
//! at its next span. So nobody waits, and what an idle thread has recorded is still seen by the next
//! [`drain`].

use std::borrow::Cow;
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use hms_ops_core::span::{AttributeValue, SpanRecord, SpanSink};

use crate::callsite::Callsite;

/// How many spans a thread collects before it hands them over.
const CHUNK: usize = 256;
/// How many it collects at most while it cannot.
const MAX_LOCAL: usize = 4 * CHUNK;
/// How many spans wait in the queue at most: about 13 MB, and their texts.
const MAX_QUEUED: usize = 65_536;
/// How many empty buffers are kept for use again.
const MAX_SPARE: usize = 64;

static RECORDING: AtomicBool = AtomicBool::new(false);
static SERVICE: OnceLock<Cow<'static, str>> = OnceLock::new();
static SINK: Sink = Sink::new(MAX_QUEUED);

thread_local! {
    static LOCAL: Local = Local::register();
}

/// Begins or ceases to record spans, in the whole process; at first none are.
///
/// A span that has begun is recorded even if recording ceases before it ends.
pub fn enable(on: bool) {
    RECORDING.store(on, Ordering::Relaxed);
}

/// Whether spans are recorded.
#[inline]
pub fn is_enabled() -> bool {
    RECORDING.load(Ordering::Relaxed)
}

/// Names the service that this process is, and returns the name that holds: that of the first call.
///
/// It also holds for spans that ended before and were not drained yet. Without a name, spans are
/// those of `unknown_service`.
///
/// ```
/// assert_eq!(hms_ops_trace::set_service("eligibility-svc"), "eligibility-svc");
/// assert_eq!(hms_ops_trace::set_service("other"), "eligibility-svc");
/// ```
pub fn set_service(name: impl Into<Cow<'static, str>>) -> &'static str {
    SERVICE.get_or_init(|| name.into())
}

/// Moves all spans that have ended to the end of `out`, in no particular order.
///
/// Includes those of threads that are idle or gone. Calls at the same time share the spans between
/// them; there should be one collector.
pub fn drain(out: &mut Vec<SpanRecord>) {
    let service = SERVICE.get().map_or("unknown_service", |name| name);
    let mut chunks = SINK.take();
    for chunk in &mut chunks {
        out.extend(chunk.drain(..).map(|ended| ended.into_record(service)));
    }
    SINK.keep(chunks);
}

/// How many spans were dropped because nobody drained them in time.
pub fn dropped() -> u64 {
    SINK.dropped.load(Ordering::Relaxed)
}

/// Takes spans that were recorded in another way, such as by the router, to be drained with the
/// others.
///
/// ```
/// use std::sync::Arc;
/// use hms_ops_core::span::SpanSink;
///
/// let sink: Arc<dyn SpanSink> = Arc::new(hms_ops_trace::GlobalSink);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct GlobalSink;

impl SpanSink for GlobalSink {
    fn record(&self, record: SpanRecord) {
        if is_enabled() {
            push(Ended { record, callsite: None });
        }
    }
}

/// A span that has ended. What is the same for many spans is filled in when it is drained.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) record: SpanRecord,
    pub(crate) callsite: Option<&'static Callsite>,
}

impl Ended {
    fn into_record(self, service: &'static str) -> SpanRecord {
        let Self { mut record, callsite } = self;
        if record.service.is_empty() {
            record.service = Cow::Borrowed(service);
        }
        // Named as OpenTelemetry's semantic conventions name them.
        if let Some(callsite) = callsite {
            let line = AttributeValue::Int(i64::from(callsite.line()));
            let file = AttributeValue::Text(Cow::Borrowed(callsite.file()));
            record.attributes.reserve_exact(2);
            record.attributes.push((Cow::Borrowed("code.file.path"), file));
            record.attributes.push((Cow::Borrowed("code.line.number"), line));
        }
        record
    }
}

/// Takes a span that has ended.
#[inline]
pub(crate) fn push(ended: Ended) {
    // A thread that is ending may have given its buffer back already.
    if LOCAL.try_with(|_| ()).is_ok() {
        LOCAL.with(|local| SINK.push(&local.0, ended));
    } else {
        SINK.add(&mut lock(&SINK.shared), &mut vec![ended]);
    }
}

/// The spans of one thread that it has not handed over.
type Buffer = Mutex<Vec<Ended>>;

/// The buffer of this thread.
struct Local(Arc<Buffer>);

impl Local {
    fn register() -> Self {
        let buffer = Arc::<Buffer>::default();
        lock(&SINK.shared).threads.push(Arc::clone(&buffer));
        Self(buffer)
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        let mut shared = lock(&SINK.shared);
        shared.threads.retain(|buffer| !Arc::ptr_eq(buffer, &self.0));
        SINK.add(&mut shared, &mut lock(&self.0));
    }
}

/// Collects the spans of many threads. Where `shared` and a buffer are both locked, `shared` is
/// locked first, or only tried.
struct Sink {
    max_queued: usize,
    dropped: AtomicU64,
    shared: Mutex<Shared>,
}

struct Shared {
    threads: Vec<Arc<Buffer>>,
    queue: Vec<Vec<Ended>>,
    queued: usize,
    spare: Vec<Vec<Ended>>,
}

impl Sink {
    const fn new(max_queued: usize) -> Self {
        let shared =
            Shared { threads: Vec::new(), queue: Vec::new(), queued: 0, spare: Vec::new() };
        Self { max_queued, dropped: AtomicU64::new(0), shared: Mutex::new(shared) }
    }

    /// Adds a span to its thread's buffer, and hands that over when it is full.
    #[inline]
    fn push(&self, buffer: &Buffer, ended: Ended) {
        let mut buffer = lock(buffer);
        if buffer.len() >= CHUNK {
            match self.shared.try_lock() {
                Ok(mut shared) => self.add(&mut shared, &mut buffer),
                Err(_) if buffer.len() >= MAX_LOCAL => return self.count_dropped(1),
                Err(_) => {}
            }
        }
        buffer.push(ended);
    }

    /// Leaves `buffer` empty; drops what the queue has no room for.
    fn add(&self, shared: &mut Shared, buffer: &mut Vec<Ended>) {
        let room = self.max_queued - shared.queued;
        if buffer.len() > room {
            self.count_dropped(buffer.len() - room);
            buffer.truncate(room);
        }
        if !buffer.is_empty() {
            shared.queued += buffer.len();
            let empty = shared.spare.pop().unwrap_or_default();
            shared.queue.push(mem::replace(buffer, empty));
        }
    }

    /// Takes the queue, and what every thread has.
    fn take(&self) -> Vec<Vec<Ended>> {
        let shared = &mut *lock(&self.shared);
        let mut chunks = mem::take(&mut shared.queue);
        shared.queued = 0;
        for buffer in &shared.threads {
            let mut buffer = lock(buffer);
            if !buffer.is_empty() {
                chunks.push(mem::replace(&mut *buffer, shared.spare.pop().unwrap_or_default()));
            }
        }
        chunks
    }

    /// Keeps empty buffers for use again.
    fn keep(&self, empty: Vec<Vec<Ended>>) {
        let spare = &mut lock(&self.shared).spare;
        let room = MAX_SPARE.saturating_sub(spare.len());
        spare.extend(empty.into_iter().take(room));
    }

    fn count_dropped(&self, spans: usize) {
        self.dropped.fetch_add(spans as u64, Ordering::Relaxed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hms_ops_core::span::{SpanContext, SpanKind, SpanStatus};

    use super::*;

    fn ended(name: usize) -> Ended {
        let SpanContext { trace_id, span_id, .. } = SpanContext::root();
        let record = SpanRecord {
            trace_id,
            span_id,
            parent_id: None,
            service: "test".into(),
            name: name.to_string().into(),
            kind: SpanKind::Internal,
            start_ns: 0,
            duration: Duration::ZERO,
            status: SpanStatus::Unset,
            attributes: Vec::new(),
        };
        Ended { record, callsite: None }
    }

    fn len(chunks: &[Vec<Ended>]) -> usize {
        chunks.iter().map(Vec::len).sum()
    }

    /// A sink with one thread.
    fn sink(max_queued: usize) -> (Sink, Arc<Buffer>) {
        let (sink, buffer) = (Sink::new(max_queued), Arc::<Buffer>::default());
        lock(&sink.shared).threads.push(Arc::clone(&buffer));
        (sink, buffer)
    }

    #[test]
    fn what_nobody_drains_is_dropped_and_counted() {
        let (sink, buffer) = sink(2 * CHUNK);
        for n in 0..5 * CHUNK {
            sink.push(&buffer, ended(n));
        }
        assert_eq!(sink.dropped.load(Ordering::Relaxed), 2 * CHUNK as u64);
        let kept = sink.take();
        assert_eq!(len(&kept), 3 * CHUNK);
        assert_eq!(kept[0][0].record.name, "0", "what waits stays");

        sink.push(&buffer, ended(0));
        assert_eq!(len(&sink.take()), 1);
    }

    #[test]
    fn a_thread_does_not_wait_for_the_queue() {
        let (sink, buffer) = sink(MAX_QUEUED);
        let held = lock(&sink.shared);
        for n in 0..MAX_LOCAL + 10 {
            sink.push(&buffer, ended(n));
        }
        assert_eq!(sink.dropped.load(Ordering::Relaxed), 10);
        drop(held);
        sink.push(&buffer, ended(0));
        assert_eq!(lock(&sink.shared).queued, MAX_LOCAL);
        assert_eq!(lock(&buffer).len(), 1);
    }

    #[test]
    fn empty_buffers_are_used_again() {
        let (sink, buffer) = sink(MAX_QUEUED);
        (0..CHUNK).for_each(|n| sink.push(&buffer, ended(n)));
        let mut chunks = sink.take();
        chunks.iter_mut().for_each(Vec::clear);
        sink.keep(chunks);
        sink.push(&buffer, ended(0));
        assert_eq!(len(&sink.take()), 1);
        assert!(lock(&buffer).capacity() >= CHUNK);
    }
}
