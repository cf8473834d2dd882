//! Why the ledger refused or failed, beyond what every ledger may say.

use std::io;
use std::path::PathBuf;

use hms_ops_core::ledger::{LedgerError, Seq};
use hms_ops_wal::log::LogError;

/// Why a ledger in files refused or failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each message explains its fields")]
pub enum FileLedgerError {
    /// Another process has the folder open.
    #[error("{} is in use by another process; a ledger has one writer", folder.display())]
    InUse { folder: PathBuf },

    /// The log failed.
    #[error(transparent)]
    Log(#[from] LogError),

    /// The operating system refused.
    #[error("cannot {action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },

    /// A snapshot that a newer release wrote, or somebody by hand: without it nobody knows what is
    /// claimed.
    #[error("record {record} is a snapshot that this release cannot read")]
    Snapshot { record: u64 },

    /// More than one append may bring. Nothing was written.
    #[error("an append of {bytes} bytes, the limit is {limit}")]
    TooLarge { bytes: usize, limit: usize },

    /// Values that are nested too deep, for one. Nothing was written.
    #[error("an entry of {actor} could not be read back")]
    Unwritable { actor: String, source: serde_json::Error },

    /// An entry that a newer release wrote, or somebody by hand.
    #[error("entry {} cannot be read by this release", seq.0)]
    Entry { seq: Seq, source: serde_json::Error },

    /// The ledger is closed, or its writer has failed for good.
    #[error("the ledger is closed")]
    Closed,
}

impl From<FileLedgerError> for LedgerError {
    fn from(error: FileLedgerError) -> Self {
        Self::Backend(Box::new(error))
    }
}
