//! The workload of the store's benches: instances of a service, each scraped every 15 s.
//!
//! An instance has [`SERIES`] series: 10 gauges of whole numbers, 5 rounded to three decimals, 5 of
//! full precision, 15 counters, a classic histogram of 14 series, and `up`. Its values are a
//! function of the seed and its number, so the same workload has the same bits everywhere; no
//! function is used whose last bit depends on the platform.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::iter;
use std::path::Path;

use hms_ops_core::labels::{INSTANCE, Labels, NAME, SERVICE};
use hms_ops_core::sample::Value;
use hms_ops_core::store::{Appender, SeriesRef, Store};
use hms_ops_core::time::Timestamp;

/// The file of a workload's values, in the folder of who reads it.
pub const VALUES: &str = "values";
/// Scrapes in a batch of the size that remote write has.
pub const LARGE: usize = 2000 / SERIES;
/// Series of one instance.
pub const SERIES: usize = 50;

/// 2026-01-01T00:00Z, in milliseconds.
const START: i64 = 1_767_225_600_000;
const INTERVAL: i64 = 15_000;
const SCRAPES_AN_HOUR: usize = 240;
const SEED: u64 = 42;
/// Of files that are written and read.
const BUFFER: usize = 1 << 16;

const GAUGES: usize = 10;
const ROUNDED: usize = 5;
const FULL: usize = 5;
const METHODS: [&str; 3] = ["GET", "POST", "PUT"];
const CODES: [&str; 5] = ["200", "201", "404", "500", "503"];
const COUNTERS: usize = METHODS.len() * CODES.len();
const EDGES: [&str; 12] =
    ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf"];
/// What each bucket takes of the requests.
const SHARES: [f64; 12] =
    [0.02, 0.05, 0.14, 0.22, 0.24, 0.18, 0.09, 0.035, 0.015, 0.006, 0.003, 0.001];
/// Seconds of a request in that bucket, about.
const MIDDLES: [f64; 12] =
    [0.003, 0.008, 0.018, 0.037, 0.075, 0.17, 0.37, 0.75, 1.7, 3.7, 7.5, 20.0];

/// How many instances, for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Instances at any time.
    pub instances: usize,
    /// How often each is scraped.
    pub scrapes: usize,
    /// Whether each hour another tenth of the instances is replaced by new ones.
    pub churn: bool,
}

impl Workload {
    /// W1: 5,000 series, 4.8 million samples in four hours.
    pub const W1: Self = Self { instances: 100, scrapes: 960, churn: false };
    /// W2: W1, with a tenth of the series replaced each hour.
    pub const W2: Self = Self { churn: true, ..Self::W1 };
    /// Ten million samples of 20,000 series, in two hours.
    pub const RESTART: Self = Self { instances: 400, scrapes: 500, churn: false };

    /// The same with fewer instances.
    #[must_use]
    pub const fn part(self, of: usize) -> Self {
        Self { instances: self.instances / of, ..self }
    }

    /// Samples in all.
    pub const fn samples(&self) -> usize {
        self.instances * self.scrapes * SERIES
    }

    /// When scrape number `scrape` is made, of all instances.
    pub fn at(scrape: usize) -> Timestamp {
        Timestamp::from_millis(START + INTERVAL * scrape as i64)
    }

    /// When the last scrapes are made.
    pub fn end(&self) -> Timestamp {
        Self::at(self.scrapes - 1)
    }

    /// How often this instance has been replaced when scrape number `scrape` is made.
    pub fn life(&self, instance: usize, scrape: usize) -> usize {
        // The tenth whose turn it is in hour n is the one whose numbers end in n.
        let turn = instance % 10;
        usize::from(self.churn && turn > 0 && scrape >= turn * SCRAPES_AN_HOUR)
    }

