//! The values of one series at each step of a grid.

use std::sync::Arc;

use hms_ops_core::labels::{Labels, NAME};
use hms_ops_core::sample::{Histogram, Value};
use hms_ops_core::time::Timestamp;

/// The instants of an evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grid {
    /// The first, in ms.
    pub(crate) start: i64,
    /// From one to the next, in ms; positive.
    pub(crate) step: i64,
    /// How many; may be 0.
    pub(crate) count: usize,
}

impl Grid {
    /// All instants, in ms.
    pub(crate) fn times(self) -> impl ExactSizeIterator<Item = i64> {
        (0..self.count).map(move |i| self.at(i))
    }

    /// The `i`th instant, in ms.
    pub(crate) fn at(self, i: usize) -> i64 {
        self.start + self.step * i as i64
    }

    /// The last instant, in ms; the first if there is none.
    pub(crate) fn end(self) -> i64 {
        self.at(self.count.saturating_sub(1))
    }

    /// Only the first instant.
    pub(crate) fn first(self) -> Self {
        Self { count: self.count.min(1), ..self }
    }
}

/// A value at one instant.
#[derive(Clone, Debug)]
pub(crate) enum Point {
    Float(f64),
    Histogram(Arc<Histogram>),
}

impl From<Histogram> for Point {
    fn from(histogram: Histogram) -> Self {
        Self::Histogram(Arc::new(histogram))
    }
}

/// What stands where a series has no float. It is never a result: stored, it means that a series has
/// ended.
pub(crate) const ABSENT: f64 = match Value::STALE {
    Value::Float(stale) => stale,
    Value::Histogram(_) => unreachable!(),
};

/// Whether this stands for no value.
pub(crate) fn is_absent(value: f64) -> bool {
    value.to_bits() == ABSENT.to_bits()
}

/// The values of one series, one place for each step.
#[derive(Clone, Debug, Default)]
pub(crate) struct Column {
    /// [`ABSENT`] where there is none.
    pub(crate) floats: Vec<f64>,
    /// Empty while there is none at all.
    pub(crate) histograms: Vec<Option<Arc<Histogram>>>,
}

impl Column {
    /// No value at any of `steps`.
    pub(crate) fn empty(steps: usize) -> Self {
        Self { floats: vec![ABSENT; steps], histograms: Vec::new() }
    }

    /// The value at step `i`.
    pub(crate) fn get(&self, i: usize) -> Option<Point> {
        let float = self.floats[i];
        if is_absent(float) {
            self.histogram(i).map(|h| Point::Histogram(h.clone()))
        } else {
            Some(Point::Float(float))
        }
    }

    /// The histogram at step `i`.
    pub(crate) fn histogram(&self, i: usize) -> Option<&Arc<Histogram>> {
        self.histograms.get(i)?.as_ref()
    }

    /// Whether there is a value at step `i`.
    pub(crate) fn has(&self, i: usize) -> bool {
        !is_absent(self.floats[i]) || self.histogram(i).is_some()
    }

    /// Puts a value, or none, at step `i`.
    pub(crate) fn set(&mut self, i: usize, point: Option<Point>) {
        match point {
            None => self.clear(i),
            Some(Point::Float(float)) => {
                self.floats[i] = float;
                if let Some(histogram) = self.histograms.get_mut(i) {
                    *histogram = None;
                }
            }
            Some(Point::Histogram(histogram)) => {
                if self.histograms.is_empty() {
                    self.histograms.resize(self.floats.len(), None);
                }
                self.floats[i] = ABSENT;
                self.histograms[i] = Some(histogram);
            }
        }
    }

    /// Takes the value at step `i` away.
    pub(crate) fn clear(&mut self, i: usize) {
        self.floats[i] = ABSENT;
        if let Some(histogram) = self.histograms.get_mut(i) {
            *histogram = None;
        }
    }

    /// Whether there is no value at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.floats.iter().all(|v| is_absent(*v)) && self.histograms.iter().all(Option::is_none)
    }

    /// The value of the only step, at each of `steps`.
    pub(crate) fn spread(self, steps: usize) -> Self {
        let float = self.floats.first().copied().unwrap_or(ABSENT);
        let histograms = match self.histograms.into_iter().next() {
            Some(Some(histogram)) => vec![Some(histogram); steps],
            _ => Vec::new(),
        };
        Self { floats: vec![float; steps], histograms }
    }

    /// About how many bytes it takes.
    pub(crate) fn bytes(&self) -> u64 {
        let buckets: usize =
            self.histograms.iter().flatten().map(|h| 9 + h.positive.len() + h.negative.len()).sum();
        (self.floats.len() * 8 + self.histograms.len() * 8 + buckets * 16) as u64
    }
}

/// One series of a result on its way.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    pub(crate) labels: Labels,
    /// Whether the name is to be dropped in the end; until then functions of labels can read it.
    pub(crate) drop_name: bool,
    pub(crate) points: Column,
}

impl Series {
    /// The metric's name, or nothing.
    pub(crate) fn name(&self) -> &str {
        self.labels.name().unwrap_or_default()
    }

    /// The labels in the end.
    pub(crate) fn final_labels(&self) -> Labels {
        if self.drop_name { without_metadata(&self.labels) } else { self.labels.clone() }
    }
}

/// The labels that say what a metric is, and not what it is of.
const METADATA: [&str; 3] = [NAME, "__type__", "__unit__"];

/// These labels without the metric's name, type and unit.
pub(crate) fn without_metadata(labels: &Labels) -> Labels {
    labels.without(&METADATA)
}

/// A value as it goes out.
pub(crate) fn sample_value(point: Point) -> Value {
    match point {
        Point::Float(value) => Value::Float(value),
        Point::Histogram(histogram) => Value::Histogram(histogram),
    }
}

/// An instant as it goes out.
pub(crate) fn timestamp(ms: i64) -> Timestamp {
    Timestamp::from_millis(ms)
}
