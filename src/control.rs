//! What a person may do: hold automatic action, allow it again, shift traffic.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::core::control::{Command, Control, ControlError};
use crate::core::ledger::{Event, Journal, Seq};
use crate::core::mesh::TrafficControl;
use crate::runbooks::Runbooks;

/// Carries out commands on this engine.
pub(crate) struct OpsControl {
    journal: Arc<Journal>,
    runbooks: Arc<Runbooks>,
    traffic: Option<Arc<dyn TrafficControl>>,
}

impl OpsControl {
    pub(crate) fn new(
        journal: Arc<Journal>,
        runbooks: Arc<Runbooks>,
        traffic: Option<Arc<dyn TrafficControl>>,
    ) -> Self {
        Self { journal, runbooks, traffic }
    }

    async fn hold(&self, person: &str, reason: Option<String>) -> Result<Seq, ControlError> {
        let (held, why) = (reason.is_some(), reason.clone().unwrap_or_default());
        // To stop is urgent: it holds even if the ledger cannot be written. To go on is not.
        if held {
            self.runbooks.hold(reason.clone());
        }
        let actor = format!("person/{person}");
        let written = self.journal.write(&actor, Event::Held { held, reason: why }).await;
        let seq = written.map_err(|e| ControlError::Failed(e.into()))?;
        self.runbooks.hold(reason);
        Ok(seq)
    }
}

impl fmt::Debug for OpsControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpsControl").finish_non_exhaustive()
    }
}

#[async_trait]
impl Control for OpsControl {
    async fn execute(&self, person: &str, command: Command) -> Result<Seq, ControlError> {
        match command {
            Command::Hold { reason } => self.hold(person, Some(reason)).await,
            Command::Release => self.hold(person, None).await,
            Command::Shift(mut request) => {
                let Some(traffic) = &self.traffic else {
                    let reason = "this engine controls no traffic".to_owned();
                    return Err(ControlError::Refused { reason });
                };
                request.cause = format!("person/{person}: {}", request.cause);
                let report = traffic.shift(request).await;
                let report = report.map_err(|e| ControlError::Failed(e.into()))?;
                if !report.state.is_confirmed() {
                    let reason = format!("{}: {}", report.state.word(), report.state.detail());
                    return Err(ControlError::Refused { reason });
                }
                let head = self.journal.ledger().changed(Seq(0)).await;
                head.map_err(|e| ControlError::Failed(e.into()))
            }
            other => Err(ControlError::Refused { reason: format!("{other:?} is not known here") }),
        }
    }
}
