//! What the bench says of each subject, and what was promised.

use std::time::Duration;

use hms_ops_benches::server::{PROMETHEUS, VICTORIA_METRICS};
use hms_ops_benches::table::Bound::{AtLeast, AtMost};
use hms_ops_benches::table::{Figures, Goal, Group, line};
use hms_ops_benches::tsink;
use hms_ops_benches::usage::Usage;
use hms_ops_benches::workload::Workload;

/// The least processor time that can be told apart from none.
const TICK: f64 = 0.01;

/// What it took until the last batch was acknowledged.
pub(crate) fn ingested(
    name: &str,
    workload: Workload,
    before: Usage,
    after: Usage,
    wall: Duration,
) -> Figures {
    let samples = workload.samples() as f64;
    Figures::from([
        (format!("{name}.per_cpu_s"), samples / (after.cpu - before.cpu).max(TICK)),
        (format!("{name}.per_s"), samples / wall.as_secs_f64()),
        (format!("{name}.peak_rss_mb"), after.peak_rss),
    ])
}

/// What it took from the first batch until everything was sealed, in that many bytes.
pub(crate) fn sealed(
    name: &str,
    workload: Workload,
    before: Usage,
    after: Usage,
    bytes: u64,
) -> Figures {
    let samples = workload.samples() as f64;
    Figures::from([
        (format!("{name}.sealed_per_cpu_s"), samples / (after.cpu - before.cpu).max(TICK)),
        (format!("{name}.sealed_peak_rss_mb"), after.peak_rss),
        (format!("{name}.bytes_per_sample"), bytes as f64 / samples),
    ])
}

/// What it took to be ready again, of a process that had used `before` until then.
pub(crate) fn restarted(before: f64, after: Usage, wall: Duration) -> Figures {
    Figures::from([
        ("restart.cpu_s".to_owned(), after.cpu - before),
        ("restart.wall_s".to_owned(), wall.as_secs_f64()),
        ("restart.peak_rss_mb".to_owned(), after.peak_rss),
    ])
}

const PROM: Option<&str> = Some(PROMETHEUS.name);
const VM: Option<&str> = Some(VICTORIA_METRICS.name);

pub(crate) const GROUPS: &[Group] = &[
    (
        "W1: 5,000 series, 4.8 million samples",
        &[
            line(
                "w1.per_cpu_s",
                "million samples per CPU-s, batches of 2,000",
                1e6,
                &[
                    Goal { against: PROM, bound: AtLeast(5.0), floor: Some(2.0) },
                    Goal { against: VM, bound: AtLeast(1.5), floor: None },
                    Goal { against: Some(tsink::NAME), bound: AtLeast(20.0), floor: None },
                ],
            ),
            line("scrapes.per_cpu_s", "the same, batches of one scrape", 1e6, &[]),
            line("w1.sealed_per_cpu_s", "the same, batches of 2,000, and sealed", 1e6, &[]),
            line("w1.per_s", "million samples per s, batches of 2,000", 1e6, &[]),
            line("scrapes.per_s", "the same, batches of one scrape", 1e6, &[]),
            line(
                "w1.peak_rss_mb",
                "peak RSS, MB",
                1.0,
                &[Goal { against: PROM, bound: AtMost(0.5), floor: Some(1.0) }],
            ),
            line("w1.sealed_peak_rss_mb", "the same, and sealed", 1.0, &[]),
            line(
                "w1.bytes_per_sample",
                "bytes per sample, all files, sealed",
                1.0,
                &[Goal { against: PROM, bound: AtMost(0.55), floor: Some(0.7) }],
            ),
            line("w1.reading_cpu_s", "CPU-s of reading the input, within", 1.0, &[]),
        ],
    ),
    (
        "W2: W1 with a tenth of the series replaced each hour, batches of 2,000",
        &[
            line("w2.per_cpu_s", "million samples per CPU-s", 1e6, &[]),
            line("w2.sealed_per_cpu_s", "the same, and sealed", 1e6, &[]),
            line("w2.peak_rss_mb", "peak RSS, MB", 1.0, &[]),
            line("w2.bytes_per_sample", "bytes per sample, all files, sealed", 1.0, &[]),
        ],
    ),
    (
        "Killed and started again with 20,000 series and 10 million samples in the WAL",
        &[
            line(
                "restart.cpu_s",
                "CPU-s",
                1.0,
                &[Goal { against: PROM, bound: AtMost(0.5), floor: Some(1.0) }],
            ),
            line("restart.wall_s", "seconds", 1.0, &[]),
            line("restart.peak_rss_mb", "peak RSS, MB", 1.0, &[]),
        ],
    ),
    (
        "A million series offered, a hundred thousand allowed",
        &[
            line(
                "limit.peak_rss_mb",
                "peak RSS, MB",
                1.0,
                &[Goal { against: None, bound: AtMost(300.0), floor: None }],
            ),
            line("limit.refused", "thousand series refused", 1e3, &[]),
        ],
    ),
    (
        "The newest sample of one series, W1, opened again",
        &[
            line("reads.p50_us", "median, µs", 1.0, &[]),
            line(
                "reads.p99_us",
                "p99, µs",
                1.0,
                &[Goal { against: None, bound: AtMost(100.0), floor: None }],
            ),
        ],
    ),
];
