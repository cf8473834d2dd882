//! The registry while many threads write and one reads.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use hms_ops_core::exposition::{Format, encode};
use hms_ops_core::registry::{HistogramPoint, Point, Registry};

const WRITERS: u64 = 4;
const VALUES: u64 = 20_000;

fn histogram(registry: &Registry) -> Option<HistogramPoint> {
    match &registry.snapshot().iter().find(|family| &*family.name == "latency_ms")?.series[0].1 {
        Point::Histogram(point) => Some(point.clone()),
        Point::Number(n) => panic!("a number: {n}"),
    }
}

fn counter(registry: &Registry) -> f64 {
    match registry.snapshot().iter().find(|f| &*f.name == "claims").map(|f| &f.series[0].1) {
        Some(Point::Number(n)) => *n,
        Some(Point::Histogram(h)) => panic!("a histogram: {h:?}"),
        None => 0.0,
    }
}

#[test]
fn a_reader_never_sees_a_count_go_down_while_threads_record() {
    let (registry, done) = (Registry::new(), AtomicBool::new(false));
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut last_count, mut last_claims, mut reads) = (0, 0.0, 0);
            while !done.load(Ordering::SeqCst) || reads == 0 {
                if let Some(point) = histogram(&registry) {
                    assert!(point.count() >= last_count, "{} after {last_count}", point.count());
                    // Every value is 1 or more, and the sum is written first.
                    assert!(point.sum >= point.count() as f64, "{point:?}");
                    last_count = point.count();
                }
                let claims = counter(&registry);
                assert!(claims >= last_claims, "{claims} after {last_claims}");
                last_claims = claims;
                reads += 1;
            }
        });
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let registry = &registry;
                scope.spawn(move || {
                    for i in 0..VALUES {
                        registry.metric("latency_ms").record((1 + i % 700) as f64);
                        registry.counter("claims").increment(1);
                        if i == VALUES / 2 {
                            // A late edge must not lose or repeat what was counted before it.
                            let _ = registry.metric("latency_ms").budget(317.0 + writer as f64);
                        }
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.join().unwrap();
        }
        done.store(true, Ordering::SeqCst);
        reader.join().unwrap();
    });

    let point = histogram(&registry).unwrap();
    let sum: u64 = (0..VALUES).map(|i| 1 + i % 700).sum();
    assert_eq!((point.count(), point.sum), (WRITERS * VALUES, (WRITERS * sum) as f64));
    assert_eq!(counter(&registry), (WRITERS * VALUES) as f64);
    for writer in 0..WRITERS {
        assert!(point.edges.contains(&(317.0 + writer as f64)), "{:?}", point.edges);
    }
}

#[test]
fn threads_that_come_and_go_lose_nothing() {
    let registry = Registry::new();
    for _ in 0..20 {
        thread::scope(|scope| {
            for _ in 0..40 {
                scope.spawn(|| {
                    registry.metric("latency_ms").record(2.0);
                    registry.counter("claims").increment(1);
                });
            }
        });
    }
    let point = histogram(&registry).unwrap();
    assert_eq!((point.count(), point.sum), (800, 1600.0));
    assert_eq!(counter(&registry), 800.0);
}

#[test]
fn one_series_is_made_however_many_threads_ask_for_it_first() {
    for _ in 0..50 {
        let registry = Registry::with_max_series(1);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| registry.counter("claims").label("state", "fl").increment(1));
            }
        });
        let text = encode(&registry.snapshot(), Format::Text);
        assert!(text.contains("claims{state=\"fl\"} 4\n"), "{text}");
        assert_eq!((registry.refused(), registry.conflicts()), (0, 0));
    }
}
