//! Random histories, played against a store and against [`MemoryStore`].

use std::mem::discriminant;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use std::vec;

use hms_ops_core::labels::{Labels, NAME};
use hms_ops_core::matcher::Matcher;
use hms_ops_core::sample::{CounterReset, Exemplar, Histogram, Sample, Value};
use hms_ops_core::store::{MemoryStore, SelectHint, Store, StoreError, StoreExt, StoreStats};
use hms_ops_core::time::{TimeRange, Timestamp};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::block_on;

/// Plays random histories against stores from `make` and against a [`MemoryStore`] with the same
/// out-of-order window, and compares every refusal and every answer. A failure prints the shortest
/// history that still fails.
pub fn against_oracle<S: Store>(make: impl AsyncFn() -> S, window: Duration) {
    let config = Config { cases: 128, failure_persistence: None, ..Config::default() };
    let played = TestRunner::new(config).run(&history(window), |(batches, reads)| {
        block_on(async {
            let store = make().await;
            let oracle = MemoryStore::with_limits(100, 10_000).out_of_order_window(window);
            let everything = Read { matchers: Vec::new(), range: TimeRange::ALL };
            let mut batches = batches.into_iter();
            while batches.len() > 0 {
                play(&store, &oracle, &mut batches).await;
                compare(&store, &oracle, &everything).await;
            }
            for read in reads {
                compare(&store, &oracle, &read).await;
            }
        });
        Ok(())
    });
    if let Err(failure) = played {
        panic!("{failure}");
    }
}

/// Samples and exemplars on their way into a few series.
#[derive(Clone, Debug)]
struct Batch {
    runs: Vec<Run>,
    exemplars: Vec<(usize, Exemplar)>,
    end: End,
}

/// Samples of one series, one after the other.
#[derive(Clone, Debug)]
struct Run {
    series: usize,
    start: i64,
    step: i64,
    values: Vec<Value>,
}

/// What becomes of a batch.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Commit,
    Drop,
    /// It waits until the next one is stored, which may change what is late.
    Wait,
}

/// One question.
#[derive(Clone, Debug)]
struct Read {
    matchers: Vec<Matcher>,
    range: TimeRange,
}

fn history(window: Duration) -> impl Strategy<Value = (Vec<Batch>, Vec<Read>)> {
    let window = i64::try_from(window.as_millis()).expect("a window is not for ever");
    let batches = prop::collection::vec(batch(window, 1..12usize, 1..6usize), 0..8);
    // Few, and so within what a store has room for in one series.
    let long = (0..8usize, batch(window, 1..3usize, 100..300usize));
    let long = prop::collection::vec(long, 0..2);
    let batches = (batches, long).prop_map(|(mut batches, long)| {
        for (place, batch) in long {
            batches.insert(place.min(batches.len()), batch);
        }
        batches
    });
    (batches, prop::collection::vec(read(window), 1..6))
}

fn batch(window: i64, runs: Range<usize>, samples: Range<usize>) -> impl Strategy<Value = Batch> {
    let step = prop_oneof![
        4 => Just(15_000i64),
        2 => Just(1000),
        // The same time again; back, in small steps and in large ones.
        1 => Just(0),
        1 => Just(-1),
        1 => Just(-1000),
        1 => Just(-window / 3),
        1 => any::<u32>().prop_map(|step| i64::from(step % 40_000)),
    ];
    let run = (0..6usize, time(window), step, prop::collection::vec(value(), samples));
    let run = run.prop_map(|(series, start, step, values)| Run { series, start, step, values });
    let exemplar = (0..6usize, time(window), 0..3i32);
    let exemplar = exemplar.prop_map(|(series, at, value)| {
        let labels = Labels::from_pairs([("trace_id", value.to_string())]);
        let at = Timestamp::from_millis(at);
        (series, Exemplar { labels, value: value.into(), at })
    });
    let end = prop_oneof![7 => Just(End::Commit), 1 => Just(End::Drop), 2 => Just(End::Wait)];
    (prop::collection::vec(run, runs), prop::collection::vec(exemplar, 0..4), any::<bool>(), end)
        .prop_map(|(mut runs, exemplars, in_order, end)| {
            if in_order {
                // As writers mostly write.
                runs.sort_by_key(|run| run.start);
            }
            Batch { runs, exemplars, end }
        })
}

