//! From the points of an export to samples in a batch.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hms_ops_core::labels::Labels;
use hms_ops_core::metadata::{MetadataStore, MetricType};
use hms_ops_core::sample::{self, Value};
use hms_ops_core::store::{Appender, SeriesRef, StoreError};
use hms_ops_core::time::Timestamp;

use super::super::common::{Attribute, Number};
use super::model::{
    Exemplar, ExponentialPoint, Export, Flags, HistogramPoint, Metric, NumberPoint, Points,
    ResourceMetrics, SummaryPoint, Temporality,
};
use super::name::{Suffix, label_name, metric_name, unit_name};
use super::native::MAX_BUCKETS;
use super::series::{PointSeries, Target};
use super::{MAX_SAMPLES, Refused};
use crate::scrape::Commit;
use crate::series_cache::SeriesCache;

const TARGET_INFO: &str = "target_info";
/// How far apart the samples of `target_info` are: half of how far back a query looks for one.
const TARGET_INFO_EVERY: Duration = Duration::from_secs(150);
/// The most samples of `target_info` for one resource; its points may be years apart.
const TARGET_INFOS: u32 = 64;
/// The most exemplars of a point: each is compared with each of its buckets. SDKs keep one a bucket.
const MAX_EXEMPLARS: usize = 1000;
/// The longest set of labels of an exemplar, in characters (OpenMetrics 1.0, "Exemplars").
const MAX_EXEMPLAR_CHARS: usize = 128;

/// Why a point was not taken.
enum Refusal {
    /// It alone.
    Point(String),
    /// It alone, as there is a later sample, or one of the same time.
    Late(String),
    /// The store cannot take anything now.
    Store(StoreError),
}

/// One export on its way into a store.
pub(super) struct Translation<'s> {
    appender: Box<dyn Appender + 's>,
    /// Locked for a look at a time: others read exports at the same time, some on the executor.
    handles: &'s Mutex<SeriesCache>,
    metadata: &'s MetadataStore,
    refused: Refused,
    samples: usize,
    /// From when to when the points of the current resource are, of those that were taken or late.
    seen: Option<(Timestamp, Timestamp)>,
}

/// What a point of any kind has.
struct Point<'a> {
    attributes: &'a [Attribute<'a>],
    at: Number<u64>,
    flags: Flags,
    exemplars: &'a [Exemplar<'a>],
    /// How many samples it becomes.
    samples: usize,
}

/// What a sample of a point is, when it has a value.
struct Sampled {
    suffix: &'static str,
    edge: Option<(&'static str, f64)>,
    value: Value,
    exemplars: Vec<sample::Exemplar>,
}

/// A kind of point.
trait Kind<'a> {
    fn point(&'a self) -> Point<'a>;

    /// Its samples; exemplars are in the order of their time.
    ///
    /// # Errors
    ///
    /// Why there are none.
    fn sampled(
        &'a self,
        exemplars: Vec<sample::Exemplar>,
        each: &mut dyn FnMut(Sampled) -> Result<(), Refusal>,
    ) -> Result<(), Refusal>;
}

impl<'s> Translation<'s> {
    pub(super) fn new(
        appender: Box<dyn Appender + 's>,
        handles: &'s Mutex<SeriesCache>,
        metadata: &'s MetadataStore,
    ) -> Self {
        let refused = Refused::default();
        Self { appender, handles, metadata, refused, samples: 0, seen: None }
    }

    /// What was refused, and the rest on its way.
    pub(super) fn finish(self) -> (Refused, Commit) {
        (self.refused, self.appender.commit())
    }

    /// # Errors
    ///
    /// [`StoreError`] when the store fails; then nothing of the export is to be stored.
    pub(super) fn export(&mut self, export: &Export<'_>) -> Result<(), StoreError> {
        export.resource_metrics.iter().try_for_each(|resource| self.resource(resource))
    }

    fn resource(&mut self, resource: &ResourceMetrics<'_>) -> Result<(), StoreError> {
        let target = Target::new(&resource.resource.attributes);
        self.seen = None;
        for metric in resource.scope_metrics.iter().flat_map(|scope| &scope.metrics) {
            self.metric(&target, metric)?;
        }
        match self.seen {
            Some((first, last)) => self.target_info(&target, first, last),
            None => Ok(()),
        }
    }

