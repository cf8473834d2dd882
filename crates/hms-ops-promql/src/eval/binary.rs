//! Binary operators: of scalars, of a vector and a scalar, and of two vectors whose series find each
//! other by labels.

use std::collections::HashMap;

use hms_ops_core::labels::{Labels, NAME};
use hms_ops_core::query::QueryError;

use super::column::{Column, Grid, Point, Series, is_absent, without_metadata};
use super::{Evaluation, Kept, Sink};
use crate::ast::BinaryOp::{
    self, Add, Atan2, Div, Equal, Greater, GreaterOrEqual, Less, LessOrEqual, Mod, Mul, NotEqual,
    Pow, Sub, TrimLower, TrimUpper,
};
use crate::ast::{Binary, Cardinality, Matching, Span, Type};
use crate::histogram;
use crate::notice::Notice;
use crate::plan::Step;

/// Changes the sign of every value.
pub(super) fn negate(points: &mut Column) {
    for value in points.floats.iter_mut().filter(|v| !is_absent(**v)) {
        *value = -*value;
    }
    for histogram in points.histograms.iter_mut().flatten() {
        *histogram = std::sync::Arc::new(histogram::scale(histogram, -1.0));
    }
}

/// The result for two scalars; of a comparison 0 or 1.
pub(super) fn of_scalars(op: BinaryOp, left: f64, right: f64) -> f64 {
    match compare(op, left, right) {
        Some(holds) => f64::from(u8::from(holds)),
        None => arithmetic(op, left, right),
    }
}

fn arithmetic(op: BinaryOp, left: f64, right: f64) -> f64 {
    match op {
        Add => left + right,
        Sub => left - right,
        Mul => left * right,
        Div => left / right,
        Mod => left % right,
        Pow => left.powf(right),
        Atan2 => left.atan2(right),
        _ => f64::NAN,
    }
}

/// Whether a comparison holds; `None` of what compares nothing.
fn compare(op: BinaryOp, left: f64, right: f64) -> Option<bool> {
    Some(match op {
        Equal => left == right,
        NotEqual => left != right,
        Less => left < right,
        LessOrEqual => left <= right,
        Greater => left > right,
        GreaterOrEqual => left >= right,
        _ => return None,
    })
}

/// Whether the result is another metric than the operand.
fn changes_metric(op: BinaryOp) -> bool {
    matches!(op, Add | Sub | Mul | Div | Mod | Pow | Atan2)
}

/// What comes of two values.
enum Outcome {
    Value(Point),
    /// A comparison that holds, or does not: the left value stays, or goes.
    Holds(bool),
    /// There is no such operation.
    Nothing,
}

/// An operator at its place, which says what it notices.
struct Operator<'e> {
    op: BinaryOp,
    span: Span,
    evaluation: &'e Evaluation<'e>,
}

impl Operator<'_> {
    fn apply(&self, left: &Point, right: &Point) -> Outcome {
        use Point::{Float, Histogram};
        match (left, right) {
            (Float(left), Float(right)) => match (compare(self.op, *left, *right), self.op) {
                (Some(holds), _) => Outcome::Holds(holds),
                (None, TrimLower | TrimUpper) => self.incompatible("float", "float"),
                (None, op) => Outcome::Value(Float(arithmetic(op, *left, *right))),
            },
            (Float(factor), Histogram(h)) => match self.op {
                Mul => Outcome::Value(histogram::scale(h, *factor).into()),
                _ => self.incompatible("float", "histogram"),
            },
            (Histogram(h), Float(number)) => match self.op {
                Mul => Outcome::Value(histogram::scale(h, *number).into()),
                Div => Outcome::Value(histogram::divide(h, *number).into()),
                TrimUpper => Outcome::Value(histogram::trim_upper(h, *number).into()),
                TrimLower => Outcome::Value(histogram::trim_lower(h, *number).into()),
                _ => self.incompatible("histogram", "float"),
            },
            (Histogram(left), Histogram(right)) => match self.op {
                Add => self.sum("addition", histogram::add(left, right)),
                Sub => self.sum("subtraction", histogram::sub(left, right)),
                Equal => Outcome::Holds(histogram::equal(left, right)),
                NotEqual => Outcome::Holds(!histogram::equal(left, right)),
                _ => self.incompatible("histogram", "histogram"),
            },
        }
    }

    fn sum(
        &self,
        during: &'static str,
        result: Result<histogram::Outcome, histogram::Incompatible>,
    ) -> Outcome {
        let Ok(result) = result else {
            let op = self.op.to_string();
            self.evaluation.notice(&Notice::IncompatibleBuckets { op: &op }, self.span);
            return Outcome::Nothing;
        };
        if result.conflicting_resets {
            self.evaluation.notice(&Notice::ConflictingResets { during }, self.span);
        }
        if result.reconciled_edges {
            self.evaluation.notice(&Notice::ReconciledEdges { during }, self.span);
        }
        Outcome::Value(result.histogram.into())
    }

    fn incompatible(&self, left: &'static str, right: &'static str) -> Outcome {
        let op = self.op.to_string();
        let notice = Notice::IncompatibleTypes { left, op: &op, right };
        self.evaluation.notice(&notice, self.span);
        Outcome::Nothing
    }
}