    /// Appends the values in `file` to a store, `scrapes` scrapes at a time.
    ///
    /// # Panics
    ///
    /// When a sample is refused.
    pub async fn append(self, store: &dyn Store, file: &Path, scrapes: usize) {
        let mut handles: Vec<(Option<usize>, Vec<SeriesRef>)> =
            vec![(None, Vec::new()); self.instances];
        let mut batch: Option<Box<dyn Appender + '_>> = None;
        for (n, scrape) in self.read(file).expect("values").enumerate() {
            let Scrape { number, instance, values } = scrape.expect("values of all scrapes");
            let (at, life) = (Self::at(number), self.life(instance, number));
            let appender = batch.get_or_insert_with(|| store.appender());
            let (known, series) = &mut handles[instance];
            if *known != Some(life) {
                let all = labels(instance, life);
                *series =
                    all.iter().map(|one| appender.series(one).expect("room for it")).collect();
                *known = Some(life);
            }
            for (series, value) in series.iter().zip(values) {
                appender.append(*series, at, Value::Float(value)).expect("a newer sample");
            }
            if (n + 1) % scrapes == 0
                && let Some(full) = batch.take()
            {
                full.commit().await.expect("a batch in order");
            }
        }
        if let Some(rest) = batch {
            rest.commit().await.expect("a batch in order");
        }
    }

    /// Every scrape, in the order of time.
    pub fn scrapes(self) -> impl Iterator<Item = Scrape> {
        let mut all: Vec<_> =
            (0..self.instances).map(|n| Instance::new(n, 0, self.scrapes)).collect();
        self.places().map(move |(number, instance)| {
            if number > 0 && self.life(instance, number) > self.life(instance, number - 1) {
                all[instance] = Instance::new(instance, 1, self.scrapes);
            }
            Scrape { number, instance, values: all[instance].scrape(number) }
        })
    }

    /// The number and the instance of every scrape.
    fn places(self) -> impl Iterator<Item = (usize, usize)> {
        (0..self.scrapes).flat_map(move |number| (0..self.instances).map(move |n| (number, n)))
    }

    /// Writes the values of all scrapes, for [`Workload::read`]: eight bytes each, little endian.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn write(self, file: &Path) -> io::Result<()> {
        let mut out = BufWriter::with_capacity(BUFFER, File::create(file)?);
        for value in self.scrapes().flat_map(|scrape| scrape.values) {
            out.write_all(&value.to_le_bytes())?;
        }
        // What is still on its way to the disk would slow down who is measured.
        out.into_inner()?.sync_all()
    }

    /// As [`Workload::scrapes`], read from a file, which costs less than making the values.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened; an item, when it cannot be read or ends too early.
    pub fn read(self, file: &Path) -> io::Result<impl Iterator<Item = io::Result<Scrape>>> {
        let mut from = BufReader::with_capacity(BUFFER, File::open(file)?);
        Ok(self.places().map(move |(number, instance)| {
            let mut bytes = [0; 8 * SERIES];
            from.read_exact(&mut bytes)?;
            let values = std::array::from_fn(|n| f64::from_le_bytes(bytes.as_chunks().0[n]));
            Ok(Scrape { number, instance, values })
        }))
    }
}

/// What one instance says at one time.
#[derive(Clone, Debug, PartialEq)]
pub struct Scrape {
    /// The number of the scrape of this instance, from 0.
    pub number: usize,
    /// The number of the instance, from 0.
    pub instance: usize,
    /// The values of its series, in the order of [`labels`].
    pub values: [f64; SERIES],
}

/// The names of the metrics.
pub fn metrics() -> BTreeSet<String> {
    labels(0, 0).iter().filter_map(Labels::name).map(str::to_owned).collect()
}

