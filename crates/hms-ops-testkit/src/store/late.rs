//! The promises about samples that come late, for a store with an out-of-order window.

use std::time::Duration;

use hms_ops_core::sample::{Sample, Value};
use hms_ops_core::store::{Store, StoreError};
use hms_ops_core::time::Timestamp;

use super::{everything, histogram, up, write};
use crate::world::at;

const MS: Duration = Duration::from_millis(1);

/// Between samples of one chunk and of several, before the first of them too.
pub async fn a_late_sample_is_put_in_its_place((store, window): (impl Store, Duration)) {
    // Every other instant in the window, a few windows long; the rest comes afterwards.
    let instant = |i: u32| at(0) + window / 1000 * 2 * i;
    let (even, odd): (Vec<u32>, Vec<u32>) = (0..1000).partition(|i| i % 2 == 0);
    write(&store, even.iter().map(|&i| (up("a"), instant(i), f64::from(i).into()))).await;
    let late: Vec<u32> = odd.into_iter().filter(|i| *i > 500).rev().collect();
    for some in late.chunks(30) {
        write(&store, some.iter().map(|&i| (up("a"), instant(i), f64::from(i).into()))).await;
    }
    let mut expected: Vec<u32> = even.into_iter().chain(late.iter().copied()).collect();
    expected.sort_unstable();
    let expected = expected.into_iter().map(|i| sample(instant(i), f64::from(i))).collect();
    assert_eq!(everything(&store).await, [(up("a"), expected)]);
    let stats = store.stats().await;
    // The latest instant of all is an odd one, so it was in time.
    let counts = (stats.samples, stats.late_samples, stats.dropped_samples);
    assert_eq!(counts, (750, 249, 0), "{stats:?}");
}

/// The newest sample of the batch itself counts, and one older than all is put first.
pub async fn late_samples_of_one_batch_are_put_in_their_places(
    (store, window): (impl Store, Duration),
) {
    let now = at(0);
    let late = |fraction| now - window / fraction;
    let samples = [(now, 1.0), (late(2), 2.0), (late(1), 3.0), (now + MS, 4.0), (late(4), 5.0)];
    write(&store, samples.map(|(at, value)| (up("a"), at, value.into()))).await;
    let expected = [(late(1), 3.0), (late(2), 2.0), (late(4), 5.0), (now, 1.0), (now + MS, 4.0)];
    let expected = expected.map(|(at, value)| sample(at, value)).into();
    assert_eq!(everything(&store).await, [(up("a"), expected)]);
    assert_eq!(store.stats().await.late_samples, 3);
}

/// A sample as old as the window, to the millisecond.
pub async fn a_sample_at_the_edge_of_the_window_is_taken((store, window): (impl Store, Duration)) {
    write(&store, [(up("a"), at(0), 1.0.into())]).await;
    write(&store, [(up("a"), at(0) - window, 2.0.into())]).await;
    let expected = vec![sample(at(0) - window, 2.0), sample(at(0), 1.0)];
    assert_eq!(everything(&store).await, [(up("a"), expected)]);
}

/// A millisecond more is too much, in one batch and over two; the rest of the batch is kept.
pub async fn a_sample_later_than_the_window_is_refused_alone(
    (store, window): (impl Store, Duration),
) {
    let refused = at(0) - window - MS;
    write(&store, [(up("a"), at(0), 1.0.into())]).await;
    let commit = {
        let mut batch = store.appender();
        let (a, b) = (batch.series(&up("a")).unwrap(), batch.series(&up("b")).unwrap());
        let error = batch.append(a, refused, 2.0.into()).unwrap_err();
        let told = matches!(
            &error,
            StoreError::OutOfOrder { labels, at: old, newest }
                if *labels == up("a") && *old == refused && *newest == at(0)
        );
        assert!(told, "expected a sample that is too late, got {error:?}");
        batch.append(a, at(0) - MS, 3.0.into()).unwrap();
        batch.append(b, at(0), 4.0.into()).unwrap();
        let error = batch.append(b, refused, 5.0.into()).unwrap_err();
        assert!(matches!(error, StoreError::OutOfOrder { .. }), "{error:?}");
        batch.commit()
    };
    commit.await.unwrap();
    let a = (up("a"), vec![sample(at(0) - MS, 3.0), sample(at(0), 1.0)]);
    assert_eq!(everything(&store).await, [a, (up("b"), vec![sample(at(0), 4.0)])]);
}

