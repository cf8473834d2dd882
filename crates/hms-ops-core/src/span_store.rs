//! Where finished spans are kept: the trait [`SpanStore`] and its oracle, [`MemorySpanStore`].

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;

use crate::span::{SpanId, SpanRecord, SpanStatus, TraceId};

/// Keeps finished spans and finds them by trace.
///
/// A backend is finished when it passes `hms_ops_testkit::span_store`. Spans of one trace may come
/// in any order and at any time; a span that comes twice, by trace and span id, is kept once.
#[async_trait]
pub trait SpanStore: fmt::Debug + Send + Sync + 'static {
    /// Adds spans. What no longer fits is dropped, oldest traces first, and counted.
    ///
    /// # Errors
    ///
    /// [`SpanStoreError`] when the backend cannot be written.
    async fn append(&self, spans: Vec<SpanRecord>) -> Result<(), SpanStoreError>;

    /// All spans of a trace, by start; empty when it is not known.
    ///
    /// # Errors
    ///
    /// [`SpanStoreError`] when the backend cannot be read.
    async fn trace(&self, id: TraceId) -> Result<Vec<SpanRecord>, SpanStoreError>;

    /// The newest traces that fit `query`, newest first.
    ///
    /// # Errors
    ///
    /// [`SpanStoreError`] when the backend cannot be read.
    async fn search(&self, query: &TraceQuery) -> Result<Vec<TraceSummary>, SpanStoreError>;

    /// Spans that were dropped to stay within bounds.
    async fn dropped(&self) -> u64;
}

/// Which traces are wanted.
#[derive(Clone, Debug, Default)]
pub struct TraceQuery {
    /// Only traces that this service took part in.
    pub service: Option<String>,
    /// Only traces that took at least this long.
    pub min_duration: Duration,
    /// At most this many; `0` for 50.
    pub limit: usize,
}

/// A trace in one line.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceSummary {
    /// The trace.
    pub trace_id: TraceId,
    /// Service and name of its first span: the root, or the earliest while there is no root.
    pub root: (String, String),
    /// Whether the root has come. Spans come as they end, so the root comes last.
    pub has_root: bool,
    /// When it began: nanoseconds since the epoch.
    pub start_ns: u64,
    /// From the first start to the last end.
    pub duration: Duration,
    /// How many spans it has.
    pub spans: usize,
    /// How many of them ended badly.
    pub errors: usize,
    /// The services that took part, sorted.
    pub services: Vec<String>,
}

/// Why a span store failed.
#[derive(Debug, thiserror::Error)]
#[error("the span store failed: {0}")]
pub struct SpanStoreError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// Keeps the newest traces in memory.
#[derive(Debug)]
pub struct MemorySpanStore {
    max_spans: usize,
    max_spans_per_trace: usize,
    inner: RwLock<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    traces: HashMap<TraceId, BTreeMap<SpanId, SpanRecord>>,
    arrival: VecDeque<TraceId>,
    spans: usize,
    dropped: u64,
}

impl MemorySpanStore {
    /// A store for 50,000 spans, at most 10,000 of one trace.
    pub fn new() -> Self {
        Self::with_limits(50_000, 10_000)
    }

    /// A store with these bounds.
    pub fn with_limits(max_spans: usize, max_spans_per_trace: usize) -> Self {
        Self { max_spans, max_spans_per_trace, inner: RwLock::default() }
    }
}

impl Default for MemorySpanStore {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl SpanStore for MemorySpanStore {
    async fn append(&self, spans: Vec<SpanRecord>) -> Result<(), SpanStoreError> {
        let mut guard = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        let inner = &mut *guard;
        for span in spans {
            let trace = inner.traces.entry(span.trace_id).or_insert_with(|| {
                inner.arrival.push_back(span.trace_id);
                BTreeMap::new()
            });
            if trace.len() >= self.max_spans_per_trace && !trace.contains_key(&span.span_id) {
                inner.dropped += 1;
                continue;
            }
            inner.spans += usize::from(trace.insert(span.span_id, span).is_none());
            while inner.spans > self.max_spans {
                let Some(oldest) = inner.arrival.pop_front() else { break };
                let gone = inner.traces.remove(&oldest).map_or(0, |trace| trace.len());
                inner.spans -= gone;
                inner.dropped += gone as u64;
            }
        }
        Ok(())
    }

    async fn trace(&self, id: TraceId) -> Result<Vec<SpanRecord>, SpanStoreError> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        let trace = inner.traces.get(&id);
        let mut spans: Vec<_> = trace.into_iter().flat_map(BTreeMap::values).cloned().collect();
        spans.sort_by_key(|span| (span.start_ns, span.span_id));
        Ok(spans)
    }

    async fn search(&self, query: &TraceQuery) -> Result<Vec<TraceSummary>, SpanStoreError> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        let mut found: Vec<_> = inner
            .traces
            .iter()
            .filter(|(_, spans)| match &query.service {
                Some(service) => spans.values().any(|span| span.service == *service),
                None => true,
            })
            .filter_map(|(id, spans)| summarize(*id, spans.values()))
            .filter(|summary| summary.duration >= query.min_duration)
            .collect();
        found.sort_by_key(|summary| (std::cmp::Reverse(summary.start_ns), summary.trace_id));
        found.truncate(if query.limit == 0 { 50 } else { query.limit });
        Ok(found)
    }

    async fn dropped(&self) -> u64 {
        self.inner.read().unwrap_or_else(PoisonError::into_inner).dropped
    }
}

fn summarize<'a>(
    trace_id: TraceId,
    spans: impl Iterator<Item = &'a SpanRecord> + Clone,
) -> Option<TraceSummary> {
    let first = spans.clone().min_by_key(|s| (s.parent_id.is_some(), s.start_ns))?;
    let start_ns = spans.clone().map(|s| s.start_ns).min()?;
    let end_ns =
        spans.clone().map(|s| s.start_ns.saturating_add(s.duration.as_nanos() as u64)).max()?;
    let mut services: Vec<_> = spans.clone().map(|s| s.service.to_string()).collect();
    services.sort();
    services.dedup();
    Some(TraceSummary {
        trace_id,
        root: (first.service.to_string(), first.name.to_string()),
        has_root: first.parent_id.is_none(),
        start_ns,
        duration: Duration::from_nanos(end_ns - start_ns),
        errors: spans.clone().filter(|s| matches!(s.status, SpanStatus::Error(_))).count(),
        spans: spans.count(),
        services,
    })
}