/// Few, so that samples meet; near each other, a window apart and much further.
fn time(window: i64) -> impl Strategy<Value = i64> {
    prop_oneof![
        2 => 0..200i64,
        6 => (0..200i64).prop_map(|t| t * 15_000),
        2 => (0..4i64, -2..3i64).prop_map(move |(windows, off)| windows * window + off),
        1 => (-2..3i64).prop_map(|days| days * 86_400_000),
    ]
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

fn read(window: i64) -> impl Strategy<Value = Read> {
    let matcher = prop_oneof![
        Just(Matcher::metric("up")),
        Just(Matcher::equal("cluster", "a")),
        Just(Matcher::equal("cluster", "")),
        Just(Matcher::not_equal("cluster", "b")),
        Just(Matcher::regex("cluster", "a|c").unwrap()),
        Just(Matcher::regex("cluster", "").unwrap()),
        Just(Matcher::regex("cluster", ".+").unwrap()),
        Just(Matcher::regex(NAME, "u.*").unwrap()),
        Just(Matcher::regex(NAME, "(up|down).*").unwrap()),
        Just(Matcher::not_regex("cluster", "[ab]").unwrap()),
    ];
    let range = prop_oneof![
        Just(TimeRange::ALL),
        (time(window), time(window)).prop_map(|(start, end)| {
            TimeRange::new(Timestamp::from_millis(start), Timestamp::from_millis(end))
        }),
    ];
    (prop::collection::vec(matcher, 0..3), range)
        .prop_map(|(matchers, range)| Read { matchers, range })
}

fn labels(i: usize) -> Labels {
    let name = ["up", "down"][i % 2];
    Labels::metric(name).with("cluster", ["", "a", "b"][i / 2])
}

async fn play(store: &impl Store, oracle: &MemoryStore, batches: &mut vec::IntoIter<Batch>) {
    let Some(batch) = batches.next() else { return };
    let (mut ours, mut theirs) = (store.appender(), oracle.appender());
    for Run { series, start, step, values } in batch.runs {
        let labels = labels(series);
        let (own, known) = (ours.series(&labels).unwrap(), theirs.series(&labels).unwrap());
        for (i, value) in (0..).zip(values) {
            let at = Timestamp::from_millis(start + step * i);
            let what = format!("{labels} at {at}: {value:?}");
            let got = ours.append(own, at, value.clone());
            assert_same(&what, got, theirs.append(known, at, value));
        }
    }
    for (series, exemplar) in batch.exemplars {
        let labels = labels(series);
        let (own, known) = (ours.series(&labels).unwrap(), theirs.series(&labels).unwrap());
        let got = ours.exemplar(own, exemplar.clone());
        assert_same(&format!("{labels}: {exemplar:?}"), got, theirs.exemplar(known, exemplar));
    }
    match batch.end {
        End::Drop => return,
        End::Commit => {}
        End::Wait => Box::pin(play(store, oracle, batches)).await,
    }
    ours.commit().await.unwrap();
    theirs.commit().await.unwrap();
}

/// Both took it, or both refused it for the same reason.
fn assert_same(what: &str, got: Result<(), StoreError>, expected: Result<(), StoreError>) {
    assert_eq!(
        got.as_ref().map_err(discriminant),
        expected.as_ref().map_err(discriminant),
        "{what} gave {got:?}, not {expected:?}",
    );
}

async fn compare(store: &impl Store, oracle: &MemoryStore, read: &Read) {
    let Read { matchers, range } = read;
    let expected = oracle.collect(matchers, *range).await.unwrap();
    assert_eq!(store.collect(matchers, *range).await.unwrap(), expected, "{read:?}");
    assert_eq!(newest(store, read).await, newest(oracle, read).await, "newest of {read:?}");
    assert_eq!(
        store.exemplars(matchers, *range).await.unwrap(),
        oracle.exemplars(matchers, *range).await.unwrap(),
        "exemplars of {read:?}",
    );
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
    let counts = |stats: StoreStats| (stats.samples, stats.late_samples, stats.dropped_samples);
    assert_eq!(counts(store.stats().await), counts(oracle.stats().await), "counts of samples");
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
