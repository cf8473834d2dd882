//! The ledger: one hash-chained log of everything that was decided and done.
//!
//! Transitions, claims, calls, notes, outcomes, shifts and notifications are entries. An entry is in
//! the ledger before its effect happens. What HMS-OPS knows is a fold over the entries
//! ([`History`]); the audit trail is the log itself, and the event feed is waiting for its end.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::alert::{AlertStatus, Fingerprint, hex};
use crate::mesh::{ShiftReport, ShiftRequest};
use crate::notify::Notification;
use crate::runbook::{ExecutionId, Outcome};
use crate::time::Timestamp;

mod history;
mod journal;
mod memory;

pub use crate::fence::Fence;
pub use history::{History, Run};
pub use journal::Journal;
pub use memory::MemoryLedger;

/// Keeps the log, and knows who may write it.
///
/// A backend is finished when it passes `hms_ops_testkit::ledger`. What every backend promises:
///
/// - One writer: `append` with an epoch older than the newest lease is refused, whatever the clock
///   of the writer says.
/// - An append is all or nothing, and durable at the backend's promise when it returns.
/// - A claim ([`Event::claim`]) succeeds once, ever, also between processes.
/// - Sequence numbers begin at 1 and have no gaps; each entry carries the hash of the one before.
#[async_trait]
pub trait Ledger: fmt::Debug + Send + Sync + 'static {
    /// Asks to be the writer for `ttl`; `None` while another holds the lease. The holder renews by
    /// asking again and keeps its epoch; a new holder gets a higher one.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Backend`] when the backend cannot be reached.
    async fn lease(&self, holder: &str, ttl: Duration) -> Result<Option<Fence>, LedgerError>;

    /// Appends entries, all or none; returns the sequence number of the last.
    ///
    /// Not cancel safe: a dropped call may or may not have appended.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Fenced`] when a newer epoch exists, [`LedgerError::Claimed`] when an entry
    /// claims what is taken, [`LedgerError::Backend`] when the backend fails.
    async fn append(&self, fence: &Fence, entries: Vec<Entry>) -> Result<Seq, LedgerError>;

    /// At most `limit` entries from `from` on, in order.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Backend`] when the backend cannot be read.
    async fn read(&self, from: Seq, limit: usize) -> Result<Vec<Arc<Recorded>>, LedgerError>;

    /// What all entries add up to, those included that are held no more.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Backend`] when the backend cannot be read.
    async fn history(&self) -> Result<History, LedgerError>;

    /// Waits until there is an entry after `after`, and returns the newest sequence number.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Backend`] when the backend cannot be reached.
    async fn changed(&self, after: Seq) -> Result<Seq, LedgerError>;

    /// Recomputes every hash of the log that is held; returns the newest sequence number.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Tampered`] with the first entry that is not what was written.
    async fn verify(&self) -> Result<Seq, LedgerError>;
}

/// Position in the log; the first entry has 1, and 0 is before it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Seq(pub u64);

impl Seq {
    /// The next position.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// One thing to write down.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// When it was decided or seen.
    pub at: Timestamp,
    /// Who did: `engine`, `runbook/rollover`, `person/ana`.
    pub actor: String,
    /// What.
    #[serde(flatten)]
    pub event: Event,
}

/// One thing written down.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recorded {
    /// Where.
    pub seq: Seq,
    /// By whose right.
    pub epoch: u64,
    /// Hash of the entry before; 64 zeros for the first.
    pub previous: String,
    /// SHA-256 over sequence number, epoch, previous hash and entry; 64 hexadecimal digits.
    pub hash: String,
    /// What was written.
    #[serde(flatten)]
    pub entry: Entry,
}

impl Recorded {
    /// Chains an entry to the one before it.
    pub fn chain(seq: Seq, epoch: u64, previous: String, entry: Entry) -> Self {
        let hash = Self::hash_of(seq, epoch, &previous, &entry);
        Self { seq, epoch, previous, hash, entry }
    }

    /// Whether the hash is what the content says.
    pub fn is_intact(&self) -> bool {
        self.hash == Self::hash_of(self.seq, self.epoch, &self.previous, &self.entry)
    }

    fn hash_of(seq: Seq, epoch: u64, previous: &str, entry: &Entry) -> String {
        // Field order is that of the types, so the same entry always gives the same bytes.
        let json = serde_json::to_vec(entry).expect("entries hold only what JSON can");
        Self::hash_of_json(seq, epoch, previous, &json)
    }

    /// The hash of an entry in its written form: what `serde_json` makes of it.
    pub fn hash_of_json(seq: Seq, epoch: u64, previous: &str, json: &[u8]) -> String {
        let mut hash = Sha256::new();
        hash.update(b"hms-ops ledger entry v1\n");
        hash.update(seq.0.to_be_bytes());
        hash.update(epoch.to_be_bytes());
        hash.update(previous.as_bytes());
        hash.update(json);
        hex(&hash.finalize())
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
#[allow(missing_docs, reason = "the variants explain their fields")]
pub enum Event {
    /// An alert changed its state, or the health of its data.
    Transition { from: String, alert: AlertStatus },
    /// An execution of a runbook begins, and no other of the same incident ever will.
    RunClaimed {
        execution: ExecutionId,
        runbook: String,
        alert: String,
        fingerprint: Fingerprint,
        service: Option<String>,
    },
    /// The process of an execution was started.
    RunStarted { execution: ExecutionId, process: u32 },
    /// A runbook calls a capability; written before the call is carried out.
    CallIntent { execution: ExecutionId, call: u64, capability: String, args: serde_json::Value },
    /// What became of the call: an answer, or why there is none.
    CallResult { execution: ExecutionId, call: u64, result: Result<serde_json::Value, String> },
    /// What a runbook wants people to know.
    Note { execution: ExecutionId, text: String },
    /// An execution ended.
    RunFinished { execution: ExecutionId, outcome: Outcome, output: String },
    /// A shift of traffic was asked for; written before anything is changed.
    ShiftPlanned { shift: String, request: ShiftRequest },
    /// A shift of traffic reached a state.
    ShiftReached { shift: String, report: ShiftReport },
    /// A notification waits to be sent.
    NotificationQueued { receiver: String, notification: Notification },
    /// A notification was delivered, or given up.
    NotificationSettled { receiver: String, key: String, result: Result<String, String> },
    /// Automatic action was stopped (`true`) or allowed again.
    Held { held: bool, reason: String },
}

impl Event {
    /// What the event claims: a key that the ledger accepts once, ever.
    pub fn claim(&self) -> Option<String> {
        match self {
            Self::RunClaimed { execution, .. } => Some(format!("run/{execution}")),
            Self::ShiftPlanned { shift, .. } => Some(format!("shift/{shift}")),
            _ => None,
        }
    }
}

/// Why a ledger refused or failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each message explains its fields")]
pub enum LedgerError {
    /// Another holder has written, or may write.
    #[error("epoch {epoch} of {holder} is over, the newest is {newest}")]
    Fenced { holder: String, epoch: u64, newest: u64 },

    /// Somebody was first.
    #[error("{claim} is claimed already")]
    Claimed { claim: String },

    /// The entry is not what was written.
    #[error("entry {} is not what was written", seq.0)]
    Tampered { seq: Seq },

    /// The backend could not be reached, read or written.
    #[error("the ledger failed: {0}")]
    Backend(#[source] Box<dyn std::error::Error + Send + Sync>),
}
