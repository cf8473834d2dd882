//! The writer's hand on the ledger: a ledger, the fence that grants it, and a clock.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use super::{Entry, Event, Fence, Ledger, LedgerError, Seq};
use crate::clock::Clock;

/// Writes entries by the right of one lease. Shared by all who act in one engine.
#[derive(Debug)]
pub struct Journal {
    ledger: Arc<dyn Ledger>,
    clock: Arc<dyn Clock>,
    fence: RwLock<Fence>,
}

impl Journal {
    /// Takes the lease and returns the hand that writes; `None` while another holds it.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Backend`] when the ledger cannot be reached.
    pub async fn open(
        ledger: Arc<dyn Ledger>,
        clock: Arc<dyn Clock>,
        holder: &str,
        ttl: Duration,
    ) -> Result<Option<Self>, LedgerError> {
        let fence = ledger.lease(holder, ttl).await?;
        Ok(fence.map(|fence| Self { ledger, clock, fence: RwLock::new(fence) }))
    }

    /// Renews the lease; `false` when another holds it by now.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Backend`] when the ledger cannot be reached.
    pub async fn renew(&self, ttl: Duration) -> Result<bool, LedgerError> {
        let renewed = self.ledger.lease(&self.fence().holder, ttl).await?;
        let held = renewed.is_some();
        if let Some(fence) = renewed {
            *self.fence.write().unwrap_or_else(PoisonError::into_inner) = fence;
        }
        Ok(held)
    }

    /// The fence that effects must carry.
    pub fn fence(&self) -> Fence {
        self.fence.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The ledger that is written.
    pub fn ledger(&self) -> &Arc<dyn Ledger> {
        &self.ledger
    }

    /// The clock that stamps the entries.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Writes one event of `actor`, stamped now.
    ///
    /// # Errors
    ///
    /// As [`Ledger::append`].
    pub async fn write(&self, actor: &str, event: Event) -> Result<Seq, LedgerError> {
        let at = self.clock.now();
        self.append(vec![Entry { at, actor: actor.to_owned(), event }]).await
    }

    /// Writes entries, all or none.
    ///
    /// # Errors
    ///
    /// As [`Ledger::append`].
    pub async fn append(&self, entries: Vec<Entry>) -> Result<Seq, LedgerError> {
        self.ledger.append(&self.fence(), entries).await
    }
}
