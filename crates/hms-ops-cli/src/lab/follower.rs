//! Follows a ledger, entry by entry.

use std::sync::Arc;

use hms_ops::core::ledger::{Ledger, LedgerError, Recorded, Seq};

/// How many entries are read at once.
const BATCH: usize = 256;

/// Reads what is in a ledger, and then what comes.
#[derive(Debug)]
pub(crate) struct Follower {
    ledger: Arc<dyn Ledger>,
    read_to: Seq,
}

impl Follower {
    /// Begins with the entry after `known`.
    pub(crate) fn after(known: Seq, ledger: Arc<dyn Ledger>) -> Self {
        Self { ledger, read_to: known }
    }

    /// Waits for more entries; there is at least one.
    ///
    /// Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<Vec<Arc<Recorded>>, LedgerError> {
        loop {
            self.ledger.changed(self.read_to).await?;
            let entries = self.ledger.read(self.read_to.next(), BATCH).await?;
            if let Some(last) = entries.last() {
                self.read_to = last.seq;
                return Ok(entries);
            }
        }
    }
}
