//! A store of one's own: counts what is written, in front of any other store.
//!
//! `cargo run --example custom_store` ends by itself. `cargo test --example custom_store` runs the
//! suite of `hms_ops_testkit` on it: a store is finished when it passes.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use hms_ops::core::labels::Labels;
use hms_ops::core::matcher::Matcher;
use hms_ops::core::sample::{Exemplar, Value};
use hms_ops::core::store::{
    Appender, MemoryStore, SelectHint, SeriesRef, SeriesSet, Store, StoreError, StoreStats,
};
use hms_ops::core::time::{TimeRange, Timestamp};
use hms_ops::prelude::*;

#[hms_ops::main]
async fn main() -> Result<(), hms_ops::Error> {
    let written = Arc::new(Written::default());
    let store = Counted { inner: MemoryStore::new(), written: written.clone() };
    let ops = Ops::builder().service("claims").store(store).start().await?;
    println!("counts for 5 s what the engine writes each second");

    let latency = Metric::new("claims.latency_ms").budget(300.0);
    for second in 1..=5 {
        latency.record(120.0);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let (batches, samples) = (written.batches(), written.samples());
        let StoreStats { series, .. } = ops.store().stats().await;
        println!("{second} s: {samples} samples of {series} series in {batches} batches");
    }
    ops.shutdown(Duration::from_secs(10)).await
}

/// Passes everything on to `inner` and counts the samples of each batch that was stored.
#[derive(Debug)]
struct Counted<S> {
    inner: S,
    written: Arc<Written>,
}

/// What was stored so far.
#[derive(Debug, Default)]
struct Written {
    batches: AtomicU64,
    samples: AtomicU64,
}

impl Written {
    fn batches(&self) -> u64 {
        self.batches.load(Ordering::Relaxed)
    }

    fn samples(&self) -> u64 {
        self.samples.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl<S: Store> Store for Counted<S> {
    fn appender(&self) -> Box<dyn Appender + '_> {
        let written = self.written.clone();
        Box::new(CountedBatch { inner: self.inner.appender(), samples: 0, written })
    }

    async fn select(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        hint: &SelectHint,
    ) -> Result<Box<dyn SeriesSet>, StoreError> {
        self.inner.select(matchers, range, hint).await
    }

    async fn series(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Vec<Labels>, StoreError> {
        self.inner.series(matchers, range).await
    }

    async fn label_names(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Vec<String>, StoreError> {
        self.inner.label_names(matchers, range).await
    }

    async fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Vec<String>, StoreError> {
        self.inner.label_values(name, matchers, range).await
    }

    async fn exemplars(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Vec<(Labels, Vec<Exemplar>)>, StoreError> {
        self.inner.exemplars(matchers, range).await
    }

    async fn ready(&self) -> Result<(), StoreError> {
        self.inner.ready().await
    }

    async fn stats(&self) -> StoreStats {
        self.inner.stats().await
    }
}

/// A batch on its way, with the number of its samples.
struct CountedBatch<'a> {
    inner: Box<dyn Appender + 'a>,
    samples: u64,
    written: Arc<Written>,
}

impl Appender for CountedBatch<'_> {
    fn series(&mut self, labels: &Labels) -> Result<SeriesRef, StoreError> {
        self.inner.series(labels)
    }

    fn append(&mut self, series: SeriesRef, at: Timestamp, value: Value) -> Result<(), StoreError> {
        self.inner.append(series, at, value)?;
        self.samples += 1;
        Ok(())
    }

    fn exemplar(&mut self, series: SeriesRef, exemplar: Exemplar) -> Result<(), StoreError> {
        self.inner.exemplar(series, exemplar)
    }

    fn commit(self: Box<Self>) -> Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send>> {
        let Self { inner, samples, written } = *self;
        let commit = inner.commit();
        Box::pin(async move {
            commit.await?;
            written.batches.fetch_add(1, Ordering::Relaxed);
            written.samples.fetch_add(samples, Ordering::Relaxed);
            Ok(())
        })
    }
}

#[cfg(test)]
mod conformance {
    use super::{Counted, MemoryStore};

    hms_ops_testkit::store_suite! {
        Counted { inner: MemoryStore::new(), written: Default::default() },
        out_of_order: std::time::Duration::from_secs(300)
    }
}
