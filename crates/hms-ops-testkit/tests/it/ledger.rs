//! A ledger with flaws.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use hms_ops_core::clock::ManualClock;
use hms_ops_core::ledger::{
    Entry, Event, Fence, History, Ledger, LedgerError, MemoryLedger, Recorded, Seq,
};
use hms_ops_testkit::ledger;

use super::fails;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Flaw {
    SplitsBatches,
    BelievesAnybody,
    ForgetsClaims,
    NeverWakes,
    LeavesOutNotes,
}

#[derive(Debug)]
struct Broken {
    flaw: Flaw,
    inner: MemoryLedger,
    newest: Mutex<Option<Fence>>,
}

impl Broken {
    fn new(flaw: Flaw) -> Self {
        let inner = MemoryLedger::new(Arc::new(ManualClock::default()));
        Self { flaw, inner, newest: Mutex::default() }
    }
}

#[async_trait]
impl Ledger for Broken {
    async fn lease(&self, holder: &str, ttl: Duration) -> Result<Option<Fence>, LedgerError> {
        let granted = self.inner.lease(holder, ttl).await?;
        self.newest.lock().unwrap().clone_from(&granted);
        Ok(granted)
    }

    async fn append(&self, fence: &Fence, mut entries: Vec<Entry>) -> Result<Seq, LedgerError> {
        let mut fence = fence.clone();
        if self.flaw == Flaw::BelievesAnybody {
            fence = self.newest.lock().unwrap().clone().unwrap_or(fence);
        }
        if self.flaw == Flaw::LeavesOutNotes {
            entries.retain(|entry| !matches!(entry.event, Event::Note { .. }));
        }
        for (i, entry) in entries.iter_mut().enumerate() {
            if let (Flaw::ForgetsClaims, Event::ShiftPlanned { shift, .. }) =
                (self.flaw, &mut entry.event)
            {
                *shift = format!("{shift} {i} {:?}", self.inner.verify().await?);
            }
        }
        if self.flaw == Flaw::SplitsBatches {
            let mut last = Seq(0);
            for entry in entries {
                last = self.inner.append(&fence, vec![entry]).await?;
            }
            return Ok(last);
        }
        self.inner.append(&fence, entries).await
    }

    async fn read(&self, from: Seq, limit: usize) -> Result<Vec<Arc<Recorded>>, LedgerError> {
        self.inner.read(from, limit).await
    }

    async fn history(&self) -> Result<History, LedgerError> {
        self.inner.history().await
    }

    async fn changed(&self, after: Seq) -> Result<Seq, LedgerError> {
        match self.flaw {
            Flaw::NeverWakes => std::future::pending().await,
            _ => self.inner.changed(after).await,
        }
    }

    async fn verify(&self) -> Result<Seq, LedgerError> {
        self.inner.verify().await
    }
}

#[test]
fn every_flaw_is_found() {
    let broken = Broken::new;
    assert!(fails(ledger::a_refused_append_leaves_nothing_behind(broken(Flaw::SplitsBatches))));
    assert!(fails(ledger::an_epoch_that_is_over_is_refused(broken(Flaw::BelievesAnybody))));
    assert!(fails(ledger::a_claim_succeeds_once_ever(broken(Flaw::ForgetsClaims))));
    assert!(fails(ledger::changed_returns_at_once_when_there_is_more(broken(Flaw::NeverWakes))));
    assert!(fails(ledger::pages_are_in_order_and_end(broken(Flaw::LeavesOutNotes))));
}