/// The labels of the series of an instance, in the order of its values.
pub fn labels(instance: usize, life: usize) -> Vec<Labels> {
    let address = format!("10.{life}.{}.{}:8080", instance / 250, instance % 250 + 1);
    let service = format!("claims-{}", instance % 5);
    let common = [("job", "claims"), (INSTANCE, &*address), (SERVICE, &*service)];
    let series = |name: &str, own: &[(&str, &str)]| {
        Labels::from_pairs([(NAME, name)].iter().chain(&common).chain(own).copied())
    };

    let numbered = |name: &'static str, label: &'static str, count: usize| {
        (0..count).map(move |n| series(name, &[(label, &format!("{label}-{n}"))]))
    };
    let counters = METHODS.iter().flat_map(|method| {
        CODES
            .iter()
            .map(|code| series("http_requests_total", &[("method", method), ("code", code)]))
    });
    let buckets =
        EDGES.iter().map(|le| series("http_request_duration_seconds_bucket", &[("le", le)]));
    let plain = ["http_request_duration_seconds_sum", "http_request_duration_seconds_count", "up"];

    numbered("worker_queue_length", "queue", GAUGES)
        .chain(numbered("process_utilization_percent", "resource", ROUNDED))
        .chain(numbered("upstream_latency_mean_seconds", "upstream", FULL))
        .chain(counters)
        .chain(buckets)
        .chain(plain.iter().map(|name| series(name, &[])))
        .collect()
}

/// One instance in one of its lives.
struct Instance {
    random: Random,
    /// When all that it counts begins anew, if ever.
    reset_at: Option<usize>,
    gauges: [f64; GAUGES],
    means: [f64; FULL],
    counters: [f64; COUNTERS],
    buckets: [f64; EDGES.len()],
    sum: f64,
}

impl Instance {
    fn new(number: usize, life: usize, scrapes: usize) -> Self {
        let mut random = Random(SEED ^ ((number as u64) << 32 | life as u64));
        // One in ten restarts once, somewhere in the middle half.
        let reset_at =
            (number % 10 == 7).then(|| scrapes / 4 + random.below(scrapes as u64 / 2) as usize);
        Self {
            reset_at,
            gauges: std::array::from_fn(|_| random.below(200) as f64),
            means: [0.05; FULL],
            counters: [0.0; COUNTERS],
            buckets: [0.0; EDGES.len()],
            sum: 0.0,
            random,
        }
    }

    fn scrape(&mut self, scrape: usize) -> [f64; SERIES] {
        if self.reset_at == Some(scrape) {
            (self.counters, self.buckets, self.sum) = Default::default();
        }
        self.step();

        let random = &mut self.random;
        let mut total = 0.0;
        let cumulative = self.buckets.map(|own| {
            total += own;
            total
        });
        let mut values = self
            .gauges
            .into_iter()
            .chain(
                iter::repeat_with(|| (random.between(20.0, 60.0) * 1e3).round() / 1e3)
                    .take(ROUNDED),
            )
            .chain(self.means)
            .chain(self.counters.map(f64::floor))
            .chain(cumulative)
            .chain([self.sum, total, 1.0]);
        std::array::from_fn(|_| values.next().expect("fifty values"))
    }

    /// What happens between two scrapes.
    fn step(&mut self) {
        let random = &mut self.random;
        for gauge in &mut self.gauges {
            // Half of the time, nothing.
            if random.below(2) == 0 {
                *gauge = (*gauge + random.below(17) as f64 - 8.0).max(0.0);
            }
        }
        for mean in &mut self.means {
            *mean = *mean * 0.9 + random.between(0.001, 0.01);
        }
        // 0.2 a scrape for the slowest counter, 50,000 for the fastest, a constant factor between.
        let mut rate = 0.2;
        for counter in &mut self.counters {
            *counter += rate * random.between(0.75, 1.25);
            rate *= 2.430_6;
        }
        let requests = random.between(90.0, 110.0);
        for (bucket, (share, middle)) in self.buckets.iter_mut().zip(SHARES.iter().zip(MIDDLES)) {
            let some = (requests * share * random.between(0.75, 1.25)).floor();
            *bucket += some;
            self.sum += some * middle * random.between(0.9, 1.1);
        }
    }
}

