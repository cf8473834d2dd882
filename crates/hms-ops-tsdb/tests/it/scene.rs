//! A small store on a disk that can fail: metrics with a sample each ten seconds, and calls that do
//! not end well.

use std::ops::Range;
use std::sync::Arc;

use hms_ops_core::labels::Labels;
use hms_ops_core::matcher::Matcher;
use hms_ops_core::sample::{Exemplar, Sample};
use hms_ops_core::store::{Store, StoreExt};
use hms_ops_core::time::{TimeRange, Timestamp};
use hms_ops_testkit::fault_disk::{Fault, FaultDisk};
use hms_ops_tsdb::{Options, Tsdb};

use crate::world::{DIR, make_folder, options};

const START: i64 = 1_767_225_600_000;

/// What [`seconds`] says of a metric without samples.
pub(crate) const NOTHING: [i64; 0] = [];

pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(START + seconds * 1000)
}

pub(crate) fn sample(seconds: i64) -> Sample {
    Sample { at: at(seconds), value: 1.0.into() }
}

pub(crate) fn fresh() -> (FaultDisk, Tsdb) {
    fresh_with(options())
}

pub(crate) fn fresh_with(options: Options) -> (FaultDisk, Tsdb) {
    let disk = FaultDisk::new();
    make_folder(&disk);
    let store = open_with(&disk, options);
    (disk, store)
}

pub(crate) fn open(disk: &FaultDisk) -> Tsdb {
    open_with(disk, options())
}

pub(crate) fn open_with(disk: &FaultDisk, options: Options) -> Tsdb {
    Tsdb::open_on(Arc::new(disk.clone()), DIR, options).unwrap()
}

pub(crate) fn reopen(disk: &FaultDisk, store: Tsdb) -> Tsdb {
    store.close().unwrap();
    drop(store);
    open(disk)
}

pub(crate) async fn fill(store: &Tsdb, metric: &str, seconds: Range<i64>) {
    for second in seconds.step_by(10) {
        store.append_one(&Labels::metric(metric), at(second), second as f64).await.unwrap();
    }
}

/// When a metric has samples, in seconds; one series after the other.
pub(crate) async fn seconds(store: &Tsdb, metric: &str) -> Vec<i64> {
    let found = store.collect(&[Matcher::metric(metric)], TimeRange::ALL).await.unwrap();
    let samples = found.iter().flat_map(|(_, samples)| samples);
    samples.map(|sample| (sample.at.as_millis() - START) / 1000).collect()
}

/// Adds a sample and an exemplar at one instant.
pub(crate) async fn put_exemplar(store: &Tsdb, metric: &str, seconds: i64) {
    let commit = {
        let mut batch = store.appender();
        let of = batch.series(&Labels::metric(metric)).unwrap();
        batch.append(of, at(seconds), 1.0.into()).unwrap();
        let exemplar = Exemplar { labels: Labels::empty(), value: 1.0, at: at(seconds) };
        batch.exemplar(of, exemplar).unwrap();
        batch.commit()
    };
    commit.await.unwrap();
}

/// Two blocks of `up` within a minute that is over: the next maintenance makes them one.
pub(crate) async fn prepare_compaction(store: &Tsdb) {
    for seconds in [0..30, 30..60] {
        fill(store, "up", seconds).await;
        store.seal().unwrap();
    }
    fill(store, "later", 200..201).await;
    store.seal().unwrap();
}

/// How something does not end well.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mishap {
    /// One call of the disk fails.
    Fault,
    /// From some call on the disk fails, until `step` has given up.
    Outage,
    /// The process is killed.
    Kill,
    /// The power goes; with the seed of what is left on the disk.
    Power(u64),
}

/// Lets a mishap befall `step` at its `n`th call of the disk. The disk and the store that are there
/// afterwards; `None` when `step` does not make so many calls.
pub(crate) fn befall(
    mishap: Mishap,
    n: u64,
    disk: FaultDisk,
    store: Tsdb,
    step: impl FnOnce(&Tsdb),
) -> Option<(FaultDisk, Tsdb)> {
    let before = disk.calls();
    match mishap {
        Mishap::Fault => disk.fail_at(n, Fault::Io),
        Mishap::Outage | Mishap::Kill | Mishap::Power(_) => disk.fail_from(n, Fault::Io),
    }
    step(&store);
    if disk.calls() - before < n {
        return None;
    }
    let left = match mishap {
        Mishap::Fault | Mishap::Outage => Some(store),
        Mishap::Kill | Mishap::Power(_) => {
            // What it does when it is dropped, a dead process does not do.
            drop(store);
            None
        }
    };
    disk.heal();
    let disk = if let Mishap::Power(seed) = mishap { disk.crash(seed) } else { disk };
    let store = left.unwrap_or_else(|| open(&disk));
    Some((disk, store))
}
