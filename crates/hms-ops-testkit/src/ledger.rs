//! The suite of [`Ledger`].
//!
//! ```
//! mod memory_ledger {
//!     use hms_ops_core::ledger::MemoryLedger;
//!
//!     // `clock` is an `Arc<ManualClock>`, by which the leases run.
//!     hms_ops_testkit::ledger_suite!(|clock| MemoryLedger::new(clock));
//! }
//! ```
//!
//! Where a backend has its own idea of time, as a database has, the form without a clock leaves out
//! the cases about the end of a lease.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hms_ops_core::alert::{AlertHealth, AlertState, Fingerprint};
use hms_ops_core::clock::ManualClock;
use hms_ops_core::ledger::{Entry, Event, Fence, History, Ledger, LedgerError, Recorded, Seq};
use hms_ops_core::mesh::{ShiftReport, ShiftState};
use hms_ops_core::notify::Notification;
use hms_ops_core::runbook::{ExecutionId, Outcome, RunbookError};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;

use crate::mesh::{A, B, to};
use crate::world::{alert, at, secs};
use crate::{block_on, within};

/// One test for each promise of [`Ledger`](hms_ops_core::ledger::Ledger); see
/// [`ledger`](crate::ledger).
#[macro_export]
macro_rules! ledger_suite {
    (|$clock:ident| $ledger:expr) => {
        $crate::ledger_suite!({
            let $clock = $crate::ledger::clock();
            $ledger
        });

        $crate::cases! {
            {
                let clock = $crate::ledger::clock();
                let $clock = clock.clone();
                ($ledger, clock)
            };
            a_lease_ends_when_its_time_is_over
            a_renewed_lease_ends_later
            a_lease_that_is_over_writes_on_until_somebody_takes_it
            ; ledger
        }
    };
    ($ledger:expr) => {
        $crate::cases! { $ledger;
            the_lease_has_one_holder
            a_holder_that_renews_keeps_its_epoch
            a_new_holder_gets_a_higher_epoch
            an_epoch_that_is_over_is_refused
            a_fence_that_was_never_granted_is_refused
            an_empty_ledger_has_nothing
            sequence_numbers_begin_at_one_and_have_no_gaps
            every_entry_carries_the_hash_of_the_one_before
            every_event_reads_back_as_it_was_written
            pages_are_in_order_and_end
            a_claim_succeeds_once_ever
            a_claim_succeeds_once_in_a_batch
            claims_of_different_kinds_are_different_claims
            a_refused_append_leaves_nothing_behind
            of_concurrent_claims_one_succeeds
            concurrent_appends_leave_no_gap
            changed_returns_at_once_when_there_is_more
            changed_wakes_all_who_wait
            a_dropped_changed_takes_nothing_from_others
            the_fold_of_what_is_read_is_the_fold_of_what_was_written
            ; ledger
        }

        #[test]
        fn any_number_and_any_text_read_back_as_they_were_written() {
            $crate::ledger::any_content_reads_back(async || $ledger);
        }
    };
}

/// The clock that leases of the suite run by.
#[doc(hidden)]
pub fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(at(1000)))
}

/// While one holds it, another does not get it.
pub async fn the_lease_has_one_holder(ledger: impl Ledger) {
    let fence = ledger.lease("one", secs(60)).await.unwrap().expect("nobody holds it");
    assert_eq!(fence.holder, "one");
    assert_eq!(ledger.lease("other", secs(60)).await.unwrap(), None);
    append(&ledger, &fence, vec![note(1)]).await;
}

/// Asking again is renewing, and what was granted before is still good.
pub async fn a_holder_that_renews_keeps_its_epoch(ledger: impl Ledger) {
    let fence = lease(&ledger, "one", secs(60)).await;
    append(&ledger, &fence, vec![note(1)]).await;
    assert_eq!(lease(&ledger, "one", secs(60)).await, fence);
    append(&ledger, &fence, vec![note(2)]).await;
    // A lease of no length is over at once, and nobody has taken it.
    assert_eq!(lease(&ledger, "one", Duration::ZERO).await, fence);
    assert_eq!(lease(&ledger, "one", secs(60)).await, fence);
}

