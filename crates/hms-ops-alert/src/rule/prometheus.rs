//! Alerting rules as Prometheus evaluates them: `for`, `keep_firing_for`, and the series `ALERTS`.
//!
//! Source: the Prometheus documentation, "Alerting rules".

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hms_ops_core::labels::{Labels, NAME};
use hms_ops_core::time::Timestamp;

use crate::rule_file::{Kind, Rule};

/// The label with the name of the alert.
const ALERT_NAME: &str = "alertname";
/// The label with its state, of the series `ALERTS`.
const ALERT_STATE: &str = "alertstate";

/// The alerts of one rule, from one evaluation to the next.
#[derive(Debug, Default)]
pub struct Alerts {
    active: BTreeMap<Labels, Active>,
}

/// One alert that is pending or fires.
#[derive(Clone, Debug, PartialEq)]
pub struct Active {
    /// The labels of its series when it was last in the answer.
    pub series: Labels,
    /// The value of that series then.
    pub value: f64,
    /// When that was.
    pub seen: Timestamp,
    /// Since when the series is in the answer.
    pub since: Timestamp,
    /// Whether it fires.
    pub is_firing: bool,
    kept_since: Option<Timestamp>,
    shown: Shown,
}

/// The series under which an alert can be queried.
#[derive(Clone, Debug, PartialEq)]
struct Shown {
    pending: Labels,
    firing: Labels,
    for_state: Labels,
}

/// One series of the answer to a rule's query.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// As the query gave it.
    pub series: Labels,
    /// Of the alert: those of the series without its name, and those of the rule, expanded.
    pub labels: Labels,
    /// The value.
    pub value: f64,
}

/// Why a rule gave nothing at one evaluation.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each message explains its fields")]
pub enum EvaluationError {
    /// Series that differ before the rule's labels are applied, and not after.
    #[error("two series have the labels {labels} once those of the rule are applied")]
    SameLabels { labels: Labels },

    /// More than the group allows.
    #[error("the group allows {limit} of a rule, and this one has {found}")]
    OverLimit { limit: usize, found: usize },
}

impl Alerts {
    /// Brings the alerts to what the answer at `at` says, and returns the series `ALERTS` and
    /// `ALERTS_FOR_STATE` with their values.
    ///
    /// # Errors
    ///
    /// [`EvaluationError`] when two series become the same alert, which leaves all as it was, or when
    /// there are more than `limit`, which forgets all.
    pub fn step(
        &mut self,
        rule: &Rule,
        limit: Option<usize>,
        at: Timestamp,
        answer: Vec<Found>,
    ) -> Result<Vec<(Labels, f64)>, EvaluationError> {
        let (hold, keep_firing) = match rule.kind {
            Kind::Alert { hold, keep_firing, .. } => (hold, keep_firing),
            Kind::Record => (Duration::ZERO, Duration::ZERO),
        };
        let mut seen = BTreeSet::new();
        if let Some(twice) = answer.iter().find(|found| !seen.insert(&found.labels)) {
            return Err(EvaluationError::SameLabels { labels: twice.labels.clone() });
        }
        for (labels, alert) in &mut self.active {
            let ends = alert.is_firing && !keep_firing.is_zero();
            alert.kept_since = match seen.contains(labels) {
                false if ends => Some(alert.kept_since.unwrap_or(at)),
                _ => None,
            };
        }
        self.active.retain(|labels, alert| {
            seen.contains(labels)
                || alert.kept_since.is_some_and(|since| at.since(since) < keep_firing)
        });
        for Found { series, labels, value } in answer {
            let alert = self.active.entry(labels).or_insert_with_key(|labels| Active {
                series: Labels::empty(),
                value,
                seen: at,
                since: at,
                is_firing: false,
                kept_since: None,
                shown: Shown::of(rule, labels),
            });
            (alert.series, alert.value, alert.seen) = (series, value, at);
        }
        let found = self.active.len();
        if let Some(limit) = limit.filter(|limit| found > *limit) {
            self.active.clear();
            return Err(EvaluationError::OverLimit { limit, found });
        }
        let mut shown = Vec::with_capacity(2 * found);
        for alert in self.active.values_mut() {
            alert.is_firing |= at.since(alert.since) >= hold;
            let state = if alert.is_firing { &alert.shown.firing } else { &alert.shown.pending };
            let since = alert.since.as_millis().div_euclid(1000) as f64;
            shown.extend([(state.clone(), 1.0), (alert.shown.for_state.clone(), since)]);
        }
        Ok(shown)
    }

    /// All that are pending or fire, by their labels.
    pub fn active(&self) -> impl Iterator<Item = (&Labels, &Active)> {
        self.active.iter()
    }
}

impl Shown {
    fn of(rule: &Rule, labels: &Labels) -> Self {
        // A label of the rule that expands to nothing is shown as it is written.
        let written = rule.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let of = |name, state| {
            let more = [(NAME, name), (ALERT_NAME, rule.name.as_str()), (ALERT_STATE, state)];
            Labels::from_pairs(written.clone().chain(labels.iter()).chain(more))
        };
        Self {
            pending: of("ALERTS", "pending"),
            firing: of("ALERTS", "firing"),
            for_state: of("ALERTS_FOR_STATE", ""),
        }
    }
}

