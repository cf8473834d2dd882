//! Queries: the trait [`QueryEngine`], and an engine for plain selectors.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::labels::Labels;
use crate::matcher::Selector;
use crate::sample::{Sample, Value};
use crate::store::{SelectHint, Store, StoreError};
use crate::time::{TimeRange, Timestamp};

/// How far back a query looks for the newest sample of a series, as in Prometheus.
pub const LOOKBACK: Duration = Duration::from_secs(300);

/// Answers queries over a store, or hands them to a remote one.
///
/// A backend is finished when it passes `hms_ops_testkit::query`.
#[async_trait]
pub trait QueryEngine: fmt::Debug + Send + Sync + 'static {
    /// The value of each matching series at `at`, sorted by labels.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// [`QueryError`] when the query is malformed, too costly, or the store fails.
    async fn instant(&self, query: &str, at: Timestamp)
    -> Result<Vec<(Labels, Value)>, QueryError>;

    /// The value of each matching series at `range.start`, `step` later, and so on up to
    /// `range.end`, sorted by labels. Instants at which a series has no value are left out.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// [`QueryError`] when the query is malformed, too costly, or the store fails.
    async fn range(
        &self,
        query: &str,
        range: TimeRange,
        step: Duration,
    ) -> Result<Vec<(Labels, Vec<Sample>)>, QueryError>;
}

/// Why a query was not answered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each message explains its fields")]
pub enum QueryError {
    /// The query is malformed, or uses what this engine does not have.
    #[error("cannot read the query {query:?}: {reason}")]
    Malformed { query: String, reason: String },

    /// The answer would be larger than allowed.
    #[error("the answer would have {points} points, the limit is {limit}")]
    TooLarge { points: u64, limit: u64 },

    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

const MAX_POINTS: u64 = 1_000_000;

/// Answers queries that are a plain selector, `name{label="value"}`; PromQL has more.
///
/// A series counts at an instant with its newest sample of the last [`LOOKBACK`], unless that is a
/// staleness marker.
#[derive(Debug)]
pub struct SelectorEngine {
    store: Arc<dyn Store>,
}

impl SelectorEngine {
    /// An engine over `store`.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }
}

#[async_trait]
impl QueryEngine for SelectorEngine {
    async fn instant(
        &self,
        query: &str,
        at: Timestamp,
    ) -> Result<Vec<(Labels, Value)>, QueryError> {
        let found = self.range(query, TimeRange::new(at, at), Duration::from_secs(1)).await?;
        Ok(found
            .into_iter()
            .filter_map(|(labels, mut samples)| Some((labels, samples.pop()?.value)))
            .collect())
    }

    async fn range(
        &self,
        query: &str,
        range: TimeRange,
        step: Duration,
    ) -> Result<Vec<(Labels, Vec<Sample>)>, QueryError> {
        let malformed = |reason: String| QueryError::Malformed { query: query.to_owned(), reason };
        let selector: Selector = query.parse().map_err(|e| {
            malformed(format!("{e} (this engine answers plain selectors, such as up{{job=\"a\"}})"))
        })?;
        let step_ms = u64::try_from(step.as_millis()).unwrap_or(u64::MAX);
        if step_ms == 0 || range.end < range.start {
            return Err(malformed("the step must be positive and the range not empty".into()));
        }
        let steps = range.end.since(range.start).as_millis() as u64 / step_ms + 1;
        let too_large = |series: u64| match steps.saturating_mul(series) {
            points if points > MAX_POINTS => {
                Err(QueryError::TooLarge { points, limit: MAX_POINTS })
            }
            _ => Ok(()),
        };
        too_large(1)?;

        let read = TimeRange { start: TimeRange::last(LOOKBACK, range.start).start, ..range };
        // At one instant the newest sample decides alone, staleness marker or not.
        let hint = SelectHint { only_last: range.start == range.end };
        let mut set = self.store.select(selector.matchers(), read, &hint).await?;
        let (mut answer, mut samples) = (Vec::new(), Vec::new());
        while set.advance()? {
            too_large(answer.len() as u64 + 1)?;
            samples.clear();
            set.read(&mut samples)?;
            let at_steps: Vec<_> = (0..steps)
                .filter_map(|i| {
                    let at = range.start + Duration::from_millis(i * step_ms);
                    let newest = samples[..samples.partition_point(|s| s.at <= at)].last()?;
                    let fresh = TimeRange::last(LOOKBACK, at).contains(newest.at);
                    (fresh && !newest.value.is_stale())
                        .then(|| Sample { at, value: newest.value.clone() })
                })
                .collect();
            if !at_steps.is_empty() {
                answer.push((set.labels().clone(), at_steps));
            }
        }
        Ok(answer)
    }
}
