//! Flipped bits and missing tails: what is hit is lost, the rest is served, nothing is made up.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hms_ops_core::labels::Labels;
use hms_ops_core::sample::Sample;
use hms_ops_core::store::{Store, StoreExt};
use hms_ops_core::time::{TimeRange, Timestamp};
use hms_ops_testkit::block_on;
use hms_ops_testkit::fault_disk::FaultDisk;
use hms_ops_tsdb::{Options, Tsdb};

use crate::world::{DIR, count, labels, make_folder, options, value_of};

type Content = BTreeMap<Labels, Vec<Sample>>;

/// Every so manieth byte; each of them where `HMS_OPS_TORTURE_STRIDE` is 1.
fn stride(usual: u64) -> usize {
    count("HMS_OPS_TORTURE_STRIDE", usual) as usize
}

fn open(disk: &FaultDisk) -> Tsdb {
    Tsdb::open_on(Arc::new(disk.clone()), DIR, options()).unwrap()
}

async fn fill(store: &Tsdb, batches: i64, series: u64, step: i64) {
    for batch in 0..batches {
        let at = 1_767_225_600_000 + batch * step;
        let commit = {
            let mut appender = store.appender();
            for series in 0..series {
                let of = appender.series(&labels(series)).unwrap();
                let value = value_of(series, at);
                appender.append(of, Timestamp::from_millis(at), value.into()).unwrap();
            }
            appender.commit()
        };
        commit.await.unwrap();
    }
}

async fn content(store: &Tsdb) -> Content {
    store.collect(&[], TimeRange::ALL).await.unwrap().into_iter().collect()
}

/// How many samples are lost; fails when one is wrong or new.
fn lost(whole: &Content, left: &Content) -> usize {
    for (labels, samples) in left {
        let known = &whole[labels];
        assert!(samples.iter().all(|sample| known.contains(sample)), "{labels}");
    }
    let count = |content: &Content| content.values().map(Vec::len).sum::<usize>();
    count(whole) - count(left)
}

/// Damages one file in every way, and says how many samples that cost at most.
async fn hurt(disk: &FaultDisk, file: &Path, bytes: u64, whole: &Content, stride: usize) -> usize {
    let mut worst = 0;
    for at in (0..bytes).step_by(stride) {
        let hurt = disk.crash(0);
        hurt.flip_bit(file, at * 8 + at % 8);
        let store = open(&hurt);
        let lost = lost(whole, &content(&store).await);
        worst = worst.max(lost);
    }
    worst
}

async fn cut(disk: &FaultDisk, file: &Path, bytes: u64, whole: &Content, stride: usize) {
    let mut before = usize::MAX;
    for len in (0..bytes).step_by(stride) {
        let hurt = disk.crash(0);
        hurt.cut(file, len);
        let store = open(&hurt);
        let lost = lost(whole, &content(&store).await);
        assert!(lost <= before, "{len} bytes are left, and {lost} samples lost, not {before}");
        before = lost;
    }
}

fn files(disk: &FaultDisk, extension: &str) -> Vec<(PathBuf, u64)> {
    let all = disk.files().into_iter();
    all.filter(|(path, _)| path.extension().is_some_and(|e| e == extension)).collect()
}

#[test]
fn a_hurt_log_costs_one_commit_at_most() {
    block_on(async {
        let disk = FaultDisk::new();
        make_folder(&disk);
        let store = open(&disk);
        fill(&store, 64, 100, 100).await;
        let whole = content(&store).await;
        let synced = disk.crash(0);
        let wal = files(&synced, "wal");
        let [(file, bytes)] = &wal[..] else { panic!("{wal:?}") };
        assert!(*bytes > 64 << 10, "{bytes}");
        assert!(hurt(&synced, file, *bytes, &whole, stride(127)).await <= 100);
        cut(&synced, file, *bytes, &whole, stride(509)).await;
    });
}

#[test]
fn a_hurt_block_costs_one_chunk_at_most() {
    block_on(async {
        let disk = FaultDisk::new();
        make_folder(&disk);
        let store = open(&disk);
        fill(&store, 500, 4, 100).await;
        store.seal().unwrap();
        let whole = content(&store).await;
        let synced = disk.crash(0);
        for extension in ["block", "index"] {
            for (file, bytes) in files(&synced, extension) {
                // Series that were written together have their times in common.
                let worst = hurt(&synced, &file, bytes, &whole, stride(3)).await;
                assert!(worst <= 4 * 500, "{worst} lost by {}", file.display());
                if extension == "block" {
                    assert!(worst >= 500, "the chunks were not hit");
                } else {
                    assert_eq!(worst, 0, "the index is there twice");
                }
                cut(&synced, &file, bytes, &whole, stride(5)).await;
            }
        }
    });
}

#[test]
fn what_is_damaged_is_named_by_verify() {
    block_on(async {
        let disk = FaultDisk::new();
        make_folder(&disk);
        let store = open(&disk);
        fill(&store, 500, 1, 100).await;
        store.seal().unwrap();
        drop(store);
        assert_eq!(Tsdb::verify_on(&disk, Path::new(DIR)).unwrap().damaged, Vec::<String>::new());

        let (block, _) = files(&disk, "block").remove(0);
        disk.flip_bit(&block, 8 * 100);
        let report = Tsdb::verify_on(&disk, Path::new(DIR)).unwrap();
        assert_eq!(report.damaged.len(), 1, "{:?}", report.damaged);
        assert!(
            report.damaged[0].starts_with(&block.display().to_string()),
            "{:?}",
            report.damaged
        );

        let store = open(&disk);
        assert!(content(&store).await.is_empty());
        assert_eq!(store.stats().await.damaged, 1);
    });
}

#[test]
fn a_file_of_another_release_is_refused_by_name_and_version() {
    block_on(async {
        let disk = FaultDisk::new();
        make_folder(&disk);
        let store = open(&disk);
        fill(&store, 10, 1, 100).await;
        store.seal().unwrap();
        drop(store);
        let (block, bytes) = files(&disk, "block").remove(0);
        // The version behind the magic, of a file whose end nobody can read.
        disk.flip_bit(&block, 8 * 8 + 1);
        disk.cut(&block, bytes - 1);
        let (index, bytes) = files(&disk, "index").remove(0);
        disk.cut(&index, bytes - 1);
        let error = Tsdb::open_on(Arc::new(disk), DIR, Options::default()).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("{} has format version 3, this release reads version 1", block.display())
        );
    });
}
