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
    /// What the query evaluates to at `at`: a vector sorted by labels, unless the query sorts it
    /// otherwise, or a scalar, a text, or the samples of a window.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// [`QueryError`] when the query is malformed, fails, is too costly, or the store fails.
    async fn instant(
        &self,
        query: &str,
        at: Timestamp,
        options: &QueryOptions,
    ) -> Result<Answer, QueryError>;

    /// What the query evaluates to at `range.start`, `step` later, and so on up to `range.end`: a
    /// matrix sorted by labels. Instants at which a series has no value are left out.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// [`QueryError`] when the query is malformed, fails, is too costly, or the store fails.
    async fn range(
        &self,
        query: &str,
        range: TimeRange,
        step: Duration,
        options: &QueryOptions,
    ) -> Result<Answer, QueryError>;
}

/// How one query is to be answered. What is `None` is as the engine has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueryOptions {
    /// How long it may take; never longer than the engine allows.
    pub timeout: Option<Duration>,
    /// How far back it looks for the newest sample of a series.
    pub lookback: Option<Duration>,
}

/// The answer to a query.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// What the query evaluates to.
    pub data: Data,
    /// What is likely wrong with the query or its data, each once.
    pub warnings: Vec<String>,
    /// What may be wrong, each once.
    pub infos: Vec<String>,
}

/// What a query evaluates to.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// One number.
    Scalar(Timestamp, f64),
    /// A text.
    Text(Timestamp, String),
    /// One sample of each series.
    Vector(Vec<(Labels, Sample)>),
    /// The samples of each series, none of them empty.
    Matrix(Vec<(Labels, Vec<Sample>)>),
}

impl From<Data> for Answer {
    fn from(data: Data) -> Self {
        Self { data, warnings: Vec::new(), infos: Vec::new() }
    }
}

impl Answer {
    /// The value of each series, if the answer is a vector; of a scalar its number, without labels.
    pub fn into_values(self) -> Vec<(Labels, Value)> {
        match self.data {
            Data::Vector(of) => of.into_iter().map(|(labels, s)| (labels, s.value)).collect(),
            Data::Scalar(_, value) => vec![(Labels::empty(), value.into())],
            Data::Text(..) | Data::Matrix(_) => Vec::new(),
        }
    }

    /// The samples of each series, if the answer is a matrix.
    pub fn into_matrix(self) -> Vec<(Labels, Vec<Sample>)> {
        match self.data {
            Data::Matrix(of) => of,
            Data::Scalar(..) | Data::Text(..) | Data::Vector(_) => Vec::new(),
        }
    }
}

/// Why a query was not answered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each message explains its fields")]
pub enum QueryError {
    /// The query is malformed, or uses what this engine does not have.
    #[error("cannot read the query {query:?}: {reason}")]
    Malformed { query: String, reason: String },

    /// The query cannot be evaluated on this data.
    #[error("{0}")]
    Failed(String),

    /// The answer would be larger than allowed.
    #[error("the answer would have {points} points, the limit is {limit}")]
    TooLarge { points: u64, limit: u64 },

    /// The query reads or holds more than it may.
    #[error("the query would load more than {limit} {unit} into memory")]
    TooCostly { unit: &'static str, limit: u64 },

    /// It took longer than it may.
    #[error("the query timed out after {0:?}")]
    TimedOut(Duration),

    /// It was stopped from outside.
    #[error("the query was cancelled")]
    Cancelled,

    /// As many queries run and wait as may.
    #[error("{waiting} queries wait already; ask again later")]
    Busy { waiting: usize },

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
        options: &QueryOptions,
    ) -> Result<Answer, QueryError> {
        let (range, step) = (TimeRange::new(at, at), Duration::from_secs(1));
        let found = self.range(query, range, step, options).await?.into_matrix();
        let newest = |(labels, mut samples): (Labels, Vec<_>)| Some((labels, samples.pop()?));
        Ok(Data::Vector(found.into_iter().filter_map(newest).collect()).into())
    }

    async fn range(
        &self,
        query: &str,
        range: TimeRange,
        step: Duration,
        options: &QueryOptions,
    ) -> Result<Answer, QueryError> {
        let lookback = options.lookback.unwrap_or(LOOKBACK);
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

        let read = TimeRange { start: TimeRange::last(lookback, range.start).start, ..range };
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
                    let fresh = TimeRange::last(lookback, at).contains(newest.at);
                    (fresh && !newest.value.is_stale())
                        .then(|| Sample { at, value: newest.value.clone() })
                })
                .collect();
            if !at_steps.is_empty() {
                answer.push((set.labels().clone(), at_steps));
            }
        }
        Ok(Data::Matrix(answer).into())
    }
}
