//! The suite of [`AlertRule`].
//!
//! ```no_run
//! # use hms_ops_core::alert::*;
//! # #[derive(Debug)]
//! # struct BudgetRule;
//! # impl BudgetRule { fn new(_: &str, _: f64) -> Self { Self } }
//! # impl AlertRule for BudgetRule {
//! #     fn spec(&self) -> &RuleSpec { todo!() }
//! #     fn warm_up(
//! #         &mut self, _: usize, _: &mut dyn hms_ops_core::store::SeriesSet,
//! #     ) -> Result<(), RuleError> { todo!() }
//! #     fn evaluate(&mut self, _: &TickContext<'_>, _: &mut dyn ConditionSink) {}
//! # }
//! hms_ops_testkit::rule_suite!(BudgetRule::new("eligibility.latency_ms", 300.0));
//! ```
//!
//! The suite feeds every input of the rule from sources that fit its matchers; a rule that reads
//! queries only is asked less.

use std::collections::BTreeSet;
use std::time::Duration;

use hms_ops_core::alert::{
    AlertRule, Condition, EventBatch, EventDelta, InputData, RuleInput, RuleSpec, TickContext,
    Verdict, deltas,
};
use hms_ops_core::labels::{CLUSTER, INSTANCE, Labels, NAME, SERVICE};
use hms_ops_core::matcher::Matcher;
use hms_ops_core::sample::Sample;
use hms_ops_core::store::{MemoryStore, SelectHint, Store, StoreExt};
use hms_ops_core::time::{TimeRange, Timestamp};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::block_on;
use crate::world::{at, secs};

/// One test for each promise of [`AlertRule`](hms_ops_core::alert::AlertRule); see
/// [`rule`](crate::rule).
#[macro_export]
macro_rules! rule_suite {
    ($rule:expr) => {
        $crate::cases! { $rule;
            the_spec_does_not_change
            every_label_set_is_reported_once
            a_silent_source_is_no_data_and_never_ok
            a_rule_has_data_while_one_source_reports
            a_source_without_events_is_idle
            without_any_source_nothing_is_ok
            ; rule
        }

        #[test]
        fn a_warm_start_equals_having_lived_through_it() {
            $crate::rule::warm_equals_lived(|| $rule);
        }
    };
}

/// How often the sources of the suite report.
const INTERVAL: Duration = secs(1);

/// Not by time, events, silence or history; it has a name and reads something.
pub async fn the_spec_does_not_change(mut rule: impl AlertRule) {
    let rule = &mut rule;
    let spec = format!("{:?}", rule.spec());
    assert!(!rule.spec().name.is_empty() && !rule.spec().inputs.is_empty(), "{spec}");
    for input in 0..rule.spec().inputs.len() {
        let nothing = MemoryStore::new();
        let mut nothing =
            nothing.select(&[], TimeRange::ALL, &SelectHint::default()).await.unwrap();
        rule.warm_up(input, &mut *nothing).unwrap();
    }
    for t in 0..200 {
        let reports = if t < 100 { vec![report(t, &[(t, 3.0, 9000.0)])] } else { vec![] };
        tick(rule, t, &reports);
        assert_eq!(format!("{:?}", rule.spec()), spec, "after {t} s");
    }
}

/// Whatever the number of sources, and without the name of a metric.
pub async fn every_label_set_is_reported_once(mut rule: impl AlertRule) {
    let rule = &mut rule;
    for t in 1..100 {
        let reports: Vec<_> = (0..=t.min(5)).map(|_| report(t, &[(t, 2.0, 800.0)])).collect();
        let verdicts = tick(rule, t, &reports);
        let sets: BTreeSet<_> = verdicts.iter().map(|v| &v.labels).collect();
        assert_eq!(sets.len(), verdicts.len(), "one label set twice: {verdicts:?}");
        assert!(verdicts.iter().all(|v| v.labels.get(NAME).is_none()), "{verdicts:?}");
        assert!(verdicts.iter().all(|v| !v.summary.is_empty()), "{verdicts:?}");
    }
}

/// Missing data is not recovery, however good or bad the last of it was.
pub async fn a_silent_source_is_no_data_and_never_ok(mut rule: impl AlertRule) {
    let rule = &mut rule;
    if !reads_only_events(rule.spec()) {
        return;
    }
    for (start, sum) in [(0, 0.001), (1000, 1e9)] {
        for t in start..start + 10 {
            tick(rule, t, &[report(t, &[(t, 1.0, sum)])]);
        }
        let last = start + 9;
        for t in last + 4..last + 600 {
            let verdicts = tick(rule, t, &[report(last, &[])]);
            assert!(!verdicts.is_empty(), "{} s of silence, and no verdict", t - last);
            let silent = verdicts.iter().all(|v| v.condition == Condition::NoData);
            assert!(silent, "{} s of silence gave {verdicts:?}", t - last);
        }
    }
}

