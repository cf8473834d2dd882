//! Aggregations: many series become one for each group, or the group's chosen ones.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use hms_ops_core::labels::{Labels, NAME};
use hms_ops_core::query::QueryError;
use hms_ops_core::sample::Histogram;

use super::column::{ABSENT, Column, Grid, Point, Series, is_absent};
use super::{Evaluation, Sink};
use crate::ast::{AggregateOp, Span};
use crate::functions::number;
use crate::histogram;
use crate::notice::Notice;
use crate::plan::{Grouping, Op, Step};

impl Grouping {
    /// The labels of the group that a series belongs to.
    fn of(&self, labels: &Labels) -> Labels {
        let names: Vec<&str> = self.labels.iter().map(String::as_str).collect();
        match self.without {
            true => labels.without(&[&names[..], &[NAME]].concat()),
            false if names.is_empty() => Labels::empty(),
            false => labels.only(&names),
        }
    }
}

/// Groups by their labels, in the order in which they came up.
struct Groups<G> {
    places: HashMap<Labels, usize>,
    all: Vec<(Labels, G)>,
}

impl<G> Groups<G> {
    fn new() -> Self {
        Self { places: HashMap::new(), all: Vec::new() }
    }

    fn get(&mut self, labels: Labels, new: impl FnOnce() -> G) -> &mut G {
        let place = match self.places.get(&labels) {
            Some(place) => *place,
            None => {
                self.places.insert(labels.clone(), self.all.len());
                self.all.push((labels, new()));
                self.all.len() - 1
            }
        };
        &mut self.all[place].1
    }
}