/// Also one who held it before.
pub async fn a_new_holder_gets_a_higher_epoch(ledger: impl Ledger) {
    let mut last = 0;
    for holder in ["one", "other", "one", "third"] {
        let fence = lease(&ledger, holder, Duration::ZERO).await;
        assert_eq!(fence.holder, holder);
        assert!(fence.epoch > last, "epoch {} after {last}", fence.epoch);
        last = fence.epoch;
    }
}

/// Whatever the old writer believes: once another has the lease it writes nothing.
pub async fn an_epoch_that_is_over_is_refused(ledger: impl Ledger) {
    let old = lease(&ledger, "one", Duration::ZERO).await;
    append(&ledger, &old, vec![note(1)]).await;
    let new = lease(&ledger, "other", secs(60)).await;
    for _ in 0..2 {
        let error = ledger.append(&old, vec![note(2)]).await.unwrap_err();
        let told = matches!(
            &error,
            LedgerError::Fenced { holder, epoch, newest }
                if *holder == old.holder && *epoch == old.epoch && *newest == new.epoch
        );
        assert!(told, "expected {new:?} to fence {old:?} off, got {error:?}");
    }
    assert_eq!(append(&ledger, &new, vec![note(3)]).await, Seq(2));
    assert_eq!(read(&ledger).await[1].entry, note(3));
}

/// An epoch is granted, not chosen: neither the next one nor one before the first lease writes.
pub async fn a_fence_that_was_never_granted_is_refused(ledger: impl Ledger) {
    for epoch in [0, 1] {
        let made_up = Fence { holder: "nobody".to_owned(), epoch };
        let error = ledger.append(&made_up, vec![note(1)]).await.unwrap_err();
        assert!(matches!(error, LedgerError::Fenced { .. }), "{error:?}");
    }
    let fence = lease(&ledger, "one", secs(60)).await;
    let next = Fence { epoch: fence.epoch + 1, ..fence };
    let error = ledger.append(&next, vec![note(1)]).await.unwrap_err();
    assert!(matches!(error, LedgerError::Fenced { .. }), "{error:?}");
    assert_eq!(read(&ledger).await, []);
}

/// Nothing to read, nothing to verify, and 0 as its newest sequence number.
pub async fn an_empty_ledger_has_nothing(ledger: impl Ledger) {
    assert_eq!(ledger.read(Seq(0), 10).await.unwrap(), []);
    assert_eq!(ledger.read(Seq(1), 10).await.unwrap(), []);
    assert_eq!(ledger.verify().await.unwrap(), Seq(0));
}

/// `append` returns the last one.
pub async fn sequence_numbers_begin_at_one_and_have_no_gaps(ledger: impl Ledger) {
    let fence = lease(&ledger, "one", secs(60)).await;
    let mut last = 0;
    for entries in [1, 3, 2, 1] {
        let batch = (0..entries).map(note).collect();
        last += entries as u64;
        assert_eq!(append(&ledger, &fence, batch).await, Seq(last));
    }
    let seqs: Vec<_> = read(&ledger).await.iter().map(|recorded| recorded.seq.0).collect();
    assert_eq!(seqs, [1, 2, 3, 4, 5, 6, 7]);
}

