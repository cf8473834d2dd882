//! What the entries of the ledger mean, in words that people read.

use hms_ops_core::alert::{AlertHealth, AlertState, AlertStatus};
use hms_ops_core::ledger::{Event, Recorded, Seq};
use hms_ops_core::mesh::{ShiftReport, ShiftState};
use hms_ops_core::runbook::{ExecutionId, Outcome};
use hms_ops_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

const LONGEST_TITLE: usize = 200;
const LONGEST_DETAIL: usize = 600;

/// One entry of the ledger in words. Names, labels and notes in it are hostile text.
///
/// ```
/// use hms_ops_core::ledger::{Entry, Event, Recorded, Seq};
/// use hms_ops_core::time::Timestamp;
/// use hms_ops_dashboard::timeline::describe;
///
/// let event = Event::Held { held: true, reason: "release day".into() };
/// let entry = Entry { at: Timestamp::from_millis(0), actor: "person/ana".into(), event };
/// let item = describe(&Recorded::chain(Seq(1), 1, "0".repeat(64), entry));
/// assert_eq!(item.title, "automatic action stopped");
/// assert_eq!(item.detail, "by person/ana: release day");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Item {
    /// Where the entry is.
    pub seq: Seq,
    /// When it was decided or seen.
    pub at: Timestamp,
    /// What kind of thing happened.
    pub kind: ItemKind,
    /// What happened, in a few words.
    pub title: String,
    /// The numbers or the reason; may be empty.
    pub detail: String,
    /// The execution of a runbook that it is part of.
    pub run: Option<ExecutionId>,
    /// Whether that is good.
    pub tone: Tone,
}

/// What kind of thing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ItemKind {
    /// An alert changed.
    Transition,
    /// An execution of a runbook began.
    RunClaimed,
    /// A runbook called a capability.
    Call,
    /// A call was answered.
    Result,
    /// A runbook told people something.
    Note,
    /// An execution ended.
    Outcome,
    /// Traffic moves.
    Shift,
    /// On-call is told.
    Notification,
    /// A person stepped in.
    Control,
    /// Anything else.
    Other,
}

/// Whether something is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tone {
    /// Somebody should care.
    Bad,
    /// Somebody may be glad.
    Good,
    /// Neither.
    Neutral,
}

/// Says what an entry means.
pub fn describe(recorded: &Recorded) -> Item {
    let Recorded { seq, entry, .. } = recorded;
    let (kind, tone, title, detail) = words(&entry.actor, &entry.event);
    Item {
        seq: *seq,
        at: entry.at,
        kind,
        title: clip(title, LONGEST_TITLE),
        detail: clip(detail, LONGEST_DETAIL),
        run: execution(&entry.event).cloned(),
        tone,
    }
}

fn words(actor: &str, event: &Event) -> (ItemKind, Tone, String, String) {
    use Tone::{Bad, Good, Neutral};
    match event {
        Event::Transition { from, alert } => {
            let (tone, word) = transition(from, alert);
            let title = format!("{word}: {}", alert.name);
            (ItemKind::Transition, tone, title, alert.summary.clone())
        }
        Event::RunClaimed { runbook, alert, .. } => {
            let detail = format!("answers {alert}");
            (ItemKind::RunClaimed, Neutral, format!("runbook {runbook}"), detail)
        }
        Event::RunStarted { process, .. } => {
            let title = "runbook started".to_owned();
            (ItemKind::Other, Neutral, title, format!("in process {process}"))
        }
        Event::CallIntent { call, capability, args, .. } => {
            let title = format!("call {call}: {capability}");
            (ItemKind::Call, Neutral, title, brief(args))
        }
        Event::CallResult { call, result: Ok(answer), .. } => {
            (ItemKind::Result, Good, format!("call {call} answered"), brief(answer))
        }
        Event::CallResult { call, result: Err(reason), .. } => {
            (ItemKind::Result, Bad, format!("call {call} failed"), reason.clone())
        }
        Event::Note { text, .. } => (ItemKind::Note, Neutral, text.clone(), String::new()),
        Event::RunFinished { outcome, output, .. } => {
            let (tone, title) = match outcome {
                Outcome::Completed => (Good, "runbook completed"),
                _ => (Bad, "runbook did not complete"),
            };
            let said = outcome.to_string();
            let detail = match (outcome, output.trim()) {
                (Outcome::Completed, output) => output.to_owned(),
                (_, "") => said,
                (_, output) => format!("{said}; its output: {output}"),
            };
            (ItemKind::Outcome, tone, title.to_owned(), detail)
        }
        Event::ShiftPlanned { request, .. } => {
            let title =
                format!("shift {} % of {} to {}", request.percent, request.service, request.to);
            (ItemKind::Shift, Neutral, title, request.cause.clone())
        }
        Event::ShiftReached { report, .. } => {
            let title = format!("shift of {} {}", report.service, report.state.word());
            (ItemKind::Shift, shift_tone(&report.state), title, shift_detail(report))
        }
        Event::NotificationQueued { receiver, notification } => {
            let title = format!("to notify: {receiver}");
            (ItemKind::Notification, Neutral, title, notification.headline())
        }
        Event::NotificationSettled { receiver, result: Ok(receipt), .. } => {
            (ItemKind::Notification, Neutral, format!("notified: {receiver}"), receipt.clone())
        }
        Event::NotificationSettled { receiver, result: Err(reason), .. } => {
            (ItemKind::Notification, Bad, format!("not notified: {receiver}"), reason.clone())
        }
        Event::Held { held, reason } => {
            let (tone, title) = match held {
                true => (Bad, "automatic action stopped"),
                false => (Good, "automatic action allowed again"),
            };
            let by = format!("by {actor}");
            let detail = if reason.is_empty() { by } else { format!("{by}: {reason}") };
            (ItemKind::Control, tone, title.to_owned(), detail)
        }
        _ => (ItemKind::Other, Neutral, "an entry of a later release".to_owned(), String::new()),
    }
}

