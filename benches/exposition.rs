//! Writing and reading `/metrics`, per sample. Informative: nothing is promised.
//!
//! Fifty services, each with a counter and with a histogram of 21 samples.

use std::hint::black_box;

use hms_ops_benches::{Case, Report, compare};
use hms_ops_collect::exposition::{Event, Exposition};
use hms_ops_core::exposition::{Format, encode};
use hms_ops_core::registry::{Point, Registry};
use metrics_exporter_prometheus::PrometheusBuilder;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry as Client;

const SERVICES: usize = 50;
const BODIES: usize = 4;

fn main() {
    let names: Vec<_> = (0..SERVICES).map(|n| format!("service-{n}")).collect();
    let ours = ours(&names);
    let edges = match &ours.snapshot()[1].series[0].1 {
        Point::Histogram(histogram) => histogram.edges.clone(),
        Point::Number(_) => unreachable!("a metric is a histogram"),
    };
    let exporter = exporter(&names, &edges);
    let client = client(&names, &edges);

    let text = encode(&ours.snapshot(), Format::Text);
    let openmetrics = encode(&ours.snapshot(), Format::OpenMetrics);
    let samples = read(&text, Format::Text);
    assert_eq!(samples, read(&openmetrics, Format::OpenMetrics));

    let calls = BODIES * samples;
    let writing = compare(&[
        Case::new("HMS-OPS, text", calls, || {
            bodies(|| encode(&ours.snapshot(), Format::Text));
        }),
        Case::new("HMS-OPS, OpenMetrics", calls, || {
            bodies(|| encode(&ours.snapshot(), Format::OpenMetrics));
        }),
        Case::new("metrics-exporter-prometheus, text", calls, || bodies(|| exporter.render())),
        Case::new("prometheus-client, OpenMetrics", calls, || {
            bodies(|| {
                let mut out = String::new();
                prometheus_client::encoding::text::encode(&mut out, &client).expect("a String");
                out
            });
        }),
    ]);
    let reading = compare(&[
        Case::new("HMS-OPS, text", calls, || bodies(|| read(&text, Format::Text))),
        Case::new("HMS-OPS, OpenMetrics", calls, || {
            bodies(|| read(&openmetrics, Format::OpenMetrics));
        }),
    ]);

    let mut report = Report::new("exposition", env!("CARGO_TARGET_TMPDIR"));
    report.group("writing, per sample", &writing);
    report.group("reading, per sample", &reading);
    report.finish();
}

fn bodies<T>(mut body: impl FnMut() -> T) {
    for _ in 0..BODIES {
        black_box(body());
    }
}

/// Reads a body to its end, and counts its samples.
fn read(body: &str, format: Format) -> usize {
    let events = Exposition::new(black_box(body.as_bytes()), format).expect("UTF-8");
    events
        .filter(|event| matches!(event.as_ref().expect("an exposition"), Event::Sample(_)))
        .count()
}

/// Some latency for each service.
fn latency(n: usize) -> f64 {
    (n * 37 % 997) as f64 + 0.25
}

fn ours(names: &[String]) -> Registry {
    let registry = Registry::new();
    for (n, name) in names.iter().enumerate() {
        registry.counter("claims_total").label("service", name).increment(n as u64 * 1001);
        registry.metric("latency_ms").label("service", name).budget(300.0).record(latency(n));
    }
    registry
}

fn exporter(names: &[String], edges: &[f64]) -> metrics_exporter_prometheus::PrometheusHandle {
    let recorder = PrometheusBuilder::new().set_buckets(edges).expect("edges").build_recorder();
    metrics::with_local_recorder(&recorder, || {
        for (n, name) in names.iter().enumerate() {
            let counter = metrics::counter!("claims_total", "service" => name.clone());
            counter.increment(n as u64 * 1001);
            metrics::histogram!("latency_ms", "service" => name.clone()).record(latency(n));
        }
    });
    recorder.handle()
}

fn client(names: &[String], edges: &[f64]) -> Client {
    type Labels = Vec<(String, String)>;
    let edges: &'static [f64] = edges.to_vec().leak();
    let claims = Family::<Labels, Counter>::default();
    let latencies = Family::<Labels, Histogram, _>::new_with_constructor(|| {
        Histogram::new(edges.iter().copied())
    });
    let mut registry = Client::default();
    registry.register("claims", "", claims.clone());
    registry.register("latency_ms", "", latencies.clone());
    for (n, name) in names.iter().enumerate() {
        let labels = vec![("service".to_owned(), name.clone())];
        claims.get_or_create(&labels).inc_by(n as u64 * 1001);
        latencies.get_or_create(&labels).observe(latency(n));
    }
    registry
}
