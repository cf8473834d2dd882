//! Functions of windows: several samples of one series become one value.
//!
//! Source: <https://prometheus.io/docs/prometheus/latest/querying/functions/>, as of Prometheus 3.14.

use std::ops::Range;
use std::sync::Arc;

use hms_ops_core::labels::Labels;
use hms_ops_core::query::QueryError;
use hms_ops_core::sample::Histogram;

use super::number;
use crate::ast::{Edges, Span};
use crate::eval::Evaluation;
use crate::eval::aggregate::Histograms;
use crate::eval::column::Point;
use crate::function::Function;
use crate::histogram;
use crate::notice::Notice;

/// The samples of one series in one window, at least one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window<'a> {
    pub(crate) labels: &'a Labels,
    /// When the floats were taken, in ms.
    pub(crate) times: &'a [i64],
    pub(crate) values: &'a [f64],
    /// When the histograms were taken, in ms.
    pub(crate) histogram_times: &'a [i64],
    pub(crate) histograms: &'a [Arc<Histogram>],
    /// Whether no float of the whole series is less than the one before.
    pub(crate) never_falls: bool,
    /// The window is from after this, in ms,
    pub(crate) start: i64,
    /// up to this.
    pub(crate) end: i64,
    /// The instant of evaluation, in ms.
    pub(crate) at: i64,
    /// Which step that is.
    pub(crate) step: usize,
    /// What stands for the window's edges; the samples go beyond them then.
    pub(crate) edges: Option<Edges>,
}

/// A function at its place, which says what it notices.
pub(super) struct Call<'e> {
    pub(super) function: Function,
    /// Its scalar arguments, for each step.
    pub(super) scalars: Vec<Vec<f64>>,
    /// Where its first argument stands, of which notices are, whatever they are about.
    pub(super) span: Span,
    pub(super) evaluation: &'e Evaluation<'e>,
}

impl Window<'_> {
    fn name(&self) -> &str {
        self.labels.name().unwrap_or_default()
    }

    fn len(&self) -> usize {
        self.values.len() + self.histograms.len()
    }

    /// The length of the window in seconds.
    fn seconds(&self) -> f64 {
        (self.end - self.start) as f64 / 1000.0
    }

    /// Floats and histograms, in the order of their time.
    fn in_order(&self) -> impl Iterator<Item = (i64, Taken<'_>)> {
        let (mut floats, mut histograms) = (0, 0);
        std::iter::from_fn(move || {
            let float = self.times.get(floats);
            let histogram = self.histogram_times.get(histograms);
            if float.is_some_and(|t| histogram.is_none_or(|other| t < other)) {
                floats += 1;
                Some((self.times[floats - 1], Taken::Float(self.values[floats - 1])))
            } else {
                let taken = self.histograms.get(histograms)?;
                histograms += 1;
                Some((self.histogram_times[histograms - 1], Taken::Histogram(taken)))
            }
        })
    }
}

/// A sample's value.
#[derive(Clone, Copy)]
enum Taken<'a> {
    Float(f64),
    Histogram(&'a Arc<Histogram>),
}

impl Taken<'_> {
    fn to_point(self) -> Point {
        match self {
            Self::Float(value) => Point::Float(value),
            Self::Histogram(histogram) => Point::Histogram(histogram.clone()),
        }
    }
}