/// An alert's new state, or the health of its data where the state is the old one.
fn transition(from: &str, alert: &AlertStatus) -> (Tone, &'static str) {
    let word = alert.state.word();
    if from == word {
        return match alert.health {
            AlertHealth::Ok => (Tone::Neutral, "data again"),
            AlertHealth::Idle => (Tone::Neutral, "idle"),
            AlertHealth::NoData => (Tone::Bad, "no data"),
            AlertHealth::Error => (Tone::Bad, "cannot be evaluated"),
        };
    }
    let tone = match alert.state {
        AlertState::Firing { .. } => Tone::Bad,
        AlertState::Resolved { .. } => Tone::Good,
        _ => Tone::Neutral,
    };
    (tone, word)
}

fn shift_tone(state: &ShiftState) -> Tone {
    match state {
        ShiftState::Accepted | ShiftState::Applied => Tone::Neutral,
        ShiftState::Observed { .. } | ShiftState::Settled { .. } => Tone::Good,
        ShiftState::Refused { .. }
        | ShiftState::RolledBack { .. }
        | ShiftState::Unconfirmed { .. } => Tone::Bad,
    }
}

/// `cluster-a 100 → 0, cluster-b 0 → 100; the evidence or the reason`.
fn shift_detail(ShiftReport { from, to, state, .. }: &ShiftReport) -> String {
    let weight_before = |cluster| from.iter().find(|(c, _)| c == cluster).map_or(0, |(_, w)| *w);
    let changes: Vec<_> = to
        .iter()
        .map(|(cluster, weight)| format!("{cluster} {} → {weight}", weight_before(cluster)))
        .collect();
    match state.detail() {
        "" => changes.join(", "),
        detail => format!("{}; {detail}", changes.join(", ")),
    }
}

/// A JSON value in a line: `service eligibility-svc, percent 100` where it is a flat object.
fn brief(value: &Json) -> String {
    if let Ok(report) = ShiftReport::deserialize(value) {
        return format!("{}; {}", report.state.word(), shift_detail(&report));
    }
    match value {
        Json::Null => String::new(),
        Json::String(text) => text.clone(),
        Json::Object(fields) if fields.values().all(|v| !v.is_object() && !v.is_array()) => {
            let fields: Vec<_> =
                fields.iter().map(|(name, value)| format!("{name} {}", brief(value))).collect();
            fields.join(", ")
        }
        other => other.to_string(),
    }
}

/// The execution that an event is part of.
pub(crate) fn execution(event: &Event) -> Option<&ExecutionId> {
    match event {
        Event::RunClaimed { execution, .. }
        | Event::RunStarted { execution, .. }
        | Event::CallIntent { execution, .. }
        | Event::CallResult { execution, .. }
        | Event::Note { execution, .. }
        | Event::RunFinished { execution, .. } => Some(execution),
        _ => None,
    }
}

