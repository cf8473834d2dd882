//! A store on a disk that can fail, and what it has promised so far.

use std::collections::BTreeMap;
use std::env;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hms_ops_core::labels::Labels;
use hms_ops_core::sample::Value;
use hms_ops_core::store::{Store, StoreError, StoreExt};
use hms_ops_core::time::{TimeRange, Timestamp};
use hms_ops_testkit::fault_disk::FaultDisk;
use hms_ops_tsdb::{Durability, Options, Tsdb, TsdbError};

pub(crate) const DIR: &str = "/data/store";
/// Milliseconds between two batches.
const STEP: i64 = 5_000;

/// A count, which a run that takes its time may raise.
pub(crate) fn count(variable: &str, usual: u64) -> u64 {
    env::var(variable).ok().and_then(|count| count.parse().ok()).unwrap_or(usual)
}

/// Small numbers from a seed: an xorshift generator.
#[derive(Clone, Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) % end
    }
}

pub(crate) fn labels(series: u64) -> Labels {
    Labels::metric("latency_ms").with("instance", &format!("i{series}")).with("le", "300")
}

/// What a series has at an instant: it follows from both, so that a wrong value is seen.
pub(crate) fn value_of(series: u64, at: i64) -> f64 {
    (series as f64) * 1000.5 + (at as f64) / 3.0
}

/// Blocks of a minute, so that a short history is sealed and compacted.
pub(crate) fn options() -> Options {
    Options {
        block: Duration::from_secs(60),
        out_of_order_window: Duration::from_secs(20),
        ahead: Duration::from_secs(20),
        background: false,
        ..Options::default()
    }
}

type Samples = BTreeMap<(u64, i64), f64>;

/// A store, and what it owes.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) disk: FaultDisk,
    pub(crate) store: Option<Tsdb>,
    options: Options,
    now: i64,
    /// Committed, and acknowledged.
    pub(crate) acknowledged: Samples,
    /// Appended, whatever came of it.
    appended: Samples,
}

impl World {
    pub(crate) fn new(durability: Durability) -> Self {
        let disk = FaultDisk::new();
        let options = Options { durability, ..options() };
        let mut world = Self {
            disk,
            store: None,
            options,
            now: 1_767_225_600_000,
            acknowledged: Samples::new(),
            appended: Samples::new(),
        };
        make_folder(&world.disk);
        world.open().unwrap();
        world
    }

    pub(crate) fn open(&mut self) -> Result<(), TsdbError> {
        self.store = None;
        let disk = Arc::new(self.disk.clone());
        self.store = Some(Tsdb::open_on(disk, DIR, self.options.clone())?);
        Ok(())
    }

    /// Commits samples of some series, one of them late.
    pub(crate) async fn batch(&mut self, random: &mut Random) -> Result<(), StoreError> {
        self.now += STEP;
        let store = self.store.as_ref().unwrap();
        let mut batch = Samples::new();
        let commit = {
            let mut appender = store.appender();
            for _ in 0..=random.below(12) {
                let series = random.below(10);
                let late = if random.below(8) == 0 { random.below(15_000) as i64 } else { 0 };
                let at = self.now - late;
                let value = value_of(series, at);
                let of = appender.series(&labels(series))?;
                appender.append(of, Timestamp::from_millis(at), Value::Float(value))?;
                batch.insert((series, at), value);
            }
            appender.commit()
        };
        self.appended.extend(batch.clone());
        commit.await?;
        self.acknowledged.extend(batch);
        Ok(())
    }

    /// One thing that happens to a store. It may fail; what was promised is remembered.
    pub(crate) async fn step(&mut self, random: &mut Random) -> Result<(), TsdbError> {
        let store = self.store.as_ref().unwrap();
        match random.below(12) {
            0 => store.maintain(),
            1 => store.seal(),
            2 => {
                let closed = store.close();
                self.store = None;
                self.open()?;
                closed
            }
            _ => {
                let _ = self.batch(random).await;
                Ok(())
            }
        }
    }

    /// The power goes, and comes back.
    pub(crate) fn crash(&mut self, seed: u64) {
        let after = self.disk.crash(seed);
        self.disk.heal();
        self.store = None;
        self.disk = after;
        self.open().unwrap();
    }

    pub(crate) async fn read(&self) -> Samples {
        let all = self.store.as_ref().unwrap().collect(&[], TimeRange::ALL).await.unwrap();
        let mut read = Samples::new();
        for (found, samples) in all {
            let series = found.get("instance").unwrap()[1..].parse().unwrap();
            assert_eq!(found, labels(series));
            assert!(samples.is_sorted_by(|a, b| a.at < b.at), "{found}");
            read.extend(
                samples.iter().map(|s| ((series, s.at.as_millis()), s.value.as_float().unwrap())),
            );
        }
        read
    }

    /// Everything acknowledged is there, and nothing that nobody wrote.
    pub(crate) async fn check(&self) {
        let read = self.read().await;
        for (of, value) in &self.acknowledged {
            assert_eq!(read.get(of), Some(value), "acknowledged: {of:?}");
        }
        self.check_nothing_invented(&read);
    }

    pub(crate) fn check_nothing_invented(&self, read: &Samples) {
        for (of, value) in read {
            assert_eq!(self.appended.get(of), Some(value), "invented: {of:?}");
        }
    }
}

/// Makes the folder above the store's durable, as it is on a machine.
pub(crate) fn make_folder(disk: &FaultDisk) {
    use hms_ops_wal::disk::Disk;

    disk.create_dir(Path::new("/data")).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
}
