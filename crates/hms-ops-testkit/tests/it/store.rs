//! A store with flaws.

use std::future::{Future, ready};
use std::pin::Pin;

use async_trait::async_trait;
use hms_ops_core::labels::Labels;
use hms_ops_core::matcher::Matcher;
use hms_ops_core::sample::Value;
use hms_ops_core::store::{
    Appender, MemoryStore, SelectHint, SeriesRef, SeriesSet, Store, StoreError, StoreStats,
};
use hms_ops_core::time::{TimeRange, Timestamp};
use hms_ops_testkit::store;

use super::fails;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Flaw {
    NeverCommits,
    MakesNansPlain,
    LosesInfinity,
    OpenRange,
    IgnoresNotEqual,
    ListsEverything,
}

#[derive(Debug)]
struct Broken {
    flaw: Flaw,
    inner: MemoryStore,
}

impl Broken {
    fn new(flaw: Flaw) -> Self {
        Self { flaw, inner: MemoryStore::new() }
    }
}

struct Batch<'a>(Flaw, Box<dyn Appender + 'a>);

impl Appender for Batch<'_> {
    fn series(&mut self, labels: &Labels) -> Result<SeriesRef, StoreError> {
        self.1.series(labels)
    }

    fn append(&mut self, series: SeriesRef, at: Timestamp, value: Value) -> Result<(), StoreError> {
        let value = match (self.0, value) {
            (Flaw::MakesNansPlain, Value::Float(v)) if v.is_nan() => f64::NAN.into(),
            (Flaw::LosesInfinity, Value::Float(v)) if v.is_infinite() => f64::MAX.into(),
            (_, value) => value,
        };
        self.1.append(series, at, value)
    }

    fn commit(self: Box<Self>) -> Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send>> {
        if self.0 == Flaw::NeverCommits { Box::pin(ready(Ok(()))) } else { self.1.commit() }
    }
}

#[async_trait]
impl Store for Broken {
    fn appender(&self) -> Box<dyn Appender + '_> {
        Box::new(Batch(self.flaw, self.inner.appender()))
    }

    async fn select(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        hint: &SelectHint,
    ) -> Result<Box<dyn SeriesSet>, StoreError> {
        let mut matchers = matchers.to_vec();
        if self.flaw == Flaw::IgnoresNotEqual {
            matchers.retain(|m| !m.to_string().contains("!="));
        }
        let mut range = range;
        if self.flaw == Flaw::OpenRange {
            range.end = range.end - std::time::Duration::from_millis(1);
        }
        self.inner.select(&matchers, range, hint).await
    }

    async fn series(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Vec<Labels>, StoreError> {
        let range = if self.flaw == Flaw::ListsEverything { TimeRange::ALL } else { range };
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

    async fn stats(&self) -> StoreStats {
        self.inner.stats().await
    }
}

#[test]
fn every_flaw_is_found() {
    use hms_ops_testkit::store::*;

    let broken = Broken::new;
    assert!(fails(a_sample_is_visible_once_its_commit_has_resolved(broken(Flaw::NeverCommits))));
    assert!(fails(the_staleness_marker_is_kept_bit_for_bit(broken(Flaw::MakesNansPlain))));
    assert!(fails(numbers_are_kept_bit_for_bit(broken(Flaw::LosesInfinity))));
    assert!(fails(a_range_is_closed_at_both_ends(broken(Flaw::OpenRange))));
    assert!(fails(matchers_of_all_four_kinds_select(broken(Flaw::IgnoresNotEqual))));
    assert!(fails(series_without_a_sample_in_the_range_are_not_listed(broken(
        Flaw::ListsEverything
    ))));
}

#[test]
#[should_panic(expected = "minimal failing input")]
fn random_histories_find_a_flaw() {
    store::against_oracle(async || Broken::new(Flaw::MakesNansPlain));
}
