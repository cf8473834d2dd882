//! Span contexts in the headers of HTTP requests.
//!
//! Source: W3C Trace Context, level 2, section 3. `tracestate` is not read and not passed on.

use std::sync::atomic::{AtomicU64, Ordering};

use hms_ops_core::span::{SpanContext, TRACE_ID_HEADER, TRACEPARENT, TraceId};
use http::{HeaderMap, HeaderName, HeaderValue};

const TRACEPARENT_NAME: HeaderName = HeaderName::from_static(TRACEPARENT);
const TRACE_ID_NAME: HeaderName = HeaderName::from_static(TRACE_ID_HEADER);

static CONFLICTS: AtomicU64 = AtomicU64::new(0);

/// The parent that a request names: `traceparent` where it is valid, else `x-hms-trace-id`.
///
/// A header that is there twice names nothing. When the two name different traces, `traceparent`
/// wins, and it is counted in [`conflicts`].
///
/// ```
/// use hms_ops_trace::propagation::{extract, inject};
/// use hms_ops_trace::SpanContext;
///
/// let (here, mut headers) = (SpanContext::root(), http::HeaderMap::new());
/// inject(&here, &mut headers);
/// assert_eq!(headers["x-hms-trace-id"], here.trace_id.to_string());
/// assert_eq!(extract(&headers), Some(here));
/// ```
pub fn extract(headers: &HeaderMap) -> Option<SpanContext> {
    let trace_id = only(headers, &TRACE_ID_NAME);
    let parent = SpanContext::from_headers(only(headers, &TRACEPARENT_NAME), trace_id)?;
    let other = trace_id.and_then(|id| id.parse::<TraceId>().ok());
    if other.is_some_and(|other| other != parent.trace_id) {
        CONFLICTS.fetch_add(1, Ordering::Relaxed);
    }
    Some(parent)
}

/// Sets both headers, in place of those that were there.
pub fn inject(context: &SpanContext, headers: &mut HeaderMap) {
    let value = |text: String| HeaderValue::try_from(text).expect("digits and dashes may be sent");
    headers.insert(TRACEPARENT_NAME, value(context.to_traceparent()));
    headers.insert(TRACE_ID_NAME, value(context.trace_id.to_string()));
}

/// How many requests named two traces.
pub fn conflicts() -> u64 {
    CONFLICTS.load(Ordering::Relaxed)
}

fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok().map(str::trim),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const OTHER: &str = "ffffffffffffffffffffffffffffffff";

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair =
            |&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
        let mut headers = HeaderMap::new();
        for (name, value) in pairs.iter().map(pair) {
            headers.append(name, value);
        }
        headers
    }

    #[test]
    fn traceparent_wins_and_the_conflict_is_counted() {
        let before = conflicts();
        let same = [("traceparent", PARENT), ("x-hms-trace-id", &PARENT[3..35])];
        assert_eq!(extract(&headers(&same)).unwrap().to_traceparent(), PARENT);
        let broken = [("traceparent", "00-"), ("x-hms-trace-id", OTHER)];
        assert_eq!(extract(&headers(&broken)).unwrap().trace_id.to_string(), OTHER);
        assert_eq!(conflicts(), before);

        let conflict = [("traceparent", PARENT), ("x-hms-trace-id", OTHER)];
        assert_eq!(extract(&headers(&conflict)).unwrap().to_traceparent(), PARENT);
        assert_eq!(conflicts(), before + 1);
    }

    #[test]
    fn a_header_that_is_there_twice_names_nothing() {
        let twice = headers(&[("traceparent", PARENT), ("traceparent", PARENT)]);
        assert_eq!(extract(&twice), None);
        assert_eq!(extract(&HeaderMap::new()), None);
    }

    #[test]
    fn injected_headers_replace_those_of_the_caller() {
        let mut there = headers(&[("traceparent", PARENT), ("x-hms-trace-id", OTHER)]);
        let here = SpanContext::from_traceparent(PARENT).unwrap().child();
        inject(&here, &mut there);
        assert_eq!(there.len(), 2);
        assert_eq!(extract(&there), Some(here));
    }
}