/// The labels of the alert that `rule` raises for `series`, where `expanded` are those of the rule.
pub fn alert_labels<'a>(
    rule: &'a Rule,
    series: &'a Labels,
    expanded: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Labels {
    let unnamed = series.iter().chain([(NAME, "")]);
    Labels::from_pairs(unnamed.chain(expanded).chain([(ALERT_NAME, rule.name.as_str())]))
}

/// What a recording rule stores of the answer to its query.
///
/// # Errors
///
/// [`EvaluationError`] when two series become one, or there are more than `limit`.
pub fn recorded<V>(
    rule: &Rule,
    limit: Option<usize>,
    answer: Vec<(Labels, V)>,
) -> Result<Vec<(Labels, V)>, EvaluationError> {
    let mut all = BTreeSet::new();
    let mut series = Vec::with_capacity(answer.len());
    for (labels, value) in answer {
        let own = rule.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let named = labels.iter().chain([(NAME, rule.name.as_str())]);
        let labels = Labels::from_pairs(named.chain(own));
        if !all.insert(labels.clone()) {
            return Err(EvaluationError::SameLabels { labels });
        }
        series.push((labels, value));
    }
    match limit.filter(|limit| series.len() > *limit) {
        Some(limit) => Err(EvaluationError::OverLimit { limit, found: series.len() }),
        None => Ok(series),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule_file::RuleFile;

    fn rule(more: &str) -> Rule {
        let text = format!("groups: [{{name: g, rules: [{{alert: A, expr: up{more}}}]}}]");
        let mut file = RuleFile::parse("r.yml", &text, &|_| Ok(())).unwrap();
        file.groups.remove(0).rules.remove(0)
    }

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_millis(secs * 1000)
    }

    fn found(rule: &Rule, job: &str) -> Found {
        let series = Labels::metric("up").with("job", job);
        let expanded = rule.labels.iter().map(|(name, value)| (&**name, &**value));
        let labels = alert_labels(rule, &series, expanded);
        Found { labels, series, value: 1.0 }
    }

    #[track_caller]
    fn expect(alerts: &mut Alerts, rule: &Rule, secs: i64, jobs: &[&str], shown: &[&str]) {
        let answer = jobs.iter().map(|job| found(rule, job)).collect();
        let series = alerts.step(rule, None, at(secs), answer).unwrap();
        let series: Vec<_> =
            series.iter().map(|(labels, value)| format!("{labels} {value}")).collect();
        assert_eq!(series, shown);
    }

    const PENDING: &str = r#"ALERTS{alertname="A",alertstate="pending",job="a"} 1"#;
    const FIRING: &str = r#"ALERTS{alertname="A",alertstate="firing",job="a"} 1"#;
    const SINCE_60: &str = r#"ALERTS_FOR_STATE{alertname="A",job="a"} 60"#;

    #[test]
    fn an_alert_fires_when_its_series_has_been_there_for_exactly_as_long_as_it_must() {
        let (rule, mut alerts) = (rule(", for: 2m"), Alerts::default());
        expect(&mut alerts, &rule, 60, &["a"], &[PENDING, SINCE_60]);
        expect(&mut alerts, &rule, 179, &["a"], &[PENDING, SINCE_60]);
        expect(&mut alerts, &rule, 180, &["a"], &[FIRING, SINCE_60]);
        expect(&mut alerts, &rule, 240, &[], &[]);
    }

    #[test]
    fn an_alert_goes_on_firing_for_as_long_as_it_is_kept_and_no_longer() {
        let (rule, mut alerts) = (rule(", keep_firing_for: 2m"), Alerts::default());
        expect(&mut alerts, &rule, 60, &["a"], &[FIRING, SINCE_60]);
        expect(&mut alerts, &rule, 120, &[], &[FIRING, SINCE_60]);
        // Seen again, it is kept anew.
        expect(&mut alerts, &rule, 180, &["a"], &[FIRING, SINCE_60]);
        expect(&mut alerts, &rule, 240, &[], &[FIRING, SINCE_60]);
        expect(&mut alerts, &rule, 359, &[], &[FIRING, SINCE_60]);
        expect(&mut alerts, &rule, 360, &[], &[]);
    }

    #[test]
    fn one_that_is_pending_is_not_kept() {
        let (rule, mut alerts) = (rule(", for: 5m, keep_firing_for: 2m"), Alerts::default());
        expect(&mut alerts, &rule, 60, &["a"], &[PENDING, SINCE_60]);
        expect(&mut alerts, &rule, 120, &[], &[]);
    }

    #[test]
    fn series_that_become_one_alert_are_an_error() {
        let (rule, mut alerts) = (rule(", labels: {job: b}"), Alerts::default());
        let answer = vec![found(&rule, "a"), found(&rule, "c")];
        let error = alerts.step(&rule, None, at(0), answer).unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"two series have the labels {alertname="A",job="b"} once those of the rule are applied"#
        );
    }

    #[test]
    fn a_rule_over_its_limit_has_no_alerts() {
        let (rule, mut alerts) = (rule(""), Alerts::default());
        let answer = vec![found(&rule, "a"), found(&rule, "c")];
        let error = alerts.step(&rule, Some(1), at(0), answer).unwrap_err();
        assert_eq!(error, EvaluationError::OverLimit { limit: 1, found: 2 });
        assert_eq!(alerts.active().count(), 0);
    }
}
