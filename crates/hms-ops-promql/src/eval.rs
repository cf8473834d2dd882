//! Evaluation: from a plan and the series that were selected for it to a result.
//!
//! Each operation works on all instants of its grid at once, one series after the other: a series
//! comes out of the store, goes through everything that looks at one series alone, and is gone again
//! when an aggregation has it. Only what must see several series together keeps them.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use hms_ops_core::labels::Labels;
use hms_ops_core::query::{Answer, Data, QueryError};
use hms_ops_core::sample::{Sample, Value};
use hms_ops_core::store::SeriesSet;

use crate::ast::{Span, Type};
use crate::functions;
use crate::notice::{Notice, Notices};
use crate::plan::{Frame, Op, Plan, Step};

pub(crate) mod aggregate;
mod binary;
pub(crate) mod column;
mod info;
mod select;

use self::column::{Column, Grid, Series, is_absent, sample_value, timestamp};

/// What an evaluation may use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Samples read from the store.
    pub(crate) samples: u64,
    /// Bytes of results on their way.
    pub(crate) bytes: u64,
}

/// One evaluation under way.
pub(crate) struct Evaluation<'a> {
    query: &'a str,
    pub(crate) frame: Frame,
    limits: Limits,
    stop: &'a AtomicBool,
    selected: RefCell<Vec<Option<Box<dyn SeriesSet>>>>,
    samples: Cell<u64>,
    bytes: Cell<u64>,
    notices: RefCell<Notices>,
}

/// Where series go, one after the other.
pub(crate) type Sink<'s> = &'s mut dyn FnMut(Series) -> Result<(), QueryError>;

/// Series that are kept together, and the memory that they were given.
pub(crate) struct Kept<'e> {
    pub(crate) series: Vec<Series>,
    bytes: u64,
    of: &'e Cell<u64>,
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        self.of.set(self.of.get() - self.bytes);
    }
}

/// Evaluates `plan` over what was selected for it; `query` is its text.
pub(crate) fn evaluate(
    query: &str,
    plan: &Plan,
    frame: Frame,
    selected: Vec<Box<dyn SeriesSet>>,
    limits: Limits,
    stop: &AtomicBool,
) -> Result<Answer, QueryError> {
    let evaluation = Evaluation {
        query,
        frame,
        limits,
        stop,
        selected: RefCell::new(selected.into_iter().map(Some).collect()),
        samples: Cell::new(0),
        bytes: Cell::new(0),
        notices: RefCell::default(),
    };
    let data = evaluation.answer(plan)?;
    let (warnings, infos) = evaluation.notices.into_inner().into_texts(query);
    Ok(Answer { data, warnings, infos })
}

