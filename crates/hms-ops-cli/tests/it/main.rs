//! The `hms-ops` binary as people and scripts meet it.

mod program;

mod command_line;
#[cfg(target_os = "linux")]
mod lab;
#[cfg(unix)]
mod serve;
