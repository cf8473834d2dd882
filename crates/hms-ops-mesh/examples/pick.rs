//! How long a weighted pick takes, alone and counted, with one thread and with two.

use std::hint::black_box;
use std::thread;

use hms_ops_core::clock::Stopwatch;
use hms_ops_mesh::{Router, RouterError};

const PICKS: u32 = 20_000_000;

fn main() -> Result<(), RouterError> {
    let router = Router::builder("svc")
        .cluster("cluster-a", "http://127.0.0.1:9001")
        .weight(70)
        .cluster("cluster-b", "http://127.0.0.1:9002")
        .weight(30)
        .build()?;
    for threads in [1, 2] {
        measure("pick", threads, || {
            black_box(router.pick());
        });
        measure("begin and end", threads, || drop(black_box(router.begin())));
    }
    Ok(())
}

/// Prints the nanoseconds that `work` takes when each thread does it over and over.
fn measure(name: &str, threads: u32, work: impl Fn() + Sync) {
    let watch = Stopwatch::start();
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| (0..PICKS).for_each(|_| work()));
        }
    });
    let nanos = watch.elapsed().as_secs_f64() * 1e9 / f64::from(PICKS);
    println!("{name}, {threads} threads: {nanos:.1} ns");
}
