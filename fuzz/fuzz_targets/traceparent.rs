//! The trace headers of a request: `traceparent`, a line feed, `x-hms-trace-id`.
#![no_main]

use hms_ops_core::span::{SpanContext, TRACE_ID_HEADER, TRACEPARENT};
use hms_ops_trace::propagation::{extract, inject};
use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut headers = HeaderMap::new();
    for (name, value) in
        [TRACEPARENT, TRACE_ID_HEADER].into_iter().zip(bytes.split(|b| *b == b'\n'))
    {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.insert(name, value);
        }
    }
    let Some(context) = extract(&headers) else { return };
    assert_eq!(SpanContext::from_traceparent(&context.to_traceparent()), Some(context));
    inject(&context, &mut headers);
    assert_eq!(extract(&headers), Some(context));
});
