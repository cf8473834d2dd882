//! The store on a backend that is imitated, and on one that misbehaves.

#![allow(clippy::unwrap_used, reason = "a test may")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering::SeqCst};
use std::time::Duration;

use hms_ops_core::query::{Data, QueryEngine, QueryOptions, SelectorEngine};
use hms_ops_core::sample::Sample;
use hms_ops_core::store::{MemoryStore, StoreExt};
use hms_ops_testkit::world::at;
use hms_ops_testkit::{block_on, fault_disk::FaultDisk, keep};
use tempfile::TempDir;

use super::*;
use imitation::Imitation;

mod imitation;

mod on_a_backend_that_is_there {
    use super::*;

    hms_ops_testkit::store_suite! {
        on(&keep(Imitation::start().await)),
        two_series: on_full(&keep(Imitation::start().await))
    }
}

mod with_a_window {
    use super::*;

    hms_ops_testkit::store_suite! {
        on_late(&keep(Imitation::start().await)),
        out_of_order: Duration::from_secs(300)
    }
}

fn options() -> RemoteOptions {
    let longest_pause = Duration::from_millis(100);
    RemoteOptions { sync: false, longest_pause, ..RemoteOptions::default() }
}

fn open(imitation: &Imitation, folder: &TempDir, options: RemoteOptions) -> RemoteStore {
    RemoteStore::open(&imitation.url(), folder.path(), options).unwrap()
}

fn on(imitation: &Imitation) -> RemoteStore {
    open(imitation, &keep(tempfile::tempdir().unwrap()), options())
}

fn on_full(imitation: &Imitation) -> RemoteStore {
    let options = RemoteOptions { series: 2, ..options() };
    open(imitation, &keep(tempfile::tempdir().unwrap()), options)
}

fn on_late(imitation: &Imitation) -> RemoteStore {
    let options = RemoteOptions { out_of_order_window: Duration::from_secs(300), ..options() };
    open(imitation, &keep(tempfile::tempdir().unwrap()), options)
}

fn up(zone: &str) -> Labels {
    Labels::metric("up").with("zone", zone)
}

fn sample(secs: i64, value: f64) -> Sample {
    Sample { at: at(secs), value: value.into() }
}

