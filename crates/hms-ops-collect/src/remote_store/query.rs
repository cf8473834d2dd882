//! Whole queries, answered by the backend: nothing is read but the answer.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hms_ops_core::query::{Answer, Data, QueryEngine, QueryError, QueryOptions};
use hms_ops_core::time::{TimeRange, Timestamp};

use super::Waiting;
use super::backend::{Backend, RemoteError, seconds};

/// Points of one series in a range, as Prometheus has it.
const MAX_POINTS: u64 = 11_000;
/// What gives an answer an order of its own.
const SORTS: [&str; 3] = ["sort", "topk", "bottomk"];
/// From when on it is said that samples wait.
const LATE: Duration = Duration::from_secs(10);

/// Hands queries to the backend of a [`RemoteStore`](super::RemoteStore).
///
/// The backend answers with what it has, which is what was committed before the last moments; when
/// samples wait for longer than that, a warning says so. What PromQL means is what it means there:
/// VictoriaMetrics differs, and Prometheus 2 counts both ends of a window. Native histograms come whole
/// in no JSON, so without [`RemoteQuery::or`] they are left out with a warning; they can be read with
/// [`Store::select`](hms_ops_core::store::Store::select).
#[derive(Clone)]
pub struct RemoteQuery {
    backend: Arc<Backend>,
    waiting: Waiting,
    own: Option<Arc<dyn QueryEngine>>,
}

impl fmt::Debug for RemoteQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RemoteQuery").field(&self.backend).finish()
    }
}

#[async_trait]
impl QueryEngine for RemoteQuery {
    async fn instant(
        &self,
        query: &str,
        at: Timestamp,
        options: &QueryOptions,
    ) -> Result<Answer, QueryError> {
        // Without the second, VictoriaMetrics answers as of half a minute ago when asked about now.
        let more = vec![("time", seconds(at)), ("nocache", "1".to_owned())];
        let asked = self.ask("query", query, more, options).await;
        match self.own.as_ref().filter(|_| is_left_to_us(&asked)) {
            Some(own) => own.instant(query, at, options).await,
            None => told(query, asked),
        }
    }

    async fn range(
        &self,
        query: &str,
        range: TimeRange,
        step: Duration,
        options: &QueryOptions,
    ) -> Result<Answer, QueryError> {
        let malformed = |reason: &str| {
            let (query, reason) = (query.to_owned(), reason.to_owned());
            Err(QueryError::Malformed { query, reason })
        };
        let millis = step.as_millis();
        if millis == 0 || range.end < range.start {
            return malformed("the step must be positive and the range not empty");
        }
        let points = range.end.since(range.start).as_millis() / millis + 1;
        let points = u64::try_from(points).unwrap_or(u64::MAX);
        if points > MAX_POINTS {
            return Err(QueryError::TooLarge { points, limit: MAX_POINTS });
        }
        let width = format!("{}.{:03}", millis / 1000, millis % 1000);
        let (start, end) = (seconds(range.start), seconds(range.end));
        let more = vec![("start", start), ("end", end), ("step", width)];
        let asked = self.ask("query_range", query, more, options).await;
        match self.own.as_ref().filter(|_| is_left_to_us(&asked)) {
            Some(own) => own.range(query, range, step, options).await,
            None => told(query, asked),
        }
    }
}

/// What the backend answered, and whether nothing had to be left out.
type Asked = Result<(Answer, bool), RemoteError>;

impl RemoteQuery {
    pub(super) fn new(backend: Arc<Backend>, waiting: Waiting) -> Self {
        Self { backend, waiting, own: None }
    }

    /// Lets `own` answer what the backend cannot: when it has no query API, cannot read the query, is
    /// not there, or answers with native histograms. What is too much for it is not tried again.
    #[must_use]
    pub fn or(self, own: Arc<dyn QueryEngine>) -> Self {
        Self { own: Some(own), ..self }
    }

    async fn ask(
        &self,
        path: &str,
        query: &str,
        mut parameters: Vec<(&str, String)>,
        options: &QueryOptions,
    ) -> Asked {
        let optional = [("timeout", options.timeout), ("lookback_delta", options.lookback)];
        for (name, value) in optional {
            parameters.extend(value.map(|value| (name, format!("{}ms", value.as_millis()))));
        }
        let mut all = vec![("query", query)];
        all.extend(parameters.iter().map(|(name, value)| (*name, &**value)));
        let behind = self.waiting.lag();
        let (mut answer, whole) = self.backend.query(path, &all).await?;
        if !SORTS.iter().any(|word| query.contains(word)) {
            match &mut answer.data {
                Data::Vector(all) => all.sort_by(|a, b| a.0.cmp(&b.0)),
                Data::Matrix(all) => all.sort_by(|a, b| a.0.cmp(&b.0)),
                Data::Scalar(..) | Data::Text(..) => {}
            }
        }
        if behind >= LATE {
            let seconds = behind.as_secs();
            answer.warnings.push(format!(
                "samples of the last {seconds} s wait to be sent to the backend, which answered \
                 without them"
            ));
        }
        Ok((answer, whole))
    }
}

/// Whether an engine of our own may know more.
fn is_left_to_us(asked: &Asked) -> bool {
    match asked {
        Ok((_, whole)) => !whole,
        // A query that cannot be read there may be one of a later PromQL.
        Err(RemoteError::Refused { status, .. }) => [400, 404, 405, 501, 502].contains(status),
        Err(error) => error.is_silence() && !matches!(error, RemoteError::Timeout { .. }),
    }
}

fn told(query: &str, asked: Asked) -> Result<Answer, QueryError> {
    let (mut answer, whole) = asked.map_err(|error| explained(query, error))?;
    if !whole {
        let left_out = "the answer has native histograms, which are left out";
        answer.warnings.push(left_out.to_owned());
    }
    Ok(answer)
}

/// What the API's statuses say about a query.
fn explained(query: &str, error: RemoteError) -> QueryError {
    match error {
        RemoteError::Refused { status: 400, said, .. } => {
            QueryError::Malformed { query: query.to_owned(), reason: said }
        }
        RemoteError::Refused { status: 422, said, .. } => QueryError::Failed(said),
        RemoteError::Timeout { limit, .. } => QueryError::TimedOut(limit),
        error => QueryError::Store(error.into()),
    }
}

impl From<RemoteError> for hms_ops_core::store::StoreError {
    fn from(error: RemoteError) -> Self {
        Self::Backend(error.into())
    }
}
