//! The writer: one thread that decides, writes and syncs for all appends that wait.

use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use hms_ops_core::ledger::{Entry, Fence, LedgerError, Recorded, Seq};
use hms_ops_core::time::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::book::{Book, Chain};
use crate::file::Shared;
use crate::record::{self, Claim};
use crate::{FileLedgerError, FileLedgerOptions};

/// Appends that share a sync at most.
const GROUP: usize = 1024;

/// What waits for the writer.
pub(crate) struct Request {
    pub(crate) what: What,
    /// Bounds what waits, by its size.
    pub(crate) _room: OwnedSemaphorePermit,
}

pub(crate) enum What {
    /// Entries, each with its JSON.
    Append(Fence, Vec<(Entry, Vec<u8>)>, oneshot::Sender<Result<Seq, LedgerError>>),
    Lease(String, Duration, oneshot::Sender<Result<Option<Fence>, LedgerError>>),
}

pub(crate) struct Writer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) options: FileLedgerOptions,
    pub(crate) book: Book,
    /// Who may write, and until when nobody else may.
    pub(crate) lease: Option<(Fence, Timestamp)>,
}

/// What a group adds, before it is written.
#[derive(Default)]
struct Staged {
    records: Vec<Vec<u8>>,
    entries: Vec<(Recorded, usize)>,
    claims: Vec<Claim>,
    answers: Vec<Answer>,
}

enum Answer {
    Append(oneshot::Sender<Result<Seq, LedgerError>>, Result<Seq, LedgerError>),
    Lease(oneshot::Sender<Result<Option<Fence>, LedgerError>>, Option<Fence>),
}

impl Writer {
    /// Serves until nobody can ask any more.
    pub(crate) fn run(mut self, requests: &Receiver<Request>) {
        while let Ok(first) = requests.recv() {
            let more = requests.try_iter().take(GROUP - 1);
            let group: Vec<_> = std::iter::once(first).chain(more).collect();
            self.serve(group);
        }
    }

    /// Decides in order, writes all that was accepted at once, and only then answers anybody: also
    /// a refusal may rest on what could not be written.
    fn serve(&mut self, group: Vec<Request>) {
        let before = (self.book.chain.clone(), self.book.epoch, self.lease.clone());
        let mut staged = Staged::default();
        let mut rooms = Vec::with_capacity(group.len());
        for Request { what, _room } in group {
            rooms.push(_room);
            match what {
                What::Append(fence, entries, to) => {
                    let appended = self.append(&fence, entries, &mut staged);
                    staged.answers.push(Answer::Append(to, appended));
                }
                What::Lease(holder, ttl, to) => {
                    let fence = self.lease(holder, ttl, &mut staged);
                    staged.answers.push(Answer::Lease(to, fence));
                }
            }
        }
        let failed = match self.write(&before.0, &mut staged) {
            Ok(()) => {
                self.shared.publish(self.book.chain.seq, staged.entries);
                None
            }
            Err(error) => {
                self.book.give_back(&staged.claims);
                (self.book.chain, self.book.epoch, self.lease) = before;
                Some(Arc::new(error))
            }
        };
        drop(rooms);
        // Who has gone away needs no answer.
        for answer in staged.answers {
            let failed = failed.clone().map(|error| LedgerError::Backend(Box::new(error)));
            match answer {
                Answer::Append(to, done) => drop(to.send(failed.map_or(done, Err))),
                Answer::Lease(to, done) => drop(to.send(failed.map_or(Ok(done), Err))),
            }
        }
    }

    fn lease(&mut self, holder: String, ttl: Duration, staged: &mut Staged) -> Option<Fence> {
        let now = self.options.clock.now();
        let fence = match &self.lease {
            Some((fence, _)) if fence.holder == holder => fence.clone(),
            Some((_, until)) if now < *until => return None,
            // The process that held it before this one has let go of the folder.
            _ => {
                self.book.epoch += 1;
                staged.records.push(record::lease(self.book.epoch, &holder));
                Fence { holder, epoch: self.book.epoch }
            }
        };
        self.lease = Some((fence.clone(), now + ttl));
        Some(fence)
    }

    fn append(
        &mut self,
        fence: &Fence,
        entries: Vec<(Entry, Vec<u8>)>,
        staged: &mut Staged,
    ) -> Result<Seq, LedgerError> {
        if self.lease.as_ref().is_none_or(|(current, _)| current != fence) {
            let Fence { holder, epoch } = fence.clone();
            return Err(LedgerError::Fenced { holder, epoch, newest: self.book.epoch });
        }
        staged.claims.extend(self.book.claim(entries.iter().map(|(entry, _)| &entry.event))?);
        if entries.is_empty() {
            return Ok(self.book.chain.seq);
        }
        let Chain { seq, hash } = &mut self.book.chain;
        let mut record = record::begin_entries(fence.epoch, seq.next(), hash);
        for (entry, json) in entries {
            *seq = seq.next();
            let next = Recorded::hash_of_json(*seq, fence.epoch, hash, &json);
            record::push_entry(&mut record, &next, &json);
            let previous = std::mem::replace(hash, next.clone());
            let epoch = fence.epoch;
            let recorded = Recorded { seq: *seq, epoch, previous, hash: next, entry };
            staged.entries.push((recorded, json.len()));
        }
        staged.records.push(record);
        Ok(*seq)
    }

    /// Writes what is staged behind what is in the log, which ends with `chain`.
    fn write(&mut self, chain: &Chain, staged: &mut Staged) -> Result<(), FileLedgerError> {
        if staged.records.is_empty() {
            return Ok(());
        }
        let mut files = self.shared.files();
        let mut turn = None;
        if files.is_due(self.options.segment_bytes) {
            let begun = files.turn(chain.seq, &self.options)?;
            let place = (begun.at, begun.floor);
            let head = (self.book.epoch, chain.seq, &*chain.hash);
            // A loss of power may leave the snapshot and take the rest: it knows what came before.
            self.book.give_back(&staged.claims);
            let claims = self.book.claims.iter();
            let snapshot = record::snapshot(place, head, claims, &self.shared.history());
            self.book.claims.extend(&staged.claims);
            staged.records.insert(0, snapshot);
            turn = Some(begun);
        }
        Ok(files.append(turn, &staged.records)?)
    }
}
