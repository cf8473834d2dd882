//! The judge of a drill: whether the story in the ledger is complete and in order.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use hms_ops::core::alert::{AlertState, AlertStatus};
use hms_ops::core::ledger::{Event, Recorded, Seq};
use hms_ops::core::mesh::ShiftState;
use hms_ops::core::name::same_name;
use hms_ops::core::time::Timestamp;
use serde::Serialize;

/// The receiver that every engine has.
const LOG: &str = "log";

/// What must happen after a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Step {
    Pending,
    Firing,
    RunClaimed,
    RunStarted,
    ShiftPlanned,
    ShiftAccepted,
    ShiftApplied,
    ShiftObserved,
    Noted,
    RunCompleted,
    ShiftSettled,
    Recovering,
    Resolved,
    FiringNotified,
    ResolvedNotified,
}

use Step::{
    Firing, FiringNotified, Noted, Pending, Recovering, Resolved, ResolvedNotified, RunClaimed,
    RunCompleted, RunStarted, ShiftAccepted, ShiftApplied, ShiftObserved, ShiftPlanned,
    ShiftSettled,
};

impl Step {
    pub(crate) const ALL: [Self; 15] = [
        Pending,
        Firing,
        RunClaimed,
        RunStarted,
        ShiftPlanned,
        ShiftAccepted,
        ShiftApplied,
        ShiftObserved,
        Noted,
        RunCompleted,
        ShiftSettled,
        Recovering,
        Resolved,
        FiringNotified,
        ResolvedNotified,
    ];

    /// What must have happened before. The bake of the shift, the end of the run and the recovery
    /// of the alert go on side by side.
    fn after(self) -> &'static [Self] {
        match self {
            Pending => &[],
            Firing => &[Pending],
            RunClaimed | FiringNotified => &[Firing],
            RunStarted => &[RunClaimed],
            ShiftPlanned => &[RunStarted],
            ShiftAccepted => &[ShiftPlanned],
            ShiftApplied => &[ShiftAccepted],
            ShiftObserved | Recovering => &[ShiftApplied],
            Noted | ShiftSettled => &[ShiftObserved],
            RunCompleted => &[Noted],
            Resolved => &[Recovering, RunCompleted],
            ResolvedNotified => &[Resolved],
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Pending => "alert pending",
            Firing => "alert firing",
            RunClaimed => "run claimed",
            RunStarted => "run started",
            ShiftPlanned => "shift planned",
            ShiftAccepted => "shift accepted",
            ShiftApplied => "shift applied",
            ShiftObserved => "shift observed",
            Noted => "note left",
            RunCompleted => "run completed",
            ShiftSettled => "shift settled",
            Recovering => "alert recovering",
            Resolved => "alert resolved",
            FiringNotified => "firing notified",
            ResolvedNotified => "resolved notified",
        })
    }
}

/// What happened, as far as it is told.
#[derive(Debug)]
pub(crate) struct Story {
    alert: String,
    /// The first entry of each step.
    steps: BTreeMap<Step, (Seq, Timestamp)>,
    runs: usize,
    setbacks: Vec<String>,
    /// Of the notifications that were queued: the state of the alert that each tells.
    told: HashMap<String, &'static str>,
}

impl Story {
    /// The story of the alert with this name, of which nothing is told yet.
    pub(crate) fn of(alert: &str) -> Self {
        Self {
            alert: alert.to_owned(),
            steps: BTreeMap::new(),
            runs: 0,
            setbacks: Vec::new(),
            told: HashMap::new(),
        }
    }

    /// Tells the next entry of the ledger.
    pub(crate) fn tell(&mut self, recorded: &Recorded) {
        let event = &recorded.entry.event;
        self.runs += usize::from(matches!(event, Event::RunClaimed { .. }));
        self.setbacks.extend(setback(event));
        if let Event::NotificationQueued { notification, .. } = event
            && self.is_ours(&notification.alert)
        {
            self.told.insert(notification.key.clone(), notification.alert.state.word());
        }
        if let Some(step) = self.step(event) {
            self.steps.entry(step).or_insert((recorded.seq, recorded.entry.at));
        }
    }

    /// When a step was taken first.
    pub(crate) fn at(&self, step: Step) -> Option<Timestamp> {
        self.steps.get(&step).map(|(_, at)| *at)
    }

    /// Whether everything has happened.
    pub(crate) fn is_complete(&self) -> bool {
        self.missing().next().is_none()
    }

    /// Whether something has happened that a good story does not have.
    pub(crate) fn is_hopeless(&self) -> bool {
        !self.setbacks.is_empty() || self.runs > 1
    }

