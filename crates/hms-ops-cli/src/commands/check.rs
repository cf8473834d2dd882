//! `hms-ops check`: whether config files, and rule files of Prometheus, can be used.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Error;
use hms_ops::{Config, rule_files};

use crate::failure::{MISUSE, line};
use crate::screen::plain;

/// One line for each file that cannot be used, as `file:line: sentence`, which editors understand.
pub(crate) fn run(files: &[PathBuf]) -> ExitCode {
    let mut broken = 0;
    for file in files {
        match check(file) {
            Ok(warnings) => {
                warnings.iter().for_each(|warning| eprintln!("{}", plain(warning)));
                println!("{}: ok", file.display());
            }
            Err(error) => {
                broken += 1;
                eprintln!("{}", line(&error));
            }
        }
    }
    if broken == 0 { ExitCode::SUCCESS } else { ExitCode::from(MISUSE) }
}

/// What is likely a mistake in a file that can be used.
fn check(file: &Path) -> Result<Vec<String>, Error> {
    let ending = file.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    if matches!(ending, "yml" | "yaml") {
        let read = rule_files::load(file)?;
        return Ok(read.warnings.iter().map(ToString::to_string).collect());
    }
    Config::from_file(file)?;
    Ok(Vec::new())
}