fn clip(mut text: String, longest: usize) -> String {
    if let Some((end, _)) = text.char_indices().nth(longest) {
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hms_ops_core::alert::Fingerprint;
    use hms_ops_core::labels::Labels;
    use hms_ops_core::ledger::Entry;
    use hms_ops_core::mesh::{ShiftRequest, Split};
    use hms_ops_core::notify::Notification;
    use hms_ops_core::runbook::RunbookError;
    use serde_json::json;

    use super::*;

    const NAME: &str = "eligibility.latency_ms";

    #[test]
    fn a_transition_names_the_new_state_or_what_became_of_the_data() {
        let since = Timestamp::from_millis(1000);
        let states = [
            AlertState::Inactive,
            AlertState::Pending { since },
            AlertState::Firing { since },
            AlertState::Recovering { firing_since: since, since },
            AlertState::Resolved { firing_since: since, at: since },
        ];
        let lines = states.map(|state| line(transition("other", alert(state, AlertHealth::Ok))));
        assert_eq!(
            lines,
            [
                "transition neutral | inactive: eligibility.latency_ms | mean is 412 ms",
                "transition neutral | pending: eligibility.latency_ms | mean is 412 ms",
                "transition bad | firing: eligibility.latency_ms | mean is 412 ms",
                "transition neutral | recovering: eligibility.latency_ms | mean is 412 ms",
                "transition good | resolved: eligibility.latency_ms | mean is 412 ms",
            ]
        );
        let healths = [AlertHealth::Ok, AlertHealth::Idle, AlertHealth::NoData, AlertHealth::Error];
        let firing = AlertState::Firing { since };
        let lines = healths.map(|health| line(transition("firing", alert(firing, health))));
        assert_eq!(
            lines,
            [
                "transition neutral | data again: eligibility.latency_ms | mean is 412 ms",
                "transition neutral | idle: eligibility.latency_ms | mean is 412 ms",
                "transition bad | no data: eligibility.latency_ms | mean is 412 ms",
                "transition bad | cannot be evaluated: eligibility.latency_ms | mean is 412 ms",
            ]
        );
    }

    #[test]
    fn a_run_reads_as_a_story() {
        let report = json!({
            "service": "eligibility-svc", "from": [["cluster-a", 100]], "to": [["cluster-b", 100]],
            "shift_state": "settled", "evidence": "42 requests, 0 failed",
        });
        let args = json!({ "service": "eligibility-svc", "to": "cluster-b", "percent": 100 });
        let story = [
            Event::RunClaimed {
                execution: run(),
                runbook: "rollover".into(),
                alert: NAME.into(),
                fingerprint: fingerprint(),
                service: Some("eligibility-svc".into()),
            },
            Event::RunStarted { execution: run(), process: 4242 },
            Event::CallIntent { execution: run(), call: 1, capability: "mesh.shift".into(), args },
            Event::CallResult { execution: run(), call: 1, result: Ok(report) },
            Event::CallResult { execution: run(), call: 2, result: Ok(json!(null)) },
            Event::CallResult { execution: run(), call: 3, result: Ok(json!([1, { "a": 2 }])) },
            Event::CallResult { execution: run(), call: 4, result: Err("not granted".into()) },
            Event::Note { execution: run(), text: "traffic shifted to cluster-b".into() },
            finished(Outcome::Completed, ""),
            finished(Outcome::Failed { error: RunbookError::failed("no cluster left") }, ""),
            finished(Outcome::TimedOut { after: Duration::from_secs(30) }, " waiting\n"),
        ];
        assert!(story.iter().all(|event| execution(event) == Some(&run())));
        assert_eq!(
            story.map(line),
            [
                "run_claimed neutral | runbook rollover | answers eligibility.latency_ms",
                "other neutral | runbook started | in process 4242",
                "call neutral | call 1: mesh.shift | percent 100, service eligibility-svc, to cluster-b",
                "result good | call 1 answered | settled; cluster-b 0 → 100; 42 requests, 0 failed",
                "result good | call 2 answered | ",
                "result good | call 3 answered | [1,{\"a\":2}]",
                "result bad | call 4 failed | not granted",
                "note neutral | traffic shifted to cluster-b | ",
                "outcome good | runbook completed | ",
                "outcome bad | runbook did not complete | failed: no cluster left",
                "outcome bad | runbook did not complete | killed after its time of 30s; its output: waiting",
            ]
        );
    }

    #[test]
    fn a_shift_says_what_moves_and_how_it_went() {
        let request = ShiftRequest {
            service: "eligibility-svc".into(),
            to: "cluster-b".into(),
            percent: 100,
            key: "k".into(),
            cause: "runbook rollover".into(),
        };
        let evidence = || "42 requests, 0 failed".to_owned();
        let reason = || "cluster-b is unhealthy".to_owned();
        let states = [
            ShiftState::Accepted,
            ShiftState::Applied,
            ShiftState::Observed { evidence: evidence() },
            ShiftState::Settled { evidence: evidence() },
            ShiftState::Refused { reason: reason() },
            ShiftState::RolledBack { reason: reason() },
            ShiftState::Unconfirmed { reason: reason() },
        ];
        let planned = line(Event::ShiftPlanned { shift: "s".into(), request });
        assert_eq!(
            planned,
            "shift neutral | shift 100 % of eligibility-svc to cluster-b | runbook rollover"
        );
        let split = |a, b| -> Split { vec![("cluster-a".into(), a), ("cluster-b".into(), b)] };
        let reached = states.map(|state| {
            let (from, to) = (split(100, 0), split(0, 100));
            let report = ShiftReport { service: "eligibility-svc".into(), from, to, state };
            line(Event::ShiftReached { shift: "s".into(), report })
        });
        let moves = "cluster-a 100 → 0, cluster-b 0 → 100";
        let (went_well, went_badly) = ("42 requests, 0 failed", "cluster-b is unhealthy");
        assert_eq!(
            reached,
            [
                format!("shift neutral | shift of eligibility-svc accepted | {moves}"),
                format!("shift neutral | shift of eligibility-svc applied | {moves}"),
                format!("shift good | shift of eligibility-svc observed | {moves}; {went_well}"),
                format!("shift good | shift of eligibility-svc settled | {moves}; {went_well}"),
                format!("shift bad | shift of eligibility-svc refused | {moves}; {went_badly}"),
                format!("shift bad | shift of eligibility-svc rolled back | {moves}; {went_badly}"),
                format!("shift bad | shift of eligibility-svc unconfirmed | {moves}; {went_badly}"),
            ]
        );
    }

    #[test]
    fn people_are_told_and_step_in() {
        let since = Timestamp::from_millis(1000);
        let alert = alert(AlertState::Firing { since }, AlertHealth::Ok);
        let notification = Notification { key: "k".into(), at: since, alert };
        let settled = |result| Event::NotificationSettled {
            receiver: "on-call".into(),
            key: "k".into(),
            result,
        };
        let events = [
            Event::NotificationQueued { receiver: "on-call".into(), notification },
            settled(Ok("accepted, 34 ms".into())),
            settled(Err("not deliverable: 404".into())),
            Event::Held { held: true, reason: "release day".into() },
            Event::Held { held: false, reason: String::new() },
        ];
        assert_eq!(
            events.map(line),
            [
                "notification neutral | to notify: on-call | \
                 FIRING eligibility.latency_ms (eligibility-svc): mean is 412 ms",
                "notification neutral | notified: on-call | accepted, 34 ms",
                "notification bad | not notified: on-call | not deliverable: 404",
                "control bad | automatic action stopped | by engine: release day",
                "control good | automatic action allowed again | by engine",
            ]
        );
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let item = item(Event::Note { execution: run(), text: "ß".repeat(300) });
        assert_eq!(item.title, format!("{}…", "ß".repeat(LONGEST_TITLE)));
    }

    #[test]
    fn an_item_has_the_shape_that_the_page_expects() {
        let item = item(Event::Note { execution: run(), text: "x".into() });
        let expected = json!({
            "seq": 17, "at": 5000, "kind": "note", "title": "x", "detail": "", "tone": "neutral",
            "run": run().as_str(),
        });
        assert_eq!(serde_json::to_value(item).unwrap(), expected);
    }

    fn line(event: Event) -> String {
        let Item { kind, tone, title, detail, .. } = item(event);
        let word = |name: serde_json::Result<Json>| name.unwrap().as_str().unwrap().to_owned();
        let (kind, tone) = (word(serde_json::to_value(kind)), word(serde_json::to_value(tone)));
        format!("{kind} {tone} | {title} | {detail}")
    }

    fn item(event: Event) -> Item {
        let entry = Entry { at: Timestamp::from_millis(5000), actor: "engine".into(), event };
        describe(&Recorded::chain(Seq(17), 1, "0".repeat(64), entry))
    }

    fn transition(from: &str, alert: AlertStatus) -> Event {
        Event::Transition { from: from.into(), alert }
    }

    fn alert(state: AlertState, health: AlertHealth) -> AlertStatus {
        AlertStatus {
            name: NAME.into(),
            fingerprint: fingerprint(),
            service: Some("eligibility-svc".into()),
            labels: Labels::empty(),
            state,
            health,
            value: Some(412.3),
            threshold: Some(300.0),
            summary: "mean is 412 ms".into(),
        }
    }

    fn finished(outcome: Outcome, output: &str) -> Event {
        Event::RunFinished { execution: run(), outcome, output: output.into() }
    }

    fn run() -> ExecutionId {
        ExecutionId::of("rollover", &fingerprint(), Timestamp::from_millis(0))
    }

    fn fingerprint() -> Fingerprint {
        Fingerprint::of(NAME, &Labels::empty())
    }
}
