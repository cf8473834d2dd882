//! Quantiles and fractions of histograms, native ones and those of many series with `le`.

use std::collections::HashMap;

use hms_ops_core::labels::Labels;
use hms_ops_core::query::QueryError;
use hms_ops_core::sample::Histogram;

use super::number;
use crate::ast::Span;
use crate::eval::column::{Column, Grid, Series, is_absent};
use crate::eval::{Evaluation, Kept, Sink};
use crate::function::Function;
use crate::histogram::classic::{self, Bucket};
use crate::histogram::{self, QuantileNote};
use crate::notice::{Forced, Notice};
use crate::plan::{Op, Step};

/// The label with the upper edge of a bucket.
const LE: &str = "le";

pub(super) fn call(
    evaluation: &Evaluation<'_>,
    function: Function,
    args: &[Step],
    grid: Grid,
    sink: Sink<'_>,
) -> Result<(), QueryError> {
    let scalars = |args: &[Step]| -> Result<Vec<Vec<f64>>, QueryError> {
        args.iter().map(|arg| evaluation.scalar(arg, grid)).collect()
    };
    let vector = match function {
        Function::HistogramQuantile => &args[1],
        Function::HistogramQuantiles => &args[0],
        _ => &args[2],
    };
    let kept = evaluation.keep(vector, grid)?;
    let found = Found::new(evaluation, &kept, vector.span);
    let of = Of { evaluation, span: vector.span, grid };
    match function {
        Function::HistogramFraction => {
            let edges = scalars(&args[..2])?;
            let fraction = |i: usize, h: &Histogram, metric: &str| {
                let (fraction, has_nan) = histogram::fraction(edges[0][i], edges[1][i], h);
                if has_nan {
                    evaluation.notice(&Notice::NanFraction { metric }, vector.span);
                }
                fraction
            };
            let of_buckets = |i: usize, buckets: &mut Vec<Bucket>, _: &str| {
                classic::bucket_fraction(edges[0][i], edges[1][i], buckets)
            };
            found.each(&of, &fraction, &of_buckets, &mut |series| sink(series))
        }
        Function::HistogramQuantile => {
            let q = evaluation.scalar(&args[0], grid)?;
            of.check(&q, args[0].span);
            found.quantiles(&of, &q, &mut |series| sink(series))
        }
        _ => {
            let Op::Text(label) = &args[1].op else {
                unreachable!("the parser has checked the types")
            };
            for (q, arg) in scalars(&args[2..])?.iter().zip(&args[2..]) {
                of.check(q, arg.span);
                // Which quantile it is may change from step to step.
                found.quantiles(&of, q, &mut |series| {
                    by_quantile(series, label, q).into_iter().try_for_each(&mut *sink)
                })?;
            }
            Ok(())
        }
    }
}

/// One series for each value that `q` has.
fn by_quantile(series: Series, label: &str, q: &[f64]) -> Vec<Series> {
    let mut distinct: Vec<f64> = q.to_vec();
    distinct.sort_by(f64::total_cmp);
    distinct.dedup_by_key(|q| q.to_bits());
    let named = |q: f64| series.labels.with(label, &number::canonical(q));
    if let [only] = distinct[..] {
        return vec![Series { labels: named(only), ..series }];
    }
    let at = |wanted: f64| {
        let mut points = series.points.clone();
        (0..q.len()).filter(|i| q[*i].to_bits() != wanted.to_bits()).for_each(|i| points.clear(i));
        Series { labels: named(wanted), drop_name: series.drop_name, points }
    };
    distinct.into_iter().map(at).collect()
}

/// What a function of histograms works on.
struct Of<'e> {
    evaluation: &'e Evaluation<'e>,
    /// Where the vector stands.
    span: Span,
    grid: Grid,
}

impl Of<'_> {
    fn check(&self, q: &[f64], span: Span) {
        for &q in q.iter().filter(|q| !(0.0..=1.0).contains(*q)) {
            self.evaluation.notice(&Notice::BadQuantile(q), span);
        }
    }
}

/// The histograms of a vector.
struct Found<'k> {
    /// Those that are one series.
    native: Vec<&'k Series>,
    /// Those that are one series for each bucket.
    classic: Vec<Classic<'k>>,
    /// Where a native one has the labels of a classic one.
    twins: HashMap<Labels, usize>,
}

struct Classic<'k> {
    labels: Labels,
    drop_name: bool,
    buckets: Vec<(f64, &'k Series)>,
}