impl Evaluation<'_> {
    #[expect(clippy::too_many_arguments, reason = "an aggregation and all it works on")]
    pub(super) fn aggregate(
        &self,
        op: AggregateOp,
        by: &Grouping,
        of: &Step,
        param: Option<&Step>,
        span: Span,
        grid: Grid,
        sink: Sink<'_>,
    ) -> Result<(), QueryError> {
        match (op, param) {
            (AggregateOp::CountValues, Some(param)) => self.count_values(by, of, param, grid, sink),
            (AggregateOp::Quantile, Some(param)) => self.quantile(by, of, param, grid, sink),
            (_, Some(param)) => self.choose(op, by, of, param, span, grid, sink),
            (_, None) => self.fold(op, by, of, grid, sink),
        }
    }

    /// What one number for each group and step is enough for, or a few.
    fn fold(
        &self,
        op: AggregateOp,
        by: &Grouping,
        of: &Step,
        grid: Grid,
        sink: Sink<'_>,
    ) -> Result<(), QueryError> {
        let mut groups: Groups<Fold> = Groups::new();
        self.each(of, grid, &mut |series| {
            let fold = groups.get(by.of(&series.labels), || Fold::new(op, grid.count));
            fold.add(&series, self, of.span);
            Ok(())
        })?;
        for (labels, fold) in groups.all {
            let drop_name = fold.drop_name;
            let points = fold.finish(self, of.span);
            sink(Series { labels, drop_name, points })?;
        }
        Ok(())
    }

    fn quantile(
        &self,
        by: &Grouping,
        of: &Step,
        param: &Step,
        grid: Grid,
        sink: Sink<'_>,
    ) -> Result<(), QueryError> {
        let q = self.scalar(param, grid)?;
        // Of many that are wrong, the most wrong ones are told; beside NaN, nothing is more wrong.
        let most = q.iter().copied().reduce(f64::max).filter(|most| *most > 1.0);
        let least = q.iter().copied().reduce(f64::min).filter(|least| *least < 0.0);
        let wrong = match q.iter().copied().find(|q| q.is_nan()) {
            Some(nan) => [Some(nan), None],
            None => [most, least],
        };
        for q in wrong.into_iter().flatten() {
            self.notice(&Notice::BadQuantile(q), param.span);
        }
        let kept = self.keep(of, grid)?;
        let mut groups: Groups<Vec<&Series>> = Groups::new();
        for series in &kept.series {
            groups.get(by.of(&series.labels), Vec::new).push(series);
        }
        let mut values = Vec::new();
        for (labels, members) in groups.all {
            let mut points = Column::empty(grid.count);
            for (i, &q) in q.iter().enumerate() {
                self.alive()?;
                values.clear();
                for series in &members {
                    match series.points.get(i) {
                        Some(Point::Float(value)) => values.push(value),
                        Some(Point::Histogram(_)) => self.ignored("quantile", of.span),
                        None => {}
                    }
                }
                if !values.is_empty() {
                    points.floats[i] = number::quantile(q, &mut values);
                }
            }
            let drop_name = members.iter().any(|series| series.drop_name);
            sink(Series { labels, drop_name, points })?;
        }
        Ok(())
    }

    fn count_values(
        &self,
        by: &Grouping,
        of: &Step,
        param: &Step,
        grid: Grid,
        sink: Sink<'_>,
    ) -> Result<(), QueryError> {
        let Op::Text(label) = &param.op else { unreachable!("the parser has checked the types") };
        if !crate::parser::is_label(label) {
            let written = self.written(param.span);
            return Err(QueryError::Failed(format!("invalid label name {written}")));
        }
        let mut by = by.clone();
        if !by.without {
            by.labels.push(label.clone());
        }
        let mut groups: Groups<Column> = Groups::new();
        let mut held = 0;
        self.each(of, grid, &mut |series| {
            // A series often has the same value at many steps.
            let mut last: Option<(u64, Labels)> = None;
            for i in 0..grid.count {
                let (bits, text) = match series.points.get(i) {
                    None => continue,
                    Some(Point::Float(value)) => {
                        let bits = value.to_bits();
                        if last.as_ref().is_some_and(|(last, _)| *last == bits) {
                            (bits, None)
                        } else {
                            (bits, Some(number::plain(value)))
                        }
                    }
                    Some(Point::Histogram(h)) => (u64::MAX, Some(histogram::to_text(&h))),
                };
                if let Some(text) = text {
                    last = Some((bits, by.of(&series.labels.with(label, &text))));
                }
                let Some((_, labels)) = &last else { continue };
                let before = groups.all.len();
                let count = groups.get(labels.clone(), || Column::empty(grid.count));
                count.floats[i] =
                    if is_absent(count.floats[i]) { 1.0 } else { count.floats[i] + 1.0 };
                held += (groups.all.len() - before) as u64 * grid.count as u64 * 8;
                if held > self.limits.bytes {
                    return Err(QueryError::TooCostly { unit: "bytes", limit: self.limits.bytes });
                }
            }
            self.alive()
        })?;
        for (labels, points) in groups.all {
            sink(Series { labels, drop_name: false, points })?;
        }
        Ok(())
    }

    /// `topk`, `bottomk`, `limitk` and `limit_ratio`: some series of each group, at each step.
    #[expect(clippy::too_many_arguments, reason = "an aggregation and all it works on")]
    fn choose(
        &self,
        op: AggregateOp,
        by: &Grouping,
        of: &Step,
        param: &Step,
        span: Span,
        grid: Grid,
        sink: Sink<'_>,
    ) -> Result<(), QueryError> {
        let params = self.scalar(param, grid)?;
        let is_ratio = op == AggregateOp::LimitRatio;
        let kept = self.keep(of, grid)?;
        if !self.check_params(is_ratio, &params, param.span)? {
            return Ok(());
        }
        let mut groups: Groups<Vec<usize>> = Groups::new();
        for (place, series) in kept.series.iter().enumerate() {
            groups.get(by.of(&series.labels), Vec::new).push(place);
        }
        let mut outs: Vec<Option<Column>> = vec![None; kept.series.len()];
        // At one instant the best comes first.
        let mut order: Vec<usize> = Vec::new();
        let mut candidates: Vec<(f64, usize)> = Vec::new();
        for (_, members) in &groups.all {
            for (i, &param) in params.iter().enumerate() {
                self.alive()?;
                candidates.clear();
                for &place in members {
                    let points = &kept.series[place].points;
                    match (op, points.get(i)) {
                        (_, None) => {}
                        (AggregateOp::Topk | AggregateOp::Bottomk, Some(Point::Histogram(_))) => {
                            self.ignored(op.name(), span);
                        }
                        (AggregateOp::LimitRatio, Some(_)) => {
                            if is_sampled(&kept.series[place].labels, param) {
                                candidates.push((0.0, place));
                            }
                        }
                        (_, Some(Point::Float(value))) => candidates.push((value, place)),
                        (_, Some(Point::Histogram(_))) => candidates.push((0.0, place)),
                    }
                }
                // Among equals, those that come first stay.
                match op {
                    AggregateOp::Topk => candidates.sort_by(|a, b| number::descending(a.0, b.0)),
                    AggregateOp::Bottomk => candidates.sort_by(|a, b| number::ascending(a.0, b.0)),
                    _ => {}
                }
                if !is_ratio {
                    candidates.truncate(if param < 1.0 { 0 } else { param as usize });
                }
                for &(_, place) in &candidates {
                    let out = outs[place].get_or_insert_with(|| {
                        order.push(place);
                        Column::empty(grid.count)
                    });
                    out.set(i, kept.series[place].points.get(i));
                }
            }
        }
        for place in order {
            let Series { labels, drop_name, .. } = &kept.series[place];
            let points = outs[place].take().expect("what has an order has values");
            sink(Series { labels: labels.clone(), drop_name: *drop_name, points })?;
        }
        Ok(())
    }

    /// Whether anything is to be chosen at all.
    fn check_params(&self, is_ratio: bool, params: &[f64], span: Span) -> Result<bool, QueryError> {
        let failed = |reason: String| Err(QueryError::Failed(reason));
        let min = params.iter().copied().fold(f64::INFINITY, f64::min);
        let max = params.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if params.iter().any(|p| p.is_nan()) {
            let what = if is_ratio { "Ratio" } else { "Parameter" };
            return failed(format!("{what} value is NaN"));
        }
        if is_ratio {
            if max > 1.0 {
                self.notice(&Notice::BadRatio(max, 1.0), span);
            }
            if min < -1.0 {
                self.notice(&Notice::BadRatio(min, -1.0), span);
            }
            return Ok(min != 0.0 || max != 0.0);
        }
        if max < 1.0 {
            return Ok(false);
        }
        if min <= i64::MIN as f64 {
            return failed(format!("Scalar value {} underflows int64", number::general(min)));
        }
        if max >= i64::MAX as f64 {
            return failed(format!("Scalar value {} overflows int64", number::general(max)));
        }
        Ok(true)
    }

    fn ignored(&self, aggregation: &'static str, span: Span) {
        self.notice(&Notice::HistogramIgnored { aggregation }, span);
    }
}

