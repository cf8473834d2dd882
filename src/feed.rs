//! Reads for every rule what it asks for, out of the store.

use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Sleep, sleep, timeout};

use crate::core::alert::{
    CountKind, EventBatch, EventDelta, InputData, RuleInput, RuleSpec, deltas,
};
use crate::core::labels::{Labels, NAME, SERVICE};
use crate::core::matcher::Matcher;
use crate::core::name::stored_name;
use crate::core::query::{QueryEngine, QueryError, QueryOptions};
use crate::core::sample::Sample;
use crate::core::signal::exact_edge;
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
    counts: HashMap<(usize, usize), Counts>,
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
        let (events, counts, answers) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self { intervals, patience: PATIENCE, events, counts, answers }
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
        for source in self.counts.values_mut().flat_map(|counts| counts.sources.values_mut()) {
            source.interval = configured(&self.intervals, &source.labels).unwrap_or(USUAL_INTERVAL);
        }
    }

    /// What happened up to `at` is known to the rule: its windows were filled from history.
    pub(crate) fn known_until(&mut self, place: (usize, usize), at: Timestamp) {
        self.counts.insert(place, Counts { known_until: Some(at), sources: BTreeMap::new() });
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
                        let pair = Pair::Events { metric, matchers };
                        self.events(place, pair, at, store, late.as_mut()).await
                    }
                    RuleInput::Counts {
                        total,
                        part,
                        kind: CountKind::Bucket { metric, edge },
                        ..
                    } => {
                        let pair = Pair::Bucket { total, part, metric, edge: *edge };
                        self.events(place, pair, at, store, late.as_mut()).await
                    }
                    RuleInput::Counts { total, part, kind, .. } => {
                        self.counts(place, (total, part, kind), at, store, late.as_mut()).await
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
        pair: Pair<'_>,
        at: Timestamp,
        store: &dyn Store,
        late: Pin<&mut Sleep>,
    ) -> InputData {
        let (intervals, patience) = (&self.intervals, self.patience);
        let known_until = self.counts.get(&place).and_then(|counts| counts.known_until);
        let sources = self.events.entry(place).or_default();
        let read = tokio::select! {
            biased;
            read = reports(pair, TimeRange::last(LOOK_BACK, at), store) => read,
            () = late => {
                let reason = format!("no answer within {patience:?}");
                Err(StoreError::Backend(reason.into()))
            }
        };
        let mut fresh: BTreeMap<Labels, Vec<_>> = BTreeMap::new();
        match read {
            Ok(Err(unusable)) => return InputData::Unusable(unusable),
            Ok(Ok(read)) => {
                for (labels, (counts, sums)) in read {
                    let Some(newest) = newest(&counts, &sums) else { continue };
                    let source = sources.entry(labels.clone()).or_insert_with(|| {
                        // A first report says how much there was before, not what happened since.
                        let known = known_until.and_then(|known| last_by(known, &counts, &sums));
                        let newest = known.unwrap_or_else(|| newest.clone());
                        let interval = configured(intervals, &labels).unwrap_or(USUAL_INTERVAL);
                        Source { newest, interval }
                    });
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
            Err(error) => tracing::error!(?pair, %error, "events could not be read"),
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

    async fn counts(
        &mut self,
        place: (usize, usize),
        (total, part, kind): (&[Matcher], &[Matcher], &CountKind),
        at: Timestamp,
        store: &dyn Store,
        late: Pin<&mut Sleep>,
    ) -> InputData {
        let (counts, patience) = (self.counts.entry(place).or_default(), self.patience);
        let known_until = *counts.known_until.get_or_insert(at);
        let read = tokio::select! {
            biased;
            read = counted(total, part, TimeRange::last(LOOK_BACK, at), store) => read,
            () = late => {
                let reason = format!("no answer within {patience:?}");
                Err(StoreError::Backend(reason.into()))
            }
        };
        let mut fresh: BTreeMap<Labels, Vec<EventDelta>> = BTreeMap::new();
        match read {
            Ok(read) => {
                for (key, series) in read {
                    let Some((labels, _)) = series.iter().flatten().next() else { continue };
                    let interval = configured(&self.intervals, labels).unwrap_or(USUAL_INTERVAL);
                    let Some(until) = both_until(&series, interval) else { continue };
                    let new = || Counted::new(labels.clone(), interval, until);
                    let source = counts.sources.entry(key.clone()).or_insert_with(new);
                    fresh.insert(key, source.take(&series, kind, known_until, until));
                }
            }
            // Without a store no source reports; the rule will say so when it has lasted.
            Err(error) => tracing::error!(%error, "the counts of an SLO could not be read"),
        }
        counts.sources.retain(|_, source| at.since(source.newest) < FORGET);
        let batches = counts.sources.iter().map(|(labels, source)| EventBatch {
            source: labels.clone(),
            interval: source.interval,
            last_report: source.newest,
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

/// How far the sources of a [`RuleInput::Counts`] were read.
#[derive(Debug, Default)]
struct Counts {
    /// What was before is known: from history, or it was before the first tick.
    known_until: Option<Timestamp>,
    sources: BTreeMap<Labels, Counted>,
}

/// How far the series of one source were read.
#[derive(Debug)]
struct Counted {
    /// Labels of one of its series, by which its interval is known.
    labels: Labels,
    interval: Duration,
    /// Its first report, and its newest.
    first: Timestamp,
    newest: Timestamp,
    /// The newest sample of each series in `total`, and in `part`.
    last: [HashMap<Labels, (Timestamp, f64)>; 2],
}

impl Counted {
    fn new(labels: Labels, interval: Duration, at: Timestamp) -> Self {
        Self { labels, interval, first: at, newest: Timestamp::MIN, last: Default::default() }
    }

    /// What happened since the last time and after `known_until`, up to `until`.
    fn take(
        &mut self,
        series: &Sides,
        kind: &CountKind,
        known_until: Timestamp,
        until: Timestamp,
    ) -> Vec<EventDelta> {
        let mut taken: BTreeMap<Timestamp, (f64, f64)> = BTreeMap::new();
        // It was not there when its source had reported for a while: it began at zero.
        let (first, newest) = (self.first, self.newest);
        let counters = *kind == CountKind::Counters;
        let began_since = |at: Timestamp| counters && at.since(first) > LOOK_BACK && at > newest;
        for (side, series) in series.iter().enumerate() {
            for (labels, samples) in series {
                let mut last = self.last[side].get(labels).copied();
                for Sample { at, value } in samples {
                    let value = value.as_float().filter(|value| value.is_finite());
                    let (at, Some(value)) = (*at, value) else { continue };
                    if at > until || last.is_some_and(|(last, _)| at <= last) {
                        continue;
                    }
                    let sum = taken.entry(at).or_default();
                    match last {
                        _ if *kind == CountKind::Zeros => {
                            sum.0 += 1.0;
                            sum.1 += f64::from(u8::from(value == 0.0));
                        }
                        Some((_, before)) => {
                            let more = if value < before { value } else { value - before };
                            if side == 0 { sum.0 += more } else { sum.1 += more }
                        }
                        None if began_since(at) => {
                            if side == 0 {
                                sum.0 += value
                            } else {
                                sum.1 += value
                            }
                        }
                        None => {}
                    }
                    last = Some((at, value));
                }
                if let Some(last) = last {
                    self.last[side].insert(labels.clone(), last);
                }
            }
        }
        self.newest = self.newest.max(until);
        for side in &mut self.last {
            side.retain(|_, (at, _)| until.since(*at) < FORGET);
        }
        let after = taken.into_iter().filter(|(at, _)| *at > known_until);
        after.map(|(at, (count, sum))| EventDelta { at, count, sum }).collect()
    }
}

/// The series of one source: those of `total`, and those of `part`.
type Sides = [Vec<(Labels, Vec<Sample>)>; 2];

/// The instant up to which both sides of a source have reported: what only one of them has waits, but
/// not for a side that has ended.
fn both_until(series: &Sides, interval: Duration) -> Option<Timestamp> {
    let newest = series.iter().filter_map(|side| {
        let ends = side.iter().filter_map(|(_, samples)| samples.last());
        ends.filter(|last| !last.value.is_stale()).map(|last| last.at).max()
    });
    let latest = newest.clone().max()?;
    newest.filter(|newest| latest.since(*newest) <= interval * 2).min()
}

/// The series of a [`RuleInput::Counts`] by source.
///
/// A source is what all labels name but those that tell the sides apart. `part` is read second: of what
/// was stored together with a sample of `total`, it then misses nothing.
async fn counted(
    total: &[Matcher],
    part: &[Matcher],
    range: TimeRange,
    store: &dyn Store,
) -> Result<BTreeMap<Labels, Sides>, StoreError> {
    let apart: Vec<_> = [NAME, "le"].into_iter().chain(part.iter().map(Matcher::name)).collect();
    let apart: Vec<_> = apart.into_iter().filter(|name| *name != SERVICE).collect();
    let mut sources: BTreeMap<Labels, Sides> = BTreeMap::new();
    for (side, matchers) in [total, part].into_iter().enumerate() {
        if matchers.is_empty() {
            continue;
        }
        for (labels, samples) in store.collect(matchers, range).await? {
            let source = sources.entry(labels.without(&apart)).or_default();
            source[side].push((labels, samples));
        }
    }
    Ok(sources)
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

/// The newest report that has both and is not after `until`.
fn last_by(until: Timestamp, counts: &[Sample], sums: &[Sample]) -> Option<(Sample, Sample)> {
    newest(&counts[..counts.partition_point(|sample| sample.at <= until)], sums)
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

/// Two series of each source, of which only reports that have both count.
#[derive(Clone, Copy, Debug)]
enum Pair<'a> {
    /// The `_count` and the `_sum` of a metric.
    Events { metric: &'a str, matchers: &'a [Matcher] },
    /// The `_count` and the bucket at an edge.
    Bucket { total: &'a [Matcher], part: &'a [Matcher], metric: &'a str, edge: f64 },
}

/// The samples of a pair by source, the labels without name and `le`; or why there is no such pair.
async fn reports(
    pair: Pair<'_>,
    range: TimeRange,
    store: &dyn Store,
) -> Result<Result<Reports, String>, StoreError> {
    let sides = match pair {
        Pair::Events { metric, matchers } => ["_count", "_sum"].map(|suffix| {
            let named = Matcher::equal(NAME, &format!("{}{suffix}", stored_name(metric)));
            matchers.iter().cloned().chain([named]).collect()
        }),
        Pair::Bucket { total, part, .. } => [total.to_vec(), part.to_vec()],
    };
    let mut read = Reports::new();
    for (side, matchers) in sides.iter().enumerate() {
        for (labels, samples) in store.collect(matchers, range).await? {
            let (counts, sums) = read.entry(labels.without(&[NAME, "le"])).or_default();
            if side == 0 { *counts = samples } else { *sums = samples }
        }
    }
    if let Pair::Bucket { total, metric, edge, .. } = pair
        && read.values().any(|(counts, sums)| !counts.is_empty() && sums.is_empty())
    {
        let bucket = Matcher::metric(&format!("{metric}_bucket"));
        let named = |matcher: &&Matcher| matcher.name() != NAME;
        let all: Vec<_> = total.iter().filter(named).cloned().chain([bucket]).collect();
        if let Err(refused) = exact_edge(&store.series(&all, range).await?, metric, edge) {
            return Ok(Err(refused.to_string()));
        }
    }
    Ok(Ok(read))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::matcher::Selector;
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
        let input = feed
            .events(
                (0, 0),
                Pair::Events { metric: "latency.ms", matchers: &[] },
                at(now),
                store,
                late,
            )
            .await;
        match input {
            InputData::Events(batches) => batches,
            other => panic!("{other:?}"),
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

    async fn count(store: &MemoryStore, name: &str, code: &str, now: i64, value: f64) {
        let labels = Labels::metric(name).with("cluster", "a").with("code", code);
        store.append_one(&labels, at(now), value).await.unwrap();
    }

    async fn counts(
        feed: &mut Feed,
        store: &MemoryStore,
        (total, part): (&str, &str),
        kind: CountKind,
        now: i64,
    ) -> InputData {
        let late = std::pin::pin!(sleep(PATIENCE));
        let selector = |text: &str| -> Vec<Matcher> {
            text.parse::<Selector>().map_or(Vec::new(), |s| s.matchers().to_vec())
        };
        let (total, part) = (selector(total), selector(part));
        feed.counts((0, 0), (&total, &part, &kind), at(now), store, late).await
    }

    const RATIO: (&str, &str) = ("requests_total", r#"requests_total{code="500"}"#);

    async fn ratio(feed: &mut Feed, store: &MemoryStore, now: i64) -> Vec<(i64, f64, f64)> {
        match counts(feed, store, RATIO, CountKind::Counters, now).await {
            InputData::Events(batches) => {
                let all = batches.iter().flat_map(|batch| &batch.deltas);
                all.map(|d| (d.at.as_millis() / 1000, d.count, d.sum)).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn counts_are_handed_on_once_and_begin_again_at_a_restart() {
        let (store, mut feed) = (MemoryStore::new(), Feed::new(vec![]));
        for code in ["200", "500"] {
            count(&store, "requests_total", code, 0, 100.0).await;
        }
        assert_eq!(ratio(&mut feed, &store, 0).await, []);
        count(&store, "requests_total", "200", 15, 110.0).await;
        count(&store, "requests_total", "500", 15, 103.0).await;
        assert_eq!(ratio(&mut feed, &store, 16).await, [(15, 13.0, 3.0)]);
        assert_eq!(ratio(&mut feed, &store, 17).await, []);
        count(&store, "requests_total", "200", 30, 5.0).await;
        count(&store, "requests_total", "500", 30, 1.0).await;
        assert_eq!(ratio(&mut feed, &store, 31).await, [(30, 6.0, 1.0)]);
    }

    #[tokio::test]
    async fn the_first_error_of_a_source_that_is_known_is_one() {
        let (store, mut feed) = (MemoryStore::new(), Feed::new(vec![]));
        for t in (0..=120).step_by(15) {
            count(&store, "requests_total", "200", t, 100.0).await;
            assert_eq!(ratio(&mut feed, &store, t).await.iter().map(|d| d.1).sum::<f64>(), 0.0);
        }
        count(&store, "requests_total", "200", 135, 100.0).await;
        count(&store, "requests_total", "500", 135, 1.0).await;
        assert_eq!(ratio(&mut feed, &store, 135).await, [(135, 1.0, 1.0)]);
    }

    #[tokio::test]
    async fn what_one_side_has_alone_waits_for_the_other() {
        let (store, mut feed) = (MemoryStore::new(), Feed::new(vec![]));
        let both = [("total", 10.0), ("good", 9.0)];
        for (name, value) in both {
            count(&store, name, "", 0, value).await;
        }
        let pair = ("total", "good");
        let mut read =
            async |now| match counts(&mut feed, &store, pair, CountKind::Counters, now).await {
                InputData::Events(batches) => batches[0].deltas.clone(),
                other => panic!("{other:?}"),
            };
        assert_eq!(read(0).await, []);
        count(&store, "total", "", 15, 20.0).await;
        assert_eq!(read(15).await.len(), 0);
        count(&store, "good", "", 15, 19.0).await;
        assert_eq!(read(16).await, [EventDelta { at: at(15), count: 10.0, sum: 10.0 }]);
    }

    #[tokio::test]
    async fn what_history_has_told_is_not_told_again_and_what_came_after_is() {
        let (store, mut feed) = (MemoryStore::new(), Feed::new(vec![]));
        for (t, value) in [(0, 10.0), (1, 11.0), (2, 13.0)] {
            count(&store, "requests_total", "200", t, value).await;
        }
        feed.known_until((0, 0), at(1));
        assert_eq!(ratio(&mut feed, &store, 2).await, [(2, 2.0, 0.0)]);
    }

    #[tokio::test]
    async fn samples_of_a_gauge_are_events_and_those_of_zero_are_told_apart() {
        let (store, mut feed) = (MemoryStore::new(), Feed::new(vec![]));
        feed.known_until((0, 0), at(0));
        for (t, up) in [(0, 1.0), (15, 0.0), (30, 1.0)] {
            count(&store, "up", "", t, up).await;
        }
        match counts(&mut feed, &store, ("up", ""), CountKind::Zeros, 31).await {
            InputData::Events(batches) => {
                let all: Vec<_> = batches[0].deltas.iter().map(|d| (d.count, d.sum)).collect();
                assert_eq!(all, [(1.0, 1.0), (1.0, 0.0)]);
            }
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_latency_without_the_exact_edge_is_refused_by_name() {
        let (store, mut feed) = (MemoryStore::new(), Feed::new(vec![]));
        let series =
            |name: &str, le: &str| Labels::metric(name).with("cluster", "a").with("le", le);
        store.append_one(&series("work_ms_count", ""), at(0), 10.0).await.unwrap();
        store.append_one(&series("work_ms_bucket", "300"), at(0), 10.0).await.unwrap();
        let mut read = async |edge: f64, now| {
            let selector = |text: &str| text.parse::<Selector>().unwrap().matchers().to_vec();
            let total = selector("work_ms_count");
            let part = selector(&format!("work_ms_bucket{{le=\"{edge}\"}}"));
            let pair = Pair::Bucket { total: &total, part: &part, metric: "work_ms", edge };
            let late = std::pin::pin!(sleep(PATIENCE));
            feed.events((edge as usize, 0), pair, at(now), &store, late).await
        };
        match read(250.0, 0).await {
            InputData::Unusable(why) => {
                assert!(why.starts_with(
                    r#"work_ms of {cluster="a"} has no bucket edge at 250, only at 300"#
                ))
            }
            other => panic!("{other:?}"),
        }
        assert!(matches!(read(300.0, 0).await, InputData::Events(batches) if batches.len() == 1));
        // What the count had before the edge was there is not bad.
        store.append_one(&series("work_ms_count", ""), at(1), 90.0).await.unwrap();
        store.append_one(&series("work_ms_count", ""), at(2), 95.0).await.unwrap();
        store.append_one(&series("work_ms_bucket", "400"), at(2), 94.0).await.unwrap();
        match read(400.0, 2).await {
            InputData::Events(batches) => assert_eq!(batches[0].deltas, []),
            other => panic!("{other:?}"),
        }
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
