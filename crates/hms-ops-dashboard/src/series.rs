//! A service's p50, p95, rate and errors over time, computed from its series in a store.
//!
//! Each point looks back over a window: what the counters of the service's histogram grew by in
//! it, summed over all clusters and instances. A counter that falls has restarted and counts from
//! zero; a staleness marker ends a series, and a gap longer than the window does too. The first
//! sample of a series says nothing, as it may count from long ago.

mod quantile;

use std::time::Duration;

use hms_ops_core::labels::{Labels, NAME, SERVICE};
use hms_ops_core::matcher::Matcher;
use hms_ops_core::name::Service;
use hms_ops_core::sample::Sample;
use hms_ops_core::signal::Signal;
use hms_ops_core::store::{SelectHint, Store, StoreError, StoreExt};
use hms_ops_core::time::{TimeRange, Timestamp};
use serde::{Serialize, Serializer};

pub use quantile::quantile;

/// The shortest window that a point looks back over.
pub const SHORTEST_WINDOW: Duration = Duration::from_secs(5);
/// The longest: with rarer samples than half of this there are no points.
pub const LONGEST_WINDOW: Duration = Duration::from_secs(300);

/// How far back the series of a service are looked for.
const LOOK_BACK: Duration = Duration::from_secs(900);
/// Any of these on a series means that errors could be told from the rest.
const STATUS_LABELS: [&str; 3] = ["status", "code", "http_response_status_code"];

/// What the points of one service are made of, and over which window.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use hms_ops_core::{labels::Labels, store::{MemoryStore, StoreExt}, time::Timestamp};
/// use hms_ops_dashboard::series::{Grid, Source};
///
/// let store = MemoryStore::new();
/// let count = Labels::metric("check_latency_ms_count").with("service", "eligibility-svc");
/// for second in 0..10 {
///     let at = Timestamp::from_millis(second * 1000);
///     store.append_one(&count, at, (second * 20) as f64).await?;
/// }
/// let (service, now) = ("eligibility-svc".into(), Timestamp::from_millis(9000));
/// let source = Source::find(&store, &service, &[], now).await?.unwrap();
/// let points = source.points(&store, &service, Grid::seconds(now, now)).await?;
/// assert_eq!(points[0].rate, Some(20.0));
/// # Ok::<(), hms_ops_core::store::StoreError>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The histogram, and why it was chosen.
    pub signal: Signal,
    /// How far back each point looks: at least [`SHORTEST_WINDOW`], and at least two and a half
    /// times the usual distance of the rarest series' samples, so that it always holds two.
    pub window: Duration,
}

/// One point in time of a service. A number that cannot be told is `None`.
///
/// Serializes as `[t, p50, p95, rate, error_ratio]`, numbers to five significant digits.
///
/// ```
/// use hms_ops_core::time::Timestamp;
/// use hms_ops_dashboard::series::Point;
///
/// let at = Timestamp::from_millis(1000);
/// let point = Point { at, p50: Some(41.0), p95: Some(97.25), rate: Some(20.0), error_ratio: None };
/// assert_eq!(serde_json::to_string(&point)?, "[1000,41.0,97.25,20.0,null]");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// The end of the window.
    pub at: Timestamp,
    /// Half of the events were at or below it, in the signal's unit. `None` without events.
    pub p50: Option<f64>,
    /// As `p50`, for 95 of 100 events.
    pub p95: Option<f64>,
    /// Events per second; zero when the service reports and nothing happened, `None` when it does
    /// not report.
    pub rate: Option<f64>,
    /// Failed events over all, `0..=1`. `None` without events, and when no series of the signal
    /// has a label that could tell a failure.
    pub error_ratio: Option<f64>,
}

/// Points in time at equal distances, both ends included.
///
/// ```
/// use hms_ops_core::time::Timestamp;
/// use hms_ops_dashboard::series::Grid;
///
/// let (first, last) = (Timestamp::from_millis(1000), Timestamp::from_millis(3000));
/// assert_eq!(Grid::seconds(first, last).empty_points().len(), 3);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    first: Timestamp,
    last: Timestamp,
    step: Duration,
}

impl Grid {
    /// Every second from `first` to `last`; empty when `last` is before `first`.
    pub const fn seconds(first: Timestamp, last: Timestamp) -> Self {
        Self { first, last, step: Duration::from_secs(1) }
    }

    /// Points that tell nothing.
    pub fn empty_points(self) -> Vec<Point> {
        let point = |at| Point { at, p50: None, p95: None, rate: None, error_ratio: None };
        self.times().map(point).collect()
    }

