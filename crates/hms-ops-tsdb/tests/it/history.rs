//! Random histories with restarts, sealing and compaction, told to a store and to its oracle.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hms_ops_core::labels::Labels;
use hms_ops_core::matcher::Matcher;
use hms_ops_core::sample::{CounterReset, Histogram, Value};
use hms_ops_core::store::{MemoryStore, SelectHint, Store, StoreExt};
use hms_ops_core::time::{TimeRange, Timestamp};
use hms_ops_testkit::block_on;
use hms_ops_tsdb::{Options, Tsdb};
use proptest::prelude::*;
use tempfile::tempdir;

const WINDOW: Duration = Duration::from_secs(60);

/// What happens to a store.
#[derive(Clone, Debug)]
enum Step {
    /// Time passes, and samples come: of a series, so much before now.
    Batch {
        passes: i64,
        samples: Vec<(usize, i64, Value)>,
    },
    Maintain,
    Restart,
    Delete {
        series: usize,
        from: i64,
        to: i64,
    },
    Snapshot,
    Read {
        matchers: Vec<Matcher>,
        from: i64,
        to: i64,
    },
}

fn value() -> impl Strategy<Value = Value> {
    let histogram = (0..4u8, any::<f64>()).prop_map(|(n, sum)| {
        Value::Histogram(Arc::new(Histogram {
            schema: 2,
            zero_threshold: 0.001,
            zero_count: 1.0,
            count: 1.0 + f64::from(n),
            sum,
            positive: (0..i32::from(n)).map(|i| (i * i, 1.0)).collect(),
            negative: Vec::new(),
            custom_edges: Vec::new(),
            reset: CounterReset::Unknown,
        }))
    });
    prop_oneof![
        6 => (0..100i32).prop_map(|n| Value::Float(n.into())),
        3 => any::<u64>().prop_map(|bits| Value::Float(f64::from_bits(bits))),
        1 => Just(Value::STALE),
        1 => histogram,
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let sample = (0..8usize, prop_oneof![3 => Just(0i64), 1 => 0..60_000i64], value());
    let matcher = prop_oneof![
        Just(Matcher::metric("up")),
        Just(Matcher::equal("cluster", "a")),
        Just(Matcher::not_equal("cluster", "b")),
        Just(Matcher::regex("cluster", "a|c").unwrap()),
        Just(Matcher::regex("cluster", ".*").unwrap()),
        Just(Matcher::not_regex("cluster", "[ab].*").unwrap()),
    ];
    let back = || 0..400_000i64;
    prop_oneof![
        12 => (0..20_000i64, prop::collection::vec(sample, 0..60))
            .prop_map(|(passes, samples)| Step::Batch { passes, samples }),
        3 => Just(Step::Maintain),
        2 => Just(Step::Restart),
        1 => (0..8usize, back(), back()).prop_map(|(series, from, to)| {
            Step::Delete { series, from, to }
        }),
        1 => Just(Step::Snapshot),
        4 => (prop::collection::vec(matcher, 0..3), back(), back())
            .prop_map(|(matchers, from, to)| Step::Read { matchers, from, to }),
    ]
}

fn labels(series: usize) -> Labels {
    Labels::metric(["up", "down"][series % 2]).with("cluster", ["", "a", "b", "c"][series / 2])
}

fn options() -> Options {
    // Blocks of a minute, so that a history of minutes is sealed and compacted.
    let block = Duration::from_secs(60);
    let ahead = WINDOW;
    Options { block, out_of_order_window: WINDOW, ahead, background: false, ..Options::default() }
}

fn open(dir: &Path) -> Tsdb {
    Tsdb::open(dir, options()).unwrap()
}

async fn play(steps: Vec<Step>) {
    let folder = tempdir().unwrap();
    let dir = folder.path().join("store");
    let mut store = open(&dir);
    let mut oracle = MemoryStore::new().out_of_order_window(WINDOW);
    let (mut now, mut snapshots) = (1_767_225_600_000, 0);
    for step in steps {
        match step {
            Step::Batch { passes, samples } => {
                now += passes;
                let commits = {
                    let (mut ours, mut theirs) = (store.appender(), oracle.appender());
                    for (series, back, value) in samples {
                        let labels = labels(series);
                        let at = Timestamp::from_millis(now - back);
                        let own = ours.series(&labels).unwrap();
                        let known = theirs.series(&labels).unwrap();
                        let got = ours.append(own, at, value.clone());
                        let expected = theirs.append(known, at, value);
                        // A store that has forgotten a series takes what the oracle refuses, never
                        // the other way round.
                        assert!(got.is_ok() || expected.is_err(), "{got:?}, {expected:?}");
                        assert_eq!(got.is_ok(), expected.is_ok(), "{labels} at {at}");
                    }
                    (ours.commit(), theirs.commit())
                };
                commits.0.await.unwrap();
                commits.1.await.unwrap();
            }
            Step::Maintain => store.maintain().unwrap(),
            Step::Restart => {
                store.close().unwrap();
                store = open(&dir);
            }
            Step::Delete { series, from, to } => {
                let range = range(now, from, to);
                let labels = labels(series);
                let only: Vec<_> = ["__name__", "cluster"]
                    .map(|name| Matcher::equal(name, labels.get(name).unwrap_or_default()))
                    .into();
                store.delete(&only, range).unwrap();
                oracle = without(&oracle, &labels, range).await;
            }
            Step::Snapshot => {
                snapshots += 1;
                let to = folder.path().join(format!("snapshot-{snapshots}"));
                store.snapshot(&to).unwrap();
                assert_eq!(
                    open(&to).collect(&[], TimeRange::ALL).await.unwrap(),
                    oracle.collect(&[], TimeRange::ALL).await.unwrap(),
                    "a snapshot"
                );
            }
            Step::Read { matchers, from, to } => {
                compare(&store, &oracle, &matchers, range(now, from, to)).await;
            }
        }
    }
    compare(&store, &oracle, &[], TimeRange::ALL).await;
    store.close().unwrap();
    assert_eq!(Tsdb::verify(&dir).unwrap().damaged, Vec::<String>::new());
    compare(&open(&dir), &oracle, &[], TimeRange::ALL).await;
}

fn range(now: i64, from: i64, to: i64) -> TimeRange {
    TimeRange::new(
        Timestamp::from_millis(now - from.max(to)),
        Timestamp::from_millis(now - from.min(to)),
    )
}

/// The oracle cannot delete: another is told all but that.
async fn without(oracle: &MemoryStore, gone: &Labels, range: TimeRange) -> MemoryStore {
    let left = MemoryStore::new().out_of_order_window(WINDOW);
    for (labels, samples) in oracle.collect(&[], TimeRange::ALL).await.unwrap() {
        for sample in samples {
            if labels != *gone || !range.contains(sample.at) {
                left.append_one(&labels, sample.at, sample.value).await.unwrap();
            }
        }
    }
    left
}

async fn compare(store: &Tsdb, oracle: &MemoryStore, matchers: &[Matcher], range: TimeRange) {
    let expected = oracle.collect(matchers, range).await.unwrap();
    assert_eq!(store.collect(matchers, range).await.unwrap(), expected, "{matchers:?} {range:?}");
    let labels: Vec<_> = expected.iter().map(|(labels, _)| labels.clone()).collect();
    assert_eq!(store.series(matchers, range).await.unwrap(), labels, "{matchers:?} {range:?}");
    let hint = SelectHint { only_last: true };
    let mut newest = store.select(matchers, range, &hint).await.unwrap();
    for (labels, samples) in expected {
        assert!(newest.advance().unwrap());
        let mut read = Vec::new();
        newest.read(&mut read).unwrap();
        assert_eq!((newest.labels(), read.last()), (&labels, samples.last()), "{range:?}");
    }
    assert!(!newest.advance().unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_history_with_restarts_sealing_and_deletion_reads_as_from_the_memory_store(
        steps in prop::collection::vec(step(), 1..60)
    ) {
        block_on(play(steps));
    }
}
