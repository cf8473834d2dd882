//! How the functions of PromQL are computed, and which module does it.
//!
//! Source: <https://prometheus.io/docs/prometheus/latest/querying/functions/>, as of Prometheus 3.14.

use std::f64::consts::PI;

use hms_ops_core::labels::Labels;
use hms_ops_core::query::QueryError;

use crate::ast::{Edges, Span};
use crate::eval::column::{Column, Grid, Point, Series, is_absent};
use crate::eval::{Evaluation, Sink};
use crate::function::Function;
use crate::histogram;
use crate::notice::Notice;
use crate::plan::{Op, Step, Window};

mod buckets;
mod date;
mod label;
pub(crate) mod number;
mod sort;
pub(crate) mod window;

/// Evaluates a function that gives an instant vector.
pub(crate) fn call(
    evaluation: &Evaluation<'_>,
    function: Function,
    args: &[Step],
    span: Span,
    grid: Grid,
    sink: Sink<'_>,
) -> Result<(), QueryError> {
    use Function::{
        Absent, AbsentOverTime, DayOfMonth, DayOfWeek, DayOfYear, DaysInMonth, HistogramAvg,
        HistogramCount, HistogramFraction, HistogramQuantile, HistogramQuantiles, HistogramStddev,
        HistogramStdvar, HistogramSum, Hour, LabelJoin, LabelReplace, Minute, Month, Sort,
        SortByLabel, SortByLabelDesc, SortDesc, StartTimestamp, Timestamp, Vector, Year,
    };
    if let Some(place) = args.iter().position(|arg| matches!(arg.op, Op::Window(_))) {
        let Op::Window(window) = &args[place].op else { unreachable!("it was just found") };
        let call = over_window(evaluation, function, args, place, window, grid)?;
        let keeps_name = matches!(function, Function::FirstOverTime | Function::LastOverTime);
        if function == AbsentOverTime {
            return absent(&window.matchers, grid, sink, |sink| {
                evaluation.over_windows(window, grid, false, sink, &mut |w| call.of(w))
            });
        }
        let rates = matches!(function, Function::Rate | Function::Increase);
        return evaluation.over_windows(
            window,
            grid,
            keeps_name,
            &mut |series| {
                if rates && !looks_like_counter(series.name()) && has_floats(&series.points) {
                    let notice = Notice::PossiblyNoCounter { metric: series.name() };
                    evaluation.notice(&notice, args[0].span);
                }
                sink(series)
            },
            &mut |w| call.of(w),
        );
    }
    match function {
        Absent => {
            let matchers = match &args[0].op {
                Op::Constant(of) => of.matchers(),
                _ => args[0].matchers(),
            };
            absent(matchers, grid, sink, |sink| evaluation.each(&args[0], grid, sink))
        }
        Vector => {
            let floats = evaluation.scalar(&args[0], grid)?;
            let points = Column { floats, histograms: Vec::new() };
            sink(Series { labels: Labels::empty(), drop_name: false, points })
        }
        Timestamp => evaluation.each(&args[0], grid, &mut |mut series| {
            for (i, at) in grid.times().enumerate() {
                if series.points.has(i) {
                    series.points.set(i, Some(Point::Float(at as f64 / 1000.0)));
                }
            }
            series.drop_name = true;
            sink(series)
        }),
        // A sample has no start; so Prometheus answers, too, unless it is told to use starts.
        StartTimestamp => evaluation.each(&args[0], grid, &mut |_| Ok(())),
        DayOfMonth | DayOfWeek | DayOfYear | DaysInMonth | Hour | Minute | Month | Year
            if args.is_empty() =>
        {
            // Of the instant of evaluation itself, to the second.
            let floats = grid.times().map(|at| date::of(function, (at / 1000) as f64)).collect();
            let points = Column { floats, histograms: Vec::new() };
            sink(Series { labels: Labels::empty(), drop_name: false, points })
        }
        LabelReplace => label::replace(evaluation, args, grid, sink),
        LabelJoin => label::join(evaluation, args, grid, sink),
        Sort | SortDesc | SortByLabel | SortByLabelDesc => {
            sort::sort(evaluation, function, args, span, grid, sink)
        }
        HistogramQuantile | HistogramQuantiles | HistogramFraction => {
            buckets::call(evaluation, function, args, grid, sink)
        }
        HistogramAvg | HistogramCount | HistogramSum | HistogramStddev | HistogramStdvar => {
            let of = |h: &_| match function {
                HistogramAvg => histogram::average(h),
                HistogramCount => h.count,
                HistogramSum => h.sum,
                HistogramStddev => histogram::stddev(h),
                _ => histogram::stdvar(h),
            };
            evaluation.each(&args[0], grid, &mut |mut series| {
                let mut points = Column::empty(grid.count);
                for (i, h) in series.points.histograms.iter().enumerate() {
                    if let Some(h) = h {
                        points.floats[i] = of(h);
                    }
                }
                series.drop_name = true;
                sink(Series { points, ..series })
            })
        }
        _ => of_floats(evaluation, function, args, grid, sink),
    }
}