/// The chain begins with zeros, each hash is what the content says, and `verify` agrees.
pub async fn every_entry_carries_the_hash_of_the_one_before(ledger: impl Ledger) {
    let fence = lease(&ledger, "one", Duration::ZERO).await;
    append(&ledger, &fence, vec![note(1), note(2)]).await;
    let next = lease(&ledger, "other", secs(60)).await;
    append(&ledger, &next, vec![note(3)]).await;

    let entries = read(&ledger).await;
    let mut previous = "0".repeat(64);
    for recorded in &entries {
        assert_eq!(recorded.previous, previous, "entry {}", recorded.seq.0);
        assert!(recorded.is_intact(), "entry {}", recorded.seq.0);
        previous.clone_from(&recorded.hash);
    }
    let epochs: Vec<_> = entries.iter().map(|recorded| recorded.epoch).collect();
    assert_eq!(epochs, [fence.epoch, fence.epoch, next.epoch]);
    assert_eq!(ledger.verify().await.unwrap(), Seq(3));
}

/// Every kind of event with every kind of content, down to the last byte.
pub async fn every_event_reads_back_as_it_was_written(ledger: impl Ledger) {
    let fence = lease(&ledger, "one", secs(60)).await;
    let entries = every_entry();
    append(&ledger, &fence, entries.clone()).await;
    let found = read(&ledger).await;
    assert_eq!(found.len(), entries.len());
    for (recorded, entry) in found.iter().zip(&entries) {
        assert_eq!(&recorded.entry, entry);
        assert!(recorded.is_intact(), "{recorded:?}");
    }
    ledger.verify().await.unwrap();
}

/// At most as many as asked for, from where asked; after the last there is none.
pub async fn pages_are_in_order_and_end(ledger: impl Ledger) {
    let fence = lease(&ledger, "one", secs(60)).await;
    append(&ledger, &fence, (1..=10).map(note).collect()).await;
    let page = async |from: u64, limit: usize| {
        let page = ledger.read(Seq(from), limit).await.unwrap();
        page.iter().map(|recorded| recorded.seq.0).collect::<Vec<_>>()
    };
    assert_eq!(page(1, 4).await, [1, 2, 3, 4]);
    assert_eq!(page(5, 4).await, [5, 6, 7, 8]);
    assert_eq!(page(9, 4).await, [9, 10]);
    assert!(page(11, 4).await.is_empty());
    assert!(page(u64::MAX, 4).await.is_empty());
    assert_eq!(page(0, 2).await, [1, 2]);
    assert!(page(3, 0).await.is_empty());
    assert_eq!(page(10, usize::MAX).await, [10]);
}

/// Not by the same writer, not by the next, not after any number of entries.
pub async fn a_claim_succeeds_once_ever(ledger: impl Ledger) {
    let fence = lease(&ledger, "one", Duration::ZERO).await;
    for claim in [run("x"), shift("x")] {
        append(&ledger, &fence, vec![claim.clone()]).await;
        assert_claimed(&ledger, &fence, vec![claim]).await;
    }
    append(&ledger, &fence, (0..50).map(note).collect()).await;
    let next = lease(&ledger, "other", secs(60)).await;
    for claim in [run("x"), shift("x")] {
        // The claim is the same, whoever claims it and when.
        let claim = Entry { at: at(9999), actor: "somebody else".to_owned(), ..claim };
        assert_claimed(&ledger, &next, vec![claim]).await;
    }
    assert_eq!(read(&ledger).await.len(), 52);
}

/// A batch that claims the same twice is refused as a whole.
pub async fn a_claim_succeeds_once_in_a_batch(ledger: impl Ledger) {
    let fence = lease(&ledger, "one", secs(60)).await;
    assert_claimed(&ledger, &fence, vec![run("x"), note(1), run("x")]).await;
    assert_eq!(read(&ledger).await, []);
    append(&ledger, &fence, vec![run("x"), run("y")]).await;
}

/// A run and a shift of one name do not meet, and other entries claim nothing.
pub async fn claims_of_different_kinds_are_different_claims(ledger: impl Ledger) {
    let fence = lease(&ledger, "one", secs(60)).await;
    let id = execution("x");
    append(&ledger, &fence, vec![run("x"), shift("x"), shift(id.as_str())]).await;
    append(&ledger, &fence, vec![note(1), note(1), note(1)]).await;
    assert_eq!(ledger.verify().await.unwrap(), Seq(6));
}

