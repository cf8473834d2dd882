//! Alerts: what a rule is given, what it answers, and the states that follow.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::labels::Labels;
use crate::matcher::Matcher;
use crate::name::{Service, stored_name};
use crate::sample::Sample;
use crate::store::{SeriesSet, StoreError};
use crate::time::Timestamp;

/// Decides, at each tick and for each label set, whether something is wrong.
///
/// Synchronous: what it reads was fetched before and stands in the [`TickContext`]. A rule keeps
/// its own windows and nothing else; holding, recovering and notifying are the engine's.
///
/// A panic in a rule is caught and reported as [`Condition::Error`] of that rule alone.
pub trait AlertRule: fmt::Debug + Send + 'static {
    /// What the rule is called and what it reads. Must not change.
    fn spec(&self) -> &RuleSpec;

    /// Fills the windows from stored history, before the first tick. Called once for each
    /// [`RuleInput::Events`], with the `_count` and `_sum` series of that input, and for each
    /// [`RuleInput::Counts`] as often as its history has pieces, the oldest first: with the series of
    /// `part`, and then with those of `total`, where one that is both comes again.
    ///
    /// # Errors
    ///
    /// [`RuleError`] when the history cannot be used; the rule then starts with empty windows.
    fn warm_up(&mut self, input: usize, history: &mut dyn SeriesSet) -> Result<(), RuleError>;

    /// Reports the condition of every label set that the rule knows, once. The label sets have no
    /// `__name__`; answers to queries may.
    fn evaluate(&mut self, cx: &TickContext<'_>, out: &mut dyn ConditionSink);
}

/// What a rule is called, what it reads, and how its alert behaves.
#[derive(Clone, Debug)]
pub struct RuleSpec {
    /// Name of the alert, to which runbooks bind.
    pub name: String,
    /// The service that the alert belongs to, where the rule is about one; else the label
    /// `service` of each label set says it.
    pub service: Option<Service>,
    /// What the rule reads, in the order of [`TickContext::inputs`].
    pub inputs: Vec<RuleInput>,
    /// How long a breach must last before the alert fires.
    pub hold: Duration,
    /// How long it must be over before the alert resolves.
    pub recover: Duration,
}

/// One thing that a rule reads.
#[derive(Clone, Debug)]
pub enum RuleInput {
    /// How many events there were and what they add up to: the `_count` and `_sum` of a metric.
    Events {
        /// Name of the metric, in either spelling.
        metric: String,
        /// More conditions on its series.
        matchers: Vec<Matcher>,
    },
    /// How many events there were, and how many of them of one kind. Handed on as
    /// [`InputData::Events`], where [`EventDelta::sum`] is how many of that kind.
    Counts {
        /// The series that count every event.
        total: Vec<Matcher>,
        /// The series that count those of one kind; they may be among those of `total`.
        part: Vec<Matcher>,
        /// What the series are.
        kind: CountKind,
        /// How much of the past the rule wants to know.
        history: Duration,
    },
    /// The newest answer to a query.
    Query {
        /// In the language of the engine's [`QueryEngine`](crate::query::QueryEngine).
        query: String,
        /// How often to ask.
        every: Duration,
    },
}

/// How [`RuleInput::Counts`] is read off its series.
#[derive(Clone, Debug, PartialEq)]
pub enum CountKind {
    /// Counters. One that appears in a source that has reported for a while began at zero.
    Counters,
    /// The `_count` of a histogram, and of its buckets the one with this edge, which every source must
    /// have; otherwise the input is [`InputData::Unusable`].
    Bucket {
        /// Stored name of the histogram.
        metric: String,
        /// The edge.
        edge: f64,
    },
    /// A gauge: each sample in `total` is an event, and of one kind are those that are zero. `part` is
    /// empty.
    Zeros,
}

/// What a rule is given at a tick.
#[derive(Debug)]
pub struct TickContext<'a> {
    /// The instant to decide for.
    pub at: Timestamp,
    /// What was read, one for each of [`RuleSpec::inputs`].
    pub inputs: &'a [InputData],
}

