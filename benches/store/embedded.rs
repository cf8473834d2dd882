//! The measures of a store in this process, each of which is a process's only work.

use std::collections::HashMap;
use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use hms_ops_benches::server::data;
use hms_ops_benches::table::Figures;
use hms_ops_benches::tsink;
use hms_ops_benches::usage::{Usage, bytes_below};
use hms_ops_benches::workload::{LARGE, VALUES, Workload, labels, metrics};
use hms_ops_core::clock::Stopwatch;
use hms_ops_core::labels::{Labels, SERVICE};
use hms_ops_core::matcher::Matcher;
use hms_ops_core::sample::{Sample, Value};
use hms_ops_core::store::{SelectHint, Store, StoreError, StoreExt};
use hms_ops_core::time::TimeRange;
use hms_ops_tsdb::Tsdb;

use crate::figures;
use crate::subject;

/// Scrapes in a batch as the scraper makes it.
pub(crate) const SMALL: usize = 1;

/// More series than any workload has.
const ENOUGH: usize = 200_000;
/// Series in a batch of those that are more than the store may take.
const SERIES_A_BATCH: usize = 1000;
/// How far back an instant query looks.
const LOOKBACK: Duration = Duration::from_secs(300);

/// Appends a workload, seals it, and compares every bit.
pub(crate) async fn ingest(
    workload: Workload,
    folder: &Path,
    scrapes: usize,
    name: &str,
) -> Figures {
    let file = folder.join(VALUES);
    // Read once for nothing, which says what reading costs and leaves the file in memory.
    let before = Usage::own();
    workload.read(&file).expect("values").for_each(|scrape| drop(black_box(scrape)));
    let reading = Usage::own().cpu - before.cpu;

    let store = open(folder, ENOUGH);
    let (before, watch) = (Usage::own(), Stopwatch::start());
    workload.append(&store, &file, scrapes).await;
    let mut figures = figures::ingested(name, workload, before, Usage::own(), watch.elapsed());
    subject::seal(&store);
    let bytes = bytes_below(&data(folder)).expect("it has files");
    figures.extend(figures::sealed(name, workload, before, Usage::own(), bytes));
    figures.insert(format!("{name}.reading_cpu_s"), reading);
    compare(&store, workload, &file).await;
    figures
}

/// Appends a workload and ends at once, as if killed.
pub(crate) async fn before_restart(workload: Workload, folder: &Path) -> Figures {
    let store = open(folder, ENOUGH);
    workload.append(&store, &folder.join(VALUES), LARGE).await;
    println!("{{}}");
    // Nothing is dropped, so nothing is closed.
    std::process::exit(0)
}

/// Appends a workload to tsink and closes it, which seals it.
pub(crate) fn ingest_tsink(workload: Workload, folder: &Path) -> Figures {
    let (storage, mut batch) = (tsink::open(folder), tsink::batch(workload));
    let (before, watch) = (Usage::own(), Stopwatch::start());
    tsink::append(&*storage, workload, &folder.join(VALUES), &mut batch);
    let mut figures = figures::ingested("w1", workload, before, Usage::own(), watch.elapsed());
    storage.close().expect("it can be closed");
    let bytes = bytes_below(&data(folder)).expect("it has files");
    figures.extend(figures::sealed("w1", workload, before, Usage::own(), bytes));
    figures
}

/// Opens what [`before_restart`] left.
pub(crate) async fn after_restart(workload: Workload, folder: &Path) -> Figures {
    let (before, watch) = (Usage::own(), Stopwatch::start());
    let store = open(folder, ENOUGH);
    let figures = figures::restarted(before.cpu, Usage::own(), watch.elapsed());
    assert_eq!(store.stats().await.samples, workload.samples() as u64, "samples are missing");
    figures
}