fn bool_point(holds: bool) -> Point {
    Point::Float(f64::from(u8::from(holds)))
}

impl Evaluation<'_> {
    pub(super) fn binary(
        &self,
        of: &Binary,
        left: &Step,
        right: &Step,
        span: Span,
        grid: Grid,
        sink: Sink<'_>,
    ) -> Result<(), QueryError> {
        match (left.returns, right.returns, &of.matching) {
            (Type::InstantVector, Type::Scalar, _) => {
                self.with_scalar(of, left, right, false, span, grid, sink)
            }
            (Type::Scalar, Type::InstantVector, _) => {
                self.with_scalar(of, right, left, true, span, grid, sink)
            }
            (_, _, Some(matching)) if of.op.is_set() => {
                self.set_operation(of.op, left, right, matching, grid, sink)
            }
            (_, _, Some(matching)) => {
                let operator = Operator { op: of.op, span, evaluation: self };
                let (left, right) = (self.keep(left, grid)?, self.keep(right, grid)?);
                Join { operator, matching, returns_bool: of.returns_bool, grid }
                    .run(&left, &right, sink)
            }
            _ => unreachable!("the parser has checked the types"),
        }
    }

    /// A vector and a scalar; `swapped` says that the scalar is at the left.
    #[expect(clippy::too_many_arguments, reason = "an operator and all it works on")]
    fn with_scalar(
        &self,
        of: &Binary,
        vector: &Step,
        scalar: &Step,
        swapped: bool,
        span: Span,
        grid: Grid,
        sink: Sink<'_>,
    ) -> Result<(), QueryError> {
        let scalar = self.scalar(scalar, grid)?;
        let operator = Operator { op: of.op, span, evaluation: self };
        let changes = changes_metric(of.op) || of.returns_bool;
        self.each(vector, grid, &mut |mut series| {
            series.drop_name |= changes;
            let points = &mut series.points;
            if points.histograms.is_empty() && changes_metric(of.op) {
                for (value, scalar) in points.floats.iter_mut().zip(&scalar) {
                    if !is_absent(*value) {
                        let (left, right) =
                            if swapped { (*scalar, *value) } else { (*value, *scalar) };
                        *value = arithmetic(of.op, left, right);
                    }
                }
                return sink(series);
            }
            for (i, scalar) in scalar.iter().enumerate() {
                let Some(value) = points.get(i) else { continue };
                let scalar = Point::Float(*scalar);
                let (left, right) = if swapped { (&scalar, &value) } else { (&value, &scalar) };
                let result = match operator.apply(left, right) {
                    Outcome::Value(value) => Some(value),
                    Outcome::Holds(holds) if of.returns_bool => Some(bool_point(holds)),
                    // It is the vector's value that stays, on either side.
                    Outcome::Holds(true) => continue,
                    Outcome::Holds(false) | Outcome::Nothing => None,
                };
                points.set(i, result);
            }
            sink(series)
        })
    }

    fn set_operation(
        &self,
        op: BinaryOp,
        left: &Step,
        right: &Step,
        matching: &Matching,
        grid: Grid,
        sink: Sink<'_>,
    ) -> Result<(), QueryError> {
        let mut present: HashMap<Labels, Vec<bool>> = HashMap::new();
        let mut remember = |series: &Series| {
            let there = present.entry(signature(&series.labels, matching)).or_default();
            there.resize(grid.count, false);
            for (i, there) in there.iter_mut().enumerate() {
                *there |= series.points.has(i);
            }
        };
        let keep_where = |series: &mut Series, there: Option<&Vec<bool>>, wanted: bool| {
            for i in 0..grid.count {
                if there.is_some_and(|there| there[i]) != wanted {
                    series.points.clear(i);
                }
            }
        };
        if op == BinaryOp::Or {
            self.each(left, grid, &mut |series| {
                remember(&series);
                sink(series)
            })?;
            return self.each(right, grid, &mut |mut series| {
                let there = present.get(&signature(&series.labels, matching));
                keep_where(&mut series, there, false);
                sink(series)
            });
        }
        self.each(right, grid, &mut |series| {
            remember(&series);
            Ok(())
        })?;
        self.each(left, grid, &mut |mut series| {
            let there = present.get(&signature(&series.labels, matching));
            keep_where(&mut series, there, op == BinaryOp::And);
            sink(series)
        })
    }
}

