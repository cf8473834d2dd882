//! Selectors: samples become columns, or windows for the functions that look at several samples.

use std::sync::Arc;

use hms_ops_core::labels::Labels;
use hms_ops_core::query::{Data, QueryError};
use hms_ops_core::sample::{CounterReset, Histogram, Sample, Value};

use super::column::{Column, Grid, Point, Series, timestamp};
use super::{Evaluation, Sink};
use crate::ast::{self, Edges};
use crate::functions::window;
use crate::histogram;
use crate::notice::Notice;
use crate::plan::{Newest, Op, Source, Step, Window};

/// The samples of one series, staleness markers left out.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    /// When the floats were taken, ascending, in ms.
    pub(crate) times: Vec<i64>,
    pub(crate) values: Vec<f64>,
    /// When the histograms were taken, ascending, in ms.
    pub(crate) histogram_times: Vec<i64>,
    pub(crate) histograms: Vec<Arc<Histogram>>,
    /// Whether no float is less than the one before: a counter that was never reset.
    pub(crate) never_falls: bool,
}

impl Samples {
    fn clear(&mut self) {
        self.times.clear();
        self.values.clear();
        self.histogram_times.clear();
        self.histograms.clear();
    }

    fn push(&mut self, at: i64, value: &Value) {
        match value {
            Value::Histogram(histogram) => {
                self.histogram_times.push(at);
                self.histograms.push(histogram.clone());
            }
            Value::Float(float) if !value.is_stale() => {
                self.times.push(at);
                self.values.push(*float);
            }
            Value::Float(_) => {}
        }
    }

    fn len(&self) -> usize {
        self.values.len() + self.histograms.len()
    }

    fn finish(&mut self) {
        self.never_falls = self.values.windows(2).all(|pair| pair[0] <= pair[1]);
    }
}

/// A run of samples in a window that moves forward.
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    from: usize,
    to: usize,
}

impl Span {
    /// Moves on to the samples in `(after, until]`.
    fn advance(&mut self, times: &[i64], after: i64, until: i64) {
        while self.to < times.len() && times[self.to] <= until {
            self.to += 1;
        }
        while self.from < self.to && times[self.from] <= after {
            self.from += 1;
        }
    }
}