/// Neither an entry nor a claim of a batch that was refused is kept.
pub async fn a_refused_append_leaves_nothing_behind(ledger: impl Ledger) {
    let old = lease(&ledger, "one", Duration::ZERO).await;
    append(&ledger, &old, vec![run("taken")]).await;
    let fence = lease(&ledger, "other", secs(60)).await;
    assert_claimed(&ledger, &fence, vec![note(1), run("free"), run("taken"), note(2)]).await;
    ledger.append(&old, vec![run("free too")]).await.unwrap_err();

    assert_eq!(read(&ledger).await.len(), 1);
    assert_eq!(append(&ledger, &fence, vec![run("free"), run("free too")]).await, Seq(3));
    assert_eq!(ledger.verify().await.unwrap(), Seq(3));
}

/// However many try at once.
pub async fn of_concurrent_claims_one_succeeds(ledger: impl Ledger) {
    let fence = lease(&ledger, "one", secs(60)).await;
    let ledger = Arc::new(ledger);
    for incident in ["x", "y", "z"] {
        let claims: Vec<_> = (0..8)
            .map(|_| {
                let (ledger, fence) = (ledger.clone(), fence.clone());
                tokio::spawn(async move { ledger.append(&fence, vec![run(incident)]).await })
            })
            .collect();
        let mut won = 0;
        for claim in claims {
            match claim.await.unwrap() {
                Ok(_) => won += 1,
                Err(LedgerError::Claimed { .. }) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
        assert_eq!(won, 1, "{incident}");
    }
    assert_eq!(ledger.verify().await.unwrap(), Seq(3));
}

/// The entries of one append stay together, the chain holds, and the news of the last entry is not
/// lost.
pub async fn concurrent_appends_leave_no_gap(ledger: impl Ledger) {
    let fence = lease(&ledger, "one", secs(60)).await;
    let ledger = Arc::new(ledger);
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let (ledger, fence) = (ledger.clone(), fence.clone());
            tokio::spawn(async move {
                let mut seqs = Vec::new();
                for _ in 0..25 {
                    let entries = vec![note(writer), note(writer), note(writer)];
                    seqs.push(ledger.append(&fence, entries).await.unwrap().0);
                }
                seqs
            })
        })
        .collect();
    let mut ends = Vec::new();
    for writer in writers {
        ends.extend(writer.await.unwrap());
    }
    ends.sort_unstable();
    assert_eq!(ends, (1..=200).map(|i| i * 3).collect::<Vec<_>>());
    let entries = read(&ledger).await;
    for together in entries.chunks(3) {
        assert!(together.iter().all(|r| r.entry == together[0].entry), "{together:?}");
    }
    assert_eq!(ledger.verify().await.unwrap(), Seq(600));
    let newest = within("the last entry", ledger.changed(Seq(599))).await.unwrap();
    assert_eq!(newest, Seq(600));
}

/// The newest sequence number, whatever was known before.
pub async fn changed_returns_at_once_when_there_is_more(ledger: impl Ledger) {
    let fence = lease(&ledger, "one", secs(60)).await;
    append(&ledger, &fence, vec![note(1), note(2)]).await;
    for known in [0, 1] {
        let newest = within("an entry that is there", ledger.changed(Seq(known))).await.unwrap();
        assert_eq!(newest, Seq(2), "after {known}");
    }
}