/// What was read for one input.
#[derive(Clone, Debug)]
pub enum InputData {
    /// For [`RuleInput::Events`] and [`RuleInput::Counts`]: one batch for each source that ever
    /// reported.
    Events(Vec<EventBatch>),
    /// For [`RuleInput::Counts`]: why the series cannot be what the rule wants.
    Unusable(String),
    /// For [`RuleInput::Query`]: the newest answer, or why there is none.
    Query(Result<Vec<(Labels, f64)>, String>),
}

/// What one source reported since the tick before.
#[derive(Clone, Debug, PartialEq)]
pub struct EventBatch {
    /// Labels of the series, without name and `le`.
    pub source: Labels,
    /// How often the source is expected to report.
    pub interval: Duration,
    /// When it last did.
    pub last_report: Timestamp,
    /// What happened, ascending in time. A restart of the source counts from zero again.
    pub deltas: Vec<EventDelta>,
}

/// Events between two reports of a source.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EventDelta {
    /// The later of the two reports.
    pub at: Timestamp,
    /// How many.
    pub count: f64,
    /// Sum of their values.
    pub sum: f64,
}

/// What happened between the reports of a cumulative count and sum. A count that falls began anew:
/// all it says happened since.
///
/// `counts` and `sums` are the `_count` and `_sum` samples of one series, ascending in time; reports
/// that lack either are left out, staleness markers too: a source that was away goes on from where it
/// was.
pub fn deltas(counts: &[Sample], sums: &[Sample]) -> Vec<EventDelta> {
    let mut sums = sums.iter().peekable();
    let mut last: Option<(f64, f64)> = None;
    let mut all = Vec::new();
    for sample in counts {
        while sums.next_if(|s| s.at < sample.at).is_some() {}
        let sum = sums.peek().filter(|s| s.at == sample.at).map(|s| &s.value);
        let (Some(count), Some(sum)) = (sample.value.as_float(), sum.and_then(|v| v.as_float()))
        else {
            continue;
        };
        if !count.is_finite() || !sum.is_finite() {
            continue;
        }
        if let Some((last_count, last_sum)) = last {
            // A sum of what is not negative falls at a restart only, even if the count has caught up.
            let reset = count < last_count || (sum >= 0.0 && last_sum >= 0.0 && sum < last_sum);
            let (base_count, base_sum) = if reset { (0.0, 0.0) } else { (last_count, last_sum) };
            all.push(EventDelta { at: sample.at, count: count - base_count, sum: sum - base_sum });
        }
        last = Some((count, sum));
    }
    all
}

/// What a rule answers for one label set.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The label set that the alert is about, without the name.
    pub labels: Labels,
    /// Whether something is wrong.
    pub condition: Condition,
    /// The number that decided, if there is one.
    pub value: Option<f64>,
    /// What it was held against.
    pub threshold: Option<f64>,
    /// One sentence with the numbers, for people.
    pub summary: String,
}

/// Whether something is wrong with one label set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// All is well.
    Ok,
    /// Something is wrong.
    Breach,
    /// The sources report, and nothing happened that could be judged. The alert keeps its state.
    Idle,
    /// No source has reported for three intervals. The alert keeps its state, and another is raised.
    NoData,
    /// The rule could not decide. The alert keeps its state.
    Error(String),
}

/// Takes the verdicts of one rule at one tick. The same label set twice is an error of the rule.
pub trait ConditionSink {
    /// Takes one verdict.
    fn report(&mut self, verdict: Verdict);
}

impl ConditionSink for Vec<Verdict> {
    fn report(&mut self, verdict: Verdict) {
        self.push(verdict);
    }
}

/// Why a rule could not use its history.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each message explains its fields")]
pub enum RuleError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),

    /// The series is not of a kind that the rule reads.
    #[error("series {labels} is not usable: {reason}")]
    Unusable { labels: Labels, reason: &'static str },
}

/// Where the alert of one label set stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum AlertState {
    /// Nothing is wrong.
    Inactive,
    /// Something is, but not yet for long.
    Pending {
        /// When the breach was first seen.
        since: Timestamp,
    },
    /// It has been for long.
    Firing {
        /// When the alert fired; together with the fingerprint this names the incident.
        since: Timestamp,
    },
    /// It is over, but not yet for long.
    Recovering {
        /// When the alert fired.
        firing_since: Timestamp,
        /// When the end of the breach was first seen.
        since: Timestamp,
    },
    /// It is over.
    Resolved {
        /// When the alert had fired.
        firing_since: Timestamp,
        /// When it resolved.
        at: Timestamp,
    },
}

