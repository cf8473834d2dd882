//! Samples the registry of this process into a store, without HTTP.

use std::collections::HashMap;
use std::sync::Arc;

use hms_ops_core::exposition::edge_label;
use hms_ops_core::labels::{Labels, NAME};
use hms_ops_core::registry::{FamilySnapshot, Point, Registry};
use hms_ops_core::store::{Appender, SeriesRef, Store, StoreError};
use hms_ops_core::time::Timestamp;

/// Writes every series of a registry to a store, as a scrape of the same registry would.
///
/// Handles are kept, so a steady sample does no label work.
///
/// ```
/// use std::sync::Arc;
/// use hms_ops_collect::registry::RegistrySampler;
/// use hms_ops_core::{labels::Labels, registry::Registry, store::MemoryStore, time::Timestamp};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), hms_ops_core::store::StoreError> {
/// let registry = Registry::new();
/// registry.counter("claims_total").increment(1);
/// let labels = Labels::from_pairs([("service", "claims")]);
/// let mut sampler = RegistrySampler::new(registry, labels);
/// let refused = sampler.sample(&MemoryStore::new(), Timestamp::from_millis(1000)).await?;
/// assert_eq!(refused, 0);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct RegistrySampler {
    registry: Registry,
    labels: Labels,
    handles: HashMap<(Arc<str>, Labels), Vec<SeriesRef>>,
}

impl RegistrySampler {
    /// A sampler that adds `labels` to every series; a label of the series' own wins.
    pub fn new(registry: Registry, labels: Labels) -> Self {
        Self { registry, labels, handles: HashMap::new() }
    }

    /// Writes the registry as it is now, stamped `at`; returns how many series the store refused.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the batch could not be stored.
    pub async fn sample(&mut self, store: &dyn Store, at: Timestamp) -> Result<u64, StoreError> {
        let mut refused = 0;
        let commit = {
            let mut batch = store.appender();
            for family in self.registry.snapshot() {
                for (labels, point) in &family.series {
                    refused +=
                        u64::from(self.append(&mut *batch, &family, labels, point, at).is_err());
                }
            }
            batch.commit()
        };
        commit.await?;
        Ok(refused)
    }

    fn append(
        &mut self,
        batch: &mut dyn Appender,
        family: &FamilySnapshot,
        labels: &Labels,
        point: &Point,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let values = values(point);
        let key = (family.name.clone(), labels.clone());
        // A histogram that got another edge has more series than before.
        if self.handles.get(&key).is_none_or(|handles| handles.len() != values.len()) {
            let handles = self.series(batch, &family.name, labels, point)?;
            self.handles.insert(key.clone(), handles);
        }
        let mut stored = Ok(());
        for (handle, value) in self.handles[&key].iter().zip(values) {
            stored = stored.and(batch.append(*handle, at, value.into()));
        }
        if stored.is_err() {
            // The handles may have expired; the next sample asks for them anew.
            self.handles.remove(&key);
        }
        stored
    }

    /// The handles of a series' samples, in the order of [`values`].
    fn series(
        &self,
        batch: &mut dyn Appender,
        name: &str,
        labels: &Labels,
        point: &Point,
    ) -> Result<Vec<SeriesRef>, StoreError> {
        let own = self.labels.iter().chain(labels.iter());
        let base = Labels::from_pairs(own);
        let named = |suffix: &str| base.with(NAME, &format!("{name}{suffix}"));
        match point {
            Point::Number(_) => Ok(vec![batch.series(&named(""))?]),
            Point::Histogram(h) => {
                let bucket = named("_bucket");
                let edges = h.edges.iter().copied().chain([f64::INFINITY]);
                edges
                    .map(|edge| bucket.with("le", &edge_label(edge)))
                    .chain([named("_sum"), named("_count")])
                    .map(|labels| batch.series(&labels))
                    .collect()
            }
        }
    }
}

/// A number; or the cumulative buckets of a histogram, its sum and its count.
fn values(point: &Point) -> Vec<f64> {
    match point {
        Point::Number(value) => vec![*value],
        Point::Histogram(h) => {
            let mut cumulative = 0;
            let buckets = h.counts.iter().map(|count| {
                cumulative += count;
                cumulative as f64
            });
            let mut all: Vec<f64> = buckets.collect();
            all.extend([h.sum, cumulative as f64]);
            all
        }
    }
}

#[cfg(test)]
mod tests {
    use hms_ops_core::matcher::Matcher;
    use hms_ops_core::store::{MemoryStore, StoreExt};
    use hms_ops_core::time::TimeRange;

    use super::*;

    #[tokio::test]
    async fn a_histogram_is_stored_as_a_scrape_would_also_after_it_got_another_edge() {
        let registry = Registry::new();
        let metric = registry.metric("latency_ms");
        metric.record(250.0);
        let labels = Labels::from_pairs([("service", "svc")]);
        let mut sampler = RegistrySampler::new(registry.clone(), labels);
        let store = MemoryStore::new();
        sampler.sample(&store, Timestamp::from_millis(1000)).await.unwrap();
        let metric = metric.budget(317.0);
        metric.record(316.0);
        sampler.sample(&store, Timestamp::from_millis(2000)).await.unwrap();

        let last = async |matchers: &[Matcher]| {
            let found = store.collect(matchers, TimeRange::ALL).await.unwrap();
            assert_eq!(found.len(), 1, "{found:?}");
            found[0].1.last().unwrap().value.as_float().unwrap()
        };
        let service = Matcher::equal("service", "svc");
        assert_eq!(last(&[Matcher::metric("latency_ms_count"), service.clone()]).await, 2.0);
        assert_eq!(last(&[Matcher::metric("latency_ms_sum"), service.clone()]).await, 566.0);
        for (le, expected) in [("200", 0.0), ("300", 1.0), ("317", 2.0), ("+Inf", 2.0)] {
            let bucket = [Matcher::metric("latency_ms_bucket"), Matcher::equal("le", le)];
            assert_eq!(last(&bucket).await, expected, "{le}");
        }
    }
}