impl Evaluation<'_> {
    /// The result of a query at one instant; of a range it is always a matrix.
    fn answer(&self, plan: &Plan) -> Result<Data, QueryError> {
        let (root, grid) = (&plan.root, self.frame.grid);
        let is_range = self.frame.step > 0;
        let at = timestamp(grid.start);
        match root.returns {
            Type::String => match &root.op {
                Op::Text(text) => Ok(Data::Text(at, text.clone())),
                _ => unreachable!("only literals are texts"),
            },
            Type::Scalar if !is_range => {
                let values = self.scalar(root, grid)?;
                Ok(Data::Scalar(at, values[0]))
            }
            Type::Scalar => {
                let values = self.scalar(root, grid)?;
                let samples = grid.times().zip(values);
                let samples = samples.map(|(t, v)| Sample { at: timestamp(t), value: v.into() });
                Ok(Data::Matrix(vec![(Labels::empty(), samples.collect())]))
            }
            Type::RangeVector => self.matrix(root, grid),
            Type::InstantVector => {
                let kept = self.keep(root, grid)?;
                let merged = merge(named(&kept.series, Series::final_labels))?;
                if is_range {
                    let mut matrix: Vec<_> = merged
                        .into_iter()
                        .map(|(labels, column)| (labels, samples(&column, grid)))
                        .filter(|(_, samples)| !samples.is_empty())
                        .collect();
                    matrix.sort_by(|a, b| a.0.cmp(&b.0));
                    return Ok(Data::Matrix(matrix));
                }
                let mut vector: Vec<_> = merged
                    .into_iter()
                    .filter_map(|(labels, column)| {
                        Some((labels, Sample { at, value: sample_value(column.get(0)?) }))
                    })
                    .collect();
                if !plan.is_ordered {
                    vector.sort_by(|a, b| a.0.cmp(&b.0));
                }
                Ok(Data::Vector(vector))
            }
        }
    }

    /// Evaluates what gives an instant vector, and hands its series on one by one. Some may have no
    /// value at all.
    pub(crate) fn each(&self, step: &Step, grid: Grid, sink: Sink<'_>) -> Result<(), QueryError> {
        self.alive()?;
        if grid.count == 0 {
            return Ok(());
        }
        match &step.op {
            Op::Newest(newest) => self.newest(newest, step.span, grid, sink),
            Op::NewestTime(newest) => self.newest_time(newest, grid, sink),
            Op::Constant(of) => self.each(of, grid.first(), &mut |mut series| {
                series.points = series.points.spread(grid.count);
                sink(series)
            }),
            Op::Negate(of) => self.each(of, grid, &mut |mut series| {
                binary::negate(&mut series.points);
                series.drop_name = true;
                sink(series)
            }),
            Op::Binary { of, left, right } => self.binary(of, left, right, step.span, grid, sink),
            Op::Aggregate { op, by, of, param } => {
                self.aggregate(*op, by, of, param.as_deref(), step.span, grid, sink)
            }
            Op::Call { function, args } => {
                functions::call(self, *function, args, step.span, grid, sink)
            }
            Op::Info { of, info } => self.info(of, info, grid, sink),
            Op::Number(_) | Op::Text(_) | Op::Window(_) => {
                unreachable!("the parser has checked the types")
            }
        }
    }

    /// Evaluates what gives a scalar: one number for each instant.
    pub(crate) fn scalar(&self, step: &Step, grid: Grid) -> Result<Vec<f64>, QueryError> {
        self.alive()?;
        match &step.op {
            Op::Number(value) => Ok(vec![*value; grid.count]),
            Op::Constant(of) => {
                let values = self.scalar(of, grid.first())?;
                Ok(vec![values.first().copied().unwrap_or(f64::NAN); grid.count])
            }
            Op::Negate(of) => Ok(self.scalar(of, grid)?.into_iter().map(|v| -v).collect()),
            Op::Binary { of, left, right } => {
                let (left, right) = (self.scalar(left, grid)?, self.scalar(right, grid)?);
                let pairs = left.into_iter().zip(right);
                Ok(pairs.map(|(left, right)| binary::of_scalars(of.op, left, right)).collect())
            }
            Op::Call { function, args } => functions::scalar(self, *function, args, grid),
            _ => unreachable!("the parser has checked the types"),
        }
    }

    /// Evaluates what gives an instant vector, and keeps all of it.
    pub(crate) fn keep(&self, step: &Step, grid: Grid) -> Result<Kept<'_>, QueryError> {
        let mut kept = Kept { series: Vec::new(), bytes: 0, of: &self.bytes };
        self.each(step, grid, &mut |series| {
            if !series.points.is_empty() {
                self.hold(&mut kept, series)?;
            }
            Ok(())
        })?;
        Ok(kept)
    }

    fn hold(&self, kept: &mut Kept<'_>, series: Series) -> Result<(), QueryError> {
        let bytes = series.points.bytes() + 64 + 32 * series.labels.len() as u64;
        kept.bytes += bytes;
        self.bytes.set(self.bytes.get() + bytes);
        kept.series.push(series);
        match self.bytes.get() {
            held if held > self.limits.bytes => {
                Err(QueryError::TooCostly { unit: "bytes", limit: self.limits.bytes })
            }
            _ => Ok(()),
        }
    }

    /// Counts samples that were read.
    pub(crate) fn count(&self, samples: usize) -> Result<(), QueryError> {
        self.alive()?;
        self.samples.set(self.samples.get() + samples as u64);
        match self.samples.get() {
            read if read > self.limits.samples => {
                Err(QueryError::TooCostly { unit: "samples", limit: self.limits.samples })
            }
            _ => Ok(()),
        }
    }

    /// Whether anybody still waits for the result.
    pub(crate) fn alive(&self) -> Result<(), QueryError> {
        if self.stop.load(Relaxed) { Err(QueryError::Cancelled) } else { Ok(()) }
    }

    /// Takes a notice down.
    pub(crate) fn notice(&self, notice: &Notice<'_>, span: Span) {
        self.notices.borrow_mut().add(notice, span);
    }

    /// How a part of the query is written.
    pub(crate) fn written(&self, span: Span) -> &str {
        self.query.get(span.start..span.end).unwrap_or_default()
    }

    /// What was selected for a slot. Each is read once.
    fn take(&self, slot: usize) -> Box<dyn SeriesSet> {
        let taken = self.selected.borrow_mut()[slot].take();
        taken.expect("each operation of a plan is evaluated once, and has a slot of its own")
    }
}

/// The samples at the instants at which there is a value.
fn samples(column: &Column, grid: Grid) -> Vec<Sample> {
    let floats = column.floats.iter().filter(|v| !is_absent(**v)).count();
    let mut samples = Vec::with_capacity(floats.max(column.histograms.len()));
    if column.histograms.is_empty() {
        let values = grid.times().zip(&column.floats).filter(|(_, v)| !is_absent(**v));
        samples.extend(values.map(|(t, v)| Sample { at: timestamp(t), value: Value::Float(*v) }));
    } else {
        let values = grid.times().enumerate();
        samples.extend(values.filter_map(|(i, t)| {
            Some(Sample { at: timestamp(t), value: sample_value(column.get(i)?) })
        }));
    }
    samples
}

/// Series under other labels.
fn named(series: &[Series], labels: impl Fn(&Series) -> Labels) -> Vec<(Labels, &Column)> {
    series.iter().map(|series| (labels(series), &series.points)).collect()
}

/// Makes one series of those with the same labels, which must not have a value at the same instant.
pub(crate) fn merge(
    series: Vec<(Labels, &Column)>,
) -> Result<Vec<(Labels, std::borrow::Cow<'_, Column>)>, QueryError> {
    use std::borrow::Cow;
    let mut places: HashMap<Labels, usize> = HashMap::with_capacity(series.len());
    let mut merged: Vec<(Labels, Cow<'_, Column>)> = Vec::with_capacity(series.len());
    for (labels, column) in series {
        match places.get(&labels) {
            None => {
                places.insert(labels.clone(), merged.len());
                merged.push((labels, Cow::Borrowed(column)));
            }
            Some(&place) => join(merged[place].1.to_mut(), column)?,
        }
    }
    Ok(merged)
}

/// Adds the values of `more` to `column`.
pub(crate) fn join(column: &mut Column, more: &Column) -> Result<(), QueryError> {
    for i in 0..more.floats.len() {
        let Some(point) = more.get(i) else { continue };
        if column.has(i) {
            return Err(same_labels());
        }
        column.set(i, Some(point));
    }
    Ok(())
}

/// Two series of a result cannot be told apart.
pub(crate) fn same_labels() -> QueryError {
    QueryError::Failed("vector cannot contain metrics with the same labelset".to_owned())
}
