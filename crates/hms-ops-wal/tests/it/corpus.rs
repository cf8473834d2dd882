//! The seeds of the fuzz target, and what is near them.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use hms_ops_testkit::fault_disk::FaultDisk;
use hms_ops_wal::disk::Disk;
use hms_ops_wal::fuzzing;

#[test]
fn no_harm_of_the_corpus_makes_a_log_deliver_what_is_not_its_own() {
    for seed in seeds("wal_log") {
        for at in 0..seed.len() {
            for bit in 0..8 {
                let mut flipped = seed.clone();
                flipped[at] ^= 1 << bit;
                log(&flipped);
            }
            log(&seed[..at]);
        }
        log(&seed);
    }
}

fn log(harms: &[u8]) {
    let disk: Arc<dyn Disk> = Arc::new(FaultDisk::new());
    fuzzing::log(&disk, harms);
}

/// The seeds of a target. They are not part of a published crate.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds");
    if !folder.is_dir() {
        eprintln!("no seeds: there is no {}", folder.display());
        return Vec::new();
    }
    let files = fs::read_dir(folder.join(target)).unwrap();
    let seeds: Vec<_> = files.map(|file| fs::read(file.unwrap().path()).unwrap()).collect();
    assert!(!seeds.is_empty(), "{target} has no seeds");
    seeds
}