    fn metric(&mut self, target: &Target<'_>, metric: &Metric<'_>) -> Result<(), StoreError> {
        use MetricType::{Counter, Gauge, Histogram, Summary};
        if let Some(gauge) = &metric.gauge {
            self.points(target, metric, Gauge, Suffix::Ratio, gauge, None)
        } else if let Some(sum) = &metric.sum {
            let (kind, suffix) = match sum.is_monotonic {
                true => (Counter, Suffix::Total),
                false => (Gauge, Suffix::None),
            };
            let temporality = Some(sum.aggregation_temporality);
            self.points(target, metric, kind, suffix, sum, temporality)
        } else if let Some(points) = &metric.histogram {
            let temporality = Some(points.aggregation_temporality);
            self.points(target, metric, Histogram, Suffix::None, points, temporality)
        } else if let Some(points) = &metric.exponential_histogram {
            let temporality = Some(points.aggregation_temporality);
            self.points(target, metric, Histogram, Suffix::None, points, temporality)
        } else if let Some(summary) = &metric.summary {
            self.points(target, metric, Summary, Suffix::None, summary, None)
        } else {
            Ok(())
        }
    }

    fn points<'a, P: Kind<'a>>(
        &mut self,
        target: &Target<'_>,
        metric: &Metric<'_>,
        metric_type: MetricType,
        suffix: Suffix,
        points: &'a Points<P>,
        temporality: Option<Temporality>,
    ) -> Result<(), StoreError> {
        let points = &points.data_points;
        let reason = match temporality {
            None | Some(Temporality::Cumulative) => None,
            Some(Temporality::Delta) => Some("delta temporality is not taken"),
            Some(Temporality::Unspecified) => Some("no aggregation temporality is given"),
        };
        let name = metric_name(&metric.name, &metric.unit, suffix);
        let (None, Some(name)) = (reason, &name) else {
            let reason = reason.unwrap_or("the name has no letter and no digit");
            self.refused.add(&metric.name, points.len(), reason);
            return Ok(());
        };
        self.metadata.set(name, metric_type, &metric.description, &unit_name(&metric.unit));
        for point in points {
            let taken = self.point(target, name, point);
            // Also one that is late: so an export that is sent again changes nothing.
            if let Ok(()) | Err(Refusal::Late(_)) = taken {
                let at = timestamp(point.point().at);
                let (first, last) = self.seen.unwrap_or((at, at));
                self.seen = Some((first.min(at), last.max(at)));
            }
            match taken {
                Ok(()) => {}
                Err(Refusal::Point(reason) | Refusal::Late(reason)) => {
                    self.refused.add(&metric.name, 1, reason);
                }
                Err(Refusal::Store(error)) => return Err(error),
            }
        }
        Ok(())
    }

    /// Appends the samples of one point.
    fn point<'a, P: Kind<'a>>(
        &mut self,
        target: &Target<'_>,
        name: &str,
        kind: &'a P,
    ) -> Result<(), Refusal> {
        let point = kind.point();
        if point.at.0 == 0 {
            return Err(Refusal::point("it has no time"));
        }
        if self.samples + point.samples > MAX_SAMPLES {
            return Err(Refusal::point(format!("more than {MAX_SAMPLES} samples in one request")));
        }
        let at = timestamp(point.at);
        let ended = point.flags.no_recorded_value();
        let exemplars = if ended { Vec::new() } else { exemplars(point.exemplars, at) };
        let mut series =
            PointSeries::new(target, name, point.attributes.iter()).map_err(Refusal::Point)?;
        kind.sampled(exemplars, &mut |sampled| {
            let value = if ended { Value::STALE } else { sampled.value };
            let handle = self.append(&mut series, sampled.suffix, sampled.edge, at, value)?;
            for exemplar in sampled.exemplars {
                // An example that is refused is no reason to refuse what it stands for.
                let _ = self.appender.exemplar(handle, exemplar);
            }
            Ok(())
        })
    }