impl Evaluation<'_> {
    /// The newest sample of each series at each instant, unless it is too old or a staleness marker.
    pub(super) fn newest(
        &self,
        of: &Newest,
        span: ast::Span,
        grid: Grid,
        sink: Sink<'_>,
    ) -> Result<(), QueryError> {
        if of.smoothed {
            return self.smoothed(of, span, grid, sink);
        }
        self.newest_of_each(of, |labels, samples| {
            let mut column = Column::empty(grid.count);
            pick(samples, of, grid, |i, sample| match &sample.value {
                Value::Float(value) => column.floats[i] = *value,
                Value::Histogram(h) => column.set(i, Some(Point::Histogram(h.clone()))),
            });
            sink(Series { labels: labels.clone(), drop_name: false, points: column })
        })
    }

    /// When the newest sample of each series was taken, in seconds.
    pub(super) fn newest_time(
        &self,
        of: &Newest,
        grid: Grid,
        sink: Sink<'_>,
    ) -> Result<(), QueryError> {
        self.newest_of_each(of, |labels, samples| {
            let mut column = Column::empty(grid.count);
            pick(samples, of, grid, |i, sample| {
                column.floats[i] = sample.at.as_millis() as f64 / 1000.0;
            });
            sink(Series { labels: labels.clone(), drop_name: true, points: column })
        })
    }

    pub(super) fn newest_of_each(
        &self,
        of: &Newest,
        mut each: impl FnMut(&Labels, &[Sample]) -> Result<(), QueryError>,
    ) -> Result<(), QueryError> {
        let mut set = self.take(of.slot);
        let mut samples = Vec::new();
        while set.advance()? {
            samples.clear();
            set.read(&mut samples)?;
            self.count(samples.len())?;
            each(set.labels(), &samples)?;
        }
        Ok(())
    }

    /// What lies on the line between the samples before and after each instant.
    fn smoothed(
        &self,
        of: &Newest,
        span: ast::Span,
        grid: Grid,
        sink: Sink<'_>,
    ) -> Result<(), QueryError> {
        self.samples_of_each(of.slot, |labels, samples| {
            let metric = labels.name().unwrap_or_default();
            let mut column = Column::empty(grid.count);
            for (i, at) in grid.times().enumerate() {
                let at = of.when.of(at);
                let floats = around(&samples.times, at, of.lookback);
                let histograms = around(&samples.histogram_times, at, of.lookback);
                let point = match (floats, histograms) {
                    (None, None) => None,
                    (Some((before, share)), None) => before.map(|before| {
                        let value = |i: usize| samples.values[i];
                        let grown = share.map(|s| (value(before + 1) - value(before)) * s);
                        Point::Float(value(before) + grown.unwrap_or_default())
                    }),
                    (None, Some((None, _))) => None,
                    (None, Some((Some(before), None))) => {
                        Some(Point::Histogram(samples.histograms[before].clone()))
                    }
                    (None, Some((Some(before), Some(share)))) => {
                        let [first, second] = [before, before + 1].map(|i| &*samples.histograms[i]);
                        match histogram::between(first, second, share, false) {
                            Ok(outcome) => {
                                if outcome.reconciled_edges {
                                    for during in ["subtraction", "addition"] {
                                        self.notice(&Notice::ReconciledEdges { during }, span);
                                    }
                                }
                                Some(outcome.histogram.into())
                            }
                            Err(_) => {
                                self.notice(&Notice::MixedExponentialCustom { metric }, span);
                                None
                            }
                        }
                    }
                    (Some(_), Some(_)) => {
                        self.notice(&Notice::MixedFloatsHistograms { metric }, span);
                        None
                    }
                };
                column.set(i, point);
            }
            sink(Series { labels: labels.clone(), drop_name: false, points: column })
        })
    }

    /// Calls `each` with the samples of every series that was selected.
    fn samples_of_each(
        &self,
        slot: usize,
        mut each: impl FnMut(&Labels, &Samples) -> Result<(), QueryError>,
    ) -> Result<(), QueryError> {
        let mut set = self.take(slot);
        let (mut read, mut samples) = (Vec::new(), Samples::default());
        while set.advance()? {
            read.clear();
            samples.clear();
            set.read(&mut read)?;
            self.count(read.len())?;
            for sample in &read {
                samples.push(sample.at.as_millis(), &sample.value);
            }
            samples.finish();
            each(set.labels(), &samples)?;
        }
        Ok(())
    }

    /// Calls `each` with the labels and the samples of every series in a window's source; of the
    /// values of a subquery it also says whether their name is to be dropped.
    fn source_of_each(
        &self,
        window: &Window,
        mut each: impl FnMut(&Labels, bool, &Samples) -> Result<(), QueryError>,
    ) -> Result<(), QueryError> {
        match &window.source {
            Source::Slot(slot) => {
                self.samples_of_each(*slot, |labels, samples| each(labels, false, samples))
            }
            Source::Subquery { of, grid } => {
                let mut samples = Samples::default();
                self.each_of_any(of, *grid, &mut |series| {
                    samples.clear();
                    for (i, at) in grid.times().enumerate() {
                        match series.points.get(i) {
                            None => {}
                            Some(Point::Float(value)) => {
                                samples.times.push(at);
                                samples.values.push(value);
                            }
                            Some(Point::Histogram(histogram)) => {
                                samples.histogram_times.push(at);
                                samples.histograms.push(without_reset(histogram));
                            }
                        }
                    }
                    self.count(samples.len())?;
                    samples.finish();
                    each(&series.labels, series.drop_name, &samples)
                })
            }
        }
    }

    /// As `each`, and a scalar is a series without labels.
    fn each_of_any(&self, step: &Step, grid: Grid, sink: Sink<'_>) -> Result<(), QueryError> {
        if step.returns != crate::ast::Type::Scalar {
            return self.each(step, grid, sink);
        }
        let floats = self.scalar(step, grid)?;
        let points = Column { floats, histograms: Vec::new() };
        sink(Series { labels: Labels::empty(), drop_name: false, points })
    }

    /// Calls a function with the window before each instant, for every series.
    pub(crate) fn over_windows(
        &self,
        window: &Window,
        grid: Grid,
        keeps_name: bool,
        sink: Sink<'_>,
        function: &mut dyn FnMut(&window::Window<'_>) -> Result<Option<Point>, QueryError>,
    ) -> Result<(), QueryError> {
        self.source_of_each(window, |labels, drop_name, samples| {
            let mut column = Column::empty(grid.count);
            let extended = match window.edges {
                None => (0, 0),
                Some(Edges::Anchored) => (window.lookback, 0),
                Some(Edges::Smoothed) => (window.lookback, window.lookback),
            };
            let (mut floats, mut histograms) = (Span::default(), Span::default());
            for (i, at) in grid.times().enumerate() {
                let end = window.when.of(at);
                let start = end.saturating_sub(window.range);
                let (after, until) = (start.saturating_sub(extended.0), end + extended.1);
                floats.advance(&samples.times, after, until);
                histograms.advance(&samples.histogram_times, after, until);
                if floats.from == floats.to && histograms.from == histograms.to {
                    continue;
                }
                self.alive()?;
                let view = window::Window {
                    labels,
                    times: &samples.times[floats.from..floats.to],
                    values: &samples.values[floats.from..floats.to],
                    histogram_times: &samples.histogram_times[histograms.from..histograms.to],
                    histograms: &samples.histograms[histograms.from..histograms.to],
                    never_falls: samples.never_falls,
                    start,
                    end,
                    at,
                    step: i,
                    edges: window.edges,
                };
                let point = function(&view)?;
                if let Some(Point::Float(value)) = point {
                    column.floats[i] = value;
                } else if point.is_some() {
                    column.set(i, point);
                }
            }
            let drop_name = drop_name || !keeps_name;
            sink(Series { labels: labels.clone(), drop_name, points: column })
        })
    }

    /// The samples of a window before one instant, which a query can ask for by itself.
    pub(super) fn matrix(&self, step: &Step, grid: Grid) -> Result<Data, QueryError> {
        let window = match &step.op {
            Op::Window(window) => window,
            _ => unreachable!("the parser has checked the types"),
        };
        let mut matrix = Vec::new();
        let mut held = 0;
        self.source_of_each(window, |labels, drop_name, samples| {
            let end = window.when.of(grid.start);
            let start = end.saturating_sub(window.range);
            let within = |t: i64| t > start && t <= end;
            let mut all: Vec<Sample> = match window.edges {
                Some(_) if !samples.histograms.is_empty() => return Err(no_histograms()),
                Some(edges) => at_edges(samples, (start, end), edges),
                None => {
                    let floats = samples.times.iter().zip(&samples.values);
                    let floats = floats.map(|(t, v)| (*t, Value::Float(*v)));
                    let histograms = samples.histogram_times.iter().zip(&samples.histograms);
                    let histograms = histograms.map(|(t, h)| (*t, Value::Histogram(h.clone())));
                    floats
                        .chain(histograms)
                        .filter(|(t, _)| within(*t))
                        .map(|(t, value)| Sample { at: timestamp(t), value })
                        .collect()
                }
            };
            all.sort_by_key(|sample| sample.at);
            held += all.len() as u64 * size_of::<Sample>() as u64;
            if held > self.limits.bytes {
                return Err(QueryError::TooCostly { unit: "bytes", limit: self.limits.bytes });
            }
            if !all.is_empty() {
                let labels = match drop_name {
                    true => super::column::without_metadata(labels),
                    false => labels.clone(),
                };
                matrix.push((labels, all));
            }
            Ok(())
        })?;
        matrix.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(Data::Matrix(matrix))
    }
}

