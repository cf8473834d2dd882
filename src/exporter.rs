//! Metrics of a service that already runs `metrics-exporter-prometheus`.
//!
//! Such a service keeps its recorder and its `/metrics`, and hands its [`PrometheusHandle`] to
//! [`OpsBuilder::exporter`]. Budgets count the events of its summaries and histograms alike, by their
//! sum and count. Latency SLIs and quantiles need buckets, which that exporter has only where
//! `PrometheusBuilder::set_buckets_for_metric` or `set_buckets` says so; an SLI without a bucket edge
//! at its threshold is refused by [`exact_edge`](crate::core::signal::exact_edge).

use std::io;

use async_trait::async_trait;
use hms_ops_collect::exposition::Format;
use hms_ops_collect::scrape::{ExpositionSampler, Limits};
pub use metrics_exporter_prometheus::PrometheusHandle;

use crate::builder::OpsBuilder;
use crate::core::labels::Labels;
use crate::core::store::Store;
use crate::core::time::Timestamp;
use crate::tick::{Exporter, SampleError};

impl OpsBuilder {
    /// Takes the metrics of this process from `metrics-exporter-prometheus`, once a second and with
    /// the labels that a scrape of it would give. What its macros record is then not captured a
    /// second time; [`Metric`](crate::core::metric::Metric) and [`Ops::metric`](crate::Ops::metric)
    /// go on beside it.
    ///
    /// A metric is known by the name that the exporter shows, suffixes of units included. Reading is
    /// upkeep: with an engine, nobody else needs to call `run_upkeep`.
    ///
    /// ```no_run
    /// use hms_ops::prelude::*;
    /// use metrics_exporter_prometheus::PrometheusBuilder;
    ///
    /// # async fn start() -> Result<(), Box<dyn std::error::Error>> {
    /// let handle = PrometheusBuilder::new().install_recorder()?;
    /// let ops = Ops::builder()
    ///     .service("eligibility-svc")
    ///     .exporter(handle)
    ///     .budget("eligibility.latency_ms", Budget::new(300.0), Some("eligibility-svc"))
    ///     .start()
    ///     .await?;
    /// metrics::histogram!("eligibility.latency_ms").record(12.0);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn exporter(mut self, handle: PrometheusHandle) -> Self {
        self.exporter = Some(Box::new(Rendered::new(handle)));
        self
    }
}

/// What an exporter renders, sampled like a scrape.
#[derive(Debug)]
struct Rendered {
    handle: PrometheusHandle,
    limits: Limits,
    sampler: ExpositionSampler,
}

impl Rendered {
    fn new(handle: PrometheusHandle) -> Self {
        let limits = Limits::default();
        let sampler = ExpositionSampler::new(Labels::empty(), limits.clone());
        Self { handle, limits, sampler }
    }

    async fn read(&mut self, store: &dyn Store, at: Timestamp) -> Result<u64, SampleError> {
        let (handle, limit) = (self.handle.clone(), self.limits.body_bytes);
        let render = move || {
            let mut text = Bounded { text: Vec::new(), limit };
            // Drains the exporter's histograms first, as `run_upkeep` does, even if the text is too
            // long in the end.
            handle.render_to_write(&mut text).map(|()| text.text)
        };
        // It copies every distribution, so it takes as long as there are series.
        let text = tokio::task::spawn_blocking(render).await??;
        Ok(self.sampler.sample(store, &text, Format::Text, at).await?)
    }
}

#[async_trait]
impl Exporter for Rendered {
    fn set_labels(&mut self, labels: Labels) {
        self.sampler = ExpositionSampler::new(labels, self.limits.clone());
    }

    async fn sample(&mut self, store: &dyn Store, at: Timestamp) -> Result<u64, SampleError> {
        let sampled = self.read(store, at).await;
        if sampled.is_err() {
            self.sampler.end(store, at).await?;
        }
        sampled.map_err(|error| format!("metrics-exporter-prometheus: {error}").into())
    }
}

