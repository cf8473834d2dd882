//! `Metric::record` beside the peers that a Rust service would otherwise use.
//!
//! All have the same bucket edges, a handle that was made before, and a reader that scrapes every
//! 10 ms: it reads everything and writes it as text.

use std::hint::black_box;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use hms_ops_benches::{Case, Report, allocations, compare};
use hms_ops_core::exposition::{Format, encode};
use hms_ops_core::random;
use hms_ops_core::registry::{Point, Registry};
use hms_ops_core::striped::SLOTS;
use metrics_exporter_prometheus::PrometheusBuilder;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry as Client;

const CALLS: usize = 100 * VALUES;
const VALUES: usize = 1024;
const SCRAPE: Duration = Duration::from_millis(10);
const NAME: &str = "eligibility_latency_ms";

fn main() {
    let ours = Registry::new();
    let metric = ours.metric(NAME).budget(300.0);
    let through_metrics = Registry::new();
    let captured = metrics::with_local_recorder(&through_metrics, || metrics::histogram!(NAME));
    let counter = ours.counter("claims");
    let edges = edges(&ours);

    let exporter = PrometheusBuilder::new().set_buckets(&edges).expect("edges").build_recorder();
    let exported = metrics::with_local_recorder(&exporter, || metrics::histogram!(NAME));
    let handle = exporter.handle();

    let mut client = Client::default();
    let observed = Histogram::new(edges.iter().copied());
    client.register(NAME, "", observed.clone());

    let values = latencies();
    let scrape = |registry: &Registry| {
        black_box(encode(&registry.snapshot(), Format::Text));
    };
    let scrape_exporter = || {
        black_box(handle.render());
        handle.run_upkeep();
    };
    let scrape_client = || {
        let mut text = String::with_capacity(4096);
        prometheus_client::encoding::text::encode(&mut text, &client).expect("a String");
        black_box(text);
    };

    let record = || each(&values, |v| metric.record(v));
    let record_captured = || each(&values, |v| captured.record(v));
    let record_exported = || each(&values, |v| exported.record(v));
    let observe = || each(&values, |v| observed.observe(v));

    let cases = |threads| {
        [
            Case::new("HMS-OPS Metric", CALLS, record).reader(SCRAPE, || scrape(&ours)),
            Case::new("HMS-OPS behind metrics::histogram!", CALLS, record_captured)
                .reader(SCRAPE, || scrape(&through_metrics)),
            Case::new("metrics + metrics-exporter-prometheus", CALLS, record_exported)
                .reader(SCRAPE, scrape_exporter),
            Case::new("prometheus-client", CALLS, observe).reader(SCRAPE, scrape_client),
        ]
        .map(|case| case.threads(threads))
    };
    let (one, two) = (compare(&cases(1)), compare(&cases(2)));
    let others = compare(&[
        Case::new("HMS-OPS Metric, read without a pause", CALLS, record)
            .reader(Duration::ZERO, || scrape(&ours)),
        Case::new("HMS-OPS Metric, not read", CALLS, record),
        Case::new("HMS-OPS Counter", CALLS, || each(&values, |_| counter.increment(1))),
        Case::new("nothing but the values", CALLS, || each(&values, |_| ())),
    ]);

    let crowded = while_all_slots_are_taken(
        || metric.record(1.0),
        || {
            compare(&[
                Case::new("HMS-OPS Metric", CALLS, record),
                Case::new("HMS-OPS Metric, two such threads", CALLS, record).threads(2),
            ])
        },
    );

    let batches: [&dyn Fn(); 4] = [&record, &record_captured, &record_exported, &observe];
    let allocated = batches.map(|batch| {
        batch();
        allocations(batch) as f64 / CALLS as f64
    });

    let mut report = Report::new("record", env!("CARGO_TARGET_TMPDIR"));
    report.group_with_allocations("one thread, scraped every 10 ms", &one, &allocated);
    report.group("two threads on one metric, scraped", &two);
    report.group("one thread, for comparison", &others);
    report.group("beyond the threads that have a slot", &crowded);
    report.goal("one thread, nanoseconds", 15.0, one[0].nanos());
    report.goal("two threads, times one thread", 2.5, two[0].nanos() / one[0].nanos());
    report.goal("allocations per record", 0.0, allocated[0]);
    report.finish();
}

/// Calls `f` with every value, a hundred times.
#[inline]
fn each(values: &[f64], f: impl Fn(f64)) {
    for _ in 0..CALLS / VALUES {
        values.iter().for_each(|v| f(black_box(*v)));
    }
}

/// Does `work` while as many other threads as have a slot of their own live and have recorded.
fn while_all_slots_are_taken<T>(record: impl Fn() + Sync, work: impl FnOnce() -> T) -> T {
    let (taken, done) = (Barrier::new(SLOTS + 1), Barrier::new(SLOTS + 1));
    thread::scope(|scope| {
        for _ in 0..SLOTS {
            scope.spawn(|| {
                record();
                taken.wait();
                done.wait();
            });
        }
        taken.wait();
        let result = work();
        done.wait();
        result
    })
}

/// The bucket edges that the metric has, for the peers.
fn edges(registry: &Registry) -> Vec<f64> {
    match &registry.snapshot()[0].series[0].1 {
        Point::Histogram(histogram) => histogram.edges.clone(),
        Point::Number(_) => unreachable!("a metric is a histogram"),
    }
}

/// Latencies over all buckets, most of them around 30 ms: no branch predictor learns them.
fn latencies() -> Vec<f64> {
    let uniform = || random::below(1 << 20) as f64 / f64::from(1 << 20);
    (0..VALUES)
        .map(|_| 10f64.powf(1.5 + 0.6 * (0..4).map(|_| uniform() - 0.5).sum::<f64>() * 1.7))
        .collect()
}
