//! Chores of the repository: `cargo xtask test`, `lab`, `ui`, `tidy`, `torture`, `peers`.
//!
//! Everything that takes more than one command to do right is a chore here, and CI runs the same chores as people do.

mod binary;
mod lab;
mod peers;
mod process;
mod test;
mod tidy;
mod torture;
mod ui;
mod workspace;

use std::env;
use std::fmt;
use std::process::ExitCode;

use anyhow::Result;

use crate::workspace::Workspace;

const HELP: &str = "\
cargo xtask CHORE

  lab [ARGS]      build and run `hms-ops lab ARGS`: the whole loop on this machine, with its page
                  (--dev: debug build; --without-page: leave the page as it is)
  test [STAGE]    every check CI runs, in its order; or only the stages named (--list names them)
  ui              build the page into crates/hms-ops-dashboard/dist, when it changed
  tidy            check what the compiler cannot: who may depend on whom, sizes, where cfg stands
  torture         what is on disk against kill -9, loss of power and damage, for an hour
  peers           install the real programs that tests run against (Debian, as root)
";

fn main() -> ExitCode {
    let mut args = env::args().skip(1);
    let chore = args.next();
    let args: Vec<String> = args.collect();
    let done = match chore.as_deref() {
        None | Some("--help" | "-h" | "help") => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Some(chore) => run(chore, &args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::from(if error.is::<Misuse>() { 2 } else { 1 })
        }
    }
}

fn run(chore: &str, args: &[String]) -> Result<()> {
    match chore {
        "lab" => lab::chore(&Workspace::open()?, args),
        "test" => test::chore(args),
        "ui" => no_more(chore, args).and_then(|()| ui::build(&Workspace::open()?)),
        "tidy" => no_more(chore, args).and_then(|()| tidy::chore(&Workspace::open()?)),
        "torture" => no_more(chore, args).and_then(|()| torture::chore(&Workspace::open()?)),
        "peers" => no_more(chore, args).and_then(|()| peers::chore(&Workspace::open()?)),
        _ => {
            Err(Misuse(format!("there is no chore `{chore}`; `cargo xtask --help` lists them"))
                .into())
        }
    }
}

fn no_more(chore: &str, args: &[String]) -> Result<()> {
    match args.first() {
        None => Ok(()),
        Some(arg) => Err(Misuse(format!("`{chore}` takes no argument, but got `{arg}`")).into()),
    }
}

/// The command line asked for something that does not exist: exit code 2.
#[derive(Debug)]
pub(crate) struct Misuse(pub(crate) String);

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Misuse {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_chore_is_a_misuse_that_names_it() {
        let error = run("polish", &[]).unwrap_err();

        assert!(error.is::<Misuse>());
        assert!(error.to_string().contains("`polish`"));
    }

    #[test]
    fn a_chore_without_arguments_refuses_one_by_name() {
        let error = run("tidy", &["--fix".to_owned()]).unwrap_err();

        assert!(error.is::<Misuse>());
        assert!(error.to_string().contains("`--fix`"));
    }
}