    fn times(self) -> impl Iterator<Item = Timestamp> {
        std::iter::successors(Some(self.first), move |at| Some(*at + self.step))
            .take_while(move |at| *at <= self.last)
    }
}

impl Source {
    /// Chooses what speaks for `service` at `at`; `None` when nothing of it does. `budgets` are the
    /// names of metrics that have one.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the store cannot be read.
    pub async fn find(
        store: &dyn Store,
        service: &Service,
        budgets: &[&str],
        at: Timestamp,
    ) -> Result<Option<Self>, StoreError> {
        let counts = Matcher::regex(NAME, ".+_count").expect("the pattern is a constant");
        let range = TimeRange::last(LOOK_BACK, at);
        let series = store.series(&[counts, of_service(service)], range).await?;
        let Some(signal) = Signal::choose(&series, budgets) else { return Ok(None) };

        let matchers = [Matcher::metric(&format!("{}_count", signal.source)), of_service(service)];
        let recent = store.collect(&matchers, TimeRange::last(LONGEST_WINDOW, at)).await?;
        let rarest = recent.iter().filter_map(|(_, samples)| usual_distance(samples)).max();
        let window = rarest.map_or(SHORTEST_WINDOW, |distance| distance * 5 / 2);
        Ok(Some(Self { signal, window: window.clamp(SHORTEST_WINDOW, LONGEST_WINDOW) }))
    }

    /// The points of `service` on `grid`. Reads the grid's range and two windows before it.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the store cannot be read.
    pub async fn points(
        &self,
        store: &dyn Store,
        service: &Service,
        grid: Grid,
    ) -> Result<Vec<Point>, StoreError> {
        let times: Vec<_> = grid.times().collect();
        let mut sums = Sums::new(times, self.window);
        // One window for the first point, and one for the sample that its first growth is from.
        let range = TimeRange::new(grid.first - self.window * 2, grid.last);
        for (suffix, add) in [
            ("_count", Sums::add_count as fn(&mut Sums, &Labels, &[Sample])),
            ("_bucket", Sums::add_bucket),
        ] {
            let name = Matcher::metric(&format!("{}{suffix}", self.signal.source));
            let matchers = [name, of_service(service)];
            let mut set = store.select(&matchers, range, &SelectHint::default()).await?;
            let mut samples = Vec::new();
            while set.advance()? {
                samples.clear();
                set.read(&mut samples)?;
                add(&mut sums, set.labels(), &samples);
            }
        }
        Ok(sums.points())
    }
}

fn of_service(service: &Service) -> Matcher {
    Matcher::equal(SERVICE, service.as_str())
}

/// The median distance of neighbouring samples; one distance alone may be a gap.
fn usual_distance(samples: &[Sample]) -> Option<Duration> {
    let mut distances: Vec<_> =
        samples.windows(2).map(|pair| pair[1].at.since(pair[0].at)).collect();
    distances.sort();
    distances.get(distances.len() / 2).filter(|_| distances.len() > 1).copied()
}

/// What a counter grew by between two samples.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Growth {
    /// The later of the two.
    at: Timestamp,
    /// Time between them.
    over: Duration,
    by: f64,
}

/// What a series grew by, from sample to sample.
fn growths(samples: &[Sample], longest: Duration) -> Vec<Growth> {
    let numbers = |pair: &[Sample]| {
        let (before, after) = (pair[0].value.as_float()?, pair[1].value.as_float()?);
        // The staleness marker is a NaN as well.
        (before.is_finite() && after.is_finite()).then_some((before, after))
    };
    samples
        .windows(2)
        .filter_map(|pair| {
            let (before, after) = numbers(pair)?;
            let over = pair[1].at.since(pair[0].at);
            let by = if after < before { after } else { after - before };
            (over <= longest).then_some(Growth { at: pair[1].at, over, by })
        })
        .collect()
}

/// Sums over the series of one signal, for each point in time.
struct Sums {
    times: Vec<Timestamp>,
    window: Duration,
    counts: Vec<Count>,
    /// Upper edge, and the growth of its series for each point in time; ascending.
    buckets: Vec<(f64, Vec<f64>)>,
    tells_errors: bool,
}

#[derive(Clone, Copy, Default)]
struct Count {
    reports: bool,
    events: f64,
    errors: f64,
    rate: f64,
}

impl Sums {
    fn new(times: Vec<Timestamp>, window: Duration) -> Self {
        let counts = vec![Count::default(); times.len()];
        Self { times, window, counts, buckets: Vec::new(), tells_errors: false }
    }

