//! `hms-ops test rules`: whether rules do what their unit tests expect.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Error, Result};
use hms_ops::rule_tests::{self, Failure, Report};
use serde_json::{Value, json};

use crate::failure::{FAILED, MISUSE, line};
use crate::screen::plain;

/// A file, and what came of it: a report, or why it cannot be used.
type Outcome = (String, Result<Report, String>);

pub(crate) fn run(files: &[PathBuf], as_json: bool) -> Result<ExitCode> {
    let mut outcomes: Vec<Outcome> = Vec::new();
    let mut out = io::stdout().lock();
    for file in files {
        let report = rule_tests::run(file).map_err(|error| line(&Error::from(error)));
        let outcome = (file.display().to_string(), report);
        if !as_json {
            told(out.write_all(for_people(&outcome).as_bytes()))?;
        }
        outcomes.push(outcome);
    }
    let failed = |(_, report): &&Outcome| !report.as_ref().is_ok_and(|r| r.failures.is_empty());
    let (unusable, failed) = (
        outcomes.iter().any(|(_, report)| report.is_err()),
        outcomes.iter().filter(failed).count(),
    );
    if as_json {
        let files: Vec<_> = outcomes.iter().map(for_programs).collect();
        let object = json!({ "ok": failed == 0, "files": files });
        told(writeln!(out, "{object}"))?;
    } else {
        told(writeln!(out, "{} of {} files pass", outcomes.len() - failed, outcomes.len()))?;
    }
    Ok(match (unusable, failed) {
        (_, 0) => ExitCode::SUCCESS,
        (true, _) => ExitCode::from(MISUSE),
        (false, _) => ExitCode::from(FAILED),
    })
}

/// Who closed the pipe has seen enough.
fn told(written: io::Result<()>) -> Result<()> {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

fn for_people((file, report): &Outcome) -> String {
    let mut text = String::new();
    // Writing to a text cannot fail.
    let _ = match report {
        Err(error) => writeln!(text, "{}: not run\n  {error}", plain(file)),
        Ok(report) => {
            for warning in &report.warnings {
                let _ = writeln!(text, "{}", plain(warning));
            }
            let verdict = match report.failures.len() {
                0 => format!("ok, {} tests with {} checks", report.tests, report.checks),
                failed => format!("{failed} of {} checks failed", report.checks),
            };
            for failure in &report.failures {
                text += &of_failure(&report.file, failure);
            }
            writeln!(text, "{}: {verdict}", plain(file))
        }
    };
    text
}

fn of_failure(file: &str, failure: &Failure) -> String {
    let Failure { line, test, check, expected, got, error } = failure;
    let mut text = format!("{}:{line}: {}: {}\n", plain(file), plain(test), plain(check));
    if let Some(error) = error {
        text += &format!("  {}\n", plain(error));
        return text;
    }
    for (word, all) in [("expected", expected), ("got", got)] {
        if all.is_empty() {
            text += &format!("  {word:<8} nothing\n");
        }
        for (i, one) in all.iter().enumerate() {
            // What both have says nothing.
            let mark = if expected.contains(one) && got.contains(one) { ' ' } else { '!' };
            text += &format!("  {:<8}{mark}{}\n", if i == 0 { word } else { "" }, plain(one));
        }
    }
    text
}

fn for_programs((file, report): &Outcome) -> Value {
    let failure = |f: &Failure| {
        json!({
            "line": f.line,
            "test": f.test,
            "check": f.check,
            "expected": f.expected,
            "got": f.got,
            "error": f.error,
        })
    };
    match report {
        Err(error) => json!({ "file": file, "ok": false, "error": error }),
        Ok(report) => json!({
            "file": file,
            "ok": report.failures.is_empty(),
            "tests": report.tests,
            "checks": report.checks,
            "warnings": report.warnings,
            "failures": report.failures.iter().map(failure).collect::<Vec<_>>(),
        }),
    }
}
