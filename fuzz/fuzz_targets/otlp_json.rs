//! Spans that a service sends as OTLP in JSON.
#![no_main]

use hms_ops_collect::otlp::{decode, encode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    let Ok(spans) = decode(body) else { return };
    let encoded = encode(&spans);
    let again = decode(&encoded).expect("what is sent can be read");
    // Texts, not spans: a NaN is not equal to itself, and spans are sent by service.
    assert_eq!(encode(&again), encoded);
    assert_eq!(again.len(), spans.len());
});