/// Whether a series is in the part that a ratio says; of `1 - r` it is in the other part than of `-r`.
fn is_sampled(labels: &Labels, ratio: f64) -> bool {
    // The same in every process, so that two queries choose the same series.
    let mut hasher = DefaultHasher::new();
    labels.hash(&mut hasher);
    let place = hasher.finish() as f64 / u64::MAX as f64;
    let ratio = ratio.clamp(-1.0, 1.0);
    if ratio >= 0.0 { place < ratio } else { place >= 1.0 + ratio }
}

/// One group on its way, for each step.
struct Fold {
    op: AggregateOp,
    drop_name: bool,
    /// Sum, least, greatest, or squares of distances to the mean.
    values: Vec<f64>,
    /// What was lost in rounding, or the mean.
    aside: Vec<f64>,
    /// How many floats.
    counts: Vec<f64>,
    /// Where the sum would overflow, the mean is carried on instead.
    overflowed: Vec<bool>,
    /// Empty while there is no histogram.
    histograms: Vec<Option<Histograms>>,
}

/// The histograms of a group at one step.
pub(crate) enum Histograms {
    Sum(histogram::Sum),
    Mean(histogram::Mean),
    /// Some have exponential buckets, and some edges of their own.
    Incompatible,
}

impl Histograms {
    pub(crate) fn new(is_mean: bool) -> Self {
        if is_mean {
            Self::Mean(histogram::Mean::default())
        } else {
            Self::Sum(histogram::Sum::default())
        }
    }