    /// Appends one sample.
    fn append(
        &mut self,
        series: &mut PointSeries<'_>,
        suffix: &str,
        edge: Option<(&'static str, f64)>,
        at: Timestamp,
        value: Value,
    ) -> Result<SeriesRef, Refusal> {
        self.samples += 1;
        let key = series.key(suffix, edge);
        let handles = || self.handles.lock().unwrap_or_else(PoisonError::into_inner);
        let found = handles().get(key);
        if let Some(found) = found {
            let handle = found.series;
            match self.appender.append(handle, at, value.clone()) {
                Err(StoreError::UnknownSeries { .. }) => {}
                result => {
                    if found.is_old {
                        handles().add(key.into(), handle);
                    }
                    return result.map(|()| handle).map_err(Refusal::of);
                }
            }
        }
        let labels = series.labels(suffix, edge).map_err(Refusal::Point)?;
        let handle = self.appender.series(&labels).map_err(Refusal::of)?;
        handles().add(series.key(suffix, edge).into(), handle);
        self.appender.append(handle, at, value).map(|()| handle).map_err(Refusal::of)
    }

    /// Says what is known of a target beside its identity, as long as its points tell of it.
    fn target_info(
        &mut self,
        target: &Target<'_>,
        first: Timestamp,
        last: Timestamp,
    ) -> Result<(), StoreError> {
        if target.rest.is_empty() || (target.job.is_none() && target.instance.is_none()) {
            return Ok(());
        }
        let attributes = target.rest.iter().copied();
        let mut series = match PointSeries::new(target, TARGET_INFO, attributes) {
            Ok(series) => series,
            Err(reason) => {
                self.refused.add(TARGET_INFO, 0, reason);
                return Ok(());
            }
        };
        self.metadata.set(TARGET_INFO, MetricType::Gauge, "Attributes of the resource.", "");
        let mut at = first.max(last - TARGET_INFO_EVERY * (TARGET_INFOS - 1));
        loop {
            match self.append(&mut series, "", None, at, Value::Float(1.0)) {
                Ok(_) => {}
                Err(Refusal::Point(reason) | Refusal::Late(reason)) => {
                    self.refused.add(TARGET_INFO, 0, reason);
                }
                Err(Refusal::Store(error)) => return Err(error),
            }
            if at >= last {
                return Ok(());
            }
            at = last.min(at + TARGET_INFO_EVERY);
        }
    }
}

impl Refusal {
    fn point(reason: impl Into<String>) -> Self {
        Self::Point(reason.into())
    }