    fn add_count(&mut self, labels: &Labels, samples: &[Sample]) {
        let growths = growths(samples, self.window);
        let is_error = Signal::is_error(labels);
        self.tells_errors |= STATUS_LABELS.iter().any(|name| labels.get(name).is_some());
        for (point, within) in windows(&self.times, self.window, &growths) {
            let [.., newest] = within else { continue };
            let by: f64 = within.iter().map(|growth| growth.by).sum();
            let covered: Duration = within.iter().map(|growth| growth.over).sum();
            // A series that has fallen silent counts as quiet for the rest of the window; else it
            // would run on at its last speed beside the one that took over from it.
            let silent = self.times[point].since(newest.at) * within.len() as u32 > covered * 2;
            let span = if silent { self.window } else { covered };
            let count = &mut self.counts[point];
            count.reports = true;
            count.events += by;
            count.errors += if is_error { by } else { 0.0 };
            count.rate += by / span.as_secs_f64().max(0.001);
        }
    }

    fn add_bucket(&mut self, labels: &Labels, samples: &[Sample]) {
        let edge = labels.get("le").and_then(|le| le.parse::<f64>().ok());
        let Some(edge) = edge.filter(|edge| !edge.is_nan()) else { return };
        let at = match self.buckets.binary_search_by(|(known, _)| known.total_cmp(&edge)) {
            Ok(at) => at,
            Err(at) => {
                self.buckets.insert(at, (edge, vec![0.0; self.times.len()]));
                at
            }
        };
        let growths = growths(samples, self.window);
        for (point, within) in windows(&self.times, self.window, &growths) {
            self.buckets[at].1[point] += within.iter().map(|growth| growth.by).sum::<f64>();
        }
    }

    fn points(&self) -> Vec<Point> {
        let mut buckets = Vec::with_capacity(self.buckets.len());
        self.times
            .iter()
            .zip(&self.counts)
            .enumerate()
            .map(|(point, (at, count))| {
                buckets.clear();
                buckets.extend(self.buckets.iter().map(|(edge, grown)| (*edge, grown[point])));
                let ratio = (self.tells_errors && count.events > 0.0)
                    .then(|| (count.errors / count.events).clamp(0.0, 1.0));
                Point {
                    at: *at,
                    p50: quantile(0.5, &buckets),
                    p95: quantile(0.95, &buckets),
                    rate: count.reports.then_some(count.rate),
                    error_ratio: ratio,
                }
            })
            .collect()
    }
}

/// For each point in time, its place and the growths in the window that ends there.
fn windows<'a>(
    times: &'a [Timestamp],
    window: Duration,
    growths: &'a [Growth],
) -> impl Iterator<Item = (usize, &'a [Growth])> {
    let (mut start, mut end) = (0, 0);
    times.iter().enumerate().map(move |(point, at)| {
        let opens = *at - window;
        while growths.get(end).is_some_and(|growth| growth.at <= *at) {
            end += 1;
        }
        while start < end && growths[start].at <= opens {
            start += 1;
        }
        (point, &growths[start..end])
    })
}

impl Serialize for Point {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { at, p50, p95, rate, error_ratio } = *self;
        let [p50, p95, rate, error_ratio] = [p50, p95, rate, error_ratio].map(short);
        (at.as_millis(), p50, p95, rate, error_ratio).serialize(serializer)
    }
}

/// Five significant digits are more than a chart shows, and a third of the bytes.
fn short(number: Option<f64>) -> Option<f64> {
    format!("{:.4e}", number?).parse().ok()
}

#[cfg(test)]
mod tests {
    use hms_ops_core::sample::Value;
    use hms_ops_core::signal::SignalKind;
    use hms_ops_core::store::MemoryStore;
    use proptest::prelude::*;

    use super::*;

    const SERVICE: &str = "eligibility-svc";

    #[tokio::test]
    async fn the_rate_is_summed_over_clusters() {
        let store = MemoryStore::new();
        write(&store, &count(&[("cluster", "a")]), 0..=9, |s| s * 20.0).await;
        write(&store, &count(&[("cluster", "b")]), 0..=9, |s| s * 5.0).await;
        write(&store, &count(&[("service", "other")]), 0..=9, |s| s * 1000.0).await;
        assert_eq!(rates(&store, 5, 9).await, [Some(25.0); 5]);
    }