impl Call<'_> {
    /// The value of one window, if it has one.
    pub(super) fn of(&self, w: &Window<'_>) -> Result<Option<Point>, QueryError> {
        use Function::{
            AbsentOverTime, AvgOverTime, Changes, CountOverTime, Delta, Deriv,
            DoubleExponentialSmoothing, FirstOverTime, Idelta, Increase, Irate, LastOverTime,
            MadOverTime, MaxOverTime, MinOverTime, PredictLinear, PresentOverTime,
            QuantileOverTime, Rate, Resets, StddevOverTime, StdvarOverTime, SumOverTime,
            TsOfFirstOverTime, TsOfLastOverTime, TsOfMaxOverTime, TsOfMinOverTime,
        };
        let float = |value: f64| Some(Point::Float(value));
        if self.function == DoubleExponentialSmoothing {
            check_smoothing(self.scalars[0][w.step], self.scalars[1][w.step])?;
        }
        Ok(match self.function {
            Rate => self.rate(w, true, true),
            Increase => self.rate(w, true, false),
            Delta => self.rate(w, false, false),
            Irate => self.instant_rate(w, true),
            Idelta => self.instant_rate(w, false),
            Changes => self.count_steps(w, |before, now| match (before, now) {
                (Taken::Float(a), Taken::Float(b)) => a != b && !(a.is_nan() && b.is_nan()),
                (Taken::Histogram(a), Taken::Histogram(b)) => !histogram::equal(a, b),
                _ => true,
            }),
            Resets => self.count_steps(w, |before, now| match (before, now) {
                (Taken::Float(a), Taken::Float(b)) => b < a,
                (Taken::Histogram(a), Taken::Histogram(b)) => histogram::is_reset(b, a),
                _ => true,
            }),
            CountOverTime => float(w.len() as f64),
            PresentOverTime | AbsentOverTime => float(1.0),
            FirstOverTime => w.in_order().next().map(|(_, taken)| taken.to_point()),
            LastOverTime => match (w.times.last(), w.histogram_times.last()) {
                (float, Some(histogram)) if float.is_none_or(|t| t <= histogram) => {
                    w.histograms.last().cloned().map(Point::Histogram)
                }
                _ => w.values.last().copied().map(Point::Float),
            },
            TsOfFirstOverTime => {
                let first = w.times.first().into_iter().chain(w.histogram_times.first()).min();
                first.map(|t| Point::Float(*t as f64 / 1000.0))
            }
            TsOfLastOverTime => {
                let last = w.times.last().into_iter().chain(w.histogram_times.last()).max();
                last.map(|t| Point::Float(*t as f64 / 1000.0))
            }
            SumOverTime | AvgOverTime => self.sum(w),
            // Of the others, floats alone count.
            _ if w.values.is_empty() => None,
            Deriv | PredictLinear | DoubleExponentialSmoothing if w.values.len() < 2 => {
                self.histograms_ignored(w);
                None
            }
            function => {
                self.histograms_ignored(w);
                float(match function {
                    MaxOverTime => extreme(w.values, |value, best| value > best).1,
                    MinOverTime => extreme(w.values, |value, best| value < best).1,
                    TsOfMaxOverTime => {
                        w.times[extreme(w.values, |value, best| value >= best).0] as f64 / 1000.0
                    }
                    TsOfMinOverTime => {
                        w.times[extreme(w.values, |value, best| value <= best).0] as f64 / 1000.0
                    }
                    StdvarOverTime => variance(w.values),
                    StddevOverTime => variance(w.values).sqrt(),
                    QuantileOverTime => {
                        let q = self.scalars[0][w.step];
                        if !(0.0..=1.0).contains(&q) {
                            self.notice(&Notice::BadQuantile(q));
                        }
                        number::quantile(q, &mut w.values.to_vec())
                    }
                    MadOverTime => {
                        let mut values = w.values.to_vec();
                        let median = number::quantile(0.5, &mut values);
                        values.iter_mut().for_each(|value| *value = (*value - median).abs());
                        number::quantile(0.5, &mut values)
                    }
                    Deriv => regression(w.times, w.values, w.times[0]).0,
                    PredictLinear => {
                        let (slope, at_once) = regression(w.times, w.values, w.at);
                        slope * self.scalars[0][w.step] + at_once
                    }
                    DoubleExponentialSmoothing => {
                        let (factor, trend) = (self.scalars[0][w.step], self.scalars[1][w.step]);
                        smooth(w.values, factor, trend)
                    }
                    _ => unreachable!("the parser has checked the types"),
                })
            }
        })
    }

    fn notice(&self, notice: &Notice<'_>) {
        self.evaluation.notice(notice, self.span);
    }

    fn histograms_ignored(&self, w: &Window<'_>) {
        if !w.histograms.is_empty() {
            self.notice(&Notice::HistogramsIgnoredInRange { metric: w.name() });
        }
    }

    /// Whether floats and histograms are together, where they must not be.
    fn is_mixed(&self, w: &Window<'_>) -> bool {
        let mixed = !w.values.is_empty() && !w.histograms.is_empty();
        if mixed {
            self.notice(&Notice::MixedFloatsHistograms { metric: w.name() });
        }
        mixed
    }

    /// How much it grew over the window, extrapolated to its edges; by the second if `is_rate`.
    fn rate(&self, w: &Window<'_>, is_counter: bool, is_rate: bool) -> Option<Point> {
        if self.is_mixed(w) {
            return None;
        }
        match w.edges {
            Some(edges) if w.histograms.is_empty() => {
                return extended_rate(w, edges, is_counter, is_rate).map(Point::Float);
            }
            Some(edges) => return self.histogram_rate_at_edges(w, edges, is_counter, is_rate),
            None if w.len() < 2 => return None,
            None => {}
        }
        if let [first, .., last] = w.values {
            let mut growth = last - first;
            if is_counter && !w.never_falls {
                // What was there before a reset counts, too.
                let falls = w.values.windows(2).filter(|pair| pair[1] < pair[0]);
                growth = falls.fold(growth, |growth, pair| growth + pair[0]);
            }
            let zero = (growth > 0.0 && *first >= 0.0).then(|| first / growth);
            return Some(Point::Float(
                growth * extrapolation(w, w.times, zero.filter(|_| is_counter), is_rate),
            ));
        }
        let growth = self.histogram_growth(w, is_counter)?;
        let first = w.histograms[0].count;
        let zero = (growth.count > 0.0 && first >= 0.0).then(|| first / growth.count);
        let zero = zero.filter(|_| is_counter);
        let factor = extrapolation(w, w.histogram_times, zero, is_rate);
        Some(histogram::scale(&growth, factor).into())
    }

    fn histogram_growth(&self, w: &Window<'_>, is_counter: bool) -> Option<Histogram> {
        let growth = histogram::rate_of(w.histograms, is_counter);
        self.grown(w, growth.transpose()?)
    }

    /// How much it grew from edge to edge of the window; by the second if `is_rate`.
    fn histogram_rate_at_edges(
        &self,
        w: &Window<'_>,
        edges: Edges,
        is_counter: bool,
        is_rate: bool,
    ) -> Option<Point> {
        let smoothed = edges == Edges::Smoothed;
        let times = w.histogram_times;
        let (first, last) = edge_samples(times, (w.start, w.end), smoothed)?;
        let share = |from: usize, at: i64| {
            (at - times[from]) as f64 / (times[from + 1] - times[from]) as f64
        };
        let left = (smoothed && times[first] < w.start).then(|| share(first, w.start));
        let right =
            (smoothed && times[last] > w.end && last > first).then(|| share(last - 1, w.end));
        let growth = histogram::rate_at_edges(&w.histograms[first..=last], left, right, is_counter);
        let growth = self.grown(w, growth)?;
        Some(if is_rate { histogram::divide(&growth, w.seconds()) } else { growth }.into())
    }

    /// By how much histograms grew, with the notices that belong to it.
    fn grown(
        &self,
        w: &Window<'_>,
        growth: Result<histogram::Rate, histogram::Incompatible>,
    ) -> Option<Histogram> {
        let metric = w.name();
        let Ok(growth) = growth else {
            self.notice(&Notice::MixedExponentialCustom { metric });
            return None;
        };
        if growth.not_a_counter {
            self.notice(&Notice::NotCounter { metric });
        }
        if growth.not_a_gauge {
            self.notice(&Notice::NotGauge { metric });
        }
        if growth.reconciled_in_subtraction {
            self.notice(&Notice::ReconciledEdges { during: "subtraction" });
        }
        if growth.reconciled_in_addition {
            self.notice(&Notice::ReconciledEdges { during: "addition" });
        }
        Some(growth.histogram)
    }

    /// From the sample before the last to the last; by the second if `is_rate`.
    fn instant_rate(&self, w: &Window<'_>, is_rate: bool) -> Option<Point> {
        if w.len() < 2 {
            return None;
        }
        let mut last_two = [None; 2];
        let (floats, histograms) = (w.values.len(), w.histograms.len());
        // Only the last two of each kind can be among the last two of all.
        let tail = Window {
            times: &w.times[floats.saturating_sub(2)..],
            values: &w.values[floats.saturating_sub(2)..],
            histogram_times: &w.histogram_times[histograms.saturating_sub(2)..],
            histograms: &w.histograms[histograms.saturating_sub(2)..],
            ..*w
        };
        tail.in_order().for_each(|taken| last_two = [last_two[1], Some(taken)]);
        let [Some((t0, before)), Some((t1, now))] = last_two else { return None };
        let seconds = (t1 - t0) as f64 / 1000.0;
        if seconds == 0.0 {
            return None;
        }
        match (before, now) {
            (Taken::Float(before), Taken::Float(now)) => {
                let growth = if is_rate && now < before { now } else { now - before };
                Some(Point::Float(if is_rate { growth / seconds } else { growth }))
            }
            (Taken::Histogram(before), Taken::Histogram(now)) => {
                let growth = histogram::instant_rate_of(before, now, is_rate);
                let growth = self.grown(w, growth)?;
                let growth = if is_rate { histogram::divide(&growth, seconds) } else { growth };
                Some(growth.into())
            }
            _ => {
                self.notice(&Notice::MixedFloatsHistograms { metric: w.name() });
                None
            }
        }
    }

    /// How many samples differ from the one before, by `differs`.
    fn count_steps(
        &self,
        w: &Window<'_>,
        differs: impl Fn(Taken<'_>, Taken<'_>) -> bool,
    ) -> Option<Point> {
        let mut w = *w;
        if w.edges == Some(Edges::Anchored) {
            let all = || w.times.iter().chain(w.histogram_times).copied();
            if all().all(|t| t <= w.start) {
                return None;
            }
            // From the last sample before the window on, whether float or histogram.
            let anchor = all().filter(|t| *t <= w.start).max().unwrap_or(w.start);
            let floats = w.times.partition_point(|t| *t < anchor);
            let histograms = w.histogram_times.partition_point(|t| *t < anchor);
            (w.times, w.values) = (&w.times[floats..], &w.values[floats..]);
            w.histogram_times = &w.histogram_times[histograms..];
            w.histograms = &w.histograms[histograms..];
        }
        let mut before = None;
        let mut count = 0.0;
        for (_, now) in w.in_order() {
            if before.is_some_and(|before| differs(before, now)) {
                count += 1.0;
            }
            before = Some(now);
        }
        Some(Point::Float(count))
    }

    /// The sum or the mean of all.
    fn sum(&self, w: &Window<'_>) -> Option<Point> {
        if self.is_mixed(w) {
            return None;
        }
        let is_mean = self.function == Function::AvgOverTime;
        if !w.values.is_empty() {
            return Some(Point::Float(if is_mean { mean(w.values) } else { sum(w.values) }));
        }
        let mut total = Histograms::new(is_mean);
        if !w.histograms.iter().all(|h| total.push(h)) {
            self.notice(&Notice::MixedExponentialCustom { metric: w.name() });
            return None;
        }
        total.finish(self.evaluation, self.span).map(Point::from)
    }
}

