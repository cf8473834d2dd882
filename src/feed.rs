//! Reads for every rule what it asks for, out of the store.

use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Sleep, sleep, timeout};

use crate::core::alert::{EventBatch, InputData, RuleInput, RuleSpec, deltas};
use crate::core::labels::{Labels, NAME};
use crate::core::matcher::Matcher;
use crate::core::name::stored_name;
use crate::core::query::{QueryEngine, QueryError, QueryOptions};
use crate::core::sample::Sample;
use crate::core::store::{Store, StoreError, StoreExt};
use crate::core::time::{TimeRange, Timestamp};

/// How long a tick waits for the answers to its queries, and then for the store.
const PATIENCE: Duration = Duration::from_millis(500);
/// How far back a tick looks for reports that came late.
const LOOK_BACK: Duration = Duration::from_secs(90);
/// A source that was silent for so long is forgotten.
const FORGET: Duration = Duration::from_secs(3600);
const HALF_A_TICK: Duration = Duration::from_millis(500);
/// How often a source reports of which nobody said it, such as one that pushes.
const USUAL_INTERVAL: Duration = Duration::from_secs(15);

/// What was read before, by rule and input.
#[derive(Debug)]
pub(crate) struct Feed {
    /// Labels of sources, and how often those are expected to report; the first that fits counts.
    intervals: Vec<(Labels, Duration)>,
    patience: Duration,
    events: HashMap<(usize, usize), BTreeMap<Labels, Source>>,
    answers: HashMap<(usize, usize), (Timestamp, InputData)>,
}

/// How far one source was read.
#[derive(Debug)]
struct Source {
    /// Its newest report: count and sum. Up to here its events were handed on.
    newest: (Sample, Sample),
    interval: Duration,
}

impl Feed {
    pub(crate) fn new(intervals: Vec<(Labels, Duration)>) -> Self {
        let (events, answers) = (HashMap::new(), HashMap::new());
        Self { intervals, patience: PATIENCE, events, answers }
    }

    /// Waits so long for the store, where nobody waits for the tick.
    #[must_use]
    pub(crate) fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Sources that are known already report at these intervals from now on.
    pub(crate) fn set_intervals(&mut self, intervals: Vec<(Labels, Duration)>) {
        self.intervals = intervals;
        for (labels, source) in self.events.values_mut().flatten() {
            source.interval = configured(&self.intervals, labels).unwrap_or(USUAL_INTERVAL);
        }
    }

    /// What every rule asks for, as of `at`, in their order. What takes too long fails,
    /// for the rule that asked alone.
    pub(crate) async fn read(
        &mut self,
        rules: &[RuleSpec],
        at: Timestamp,
        store: &dyn Store,
        queries: &Arc<dyn QueryEngine>,
    ) -> Vec<Vec<InputData>> {
        self.ask(rules, at, queries).await;
        let late = sleep(self.patience);
        tokio::pin!(late);
        let mut all = Vec::with_capacity(rules.len());
        for (rule, spec) in rules.iter().enumerate() {
            let mut inputs = Vec::with_capacity(spec.inputs.len());
            for (input, wanted) in spec.inputs.iter().enumerate() {
                let place = (rule, input);
                inputs.push(match wanted {
                    RuleInput::Events { metric, matchers } => {
                        self.events(place, metric, matchers, at, store, late.as_mut()).await
                    }
                    RuleInput::Query { .. } => self.answers[&place].1.clone(),
                });
            }
            all.push(inputs);
        }
        all
    }

    async fn events(
        &mut self,
        place: (usize, usize),
        metric: &str,
        matchers: &[Matcher],
        at: Timestamp,
        store: &dyn Store,
        late: Pin<&mut Sleep>,
    ) -> InputData {
        let (intervals, patience) = (&self.intervals, self.patience);
        let sources = self.events.entry(place).or_default();
        let read = tokio::select! {
            biased;
            read = reports(metric, matchers, TimeRange::last(LOOK_BACK, at), store) => read,
            () = late => {
                let reason = format!("no answer within {patience:?}");
                Err(StoreError::Backend(reason.into()))
            }
        };
        let mut fresh: BTreeMap<Labels, Vec<_>> = BTreeMap::new();
        match read {
            Ok(read) => {
                for (labels, (counts, sums)) in read {
                    let Some(newest) = newest(&counts, &sums) else { continue };
                    let Some(source) = sources.get_mut(&labels) else {
                        // A first report says how much there was before, not what happened since.
                        let interval = configured(intervals, &labels).unwrap_or(USUAL_INTERVAL);
                        sources.insert(labels, Source { newest, interval });
                        continue;
                    };
                    let since = |samples: Vec<Sample>, last: &Sample| -> Vec<Sample> {
                        let later = samples.into_iter().filter(|sample| sample.at > last.at);
                        [last.clone()].into_iter().chain(later).collect()
                    };
                    let (count, sum) = &source.newest;
                    fresh.insert(labels, deltas(&since(counts, count), &since(sums, sum)));
                    if newest.0.at > count.at {
                        source.newest = newest;
                    }
                }
            }
            // Without a store no source reports; the rule will say so when it has lasted.
            Err(error) => tracing::error!(metric, %error, "events could not be read"),
        }
        sources.retain(|_, source| at.since(source.newest.0.at) < FORGET);
        let batches = sources.iter().map(|(labels, source)| EventBatch {
            source: labels.clone(),
            interval: source.interval,
            last_report: source.newest.0.at,
            deltas: fresh.remove(labels).unwrap_or_default(),
        });
        InputData::Events(batches.collect())
    }

