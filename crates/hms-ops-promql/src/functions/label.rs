//! Functions of labels.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use hms_ops_core::labels::{Labels, NAME};
use hms_ops_core::matcher::Matcher;
use hms_ops_core::query::QueryError;
use regex::{Regex, RegexBuilder};

use crate::eval::column::{Grid, Series};
use crate::eval::{Evaluation, Sink, merge};
use crate::plan::{Op, Step};

/// Bytes that a compiled pattern may take.
const PATTERN_BYTES: usize = 1 << 20;

/// `label_replace`: a label made of what a pattern finds in another.
pub(super) fn replace(
    evaluation: &Evaluation<'_>,
    args: &[Step],
    grid: Grid,
    sink: Sink<'_>,
) -> Result<(), QueryError> {
    let [dst, replacement, src, pattern] = [1, 2, 3, 4].map(|i| text(&args[i]));
    let regex = anchored(pattern)
        .map_err(|_| failed(format!("invalid regular expression in label_replace(): {pattern}")))?;
    check(dst, "destination label name in label_replace()")?;
    relabel(evaluation, &args[0], dst, grid, sink, |labels| {
        let found = regex.captures(labels.get(src).unwrap_or_default())?;
        let mut value = String::new();
        found.expand(replacement, &mut value);
        Some(value)
    })
}

/// `label_join`: a label made of several others.
pub(super) fn join(
    evaluation: &Evaluation<'_>,
    args: &[Step],
    grid: Grid,
    sink: Sink<'_>,
) -> Result<(), QueryError> {
    let [dst, separator] = [1, 2].map(|i| text(&args[i]));
    let sources: Vec<&str> = args[3..].iter().map(text).collect();
    for source in &sources {
        check(source, "source label name in label_join()")?;
    }
    check(dst, "destination label name in label_join()")?;
    relabel(evaluation, &args[0], dst, grid, sink, |labels| {
        let values: Vec<_> = sources.iter().map(|s| labels.get(s).unwrap_or_default()).collect();
        Some(values.join(separator))
    })
}

/// Gives each series another value for the label `dst`, where there is one.
fn relabel(
    evaluation: &Evaluation<'_>,
    of: &Step,
    dst: &str,
    grid: Grid,
    sink: Sink<'_>,
    value: impl Fn(&Labels) -> Option<String>,
) -> Result<(), QueryError> {
    let mut kept = evaluation.keep(of, grid)?;
    for series in &mut kept.series {
        if let Some(value) = value(&series.labels) {
            series.labels = series.labels.with(dst, &value);
            // A name that was just given is not to be dropped.
            series.drop_name &= dst != NAME;
        }
    }
    // Two series may have become one. Those with the same labels are of the same kind.
    let drops: std::collections::HashMap<Labels, bool> =
        kept.series.iter().rev().map(|s| (s.labels.clone(), s.drop_name)).collect();
    let series = kept.series.iter().map(|s| (s.labels.clone(), &s.points)).collect();
    for (labels, points) in merge(series)? {
        let drop_name = drops[&labels];
        sink(Series { labels, drop_name, points: points.into_owned() })?;
    }
    Ok(())
}

/// The labels that a series would have had, as far as matchers say: those that ask for one value, and
/// are not asked for again.
pub(super) fn of_absent(matchers: &[Matcher]) -> Labels {
    let mut sure: BTreeMap<&str, Option<&str>> = BTreeMap::new();
    for matcher in matchers.iter().filter(|matcher| matcher.name() != NAME) {
        match (matcher.literal(), sure.entry(matcher.name())) {
            (Some(value), Entry::Vacant(first)) => drop(first.insert(Some(value))),
            (None, Entry::Vacant(_)) => {}
            (_, Entry::Occupied(mut again)) => drop(again.insert(None)),
        }
    }
    Labels::from_pairs(sure.into_iter().filter_map(|(name, value)| Some((name, value?))))
}

fn text(step: &Step) -> &str {
    match &step.op {
        Op::Text(text) => text,
        _ => unreachable!("the parser has checked the types"),
    }
}

fn anchored(pattern: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(&format!("^(?s:{pattern})$")).size_limit(PATTERN_BYTES).build()
}

fn check(name: &str, what: &str) -> Result<(), QueryError> {
    match crate::parser::is_label(name) {
        true => Ok(()),
        false => Err(failed(format!("invalid {what}: {name}"))),
    }
}

fn failed(reason: String) -> QueryError {
    QueryError::Failed(reason)
}