    /// Adds one; `false` when it is the first that does not fit.
    pub(crate) fn push(&mut self, h: &Histogram) -> bool {
        let pushed = match self {
            Self::Sum(sum) => sum.push(h),
            Self::Mean(mean) => mean.push(h),
            Self::Incompatible => return true,
        };
        if pushed.is_err() {
            *self = Self::Incompatible;
        }
        pushed.is_ok()
    }

    /// What came of it, with the notices that belong to it.
    pub(crate) fn finish(self, evaluation: &Evaluation<'_>, span: Span) -> Option<Histogram> {
        let outcome = match self {
            Self::Sum(sum) => sum.finish(),
            Self::Mean(mean) => mean.finish(),
            Self::Incompatible => None,
        }?;
        let during = "aggregation";
        if outcome.conflicting_resets {
            evaluation.notice(&Notice::ConflictingResets { during }, span);
        }
        if outcome.reconciled_edges {
            evaluation.notice(&Notice::ReconciledEdges { during }, span);
        }
        Some(outcome.histogram)
    }
}

impl Fold {
    fn new(op: AggregateOp, steps: usize) -> Self {
        use AggregateOp::{Avg, Count, Stddev, Stdvar, Sum};
        let when = |wanted: bool| if wanted { vec![0.0; steps] } else { Vec::new() };
        Self {
            op,
            drop_name: false,
            values: vec![ABSENT; steps],
            aside: when(matches!(op, Sum | Avg | Stddev | Stdvar)),
            counts: when(matches!(op, Avg | Count | Stddev | Stdvar)),
            overflowed: Vec::new(),
            histograms: Vec::new(),
        }
    }

    fn add(&mut self, series: &Series, evaluation: &Evaluation<'_>, span: Span) {
        use AggregateOp::{Avg, Count, Group, Max, Min, Stddev, Stdvar, Sum};
        if !series.points.is_empty() {
            self.drop_name |= series.drop_name;
        }
        let floats = series.points.floats.iter().copied().enumerate();
        let floats = floats.filter(|(_, v)| !is_absent(*v));
        match self.op {
            Sum => {
                for (i, value) in floats {
                    let sum = &mut self.values[i];
                    if is_absent(*sum) {
                        *sum = value;
                    } else {
                        number::add(sum, &mut self.aside[i], value);
                    }
                }
            }
            Avg => floats.for_each(|(i, value)| self.add_to_mean(i, value)),
            Count => floats.for_each(|(i, _)| self.counts[i] += 1.0),
            Group => floats.for_each(|(i, _)| self.values[i] = 1.0),
            Min => {
                for (i, value) in floats {
                    let least = &mut self.values[i];
                    // The stand-in for nothing is a NaN, too.
                    if *least > value || least.is_nan() {
                        *least = value;
                    }
                }
            }
            Max => {
                for (i, value) in floats {
                    let greatest = &mut self.values[i];
                    if *greatest < value || greatest.is_nan() {
                        *greatest = value;
                    }
                }
            }
            Stddev | Stdvar => {
                for (i, value) in floats {
                    let (squares, mean) = (&mut self.values[i], &mut self.aside[i]);
                    self.counts[i] += 1.0;
                    if is_absent(*squares) {
                        *mean = value;
                        *squares = if value.is_finite() { 0.0 } else { f64::NAN };
                    } else {
                        let delta = value - *mean;
                        *mean += delta / self.counts[i];
                        *squares += delta * (value - *mean);
                    }
                }
            }
            _ => unreachable!("what has a parameter is not folded"),
        }
        if !series.points.histograms.is_empty() {
            self.add_histograms(series, evaluation, span);
        }
    }

