//! What the entries add up to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Event, Ledger, LedgerError, Recorded, Seq};
use crate::alert::{AlertState, AlertStatus, Fingerprint};
use crate::notify::Notification;
use crate::runbook::ExecutionId;
use crate::time::Timestamp;

/// How many alerts are remembered, as long as nothing is wrong with some of them.
const MAX_ALERTS: usize = 10_000;

/// What is known from reading the ledger up to one entry: a fold, the same for every reader.
///
/// The engine restores itself from it after a restart.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    /// The newest entry that was read.
    pub seq: Seq,
    /// Every alert by fingerprint, as it stood at its last transition. Of more than 10,000, those
    /// that were resolved the longest ago are forgotten.
    pub alerts: BTreeMap<Fingerprint, AlertStatus>,
    /// Executions without an end, by id.
    pub open_runs: BTreeMap<ExecutionId, Run>,
    /// Whether automatic action is stopped, and why.
    pub held: Option<String>,
    /// Receiver and message of every notification that was queued and neither delivered nor given
    /// up, oldest first.
    pub unsettled: Vec<(String, Notification)>,
}

/// An execution of a runbook that has begun.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The runbook.
    pub runbook: String,
    /// The alert that it answers.
    pub alert: String,
    /// When it was claimed.
    pub claimed: Timestamp,
    /// Its process, once started.
    pub process: Option<u32>,
}

impl History {
    /// Reads the whole ledger, as far as it is held; [`Ledger::history`] knows the rest, too.
    ///
    /// # Errors
    ///
    /// As [`Ledger::read`].
    pub async fn read(ledger: &dyn Ledger) -> Result<Self, LedgerError> {
        let mut history = Self::default();
        loop {
            let page = ledger.read(history.seq.next(), 1000).await?;
            if page.is_empty() {
                return Ok(history);
            }
            page.iter().for_each(|recorded| history.apply(recorded));
        }
    }

    /// Adds the next entry.
    pub fn apply(&mut self, recorded: &Recorded) {
        self.seq = recorded.seq;
        match &recorded.entry.event {
            Event::Transition { alert, .. } => {
                self.alerts.insert(alert.fingerprint.clone(), alert.clone());
                if self.alerts.len() > MAX_ALERTS {
                    self.forget_one();
                }
            }
            Event::RunClaimed { execution, runbook, alert, .. } => {
                let run = Run {
                    runbook: runbook.clone(),
                    alert: alert.clone(),
                    claimed: recorded.entry.at,
                    process: None,
                };
                self.open_runs.insert(execution.clone(), run);
            }
            Event::RunStarted { execution, process } => {
                if let Some(run) = self.open_runs.get_mut(execution) {
                    run.process = Some(*process);
                }
            }
            Event::RunFinished { execution, .. } => {
                self.open_runs.remove(execution);
            }
            Event::NotificationQueued { receiver, notification } => {
                self.unsettled.push((receiver.clone(), notification.clone()));
            }
            Event::NotificationSettled { receiver, key, .. } => {
                self.unsettled.retain(|(to, queued)| to != receiver || queued.key != *key);
            }
            Event::Held { held, reason } => self.held = held.then(|| reason.clone()),
            _ => {}
        }
    }

    fn forget_one(&mut self) {
        let calm = self.alerts.iter().filter_map(|(print, alert)| match alert.state {
            AlertState::Inactive => Some((Timestamp::MIN, print)),
            AlertState::Resolved { at, .. } => Some((at, print)),
            _ => None,
        });
        if let Some(print) = calm.min().map(|(_, print)| print.clone()) {
            self.alerts.remove(&print);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Entry, Recorded};
    use super::*;
    use crate::alert::AlertHealth;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn alert(name: &str, state: AlertState) -> AlertStatus {
        AlertStatus {
            name: name.into(),
            fingerprint: Fingerprint::of(name, &Default::default()),
            service: None,
            labels: Default::default(),
            state,
            health: AlertHealth::Ok,
            value: None,
            threshold: None,
            summary: String::new(),
        }
    }

    fn add(history: &mut History, event: Event) {
        let entry = Entry { at: at(1), actor: "engine".to_owned(), event };
        history.apply(&Recorded::chain(history.seq.next(), 1, String::new(), entry));
    }

    fn transition(alert: AlertStatus) -> Event {
        Event::Transition { from: String::new(), alert }
    }

    #[test]
    fn of_too_many_alerts_the_longest_resolved_are_forgotten_and_none_that_fires() {
        let mut history = History::default();
        let firing = alert("fires", AlertState::Firing { since: at(0) });
        add(&mut history, transition(firing.clone()));
        for i in 0..12_000 {
            let state = AlertState::Resolved { firing_since: at(0), at: at(i) };
            add(&mut history, transition(alert(&format!("over {i}"), state)));
        }
        assert_eq!(history.alerts.len(), MAX_ALERTS);
        assert_eq!(history.alerts[&firing.fingerprint], firing);
        let knows = |i| {
            history.alerts.contains_key(&Fingerprint::of(&format!("over {i}"), &Default::default()))
        };
        assert!(!knows(2000) && knows(2001) && knows(11_999));
    }

    #[test]
    fn a_notification_is_unsettled_until_its_receiver_has_it_or_never_will() {
        let mut history = History::default();
        let alert = alert("fires", AlertState::Firing { since: at(0) });
        let notification =
            |key: &str| Notification { key: key.to_owned(), at: at(1), alert: alert.clone() };
        let queued = [("on-call", "a"), ("log", "a"), ("on-call", "b"), ("on-call", "c")];
        for (receiver, key) in queued {
            let (receiver, notification) = (receiver.to_owned(), notification(key));
            add(&mut history, Event::NotificationQueued { receiver, notification });
        }
        for (key, result) in [("a", Ok("rang".to_owned())), ("c", Err("gone".to_owned()))] {
            let (receiver, key) = ("on-call".to_owned(), key.to_owned());
            add(&mut history, Event::NotificationSettled { receiver, key, result });
        }
        let left = history.unsettled.iter().map(|(to, n)| (to.as_str(), n.key.as_str()));
        assert_eq!(left.collect::<Vec<_>>(), [("log", "a"), ("on-call", "b")]);
    }
}
