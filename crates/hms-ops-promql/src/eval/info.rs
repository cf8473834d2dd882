//! `info`: series with the labels of info metrics, which say more about the same target.

use std::collections::HashMap;

use hms_ops_core::labels::{Labels, NAME};
use hms_ops_core::matcher::Matcher;
use hms_ops_core::query::QueryError;
use hms_ops_core::sample::Value;

use super::binary::braced;
use super::column::{Column, Grid, Point, Series, is_absent};
use super::select::pick;
use super::{Evaluation, Sink};
use crate::plan::{Newest, Step};

/// The labels that name a target.
const TARGET: [&str; 2] = ["instance", "job"];

/// The info series of one target and one info metric.
type Candidates = Vec<Series>;

impl Evaluation<'_> {
    pub(super) fn info(
        &self,
        of: &Step,
        info: &Newest,
        grid: Grid,
        sink: Sink<'_>,
    ) -> Result<(), QueryError> {
        let matchers = &info.matchers;
        let names: Vec<&Matcher> = matchers.iter().filter(|m| m.name() == NAME).collect();
        let wanted: Vec<&Matcher> = matchers.iter().filter(|m| m.name() != NAME).collect();
        // By target, then by metric.
        let mut targets: HashMap<Labels, HashMap<String, Candidates>> = HashMap::new();
        self.newest_of_each(info, |labels, samples| {
            let mut points = Column::empty(grid.count);
            pick(samples, info, grid, |i, sample| match &sample.value {
                // When it was taken says which one of two counts; its value is always 1.
                Value::Float(_) => points.floats[i] = sample.at.as_millis() as f64,
                Value::Histogram(h) => points.set(i, Some(Point::Histogram(h.clone()))),
            });
            let series = Series { labels: labels.clone(), drop_name: false, points };
            let metrics = targets.entry(labels.only(&TARGET)).or_default();
            metrics.entry(series.name().to_owned()).or_default().push(series);
            Ok(())
        })?;
        let nothing = HashMap::new();
        self.each(of, grid, &mut |series| {
            let name = series.name();
            if names.iter().all(|matcher| matcher.accepts(name)) {
                return sink(series);
            }
            let target = series.labels.only(&TARGET);
            let metrics = if target.is_empty() { None } else { targets.get(&target) };
            enrich(&series, metrics.unwrap_or(&nothing), &wanted, grid, sink)
        })
    }
}

/// Hands on one series for each set of labels that the info series say over time.
fn enrich(
    series: &Series,
    metrics: &HashMap<String, Candidates>,
    wanted: &[&Matcher],
    grid: Grid,
    sink: Sink<'_>,
) -> Result<(), QueryError> {
    let may_be_alone = wanted.iter().all(|matcher| matcher.matches_empty());
    let mut outs: Vec<(Labels, Column)> = Vec::new();
    for i in 0..grid.count {
        let Some(point) = series.points.get(i) else { continue };
        let mut added: Vec<(&str, &str)> = Vec::new();
        let mut found = false;
        for candidates in metrics.values() {
            let Some(info) = newest(candidates, i)? else { continue };
            found = true;
            let said = info.labels.iter().filter(|(name, _)| {
                *name != NAME && (wanted.is_empty() || wanted.iter().any(|m| m.name() == *name))
            });
            for (name, value) in said {
                if added.iter().any(|(other, said)| *other == name && *said != value) {
                    return Err(QueryError::Failed(format!("conflicting label: {name}")));
                }
                if series.labels.get(name).is_none() {
                    added.push((name, value));
                }
            }
        }
        if !found && !may_be_alone {
            continue;
        }
        let labels = Labels::from_pairs(series.labels.iter().chain(added));
        let place = outs.iter().position(|(known, _)| *known == labels).unwrap_or_else(|| {
            outs.push((labels, Column::empty(grid.count)));
            outs.len() - 1
        });
        outs[place].1.set(i, Some(point));
    }
    let drop_name = series.drop_name;
    outs.into_iter().try_for_each(|(labels, points)| sink(Series { labels, drop_name, points }))
}

/// The info series with the newest sample; two with the same time contradict each other.
fn newest(candidates: &[Series], i: usize) -> Result<Option<&Series>, QueryError> {
    let mut newest: Option<(&Series, f64)> = None;
    for candidate in candidates {
        if candidate.points.histogram(i).is_some() {
            return Err(QueryError::Failed(format!(
                "this should be an info metric, with float samples: {}",
                braced(&candidate.labels)
            )));
        }
        let at = candidate.points.floats[i];
        match newest {
            _ if is_absent(at) => {}
            Some((_, newer)) if newer > at => {}
            Some((other, same)) if same == at => {
                return Err(QueryError::Failed(format!(
                    "found duplicate series for info metric: existing {} @ {same}, new {} @ {at}",
                    braced(&other.labels),
                    braced(&candidate.labels)
                )));
            }
            _ => newest = Some((candidate, at)),
        }
    }
    Ok(newest.map(|(series, _)| series))
}
