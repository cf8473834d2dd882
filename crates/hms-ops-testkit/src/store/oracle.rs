//! Random histories, played against a store and against [`MemoryStore`].

use std::mem::discriminant;
use std::sync::Arc;

use hms_ops_core::labels::Labels;
use hms_ops_core::matcher::Matcher;
use hms_ops_core::sample::{CounterReset, Histogram, Sample, Value};
use hms_ops_core::store::{MemoryStore, SelectHint, Store, StoreExt};
use hms_ops_core::time::{TimeRange, Timestamp};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::block_on;

/// Plays random histories against stores from `make` and against the [`MemoryStore`], and compares
/// every refusal and every answer. A failure prints the shortest history that still fails.
pub fn against_oracle<S: Store>(make: impl AsyncFn() -> S) {
    let config = Config { cases: 128, failure_persistence: None, ..Config::default() };
    let played = TestRunner::new(config).run(&history(), |(batches, reads)| {
        block_on(async {
            let (store, oracle) = (make().await, MemoryStore::new());
            for batch in batches {
                play(&store, &oracle, batch).await;
            }
            for read in reads {
                compare(&store, &oracle, read).await;
            }
        });
        Ok(())
    });
    if let Err(failure) = played {
        panic!("{failure}");
    }
}

/// Samples on their way into a few series.
#[derive(Clone, Debug)]
struct Batch {
    samples: Vec<(usize, Timestamp, Value)>,
    commit: bool,
}

/// One question.
#[derive(Clone, Debug)]
struct Read {
    matchers: Vec<Matcher>,
    range: TimeRange,
}

fn history() -> impl Strategy<Value = (Vec<Batch>, Vec<Read>)> {
    // Times are few, so that samples meet; steps lead past the end of a chunk.
    let time = prop_oneof![0..200i64, (0..200i64).prop_map(|t| t * 15_000)];
    let sample = (0..6usize, time.prop_map(Timestamp::from_millis), value());
    let batch = (prop::collection::vec(sample, 0..40), prop::bool::weighted(0.9));
    let batch = batch.prop_map(|(mut samples, commit)| {
        // Mostly in order, as writers write.
        samples[..].sort_by_key(|(_, at, _)| at.as_millis() / 1000);
        Batch { samples, commit }
    });
    (prop::collection::vec(batch, 0..8), prop::collection::vec(read(), 1..6))
}

fn value() -> impl Strategy<Value = Value> {
    let histogram = (0..4u8, -1.0..10.0f64).prop_map(|(buckets, sum)| {
        Value::Histogram(Arc::new(Histogram {
            schema: 2,
            zero_threshold: 0.001,
            zero_count: 1.0,
            count: 1.0 + f64::from(buckets),
            sum,
            positive: (0..i32::from(buckets)).map(|i| (i * i, 1.0)).collect(),
            negative: Vec::new(),
            custom_edges: Vec::new(),
            reset: CounterReset::Unknown,
        }))
    });
    prop_oneof![
        4 => (0..5i32).prop_map(|v| Value::Float(v.into())),
        2 => any::<u64>().prop_map(|bits| Value::Float(f64::from_bits(bits))),
        1 => Just(Value::STALE),
        1 => histogram,
    ]
}

fn read() -> impl Strategy<Value = Read> {
    let matcher = prop_oneof![
        Just(Matcher::metric("up")),
        Just(Matcher::equal("cluster", "a")),
        Just(Matcher::equal("cluster", "")),
        Just(Matcher::not_equal("cluster", "b")),
        Just(Matcher::regex("cluster", "a|c").unwrap()),
        Just(Matcher::regex("cluster", "").unwrap()),
        Just(Matcher::not_regex("cluster", "[ab]").unwrap()),
    ];
    let end = || prop_oneof![0..200i64, (0..200i64).prop_map(|t| t * 15_000)];
    let range = prop_oneof![
        Just(TimeRange::ALL),
        (end(), end()).prop_map(|(start, end)| {
            TimeRange::new(Timestamp::from_millis(start), Timestamp::from_millis(end))
        }),
    ];
    (prop::collection::vec(matcher, 0..3), range)
        .prop_map(|(matchers, range)| Read { matchers, range })
}

fn series(i: usize) -> Labels {
    let name = ["up", "down"][i % 2];
    Labels::metric(name).with("cluster", ["", "a", "b"][i / 2])
}

async fn play(store: &impl Store, oracle: &MemoryStore, batch: Batch) {
    let commits = {
        let (mut ours, mut theirs) = (store.appender(), oracle.appender());
        for (i, at, value) in batch.samples {
            let labels = series(i);
            let (own, known) = (ours.series(&labels).unwrap(), theirs.series(&labels).unwrap());
            let (got, expected) =
                (ours.append(own, at, value.clone()), theirs.append(known, at, value.clone()));
            assert_eq!(
                got.as_ref().map_err(discriminant),
                expected.as_ref().map_err(discriminant),
                "{labels} at {at}: {value:?} gave {got:?}, not {expected:?}",
            );
        }
        batch.commit.then(|| (ours.commit(), theirs.commit()))
    };
    if let Some((ours, theirs)) = commits {
        ours.await.unwrap();
        theirs.await.unwrap();
    }
}

async fn compare(store: &impl Store, oracle: &MemoryStore, read: Read) {
    let Read { matchers, range } = &read;
    let expected = oracle.collect(matchers, *range).await.unwrap();
    assert_eq!(store.collect(matchers, *range).await.unwrap(), expected, "{read:?}");
    assert_eq!(newest(store, &read).await, newest(oracle, &read).await, "newest of {read:?}");
    assert_eq!(
        store.series(matchers, *range).await.unwrap(),
        oracle.series(matchers, *range).await.unwrap(),
        "series of {read:?}",
    );
    assert_eq!(
        store.label_names(matchers, *range).await.unwrap(),
        oracle.label_names(matchers, *range).await.unwrap(),
        "names of {read:?}",
    );
    assert_eq!(
        store.label_values("cluster", matchers, *range).await.unwrap(),
        oracle.label_values("cluster", matchers, *range).await.unwrap(),
        "values of {read:?}",
    );
}

async fn newest(store: &impl Store, read: &Read) -> Vec<(Labels, Sample)> {
    let hint = SelectHint { only_last: true };
    let mut set = store.select(&read.matchers, read.range, &hint).await.unwrap();
    let mut found = Vec::new();
    while set.advance().unwrap() {
        let mut samples = Vec::new();
        set.read(&mut samples).unwrap();
        found.push((set.labels().clone(), samples.pop().expect("a series with a sample")));
    }
    found
}
