//! `query`, `query_range` and `format_query`.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use hms_ops_core::query::QueryOptions;
use hms_ops_core::time::TimeRange;

use super::document::{Document, Notices};
use super::form::{Form, duration, positive};
use super::{Asked, Failure, Shared, answer, json};
use crate::{format, parse};

/// How many steps of one query are answered.
const MAX_STEPS: u64 = 11_000;

pub(super) async fn instant(
    State(shared): State<Arc<Shared>>,
    mut asked: Asked,
) -> Result<Response, Failure> {
    let form = &asked.form;
    let limit = form.limit()?;
    let at = form.time_or("time", shared.clock.now())?;
    let options = options(form)?;
    let answer = shared.engine.instant(form.get("query"), at, &options).await?;
    asked.keep(answer::bytes(&answer), &shared)?;
    Ok(asked.answer(answer::document(answer, limit)))
}

pub(super) async fn range(
    State(shared): State<Arc<Shared>>,
    mut asked: Asked,
) -> Result<Response, Failure> {
    let form = &asked.form;
    let limit = form.limit()?;
    let range = TimeRange::new(form.time("start")?, form.time("end")?);
    if range.end < range.start {
        return Err(Failure::invalid("end", "end timestamp must not be before start time"));
    }
    let step = step(form)?;
    if range.end.since(range.start).as_millis() / step.as_millis() > MAX_STEPS.into() {
        return Err(Failure::bad_data(
            "exceeded maximum resolution of 11,000 points per timeseries. \
             Try decreasing the query resolution (?step=XX)",
        ));
    }
    let options = options(form)?;
    let answer = shared.engine.range(form.get("query"), range, step, &options).await?;
    asked.keep(answer::bytes(&answer), &shared)?;
    Ok(asked.answer(answer::document(answer, limit)))
}

pub(super) async fn format(asked: Asked) -> Result<Response, Failure> {
    let parsed = parse(asked.form.get("query")).map_err(|why| Failure::invalid("query", why))?;
    let mut text = Vec::new();
    json::text(&mut text, &format::pretty(&parsed));
    Ok(asked.answer(Document::success(&text, |_| false, b"", &Notices::default())))
}

fn step(form: &Form) -> Result<Duration, Failure> {
    let millis = duration(form.get("step")).map_err(|why| Failure::invalid("step", why))?;
    positive(millis).ok_or_else(|| {
        Failure::invalid(
            "step",
            "zero or negative query resolution step widths are not accepted. \
             Try a positive integer",
        )
    })
}

fn options(form: &Form) -> Result<QueryOptions, Failure> {
    let timeout = match form.get("timeout") {
        "" => None,
        text => {
            let millis = duration(text).map_err(|why| Failure::invalid("timeout", why))?;
            // No time at all is over at once.
            Some(positive(millis).unwrap_or_default())
        }
    };
    let lookback = match form.get("lookback_delta") {
        "" => None,
        text => positive(duration(text).map_err(|why| {
            Failure::bad_data(format!("error parsing lookback delta duration: {why}"))
        })?),
    };
    Ok(QueryOptions { timeout, lookback })
}