/// By what growth between the first and the last sample is multiplied, so that it is the growth over
/// the window, or by the second. Where the samples leave room at an edge, they may have been late, or
/// the series begins or ends there. `zero` says how far back, in units of the sampled time, a counter
/// would have been zero.
fn extrapolation(w: &Window<'_>, times: &[i64], zero: Option<f64>, is_rate: bool) -> f64 {
    let (first, last) = (times[0], times[times.len() - 1]);
    let sampled = (last - first) as f64 / 1000.0;
    let between = sampled / (times.len() - 1) as f64;
    let far = between * 1.1;
    let near = |room: f64| if room >= far { between / 2.0 } else { room };
    let mut before = near((first - w.start) as f64 / 1000.0);
    let after = near((w.end - last) as f64 / 1000.0);
    if let Some(zero) = zero {
        before = before.min(sampled * zero);
    }
    let factor = (sampled + before + after) / sampled;
    if is_rate { factor / w.seconds() } else { factor }
}

/// The last sample at or before the edge, or the first within; `None` if none is within.
fn anchored_start(times: &[i64], start: i64) -> Option<usize> {
    (*times.last()? > start).then(|| times.partition_point(|t| *t <= start).saturating_sub(1))
}

/// Which samples are at the edges of a window or next to them; `None` where nothing is in it.
fn edge_samples(times: &[i64], (start, end): (i64, i64), smoothed: bool) -> Option<(usize, usize)> {
    let first = anchored_start(times, start)?;
    let mut last = times.len() - 1;
    if smoothed {
        last = times.partition_point(|t| *t < end).min(last);
        if times[last] <= start || times[first] > end {
            return None;
        }
    }
    Some((first, last))
}

