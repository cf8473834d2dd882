//! Behaviour of PromQL, through the public API.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod conformance;
#[cfg(feature = "http")]
mod http;
mod limits;
mod oracle;
mod parser;
mod prometheus;
mod script;

mod engine {
    use hms_ops_promql::Engine;

    hms_ops_testkit::query_suite!(|store| Engine::new(store));
}
