//! The engine: queries in, answers out, a bounded number at once.

use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread::available_parallelism;
use std::time::Duration;

use async_trait::async_trait;
use hms_ops_core::query::{Answer, LOOKBACK, QueryEngine, QueryError, QueryOptions};
use hms_ops_core::store::{SelectHint, Store};
use hms_ops_core::time::{TimeRange, Timestamp};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::ast::Expr;
use crate::eval::column::Grid;
use crate::eval::{Limits, evaluate};
use crate::plan::{Frame, Plan};
use crate::resets::FindsResets;

/// Instants of one evaluation, at most.
pub(crate) const MAX_STEPS: u64 = 1_000_000;

/// What an engine may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineOptions {
    /// How far back a query looks for the newest sample of a series; five minutes.
    pub lookback: Duration,
    /// How long a query may take, waiting included; two minutes.
    pub timeout: Duration,
    /// Samples that a query may read; 500 million.
    pub samples: u64,
    /// Bytes that a query may hold of results on their way; 512 MiB.
    pub bytes: u64,
    /// Queries at once; as many as there are processors.
    pub at_once: usize,
    /// Queries that wait for their turn; 64. More are refused.
    pub waiting: usize,
    /// How far apart the instants of a subquery are that does not say it; one minute.
    pub subquery_step: Duration,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            lookback: LOOKBACK,
            timeout: Duration::from_secs(120),
            samples: 500_000_000,
            bytes: 512 << 20,
            at_once: available_parallelism().map_or(2, NonZero::get),
            waiting: 64,
            subquery_step: Duration::from_secs(60),
        }
    }
}

/// Answers PromQL over a [`Store`].
///
/// Evaluation is work for a processor, not for an executor: it runs on threads of its own, as many
/// as [`EngineOptions::at_once`] says, so that no query delays what else the process does.
///
/// ```
/// use std::sync::Arc;
/// use hms_ops_core::{labels::Labels, time::Timestamp};
/// use hms_ops_core::query::{QueryEngine, QueryOptions};
/// use hms_ops_core::store::{MemoryStore, StoreExt};
/// use hms_ops_promql::Engine;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Arc::new(MemoryStore::new());
/// let now = Timestamp::from_millis(1_767_225_600_000);
/// store.append_one(&Labels::metric("up").with("cluster", "a"), now, 1.0).await?;
///
/// let engine = Engine::new(store);
/// let answer = engine.instant("sum(up) * 2", now, &QueryOptions::default()).await?;
/// assert_eq!(answer.into_values(), [(Labels::empty(), 2.0.into())]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Engine {
    store: Arc<dyn Store>,
    options: EngineOptions,
    running: Arc<Semaphore>,
    waiting: AtomicUsize,
}