/// Evaluates a function that gives a scalar.
pub(crate) fn scalar(
    evaluation: &Evaluation<'_>,
    function: Function,
    args: &[Step],
    grid: Grid,
) -> Result<Vec<f64>, QueryError> {
    let frame = evaluation.frame;
    let seconds = |ms: i64| ms as f64 / 1000.0;
    let always = |value: f64| Ok(vec![value; grid.count]);
    match function {
        Function::Pi => always(PI),
        Function::Time => Ok(grid.times().map(seconds).collect()),
        Function::Step => always(seconds(frame.step)),
        Function::Range => always(seconds(frame.end - frame.grid.start)),
        Function::Start => always(seconds(frame.grid.start)),
        Function::End => always(seconds(frame.end)),
        Function::Scalar => {
            let mut values = vec![f64::NAN; grid.count];
            let mut seen = vec![0_u8; grid.count];
            evaluation.each(&args[0], grid, &mut |series| {
                for (i, &value) in series.points.floats.iter().enumerate() {
                    if !is_absent(value) {
                        // Of several, none is the one.
                        values[i] = if seen[i] == 0 { value } else { f64::NAN };
                        seen[i] = 1;
                    }
                }
                Ok(())
            })?;
            Ok(values)
        }
        _ => unreachable!("the parser has checked the types"),
    }
}

impl Step {
    /// What a selector asks for; nothing of any other expression.
    fn matchers(&self) -> &[hms_ops_core::matcher::Matcher] {
        match &self.op {
            Op::Newest(newest) => &newest.matchers,
            _ => &[],
        }
    }
}

/// What a function over a window needs, its scalar arguments evaluated.
fn over_window<'e>(
    evaluation: &'e Evaluation<'e>,
    function: Function,
    args: &[Step],
    place: usize,
    window: &Window,
    grid: Grid,
) -> Result<window::Call<'e>, QueryError> {
    use Function::{Changes, Delta, Increase, Rate, Resets};
    let name = function.signature().name;
    let refused = |modifier: &str, with: &str| {
        let reason = format!("{modifier} modifier can only be used with: {with} - not with {name}");
        Err(QueryError::Failed(reason))
    };
    match window.edges {
        Some(Edges::Anchored)
            if !matches!(function, Changes | Delta | Increase | Rate | Resets) =>
        {
            return refused("anchored", "changes, delta, increase, rate, resets");
        }
        Some(Edges::Smoothed) if !matches!(function, Delta | Increase | Rate) => {
            return refused("smoothed", "delta, increase, rate");
        }
        _ => {}
    }
    let scalars = args.iter().enumerate().filter(|(i, _)| *i != place);
    let scalars = scalars.map(|(_, arg)| evaluation.scalar(arg, grid)).collect::<Result<_, _>>()?;
    Ok(window::Call { function, scalars, span: args[0].span, evaluation })
}