    fn add_to_mean(&mut self, i: usize, value: f64) {
        self.counts[i] += 1.0;
        let (steps, count) = (self.values.len(), self.counts[i]);
        let (sum, lost) = (&mut self.values[i], &mut self.aside[i]);
        if is_absent(*sum) {
            *sum = value;
            return;
        }
        if !self.overflowed.get(i).is_some_and(|o| *o) {
            let (before, lost_before) = (*sum, *lost);
            number::add(sum, lost, value);
            if !sum.is_infinite() {
                return;
            }
            self.overflowed.resize(steps, false);
            self.overflowed[i] = true;
            *sum = before / (count - 1.0);
            *lost = lost_before / (count - 1.0);
        }
        let part = (count - 1.0) / count;
        *sum *= part;
        *lost *= part;
        number::add(sum, lost, value / count);
    }

    fn add_histograms(&mut self, series: &Series, evaluation: &Evaluation<'_>, span: Span) {
        use AggregateOp::{Avg, Count, Group, Max, Min, Stddev, Stdvar, Sum};
        let there = series.points.histograms.iter().enumerate();
        for (i, h) in there.filter_map(|(i, h)| Some((i, h.as_ref()?))) {
            match self.op {
                Count => self.counts[i] += 1.0,
                Group => self.values[i] = 1.0,
                Min | Max | Stddev | Stdvar => evaluation.ignored(self.op.name(), span),
                Sum | Avg => {
                    self.histograms.resize_with(self.values.len(), || None);
                    let is_mean = self.op == Avg;
                    let so_far = self.histograms[i].get_or_insert_with(|| Histograms::new(is_mean));
                    if !so_far.push(h) {
                        let metric = series.name();
                        evaluation.notice(&Notice::MixedExponentialCustom { metric }, span);
                    }
                }
                _ => unreachable!("what has a parameter is not folded"),
            }
        }
    }

    fn finish(mut self, evaluation: &Evaluation<'_>, span: Span) -> Column {
        use AggregateOp::{Avg, Count, Stddev, Stdvar, Sum};
        let values = self.values.iter_mut().enumerate();
        match self.op {
            Sum => values.for_each(|(i, sum)| {
                if !is_absent(*sum) {
                    *sum += self.aside[i];
                }
            }),
            Avg => values.for_each(|(i, sum)| {
                if self.overflowed.get(i).is_some_and(|o| *o) {
                    *sum += self.aside[i];
                } else if !is_absent(*sum) {
                    *sum = *sum / self.counts[i] + self.aside[i] / self.counts[i];
                }
            }),
            Count => values.for_each(|(i, count)| {
                if self.counts[i] > 0.0 {
                    *count = self.counts[i];
                }
            }),
            Stdvar | Stddev => values.for_each(|(i, squares)| {
                if !is_absent(*squares) {
                    *squares /= self.counts[i];
                    if self.op == Stddev {
                        *squares = squares.sqrt();
                    }
                }
            }),
            _ => {}
        }
        let mut column = Column { floats: self.values, histograms: Vec::new() };
        for (i, of) in self.histograms.into_iter().enumerate() {
            let Some(of) = of else { continue };
            if !is_absent(column.floats[i]) {
                evaluation.notice(&Notice::MixedFloatsHistogramsInAggregation, span);
                column.clear(i);
                continue;
            }
            column.set(i, of.finish(evaluation, span).map(Point::from));
        }
        column
    }
}
