//! Functions that put the series of an instant in order.

use std::cmp::Ordering;

use hms_ops_core::query::QueryError;

use super::number;
use crate::ast::Span;
use crate::eval::column::{Grid, Series, is_absent};
use crate::eval::{Evaluation, Sink};
use crate::function::Function;
use crate::notice::Notice;
use crate::plan::{Op, Step};

pub(super) fn sort(
    evaluation: &Evaluation<'_>,
    function: Function,
    args: &[Step],
    span: Span,
    grid: Grid,
    sink: Sink<'_>,
) -> Result<(), QueryError> {
    use Function::{Sort, SortByLabel, SortDesc};
    if evaluation.frame.step > 0 {
        evaluation.notice(&Notice::IneffectiveSort, span);
    }
    let mut kept = evaluation.keep(&args[0], grid)?;
    let series = &mut kept.series;
    if matches!(function, Sort | SortDesc) {
        // Histograms have no order.
        for series in series.iter_mut() {
            series.points.histograms = Vec::new();
        }
        series.retain(|series| series.points.floats.iter().any(|v| !is_absent(*v)));
        let value = |series: &Series| series.points.floats[0];
        match function {
            Sort => series.sort_by(|a, b| number::ascending(value(a), value(b))),
            _ => series.sort_by(|a, b| number::descending(value(a), value(b))),
        }
    } else {
        let labels: Vec<&str> = args[1..]
            .iter()
            .filter_map(|arg| if let Op::Text(label) = &arg.op { Some(&**label) } else { None })
            .collect();
        let by_labels = |a: &Series, b: &Series| {
            let value = |series: &Series, label: &str| {
                series.labels.get(label).unwrap_or_default().to_owned()
            };
            let differ = labels.iter().map(|label| natural(&value(a, label), &value(b, label)));
            differ
                .into_iter()
                .find(|order| order.is_ne())
                .unwrap_or_else(|| a.labels.cmp(&b.labels))
        };
        match function {
            SortByLabel => series.sort_by(by_labels),
            _ => series.sort_by(|a, b| by_labels(b, a)),
        }
    }
    std::mem::take(series).into_iter().try_for_each(sink)
}

/// As people sort: runs of digits by the number that they are; where that says nothing, by the text.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut rest_a, mut rest_b) = (a, b);
    while !rest_a.is_empty() && !rest_b.is_empty() {
        let ((run_a, after_a), (run_b, after_b)) = (run(rest_a), run(rest_b));
        let number = |run: &str| run.starts_with(|c: char| c.is_ascii_digit());
        let order = if number(run_a) && number(run_b) {
            let (x, y) = (run_a.trim_start_matches('0'), run_b.trim_start_matches('0'));
            x.len().cmp(&y.len()).then(x.cmp(y))
        } else {
            run_a.cmp(run_b)
        };
        if order.is_ne() {
            return order;
        }
        (rest_a, rest_b) = (after_a, after_b);
    }
    rest_b.is_empty().cmp(&rest_a.is_empty()).then(a.cmp(b))
}

/// The first run of digits, or of anything else, and the rest.
fn run(text: &str) -> (&str, &str) {
    let digits = text.starts_with(|c: char| c.is_ascii_digit());
    text.split_at(text.find(|c: char| c.is_ascii_digit() != digits).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_names_are_in_the_order_of_their_size() {
        let mut names = ["host10", "host9", "host01a", "host01", "a", "", "host1b", "host1"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["", "a", "host01", "host1", "host01a", "host1b", "host9", "host10"]);
    }
}