/// One series of ones where `evaluate` gives nothing, with the labels that `matchers` name.
fn absent(
    matchers: &[hms_ops_core::matcher::Matcher],
    grid: Grid,
    sink: Sink<'_>,
    evaluate: impl FnOnce(Sink<'_>) -> Result<(), QueryError>,
) -> Result<(), QueryError> {
    let mut floats = vec![1.0; grid.count];
    evaluate(&mut |series| {
        for (i, float) in floats.iter_mut().enumerate() {
            if series.points.has(i) {
                *float = crate::eval::column::ABSENT;
            }
        }
        Ok(())
    })?;
    let labels = label::of_absent(matchers);
    sink(Series { labels, drop_name: true, points: Column { floats, histograms: Vec::new() } })
}

fn looks_like_counter(name: &str) -> bool {
    name.is_empty()
        || ["_total", "_sum", "_count", "_bucket"].iter().any(|suffix| name.ends_with(suffix))
}

fn has_floats(points: &Column) -> bool {
    points.floats.iter().any(|v| !is_absent(*v))
}

/// The functions of one float; histograms are left out.
fn of_floats(
    evaluation: &Evaluation<'_>,
    function: Function,
    args: &[Step],
    grid: Grid,
    sink: Sink<'_>,
) -> Result<(), QueryError> {
    use Function::{
        Abs, Acos, Acosh, Asin, Asinh, Atan, Atanh, Ceil, Clamp, ClampMax, ClampMin, Cos, Cosh,
        Deg, Exp, Floor, Ln, Log2, Log10, Rad, Round, Sgn, Sin, Sinh, Sqrt, Tan, Tanh,
    };
    let scalars: Vec<Vec<f64>> =
        args[1..].iter().map(|arg| evaluation.scalar(arg, grid)).collect::<Result<_, _>>()?;
    let apply = |i: usize, value: f64| -> f64 {
        match function {
            Abs => value.abs(),
            Ceil => value.ceil(),
            Floor => value.floor(),
            Exp => value.exp(),
            Sqrt => value.sqrt(),
            Ln => value.ln(),
            Log2 => value.log2(),
            Log10 => value.log10(),
            Sin => value.sin(),
            Cos => value.cos(),
            Tan => value.tan(),
            Asin => value.asin(),
            Acos => value.acos(),
            Atan => value.atan(),
            Sinh => value.sinh(),
            Cosh => value.cosh(),
            Tanh => value.tanh(),
            Asinh => value.asinh(),
            Acosh => value.acosh(),
            Atanh => value.atanh(),
            Rad => value * PI / 180.0,
            Deg => value * 180.0 / PI,
            Sgn if value > 0.0 => 1.0,
            Sgn if value < 0.0 => -1.0,
            Sgn => value,
            Clamp => clamp(value, scalars[0][i], scalars[1][i]),
            ClampMin => clamp(value, scalars[0][i], f64::INFINITY),
            ClampMax => clamp(value, f64::NEG_INFINITY, scalars[0][i]),
            Round => {
                // The inverse is more often exact.
                let inverse = 1.0 / scalars.first().map_or(1.0, |to| to[i]);
                (value * inverse + 0.5).floor() / inverse
            }
            date => date::of(date, value),
        }
    };
    evaluation.each(&args[0], grid, &mut |mut series| {
        series.points.histograms = Vec::new();
        for (i, value) in series.points.floats.iter_mut().enumerate() {
            if !is_absent(*value) {
                *value = apply(i, *value);
            }
        }
        series.drop_name = true;
        sink(series)
    })
}

/// Between `min` and `max`; nothing if there is nothing between, NaN if one of the three is.
fn clamp(value: f64, min: f64, max: f64) -> f64 {
    if max < min {
        return crate::eval::column::ABSENT;
    }
    if value.is_nan() || min.is_nan() || max.is_nan() {
        return f64::NAN;
    }
    value.min(max).max(min)
}