/// By what series find each other.
fn signature(labels: &Labels, matching: &Matching) -> Labels {
    let names: Vec<&str> = matching.labels.iter().map(String::as_str).collect();
    if matching.on { labels.only(&names) } else { labels.without(&[&names[..], &[NAME]].concat()) }
}

/// Two vectors whose series are brought together.
struct Join<'e> {
    operator: Operator<'e>,
    matching: &'e Matching,
    returns_bool: bool,
    grid: Grid,
}

/// The series of both sides that go together: `many` by their places, `one` by theirs.
#[derive(Default)]
struct Group {
    many: Vec<usize>,
    one: Vec<usize>,
}

impl Join<'_> {
    fn run(&self, left: &Kept<'_>, right: &Kept<'_>, sink: Sink<'_>) -> Result<(), QueryError> {
        // The side of one is at the right, unless it was said to be at the left.
        let swapped = self.matching.cardinality == Cardinality::OneToMany;
        let (many, one) = if swapped { (right, left) } else { (left, right) };
        let (many, one) = (&many.series[..], &one.series[..]);
        let fills = (self.matching.fill_left, self.matching.fill_right);
        let (fill_many, fill_one) = if swapped { (fills.1, fills.0) } else { fills };
        // Where one side has nothing at all, nothing is brought together, and nothing can be wrong.
        let there: Vec<bool> = match fills {
            (None, None) => {
                let any = |of: &[Series], i| of.iter().any(|s| s.points.has(i));
                (0..self.grid.count).map(|i| any(many, i) && any(one, i)).collect()
            }
            _ => vec![true; self.grid.count],
        };

        let mut places: HashMap<Labels, usize> = HashMap::new();
        let mut groups: Vec<Group> = Vec::new();
        let mut place = |labels: &Labels, groups: &mut Vec<Group>| {
            *places.entry(signature(labels, self.matching)).or_insert_with(|| {
                groups.push(Group::default());
                groups.len() - 1
            })
        };
        for (i, series) in many.iter().enumerate() {
            let group = place(&series.labels, &mut groups);
            groups[group].many.push(i);
        }
        for (i, series) in one.iter().enumerate() {
            let group = place(&series.labels, &mut groups);
            groups[group].one.push(i);
        }

        for group in &groups {
            self.operator.evaluation.alive()?;
            let partners = self.partners(group, one, &there)?;
            self.join(group, many, one, &partners, fill_many, fill_one, swapped, sink)?;
        }
        Ok(())
    }

    /// For each step which series of the side of one is there, if any.
    fn partners(
        &self,
        group: &Group,
        one: &[Series],
        there: &[bool],
    ) -> Result<Vec<Option<usize>>, QueryError> {
        let mut partners = vec![None; self.grid.count];
        for &candidate in &group.one {
            for (i, partner) in partners.iter_mut().enumerate() {
                if !there[i] || !one[candidate].points.has(i) {
                    continue;
                }
                if let Some(other) = partner.replace(candidate) {
                    return Err(self.too_many(&one[candidate], &one[other]));
                }
            }
        }
        Ok(partners)
    }

    #[expect(clippy::too_many_arguments, reason = "both sides and how they are joined")]
    fn join(
        &self,
        group: &Group,
        many: &[Series],
        one: &[Series],
        partners: &[Option<usize>],
        fill_many: Option<f64>,
        fill_one: Option<f64>,
        swapped: bool,
        sink: Sink<'_>,
    ) -> Result<(), QueryError> {
        let steps = self.grid.count;
        let mut matched = vec![false; steps];
        // Which labels have a value at which steps, where several could have the same ones.
        let mut taken: HashMap<Labels, Vec<bool>> = HashMap::new();
        let one_to_one = self.matching.cardinality == Cardinality::OneToOne;
        for &place in &group.many {
            let series = &many[place];
            // For each partner that it has at some step, one series comes out.
            let mut outs: Vec<(Option<usize>, Series)> = Vec::new();
            for i in 0..steps {
                let Some(value) = series.points.get(i) else { continue };
                let partner = match (partners[i], fill_one) {
                    (Some(partner), _) => {
                        let point = one[partner].points.get(i);
                        (Some(partner), point.expect("a partner is there"))
                    }
                    (None, Some(fill)) => (None, Point::Float(fill)),
                    (None, None) => continue,
                };
                if one_to_one && std::mem::replace(&mut matched[i], true) {
                    return Err(QueryError::Failed(
                        "multiple matches for labels: many-to-one matching must be explicit \
                         (group_left/group_right)"
                            .to_owned(),
                    ));
                }
                matched[i] = true;
                let out = match outs.iter().position(|(of, _)| *of == partner.0) {
                    Some(out) => out,
                    None => {
                        let other = partner.0.map(|partner| &one[partner].labels);
                        outs.push((partner.0, self.result(series, other)));
                        outs.len() - 1
                    }
                };
                let out = &mut outs[out].1;
                if !one_to_one && group.many.len() > 1 {
                    let taken =
                        taken.entry(out.labels.clone()).or_insert_with(|| vec![false; steps]);
                    if std::mem::replace(&mut taken[i], true) {
                        return Err(QueryError::Failed(
                            "multiple matches for labels: grouping labels must ensure unique \
                             matches"
                                .to_owned(),
                        ));
                    }
                }
                self.put(out, i, value, partner.1, swapped);
            }
            outs.into_iter().try_for_each(|(_, out)| sink(out))?;
        }

        let Some(fill) = fill_many else { return Ok(()) };
        for &partner in &group.one {
            let labels = self.match_labels(&one[partner].labels);
            let alone = Series { labels, drop_name: false, points: Column::empty(self.grid.count) };
            let mut out = self.result(&alone, Some(&one[partner].labels));
            for i in (0..steps).filter(|i| !matched[*i]) {
                if let Some(value) = one[partner].points.get(i) {
                    self.put(&mut out, i, Point::Float(fill), value, swapped);
                }
            }
            sink(out)?;
        }
        Ok(())
    }

    /// Puts what comes of two values at step `i`.
    fn put(&self, out: &mut Series, i: usize, many: Point, one: Point, swapped: bool) {
        let (left, right) = if swapped { (one, many) } else { (many, one) };
        let point = match self.operator.apply(&left, &right) {
            Outcome::Value(value) => value,
            Outcome::Holds(holds) if self.returns_bool => bool_point(holds),
            Outcome::Holds(true) => left,
            Outcome::Holds(false) | Outcome::Nothing => return,
        };
        out.points.set(i, Some(point));
    }

    /// The series that comes of one with many like it and its partner.
    fn result(&self, many: &Series, one: Option<&Labels>) -> Series {
        let mut labels = many.labels.clone();
        if changes_metric(self.operator.op) {
            labels = without_metadata(&labels);
        }
        let names: Vec<&str> = self.matching.labels.iter().map(String::as_str).collect();
        if self.matching.cardinality == Cardinality::OneToOne {
            labels = if self.matching.on { labels.only(&names) } else { labels.without(&names) };
        }
        let missing = match one {
            Some(_) => None,
            // What stands for a partner has the labels by which it would have been found.
            None => Some(self.match_labels(&many.labels)),
        };
        let other = one.or(missing.as_ref()).expect("one of both is there");
        for name in &self.matching.include {
            labels = labels.with(name, other.get(name).unwrap_or_default());
        }
        let drop_name = self.returns_bool || many.drop_name;
        Series { labels, drop_name, points: Column::empty(self.grid.count) }
    }

    fn match_labels(&self, labels: &Labels) -> Labels {
        signature(labels, self.matching)
    }

    fn too_many(&self, found: &Series, other: &Series) -> QueryError {
        let side = match self.matching.cardinality {
            Cardinality::OneToMany => "left",
            _ => "right",
        };
        let group = braced(&self.match_labels(&found.labels));
        let (found, other) = (braced(&found.labels), braced(&other.labels));
        QueryError::Failed(format!(
            "found duplicate series for the match group {group} on the {side} hand-side of the \
             operation: [{found}, {other}];many-to-many matching not allowed: matching labels must \
             be unique on one side"
        ))
    }
}

/// Labels with the name among them, as Prometheus writes them in errors.
pub(super) fn braced(labels: &Labels) -> String {
    let pairs: Vec<_> = labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    format!("{{{}}}", pairs.join(", "))
}