    /// Asks all queries whose time has come, side by side.
    async fn ask(&mut self, rules: &[RuleSpec], at: Timestamp, queries: &Arc<dyn QueryEngine>) {
        let (mut asked, patience) = (JoinSet::new(), self.patience);
        for (rule, spec) in rules.iter().enumerate() {
            for (input, wanted) in spec.inputs.iter().enumerate() {
                let RuleInput::Query { query, every } = wanted else { continue };
                let place = (rule, input);
                // Ticks are not to the millisecond: half of one early is not early.
                let known = |(asked, _): &(Timestamp, _)| at.since(*asked) + HALF_A_TICK < *every;
                if self.answers.get(&place).is_some_and(known) {
                    continue;
                }
                // Until it has answered, and should its task fail.
                let silent = InputData::Query(Err("the query was not answered".to_owned()));
                self.answers.insert(place, (at, silent));
                let (query, queries) = (query.clone(), queries.clone());
                asked.spawn(async move { (place, answer(&query, at, &*queries, patience).await) });
            }
        }
        while let Some(done) = asked.join_next().await {
            if let Ok((place, answer)) = done {
                self.answers.insert(place, (at, InputData::Query(answer)));
            }
        }
    }
}

/// The numbers that a query evaluates to, or why there are none.
async fn answer(
    query: &str,
    at: Timestamp,
    queries: &dyn QueryEngine,
    patience: Duration,
) -> Result<Vec<(Labels, f64)>, String> {
    let options = QueryOptions { timeout: Some(patience), ..QueryOptions::default() };
    let late = QueryError::TimedOut(patience);
    let answer = timeout(patience, queries.instant(query, at, &options)).await;
    let values = answer.unwrap_or(Err(late)).map_err(|error| error.to_string())?.into_values();
    Ok(values.into_iter().filter_map(|(l, v)| Some((l, v.as_float()?))).collect())
}

/// The newest report that has both count and sum, and is not the end of the series.
fn newest(counts: &[Sample], sums: &[Sample]) -> Option<(Sample, Sample)> {
    let mut whole = counts.iter().rev().filter(|count| !count.value.is_stale());
    whole.find_map(|count| {
        let sum = sums.iter().rfind(|sum| sum.at == count.at && !sum.value.is_stale())?;
        Some((count.clone(), sum.clone()))
    })
}

/// How often a source was said to report.
fn configured(intervals: &[(Labels, Duration)], source: &Labels) -> Option<Duration> {
    let fits = |of: &Labels| of.iter().all(|(name, value)| source.get(name) == Some(value));
    intervals.iter().find(|(of, _)| fits(of)).map(|(_, interval)| *interval)
}

type Reports = BTreeMap<Labels, (Vec<Sample>, Vec<Sample>)>;

