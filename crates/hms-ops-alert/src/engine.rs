//! The engine: asks every rule at each tick, and says what follows.

use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use hms_ops_core::alert::{
    AlertHealth, AlertRule, AlertState, AlertStatus, Condition, Fingerprint, InputData, RuleError,
    RuleSpec, TickContext, Verdict,
};
use hms_ops_core::labels::{Labels, SERVICE};
use hms_ops_core::ledger::{Event, History};
use hms_ops_core::name::{Service, same_name};
use hms_ops_core::notify::Notification;
use hms_ops_core::store::SeriesSet;
use hms_ops_core::time::Timestamp;

use crate::state::{begin_again, step};

/// What is added to an alert's name for the alert that its data is missing.
pub const NO_DATA_SUFFIX: &str = ".no_data";

/// Rules and the alerts that they have raised. No clock and no I/O: see [`Engine::tick`].
///
/// ```
/// use hms_ops_alert::{BudgetRule, Engine};
/// use hms_ops_core::{alert::InputData, metric::Budget, time::Timestamp};
///
/// let mut engine = Engine::new();
/// engine.add_rule(Box::new(BudgetRule::new("latency_ms", Budget::new(300.0))));
/// let tick = engine.tick(Timestamp::from_millis(0), &[vec![InputData::Events(vec![])]]);
/// assert!(tick.transitions.is_empty());
/// ```
#[derive(Debug, Default)]
pub struct Engine {
    rules: Vec<Ruled>,
    restored: BTreeMap<Fingerprint, AlertStatus>,
    bindings: Vec<(String, String)>,
    receivers: Vec<String>,
}

#[derive(Debug)]
struct Ruled {
    rule: Box<dyn AlertRule>,
    /// What the rule said when it was added; it must not change.
    spec: Arc<RuleSpec>,
    /// The name of the alert that data is missing.
    no_data: Arc<str>,
    /// Fingerprints of a label set: of its alert, and of the one that its data is missing.
    prints: HashMap<Labels, [Fingerprint; 2]>,
    alerts: BTreeMap<Fingerprint, Tracked>,
}

#[derive(Clone, Debug)]
struct Tracked {
    status: AlertStatus,
    /// Since when nothing could be judged; `None` while it can.
    quiet_since: Option<Timestamp>,
}

/// What follows from one tick. The caller writes it to the ledger, all at once, before it starts a
/// run or sends a notification.
#[derive(Debug, Default, PartialEq)]
pub struct Tick {
    /// Changes of state or health, each a [`Event::Transition`].
    pub transitions: Vec<Event>,
    /// Receiver and message, for people.
    pub notifications: Vec<(String, Notification)>,
    /// Runbook and the alert that it answers.
    pub runs: Vec<(String, AlertStatus)>,
}

impl Engine {
    /// Without rules, runbooks and receivers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Goes on where the ledger's history ends: alerts keep their state and its `since`.
    pub fn restore(&mut self, history: &History) {
        self.restored = history.alerts.clone();
    }

    /// Adds a rule; returns its place in [`Engine::tick`]'s inputs.
    pub fn add_rule(&mut self, rule: Box<dyn AlertRule>) -> usize {
        let name = rule.spec().name.clone();
        let no_data = format!("{name}{NO_DATA_SUFFIX}");
        let service = rule.spec().service.clone();
        let own = |alert: &AlertStatus| {
            [&name, &no_data].iter().any(|n| same_name(&alert.name, n))
                && (service.is_none() || service == alert.service)
        };
        let restored = self.restored.iter().filter(|(_, alert)| own(alert));
        let alerts = restored.map(|(print, alert)| {
            (print.clone(), Tracked { status: alert.clone(), quiet_since: None })
        });
        let alerts = alerts.collect();
        let spec = Arc::new(rule.spec().clone());
        let no_data = no_data.into();
        self.rules.push(Ruled { rule, spec, no_data, prints: HashMap::new(), alerts });
        self.rules.len() - 1
    }

    /// Puts another rule in the place of one, such as with another limit; its alerts stay.
    pub fn replace_rule(&mut self, place: usize, rule: Box<dyn AlertRule>) {
        let ruled = &mut self.rules[place];
        ruled.spec = Arc::new(rule.spec().clone());
        ruled.rule = rule;
    }

