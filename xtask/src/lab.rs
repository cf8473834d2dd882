//! `cargo xtask lab`: the page, then `hms-ops lab` in place of this process.

use std::process::Command;

use anyhow::Result;

use crate::binary::{self, Profile};
use crate::process;
use crate::ui;
use crate::workspace::Workspace;

/// What the words behind `lab` ask for.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    profile: Profile,
    page: bool,
    /// Everything else, for `hms-ops lab`.
    rest: Vec<String>,
}

pub(crate) fn chore(workspace: &Workspace, args: &[String]) -> Result<()> {
    let request = Request::read(args);
    if request.page {
        ui::build(workspace)?;
    }
    let binary = binary::build(workspace, request.profile)?;
    become_it(Command::new(binary).arg("lab").args(request.rest))
}

impl Request {
    fn read(args: &[String]) -> Self {
        let mut request = Self { profile: Profile::Release, page: true, rest: Vec::new() };
        for arg in args {
            match arg.as_str() {
                "--dev" => request.profile = Profile::Dev,
                "--without-page" => request.page = false,
                _ => request.rest.push(arg.clone()),
            }
        }
        request
    }
}

/// Replaces this process, so that Ctrl-C and signals reach the lab and nothing else.
#[cfg(unix)]
fn become_it(command: &mut Command) -> Result<()> {
    use std::os::unix::process::CommandExt;

    let line = process::line(command);
    eprintln!("$ {line}");
    Err(anyhow::Error::new(command.exec()).context(format!("cannot start `{line}`")))
}

#[cfg(not(unix))]
fn become_it(command: &mut Command) -> Result<()> {
    process::run(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Request {
        Request::read(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn the_lab_is_a_release_build_with_its_page_unless_asked_otherwise() {
        assert_eq!(read(""), Request { profile: Profile::Release, page: true, rest: vec![] });
        assert_eq!(read("--dev").profile, Profile::Dev);
        assert!(!read("--without-page").page);
    }

    #[test]
    fn what_the_chore_does_not_know_belongs_to_the_lab() {
        assert_eq!(read("--fast --dev --drill").rest, ["--fast", "--drill"]);
    }
}