impl<'k> Found<'k> {
    fn new(evaluation: &Evaluation<'_>, kept: &'k Kept<'_>, span: Span) -> Self {
        let mut found = Self { native: Vec::new(), classic: Vec::new(), twins: HashMap::new() };
        for series in &kept.series {
            if series.points.histograms.iter().any(Option::is_some) {
                found.native.push(series);
            }
            if series.points.floats.iter().all(|v| is_absent(*v)) {
                continue;
            }
            let le = series.labels.get(LE).unwrap_or_default();
            let Some(upper) = edge(le) else {
                let notice = Notice::BadBucketLabel { le, metric: series.name() };
                evaluation.notice(&notice, span);
                continue;
            };
            let labels = series.labels.without(&[LE]);
            let place = *found.twins.entry(labels.clone()).or_insert_with(|| {
                let (drop_name, buckets) = (true, Vec::new());
                found.classic.push(Classic { labels, drop_name, buckets });
                found.classic.len() - 1
            });
            found.classic[place].buckets.push((upper, series));
        }
        found
    }

    fn quantiles(&self, of: &Of<'_>, q: &[f64], sink: Sink<'_>) -> Result<(), QueryError> {
        let native = |i: usize, h: &Histogram, metric: &str| {
            let (value, note) = histogram::quantile(q[i], h);
            match note {
                Some(QuantileNote::ResultIsNan) => {
                    of.evaluation.notice(&Notice::NanQuantile { metric }, of.span);
                }
                Some(QuantileNote::SkewedHigher) => {
                    of.evaluation.notice(&Notice::SkewedQuantile { metric }, of.span);
                }
                None => {}
            }
            value
        };
        let of_buckets = |i: usize, buckets: &mut Vec<Bucket>, metric: &str| {
            let (value, was) = classic::bucket_quantile(q[i], buckets);
            if was.forced {
                let (edges, at) = ((was.lowest, was.highest), of.grid.at(i));
                let forced = Forced { edges, by: was.largest, samples: 1, times: (at, at) };
                of.evaluation.notice(&Notice::ForcedMonotonic { metric, forced }, of.span);
            }
            value
        };
        self.each(of, &native, &of_buckets, sink)
    }

    /// One series for each histogram.
    fn each(
        &self,
        of: &Of<'_>,
        native: &dyn Fn(usize, &Histogram, &str) -> f64,
        classic: &dyn Fn(usize, &mut Vec<Bucket>, &str) -> f64,
        sink: Sink<'_>,
    ) -> Result<(), QueryError> {
        let steps = of.grid.count;
        // Where both kinds are there, neither can be trusted.
        let mut both: Vec<Vec<usize>> = vec![Vec::new(); self.classic.len()];
        for series in &self.native {
            let twin = self.twins.get(&series.labels).copied();
            let mut points = Column::empty(steps);
            for i in 0..steps {
                let Some(h) = series.points.histogram(i) else { continue };
                let has = |(_, of): &(f64, &Series)| !is_absent(of.points.floats[i]);
                if let Some(twin) = twin.filter(|twin| self.classic[*twin].buckets.iter().any(has))
                {
                    let notice = Notice::MixedClassicNative { metric: series.name() };
                    of.evaluation.notice(&notice, of.span);
                    both[twin].push(i);
                    continue;
                }
                points.floats[i] = native(i, h, series.name());
            }
            sink(Series { labels: series.labels.clone(), drop_name: true, points })?;
        }
        let mut buckets: Vec<Bucket> = Vec::new();
        for (place, histogram) in self.classic.iter().enumerate() {
            of.evaluation.alive()?;
            let metric = histogram.labels.name().unwrap_or_default();
            let mut points = Column::empty(steps);
            for i in 0..steps {
                buckets.clear();
                buckets.extend(histogram.buckets.iter().filter_map(|(upper, series)| {
                    let count = series.points.floats[i];
                    (!is_absent(count)).then_some(Bucket { upper: *upper, count })
                }));
                if !buckets.is_empty() && !both[place].contains(&i) {
                    points.floats[i] = classic(i, &mut buckets, metric);
                }
            }
            let (labels, drop_name) = (histogram.labels.clone(), histogram.drop_name);
            sink(Series { labels, drop_name, points })?;
        }
        Ok(())
    }
}

/// The upper edge that a label says.
fn edge(le: &str) -> Option<f64> {
    match le {
        "+Inf" | "Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        le => le.parse().ok(),
    }
}
