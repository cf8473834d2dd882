//! `/federate`: the newest sample of each series, as text.
//!
//! Source: `prometheus/prometheus` 3.x, `web/federate.go`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use hms_ops_core::exposition::Format;
use hms_ops_core::labels::{Escaped, INSTANCE, Labels, NAME};
use hms_ops_core::query::LOOKBACK;
use hms_ops_core::sample::Sample;
use hms_ops_core::store::SelectHint;
use hms_ops_core::time::{TimeRange, Timestamp};

use super::document::Document;
use super::{Asked, Failure, Shared, json};

/// Samples that ended, and native histograms, which the text has no form for, are left out.
pub(super) async fn federate(State(shared): State<Arc<Shared>>, asked: Asked) -> Response {
    let selectors = match asked.form.selectors() {
        Ok(selectors) => selectors,
        Err(why) => return (StatusCode::BAD_REQUEST, format!("{why}\n")).into_response(),
    };
    let range = TimeRange::last(LOOKBACK, shared.clock.now());
    // By name first: a family stands together. The label `__name__` sorts among others.
    let mut newest = BTreeMap::new();
    let mut samples = Vec::new();
    for matchers in &selectors {
        let hint = SelectHint { only_last: true };
        let mut read = async || {
            let mut set = shared.store.select(matchers, range, &hint).await?;
            while set.advance()? {
                samples.clear();
                set.read(&mut samples)?;
                let Some(Sample { at, value }) = samples.pop() else { continue };
                let value = value.as_float().filter(|_| !value.is_stale());
                let (labels, Some(value)) = (set.labels(), value) else { continue };
                if let Some(name) = labels.name() {
                    newest.insert((name.to_owned(), labels.clone()), (at, value));
                }
            }
            Ok::<_, Failure>(())
        };
        if let Err(failure) = read().await {
            return failure.into_response();
        }
    }
    let mut family = String::new();
    let mut items = newest.into_iter();
    let rest = move |out: &mut Vec<u8>| {
        let Some(((name, labels), (at, value))) = items.next() else { return false };
        if name != family {
            out.extend_from_slice(format!("# TYPE {name} untyped\n").as_bytes());
            family.clone_from(&name);
        }
        line(out, &name, &labels, at, value);
        true
    };
    asked.answer(Document::text(Format::Text.content_type(), rest))
}

/// `name{label="value",instance=""} 17.5 1700000000123`. Without an instance of its own a series
/// says so, or it would get that of the server it is read from.
fn line(out: &mut Vec<u8>, name: &str, labels: &Labels, at: Timestamp, value: f64) {
    out.extend_from_slice(name.as_bytes());
    let missing = labels.get(INSTANCE).is_none().then_some((INSTANCE, ""));
    let mut open = b'{';
    for (name, value) in labels.iter().filter(|(name, _)| *name != NAME).chain(missing) {
        out.push(open);
        out.extend_from_slice(format!("{name}=\"{}\"", Escaped(value)).as_bytes());
        open = b',';
    }
    out.extend_from_slice(b"} ");
    json::number(out, value);
    out.extend_from_slice(format!(" {}\n", at.as_millis()).as_bytes());
}
