//! What the entries add up to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Event, Ledger, LedgerError, Recorded, Seq};
use crate::alert::{AlertStatus, Fingerprint};
use crate::notify::Notification;
use crate::runbook::ExecutionId;
use crate::time::Timestamp;

/// What is known from reading the ledger up to one entry: a fold, the same for every reader.
///
/// The engine restores itself from it after a restart.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    /// The newest entry that was read.
    pub seq: Seq,
    /// Every alert by fingerprint, as it stood at its last transition.
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
}
