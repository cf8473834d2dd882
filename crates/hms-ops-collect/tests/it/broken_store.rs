//! A store that has failed.

use std::future::ready;
use std::pin::Pin;

use async_trait::async_trait;
use hms_ops_core::labels::Labels;
use hms_ops_core::matcher::Matcher;
use hms_ops_core::sample::{Exemplar, Value};
use hms_ops_core::store::{
    Appender, SelectHint, SeriesRef, SeriesSet, Store, StoreError, StoreStats,
};
use hms_ops_core::time::{TimeRange, Timestamp};

/// Takes everything, and fails when it is to keep or to find it.
#[derive(Debug)]
pub(crate) struct BrokenStore;

fn broken<T>() -> Result<T, StoreError> {
    Err(StoreError::Backend("out of disk".into()))
}

#[async_trait]
impl Store for BrokenStore {
    fn appender(&self) -> Box<dyn Appender + '_> {
        Box::new(Self)
    }

    async fn select(
        &self,
        _: &[Matcher],
        _: TimeRange,
        _: &SelectHint,
    ) -> Result<Box<dyn SeriesSet>, StoreError> {
        broken()
    }

    async fn series(&self, _: &[Matcher], _: TimeRange) -> Result<Vec<Labels>, StoreError> {
        broken()
    }

    async fn label_names(&self, _: &[Matcher], _: TimeRange) -> Result<Vec<String>, StoreError> {
        broken()
    }

    async fn label_values(
        &self,
        _: &str,
        _: &[Matcher],
        _: TimeRange,
    ) -> Result<Vec<String>, StoreError> {
        broken()
    }

    async fn exemplars(
        &self,
        _: &[Matcher],
        _: TimeRange,
    ) -> Result<Vec<(Labels, Vec<Exemplar>)>, StoreError> {
        broken()
    }

    async fn ready(&self) -> Result<(), StoreError> {
        broken()
    }

    async fn stats(&self) -> StoreStats {
        StoreStats::default()
    }
}

impl Appender for BrokenStore {
    fn series(&mut self, _: &Labels) -> Result<SeriesRef, StoreError> {
        Ok(SeriesRef { id: 0, generation: 0 })
    }

    fn append(&mut self, _: SeriesRef, _: Timestamp, _: Value) -> Result<(), StoreError> {
        Ok(())
    }

    fn exemplar(&mut self, _: SeriesRef, _: Exemplar) -> Result<(), StoreError> {
        Ok(())
    }

    fn commit(self: Box<Self>) -> Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send>> {
        Box::pin(ready(broken()))
    }
}
