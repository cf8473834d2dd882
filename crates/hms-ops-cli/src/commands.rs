//! What each command does.

use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::args::{Command, TestCommand};
use crate::lab::{service, users};

mod check;
mod dashboard;
mod lab;
mod query;
mod serve;
mod test_rules;
pub(crate) mod tsdb;

pub(crate) fn run(command: Command) -> Result<ExitCode> {
    let done = match command {
        Command::Check { files } => return Ok(check::run(&files)),
        Command::Test { what: TestCommand::Rules { files, json } } => {
            return test_rules::run(&files, json);
        }
        Command::Lab(args) => return runtime()?.block_on(lab::run(&args)),
        Command::Serve { config, listen, data } => {
            runtime()?.block_on(serve::run(config.as_deref(), listen.as_deref(), data.as_deref()))
        }
        Command::Dashboard { service, url, no_open } => {
            small_runtime()?.block_on(dashboard::run(&service, &url, !no_open))
        }
        Command::Query(args) => runtime()?.block_on(query::run(&args)),
        Command::Tsdb(args) => return small_runtime()?.block_on(tsdb::run(&args)),
        Command::LabService { cluster } => small_runtime()?.block_on(service::run(&cluster)),
        Command::LabUsers { url, users, rate } => {
            small_runtime()?.block_on(users::run(&url, users, rate))
        }
    };
    done.map(|()| ExitCode::SUCCESS)
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.context("cannot start threads")
}

/// For commands that mostly wait.
fn small_runtime() -> Result<tokio::runtime::Runtime> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("cannot start a runtime")
}
