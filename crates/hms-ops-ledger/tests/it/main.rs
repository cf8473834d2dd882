//! The ledger in files, on disks that keep and disks that fail.

#![allow(clippy::unwrap_used, reason = "tests")]

mod damage;
mod power;
mod restart;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hms_ops_core::alert::Fingerprint;
use hms_ops_core::clock::{Clock, ManualClock};
use hms_ops_core::ledger::{Entry, Event, Fence, Ledger, LedgerError, Recorded, Seq};
use hms_ops_core::runbook::ExecutionId;
use hms_ops_core::time::Timestamp;
use hms_ops_ledger::{FileLedger, FileLedgerOptions};
use hms_ops_testkit::fault_disk::FaultDisk;

mod on_a_real_disk {
    use hms_ops_ledger::{FileLedger, FileLedgerOptions};

    hms_ops_testkit::ledger_suite!(|clock| {
        let folder = hms_ops_testkit::keep(tempfile::tempdir().unwrap());
        let options = FileLedgerOptions { clock, ..FileLedgerOptions::default() };
        FileLedger::open(folder.path().join("ledger"), options).unwrap()
    });
}

/// A segment for nearly every append, and nearly nothing in memory.
mod in_small_segments {
    hms_ops_testkit::ledger_suite!(|clock| {
        super::open_with(&Default::default(), super::small(clock)).unwrap()
    });
}

fn small(clock: Arc<dyn Clock>) -> FileLedgerOptions {
    FileLedgerOptions { clock, segment_bytes: 1000, recent: 3, ..FileLedgerOptions::default() }
}

fn open_with(
    disk: &FaultDisk,
    options: FileLedgerOptions,
) -> Result<FileLedger, hms_ops_ledger::FileLedgerError> {
    FileLedger::open_on(Arc::new(disk.clone()), Path::new("/ledger"), options)
}

fn open(disk: &FaultDisk) -> FileLedger {
    open_with(disk, small(Arc::new(ManualClock::default()))).unwrap()
}

async fn lease(ledger: &FileLedger) -> Fence {
    ledger.lease("me", Duration::from_secs(60)).await.unwrap().expect("nobody else asks")
}

async fn entries(ledger: &FileLedger) -> Vec<Arc<Recorded>> {
    let mut entries: Vec<Arc<Recorded>> = Vec::new();
    loop {
        let from = entries.last().map_or(Seq(1), |last| last.seq.next());
        let page = ledger.read(from, 7).await.unwrap();
        if page.is_empty() {
            return entries;
        }
        entries.extend(page);
    }
}

fn entry(event: Event) -> Entry {
    Entry { at: Timestamp::from_millis(5), actor: "engine".to_owned(), event }
}

fn note(text: &str) -> Entry {
    entry(Event::Note { execution: execution("noted"), text: text.to_owned() })
}

fn execution(incident: &str) -> ExecutionId {
    let print = Fingerprint::of(incident, &Default::default());
    ExecutionId::of("rollover", &print, Timestamp::from_millis(1))
}

fn run(incident: &str) -> Entry {
    entry(Event::RunClaimed {
        execution: execution(incident),
        runbook: "rollover".to_owned(),
        alert: "eligibility.latency_ms".to_owned(),
        fingerprint: Fingerprint::of(incident, &Default::default()),
        service: None,
    })
}

async fn is_claimed(ledger: &FileLedger, fence: &Fence, incident: &str) -> bool {
    match ledger.append(fence, vec![run(incident)]).await {
        Ok(_) => false,
        Err(LedgerError::Claimed { .. }) => true,
        Err(error) => panic!("{error:?}"),
    }
}
