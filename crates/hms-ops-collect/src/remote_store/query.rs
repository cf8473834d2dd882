//! Whole queries, answered by the backend: nothing is read but the answer.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hms_ops_core::labels::Labels;
use hms_ops_core::query::{Answer, Data, QueryEngine, QueryError, QueryOptions};
use hms_ops_core::sample::{Sample, Value};
use hms_ops_core::time::{TimeRange, Timestamp};
use serde_json::Value as Json;

use super::Waiting;
use super::backend::{Backend, RemoteError, labels, seconds, time, unreadable};

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
        let (endpoint, json) = self.backend.get(path, &all).await?;
        let (mut answer, whole) =
            answer(&json).ok_or_else(|| unreadable(&endpoint, &"no answer to a query"))?;
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

fn answer(json: &Json) -> Option<(Answer, bool)> {
    let said = |name| {
        let all = json.get(name).and_then(Json::as_array).into_iter().flatten();
        all.filter_map(Json::as_str).map(str::to_owned).collect()
    };
    let (warnings, infos) = (said("warnings"), said("infos"));
    let data = json.get("data")?;
    let result = data.get("result")?;
    let each = || result.as_array().map(|all| all.iter());
    let mut whole = true;
    let mut is_whole = |one: &Json| {
        let lacks = one.get("histogram").or_else(|| one.get("histograms")).is_some();
        whole &= !lacks;
    };
    let data = match data.get("resultType")?.as_str()? {
        "scalar" => {
            let Sample { at, value } = point(result)?;
            Data::Scalar(at, value.as_float()?)
        }
        "string" => Data::Text(time(result.get(0)?)?, result.get(1)?.as_str()?.to_owned()),
        "vector" => {
            let mut all = Vec::new();
            for one in each()? {
                is_whole(one);
                if let Some(value) = one.get("value") {
                    all.push((labels(one.get("metric")?)?, point(value)?));
                }
            }
            Data::Vector(all)
        }
        "matrix" => {
            let mut all: Vec<(Labels, Vec<Sample>)> = Vec::new();
            for one in each()? {
                is_whole(one);
                let values = one.get("values").and_then(Json::as_array);
                if let Some(values) = values.filter(|values| !values.is_empty()) {
                    let points = values.iter().map(point).collect::<Option<_>>()?;
                    all.push((labels(one.get("metric")?)?, points));
                }
            }
            Data::Matrix(all)
        }
        _ => return None,
    };
    Some((Answer { data, warnings, infos }, whole))
}

/// An instant in seconds, and a number as text.
fn point(pair: &Json) -> Option<Sample> {
    let value: f64 = pair.get(1)?.as_str()?.parse().ok()?;
    Some(Sample { at: time(pair.get(0)?)?, value: Value::Float(value) })
}

impl From<RemoteError> for hms_ops_core::store::StoreError {
    fn from(error: RemoteError) -> Self {
        Self::Backend(error.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_answer_is_read_with_what_was_said_about_it() {
        let json = serde_json::json!({
            "data": { "resultType": "vector", "result": [
                { "metric": { "a": "1" }, "value": [1.5, "+Inf"] },
                { "metric": { "a": "2" }, "histogram": [1.5, { "count": "1" }] },
            ] },
            "warnings": ["w"], "infos": ["i"],
        });
        let (read, whole) = answer(&json).unwrap();
        let at = Timestamp::from_millis(1500);
        let sample = |value: f64| Sample { at, value: value.into() };
        let labels = Labels::from_pairs([("a", "1")]);
        assert_eq!(read.data, Data::Vector(vec![(labels.clone(), sample(f64::INFINITY))]));
        assert_eq!((&read.warnings[..], whole), (&["w".to_owned()][..], false));
        assert_eq!(read.infos, ["i"]);
        for (kind, result, expected) in [
            ("scalar", serde_json::json!([1.5, "2"]), Data::Scalar(at, 2.0)),
            ("string", serde_json::json!([1.5, "x"]), Data::Text(at, "x".into())),
            (
                "matrix",
                serde_json::json!([{ "metric": { "a": "1" }, "values": [[1.5, "-0.25"]] }]),
                Data::Matrix(vec![(labels, vec![sample(-0.25)])]),
            ),
        ] {
            let json = serde_json::json!({ "data": { "resultType": kind, "result": result } });
            assert_eq!(answer(&json), Some((expected.into(), true)), "{kind}");
        }
        for hostile in
            ["null", "{\"data\":{}}", "{\"data\":{\"resultType\":\"vector\",\"result\":[1]}}"]
        {
            assert_eq!(
                answer(&serde_json::from_str(hostile).unwrap())
                    .filter(|(a, _)| { a.data != Data::Vector(Vec::new()) }),
                None,
                "{hostile}"
            );
        }
    }
}