/// What a series was at both edges of a window, as the samples beyond them say, and which samples lie
/// between.
pub(crate) struct Edged {
    pub(crate) left: f64,
    pub(crate) right: f64,
    pub(crate) within: Range<usize>,
}

impl Edged {
    /// From the samples of the window and those beyond; `None` where nothing is in the window.
    pub(crate) fn new(
        (times, values): (&[i64], &[f64]),
        (start, end): (i64, i64),
        edges: Edges,
        is_counter: bool,
    ) -> Option<Self> {
        let smoothed = edges == Edges::Smoothed;
        let (mut first, last) = edge_samples(times, (start, end), smoothed)?;
        let between = |from: usize, at: i64| {
            let (t0, t1) = (times[from], times[from + 1]);
            let (mut v0, v1) = (values[from], values[from + 1]);
            if is_counter && v1 < v0 {
                v0 = 0.0;
            }
            v0 + (v1 - v0) * (at - t0) as f64 / (t1 - t0) as f64
        };
        let left = match smoothed && first < times.len() - 1 && times[first] < start {
            true => between(first, start),
            false => values[first],
        };
        let right = match smoothed && last > 0 && times[last] > end {
            true => between(last - 1, end),
            false => values[last],
        };
        // What lies at the edges is in `left` and `right` already.
        first += usize::from(times[first] <= start);
        let past = if times[last] >= end { last } else { last + 1 };
        Some(Self { left, right, within: first..past.max(first) })
    }
}

