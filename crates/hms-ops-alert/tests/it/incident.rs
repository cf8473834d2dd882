//! The life of an incident, tick by tick, as the engine tells it.

use std::time::Duration;

use hms_ops_alert::{BudgetRule, Engine, Tick};
use hms_ops_core::alert::{
    AlertHealth, AlertRule, AlertState, ConditionSink, EventBatch, EventDelta, InputData,
    RuleError, RuleSpec, TickContext,
};
use hms_ops_core::labels::Labels;
use hms_ops_core::ledger::{Entry, Event, History, Recorded, Seq};
use hms_ops_core::metric::Budget;
use hms_ops_core::store::SeriesSet;
use hms_ops_core::time::Timestamp;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// An engine with the budget of 300 ms over 5 s, held 5 s, recovering 3 s.
fn engine() -> Engine {
    let mut engine = Engine::new();
    engine.bind("eligibility_latency_ms", "rollover");
    engine.add_receiver("on-call");
    engine.add_rule(Box::new(rule()));
    engine
}

fn rule() -> BudgetRule {
    let budget = Budget::new(300.0).mean_over(secs(5)).hold(secs(5)).recover(secs(3));
    BudgetRule::new("eligibility.latency_ms", budget)
}

/// One second of a service: ten requests of `latency`, reported by one cluster.
fn second(engine: &mut Engine, now: i64, latency: Option<f64>) -> Tick {
    let deltas = latency.map(|ms| EventDelta { at: at(now), count: 10.0, sum: 10.0 * ms });
    let batch = EventBatch {
        source: Labels::from_pairs([("service", "eligibility-svc"), ("cluster", "cluster-a")]),
        interval: secs(1),
        last_report: at(now),
        deltas: deltas.into_iter().collect(),
    };
    engine.tick(at(now), &[vec![InputData::Events(vec![batch])]])
}

fn silent_second(engine: &mut Engine, now: i64, last_report: i64) -> Tick {
    let batch = EventBatch {
        source: Labels::from_pairs([("service", "eligibility-svc"), ("cluster", "cluster-a")]),
        interval: secs(1),
        last_report: at(last_report),
        deltas: vec![],
    };
    engine.tick(at(now), &[vec![InputData::Events(vec![batch])]])
}

/// `second name: from -> to`, for each transition.
fn told(now: i64, tick: &Tick) -> Vec<String> {
    tick.transitions
        .iter()
        .map(|event| match event {
            Event::Transition { from, alert } => {
                format!("{now} {}: {from} -> {}", alert.name, alert.state.word())
            }
            other => panic!("not a transition: {other:?}"),
        })
        .collect()
}

#[test]
fn an_incident_fires_once_runs_its_runbook_once_and_resolves_by_itself() {
    let mut engine = engine();
    let (mut story, mut runs, mut pages) = (Vec::new(), Vec::new(), Vec::new());
    for now in 0..30 {
        let latency = if (5..15).contains(&now) { 900.0 } else { 40.0 };
        let tick = second(&mut engine, now, Some(latency));
        story.extend(told(now, &tick));
        runs.extend(
            tick.runs
                .into_iter()
                .map(|(runbook, alert)| format!("{now} {runbook} for {}", alert.service.unwrap())),
        );
        pages.extend(
            tick.notifications.iter().map(|(to, n)| format!("{now} {to}: {}", n.headline())),
        );
    }
    assert_eq!(
        story,
        [
            "6 eligibility.latency_ms: inactive -> pending",
            "11 eligibility.latency_ms: pending -> firing",
            "18 eligibility.latency_ms: firing -> recovering",
            "21 eligibility.latency_ms: recovering -> resolved",
        ]
    );
    assert_eq!(runs, ["11 rollover for eligibility-svc"]);
    assert_eq!(
        pages,
        [
            "11 on-call: FIRING eligibility.latency_ms (eligibility-svc): \
             mean over 5s is 900 ms of 50 events, budget 300 ms",
            "21 on-call: RESOLVED eligibility.latency_ms (eligibility-svc): \
             mean over 5s is 40 ms of 50 events, budget 300 ms",
        ]
    );
}

#[test]
fn silence_keeps_the_alert_firing_and_raises_another_until_data_is_back() {
    let mut engine = engine();
    let mut story = Vec::new();
    for now in 0..12 {
        story.extend(told(now, &second(&mut engine, now, Some(900.0))));
    }
    for now in 12..40 {
        story.extend(told(now, &silent_second(&mut engine, now, 11)));
    }
    story.extend(told(40, &second(&mut engine, 40, Some(900.0))));
    assert_eq!(
        story,
        [
            "0 eligibility.latency_ms: inactive -> pending",
            "5 eligibility.latency_ms: pending -> firing",
            "15 eligibility.latency_ms.no_data: inactive -> firing",
            "15 eligibility.latency_ms: firing -> firing", // its health became no_data
            "40 eligibility.latency_ms.no_data: firing -> resolved",
            "40 eligibility.latency_ms: firing -> firing",
        ]
    );
}