/// Offers more series than the store may take.
pub(crate) async fn limit(folder: &Path, offered: usize, limit: usize) -> Figures {
    let store = open(folder, limit);
    let common = &labels(0, 0)[0];
    let mut refused = 0;
    for first in (0..offered).step_by(SERIES_A_BATCH) {
        let mut batch = store.appender();
        for n in first..first + SERIES_A_BATCH {
            match batch.series(&common.with("user", &format!("user-{n}"))) {
                Ok(series) => {
                    batch.append(series, Workload::at(0), 1.0.into()).expect("a first sample");
                }
                Err(StoreError::TooManySeries { .. }) => refused += 1,
                Err(error) => panic!("{error}"),
            }
        }
        batch.commit().await.expect("a batch in order");
    }
    let stats = store.stats().await;
    assert_eq!((stats.series, stats.refused_series), (limit as u64, refused));
    Figures::from([
        ("limit.refused".to_owned(), refused as f64),
        ("limit.peak_rss_mb".to_owned(), Usage::own().peak_rss),
    ])
}

/// Reads the newest sample of one series after the other, of what [`ingest`] left.
pub(crate) async fn reads(workload: Workload, folder: &Path, reads: usize) -> Figures {
    let store = open(folder, ENOUGH);
    let series: Vec<Vec<Matcher>> = (0..workload.instances)
        .flat_map(|instance| labels(instance, 0))
        .map(|labels| matchers(&labels.without(&["job", SERVICE])))
        .collect();
    let range = TimeRange::last(LOOKBACK, workload.end());
    let mut taken = Vec::new();
    for n in 0..reads {
        // A prime that the number of series does not share: every series, in no order.
        let matchers = &series[n * 7919 % series.len()];
        let watch = Stopwatch::start();
        let found = newest(&store, matchers, range).await.expect("the store can be read");
        taken.push(watch.elapsed().as_secs_f64() * 1e6);
        assert!(found.len() == 1 && found[0].at == range.end, "{matchers:?}: {found:?}");
    }
    taken.sort_by(f64::total_cmp);
    let quantile = |of_a_hundred: usize| taken[taken.len() * of_a_hundred / 100];
    Figures::from([
        ("reads.p50_us".to_owned(), quantile(50)),
        ("reads.p99_us".to_owned(), quantile(99)),
    ])
}

fn open(folder: &Path, max_series: usize) -> Tsdb {
    subject::open(&data(folder), max_series)
}

/// Panics unless the store gives back every sample with its bits.
async fn compare(store: &dyn Store, workload: Workload, file: &Path) {
    let scrapes: Vec<_> = workload
        .read(file)
        .and_then(Iterator::collect::<std::io::Result<_>>)
        .expect("values of all scrapes");
    let mut places = HashMap::new();
    for instance in 0..workload.instances {
        for life in 0..=workload.life(instance, workload.scrapes - 1) {
            let all = labels(instance, life).into_iter().enumerate();
            places.extend(all.map(|(n, labels)| (labels, (instance, life, n))));
        }
    }
    // By metric, so that only a part of it is in memory once more.
    for name in metrics() {
        let found = store.collect(&[Matcher::metric(&name)], TimeRange::ALL).await;
        for (labels, samples) in found.expect("the store can be read") {
            let (instance, life, n) = places.remove(&labels).expect("a series that was written");
            let expected = scrapes
                .iter()
                .skip(instance)
                .step_by(workload.instances)
                .filter(|scrape| workload.life(instance, scrape.number) == life)
                .map(|scrape| Sample {
                    at: Workload::at(scrape.number),
                    value: Value::Float(scrape.values[n]),
                });
            // Numbers are equal by their bits.
            assert!(expected.eq(samples), "{labels} has other samples than were written");
        }
    }
    assert!(places.is_empty(), "{} series were not found", places.len());
}

/// The newest sample of each series. There may be older ones before it, which the store found on
/// its way.
async fn newest(
    store: &dyn Store,
    matchers: &[Matcher],
    range: TimeRange,
) -> Result<Vec<Sample>, StoreError> {
    let mut set = store.select(matchers, range, &SelectHint { only_last: true }).await?;
    let (mut newest, mut samples) = (Vec::new(), Vec::new());
    while set.advance()? {
        set.read(&mut samples)?;
        newest.extend(samples.pop());
        samples.clear();
    }
    Ok(newest)
}

fn matchers(labels: &Labels) -> Vec<Matcher> {
    labels.iter().map(|(name, value)| Matcher::equal(name, value)).collect()
}
