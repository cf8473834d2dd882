//! A rule of one's own: fires when a queue has only grown for a while, however deep it is.
//!
//! `cargo run --example custom_rule` lets a queue grow and drain, and ends by itself when the alert
//! has resolved. `cargo test --example custom_rule` runs the suite of `hms_ops_testkit` on the rule.

use std::collections::{BTreeMap, VecDeque};
use std::error::Error;
use std::time::Duration;

use hms_ops::core::alert::{
    AlertRule, AlertState, Condition, ConditionSink, InputData, RuleError, RuleInput, RuleSpec,
    TickContext, Verdict,
};
use hms_ops::core::labels::{Labels, NAME};
use hms_ops::core::ledger::{Event, Ledger, LedgerError, Seq};
use hms_ops::core::store::SeriesSet;
use hms_ops::core::time::Timestamp;
use hms_ops::prelude::*;

#[hms_ops::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let ops = Ops::builder().service("claims").rule(QueueGrows::new("queue_depth")).start().await?;
    println!("a queue grows for 10 s and then drains; the ledger says what the rule makes of it");

    let filling = tokio::spawn(async {
        let (intake, payout) = (Gauge::new("queue_depth"), Gauge::new("queue_depth"));
        let (intake, payout) = (intake.label("queue", "intake"), payout.label("queue", "payout"));
        payout.set(40.0);
        for second in 0_i32.. {
            intake.set(f64::from(if second < 10 { second * 3 } else { 0 }));
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    print_until_resolved(&**ops.ledger()).await?;
    filling.abort();
    ops.shutdown(Duration::from_secs(10)).await?;
    Ok(())
}

/// Prints every transition, and returns when an alert has resolved.
async fn print_until_resolved(ledger: &dyn Ledger) -> Result<(), LedgerError> {
    let mut seen = Seq(0);
    loop {
        ledger.changed(seen).await?;
        for recorded in ledger.read(seen.next(), 100).await? {
            seen = recorded.seq;
            let Event::Transition { from, alert } = &recorded.entry.event else { continue };
            let (at, to) = (recorded.entry.at, alert.state.word());
            println!("{at} {}{}: {from} → {to} ({})", alert.name, alert.labels, alert.summary);
            if let AlertState::Resolved { .. } = alert.state {
                return Ok(());
            }
        }
    }
}

/// How long a queue must have grown.
const WINDOW: Duration = Duration::from_secs(4);

/// Breaks for each queue that is deeper than a while ago and was never drained since.
///
/// The time is that of the tick, so the rule needs no clock; holding and recovering are the
/// engine's.
#[derive(Debug)]
struct QueueGrows {
    spec: RuleSpec,
    queues: BTreeMap<Labels, Depths>,
}

/// The depths of one queue, oldest first; the first is the newest from before the window.
type Depths = VecDeque<(Timestamp, f64)>;

impl QueueGrows {
    fn new(metric: &str) -> Self {
        let query = metric.to_owned();
        let spec = RuleSpec {
            name: "queue.grows".to_owned(),
            // The label `service` of each queue says whose it is.
            service: None,
            inputs: vec![RuleInput::Query { query, every: Duration::from_secs(1) }],
            hold: Duration::from_secs(2),
            recover: Duration::from_secs(2),
        };
        Self { spec, queues: BTreeMap::new() }
    }
}

/// Says what the depths of one queue mean.
fn judge(depths: &Depths, at: Timestamp) -> (Condition, Option<f64>, String) {
    let (Some(&(since, first)), Some(&(_, last))) = (depths.front(), depths.back()) else {
        return (Condition::NoData, None, "the queue has no depth".to_owned());
    };
    let never_drained = depths.iter().zip(depths.iter().skip(1)).all(|(a, b)| a.1 <= b.1);
    let (condition, summary) = if at.since(since) < WINDOW {
        (Condition::Idle, format!("depth {last}, not yet watched for {WINDOW:?}"))
    } else if never_drained && first < last {
        (Condition::Breach, format!("depth {last}, was {first} and has only grown since"))
    } else {
        (Condition::Ok, format!("depth {last}"))
    };
    (condition, Some(last), summary)
}

impl AlertRule for QueueGrows {
    fn spec(&self) -> &RuleSpec {
        &self.spec
    }

    /// Only inputs of events have a history to warm up from.
    fn warm_up(&mut self, _input: usize, _history: &mut dyn SeriesSet) -> Result<(), RuleError> {
        Ok(())
    }

    fn evaluate(&mut self, cx: &TickContext<'_>, out: &mut dyn ConditionSink) {
        let InputData::Query(answer) = &cx.inputs[0] else { return };
        // An alert is about a label set, and the name of the metric is not part of it.
        let depths = answer.iter().flatten();
        let depths: BTreeMap<_, _> = depths.map(|(l, v)| (l.without(&[NAME]), *v)).collect();
        for (labels, depth) in &depths {
            let queue = self.queues.entry(labels.clone()).or_default();
            queue.push_back((cx.at, *depth));
            while queue.get(1).is_some_and(|(at, _)| cx.at.since(*at) >= WINDOW) {
                queue.pop_front();
            }
        }
        // A queue that is known gets a verdict at each tick, also when its depth cannot be read.
        for (labels, queue) in &self.queues {
            let (condition, value, summary) = match answer {
                Err(reason) => (Condition::Error(reason.clone()), None, reason.clone()),
                Ok(_) if depths.contains_key(labels) => judge(queue, cx.at),
                Ok(_) => (Condition::NoData, None, "the queue is no longer reported".to_owned()),
            };
            let labels = labels.clone();
            out.report(Verdict { labels, condition, value, threshold: None, summary });
        }
    }
}

#[cfg(test)]
mod conformance {
    hms_ops_testkit::rule_suite!(super::QueueGrows::new("queue_depth"));
}