/// How much it grew from edge to edge of the window.
fn extended_rate(w: &Window<'_>, edges: Edges, is_counter: bool, is_rate: bool) -> Option<f64> {
    let span = (w.start, w.end);
    let Edged { left, right, within } = Edged::new((w.times, w.values), span, edges, is_counter)?;
    let mut growth = right - left;
    if is_counter {
        let mut before = left;
        for &value in w.values[within].iter().chain([&right]) {
            if value < before {
                growth += before;
            }
            before = value;
        }
    }
    Some(if is_rate { growth / w.seconds() } else { growth })
}

/// Where the best value is, and which it is; any number is better than NaN.
fn extreme(values: &[f64], better: impl Fn(f64, f64) -> bool) -> (usize, f64) {
    let mut best = (0, values[0]);
    for (i, &value) in values.iter().enumerate() {
        if better(value, best.1) || best.1.is_nan() {
            best = (i, value);
        }
    }
    best
}

fn sum(values: &[f64]) -> f64 {
    let (mut sum, mut lost) = (0.0, 0.0);
    values.iter().for_each(|value| number::add(&mut sum, &mut lost, *value));
    if sum.is_infinite() { sum } else { sum + lost }
}

/// The mean by the sum; where the sum would overflow, the mean is carried on instead.
fn mean(values: &[f64]) -> f64 {
    let (mut sum, mut lost) = (values[0], 0.0);
    let mut overflowed = false;
    for (i, &value) in values.iter().enumerate().skip(1) {
        let count = (i + 1) as f64;
        if !overflowed {
            let (before, lost_before) = (sum, lost);
            number::add(&mut sum, &mut lost, value);
            if !sum.is_infinite() {
                continue;
            }
            overflowed = true;
            (sum, lost) = (before / (count - 1.0), lost_before / (count - 1.0));
        }
        let part = (count - 1.0) / count;
        (sum, lost) = (sum * part, lost * part);
        number::add(&mut sum, &mut lost, value / count);
    }
    let count = values.len() as f64;
    if overflowed { sum + lost } else { sum / count + lost / count }
}