    /// Fills the windows of a rule from stored history.
    ///
    /// # Errors
    ///
    /// As [`AlertRule::warm_up`].
    pub fn warm_up(
        &mut self,
        rule: usize,
        input: usize,
        history: &mut dyn SeriesSet,
    ) -> Result<(), RuleError> {
        let rule = &mut self.rules[rule].rule;
        let warmed = catch_unwind(AssertUnwindSafe(|| rule.warm_up(input, history)));
        warmed.unwrap_or_else(|panic| {
            tracing::error!("a rule panicked over its history: {}", panic_message(&*panic));
            Ok(())
        })
    }

    /// Binds a runbook to an alert, in either spelling: it runs when the alert fires.
    pub fn bind(&mut self, alert: &str, runbook: &str) {
        self.bindings.push((alert.to_owned(), runbook.to_owned()));
    }

    /// Adds a receiver of all notifications.
    pub fn add_receiver(&mut self, name: &str) {
        self.receivers.push(name.to_owned());
    }

    /// The rules, in the order of [`Engine::tick`]'s inputs.
    pub fn rules(&self) -> impl ExactSizeIterator<Item = &RuleSpec> {
        self.rules.iter().map(|ruled| &*ruled.spec)
    }

    /// Every alert as it stands, with its newest numbers; sorted by rule and fingerprint.
    pub fn alerts(&self) -> impl Iterator<Item = &AlertStatus> {
        self.rules.iter().flat_map(|ruled| ruled.alerts.values().map(|tracked| &tracked.status))
    }

    /// Decides for the instant `at`. `inputs` has what was read for each rule, in their order.
    pub fn tick(&mut self, at: Timestamp, inputs: &[Vec<InputData>]) -> Tick {
        let mut tick = Tick::default();
        for (ruled, inputs) in self.rules.iter_mut().zip(inputs) {
            for (alert, before) in ruled.tick(at, inputs) {
                let from = before.word().to_owned();
                tick.transitions.push(Event::Transition { from, alert: alert.clone() });
                let told = match alert.state {
                    AlertState::Firing { .. } => !before.is_active(),
                    AlertState::Resolved { .. } => before.is_active(),
                    _ => false,
                };
                if !told {
                    continue;
                }
                if let AlertState::Firing { .. } = alert.state {
                    let bound = self.bindings.iter().filter(|(on, _)| same_name(on, &alert.name));
                    tick.runs.extend(bound.map(|(_, runbook)| (runbook.clone(), alert.clone())));
                }
                for receiver in &self.receivers {
                    let notification = notification(at, &alert, receiver);
                    tick.notifications.push((receiver.clone(), notification));
                }
            }
        }
        tick
    }
}

/// The key names incident, state and receiver, so it is the same however often it is sent.
fn notification(at: Timestamp, alert: &AlertStatus, receiver: &str) -> Notification {
    let incident = match alert.state {
        AlertState::Firing { since } => since,
        AlertState::Recovering { firing_since, .. } | AlertState::Resolved { firing_since, .. } => {
            firing_since
        }
        _ => at,
    };
    let (print, incident, word) = (&alert.fingerprint, incident.as_millis(), alert.state.word());
    let key = format!("{print}/{incident}/{word}/{receiver}");
    Notification { key, at, alert: alert.clone() }
}

impl Ruled {
    /// The alerts whose state or health changed, each with the state before.
    fn tick(&mut self, at: Timestamp, inputs: &[InputData]) -> Vec<(AlertStatus, AlertState)> {
        let (spec, no_data) = (self.spec.clone(), self.no_data.clone());
        let mut changed = Vec::new();
        for verdict in self.verdicts(at, inputs) {
            let [print, no_data_print] = self.prints_of(&verdict.labels);
            // That data is missing is an alert of its own, which fires and resolves at once.
            let missing = match verdict.condition {
                Condition::NoData => Condition::Breach,
                Condition::Error(_) => verdict.condition.clone(),
                _ => Condition::Ok,
            };
            if missing == Condition::Breach || self.alerts.contains_key(&no_data_print) {
                let verdict =
                    Verdict { condition: missing, value: None, threshold: None, ..verdict.clone() };
                let timing = (Duration::ZERO, Duration::ZERO);
                changed.extend(self.apply(&no_data, no_data_print, &spec, timing, verdict, at));
            }
            let timing = (spec.hold, spec.recover);
            changed.extend(self.apply(&spec.name, print, &spec, timing, verdict, at));
        }
        changed
    }

