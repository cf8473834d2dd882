//! The hms-ops binary as a library.
//!
//! A team's own engine links its runbooks and calls [`main`]:
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! use hms_ops::prelude::*;
//!
//! #[runbook(on_alert = "claims.latency_ms")]
//! async fn restart_claims(ctx: &mut RunbookContext) -> RunbookResult {
//!     ctx.note("claims are slow").await
//! }
//!
//! fn main() -> ExitCode {
//!     hms_ops_cli::main()
//! }
//! ```

use std::process::ExitCode;

mod args;
mod commands;
mod failure;
mod get;
mod lab;
mod log;
mod screen;
mod signals;
mod stdin;

/// Does what the command line asks for.
///
/// The exit status is 0 when all went well, 2 when the command line or a config file is wrong, and 1
/// when anything else fails; what is wrong is one line on standard error.
///
/// Must be all that `main` does: the process of a runbook, which is this very binary, turns off here
/// before any thread starts.
pub fn main() -> ExitCode {
    hms_ops::enter();
    let command = match args::parse(std::env::args_os()) {
        Ok(command) => command,
        Err(said) => return said.print(),
    };
    match commands::run(command) {
        Ok(status) => status,
        Err(error) => failure::report(&error),
    }
}
