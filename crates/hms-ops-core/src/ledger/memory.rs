//! A bounded ledger in memory: for development and tests, and the oracle of every other ledger.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use super::{Entry, Fence, History, Ledger, LedgerError, Recorded, Seq};
use crate::clock::Clock;
use crate::time::Timestamp;

/// Keeps the newest entries in memory; it is gone with the process.
///
/// Beyond its bound the oldest entries are dropped; the hash chain then begins with the oldest that
/// is held; claims and what the entries add up to are kept for good.
#[derive(Debug)]
pub struct MemoryLedger {
    clock: Arc<dyn Clock>,
    max_entries: usize,
    inner: Mutex<Inner>,
    head: watch::Sender<Seq>,
}

#[derive(Debug, Default)]
struct Inner {
    entries: VecDeque<Arc<Recorded>>,
    claims: HashSet<String>,
    history: History,
    head: Seq,
    last_hash: Option<String>,
    lease: Option<(Fence, Timestamp)>,
}

impl MemoryLedger {
    /// A ledger for 100,000 entries, whose leases run by `clock`.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self::with_max_entries(clock, 100_000)
    }

    /// A ledger for this many entries.
    pub fn with_max_entries(clock: Arc<dyn Clock>, max_entries: usize) -> Self {
        let head = watch::Sender::new(Seq(0));
        Self { clock, max_entries, inner: Mutex::default(), head }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Ledger for MemoryLedger {
    async fn lease(&self, holder: &str, ttl: Duration) -> Result<Option<Fence>, LedgerError> {
        let now = self.clock.now();
        let mut inner = self.inner();
        let fence = match &inner.lease {
            Some((fence, _)) if fence.holder == holder => fence.clone(),
            Some((_, until)) if now < *until => return Ok(None),
            last => {
                let epoch = last.as_ref().map_or(1, |(fence, _)| fence.epoch + 1);
                Fence { holder: holder.to_owned(), epoch }
            }
        };
        inner.lease = Some((fence.clone(), now + ttl));
        Ok(Some(fence))
    }

    async fn append(&self, fence: &Fence, entries: Vec<Entry>) -> Result<Seq, LedgerError> {
        let mut guard = self.inner();
        let inner = &mut *guard;
        let newest = inner.lease.as_ref().map_or(0, |(fence, _)| fence.epoch);
        if inner.lease.as_ref().is_none_or(|(current, _)| current != fence) {
            let Fence { holder, epoch } = fence.clone();
            return Err(LedgerError::Fenced { holder, epoch, newest });
        }
        let mut claims = HashSet::new();
        for claim in entries.iter().filter_map(|entry| entry.event.claim()) {
            if inner.claims.contains(&claim) || !claims.insert(claim.clone()) {
                return Err(LedgerError::Claimed { claim });
            }
        }
        inner.claims.extend(claims);
        for entry in entries {
            let previous = inner.last_hash.take().unwrap_or_else(|| "0".repeat(64));
            inner.head = inner.head.next();
            let recorded = Recorded::chain(inner.head, fence.epoch, previous, entry);
            inner.last_hash = Some(recorded.hash.clone());
            inner.history.apply(&recorded);
            inner.entries.push_back(Arc::new(recorded));
            if inner.entries.len() > self.max_entries {
                inner.entries.pop_front();
            }
        }
        // Under the lock, or a slower append might announce its older entry last.
        self.head.send_replace(inner.head);
        Ok(inner.head)
    }

    async fn read(&self, from: Seq, limit: usize) -> Result<Vec<Arc<Recorded>>, LedgerError> {
        let inner = self.inner();
        let start = inner.entries.partition_point(|recorded| recorded.seq < from);
        Ok(inner.entries.iter().skip(start).take(limit).cloned().collect())
    }

    async fn history(&self) -> Result<History, LedgerError> {
        Ok(self.inner().history.clone())
    }

    async fn changed(&self, after: Seq) -> Result<Seq, LedgerError> {
        let mut head = self.head.subscribe();
        let newest = head.wait_for(|head| *head > after).await;
        Ok(*newest.expect("the sender lives as long as self"))
    }

    async fn verify(&self) -> Result<Seq, LedgerError> {
        let inner = self.inner();
        let mut previous: Option<&Recorded> = None;
        for recorded in &inner.entries {
            let linked = previous
                .is_none_or(|p| p.hash == recorded.previous && p.seq.next() == recorded.seq);
            if !linked || !recorded.is_intact() {
                return Err(LedgerError::Tampered { seq: recorded.seq });
            }
            previous = Some(recorded);
        }
        Ok(inner.head)
    }
}