/// Waits until the metrics are as wanted.
async fn until(store: &RemoteStore, wanted: impl Fn(&RemoteMetrics) -> bool) -> RemoteMetrics {
    let met = async {
        loop {
            let metrics = store.metrics();
            if wanted(&metrics) {
                return metrics;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    match timeout(Duration::from_secs(20), met).await {
        Ok(metrics) => metrics,
        Err(_) => panic!("never: {:?}", store.metrics()),
    }
}

#[test]
fn what_left_memory_is_read_from_the_backend() {
    block_on(async {
        let (backend, folder) = (Imitation::start().await, tempfile::tempdir().unwrap());
        let store = open(&backend, &folder, RemoteOptions { keep: Duration::ZERO, ..options() });
        for i in 0..50 {
            store.append_one(&up("a"), at(i), i as f64).await.unwrap();
        }
        store.flush().await;
        until(&store, |_| lock(&store.recent).stats().samples == 0).await;
        let expected: Vec<_> = (10..50).map(|i| sample(i, i as f64)).collect();
        let range = TimeRange::new(at(10), Timestamp::MAX);
        assert_eq!(store.collect(&[], range).await.unwrap(), [(up("a"), expected)]);
        assert_eq!(store.series(&[], TimeRange::ALL).await.unwrap(), [up("a")]);
        let error = store.append_one(&up("a"), at(49), 7.0).await.unwrap_err();
        assert!(matches!(error, StoreError::Duplicate { .. }), "{error}");
        let error = store.append_one(&up("a"), at(40), 40.0).await.unwrap_err();
        assert!(matches!(error, StoreError::OutOfOrder { .. }), "{error}");
    });
}

#[test]
fn a_silent_backend_is_made_up_for_where_memory_suffices() {
    block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let store = RemoteStore::open("http://127.0.0.1:1", folder.path(), options()).unwrap();
        let now = store.clock.now();
        store.append_one(&up("a"), now, 1.0).await.unwrap();
        let here = TimeRange::new(now, Timestamp::MAX);
        let found = store.collect(&[], here).await.unwrap();
        assert_eq!(found, [(up("a"), vec![Sample { at: now, value: 1.0.into() }])]);
        assert_eq!(store.label_values("zone", &[], here).await.unwrap(), ["a"]);
        let error = store.collect(&[], TimeRange::ALL).await.unwrap_err().to_string();
        assert!(error.contains("http://127.0.0.1:1/api/v1/read"), "{error}");
        store.ready().await.unwrap();
        store.backend_ready().await.unwrap_err();
        let metrics = until(&store, |metrics| metrics.retries > 0).await;
        assert!(!metrics.reachable && metrics.queued_samples == 1, "{metrics:?}");
    });
}

#[test]
fn a_backend_that_hangs_costs_readers_for_whom_memory_suffices_a_moment_once() {
    block_on(async {
        let (backend, folder) = (Imitation::start().await, tempfile::tempdir().unwrap());
        let store = open(&backend, &folder, options());
        let now = store.clock.now();
        backend.hang();
        store.append_one(&up("a"), now, 1.0).await.unwrap();
        let here = TimeRange::new(now, Timestamp::MAX);
        let expected = [(up("a"), vec![Sample { at: now, value: 1.0.into() }])];
        let reads = async {
            for _ in 0..20 {
                assert_eq!(store.collect(&[], here).await.unwrap(), expected);
                assert_eq!(store.series(&[], here).await.unwrap(), [up("a")]);
            }
        };
        timeout(Duration::from_secs(2), reads).await.expect("readers wait");
    });
}

#[test]
fn the_queue_goes_on_after_our_own_restart() {
    block_on(async {
        let (backend, folder) = (Imitation::start().await, tempfile::tempdir().unwrap());
        backend.answer(503);
        let store = open(&backend, &folder, options());
        for i in 0..100 {
            store.append_one(&up("a"), at(i), i as f64).await.unwrap();
        }
        store.close(Duration::ZERO).await;

        let store = open(&backend, &folder, options());
        assert_eq!(store.metrics().queued_samples, 100);
        let expected: Vec<_> = (0..100).map(|i| sample(i, i as f64)).collect();
        let found = store.collect(&[], TimeRange::ALL).await.unwrap();
        assert_eq!(found, [(up("a"), expected.clone())], "before it is sent");
        let error = store.append_one(&up("a"), at(99), 7.0).await.unwrap_err();
        assert!(matches!(error, StoreError::Duplicate { .. }), "{error}");
        backend.answer(204);
        store.flush().await;
        assert_eq!(backend.collect().await, [(up("a"), expected)]);
        let metrics = store.metrics();
        assert_eq!((metrics.queued_samples, metrics.lag), (0, Duration::ZERO));
    });
}

#[test]
fn what_a_backend_took_last_is_sent_again_when_it_was_gone() {
    block_on(async {
        let (mut backend, folder) = (Imitation::start().await, tempfile::tempdir().unwrap());
        let store = open(&backend, &folder, options());
        for i in 0..100 {
            store.append_one(&up("a"), at(i), i as f64).await.unwrap();
        }
        store.flush().await;
        backend.die().await;
        store.append_one(&up("a"), at(100), 100.0).await.unwrap();
        until(&store, |metrics| metrics.rewinds == 1).await;
        assert_eq!(store.metrics().queued_samples, 1);
        backend.rise_empty().await;
        store.flush().await;
        until(&store, |metrics| metrics.sent_samples >= 201).await;
        let expected: Vec<_> = (0..=100).map(|i| sample(i, i as f64)).collect();
        assert_eq!(backend.collect().await, [(up("a"), expected)]);
    });
}

#[test]
fn a_backend_that_was_replaced_unseen_is_told_by_its_start_time() {
    block_on(async {
        let (backend, folder) = (Imitation::start().await, tempfile::tempdir().unwrap());
        let keep = Duration::from_secs(2);
        let clock = Arc::new(hms_ops_core::clock::ManualClock::at(at(1000)));
        let store = open(&backend, &folder, RemoteOptions { keep, clock, ..options() });
        store.append_one(&up("a"), at(1), 1.0).await.unwrap();
        store.flush().await;
        until(&store, |_| backend.looks() > 1).await;
        backend.replace();
        until(&store, |metrics| metrics.rewinds == 1 && metrics.sent_samples == 2).await;
        assert_eq!(backend.collect().await, [(up("a"), vec![sample(1, 1.0)])]);
    });
}

#[test]
fn nothing_is_safe_before_the_backend_was_looked_at_after_a_long_outage() {
    block_on(async {
        let (backend, folder) = (Imitation::start().await, tempfile::tempdir().unwrap());
        let keep = Duration::from_secs(2);
        let clock = Arc::new(hms_ops_core::clock::ManualClock::at(at(1000)));
        let options = RemoteOptions { keep, clock: clock.clone(), ..options() };
        let store = open(&backend, &folder, options);
        store.append_one(&up("a"), at(1), 1.0).await.unwrap();
        store.flush().await;
        until(&store, |_| backend.looks() > 1).await;
        // What stands before it answers while it is gone.
        backend.answer(503);
        store.append_one(&up("a"), at(2), 2.0).await.unwrap();
        until(&store, |metrics| metrics.retries > 0).await;
        clock.advance(Duration::from_secs(100));
        backend.replace();
        backend.answer(204);
        until(&store, |metrics| metrics.rewinds == 1 && metrics.sent_samples == 4).await;
        let expected = vec![sample(1, 1.0), sample(2, 2.0)];
        assert_eq!(backend.collect().await, [(up("a"), expected)]);
    });
}

#[test]
fn what_was_acknowledged_is_kept_while_an_idle_backend_is_gone() {
    block_on(async {
        let (mut backend, folder) = (Imitation::start().await, tempfile::tempdir().unwrap());
        let keep = Duration::from_secs(2);
        let clock = Arc::new(hms_ops_core::clock::ManualClock::at(at(1000)));
        let options = RemoteOptions { keep, clock: clock.clone(), ..options() };
        let store = open(&backend, &folder, options);
        store.append_one(&up("a"), at(1), 1.0).await.unwrap();
        store.flush().await;
        until(&store, |_| backend.looks() > 1).await;
        backend.die().await;
        // Whoever looks finds nobody, before and after what was acknowledged grows old.
        for wait in [0, 100] {
            clock.advance(Duration::from_secs(wait));
            let before = store.metrics().connections;
            until(&store, |metrics| metrics.connections > before + 1).await;
        }
        backend.rise_empty().await;
        backend.replace();
        until(&store, |metrics| metrics.rewinds == 1 && metrics.sent_samples == 2).await;
        assert_eq!(backend.collect().await, [(up("a"), vec![sample(1, 1.0)])]);
    });
}

#[test]
fn a_backend_that_is_silent_about_itself_is_sent_to_all_the_same() {
    block_on(async {
        let (backend, folder) = (Imitation::start().await, tempfile::tempdir().unwrap());
        backend.mute();
        let keep = Duration::from_secs(2);
        let store = open(&backend, &folder, RemoteOptions { keep, ..options() });
        let sent = async {
            for i in 0..3 {
                store.append_one(&up("a"), at(i), 1.0).await.unwrap();
                store.flush().await;
                // Whoever looks looks again.
                until(&store, |_| backend.looks() > i as u64).await;
            }
        };
        timeout(Duration::from_secs(15), sent).await.expect("looks hold up what is sent");
    });
}

#[test]
fn what_is_safe_leaves_the_disk_and_what_is_not_stays() {
    block_on(async {
        let (backend, folder) = (Imitation::start().await, tempfile::tempdir().unwrap());
        let clock = Arc::new(hms_ops_core::clock::ManualClock::at(at(1000)));
        let (queue_bytes, keep) = (4 << 20, Duration::from_secs(1));
        let options = RemoteOptions { clock: clock.clone(), queue_bytes, keep, ..options() };
        let store = open(&backend, &folder, options);
        let long = Labels::metric("up").with("text", &"x".repeat(1000));
        for i in 0..500 {
            store.append_one(&long, at(i), i as f64).await.unwrap();
        }
        store.flush().await;
        let full = store.metrics().queued_bytes;
        assert!(full > 500_000, "{full}");
        clock.advance(Duration::from_millis(900));
        store.append_one(&long, at(500), 0.0).await.unwrap();
        store.flush().await;
        assert!(store.metrics().queued_bytes >= full);
        clock.advance(Duration::from_secs(1));
        store.append_one(&long, at(501), 0.0).await.unwrap();
        store.flush().await;
        until(&store, |metrics| metrics.queued_bytes < full / 2).await;
        assert_eq!(store.collect(&[], TimeRange::ALL).await.unwrap()[0].1.len(), 502);
    });
}

#[test]
fn beyond_its_bound_the_queue_drops_the_oldest_and_counts_them() {
    block_on(async {
        let (backend, folder) = (Imitation::start().await, tempfile::tempdir().unwrap());
        backend.answer(503);
        let store = open(&backend, &folder, RemoteOptions { queue_bytes: 300_000, ..options() });
        let long = Labels::metric("up").with("text", &"x".repeat(1000));
        for i in 0..1000 {
            store.append_one(&long, at(i), i as f64).await.unwrap();
        }
        let metrics = store.metrics();
        let (lost, left) = (metrics.overflowed_samples, metrics.queued_samples);
        assert!(lost > 600 && lost + left == 1000, "{metrics:?}");
        assert!(metrics.queued_bytes <= 300_000, "{metrics:?}");
        backend.answer(204);
        store.flush().await;
        let times: Vec<_> = backend.collect().await[0].1.iter().map(|s| s.at).collect();
        // What was on its way when it was dropped, in one request, may arrive all the same.
        let (first, rest) = times.split_at(times.len() - left as usize);
        assert!(first.len() < 600, "{first:?}");
        assert!(
            first.windows(2).all(|two| two[1].since(two[0]) == at(1).since(at(0))),
            "{first:?}"
        );
        assert!(rest.iter().copied().eq((lost as i64..1000).map(at)), "{rest:?}");
        assert_eq!(store.stats().await.dropped_samples, lost);
    });
}

#[test]
fn refused_samples_are_dropped_alone_counted_and_the_reason_is_kept() {
    block_on(async {
        let (backend, folder) = (Imitation::start().await, tempfile::tempdir().unwrap());
        backend.refuse("bad");
        backend.answer(503);
        let store = open(&backend, &folder, options());
        for i in 0..20 {
            let commit = {
                let mut batch = store.appender();
                for zone in ["a", "bad", "c", "d"] {
                    let series = batch.series(&up(zone)).unwrap();
                    batch.append(series, at(i), 1.0.into()).unwrap();
                }
                batch.commit()
            };
            commit.await.unwrap();
        }
        backend.answer(204);
        store.flush().await;
        let found: Vec<_> =
            backend.collect().await.into_iter().map(|(labels, s)| (labels, s.len())).collect();
        assert_eq!(found, [(up("a"), 20), (up("c"), 20), (up("d"), 20)]);
        let metrics = store.metrics();
        assert_eq!((metrics.refused_samples, metrics.sent_samples), (20, 60));
        let said = metrics.last_error.unwrap();
        assert!(said.contains("answered 400: out of bounds"), "{said}");
    });
}

#[test]
fn other_failures_are_tried_again_until_they_pass() {
    block_on(async {
        let (backend, folder) = (Imitation::start().await, tempfile::tempdir().unwrap());
        let store = open(&backend, &folder, options());
        for (i, status) in (0..).zip([500, 503, 429, 401, 404, 302]) {
            backend.answer(status);
            let before = store.metrics();
            store.append_one(&up("a"), at(i), 1.0).await.unwrap();
            let now = until(&store, |metrics| metrics.retries > before.retries + 1).await;
            assert!(now.last_error.unwrap().contains(&format!("answered {status}")));
            backend.answer(204);
            store.flush().await;
        }
        let metrics = store.metrics();
        assert_eq!((metrics.refused_samples, metrics.sent_samples, metrics.rewinds), (0, 6, 0));
    });
}

#[test]
fn writes_and_reads_share_few_connections() {
    block_on(async {
        let (backend, folder) = (Imitation::start().await, tempfile::tempdir().unwrap());
        let store = open(&backend, &folder, options());
        for i in 0..50 {
            store.append_one(&up("a"), at(i), i as f64).await.unwrap();
            store.flush().await;
            store.collect(&[], TimeRange::ALL).await.unwrap();
            store.label_values("zone", &[], TimeRange::ALL).await.unwrap();
        }
        // The sender's own, and one for who reads; now and then both at once.
        let connections = backend.connections();
        assert!(connections <= 4, "{connections}");
        assert_eq!(store.metrics().connections, connections);
    });
}

#[test]
fn a_refusal_is_one_however_much_is_said_about_it() {
    block_on(async {
        let (backend, folder) = (Imitation::start().await, tempfile::tempdir().unwrap());
        backend.say("x".repeat(1 << 20));
        backend.answer(400);
        let store = open(&backend, &folder, options());
        store.append_one(&up("a"), at(1), 1.0).await.unwrap();
        let metrics = until(&store, |metrics| metrics.refused_samples + metrics.retries > 0).await;
        assert_eq!((metrics.refused_samples, metrics.retries), (1, 0), "{metrics:?}");
        assert!(metrics.last_error.unwrap().contains("answered 400: xxx"));
    });
}

#[test]
fn a_query_is_the_backends_and_our_own_where_it_cannot() {
    block_on(async {
        let (mut backend, folder) = (Imitation::start().await, tempfile::tempdir().unwrap());
        let clock = Arc::new(hms_ops_core::clock::ManualClock::at(at(0)));
        backend.answer(503);
        let options = RemoteOptions { clock: clock.clone(), ..options() };
        let store = Arc::new(open(&backend, &folder, options));
        clock.advance(Duration::from_secs(1));
        store.append_one(&up("a"), at(1), 1.0).await.unwrap();
        let own = Arc::new(SelectorEngine::new(store.clone()));
        let engine = store.query_engine().or(own);
        let (one, second) = (TimeRange::new(at(1), at(1)), Duration::from_secs(1));
        let ask = async |engine: &RemoteQuery| {
            let lookback = Some(Duration::from_millis(1));
            let options = QueryOptions { lookback, ..QueryOptions::default() };
            let instant = engine.instant("up", at(1), &options).await;
            let range = engine.range("up", one, second, &options).await;
            assert_eq!(instant.is_ok(), range.is_ok());
            instant
        };

        let theirs = ask(&engine).await.unwrap();
        assert_eq!(theirs.data, Data::Scalar(at(1), 42.0));
        assert_eq!(theirs.warnings, ["beware"]);
        let ours = Data::Vector(vec![(up("a"), sample(1, 1.0))]);
        for status in [400, 404, 405, 501, 502] {
            backend.answer_queries(status);
            assert_eq!(ask(&engine).await.unwrap(), ours.clone().into(), "{status}");
            ask(&store.query_engine()).await.unwrap_err();
        }
        for status in [401, 422, 500, 503] {
            backend.answer_queries(status);
            let error = ask(&engine).await.unwrap_err().to_string();
            assert!(error.contains("why") || error.contains("remote"), "{error}");
        }
        backend.answer_queries(200);
        clock.advance(Duration::from_secs(12));
        assert_eq!(
            ask(&engine).await.unwrap().warnings[1],
            "samples of the last 12 s wait to be sent to the backend, which answered without them"
        );
        backend.die().await;
        assert_eq!(ask(&engine).await.unwrap_or_else(|e| panic!("{e}")), ours.into());
    });
}

#[test]
fn the_pause_that_a_backend_asks_for_is_kept() {
    block_on(async {
        let (backend, folder) = (Imitation::start().await, tempfile::tempdir().unwrap());
        backend.answer(429);
        let store = open(&backend, &folder, options());
        store.append_one(&up("a"), at(1), 1.0).await.unwrap();
        until(&store, |metrics| metrics.retries == 1).await;
        backend.answer(204);
        let watch = hms_ops_core::clock::Stopwatch::start();
        store.flush().await;
        assert!(watch.elapsed() > Duration::from_millis(900), "{:?}", watch.elapsed());
        assert_eq!(store.metrics().requests, 2);
    });
}

#[test]
fn a_backend_that_hangs_is_left_and_asked_again_without_repeating_what_it_has() {
    block_on(async {
        let (backend, folder) = (Imitation::start().await, tempfile::tempdir().unwrap());
        let timeout = Duration::from_millis(100);
        let store = open(&backend, &folder, RemoteOptions { timeout, ..options() });
        store.append_one(&up("a"), at(1), 1.0).await.unwrap();
        store.flush().await;
        backend.hang();
        store.append_one(&up("a"), at(2), 2.0).await.unwrap();
        let metrics = until(&store, |metrics| metrics.retries > 1).await;
        assert!(metrics.last_error.unwrap().contains("did not answer within 100ms"));
        assert!(!metrics.reachable && metrics.rewinds == 0);
        let error = store.collect(&[], TimeRange::ALL).await.unwrap_err().to_string();
        assert!(error.contains("did not answer within 100ms"), "{error}");
        backend.answer(204);
        store.flush().await;
        assert_eq!(store.metrics().sent_samples, 2);
        let expected = vec![sample(1, 1.0), sample(2, 2.0)];
        assert_eq!(backend.collect().await, [(up("a"), expected)]);
    });
}

#[test]
fn a_closed_store_refuses_and_its_folder_is_free() {
    block_on(async {
        let (backend, folder) = (Imitation::start().await, tempfile::tempdir().unwrap());
        let store = open(&backend, &folder, options());
        let second = RemoteStore::open(&backend.url(), folder.path(), options()).unwrap_err();
        assert!(second.to_string().contains("cannot lock"), "{second}");
        store.close(Duration::ZERO).await;
        store.close(Duration::ZERO).await;
        let error = store.append_one(&up("a"), at(1), 1.0).await.unwrap_err().to_string();
        assert!(error.contains("the queue is closed"), "{error}");
        open(&backend, &folder, options());
    });
}

#[test]
fn a_commit_that_is_not_waited_for_is_stored_all_the_same() {
    block_on(async {
        let (backend, folder) = (Imitation::start().await, tempfile::tempdir().unwrap());
        let store = open(&backend, &folder, options());
        {
            let mut batch = store.appender();
            let series = batch.series(&up("a")).unwrap();
            batch.append(series, at(1), 1.0.into()).unwrap();
            drop(batch.commit());
        }
        until(&store, |metrics| metrics.sent_samples == 1).await;
    });
}

#[test]
fn silent_series_make_room_for_new_ones_and_their_handles_expire() {
    block_on(async {
        let (backend, folder) = (Imitation::start().await, tempfile::tempdir().unwrap());
        let clock = Arc::new(hms_ops_core::clock::ManualClock::at(at(1000)));
        let (keep, shared) = (Duration::ZERO, clock.clone());
        let options = RemoteOptions { series: 1, keep, clock: shared, ..options() };
        let store = open(&backend, &folder, options);
        let mut batch = store.appender();
        let old = batch.series(&up("a")).unwrap();
        batch.append(old, at(1), 1.0.into()).unwrap();
        batch.commit().await.unwrap();
        store.flush().await;
        until(&store, |_| lock(&store.recent).stats().samples == 0).await;
        store.append_one(&up("b"), at(2), 1.0).await.unwrap_err();
        clock.advance(Duration::from_secs(700));
        store.append_one(&up("b"), at(2), 1.0).await.unwrap();
        let error = store.appender().append(old, at(3), 1.0.into()).unwrap_err();
        assert!(matches!(error, StoreError::UnknownSeries { .. }), "{error}");
    });
}

#[test]
fn the_samples_of_a_series_arrive_in_order_from_disk_as_from_memory() {
    block_on(async {
        let (backend, folder) = (Imitation::start().await, tempfile::tempdir().unwrap());
        backend.answer(503);
        let small = || RemoteOptions {
            request_bytes: 1000,
            queue_bytes: 64 << 20,
            recent_samples: 10,
            ..options()
        };
        let store = open(&backend, &folder, small());
        for i in 0..300 {
            store.append_one(&up("a"), at(i), i as f64).await.unwrap();
        }
        store.close(Duration::ZERO).await;
        let store = open(&backend, &folder, small());
        backend.answer(204);
        for i in 300..600 {
            store.append_one(&up("a"), at(i), i as f64).await.unwrap();
        }
        store.flush().await;
        let expected: Vec<_> = (0..600).map(|i| sample(i, i as f64)).collect();
        assert_eq!(backend.collect().await, [(up("a"), expected)]);
        assert!(backend.in_order(), "a late sample came");
    });
}

#[test]
fn a_disk_that_is_full_fails_the_commit_and_loses_nothing_else() {
    block_on(async {
        let backend = Imitation::start().await;
        backend.answer(503);
        let disk = FaultDisk::new();
        let disk_of =
            |disk: &FaultDisk| RemoteOptions { disk: Arc::new(disk.clone()), ..options() };
        let open = |o| RemoteStore::open(&backend.url(), Path::new("/remote"), o).unwrap();
        let store = open(disk_of(&disk));
        store.append_one(&up("a"), at(1), 1.0).await.unwrap();
        store.ready().await.unwrap();
        disk.set_capacity(Some(0));
        store.append_one(&up("a"), at(2), 2.0).await.unwrap_err();
        store.ready().await.unwrap_err();
        disk.set_capacity(None);
        store.append_one(&up("a"), at(2), 2.0).await.unwrap();
        store.ready().await.unwrap();
        backend.answer(204);
        store.flush().await;
        let expected = vec![sample(1, 1.0), sample(2, 2.0)];
        assert_eq!(backend.collect().await, [(up("a"), expected)]);
    });
}