/// The mean square of the distance to the mean.
///
/// Source: B. P. Welford, "Note on a Method for Calculating Corrected Sums of Squares and Products",
/// 1962.
fn variance(values: &[f64]) -> f64 {
    let (mut mean, mut mean_lost) = (0.0, 0.0);
    let (mut squares, mut squares_lost) = (0.0, 0.0);
    for (i, &value) in values.iter().enumerate() {
        let delta = value - (mean + mean_lost);
        number::add(&mut mean, &mut mean_lost, delta / (i + 1) as f64);
        let delta_now = value - (mean + mean_lost);
        number::add(&mut squares, &mut squares_lost, delta * delta_now);
    }
    (squares + squares_lost) / values.len() as f64
}

/// The line with the least squares of distances: its slope by the second, and its value at `at`.
fn regression(times: &[i64], values: &[f64], at: i64) -> (f64, f64) {
    if values.iter().all(|value| *value == values[0]) {
        return if values[0].is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, values[0]) };
    }
    let mut sums = [(0.0, 0.0); 4];
    for (&t, &y) in times.iter().zip(values) {
        let x = (t - at) as f64 / 1000.0;
        for ((sum, lost), value) in sums.iter_mut().zip([x, y, x * y, x * x]) {
            number::add(sum, lost, value);
        }
    }
    let [x, y, xy, xx] = sums.map(|(sum, lost)| sum + lost);
    let n = values.len() as f64;
    let slope = (xy - x * y / n) / (xx - x * x / n);
    (slope, y / n - slope * x / n)
}

fn check_smoothing(factor: f64, trend_factor: f64) -> Result<(), QueryError> {
    for (what, short, value) in [("smoothing", "sf", factor), ("trend", "tf", trend_factor)] {
        if value <= 0.0 || value >= 1.0 {
            return Err(QueryError::Failed(format!(
                "invalid {what} factor. Expected: 0 < {short} < 1, got: {value:.6}"
            )));
        }
    }
    Ok(())
}

/// The last value of a series smoothed together with its trend.
///
/// Source: C. C. Holt, "Forecasting Seasonals and Trends by Exponentially Weighted Moving Averages",
/// 1957.
fn smooth(values: &[f64], factor: f64, trend_factor: f64) -> f64 {
    let (mut before, mut smoothed) = (0.0, values[0]);
    let mut trend = values[1] - values[0];
    for (i, value) in values.iter().enumerate().skip(1) {
        if i > 1 {
            trend = trend_factor * (smoothed - before) + (1.0 - trend_factor) * trend;
        }
        (before, smoothed) = (smoothed, factor * value + (1.0 - factor) * (smoothed + trend));
    }
    smoothed
}