impl AlertState {
    /// The state in one word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::Pending { .. } => "pending",
            Self::Firing { .. } => "firing",
            Self::Recovering { .. } => "recovering",
            Self::Resolved { .. } => "resolved",
        }
    }

    /// When this state began; `None` while inactive.
    pub fn since(&self) -> Option<Timestamp> {
        match *self {
            Self::Inactive => None,
            Self::Pending { since } | Self::Firing { since } | Self::Recovering { since, .. } => {
                Some(since)
            }
            Self::Resolved { at, .. } => Some(at),
        }
    }

    /// Whether a person should care: firing, or recovering from it.
    pub fn is_active(&self) -> bool {
        matches!(self, Self::Firing { .. } | Self::Recovering { .. })
    }
}

/// What is known of the data behind an alert; independent of its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertHealth {
    /// There is data.
    #[default]
    Ok,
    /// The sources report, and nothing happened.
    Idle,
    /// The sources are silent.
    NoData,
    /// The rule failed.
    Error,
}

/// Names one alert for one label set, the same in every process and after every restart.
///
/// The first 16 bytes of SHA-256 over the alert's stored name and its sorted labels.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// The fingerprint of the alert `name` for `labels`.
    pub fn of(name: &str, labels: &Labels) -> Self {
        let mut hash = Sha256::new();
        hash.update(stored_name(name).as_bytes());
        for (name, value) in labels.iter() {
            for part in [name, value] {
                hash.update((part.len() as u64).to_be_bytes());
                hash.update(part.as_bytes());
            }
        }
        Self(hex(&hash.finalize()[..16]))
    }

    /// 32 hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

/// An alert of one label set as it stands, for people and for programs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlertStatus {
    /// Name of the alert.
    pub name: String,
    /// Which one.
    pub fingerprint: Fingerprint,
    /// The service it belongs to, if any.
    pub service: Option<Service>,
    /// The label set it is about.
    pub labels: Labels,
    /// Where it stands.
    #[serde(flatten)]
    pub state: AlertState,
    /// What is known of its data.
    pub health: AlertHealth,
    /// The number that decided last, if there is one.
    pub value: Option<f64>,
    /// What it was held against.
    pub threshold: Option<f64>,
    /// One sentence with the numbers.
    pub summary: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_the_same_for_both_spellings_and_for_no_other_label_set() {
        let labels = Labels::from_pairs([("service", "a"), ("zone", "bc")]);
        let print = Fingerprint::of("x.latency_ms", &labels);
        assert_eq!(print, Fingerprint::of("x_latency_ms", &labels));
        let moved = Labels::from_pairs([("service", "ab"), ("zone", "c")]);
        assert_ne!(print, Fingerprint::of("x.latency_ms", &moved));
        assert_eq!(print.as_str().len(), 32);
    }

    #[test]
    fn a_restart_is_seen_in_the_sum_where_the_count_has_caught_up() {
        let samples = |values: [f64; 2]| {
            let at = |i| Timestamp::from_millis(i as i64);
            values
                .iter()
                .enumerate()
                .map(|(i, v)| Sample { at: at(i), value: (*v).into() })
                .collect()
        };
        let (counts, sums): (Vec<_>, Vec<_>) =
            (samples([40.0, 45.0]), samples([40_000.0, 22_500.0]));
        let expected = EventDelta { at: Timestamp::from_millis(1), count: 45.0, sum: 22_500.0 };
        assert_eq!(deltas(&counts, &sums), [expected]);
    }

    #[test]
    fn a_restarted_source_counts_from_zero() {
        let samples = |values: &[f64]| -> Vec<Sample> {
            values
                .iter()
                .enumerate()
                .map(|(i, v)| Sample { at: Timestamp::from_millis(i as i64), value: (*v).into() })
                .collect()
        };
        let counts = samples(&[10.0, 12.0, 3.0]);
        let sums = samples(&[1000.0, 1300.0, 90.0]);
        let all = deltas(&counts, &sums);
        assert_eq!(all[0], EventDelta { at: Timestamp::from_millis(1), count: 2.0, sum: 300.0 });
        assert_eq!(all[1], EventDelta { at: Timestamp::from_millis(2), count: 3.0, sum: 90.0 });
    }
}