/// The silence of an abandoned cluster says nothing of the service, nor does a report that is late
/// by one interval.
pub async fn a_rule_has_data_while_one_source_reports(mut rule: impl AlertRule) {
    let rule = &mut rule;
    if !reads_only_events(rule.spec()) {
        return;
    }
    for t in 0..10 {
        tick(rule, t, &[report(t, &[(t, 1.0, 1.0)]), report(t, &[(t, 1.0, 1.0)])]);
    }
    for t in 10..100 {
        let late = t - t % 2;
        let events = [(late, 1.0, 1.0)];
        let reports = [report(9, &[]), report(late, if late == t { &events } else { &[] })];
        let verdicts = tick(rule, t, &reports);
        let services = verdicts.iter().filter(|v| v.labels.get(INSTANCE).is_none());
        let services: Vec<_> = services.collect();
        assert!(services.iter().all(|v| v.condition != Condition::NoData), "{verdicts:?}");
    }
}

/// Nothing happened is neither good nor bad: not with no delta, and not with deltas of zero.
pub async fn a_source_without_events_is_idle(mut rule: impl AlertRule) {
    let rule = &mut rule;
    if !reads_only_events(rule.spec()) {
        return;
    }
    for t in 0..100 {
        let zero = [(t, 0.0, 0.0)];
        let verdicts = tick(rule, t, &[report(t, if t % 2 == 0 { &zero } else { &[] })]);
        assert!(!verdicts.is_empty(), "a source reports, and there is no verdict");
        let idle = verdicts.iter().all(|v| v.condition == Condition::Idle);
        assert!(idle, "no event in {t} s gave {verdicts:?}");
    }
}

/// Before anybody reported, and when every query fails.
pub async fn without_any_source_nothing_is_ok(mut rule: impl AlertRule) {
    let rule = &mut rule;
    for t in 0..10 {
        let inputs: Vec<_> = (rule.spec().inputs.iter())
            .map(|input| match input {
                RuleInput::Events { .. } | RuleInput::Counts { .. } => {
                    InputData::Events(Vec::new())
                }
                RuleInput::Query { .. } => InputData::Query(Err("the store is gone".to_owned())),
            })
            .collect();
        let mut verdicts: Vec<Verdict> = Vec::new();
        rule.evaluate(&TickContext { at: at(t), inputs: &inputs }, &mut verdicts);
        let judged = |v: &Verdict| matches!(v.condition, Condition::Ok | Condition::Breach);
        assert!(!verdicts.iter().any(judged), "{verdicts:?}");
    }
}

/// Plays random histories to a rule that lives through them, and gives a second one their stored
/// form in [`AlertRule::warm_up`]: from then on both say the same.
pub fn warm_equals_lived<R: AlertRule>(make: impl Fn() -> R) {
    // Of each second and source: nothing, a restart, or so many events with this mean.
    let second = prop_oneof![
        1 => Just(Second::Silent),
        1 => Just(Second::Restart),
        8 => (0..20u32, 0..1000u32).prop_map(|(count, mean)| Second::Events(count, mean)),
    ];
    let seconds = prop::collection::vec([second.clone(), second], 2..200);
    let config = Config { cases: 64, failure_persistence: None, ..Config::default() };
    let played = TestRunner::new(config).run(&seconds, |seconds| {
        block_on(async {
            let history = History::of(&seconds);
            let (mut lived, mut warmed) = (make(), make());
            let now = seconds.len() as i64;
            for t in 0..now {
                tick(&mut lived, t, &history.reports(t));
            }
            history.warm(&mut warmed).await;
            for t in now..now + 100 {
                let reports = history.reports(t);
                let (expected, found) =
                    (tick(&mut lived, t, &reports), tick(&mut warmed, t, &reports));
                assert!(same(&expected, &found), "lived {expected:?}\nwarmed {found:?}");
            }
        });
        Ok(())
    });
    if let Err(failure) = played {
        panic!("{failure}");
    }
}

#[derive(Clone, Copy, Debug)]
enum Second {
    Silent,
    Restart,
    Events(u32, u32),
}

/// What the two sources of a random history reported: cumulative counts and sums.
struct History([(Vec<Sample>, Vec<Sample>); 2]);

impl History {
    fn of(seconds: &[[Second; 2]]) -> Self {
        Self([0, 1].map(|source| {
            let (mut count, mut sum) = (0.0, 0.0);
            let (mut counts, mut sums) = (Vec::new(), Vec::new());
            for (t, second) in seconds.iter().enumerate() {
                match second[source] {
                    Second::Silent => continue,
                    Second::Restart => (count, sum) = (0.0, 0.0),
                    Second::Events(n, mean) => {
                        count += f64::from(n);
                        sum += f64::from(n * mean);
                    }
                }
                let at = at(t as i64);
                counts.push(Sample { at, value: count.into() });
                sums.push(Sample { at, value: sum.into() });
            }
            (counts, sums)
        }))
    }

    /// What both sources reported at the tick `t` seconds after the epoch.
    fn reports(&self, t: i64) -> Vec<Report> {
        let reported = self.0.iter().map(|(counts, sums)| {
            let last = counts.iter().rev().find(|s| s.at <= at(t))?;
            let mut events = deltas(counts, sums);
            events.retain(|delta| delta.at == at(t));
            Some(Report { last: last.at, deltas: events })
        });
        // A source that has not reported yet is not known; one that stands before it, is.
        let known: Vec<_> = reported.collect();
        let none = || Report { last: Timestamp::MIN, deltas: Vec::new() };
        if known.iter().all(Option::is_none) {
            return Vec::new();
        }
        known.into_iter().map(|report| report.unwrap_or_else(none)).collect()
    }