/// Whoever waits for the next entry hears of it; a refused append wakes nobody.
pub async fn changed_wakes_all_who_wait(ledger: impl Ledger) {
    let fence = lease(&ledger, "one", secs(60)).await;
    append(&ledger, &fence, vec![run("x")]).await;
    let ledger = Arc::new(ledger);
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let ledger = ledger.clone();
            tokio::spawn(async move { ledger.changed(Seq(1)).await.unwrap() })
        })
        .collect();
    assert_claimed(&ledger, &fence, vec![run("x")]).await;
    tokio::task::yield_now().await;
    assert!(waiting.iter().all(|waiter| !waiter.is_finished()), "woken for nothing");
    append(&ledger, &fence, vec![note(1), note(2)]).await;
    for waiter in waiting {
        assert_eq!(within("the next entry", waiter).await.unwrap(), Seq(3));
    }
}

/// `changed` is cancel safe: one that was dropped half-way takes no news away.
pub async fn a_dropped_changed_takes_nothing_from_others(ledger: impl Ledger) {
    let fence = lease(&ledger, "one", secs(60)).await;
    let other = ledger.changed(Seq(0));
    let mut other = pin!(other);
    assert!(poll_once(other.as_mut()).is_pending());
    for _ in 0..3 {
        let dropped = ledger.changed(Seq(0));
        assert!(poll_once(pin!(dropped)).is_pending());
    }
    append(&ledger, &fence, vec![note(1)]).await;
    assert_eq!(within("the first entry", other).await.unwrap(), Seq(1));
    assert_eq!(within("the first entry", ledger.changed(Seq(0))).await.unwrap(), Seq(1));
}

/// Every reader knows the same, whatever lies between.
pub async fn the_fold_of_what_is_read_is_the_fold_of_what_was_written(ledger: impl Ledger) {
    let fence = lease(&ledger, "one", secs(60)).await;
    let mut written = History::default();
    for entry in every_entry().into_iter().chain((0..1500).map(note)).chain([run("open")]) {
        let seq = written.seq.next();
        written.apply(&Recorded::chain(seq, fence.epoch, String::new(), entry.clone()));
        assert_eq!(append(&ledger, &fence, vec![entry]).await, seq);
    }
    assert_eq!(History::read(&ledger).await.unwrap(), written);
    assert_eq!(ledger.history().await.unwrap(), written);
}

/// Entries hold what runbooks and people say and what metrics measure: any text and any finite
/// number. Ledgers of `make` give it back and find their own hashes intact.
pub fn any_content_reads_back<L: Ledger>(make: impl AsyncFn() -> L) {
    let number = any::<f64>().prop_filter("JSON has no other numbers", |v| v.is_finite());
    let content = prop::collection::vec((".{0,30}", number, any::<i64>(), any::<u64>()), 1..8);
    let config = Config { cases: 64, failure_persistence: None, ..Config::default() };
    let tried = TestRunner::new(config).run(&content, |content| {
        block_on(async {
            let ledger = make().await;
            let fence = lease(&ledger, "one", secs(60)).await;
            let entries: Vec<_> = content
                .into_iter()
                .flat_map(|(text, number, int, uint)| {
                    let mut status = alert(&text, AlertState::Firing { since: at(1) });
                    status.value = Some(number);
                    status.summary.clone_from(&text);
                    let args = json!({ text.clone(): [number, int, uint, text] });
                    let (execution, capability) = (execution("x"), text.clone());
                    [
                        Event::Transition { from: text, alert: status },
                        Event::CallIntent { execution, call: uint, capability, args },
                    ]
                })
                .map(entry)
                .collect();
            append(&ledger, &fence, entries.clone()).await;
            let found = read(&ledger).await;
            let found: Vec<_> = found.iter().map(|recorded| recorded.entry.clone()).collect();
            assert_eq!(found, entries);
            ledger.verify().await.unwrap();
        });
        Ok(())
    });
    if let Err(failure) = tried {
        panic!("{failure}");
    }
}