/// The samples between both edges of a window, and what the series was at the edges themselves.
fn at_edges(samples: &Samples, (start, end): (i64, i64), edges: Edges) -> Vec<Sample> {
    let all = (&samples.times[..], &samples.values[..]);
    let Some(window::Edged { left, right, within }) =
        window::Edged::new(all, (start, end), edges, false)
    else {
        return Vec::new();
    };
    let sample = |(at, value): (i64, f64)| Sample { at: timestamp(at), value: value.into() };
    let between = within.map(|i| (samples.times[i], samples.values[i]));
    [(start, left)].into_iter().chain(between).chain([(end, right)]).map(sample).collect()
}

/// The last of `times` up to `at`, and how far it is from there to the next one, if there is one and
/// `at` is not reached exactly; no further away than `lookback`. `None` when nothing is so near.
fn around(times: &[i64], at: i64, lookback: i64) -> Option<(Option<usize>, Option<f64>)> {
    let after = times.partition_point(|t| *t <= at);
    let before = after.checked_sub(1).filter(|before| times[*before] > at - lookback);
    let next = times.get(after).filter(|next| **next <= at + lookback);
    let share = match (before, next) {
        (None, None) => return None,
        (Some(before), Some(next)) if times[before] < at => {
            Some((at - times[before]) as f64 / (next - times[before]) as f64)
        }
        _ => None,
    };
    Some((before, share))
}

/// Calls `found` for each step at which the newest sample counts.
pub(super) fn pick(
    samples: &[Sample],
    of: &Newest,
    grid: Grid,
    mut found: impl FnMut(usize, &Sample),
) {
    let mut next = 0;
    for (i, at) in grid.times().enumerate() {
        let at = timestamp(of.when.of(at));
        while next < samples.len() && samples[next].at <= at {
            next += 1;
        }
        let Some(newest) = next.checked_sub(1).map(|last| &samples[last]) else { continue };
        if at.as_millis() - newest.at.as_millis() < of.lookback && !newest.value.is_stale() {
            found(i, newest);
        }
    }
}

/// In a subquery, samples may be left out or come twice: what is known about resets is no longer true.
fn without_reset(histogram: Arc<Histogram>) -> Arc<Histogram> {
    match histogram.reset {
        CounterReset::Unknown | CounterReset::Gauge => histogram,
        CounterReset::Reset | CounterReset::NotReset => {
            Arc::new(Histogram { reset: CounterReset::Unknown, ..(*histogram).clone() })
        }
    }
}

fn no_histograms() -> QueryError {
    let reason = "smoothed and anchored modifiers do not work with native histograms";
    QueryError::Failed(reason.to_owned())
}
