//! The promises about exemplars, and about being ready.

use std::time::Duration;

use hms_ops_core::labels::Labels;
use hms_ops_core::matcher::Matcher;
use hms_ops_core::sample::Exemplar;
use hms_ops_core::store::{SeriesRef, Store, StoreError};
use hms_ops_core::time::TimeRange;

use super::{LONG_AGO, up, write};
use crate::world::at;

/// Bit for bit, with their labels; of the range, closed at both ends; series without any are absent.
pub async fn exemplars_come_by_series_in_the_order_of_their_time(store: impl Store) {
    write(&store, [(up("silent"), at(1), 1.0.into())]).await;
    let of_a = [exemplar(1, 0.5), exemplar(2, f64::NAN), exemplar(2, -0.0)];
    let of_b = [Exemplar { labels: Labels::empty(), value: 9.0, at: at(3) }];
    add(&store, of_b.clone().map(|e| (up("b"), e))).await;
    for exemplar in of_a.clone() {
        add(&store, [(up("a"), exemplar)]).await;
    }
    let ms = Duration::from_millis(1);
    for (start, end, a, b) in [
        (at(1), at(3), 0..3, 0..1),
        (at(2), at(3) - ms, 1..3, 0..0),
        (at(1), at(2) - ms, 0..1, 0..0),
        (at(2) + ms, at(9), 0..0, 0..1),
        (at(4), at(9), 0..0, 0..0),
        (at(3), at(1), 0..0, 0..0),
    ] {
        let all = [(up("a"), of_a[a].to_vec()), (up("b"), of_b[b].to_vec())];
        let expected: Vec<_> = all.into_iter().filter(|(_, some)| !some.is_empty()).collect();
        let found = store.exemplars(&[], TimeRange::new(start, end)).await.unwrap();
        assert_eq!(found, expected, "{start} to {end}");
    }
    for (matcher, labels) in [
        (Matcher::equal("cluster", "b"), vec![up("b")]),
        (Matcher::not_equal("cluster", "b"), vec![up("a")]),
        (Matcher::regex("cluster", "a|b|silent").unwrap(), vec![up("a"), up("b")]),
        (Matcher::equal("trace_id", "1"), vec![]),
    ] {
        let found = store.exemplars(&[matcher], TimeRange::ALL).await.unwrap();
        let found: Vec<_> = found.into_iter().map(|(labels, _)| labels).collect();
        assert_eq!(found, labels);
    }
}

/// As when a target exposes it until it has another; in one batch and over two.
pub async fn the_newest_exemplar_again_changes_nothing(store: impl Store) {
    for again in [exemplar(1, f64::NAN), exemplar(2, 2.0)] {
        add(&store, [(up("a"), again.clone()), (up("a"), again.clone())]).await;
        add(&store, [(up("a"), again)]).await;
    }
    let expected = vec![exemplar(1, f64::NAN), exemplar(2, 2.0)];
    assert_eq!(everything(&store).await, [(up("a"), expected)]);
}

/// In one batch and over two, however little older; the rest of the batch is kept.
pub async fn an_older_exemplar_is_refused_alone(store: impl Store) {
    add(&store, [(up("a"), exemplar(1, 1.0)), (up("a"), exemplar(10, 1.0))]).await;
    let mut batch = store.appender();
    let (a, b) = (batch.series(&up("a")).unwrap(), batch.series(&up("b")).unwrap());
    let error = batch.exemplar(a, exemplar(9, 2.0)).unwrap_err();
    let told = matches!(
        &error,
        StoreError::OutOfOrder { labels, at: old, newest }
            if *labels == up("a") && *old == at(9) && *newest == at(10)
    );
    assert!(told, "expected an older exemplar than at {}, got {error:?}", at(10));
    batch.exemplar(a, exemplar(LONG_AGO, 3.0)).unwrap();
    let error = batch.exemplar(a, exemplar(10, 1.0)).unwrap_err();
    assert!(matches!(error, StoreError::OutOfOrder { .. }), "{error:?}");
    batch.exemplar(b, exemplar(9, 4.0)).unwrap();
    batch.append(b, at(0), 1.0.into()).unwrap();
    batch.commit().await.unwrap();
    let a = vec![exemplar(1, 1.0), exemplar(10, 1.0), exemplar(LONG_AGO, 3.0)];
    assert_eq!(everything(&store).await, [(up("a"), a), (up("b"), vec![exemplar(9, 4.0)])]);
    assert_eq!(store.stats().await.samples, 1);
}

/// And the rest of the batch is kept.
pub async fn an_exemplar_of_an_unknown_handle_is_refused(store: impl Store) {
    let mut batch = store.appender();
    let known = batch.series(&up("a")).unwrap();
    let unknown = SeriesRef { generation: known.generation.wrapping_add(1), ..known };
    let error = batch.exemplar(unknown, exemplar(1, 1.0)).unwrap_err();
    let told = matches!(error, StoreError::UnknownSeries { series } if series == unknown);
    assert!(told, "{unknown:?} gave {error:?}");
    batch.exemplar(known, exemplar(1, 2.0)).unwrap();
    batch.commit().await.unwrap();
    assert_eq!(everything(&store).await, [(up("a"), vec![exemplar(1, 2.0)])]);
}

/// Not even as the newest: an older one is taken afterwards.
pub async fn a_dropped_batch_leaves_no_exemplar(store: impl Store) {
    {
        let mut batch = store.appender();
        let series = batch.series(&up("a")).unwrap();
        batch.exemplar(series, exemplar(10, 1.0)).unwrap();
    }
    assert_eq!(everything(&store).await, []);
    add(&store, [(up("a"), exemplar(5, 2.0))]).await;
    assert_eq!(everything(&store).await, [(up("a"), vec![exemplar(5, 2.0)])]);
}

/// From the beginning, and when it holds something.
pub async fn a_store_that_takes_samples_is_ready(store: impl Store) {
    store.ready().await.unwrap();
    write(&store, [(up("a"), at(1), 1.0.into())]).await;
    store.ready().await.unwrap();
}

fn exemplar(secs: i64, value: f64) -> Exemplar {
    let labels = Labels::from_pairs([("trace_id", secs.to_string())]);
    Exemplar { labels, value, at: at(secs) }
}

/// Adds exemplars in one batch, none of which may be refused.
async fn add(store: &impl Store, exemplars: impl IntoIterator<Item = (Labels, Exemplar)>) {
    let commit = {
        let mut batch = store.appender();
        for (labels, exemplar) in exemplars {
            let series = batch.series(&labels).unwrap();
            batch.exemplar(series, exemplar).unwrap();
        }
        batch.commit()
    };
    commit.await.unwrap();
}

async fn everything(store: &impl Store) -> Vec<(Labels, Vec<Exemplar>)> {
    store.exemplars(&[], TimeRange::ALL).await.unwrap()
}
