//! The `hms-ops` binary as people and scripts meet it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod program;

mod command_line;
#[cfg(target_os = "linux")]
mod lab;
#[cfg(unix)]
mod query;
mod rules;
#[cfg(unix)]
mod serve;
mod tsdb;
