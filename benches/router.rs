//! A weighted pick of the in-process router.

use std::hint::black_box;

use hms_ops_benches::{Case, Report, compare};
use hms_ops_mesh::Router;

const CALLS: usize = 100_000;

fn main() {
    let router = |weights: &[u32]| {
        let clusters = weights.iter().enumerate();
        let builder = clusters.fold(Router::builder("eligibility-svc"), |builder, (n, weight)| {
            builder
                .cluster(format!("cluster-{n}"), format!("http://127.0.0.1:900{n}"))
                .weight(*weight)
        });
        builder.build().expect("there is weight")
    };
    let (two, four) = (router(&[90, 10]), router(&[40, 30, 20, 10]));

    let cases = |threads| {
        [
            Case::new("pick, two clusters", CALLS, || each(|| two.pick())),
            Case::new("pick, four clusters", CALLS, || each(|| four.pick())),
            Case::new("begin and end a request", CALLS, || each(|| two.begin())),
        ]
        .map(|case| case.threads(threads))
    };
    let (one, both) = (compare(&cases(1)), compare(&cases(2)));

    let mut report = Report::new("router", env!("CARGO_TARGET_TMPDIR"));
    report.group("one thread", &one);
    report.group("two threads on one router", &both);
    report.goal("pick with two threads, nanoseconds", 25.0, both[0].nanos());
    report.finish();
}

#[inline]
fn each<T>(f: impl Fn() -> T) {
    (0..CALLS).for_each(|_| {
        black_box(f());
    });
}