    #[tokio::test]
    async fn a_service_that_reports_and_does_nothing_has_a_rate_of_zero_and_one_that_does_not_none()
    {
        let store = MemoryStore::new();
        write(&store, &count(&[]), 0..=3, |_| 7.0).await;
        let points = points(&store, 3, 9).await;
        let rates: Vec<_> = points.iter().map(|point| point.rate).collect();
        let zero = Some(0.0);
        assert_eq!(rates, [zero, zero, zero, zero, zero, None, None]);
        assert_eq!(points[0], Point { p50: None, p95: None, error_ratio: None, ..points[0] });
    }

    #[tokio::test]
    async fn the_first_sample_of_a_series_says_nothing() {
        let store = MemoryStore::new();
        write(&store, &count(&[]), 0..=1, |s| 1000.0 + s * 3.0).await;
        assert_eq!(rates(&store, 0, 1).await, [None, Some(3.0)]);
    }

    #[tokio::test]
    async fn a_counter_that_falls_has_restarted_from_zero() {
        let store = MemoryStore::new();
        let values = [100.0, 110.0, 4.0, 14.0];
        write(&store, &count(&[]), 0..=3, |s| values[s as usize]).await;
        assert_eq!(rates(&store, 3, 3).await, [Some((10.0 + 4.0 + 10.0) / 3.0)]);
    }

    #[tokio::test]
    async fn a_staleness_marker_ends_a_series() {
        let store = MemoryStore::new();
        write(&store, &count(&[]), 0..=0, |_| 5.0).await;
        store.append_one(&count(&[]), at(1), Value::STALE).await.unwrap();
        write(&store, &count(&[]), 2..=3, |s| 1000.0 + s).await;
        assert_eq!(rates(&store, 1, 3).await, [None, None, Some(1.0)]);
    }

    #[tokio::test]
    async fn a_gap_longer_than_the_window_ends_a_series() {
        let store = MemoryStore::new();
        write(&store, &count(&[]), 0..=3, |s| s * 10.0).await;
        write(&store, &count(&[]), 20..=21, |s| 1000.0 + s * 10.0).await;
        assert_eq!(rates(&store, 19, 21).await, [None, None, Some(10.0)]);
    }

    #[tokio::test]
    async fn a_cluster_that_falls_silent_fades_while_another_takes_over() {
        let store = MemoryStore::new();
        write(&store, &count(&[("cluster", "a")]), 0..=10, |s| s * 100.0).await;
        let taken_over = |s: f64| (s - 10.0).max(0.0) * 100.0;
        write(&store, &count(&[("cluster", "b")]), 0..=20, taken_over).await;
        for rate in rates(&store, 10, 20).await {
            let rate = rate.unwrap();
            assert!((99.0..=141.0).contains(&rate), "{rate}");
        }
        assert_eq!(rates(&store, 13, 20).await, [Some(100.0); 8]);
    }

    #[tokio::test]
    async fn samples_each_fifteen_seconds_are_looked_at_over_a_longer_window() {
        let store = MemoryStore::new();
        for quarter in 0..20 {
            let sampled = at(quarter * 15);
            store.append_one(&count(&[]), sampled, quarter as f64 * 30.0).await.unwrap();
        }
        let source = Source::find(&store, &SERVICE.into(), &[], at(290)).await.unwrap().unwrap();
        assert_eq!(source.window, Duration::from_millis(37_500));
        assert_eq!(rates(&store, 250, 299).await, [Some(2.0); 50]);
    }

    #[tokio::test]
    async fn quantiles_are_of_the_events_in_the_window_alone() {
        let store = MemoryStore::new();
        // 10 events a second: first all in (0, 100], from second 10 on half of them in (100, 300].
        let late = |s: f64| (s - 10.0).max(0.0);
        write(&store, &count(&[]), 0..=20, |s| s * 10.0).await;
        write(&store, &bucket("100"), 0..=20, |s| s * 10.0 - late(s) * 5.0).await;
        write(&store, &bucket("300"), 0..=20, |s| s * 10.0).await;
        write(&store, &bucket("+Inf"), 0..=20, |s| s * 10.0).await;

        let points = points(&store, 10, 15).await;
        assert_eq!((points[0].p50, points[0].p95), (Some(50.0), Some(95.0)));
        // 50 events: 25 in each bucket, rank 47.5 is 22.5 of 25 into the second.
        assert_eq!((points[5].p50, points[5].p95), (Some(100.0), Some(280.0)));
    }