#[test]
fn a_quiet_night_pages_nobody_and_resolves_nothing() {
    let mut engine = engine();
    for now in 0..12 {
        second(&mut engine, now, Some(900.0));
    }
    let mut pages = 0;
    for now in 12..4000 {
        pages += second(&mut engine, now, None).notifications.len();
    }
    let alert = engine.alerts().next().unwrap();
    assert_eq!(alert.state, AlertState::Firing { since: at(5) });
    assert_eq!((alert.health, pages), (AlertHealth::Idle, 0));
}

#[test]
fn six_quiet_hours_are_not_six_hours_of_breach() {
    let mut engine = engine();
    second(&mut engine, 0, Some(900.0));
    for now in 1..21_600 {
        second(&mut engine, now, None);
    }
    let tick = second(&mut engine, 21_600, Some(900.0));
    assert_eq!(told(0, &tick), ["0 eligibility.latency_ms: pending -> pending"]);
    assert_eq!(tick.runs, []);
    let since = engine.alerts().next().unwrap().state;
    assert_eq!(since, AlertState::Pending { since: at(21_600) });
}

#[test]
fn ten_minutes_without_data_are_not_ten_minutes_of_recovery() {
    let budget = Budget::new(300.0).mean_over(secs(5)).hold(secs(5)).recover(secs(30));
    let mut engine = Engine::new();
    engine.add_rule(Box::new(BudgetRule::new("eligibility.latency_ms", budget)));
    let mut now = 0;
    while !matches!(
        engine.alerts().next().map(|alert| alert.state),
        Some(AlertState::Recovering { .. })
    ) {
        second(&mut engine, now, Some(if now < 7 { 900.0 } else { 40.0 }));
        now += 1;
    }
    for silent in now..now + 600 {
        silent_second(&mut engine, silent, now - 1);
    }
    second(&mut engine, now + 600, Some(40.0));
    let state = engine.alerts().next().unwrap().state;
    assert_eq!(state, AlertState::Recovering { firing_since: at(5), since: at(now + 600) });
}

#[test]
fn after_a_restart_an_alert_has_the_state_and_since_that_it_had() {
    let mut before = engine();
    let mut history = History::default();
    for now in 0..8 {
        for event in second(&mut before, now, Some(900.0)).transitions {
            let entry = Entry { at: at(now), actor: "engine".into(), event };
            let seq = history.seq.next();
            history.apply(&Recorded::chain(Seq(seq.0), 1, String::new(), entry));
        }
    }
    let mut after = Engine::new();
    after.restore(&history);
    after.add_receiver("on-call");
    after.bind("eligibility.latency_ms", "rollover");
    after.add_rule(Box::new(rule()));

    let tick = second(&mut after, 9, Some(900.0));
    assert_eq!(tick, Tick::default(), "no second page, no second run");
    let alert = after.alerts().next().unwrap();
    assert_eq!(alert.state, AlertState::Firing { since: at(5) });
}

#[derive(Debug)]
struct Faulty(RuleSpec);

impl AlertRule for Faulty {
    fn spec(&self) -> &RuleSpec {
        &self.0
    }

    fn warm_up(&mut self, _: usize, _: &mut dyn SeriesSet) -> Result<(), RuleError> {
        Ok(())
    }

    fn evaluate(&mut self, _: &TickContext<'_>, _: &mut dyn ConditionSink) {
        panic!("divided by zero");
    }
}

#[test]
fn a_rule_that_panics_harms_no_other() {
    let mut engine = Engine::new();
    let spec = RuleSpec {
        name: "faulty".into(),
        service: None,
        inputs: vec![],
        hold: secs(0),
        recover: secs(0),
    };
    engine.add_rule(Box::new(Faulty(spec)));
    engine.add_rule(Box::new(rule()));
    let batch = EventBatch {
        source: Labels::from_pairs([("service", "s")]),
        interval: secs(1),
        last_report: at(1),
        deltas: vec![EventDelta { at: at(1), count: 1.0, sum: 999.0 }],
    };
    let tick = engine.tick(at(1), &[vec![], vec![InputData::Events(vec![batch])]]);
    assert_eq!(told(1, &tick), ["1 eligibility.latency_ms: inactive -> pending"]);
}
