//! A rule of a few lines, whole and with flaws.

use std::collections::BTreeMap;

use hms_ops_core::alert::{
    AlertRule, Condition, ConditionSink, EventDelta, InputData, RuleError, RuleInput, RuleSpec,
    TickContext, Verdict, deltas,
};
use hms_ops_core::labels::{Labels, NAME, SERVICE};
use hms_ops_core::sample::Sample;
use hms_ops_core::store::SeriesSet;
use hms_ops_core::time::TimeRange;
use hms_ops_testkit::world::secs;
use hms_ops_testkit::{rule, rule_suite};

use super::fails;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Flaw {
    None,
    SilenceIsWell,
    IdleIsWell,
    StartsCold,
    OnePerSource,
}

/// Breaks when the mean over a minute is above 300.
#[derive(Debug)]
struct Mean {
    flaw: Flaw,
    spec: RuleSpec,
    events: Vec<EventDelta>,
}

impl Mean {
    fn new(flaw: Flaw) -> Self {
        let metric = "eligibility.latency_ms".to_owned();
        let spec = RuleSpec {
            name: metric.clone(),
            service: Some("eligibility-svc".into()),
            inputs: vec![RuleInput::Events { metric, matchers: Vec::new() }],
            hold: secs(5),
            recover: secs(5),
        };
        Self { flaw, spec, events: Vec::new() }
    }
}

impl AlertRule for Mean {
    fn spec(&self) -> &RuleSpec {
        &self.spec
    }

    fn warm_up(&mut self, _: usize, history: &mut dyn SeriesSet) -> Result<(), RuleError> {
        let mut sources: BTreeMap<Labels, [Vec<Sample>; 2]> = BTreeMap::new();
        while history.advance()? {
            let is_sum = history.labels().name().is_some_and(|name| name.ends_with("_sum"));
            let source = sources.entry(history.labels().without(&[NAME])).or_default();
            history.read(&mut source[usize::from(is_sum)])?;
        }
        if self.flaw != Flaw::StartsCold {
            self.events.extend(sources.values().flat_map(|[count, sum]| deltas(count, sum)));
        }
        Ok(())
    }

    fn evaluate(&mut self, cx: &TickContext<'_>, out: &mut dyn ConditionSink) {
        let InputData::Events(batches) = &cx.inputs[0] else { return };
        self.events.extend(batches.iter().flat_map(|batch| &batch.deltas));
        let window = TimeRange::last(secs(60), cx.at);
        self.events.retain(|event| window.contains(event.at));
        let count: f64 = self.events.iter().map(|event| event.count).sum();
        let mean = self.events.iter().map(|event| event.sum).sum::<f64>() / count;
        let silent = batches.iter().all(|b| cx.at.since(b.last_report) > b.interval * 3);
        let condition = match () {
            () if silent && self.flaw != Flaw::SilenceIsWell => Condition::NoData,
            () if count == 0.0 && self.flaw != Flaw::IdleIsWell => Condition::Idle,
            () if mean > 300.0 => Condition::Breach,
            () => Condition::Ok,
        };
        let verdict = Verdict {
            labels: Labels::from_pairs([(SERVICE, "eligibility-svc")]),
            condition,
            value: (count > 0.0).then_some(mean),
            threshold: Some(300.0),
            summary: format!("the mean is {mean}"),
        };
        let times = if self.flaw == Flaw::OnePerSource { batches.len() } else { 1 };
        (0..times).for_each(|_| out.report(verdict.clone()));
    }
}

mod a_whole_one {
    use super::*;

    rule_suite!(Mean::new(Flaw::None));
}

#[test]
fn every_flaw_is_found() {
    assert!(fails(rule::a_silent_source_is_no_data_and_never_ok(Mean::new(Flaw::SilenceIsWell))));
    assert!(fails(rule::a_source_without_events_is_idle(Mean::new(Flaw::IdleIsWell))));
    assert!(fails(rule::every_label_set_is_reported_once(Mean::new(Flaw::OnePerSource))));
}

#[test]
#[should_panic(expected = "warmed")]
fn a_rule_that_starts_cold_is_found() {
    rule::warm_equals_lived(|| Mean::new(Flaw::StartsCold));
}
