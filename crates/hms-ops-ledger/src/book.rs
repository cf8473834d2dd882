//! The book: what the entries add up to for those who write, and whether the chain holds.

use std::collections::HashSet;

use hms_ops_core::ledger::{Event, History, LedgerError, Recorded, Seq};

use crate::FileLedgerError;
use crate::record::{Claim, Record, Snapshot, Stored, claim_of};

/// The end of a chain of entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chain {
    pub(crate) seq: Seq,
    pub(crate) hash: String,
}

impl Default for Chain {
    fn default() -> Self {
        Self { seq: Seq(0), hash: "0".repeat(64) }
    }
}

impl Chain {
    /// Goes on with a record, whether or not it fits; `Err` names the first entry that is not what
    /// was written, or that is missing.
    pub(crate) fn follow(&mut self, record: &Record<'_>) -> Result<(), Seq> {
        match record {
            Record::Entries(entries) => {
                let fits = entries.iter().try_for_each(|entry| self.entry(entry));
                let last = entries.last().expect("a record has an entry");
                *self = Self { seq: last.seq, hash: last.hash.to_owned() };
                fits
            }
            Record::Lease(_) => Ok(()),
            Record::Snapshot(Snapshot { seq, hash, .. }) => {
                let fits = match () {
                    () if self.seq == *seq && self.hash == *hash => Ok(()),
                    () if self.seq < *seq => Err(self.seq.next()),
                    () => Err(*seq),
                };
                *self = Self { seq: *seq, hash: (*hash).to_owned() };
                fits
            }
        }
    }

    fn entry(&mut self, entry: &Stored<'_>) -> Result<(), Seq> {
        let expected = self.seq.next();
        if entry.seq != expected {
            return Err(expected.min(entry.seq));
        }
        if entry.previous != self.hash || !entry.is_intact() {
            return Err(expected);
        }
        *self = Self { seq: entry.seq, hash: entry.hash.to_owned() };
        Ok(())
    }
}

/// What decides whether an append is accepted.
#[derive(Debug, Default)]
pub(crate) struct Book {
    pub(crate) chain: Chain,
    pub(crate) claims: HashSet<Claim>,
    /// The newest that was granted.
    pub(crate) epoch: u64,
}

impl Book {
    /// Begins anew with a snapshot; gives what the entries before it add up to.
    pub(crate) fn open(snapshot: &Snapshot<'_>) -> Result<(Self, History), serde_json::Error> {
        let Snapshot { seq, hash, epoch, .. } = *snapshot;
        let chain = Chain { seq, hash: hash.to_owned() };
        Ok((Self { chain, claims: snapshot.claims().collect(), epoch }, snapshot.history()?))
    }

    /// Adds a record that was read; gives its entries.
    pub(crate) fn read(&mut self, record: &Record<'_>) -> Vec<Result<Recorded, FileLedgerError>> {
        match record {
            Record::Snapshot(_) => Vec::new(),
            Record::Lease(epoch) => {
                self.epoch = self.epoch.max(*epoch);
                Vec::new()
            }
            Record::Entries(stored) => {
                let read = |stored: &Stored<'_>| {
                    let seq = stored.seq;
                    let recorded = stored.read();
                    recorded.map_err(|source| FileLedgerError::Entry { seq, source })
                };
                let entries: Vec<_> = stored.iter().map(read).collect();
                for recorded in entries.iter().flatten() {
                    self.epoch = self.epoch.max(recorded.epoch);
                    self.claims.extend(claim(&recorded.entry.event).map(|(claim, _)| claim));
                }
                entries
            }
        }
    }

    /// Claims all that the events claim, or nothing; gives what is new.
    pub(crate) fn claim<'a>(
        &mut self,
        events: impl Iterator<Item = &'a Event>,
    ) -> Result<Vec<Claim>, LedgerError> {
        let mut new = Vec::new();
        for (claim, name) in events.filter_map(claim) {
            if !self.claims.insert(claim) {
                self.give_back(&new);
                return Err(LedgerError::Claimed { claim: name });
            }
            new.push(claim);
        }
        Ok(new)
    }

    pub(crate) fn give_back(&mut self, claims: &[Claim]) {
        claims.iter().for_each(|claim| {
            self.claims.remove(claim);
        });
    }
}

fn claim(event: &Event) -> Option<(Claim, String)> {
    event.claim().map(|name| (claim_of(&name), name))
}
