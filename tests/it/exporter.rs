//! An engine in a service that already runs `metrics-exporter-prometheus`.

use std::time::Duration;

use hms_ops::collect::exposition::Format;
use hms_ops::collect::scrape::{ExpositionSampler, Limits};
use hms_ops::core::labels::Labels;
use hms_ops::core::ledger::{Event, Seq};
use hms_ops::core::matcher::Matcher;
use hms_ops::core::registry::Registry;
use hms_ops::core::signal::exact_edge;
use hms_ops::core::store::{MemoryStore, Store};
use hms_ops::core::time::{TimeRange, Timestamp};
use hms_ops::prelude::*;
use metrics_exporter_prometheus::{Matcher as Of, PrometheusBuilder, PrometheusRecorder};

const SECOND: Duration = Duration::from_secs(1);
const METRIC: &str = "eligibility.latency_ms";

fn record(recorder: &PrometheusRecorder, value: f64) {
    metrics::with_local_recorder(recorder, || metrics::histogram!(METRIC).record(value));
}

/// Records with `recorder` until the alert on its metric has resolved; returns the alert's states.
async fn states_of_an_incident(recorder: PrometheusRecorder) -> Vec<String> {
    let budget = Budget::new(300.0).mean_over(SECOND * 2).hold(SECOND).recover(SECOND);
    let builder = Ops::builder().service("eligibility-svc").registry(Registry::new());
    let builder = builder.exporter(recorder.handle()).budget(METRIC, budget, None);
    let ops = builder.start().await.unwrap();

    let mut requests = tokio::time::interval(SECOND / 50);
    let (mut slow, mut states, mut seen) = (true, Vec::new(), Seq(0));
    while states.last().is_none_or(|state| state != "resolved") {
        tokio::select! {
            changed = ops.ledger().changed(seen) => drop(changed.unwrap()),
            _ = requests.tick() => {
                record(&recorder, if slow { 900.0 } else { 20.0 });
                continue;
            }
        }
        for recorded in ops.ledger().read(seen.next(), 100).await.unwrap() {
            seen = recorded.seq;
            if let Event::Transition { alert, .. } = &recorded.entry.event {
                assert_eq!(alert.service.as_ref().unwrap().as_str(), "eligibility-svc");
                let state = alert.state.word();
                // A change of the data's health repeats the state.
                if states.last().is_none_or(|last| last != state) {
                    states.push(state.to_owned());
                }
                slow = !alert.state.is_active();
            }
        }
    }
    ops.shutdown(SECOND).await.unwrap();
    states
}

#[tokio::test]
async fn a_budget_on_a_summary_of_the_exporter_fires_and_resolves() {
    let states = states_of_an_incident(PrometheusBuilder::new().build_recorder()).await;
    assert_eq!(states, ["pending", "firing", "recovering", "resolved"]);
}

#[tokio::test]
async fn a_budget_on_a_histogram_of_the_exporter_fires_and_resolves() {
    let builder = PrometheusBuilder::new().set_buckets(&[100.0, 1000.0]).unwrap();
    let states = states_of_an_incident(builder.build_recorder()).await;
    assert_eq!(states, ["pending", "firing", "recovering", "resolved"]);
}

#[tokio::test]
async fn an_engine_with_an_exporter_leaves_the_macros_of_metrics_alone() {
    let (registry, recorder) = (Registry::new(), PrometheusBuilder::new().build_recorder());
    let builder = Ops::builder().registry(registry.clone()).exporter(recorder.handle());
    let ops = builder.start().await.unwrap();
    metrics::counter!("exporter_test_total").increment(1);
    let own = registry.snapshot();
    assert!(own.iter().all(|family| &*family.name != "exporter_test_total"), "{own:?}");
    ops.shutdown(SECOND).await.unwrap();
}

/// Whether a latency SLI at 300 would be exact, on the metric of an exporter built like this.
async fn edge_at_300(builder: PrometheusBuilder) -> Result<(), String> {
    let recorder = builder.build_recorder();
    record(&recorder, 250.0);
    let (store, at) = (MemoryStore::new(), Timestamp::from_millis(1000));
    let mut sampler = ExpositionSampler::new(Labels::empty(), Limits::default());
    let text = recorder.handle().render();
    sampler.sample(&store, text.as_bytes(), Format::Text, at).await.unwrap();
    let buckets = [Matcher::metric("eligibility_latency_ms_bucket")];
    let series = store.series(&buckets, TimeRange::ALL).await.unwrap();
    exact_edge(&series, METRIC, 300.0).map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_latency_sli_without_its_exact_edge_is_refused_and_says_which_call_sets_it() {
    let buckets = |edges| {
        let builder = PrometheusBuilder::new();
        builder.set_buckets_for_metric(Of::Full(METRIC.to_owned()), edges).unwrap()
    };
    let refused = edge_at_300(PrometheusBuilder::new()).await.unwrap_err();
    assert!(refused.starts_with("eligibility.latency_ms has no buckets"), "{refused}");
    assert!(refused.contains("`PrometheusBuilder::set_buckets_for_metric`"), "{refused}");

    let refused = edge_at_300(buckets(&[250.0, 500.0])).await.unwrap_err();
    let begin = "eligibility.latency_ms has no bucket edge at 300, only at 250, 500; ";
    assert!(refused.starts_with(begin), "{refused}");
    assert!(refused.contains("`PrometheusBuilder::set_buckets_for_metric`"), "{refused}");

    assert_eq!(edge_at_300(buckets(&[250.0, 300.0])).await, Ok(()));
}
