//! What there is: series, labels and their values, exemplars, metadata.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use hms_ops_core::labels::Labels;
use hms_ops_core::matcher::Matcher;
use hms_ops_core::metadata::Metadata;
use hms_ops_core::sample::Exemplar;

use super::document::{Document, Notices};
use super::form::Form;
use super::{Asked, Failure, Shared, json};
use crate::ast::{Expr, Node};
use crate::parse;

pub(super) async fn series(
    State(shared): State<Arc<Shared>>,
    asked: Asked,
) -> Result<Response, Failure> {
    let form = &asked.form;
    if form.all("match[]").next().is_none() {
        return Err(Failure::bad_data("no match[] parameter provided"));
    }
    let (limit, range) = (form.limit()?, form.range()?);
    let selectors = form.selectors().map_err(|why| Failure::invalid("match[]", why))?;
    let mut found = Vec::new();
    for matchers in &selectors {
        found.extend(shared.store.series(matchers, range).await?);
    }
    if selectors.len() > 1 {
        found.sort();
        found.dedup();
    }
    let write = |out: &mut Vec<u8>, labels: Labels| json::labels(out, &labels);
    Ok(asked.answer(limited(found, limit, write)))
}

pub(super) async fn label_names(
    State(shared): State<Arc<Shared>>,
    asked: Asked,
) -> Result<Response, Failure> {
    let form = &asked.form;
    let (limit, range) = (form.limit()?, form.range()?);
    let mut found = Vec::new();
    for matchers in &any(form)? {
        found.push(shared.store.label_names(matchers, range).await?);
    }
    Ok(asked.answer(texts(found, limit)))
}

pub(super) async fn label_values(
    State(shared): State<Arc<Shared>>,
    name: Result<Path<String>, PathRejection>,
    asked: Asked,
) -> Result<Response, Failure> {
    let form = &asked.form;
    let Ok(Path(name)) = name else { return Err(Failure::bad_data("invalid label name")) };
    let (limit, range) = (form.limit()?, form.range()?);
    let mut found = Vec::new();
    for matchers in &any(form)? {
        found.push(shared.store.label_values(&name, matchers, range).await?);
    }
    Ok(asked.answer(texts(found, limit)))
}

/// The selectors of `match[]`; every series where there is none.
fn any(form: &Form) -> Result<Vec<Vec<Matcher>>, Failure> {
    let mut selectors = form.selectors().map_err(Failure::bad_data)?;
    if selectors.is_empty() {
        selectors.push(Vec::new());
    }
    Ok(selectors)
}

/// Sorted lists made one.
fn texts(mut lists: Vec<Vec<String>>, limit: usize) -> Document {
    let all = match lists.len() {
        1 => lists.swap_remove(0),
        _ => lists.into_iter().flatten().collect::<BTreeSet<_>>().into_iter().collect(),
    };
    limited(all, limit, |out, text| json::text(out, &text))
}

fn limited<T: Send + 'static>(
    items: Vec<T>,
    limit: usize,
    write: impl FnMut(&mut Vec<u8>, T) + Send + 'static,
) -> Document {
    let mut notices = Notices::default();
    if items.len() > limit {
        notices.truncated();
    }
    Document::list(b"", items.into_iter().take(limit), write, b"", &notices)
}

pub(super) async fn exemplars(
    State(shared): State<Arc<Shared>>,
    asked: Asked,
) -> Result<Response, Failure> {
    let form = &asked.form;
    let range = form.range()?;
    if range.end < range.start {
        return Err(Failure::bad_data("end timestamp must not be before start timestamp"));
    }
    let selectors = selectors_of(form.get("query")).map_err(Failure::bad_data)?;
    if selectors.is_empty() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let mut found: BTreeMap<Labels, Vec<Exemplar>> = BTreeMap::new();
    for matchers in &selectors {
        found.extend(shared.store.exemplars(matchers, range).await?);
    }
    let write = |out: &mut Vec<u8>, (series, exemplars): (Labels, Vec<Exemplar>)| {
        out.extend_from_slice(br#"{"seriesLabels":"#);
        json::labels(out, &series);
        out.extend_from_slice(br#","exemplars":"#);
        json::list(out, exemplars, |out, exemplar| {
            out.extend_from_slice(br#"{"labels":"#);
            json::labels(out, &exemplar.labels);
            out.extend_from_slice(br#","value":"#);
            json::quoted_number(out, exemplar.value);
            out.extend_from_slice(br#","timestamp":"#);
            json::timestamp(out, exemplar.at);
            out.push(b'}');
        });
        out.push(b'}');
    };
    Ok(asked.answer(limited(found.into_iter().collect(), usize::MAX, write)))
}

/// The selectors in a query, each once for each place.
fn selectors_of(query: &str) -> Result<Vec<Vec<Matcher>>, String> {
    fn collect(expr: Expr, into: &mut Vec<Vec<Matcher>>) {
        match expr.node {
            Node::Number(_) | Node::String(_) => {}
            Node::Vector(selector) => into.push(selector.matchers),
            Node::Matrix(matrix) => into.push(matrix.selector.matchers),
            Node::Subquery(subquery) => collect(*subquery.expr, into),
            Node::Paren(inner) => collect(*inner, into),
            Node::Unary(unary) => collect(*unary.operand, into),
            Node::Binary(binary) => {
                collect(*binary.left, into);
                collect(*binary.right, into);
            }
            Node::Aggregate(aggregate) => {
                aggregate.param.into_iter().for_each(|param| collect(*param, into));
                collect(*aggregate.expr, into);
            }
            Node::Call(call) => call.args.into_iter().for_each(|arg| collect(arg, into)),
        }
    }
    let mut selectors = Vec::new();
    collect(parse(query).map_err(|error| error.to_string())?, &mut selectors);
    Ok(selectors)
}

pub(super) async fn metadata(
    State(shared): State<Arc<Shared>>,
    asked: Asked,
) -> Result<Response, Failure> {
    let form = &asked.form;
    let limit = form.count("limit")?.unwrap_or(usize::MAX);
    // Of each metric there is one.
    form.count("limit_per_metric")?;
    let mut known = match form.get("metric") {
        "" => shared.metadata.snapshot(),
        metric => shared.metadata.get(metric).map(|of| (metric.into(), of)).into_iter().collect(),
    };
    known.truncate(limit);
    let (mut known, mut first) = (known.into_iter(), true);
    let rest = move |out: &mut Vec<u8>| {
        let Some((metric, Metadata { metric_type, help, unit })) = known.next() else {
            return false;
        };
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        json::text(out, &metric);
        out.extend_from_slice(br#":[{"type":"#);
        json::text(out, &metric_type.to_string());
        out.extend_from_slice(br#","help":"#);
        json::text(out, &help);
        out.extend_from_slice(br#","unit":"#);
        json::text(out, &unit);
        out.extend_from_slice(b"}]");
        true
    };
    Ok(asked.answer(Document::success(b"{", rest, b"}", &Notices::default())))
}