    /// Hands the stored form to a rule, input by input.
    async fn warm(&self, rule: &mut dyn AlertRule) {
        for (i, input) in rule.spec().inputs.clone().iter().enumerate() {
            let store = MemoryStore::new();
            let series = match input {
                RuleInput::Events { metric, .. } => ["_count", "_sum"]
                    .map(|suffix| Labels::metric(&format!("{metric}{suffix}")))
                    .to_vec(),
                RuleInput::Counts { total, part, .. } => {
                    [total, part].map(|matchers| a_series(matchers)).to_vec()
                }
                RuleInput::Query { .. } => Vec::new(),
            };
            {
                for (source, (counts, sums)) in self.0.iter().enumerate() {
                    for (series, samples) in series.iter().zip([counts, sums]) {
                        let of = source_labels(rule.spec(), input, source);
                        let all = series.iter().chain(of.iter());
                        let labels = Labels::from_pairs(all);
                        for s in samples {
                            store.append_one(&labels, s.at, s.value.clone()).await.unwrap();
                        }
                    }
                }
            }
            let mut set = store.select(&[], TimeRange::ALL, &SelectHint::default()).await.unwrap();
            rule.warm_up(i, &mut *set).unwrap();
        }
    }
}

/// What one source says at a tick.
struct Report {
    last: Timestamp,
    deltas: Vec<EventDelta>,
}

/// A source that last reported at `last`, with what happened since the tick before: instant, count
/// and sum.
fn report(last: i64, events: &[(i64, f64, f64)]) -> Report {
    let delta = |&(t, count, sum): &(i64, f64, f64)| EventDelta { at: at(t), count, sum };
    Report { last: at(last), deltas: events.iter().map(delta).collect() }
}

/// Evaluates a rule, every input of which is fed from sources with these reports.
fn tick(rule: &mut dyn AlertRule, t: i64, reports: &[Report]) -> Vec<Verdict> {
    let spec = rule.spec();
    let batches = |input: &RuleInput| {
        let batch = |(i, report): (usize, &Report)| EventBatch {
            source: source_labels(spec, input, i),
            interval: INTERVAL,
            last_report: report.last,
            deltas: report.deltas.clone(),
        };
        reports.iter().enumerate().map(batch).collect()
    };
    let inputs: Vec<_> = (spec.inputs.iter())
        .map(|input| match input {
            RuleInput::Events { .. } | RuleInput::Counts { .. } => {
                InputData::Events(batches(input))
            }
            RuleInput::Query { .. } => InputData::Query(Ok(Vec::new())),
        })
        .collect();
    let mut verdicts = Vec::new();
    rule.evaluate(&TickContext { at: at(t), inputs: &inputs }, &mut verdicts);
    verdicts
}

/// A series that all `matchers` accept, as far as they say by which value.
fn a_series(matchers: &[Matcher]) -> Labels {
    let value = |m: &Matcher| Some((m.name().to_owned(), m.alternatives()?.first()?.to_string()));
    Labels::from_pairs(matchers.iter().filter_map(value))
}

/// Labels of a source that an input reads.
fn source_labels(spec: &RuleSpec, input: &RuleInput, i: usize) -> Labels {
    let service = spec.service.as_ref().map_or("eligibility-svc", |service| service.as_str());
    let labels = Labels::from_pairs([
        (SERVICE, service),
        (CLUSTER, ["cluster-a", "cluster-b"][i % 2]),
        (INSTANCE, ["0", "1", "2", "3", "4", "5"][i]),
    ]);
    let matchers = match input {
        RuleInput::Events { matchers, .. } | RuleInput::Counts { total: matchers, .. } => matchers,
        RuleInput::Query { .. } => return labels,
    };
    let asked = |m: &Matcher| m.literal().map(|value| (m.name().to_owned(), value.to_owned()));
    matchers
        .iter()
        .filter_map(asked)
        .filter(|(name, _)| name != NAME)
        .fold(labels, |all, (name, value)| all.with(&name, &value))
}

fn reads_only_events(spec: &RuleSpec) -> bool {
    spec.inputs.iter().all(|input| !matches!(input, RuleInput::Query { .. }))
}

/// The same verdicts, save for the rounding of sums that were added up in another order.
fn same(a: &[Verdict], b: &[Verdict]) -> bool {
    let near = |a: &Option<f64>, b: &Option<f64>| match (a, b) {
        (Some(a), Some(b)) => (a - b).abs() <= 1e-9 * a.abs().max(1.0),
        (a, b) => a == b,
    };
    a.len() == b.len()
        && a.iter().zip(b).all(|(a, b)| {
            (&a.labels, &a.condition) == (&b.labels, &b.condition)
                && near(&a.value, &b.value)
                && near(&a.threshold, &b.threshold)
        })
}