/// The `_count` and `_sum` samples of a metric, by source: the labels without the name.
async fn reports(
    metric: &str,
    matchers: &[Matcher],
    range: TimeRange,
    store: &dyn Store,
) -> Result<Reports, StoreError> {
    let name = stored_name(metric);
    let mut read = Reports::new();
    for suffix in ["_count", "_sum"] {
        let named = Matcher::equal(NAME, &format!("{name}{suffix}"));
        let all: Vec<_> = matchers.iter().cloned().chain([named]).collect();
        for (labels, samples) in store.collect(&all, range).await? {
            let (counts, sums) = read.entry(labels.without(&[NAME])).or_default();
            if suffix == "_count" { *counts = samples } else { *sums = samples }
        }
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::query::{Answer, Data};
    use crate::core::store::MemoryStore;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    async fn report(store: &MemoryStore, cluster: &str, now: i64, count: f64, sum: f64) {
        for (suffix, value) in [("_count", count), ("_sum", sum)] {
            let labels = Labels::metric(&format!("latency_ms{suffix}")).with("cluster", cluster);
            store.append_one(&labels, at(now), value).await.unwrap();
        }
    }

    async fn batches(feed: &mut Feed, store: &MemoryStore, now: i64) -> Vec<EventBatch> {
        let late = std::pin::pin!(sleep(PATIENCE));
        let input = feed.events((0, 0), "latency.ms", &[], at(now), store, late).await;
        match input {
            InputData::Events(batches) => batches,
            InputData::Query(_) => panic!("a query"),
        }
    }

    #[tokio::test]
    async fn each_event_is_handed_on_once_also_when_its_report_comes_late() {
        let own = (Labels::from_pairs([("cluster", "a")]), Duration::from_secs(1));
        let (store, mut feed) = (MemoryStore::new(), Feed::new(vec![own]));
        report(&store, "a", 0, 10.0, 1000.0).await;
        assert_eq!(batches(&mut feed, &store, 0).await[0].deltas, []);
        report(&store, "a", 1, 12.0, 1300.0).await;
        let first = batches(&mut feed, &store, 3).await;
        assert_eq!((first[0].deltas[0].count, first[0].deltas[0].sum), (2.0, 300.0));
        // Stamped before the tick at 3, stored after it.
        report(&store, "a", 2, 13.0, 1400.0).await;
        let second = batches(&mut feed, &store, 4).await;
        assert_eq!(second[0].deltas.len(), 1);
        assert_eq!((second[0].interval, second[0].last_report), (Duration::from_secs(1), at(2)));
    }

    #[tokio::test]
    async fn a_source_that_reports_less_often_than_the_look_back_loses_nothing() {
        let (store, mut feed) = (MemoryStore::new(), Feed::new(vec![]));
        report(&store, "a", 0, 10.0, 1000.0).await;
        batches(&mut feed, &store, 0).await;
        assert_eq!(batches(&mut feed, &store, 200).await[0].deltas, []);
        report(&store, "a", 300, 13.0, 1900.0).await;
        let late = batches(&mut feed, &store, 301).await;
        assert_eq!((late[0].deltas[0].count, late[0].deltas[0].sum), (3.0, 900.0));
        assert_eq!(batches(&mut feed, &store, 302).await[0].deltas, []);
    }

    #[tokio::test]
    async fn a_source_that_falls_silent_is_still_known() {
        let (store, mut feed) = (MemoryStore::new(), Feed::new(vec![]));
        report(&store, "a", 0, 1.0, 1.0).await;
        batches(&mut feed, &store, 0).await;
        let known = batches(&mut feed, &store, 1000).await;
        assert_eq!((known.len(), known[0].last_report), (1, at(0)));
        assert_eq!(batches(&mut feed, &store, 4000).await, []);
    }

    /// Answers `quick` at once, and nothing else ever.
    #[derive(Debug)]
    struct Stuck;

    #[async_trait::async_trait]
    impl QueryEngine for Stuck {
        async fn instant(
            &self,
            query: &str,
            at: Timestamp,
            _options: &QueryOptions,
        ) -> Result<Answer, QueryError> {
            match query {
                "quick" => Ok(Data::Scalar(at, 7.0).into()),
                _ => std::future::pending().await,
            }
        }

        async fn range(
            &self,
            _query: &str,
            _range: TimeRange,
            _step: Duration,
            _options: &QueryOptions,
        ) -> Result<Answer, QueryError> {
            std::future::pending().await
        }
    }

    fn rule(name: &str, input: RuleInput) -> RuleSpec {
        RuleSpec {
            name: name.into(),
            service: None,
            hold: Duration::ZERO,
            recover: Duration::ZERO,
            inputs: vec![input],
        }
    }

    #[tokio::test(start_paused = true)]
    async fn queries_that_never_end_cost_a_tick_half_a_second_and_no_other_rule_its_input() {
        let (store, queries) = (MemoryStore::new(), Arc::new(Stuck) as Arc<dyn QueryEngine>);
        report(&store, "a", 0, 1.0, 1.0).await;
        let query = |query: &str| RuleInput::Query { query: query.into(), every: LOOK_BACK };
        let metric = "latency.ms".into();
        let rules = [
            rule("a", query("stuck")),
            rule("b", query("stuck, too")),
            rule("c", query("quick")),
            rule("d", RuleInput::Events { metric, matchers: Vec::new() }),
        ];
        let mut feed = Feed::new(Vec::new());
        let read = feed.read(&rules, at(0), &store, &queries);
        let read = timeout(PATIENCE + Duration::from_millis(1), read).await.unwrap();
        let late = |input: &InputData| matches!(input, InputData::Query(Err(why)) if why == "the query timed out after 500ms");
        assert!(late(&read[0][0]) && late(&read[1][0]), "{read:?}");
        assert!(
            matches!(&read[2][0], InputData::Query(Ok(all)) if all[..] == [(Labels::empty(), 7.0)])
        );
        assert!(matches!(&read[3][0], InputData::Events(batches) if batches.len() == 1));
    }
}
