//! `cargo xtask tidy`: what a compiler does not check, and a reader would have to.

mod arrows;
mod cfg;
mod crates;
mod inert;
mod size;
mod tracked;

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::workspace::Workspace;

/// Something that is not as it should be, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Complaint {
    /// From the root of the repository.
    file: String,
    /// Counts from 1.
    line: usize,
    sentence: String,
}

impl Complaint {
    fn new(file: impl Into<String>, line: usize, sentence: impl Into<String>) -> Self {
        Self { file: file.into(), line, sentence: sentence.into() }
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tidy: {}:{}: {}", self.file, self.line, self.sentence)
    }
}

/// A check: everything it has to complain about.
type Check = fn(&Workspace) -> Result<Vec<Complaint>>;

const CHECKS: &[Check] =
    &[arrows::check, inert::check, crates::check, cfg::check, tracked::check, size::check];

/// Runs every check, and prints every complaint.
///
/// # Errors
///
/// When there is a complaint; the message is their number.
pub(crate) fn chore(workspace: &Workspace) -> Result<()> {
    let mut complaints = Vec::new();
    for check in CHECKS {
        complaints.extend(check(workspace)?);
    }
    for complaint in &complaints {
        println!("{complaint}");
    }
    println!("tidy: {}", count(complaints.len()));
    if !complaints.is_empty() {
        bail!("tidy has {}", count(complaints.len()));
    }
    Ok(())
}

fn count(complaints: usize) -> String {
    match complaints {
        1 => "1 complaint".to_owned(),
        n => format!("{n} complaints"),
    }
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The line of `manifest` that declares `dependency`, or its first line.
fn line_of(manifest: &str, dependency: &str) -> usize {
    let declares = |line: &str| {
        let rest = line.trim_start().strip_prefix(dependency);
        rest.is_some_and(|rest| rest.starts_with(['.', ' ', '=']))
            || line.trim() == format!("[dependencies.{dependency}]")
    };
    manifest.lines().position(declares).map_or(1, |index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_reads_as_editors_expect_a_place() {
        let complaint = Complaint::new("crates/room/Cargo.toml", 7, "it is too loud");

        assert_eq!(complaint.to_string(), "tidy: crates/room/Cargo.toml:7: it is too loud");
    }

    #[test]
    fn a_dependency_is_found_however_it_is_declared() {
        let manifest = "[package]\nname = \"a\"\n[dependencies]\ntokio-util = \"1\"\ntokio.workspace = true\nserde = \"1\"\n";

        assert_eq!(line_of(manifest, "tokio"), 5);
        assert_eq!(line_of(manifest, "serde"), 6);
        assert_eq!(line_of(manifest, "absent"), 1);
    }

    #[test]
    fn complaints_are_counted_in_words() {
        assert_eq!(count(0), "0 complaints");
        assert_eq!(count(1), "1 complaint");
    }
}