impl Engine {
    /// An engine over `store`, with default options.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self::with_options(store, EngineOptions::default())
    }

    /// An engine over `store`.
    pub fn with_options(store: Arc<dyn Store>, options: EngineOptions) -> Self {
        let running = Arc::new(Semaphore::new(options.at_once.clamp(1, Semaphore::MAX_PERMITS)));
        Self { store, options, running, waiting: AtomicUsize::new(0) }
    }

    /// What a query that was parsed before evaluates to at `at`, as [`QueryEngine::instant`] says; it
    /// takes as long as it takes. For those who ask the same query often.
    ///
    /// `query` is the text that `expr` was parsed from.
    ///
    /// # Errors
    ///
    /// [`QueryError`] when the query fails, is too costly, or the store fails.
    pub async fn instant_of(
        &self,
        query: &str,
        expr: &Expr,
        at: Timestamp,
    ) -> Result<Answer, QueryError> {
        self.work_on(query, expr, TimeRange::new(at, at), None, None).await
    }

    async fn answer(
        &self,
        query: &str,
        range: TimeRange,
        step: Option<Duration>,
        options: &QueryOptions,
    ) -> Result<Answer, QueryError> {
        let timeout = options.timeout.map_or(self.options.timeout, |t| t.min(self.options.timeout));
        let work = self.work(query, range, step, options.lookback);
        match Handle::try_current() {
            Ok(_) => match tokio::time::timeout(timeout, work).await {
                Ok(done) => done,
                Err(_) => Err(QueryError::TimedOut(timeout)),
            },
            Err(_) => work.await,
        }
    }

    async fn work(
        &self,
        query: &str,
        range: TimeRange,
        step: Option<Duration>,
        lookback: Option<Duration>,
    ) -> Result<Answer, QueryError> {
        let expr = crate::parse(query).map_err(|error| QueryError::Malformed {
            query: query.to_owned(),
            reason: error.to_string(),
        })?;
        self.work_on(query, &expr, range, step, lookback).await
    }

    async fn work_on(
        &self,
        query: &str,
        expr: &Expr,
        range: TimeRange,
        step: Option<Duration>,
        lookback: Option<Duration>,
    ) -> Result<Answer, QueryError> {
        let malformed = |reason: String| QueryError::Malformed { query: query.to_owned(), reason };
        if step.is_some()
            && !matches!(expr.returns(), crate::ast::Type::Scalar | crate::ast::Type::InstantVector)
        {
            let returns = expr.returns();
            return Err(malformed(format!(
                "invalid expression type \"{returns}\" for range query, must be Scalar or instant \
                 Vector"
            )));
        }
        let frame = self.frame(range, step, lookback).map_err(|error| match error {
            Refused::Malformed(reason) => malformed(reason),
            Refused::TooLarge(points) => QueryError::TooLarge { points, limit: MAX_STEPS },
        })?;
        let plan = Plan::new(expr, frame)?;

        let turn = self.turn().await?;
        let mut selected = Vec::with_capacity(plan.selections.len());
        for selection in &plan.selections {
            let hint = SelectHint { only_last: selection.only_last };
            let set = self.store.select(&selection.matchers, selection.range, &hint).await?;
            selected.push(if selection.finds_resets { Box::new(FindsResets(set)) } else { set });
        }
        let limits = Limits { samples: self.options.samples, bytes: self.options.bytes };
        let stop = Stop::default();
        let (query, stopped) = (query.to_owned(), stop.0.clone());
        let evaluation = move || {
            let _turn = turn;
            evaluate(&query, &plan, frame, selected, limits, &stopped)
        };
        match Handle::try_current() {
            Ok(runtime) => match runtime.spawn_blocking(evaluation).await {
                Ok(answer) => answer,
                Err(failed) if failed.is_panic() => {
                    let reason = "the evaluation panicked, which is a fault of hms-ops";
                    Err(QueryError::Failed(reason.to_owned()))
                }
                // The runtime ends.
                Err(_) => Err(QueryError::Cancelled),
            },
            Err(_) => evaluation(),
        }
    }

    fn frame(
        &self,
        range: TimeRange,
        step: Option<Duration>,
        lookback: Option<Duration>,
    ) -> Result<Frame, Refused> {
        let ms = |d: Duration| i64::try_from(d.as_millis()).unwrap_or(i64::MAX);
        let (start, end) = (range.start.as_millis(), range.end.as_millis());
        let step = step.map(ms);
        if step.is_some_and(|step| step <= 0) || end < start {
            let reason = "the step must be positive and the range not empty";
            return Err(Refused::Malformed(reason.to_owned()));
        }
        let steps = (end.abs_diff(start) / step.unwrap_or(1) as u64).saturating_add(1);
        if steps > MAX_STEPS {
            return Err(Refused::TooLarge(steps));
        }
        // Far enough from the ends of time that no sum of lengths goes beyond them.
        if start < i64::MIN / 4 || end > i64::MAX / 4 {
            return Err(Refused::Malformed(format!("{start} ms to {end} ms is beyond all time")));
        }
        Ok(Frame {
            grid: Grid { start, step: step.unwrap_or(1), count: steps as usize },
            end,
            step: step.unwrap_or(0),
            lookback: ms(lookback.unwrap_or(self.options.lookback)).clamp(1, i64::MAX / 4),
            subquery_step: ms(self.options.subquery_step).max(1),
        })
    }

    /// Waits until there is room for one query more.
    async fn turn(&self) -> Result<OwnedSemaphorePermit, QueryError> {
        if let Ok(turn) = self.running.clone().try_acquire_owned() {
            return Ok(turn);
        }
        let _place = Waiting::new(&self.waiting, self.options.waiting)?;
        let turn = self.running.clone().acquire_owned().await;
        Ok(turn.expect("the semaphore is never closed"))
    }
}

/// Why there is no frame.
enum Refused {
    Malformed(String),
    TooLarge(u64),
}

/// A place among those that wait.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(waiting: &'a AtomicUsize, limit: usize) -> Result<Self, QueryError> {
        match waiting.fetch_add(1, Relaxed) {
            before if before >= limit => {
                waiting.fetch_sub(1, Relaxed);
                Err(QueryError::Busy { waiting: before })
            }
            _ => Ok(Self(waiting)),
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// Stops an evaluation when nobody waits for it any more.
#[derive(Default)]
struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

#[async_trait]
impl QueryEngine for Engine {
    async fn instant(
        &self,
        query: &str,
        at: Timestamp,
        options: &QueryOptions,
    ) -> Result<Answer, QueryError> {
        self.answer(query, TimeRange::new(at, at), None, options).await
    }

    async fn range(
        &self,
        query: &str,
        range: TimeRange,
        step: Duration,
        options: &QueryOptions,
    ) -> Result<Answer, QueryError> {
        self.answer(query, range, Some(step), options).await
    }
}
