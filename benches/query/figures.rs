//! What the bench says of each subject, and what was promised.

use hms_ops_benches::server::{PROMETHEUS, VICTORIA_METRICS};
use hms_ops_benches::table::Bound::{AtLeast, AtMost};
use hms_ops_benches::table::{Figures, Goal, Group, Line, line};
use hms_ops_benches::tsink;

use crate::queries::RANGES;

/// The least processor time that can be told apart from none.
pub(crate) const TICK: f64 = 0.01;

const PROM: Option<&str> = Some(PROMETHEUS.name);
const VM: Option<&str> = Some(VICTORIA_METRICS.name);

const NO_MORE_THAN_PROMETHEUS: Goal = Goal { against: PROM, bound: AtMost(1.0), floor: None };
const NO_MORE_THAN_EITHER: &[Goal] =
    &[NO_MORE_THAN_PROMETHEUS, Goal { against: VM, bound: AtMost(1.0), floor: None }];
const A_TENTH_OF_TSINK: &[Goal] =
    &[Goal { against: Some(tsink::NAME), bound: AtMost(0.1), floor: None }];
const A_TENTH_OF_A_MS: &[Goal] = &[Goal { against: None, bound: AtMost(100.0), floor: None }];
const A_MS: &[Goal] = &[Goal { against: None, bound: AtMost(1000.0), floor: None }];

pub(crate) const GROUPS: &[Group] = &[
    (
        "Remote write 1.0 of W1, requests of 2,000 series, two connections",
        &[
            line(
                "write.per_cpu_s",
                "million samples per CPU-s",
                1e6,
                &[
                    Goal { against: PROM, bound: AtLeast(2.0), floor: None },
                    Goal { against: VM, bound: AtLeast(1.0), floor: None },
                ],
            ),
            line("write.per_s", "million samples per s", 1e6, &[]),
        ],
    ),
    (
        "Range queries over HTTP, CPU ms each, of the last hour of W1",
        &[
            shown("http.q1_ms", "q1 rate of 1,500 series", &[NO_MORE_THAN_PROMETHEUS]),
            shown("http.q2_ms", "q2 avg_over_time of 1,000", &[NO_MORE_THAN_PROMETHEUS]),
            shown("http.q3_ms", "q3 histogram_quantile by service", NO_MORE_THAN_EITHER),
            shown("http.q4_ms", "q4 sum by of a rate, by regex", NO_MORE_THAN_EITHER),
            shown("http.q5_ms", "q5 1,000 series as they are", &[NO_MORE_THAN_PROMETHEUS]),
            shown("http.q6_ms", "q6 a subquery", NO_MORE_THAN_EITHER),
            shown("http.q7_ms", "q7 a ratio of two sums", NO_MORE_THAN_EITHER),
            shown("http.q8_ms", "q8 topk", &[NO_MORE_THAN_PROMETHEUS]),
            shown(
                "http.mean_ms",
                "geometric mean",
                &[Goal { against: PROM, bound: AtMost(0.5), floor: None }],
            ),
            shown("http.peak_rss_mb", "peak RSS of all of it, MB", &[]),
        ],
    ),
    (
        "The same in process",
        &[
            shown("embedded.q1_ms", "q1", A_TENTH_OF_TSINK),
            shown("embedded.q2_ms", "q2", A_TENTH_OF_TSINK),
            shown("embedded.q3_ms", "q3", A_TENTH_OF_TSINK),
            shown("embedded.q4_ms", "q4", A_TENTH_OF_TSINK),
            shown("embedded.q5_ms", "q5", A_TENTH_OF_TSINK),
            shown("embedded.q6_ms", "q6", A_TENTH_OF_TSINK),
            shown("embedded.q7_ms", "q7", A_TENTH_OF_TSINK),
            shown("embedded.q8_ms", "q8", A_TENTH_OF_TSINK),
        ],
    ),
    (
        "Instant queries in process, µs from question to answer",
        &[
            shown("instant.i1_p50_us", "i1 one series, median", &[]),
            shown("instant.i1_p99_us", "the same, p99", A_TENTH_OF_A_MS),
            shown("instant.i2_p50_us", "i2 the rate of one, median", &[]),
            shown("instant.i2_p99_us", "the same, p99", A_TENTH_OF_A_MS),
            shown("instant.i3_p50_us", "i3 quantile of an SLO, 240 series, median", &[]),
            shown("instant.i3_p99_us", "the same, p99", A_MS),
            shown("instant.i4_p50_us", "i4 sum of 1,000, median", &[]),
            shown("instant.i4_p99_us", "the same, p99", &[]),
        ],
    ),
];

const fn shown(figure: &'static str, title: &'static str, goals: &'static [Goal]) -> Line {
    line(figure, title, 1.0, goals)
}

/// The geometric mean of the range queries of `kind`, if all were measured.
pub(crate) fn mean(figures: &Figures, kind: &str) -> Option<f64> {
    let logs = RANGES.iter().map(|query| Some(figures.get(&of(kind, query.name))?.ln()));
    let sum: f64 = logs.sum::<Option<f64>>()?;
    Some((sum / RANGES.len() as f64).exp())
}

/// What the figure of a query is called.
pub(crate) fn of(kind: &str, query: &str) -> String {
    format!("{kind}.{query}_ms")
}

/// The median and the 99th percentile of what each of many calls has taken.
pub(crate) fn quantiles(name: &str, mut taken: Vec<f64>) -> Figures {
    taken.sort_by(f64::total_cmp);
    let quantile = |of_a_hundred: usize| taken[taken.len() * of_a_hundred / 100];
    let figures = [(50, quantile(50)), (99, quantile(99))];
    figures.into_iter().map(|(p, us)| (format!("instant.{name}_p{p}_us"), us)).collect()
}