/// To the millisecond: until then nobody else gets it, from then on somebody does.
pub async fn a_lease_ends_when_its_time_is_over((ledger, clock): (impl Ledger, Arc<ManualClock>)) {
    let fence = lease(&ledger, "one", secs(10)).await;
    clock.set(at(1010) - Duration::from_millis(1));
    assert_eq!(ledger.lease("other", secs(10)).await.unwrap(), None);
    clock.set(at(1010));
    let next = lease(&ledger, "other", secs(10)).await;
    assert!(next.epoch > fence.epoch);
    assert_eq!(ledger.lease("one", secs(10)).await.unwrap(), None);
    let error = ledger.append(&fence, vec![note(1)]).await.unwrap_err();
    assert!(matches!(error, LedgerError::Fenced { .. }), "{error:?}");
}

/// The time counts from the last renewal.
pub async fn a_renewed_lease_ends_later((ledger, clock): (impl Ledger, Arc<ManualClock>)) {
    let fence = lease(&ledger, "one", secs(10)).await;
    clock.set(at(1005));
    assert_eq!(lease(&ledger, "one", secs(10)).await, fence);
    clock.set(at(1014));
    assert_eq!(ledger.lease("other", secs(10)).await.unwrap(), None);
    append(&ledger, &fence, vec![note(1)]).await;
    clock.set(at(1015));
    assert!(lease(&ledger, "other", secs(10)).await.epoch > fence.epoch);
}

/// Being late is not being replaced: without a newer epoch nothing is lost, and nothing refused.
pub async fn a_lease_that_is_over_writes_on_until_somebody_takes_it(
    (ledger, clock): (impl Ledger, Arc<ManualClock>),
) {
    let fence = lease(&ledger, "one", secs(10)).await;
    clock.set(at(2000));
    append(&ledger, &fence, vec![note(1)]).await;
    assert_eq!(lease(&ledger, "one", secs(10)).await, fence);
}

async fn lease(ledger: &impl Ledger, holder: &str, ttl: Duration) -> Fence {
    ledger.lease(holder, ttl).await.unwrap().expect("the lease is free")
}

async fn append(ledger: &impl Ledger, fence: &Fence, entries: Vec<Entry>) -> Seq {
    ledger.append(fence, entries).await.unwrap()
}

async fn read(ledger: &impl Ledger) -> Vec<Arc<Recorded>> {
    ledger.read(Seq(1), 10_000).await.unwrap()
}

async fn assert_claimed(ledger: &impl Ledger, fence: &Fence, entries: Vec<Entry>) {
    let error = ledger.append(fence, entries).await.unwrap_err();
    let told = matches!(&error, LedgerError::Claimed { claim } if !claim.is_empty());
    assert!(told, "expected that it is claimed, got {error:?}");
}

fn poll_once<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> Poll<T> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

fn entry(event: Event) -> Entry {
    Entry { at: at(5), actor: "engine".to_owned(), event }
}

fn note(i: usize) -> Entry {
    entry(Event::Note { execution: execution("noted"), text: format!("note {i}") })
}

fn run(incident: &str) -> Entry {
    entry(Event::RunClaimed {
        execution: execution(incident),
        runbook: "rollover".to_owned(),
        alert: "eligibility.latency_ms".to_owned(),
        fingerprint: fingerprint(incident),
        service: None,
    })
}

fn shift(name: &str) -> Entry {
    entry(Event::ShiftPlanned { shift: name.to_owned(), request: to(B, 100, name) })
}

fn fingerprint(incident: &str) -> Fingerprint {
    Fingerprint::of(incident, &Default::default())
}

fn execution(incident: &str) -> ExecutionId {
    ExecutionId::of("rollover", &fingerprint(incident), at(1))
}

