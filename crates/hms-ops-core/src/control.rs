//! What a person may do: the trait behind buttons and commands.

use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::ledger::Seq;
use crate::mesh::ShiftRequest;

/// Carries out what a person asks for, and writes it down first.
///
/// A backend is finished when it passes `hms_ops_testkit::control`.
#[async_trait]
pub trait Control: fmt::Debug + Send + Sync + 'static {
    /// Carries out `command` for `person`; returns the newest entry of the ledger, up to which its
    /// record can be read.
    ///
    /// # Errors
    ///
    /// [`ControlError`] when it is refused or fails.
    async fn execute(&self, person: &str, command: Command) -> Result<Seq, ControlError>;
}

/// What a person asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Command {
    /// Stop all automatic action: no runbook starts, and running ones may not call anything.
    Hold {
        /// Why, for the ledger.
        reason: String,
    },
    /// Allow automatic action again.
    Release,
    /// Shift traffic, with the guards of every shift.
    Shift(ShiftRequest),
}

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each message explains its fields")]
pub enum ControlError {
    /// Not allowed, or not possible as things stand.
    #[error("refused: {reason}")]
    Refused { reason: String },

    /// The ledger or the mesh failed.
    #[error("failed: {0}")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}