/// Takes so many bytes and no more.
#[derive(Debug)]
struct Bounded {
    text: Vec<u8>,
    limit: usize,
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.limit - self.text.len() {
            return Err(io::Error::other(format!("more than {} bytes", self.limit)));
        }
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};

    use super::*;
    use crate::core::matcher::Matcher;
    use crate::core::store::{MemoryStore, StoreExt};
    use crate::core::time::TimeRange;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn rendered(recorder: &PrometheusRecorder) -> Rendered {
        let mut rendered = Rendered::new(recorder.handle());
        rendered.set_labels(Labels::from_pairs([("service", "svc"), ("cluster", "a")]));
        rendered
    }

    async fn last(store: &MemoryStore, name: &str) -> Vec<(Labels, Option<f64>)> {
        let found = store.collect(&[Matcher::metric(name)], TimeRange::ALL).await.unwrap();
        let value = |(labels, samples): (Labels, Vec<crate::core::sample::Sample>)| {
            let last = samples.last().unwrap().value.clone();
            (labels.without(&["__name__"]), last.as_float().filter(|_| !last.is_stale()))
        };
        found.into_iter().map(value).collect()
    }

    #[tokio::test]
    async fn sum_and_count_of_a_summary_and_of_a_histogram_are_stored_with_the_labels() {
        for buckets in [&[][..], &[100.0, 300.0]] {
            let builder = PrometheusBuilder::new();
            let builder = match buckets {
                [] => builder,
                buckets => builder.set_buckets(buckets).unwrap(),
            };
            let recorder = builder.build_recorder();
            let (mut rendered, store) = (rendered(&recorder), MemoryStore::new());
            metrics::with_local_recorder(&recorder, || {
                let latency = metrics::histogram!("work.ms", "cluster" => "own");
                [100.0, 500.0].into_iter().for_each(|value| latency.record(value));
            });
            assert_eq!(rendered.sample(&store, at(1)).await.unwrap(), 0);

            let own = [("cluster", "a"), ("exported_cluster", "own"), ("service", "svc")];
            let own = Labels::from_pairs(own);
            assert_eq!(last(&store, "work_ms_sum").await, [(own.clone(), Some(600.0))]);
            assert_eq!(last(&store, "work_ms_count").await, [(own, Some(2.0))]);
        }
    }

    #[tokio::test]
    async fn odd_values_and_labels_of_the_exporter_are_read() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let (mut rendered, store) = (rendered(&recorder), MemoryStore::new());
        metrics::with_local_recorder(&recorder, || {
            metrics::describe_gauge!("odd", "two\nlines \\ and a \"quote\"");
            for (index, value) in [f64::INFINITY, f64::NEG_INFINITY, 1e300].into_iter().enumerate()
            {
                metrics::gauge!("odd", "i" => index.to_string()).set(value);
            }
            metrics::gauge!("label", "größe.x" => "a\"b\\c\nd{}", "empty" => "").set(f64::NAN);
        });
        assert_eq!(rendered.sample(&store, at(1)).await.unwrap(), 0);
        let values: Vec<_> = last(&store, "odd").await.into_iter().map(|(_, v)| v).collect();
        assert_eq!(values, [Some(f64::INFINITY), Some(f64::NEG_INFINITY), Some(1e300)]);
        let label = &last(&store, "label").await[0];
        assert_eq!(label.0.get("gr__e_x"), Some("a\"b\\c\nd{}"));
        assert!(label.1.is_some_and(f64::is_nan), "{label:?}");
    }

    #[tokio::test]
    async fn a_text_that_is_too_long_is_refused_in_bounded_memory_and_ends_the_series() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let (mut rendered, store) = (rendered(&recorder), MemoryStore::new());
        metrics::with_local_recorder(&recorder, || metrics::gauge!("g").set(1.0));
        rendered.sample(&store, at(1)).await.unwrap();
        rendered.limits.body_bytes = 10;
        let error = rendered.sample(&store, at(2)).await.unwrap_err();
        assert_eq!(error.to_string(), "metrics-exporter-prometheus: more than 10 bytes");
        assert_eq!(last(&store, "g").await[0].1, None);
        rendered.limits.body_bytes = 100;
        rendered.sample(&store, at(3)).await.unwrap();
        assert_eq!(last(&store, "g").await[0].1, Some(1.0));
    }

    #[tokio::test]
    async fn a_text_that_cannot_be_read_says_where() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let (mut rendered, store) = (rendered(&recorder), MemoryStore::new());
        metrics::with_local_recorder(&recorder, || {
            metrics::histogram!("h", "quantile" => "mine").record(1.0);
        });
        let error = rendered.sample(&store, at(1)).await.unwrap_err().to_string();
        assert!(error.starts_with("metrics-exporter-prometheus: line 2, column "), "{error}");
    }
}