/// One entry for each kind of event and of what it may hold.
fn every_entry() -> Vec<Entry> {
    let hostile = "quote \" backslash \\ line\nbreak \u{0}\u{1f}\u{7f} größe \u{1f98a} \u{2028}";
    let states = [
        AlertState::Inactive,
        AlertState::Pending { since: at(-1) },
        AlertState::Firing { since: at(2) },
        AlertState::Recovering { firing_since: at(2), since: at(3) },
        AlertState::Resolved { firing_since: at(2), at: at(4) },
    ];
    let healths = [AlertHealth::Ok, AlertHealth::Idle, AlertHealth::NoData, AlertHealth::Error];
    let alerts = states.into_iter().zip(healths.into_iter().cycle()).map(|(state, health)| {
        let mut alert = alert("eligibility.latency_ms", state);
        alert.health = health;
        alert.value = Some(0.1 + 0.2);
        alert.summary = hostile.to_owned();
        alert
    });
    let alerts: Vec<_> = alerts.collect();
    let reason = || hostile.to_owned();
    let text = reason;
    let outcomes = [
        Outcome::Completed,
        Outcome::Failed {
            error: RunbookError::Denied { capability: "mesh.shift".to_owned(), reason: reason() },
        },
        Outcome::Failed {
            error: RunbookError::Call { capability: "mesh.shift".to_owned(), reason: reason() },
        },
        Outcome::Failed { error: RunbookError::Failed { reason: reason() } },
        Outcome::Failed { error: RunbookError::Unsupported },
        Outcome::Panicked { message: text() },
        Outcome::TimedOut { after: Duration::from_nanos(1_500_000_001) },
        Outcome::NoOutcome { exit: text() },
        Outcome::BrokeProtocol { reason: reason() },
        Outcome::NotStarted { reason: reason() },
        Outcome::Cancelled { reason: reason() },
    ];
    let reached = [
        ShiftState::Accepted,
        ShiftState::Applied,
        ShiftState::Observed { evidence: text() },
        ShiftState::Settled { evidence: text() },
        ShiftState::Refused { reason: reason() },
        ShiftState::RolledBack { reason: reason() },
        ShiftState::Unconfirmed { reason: reason() },
    ];
    let x = || execution("every");
    let args = json!({ "text": hostile, "int": i64::MIN, "uint": u64::MAX, "float": 1e-7,
        "nothing": null, "list": [[], {}, true], "é": { "b": 1, "a": 2 } });

    let mut events = vec![
        Event::RunClaimed {
            execution: x(),
            runbook: text(),
            alert: text(),
            fingerprint: fingerprint("every"),
            service: Some("eligibility-svc".into()),
        },
        Event::RunStarted { execution: x(), process: u32::MAX },
        Event::CallIntent {
            execution: x(),
            call: u64::MAX,
            capability: text(),
            args: args.clone(),
        },
        Event::CallResult { execution: x(), call: 0, result: Ok(args) },
        Event::CallResult { execution: x(), call: 1, result: Ok(json!(null)) },
        Event::CallResult { execution: x(), call: 2, result: Err(reason()) },
        Event::Note { execution: x(), text: text() },
        Event::ShiftPlanned { shift: text(), request: to(B, 100, hostile) },
        Event::NotificationSettled { receiver: text(), key: text(), result: Ok(text()) },
        Event::NotificationSettled { receiver: text(), key: text(), result: Err(text()) },
        Event::Held { held: true, reason: reason() },
        Event::Held { held: false, reason: String::new() },
        Event::Held { held: true, reason: reason() },
    ];
    events.extend(alerts.iter().flat_map(|alert| {
        let notification = Notification { key: text(), at: at(5), alert: alert.clone() };
        [
            Event::Transition { from: "inactive".to_owned(), alert: alert.clone() },
            Event::NotificationQueued { receiver: text(), notification },
        ]
    }));
    events.extend(outcomes.map(|outcome| Event::RunFinished {
        execution: x(),
        outcome,
        output: text(),
    }));
    events.extend(reached.map(|state| {
        let (from, to) = (vec![(A.into(), 100), (B.into(), 0)], vec![(A.into(), 0), (B.into(), 1)]);
        let report = ShiftReport { service: "eligibility-svc".into(), from, to, state };
        Event::ShiftReached { shift: text(), report }
    }));
    events.into_iter().map(entry).collect()
}