    /// Hashes are not made anew at each tick.
    fn prints_of(&mut self, labels: &Labels) -> [Fingerprint; 2] {
        if let Some(prints) = self.prints.get(labels) {
            return prints.clone();
        }
        let prints = [&self.spec.name, &*self.no_data].map(|name| Fingerprint::of(name, labels));
        self.prints.insert(labels.clone(), prints.clone());
        prints
    }

    /// Asks the rule; one that panics, or reports a label set twice, has an error for all it knows.
    fn verdicts(&mut self, at: Timestamp, inputs: &[InputData]) -> Vec<Verdict> {
        let mut verdicts: Vec<Verdict> = Vec::new();
        let cx = TickContext { at, inputs };
        let rule = &mut self.rule;
        let error = match catch_unwind(AssertUnwindSafe(|| rule.evaluate(&cx, &mut verdicts))) {
            Err(panic) => format!("the rule panicked: {}", panic_message(&*panic)),
            Ok(()) => {
                let mut seen: Vec<&Labels> = verdicts.iter().map(|v| &v.labels).collect();
                seen.sort();
                match seen.windows(2).find(|pair| pair[0] == pair[1]) {
                    Some(pair) => format!("the rule reported {} twice", pair[0]),
                    None => return verdicts,
                }
            }
        };
        tracing::error!(rule = %self.spec.name, "{error}");
        let name = &self.spec.name;
        let all = self.alerts.values().map(|tracked| &tracked.status);
        let known = all.filter(|alert| same_name(&alert.name, name));
        known
            .map(|alert| Verdict {
                labels: alert.labels.clone(),
                condition: Condition::Error(error.clone()),
                value: None,
                threshold: alert.threshold,
                summary: error.clone(),
            })
            .collect()
    }

    fn apply(
        &mut self,
        name: &str,
        fingerprint: Fingerprint,
        spec: &RuleSpec,
        (hold, recover): (Duration, Duration),
        verdict: Verdict,
        at: Timestamp,
    ) -> Option<(AlertStatus, AlertState)> {
        let service = spec.service.clone();
        let service = service.or_else(|| verdict.labels.get(SERVICE).map(Service::from));
        let tracked = self.alerts.entry(fingerprint.clone()).or_insert_with(|| Tracked {
            status: AlertStatus {
                name: name.to_owned(),
                fingerprint,
                service,
                labels: verdict.labels.clone(),
                state: AlertState::Inactive,
                health: AlertHealth::Ok,
                value: None,
                threshold: None,
                summary: String::new(),
            },
            quiet_since: None,
        });
        let alert = &mut tracked.status;
        let before = (alert.state, alert.health);
        if matches!(verdict.condition, Condition::Ok | Condition::Breach) {
            // What nobody could see was neither breach nor recovery.
            let quiet = tracked.quiet_since.take().map_or(Duration::ZERO, |since| at.since(since));
            let too_long = match alert.state {
                AlertState::Pending { .. } => quiet > hold,
                _ => quiet > recover,
            };
            if is_lost(alert.health) || too_long {
                alert.state = begin_again(alert.state, at);
            }
        } else {
            tracked.quiet_since.get_or_insert(at);
        }
        alert.state = step(alert.state, &verdict.condition, at, hold, recover);
        alert.health = match verdict.condition {
            Condition::Ok | Condition::Breach => AlertHealth::Ok,
            Condition::Idle => AlertHealth::Idle,
            Condition::NoData => AlertHealth::NoData,
            Condition::Error(_) => AlertHealth::Error,
        };
        // JSON, and so the ledger, knows finite numbers only.
        alert.value = verdict.value.filter(|value| value.is_finite());
        alert.threshold = verdict.threshold.filter(|threshold| threshold.is_finite());
        alert.summary = verdict.summary;
        // A service with little traffic is idle every other second; that is not worth an entry.
        let changed = alert.state != before.0 || is_lost(alert.health) != is_lost(before.1);
        changed.then(|| (alert.clone(), before.0))
    }
}

/// Whether nothing is known of an alert's data, as opposed to nothing having happened.
fn is_lost(health: AlertHealth) -> bool {
    matches!(health, AlertHealth::NoData | AlertHealth::Error)
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
}
