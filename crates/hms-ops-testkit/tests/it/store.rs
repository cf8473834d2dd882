//! A store with flaws.

use std::future::{Future, ready};
use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use hms_ops_core::labels::Labels;
use hms_ops_core::matcher::Matcher;
use hms_ops_core::sample::{Exemplar, Value};
use hms_ops_core::store::{
    Appender, MemoryStore, SelectHint, SeriesRef, SeriesSet, Store, StoreError, StoreStats,
};
use hms_ops_core::time::{TimeRange, Timestamp};
use hms_ops_testkit::store;

use super::fails;

const WINDOW: Duration = Duration::from_secs(300);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Flaw {
    NeverCommits,
    MakesNansPlain,
    LosesInfinity,
    OpenRange,
    IgnoresNotEqual,
    ListsEverything,
    RefusesTheEdge,
    HidesDuplicates,
    LosesExemplars,
    TakesOldExemplars,
}

#[derive(Debug)]
struct Broken {
    flaw: Flaw,
    inner: MemoryStore,
}

impl Broken {
    fn new(flaw: Flaw) -> Self {
        let edge = Duration::from_millis(u64::from(flaw == Flaw::RefusesTheEdge));
        Self { flaw, inner: MemoryStore::new().out_of_order_window(WINDOW - edge) }
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
        match self.1.append(series, at, value) {
            Err(StoreError::Duplicate { .. }) if self.0 == Flaw::HidesDuplicates => Ok(()),
            result => result,
        }
    }

    fn exemplar(&mut self, series: SeriesRef, exemplar: Exemplar) -> Result<(), StoreError> {
        match self.0 {
            Flaw::LosesExemplars => Ok(()),
            Flaw::TakesOldExemplars => self.1.exemplar(series, exemplar).or(Ok(())),
            _ => self.1.exemplar(series, exemplar),
        }
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
            range.end = range.end - Duration::from_millis(1);
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
    let late = |flaw| (broken(flaw), WINDOW);
    assert!(fails(a_sample_at_the_edge_of_the_window_is_taken(late(Flaw::RefusesTheEdge))));
    assert!(fails(another_value_for_a_late_sample_is_refused_alone(late(Flaw::HidesDuplicates))));
    assert!(fails(exemplars_come_by_series_in_the_order_of_their_time(broken(
        Flaw::LosesExemplars
    ))));
    assert!(fails(an_older_exemplar_is_refused_alone(broken(Flaw::TakesOldExemplars))));
}

#[test]
#[should_panic(expected = "minimal failing input")]
fn random_histories_find_a_flaw() {
    store::against_oracle(async || Broken::new(Flaw::MakesNansPlain), WINDOW);
}

#[test]
#[should_panic(expected = "minimal failing input")]
fn random_histories_find_a_window_that_is_a_millisecond_short() {
    store::against_oracle(async || Broken::new(Flaw::RefusesTheEdge), WINDOW);
}