    fn of(error: StoreError) -> Self {
        match error {
            StoreError::OutOfOrder { .. } | StoreError::Duplicate { .. } => {
                Self::Late(error.to_string())
            }
            StoreError::TooManySeries { .. } | StoreError::TooFarAhead { .. } => {
                Self::Point(error.to_string())
            }
            error => Self::Store(error),
        }
    }
}

impl<'a> Kind<'a> for NumberPoint<'a> {
    fn point(&'a self) -> Point<'a> {
        let Self { attributes, exemplars, flags, .. } = self;
        Point { attributes, at: self.time_unix_nano, flags: *flags, exemplars, samples: 1 }
    }

    fn sampled(
        &'a self,
        exemplars: Vec<sample::Exemplar>,
        each: &mut dyn FnMut(Sampled) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let value = number(self.as_double, self.as_int);
        if value.is_none() && !self.flags.no_recorded_value() {
            return Err(Refusal::point("it has no value"));
        }
        let value = Value::Float(value.unwrap_or_default());
        each(Sampled { suffix: "", edge: None, value, exemplars })
    }
}

impl<'a> Kind<'a> for HistogramPoint<'a> {
    fn point(&'a self) -> Point<'a> {
        let Self { attributes, exemplars, flags, .. } = self;
        let samples = self.bucket_counts.len() + 2;
        Point { attributes, at: self.time_unix_nano, flags: *flags, exemplars, samples }
    }

    fn sampled(
        &'a self,
        mut exemplars: Vec<sample::Exemplar>,
        each: &mut dyn FnMut(Sampled) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        if self.bucket_counts.len() > MAX_BUCKETS {
            return Err(Refusal::point(format!("more than {MAX_BUCKETS} buckets")));
        }
        // A sum that is left out is unknown, not zero.
        if self.sum.is_some() || self.flags.no_recorded_value() {
            let sum = self.sum.map_or(0.0, |sum| sum.0);
            each(Sampled::plain("_sum", sum))?;
        }
        each(Sampled::plain("_count", self.count.0 as f64))?;
        let mut total: u64 = 0;
        let mut bucket = |edge: f64, total: u64| {
            let exemplars = exemplars.extract_if(.., |exemplar| exemplar.value <= edge).collect();
            let value = Value::Float(total as f64);
            each(Sampled { suffix: "_bucket", edge: Some(("le", edge)), value, exemplars })
        };
        for (edge, count) in self.explicit_bounds.iter().zip(&self.bucket_counts) {
            total = total.saturating_add(count.0);
            bucket(edge.0, total)?;
        }
        bucket(f64::INFINITY, self.count.0)
    }
}

impl<'a> Kind<'a> for ExponentialPoint<'a> {
    fn point(&'a self) -> Point<'a> {
        let Self { attributes, exemplars, flags, .. } = self;
        Point { attributes, at: self.time_unix_nano, flags: *flags, exemplars, samples: 1 }
    }

    fn sampled(
        &'a self,
        exemplars: Vec<sample::Exemplar>,
        each: &mut dyn FnMut(Sampled) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let value = match self.flags.no_recorded_value() {
            true => Value::STALE,
            false => Value::Histogram(self.native().map_err(Refusal::Point)?.into()),
        };
        each(Sampled { suffix: "", edge: None, value, exemplars })
    }
}

impl<'a> Kind<'a> for SummaryPoint<'a> {
    fn point(&'a self) -> Point<'a> {
        let Self { attributes, flags, .. } = self;
        let samples = self.quantile_values.len() + 2;
        Point { attributes, at: self.time_unix_nano, flags: *flags, exemplars: &[], samples }
    }

    fn sampled(
        &'a self,
        _: Vec<sample::Exemplar>,
        each: &mut dyn FnMut(Sampled) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        each(Sampled::plain("_sum", self.sum.0))?;
        each(Sampled::plain("_count", self.count.0 as f64))?;
        for quantile in &self.quantile_values {
            let edge = Some(("quantile", quantile.quantile.0));
            let value = Value::Float(quantile.value.0);
            each(Sampled { suffix: "", edge, value, exemplars: Vec::new() })?;
        }
        Ok(())
    }
}

impl Sampled {
    fn plain(suffix: &'static str, value: f64) -> Self {
        Self { suffix, edge: None, value: Value::Float(value), exemplars: Vec::new() }
    }
}

fn number(double: Option<Number<f64>>, int: Option<Number<i64>>) -> Option<f64> {
    double.map(|double| double.0).or(int.map(|int| int.0 as f64))
}

fn timestamp(nanos: Number<u64>) -> Timestamp {
    // A 64-bit number of nanoseconds is no more milliseconds than fit.
    Timestamp::from_millis((nanos.0 / 1_000_000) as i64)
}

/// The exemplars of a point, as many as are kept, in the order of their time; one without a value is
/// none.
fn exemplars(exemplars: &[Exemplar<'_>], at: Timestamp) -> Vec<sample::Exemplar> {
    let mut all: Vec<_> = exemplars
        .iter()
        .filter_map(|exemplar| {
            let value = number(exemplar.as_double, exemplar.as_int)?;
            // None from the future, which would keep later ones out.
            let at = match exemplar.time_unix_nano {
                Number(0) => at,
                time => timestamp(time).min(at),
            };
            Some(sample::Exemplar { labels: exemplar_labels(exemplar), value, at })
        })
        .take(MAX_EXEMPLARS)
        .collect();
    all.sort_by_key(|exemplar| exemplar.at);
    all
}

/// Its trace and span, and its attributes if they are short enough together.
fn exemplar_labels(exemplar: &Exemplar<'_>) -> Labels {
    let mut ids = Vec::new();
    ids.extend(exemplar.trace_id.0.map(|id| ("trace_id".to_owned(), id.to_string())));
    ids.extend(exemplar.span_id.0.map(|id| ("span_id".to_owned(), id.to_string())));
    let chars = |name: &str, value: &str| name.chars().count() + value.chars().count();
    let mut total: usize = ids.iter().map(|(name, value)| chars(name, value)).sum();
    let mut labels = Vec::new();
    for attribute in &exemplar.filtered_attributes {
        let value = attribute.value.text();
        total += chars(&attribute.key, &value);
        if total > MAX_EXEMPLAR_CHARS {
            return Labels::from_pairs(ids);
        }
        labels.extend(label_name(&attribute.key).map(|name| (name, value.into_owned())));
    }
    labels.append(&mut ids);
    Labels::from_pairs(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_exemplars_the_first_are_kept() {
        let exemplar = || Exemplar { as_int: Some(Number(1)), ..Exemplar::default() };
        let many: Vec<_> = (0..=MAX_EXEMPLARS).map(|_| exemplar()).collect();
        assert_eq!(exemplars(&many, Timestamp::from_millis(1)).len(), MAX_EXEMPLARS);
    }
}
