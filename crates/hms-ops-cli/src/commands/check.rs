//! `hms-ops check`: whether config files can be used.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Error;
use hms_ops::Config;

use crate::failure::{MISUSE, line};

/// One line for each file that cannot be used, as `file:line: sentence`, which editors understand.
pub(crate) fn run(files: &[PathBuf]) -> ExitCode {
    let mut broken = 0;
    for file in files {
        match Config::from_file(file) {
            Ok(_) => println!("{}: ok", file.display()),
            Err(error) => {
                broken += 1;
                eprintln!("{}", line(&Error::from(error)));
            }
        }
    }
    if broken == 0 { ExitCode::SUCCESS } else { ExitCode::from(MISUSE) }
}
