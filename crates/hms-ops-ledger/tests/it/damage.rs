//! Bytes that are not what was written.

use std::path::{Path, PathBuf};

use hms_ops_core::ledger::{History, Ledger, LedgerError, Seq};
use hms_ops_ledger::FileLedger;
use hms_ops_testkit::block_on;
use hms_ops_testkit::fault_disk::FaultDisk;
use hms_ops_wal::disk::{Disk, DiskFileExt};

use super::{entries, is_claimed, lease, note, open, run};

/// Fifty entries with a claim in the first, and the segments that they are in.
async fn written(disk: &FaultDisk) -> Vec<PathBuf> {
    let ledger = open(disk);
    let fence = lease(&ledger).await;
    ledger.append(&fence, vec![run("first")]).await.unwrap();
    for i in 2..=50 {
        ledger.append(&fence, vec![note(&format!("entry {i}"))]).await.unwrap();
    }
    drop(ledger);
    let files = disk.files().into_keys();
    let segments: Vec<_> = files.filter(|path| path.extension().is_some()).collect();
    assert!(segments.len() > 5, "{segments:?}");
    segments
}

async fn tampered(ledger: &FileLedger) -> Option<Seq> {
    match ledger.verify().await {
        Ok(_) => None,
        Err(LedgerError::Tampered { seq }) => Some(seq),
        Err(error) => panic!("{error:?}"),
    }
}

/// The place of a text in a file.
fn find(disk: &FaultDisk, path: &Path, text: &str) -> Option<u64> {
    let content = disk.read(path).unwrap();
    let at = content.windows(text.len()).position(|window| window == text.as_bytes());
    at.map(|at| at as u64)
}

#[test]
fn a_damaged_entry_is_named_and_stops_nothing() {
    block_on(async {
        for damaged in [2, 3, 17, 30, 49] {
            let disk = FaultDisk::new();
            let segments = written(&disk).await;
            let text = format!("entry {damaged}\"");
            let place = |path: &PathBuf| find(&disk, path, &text).map(|at| (path.clone(), at));
            let (path, at) = segments.iter().find_map(place).unwrap();
            disk.flip_bit(&path, at * 8);

            let ledger = open(&disk);
            assert_eq!(tampered(&ledger).await, Some(Seq(damaged)));
            assert!(ledger.recovery().damaged_stretches <= 1);
            let found = entries(&ledger).await;
            let seqs: Vec<_> = found.iter().map(|recorded| recorded.seq.0).collect();
            assert_eq!(seqs, (1..=50).filter(|seq| *seq != damaged).collect::<Vec<_>>());
            let fence = lease(&ledger).await;
            assert_eq!(ledger.append(&fence, vec![note("and on")]).await.unwrap(), Seq(51));
            assert!(is_claimed(&ledger, &fence, "first").await);
            drop(ledger);
            assert_eq!(tampered(&open(&disk)).await, Some(Seq(damaged)));
        }
    });
}

#[test]
fn whatever_byte_is_damaged_the_ledger_opens_and_knows() {
    block_on(async {
        let disk = FaultDisk::new();
        for path in written(&disk).await {
            let bytes = disk.files()[&path];
            for at in (0..bytes).step_by(29) {
                let hit = disk.crash(0);
                hit.flip_bit(&path, at * 8 + at % 8);
                let ledger = open(&hit);
                let fence = lease(&ledger).await;
                let found = entries(&ledger).await.len();
                let next = ledger.append(&fence, vec![note("and on")]).await.unwrap();
                // One of two copies of a header, a lease, or a snapshot costs no entry.
                assert!(found >= 35, "{path:?} at {at}: {found} entries are left");
                let noticed = tampered(&ledger).await.is_some();
                let torn = next.0 <= 50;
                assert!(found == 50 || noticed || torn, "{path:?} at {at}");
            }
        }
    });
}

#[test]
fn a_segment_that_is_gone_is_named_by_its_first_entry() {
    block_on(async {
        let disk = FaultDisk::new();
        let segments = written(&disk).await;
        let ledger = open(&disk);
        let all = entries(&ledger).await;
        drop(ledger);
        disk.remove(&segments[2]).unwrap();
        let ledger = open(&disk);
        let left = entries(&ledger).await;
        let gone = all.iter().find(|recorded| !left.contains(recorded)).unwrap();
        assert_eq!(tampered(&ledger).await, Some(gone.seq));
        assert_eq!(ledger.history().await.unwrap().open_runs.len(), 1);
    });
}

#[test]
fn a_forged_entry_is_found_although_its_checksum_is_right() {
    block_on(async {
        // Another's ledger of the same shape: every checksum in it is right.
        let (disk, other) = (FaultDisk::new(), FaultDisk::new());
        written(&disk).await;
        {
            let ledger = open(&other);
            let fence = lease(&ledger).await;
            ledger.append(&fence, vec![run("another")]).await.unwrap();
            for i in 2..=50 {
                ledger.append(&fence, vec![note(&format!("entry {i}"))]).await.unwrap();
            }
        }
        let first = PathBuf::from("/ledger/log/00000000000000000001.wal");
        let forged = other.read(&first).unwrap();
        disk.remove(&first).unwrap();
        let mut file = disk.create(&first).unwrap();
        file.write_all(&forged).unwrap();

        let ledger = open(&disk);
        let named = tampered(&ledger).await.expect("the next segment's snapshot knows better");
        assert!(named < Seq(10), "{named:?}");
        assert_eq!(History::read(&ledger).await.unwrap().seq, Seq(50));
    });
}
