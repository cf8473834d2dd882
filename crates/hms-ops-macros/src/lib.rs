//! The attribute macros: `#[trace]`, `#[runbook]` and `#[hms_ops::main]`.