/// In one batch and over two, whether the first of them was late or not.
pub async fn the_same_late_sample_again_changes_nothing((store, window): (impl Store, Duration)) {
    let (early, late) = (at(0) - window / 2, at(0) - window / 4);
    let values: [Value; 4] = [1.5.into(), f64::NAN.into(), Value::STALE, histogram(f64::NAN)];
    let mut expected = Vec::new();
    for (i, value) in values.into_iter().enumerate() {
        let labels = up(&i.to_string());
        let written = |at: Timestamp| (labels.clone(), at, value.clone());
        write(&store, [written(early), written(at(0))]).await;
        write(&store, [written(late), written(late), written(early)]).await;
        write(&store, [written(early), written(late), written(at(0))]).await;
        let samples = [early, late, at(0)].map(|at| Sample { at, value: value.clone() });
        expected.push((labels, Vec::from(samples)));
    }
    assert_eq!(everything(&store).await, expected);
    let stats = store.stats().await;
    let counts = (stats.samples, stats.late_samples, stats.dropped_samples);
    assert_eq!(counts, (12, 4, 0), "{stats:?}");
}

/// In one batch and over two; the first value stays, and so does the rest of the batch.
pub async fn another_value_for_a_late_sample_is_refused_alone(
    (store, window): (impl Store, Duration),
) {
    let (early, late) = (at(0) - window / 2, at(0) - window / 4);
    write(&store, [(up("a"), early, 0.0.into()), (up("a"), at(0), 1.0.into())]).await;
    let mut batch = store.appender();
    let series = batch.series(&up("a")).unwrap();
    batch.append(series, late, 2.0.into()).unwrap();
    for (when, value) in [(early, (-0.0).into()), (late, 3.0.into()), (late, histogram(0.0))] {
        let error = batch.append(series, when, value).unwrap_err();
        let told = matches!(
            &error,
            StoreError::Duplicate { labels, at } if *labels == up("a") && *at == when
        );
        assert!(told, "expected a duplicate at {when}, got {error:?}");
    }
    batch.append(series, at(1), 4.0.into()).unwrap();
    batch.commit().await.unwrap();
    let expected = [(early, 0.0), (late, 2.0), (at(0), 1.0), (at(1), 4.0)];
    let expected = expected.map(|(at, value)| sample(at, value)).into();
    assert_eq!(everything(&store).await, [(up("a"), expected)]);
}

/// Another batch was faster and is newer: what is within the window of it stays, the rest is lost
/// and counted.
pub async fn a_sample_that_became_late_before_its_commit_is_put_in_its_place(
    (store, window): (impl Store, Duration),
) {
    let times = [at(0) - window - MS, at(0) - window, at(0) - MS, at(0), at(0) + MS];
    let (mut first, mut second) = (store.appender(), store.appender());
    let series = second.series(&up("a")).unwrap();
    for time in times {
        second.append(series, time, 1.0.into()).unwrap();
    }
    first.append(series, at(0) - MS, 1.0.into()).unwrap();
    first.append(series, at(0), 2.0.into()).unwrap();
    first.commit().await.unwrap();
    second.commit().await.unwrap();
    let expected = [(times[1], 1.0), (times[2], 1.0), (times[3], 2.0), (times[4], 1.0)];
    let expected = expected.map(|(at, value)| sample(at, value)).into();
    assert_eq!(everything(&store).await, [(up("a"), expected)]);
    let stats = store.stats().await;
    let counts = (stats.samples, stats.late_samples, stats.dropped_samples);
    assert_eq!(counts, (4, 1, 2), "{stats:?}");
}

fn sample(at: Timestamp, value: f64) -> Sample {
    Sample { at, value: value.into() }
}