    fn missing(&self) -> impl Iterator<Item = Step> {
        Step::ALL.into_iter().filter(|step| !self.steps.contains_key(step))
    }

    /// What is wrong with the story; empty if nothing is.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems = self.setbacks.clone();
        if self.runs > 1 {
            problems.push(format!("the runbook ran {} times for one incident", self.runs));
        }
        let missing: Vec<_> = self.missing().map(|step| step.to_string()).collect();
        if !missing.is_empty() {
            problems.push(format!("missing: {}", missing.join(", ")));
        }
        for (step, (seq, _)) in &self.steps {
            let early = step
                .after()
                .iter()
                .filter(|before| self.steps.get(before).is_some_and(|(before, _)| before > seq));
            problems.extend(early.map(|before| format!("out of order: {step} before {before}")));
        }
        problems
    }

    fn step(&self, event: &Event) -> Option<Step> {
        match event {
            Event::Transition { from, alert } if self.is_ours(alert) => {
                // An entry about the health of the data has the old state.
                if from == alert.state.word() {
                    return None;
                }
                match alert.state {
                    AlertState::Pending { .. } => Some(Pending),
                    AlertState::Firing { .. } => Some(Firing),
                    AlertState::Recovering { .. } => Some(Recovering),
                    AlertState::Resolved { .. } => Some(Resolved),
                    AlertState::Inactive => None,
                }
            }
            Event::RunClaimed { alert, .. } if same_name(alert, &self.alert) => Some(RunClaimed),
            Event::RunStarted { .. } => Some(RunStarted),
            Event::Note { .. } => Some(Noted),
            Event::RunFinished { outcome, .. } if outcome.is_success() => Some(RunCompleted),
            Event::ShiftPlanned { .. } => Some(ShiftPlanned),
            Event::ShiftReached { report, .. } => match report.state {
                ShiftState::Accepted => Some(ShiftAccepted),
                ShiftState::Applied => Some(ShiftApplied),
                ShiftState::Observed { .. } => Some(ShiftObserved),
                ShiftState::Settled { .. } => Some(ShiftSettled),
                _ => None,
            },
            Event::NotificationSettled { receiver, key, result: Ok(_) } if receiver == LOG => {
                match self.told.get(key) {
                    Some(&"firing") => Some(FiringNotified),
                    Some(&"resolved") => Some(ResolvedNotified),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    fn is_ours(&self, alert: &AlertStatus) -> bool {
        same_name(&alert.name, &self.alert)
    }
}

/// What a good story does not have.
fn setback(event: &Event) -> Option<String> {
    match event {
        Event::RunFinished { outcome, .. } if !outcome.is_success() => {
            Some(format!("the run of the runbook {outcome}"))
        }
        Event::ShiftReached { report, .. } => match &report.state {
            ShiftState::Refused { reason }
            | ShiftState::RolledBack { reason }
            | ShiftState::Unconfirmed { reason } => {
                Some(format!("the shift was {}: {reason}", report.state.word()))
            }
            _ => None,
        },
        Event::NotificationSettled { receiver, result: Err(reason), .. } => {
            Some(format!("{receiver} was not notified: {reason}"))
        }
        _ => None,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use hms_ops::core::alert::{AlertHealth, Fingerprint};
    use hms_ops::core::labels::Labels;
    use hms_ops::core::ledger::Entry;
    use hms_ops::core::mesh::{ShiftReport, ShiftRequest, Split};
    use hms_ops::core::notify::Notification;
    use hms_ops::core::runbook::{ExecutionId, Outcome, RunbookError};

    use super::*;

    const ALERT: &str = "x.latency_ms";

    fn since() -> Timestamp {
        Timestamp::from_millis(0)
    }

    fn alert(state: AlertState) -> AlertStatus {
        AlertStatus {
            name: "x_latency_ms".to_owned(),
            fingerprint: Fingerprint::of(ALERT, &Labels::empty()),
            service: None,
            labels: Labels::empty(),
            state,
            health: AlertHealth::Ok,
            value: None,
            threshold: None,
            summary: String::new(),
        }
    }

    fn run() -> ExecutionId {
        ExecutionId::of("rollover", &Fingerprint::of(ALERT, &Labels::empty()), since())
    }

    fn transition(from: &str, state: AlertState) -> Event {
        Event::Transition { from: from.to_owned(), alert: alert(state) }
    }

    fn reached(state: ShiftState) -> Event {
        let (from, to) = (Split::new(), Split::new());
        let report = ShiftReport { service: "svc".into(), from, to, state };
        Event::ShiftReached { shift: "s".to_owned(), report }
    }

    fn queued(state: AlertState) -> Event {
        let key = state.word().to_owned();
        let notification = Notification { key, at: since(), alert: alert(state) };
        Event::NotificationQueued { receiver: LOG.to_owned(), notification }
    }

    fn settled(key: &str) -> Event {
        let result = Ok("written".to_owned());
        Event::NotificationSettled { receiver: LOG.to_owned(), key: key.to_owned(), result }
    }

    fn claimed() -> Event {
        Event::RunClaimed {
            execution: run(),
            runbook: "rollover".to_owned(),
            alert: ALERT.to_owned(),
            fingerprint: Fingerprint::of(ALERT, &Labels::empty()),
            service: None,
        }
    }

    /// Everything that happens in a good drill, in order.
    fn good() -> Vec<Event> {
        let since = since();
        let firing = AlertState::Firing { since };
        let resolved = AlertState::Resolved { firing_since: since, at: since };
        let evidence = String::new;
        let request = ShiftRequest {
            service: "svc".into(),
            to: "b".into(),
            percent: 100,
            key: "s".to_owned(),
            cause: String::new(),
        };
        vec![
            transition("inactive", AlertState::Pending { since }),
            transition("pending", firing),
            queued(firing),
            claimed(),
            settled("firing"),
            Event::RunStarted { execution: run(), process: 1 },
            Event::ShiftPlanned { shift: "s".to_owned(), request },
            reached(ShiftState::Accepted),
            reached(ShiftState::Applied),
            reached(ShiftState::Observed { evidence: evidence() }),
            Event::Note { execution: run(), text: String::new() },
            Event::RunFinished {
                execution: run(),
                outcome: Outcome::Completed,
                output: String::new(),
            },
            transition("firing", AlertState::Recovering { firing_since: since, since }),
            reached(ShiftState::Settled { evidence: evidence() }),
            transition("recovering", resolved),
            queued(resolved),
            settled("resolved"),
        ]
    }

    /// The story of these events, a second apart.
    pub(crate) fn story(events: Vec<Event>) -> Story {
        let mut story = Story::of(ALERT);
        for (i, event) in (1..).zip(events) {
            let at = Timestamp::from_millis(i * 1000);
            let entry = Entry { at, actor: "engine".to_owned(), event };
            story.tell(&Recorded::chain(Seq(i as u64), 1, String::new(), entry));
        }
        story
    }

    /// A good story; [`Step::Pending`] at 1 s, and so on.
    pub(crate) fn good_story() -> Story {
        story(good())
    }

    #[test]
    fn a_good_story_has_no_problems() {
        let story = good_story();
        assert_eq!(story.problems(), Vec::<String>::new());
        assert!(story.is_complete() && !story.is_hopeless());
        assert_eq!(story.at(Firing), Some(Timestamp::from_millis(2000)));
    }

    #[test]
    fn each_missing_step_is_named() {
        for (i, event) in good().iter().enumerate() {
            let mut events = good();
            events.remove(i);
            let problems = story(events).problems();
            assert!(problems.iter().any(|p| p.starts_with("missing: ")), "{event:?}: {problems:?}");
        }
        assert!(!story(vec![]).is_complete());
    }

    #[test]
    fn a_step_before_its_cause_is_out_of_order() {
        let mut events = good();
        events.swap(8, 9);
        assert_eq!(story(events).problems(), ["out of order: shift observed before shift applied"]);
    }

    #[test]
    fn the_bake_may_end_before_the_alert_recovers() {
        let mut events = good();
        events.swap(12, 13);
        assert_eq!(story(events).problems(), Vec::<String>::new());
    }

    #[test]
    fn a_second_run_is_a_problem() {
        let mut events = good();
        events.push(claimed());
        let story = story(events);
        assert!(story.is_hopeless());
        assert_eq!(story.problems(), ["the runbook ran 2 times for one incident"]);
    }

    #[test]
    fn a_setback_is_told_in_its_own_words() {
        let failed = Outcome::Failed { error: RunbookError::failed("no cluster left") };
        let events = vec![
            reached(ShiftState::Refused { reason: "cluster-b is unhealthy".to_owned() }),
            Event::RunFinished { execution: run(), outcome: failed, output: String::new() },
        ];
        let problems = story(events).problems();
        assert_eq!(problems[0], "the shift was refused: cluster-b is unhealthy");
        assert_eq!(problems[1], "the run of the runbook failed: no cluster left");
    }

    #[test]
    fn news_of_the_data_and_of_other_alerts_are_no_steps() {
        let mut other = alert(AlertState::Pending { since: since() });
        other.name = "other".to_owned();
        let story = story(vec![
            transition("pending", AlertState::Pending { since: since() }),
            Event::Transition { from: "inactive".to_owned(), alert: other },
        ]);
        assert_eq!(story.at(Pending), None);
    }
}