/// SplitMix64, by Steele, Lea and Flood: small, and every seed will do.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    fn between(&mut self, low: f64, high: f64) -> f64 {
        let unit = (self.next() >> 11) as f64 / (1u64 << 53) as f64;
        low + (high - low) * unit
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const SMALL: Workload = Workload { instances: 20, scrapes: 960, churn: false };
    /// The first series that only grows, and the one after the last: counters and histogram.
    const GROWS: std::ops::Range<usize> = GAUGES + ROUNDED + FULL..SERIES - 1;

    /// The values of one instance, scrape by scrape.
    fn of(workload: Workload, instance: usize) -> Vec<[f64; SERIES]> {
        workload.scrapes().filter(|s| s.instance == instance).map(|s| s.values).collect()
    }

    fn falls(values: &[[f64; SERIES]]) -> Vec<(usize, usize)> {
        let fell = |scrape: usize, n: usize| values[scrape][n] < values[scrape - 1][n];
        (1..values.len())
            .flat_map(|scrape| GROWS.map(move |n| (scrape, n)))
            .filter(|&(scrape, n)| fell(scrape, n))
            .collect()
    }

    #[test]
    fn w1_has_five_thousand_series_and_nearly_five_million_samples() {
        let all: Vec<_> = (0..Workload::W1.instances).flat_map(|n| labels(n, 0)).collect();
        assert_eq!(all.len(), 5000);
        assert_eq!(all.into_iter().collect::<HashSet<_>>().len(), 5000);
        assert_eq!(Workload::W1.samples(), 4_800_000);
        assert_eq!(Workload::RESTART.samples(), 10_000_000);
        assert_eq!(Workload::W1.part(5).instances, 20);
    }

    #[test]
    fn the_same_workload_has_the_same_bits() {
        let bits = |workload: Workload| {
            let values = workload.scrapes().flat_map(|scrape| scrape.values);
            values.fold(0u64, |hash, value| hash.rotate_left(5) ^ value.to_bits())
        };
        assert_eq!(bits(SMALL), bits(SMALL));
        assert_ne!(bits(SMALL), bits(Workload { churn: true, ..SMALL }));
    }

    #[test]
    fn what_counts_never_falls_but_at_the_one_reset_of_one_instance_in_ten() {
        for instance in 0..10 {
            let falls = falls(&of(SMALL, instance));
            let at: HashSet<_> = falls.iter().map(|fall| fall.0).collect();
            assert_eq!(at.len(), usize::from(instance == 7), "instance {instance}: {falls:?}");
        }
    }

    #[test]
    fn a_replaced_instance_has_new_labels_and_counts_from_zero() {
        let churning = Workload { churn: true, ..SMALL };
        assert_eq!(falls(&of(churning, 2)).iter().map(|fall| fall.0).max(), Some(480));
        assert_eq!((churning.life(2, 479), churning.life(2, 480)), (0, 1));
        assert!(labels(2, 0).iter().all(|old| !labels(2, 1).contains(old)));
        // Three hours have a turn, the first has none.
        let replaced = (0..20).filter(|&n| churning.life(n, 959) == 1).count();
        assert_eq!(replaced, 6);
    }

    #[test]
    fn buckets_are_cumulative_and_the_last_is_the_count() {
        let first = GAUGES + ROUNDED + FULL + COUNTERS;
        for values in of(SMALL, 3) {
            let buckets = &values[first..first + EDGES.len()];
            assert!(buckets.is_sorted());
            assert_eq!(buckets.last(), Some(&values[SERIES - 2]));
        }
    }

    #[test]
    fn counters_go_from_one_in_five_scrapes_to_fifty_thousand_each() {
        let first = GAUGES + ROUNDED + FULL;
        let last = of(SMALL, 0)[959];
        let a_scrape = |counter: usize| last[first + counter] / 960.0;
        assert!((0.19..0.21).contains(&a_scrape(0)), "{}", a_scrape(0));
        assert!((49e3..51e3).contains(&a_scrape(14)), "{}", a_scrape(14));
    }

    #[test]
    fn what_is_read_is_what_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let (file, small) = (folder.path().join("values"), Workload { scrapes: 3, ..SMALL });
        small.write(&file).unwrap();
        let read = small.read(&file).unwrap().map(Result::unwrap);
        assert!(small.scrapes().eq(read));
    }
}