    #[tokio::test]
    async fn the_error_ratio_is_none_unless_a_label_could_tell() {
        let store = MemoryStore::new();
        write(&store, &count(&[]), 0..=5, |s| s * 2.0).await;
        assert_eq!(points(&store, 5, 5).await[0].error_ratio, None);

        write(&store, &count(&[("code", "200")]), 0..=5, |s| s).await;
        assert_eq!(points(&store, 5, 5).await[0].error_ratio, Some(0.0));

        write(&store, &count(&[("code", "503")]), 0..=5, |s| s).await;
        assert_eq!(points(&store, 5, 5).await[0].error_ratio, Some(0.25));
    }

    #[tokio::test]
    async fn the_signal_is_the_metric_with_a_budget() {
        let store = MemoryStore::new();
        let other = Labels::metric("http_server_request_duration_seconds_count");
        write(&store, &other.with("service", SERVICE), 0..=1, |s| s).await;
        write(&store, &count(&[]), 0..=1, |s| s).await;
        let find = async |budgets: &[&str]| {
            Source::find(&store, &SERVICE.into(), budgets, at(1)).await.unwrap().unwrap().signal
        };
        assert_eq!(find(&[]).await.kind, SignalKind::OpenTelemetry);
        assert_eq!(find(&["eligibility.latency_ms"]).await.source, "eligibility_latency_ms");
        let nobody = Source::find(&store, &"nobody".into(), &[], at(1)).await.unwrap();
        assert_eq!(nobody, None);
    }

    #[test]
    fn a_point_is_an_array_with_null_for_what_cannot_be_told() {
        let [point] = Grid::seconds(at(1), at(1)).empty_points()[..] else { panic!("one point") };
        let point = Point { p50: Some(1.0 / 3.0), p95: Some(123_456.7), rate: Some(0.0), ..point };
        let json = serde_json::to_string(&point).unwrap();
        assert_eq!(json, "[1000,0.33333,123460.0,0.0,null]");
    }

    proptest! {
        #[test]
        fn a_point_is_the_same_alone_and_among_others(
            steps in prop::collection::vec((1_i64..8, -3_i32..40), 1..40),
            fast in prop::collection::vec(0_u8..=9, 40),
        ) {
            let store = MemoryStore::new();
            tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
                let (mut second, mut all) = (0, 0.0);
                for ((distance, by), fast) in steps.iter().zip(&fast) {
                    second += distance;
                    all = f64::max(0.0, all + f64::from(*by));
                    let within = all * f64::from(*fast) / 9.0;
                    for (labels, value) in
                        [(count(&[]), all), (bucket("10"), within), (bucket("+Inf"), all)]
                    {
                        store.append_one(&labels, at(second), value).await.unwrap();
                    }
                }
                let source = Source::find(&store, &SERVICE.into(), &[], at(second)).await.unwrap();
                let source = source.unwrap();
                let compute = async |first, last| {
                    let grid = Grid::seconds(at(first), at(last));
                    source.points(&store, &SERVICE.into(), grid).await.unwrap()
                };
                for point in compute(0, second).await {
                    let second = point.at.as_millis() / 1000;
                    assert_eq!(compute(second, second).await, [point]);
                    assert!(point.p50.unwrap_or(0.0) <= point.p95.unwrap_or(0.0));
                    assert!(point.p95.unwrap_or(0.0) <= 10.0);
                }
            });
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_millis(second * 1000)
    }

    fn count(more: &[(&str, &str)]) -> Labels {
        let labels = Labels::metric("eligibility_latency_ms_count").with("service", SERVICE);
        more.iter().fold(labels, |labels, (name, value)| labels.with(name, value))
    }

    fn bucket(le: &str) -> Labels {
        let labels = Labels::metric("eligibility_latency_ms_bucket").with("service", SERVICE);
        labels.with("le", le)
    }

    async fn write(
        store: &MemoryStore,
        labels: &Labels,
        seconds: std::ops::RangeInclusive<i64>,
        value: impl Fn(f64) -> f64,
    ) {
        for second in seconds {
            store.append_one(labels, at(second), value(second as f64)).await.unwrap();
        }
    }

    async fn points(store: &MemoryStore, first: i64, last: i64) -> Vec<Point> {
        let source = Source::find(store, &SERVICE.into(), &[], at(last)).await.unwrap().unwrap();
        let grid = Grid::seconds(at(first), at(last));
        source.points(store, &SERVICE.into(), grid).await.unwrap()
    }

    async fn rates(store: &MemoryStore, first: i64, last: i64) -> Vec<Option<f64>> {
        points(store, first, last).await.iter().map(|point| point.rate).collect()
    }
}
