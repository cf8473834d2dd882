//! `cargo xtask test`: every check CI runs, in its order, with the seconds each took.

mod features;
mod report;
mod stages;

use std::env;

use anyhow::{Result, bail};

use crate::Misuse;
use crate::peers::Peer;
use crate::workspace::Workspace;
use report::Row;
use stages::STAGES;

/// One check, with a name to ask for it.
#[derive(Debug)]
struct Stage {
    name: &'static str,
    about: &'static str,
    run: fn(&Workspace) -> Result<Outcome>,
}

/// How a stage ended, when nothing was wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    Passed,
    /// Says what was missing.
    Skipped(String),
}

pub(crate) fn chore(args: &[String]) -> Result<()> {
    if args.iter().any(|arg| arg == "--list") {
        for stage in STAGES {
            println!("{:<14}{}", stage.name, stage.about);
        }
        return Ok(());
    }
    let chosen = choose(args)?;
    let workspace = Workspace::open()?;
    let mut rows = Vec::new();
    for stage in chosen {
        eprintln!("\n== {}: {}", stage.name, stage.about);
        let (done, seconds) = timed(|| (stage.run)(&workspace));
        if let Ok(Outcome::Skipped(why)) = &done {
            eprintln!("skipped: {why}");
        }
        let row = Row { stage: stage.name, seconds, outcome: report::word(&done) };
        rows.push(row);
        if let Err(error) = done {
            eprintln!("\n{}", report::table(&rows));
            return Err(error.context(format!("stage `{}` failed", stage.name)));
        }
    }
    eprintln!("\n{}", report::table(&rows));
    Ok(())
}

/// The stages named, in the order of the table; all of them when none is named.
fn choose(names: &[String]) -> Result<Vec<&'static Stage>> {
    if let Some(unknown) =
        names.iter().find(|name| STAGES.iter().all(|stage| stage.name != name.as_str()))
    {
        return Err(Misuse(format!(
            "there is no stage `{unknown}`; `cargo xtask test --list` lists them"
        ))
        .into());
    }
    Ok(STAGES
        .iter()
        .filter(|stage| names.is_empty() || names.iter().any(|name| name == stage.name))
        .collect())
}

/// Skips the stage for want of `what`, or fails it where the environment requires that nothing is missing.
fn without(what: &str) -> Result<Outcome> {
    if peers_are_required() {
        bail!("{what} is missing, and HMS_OPS_REQUIRE_PEERS=1 forbids to skip");
    }
    Ok(Outcome::Skipped(format!("{what} is missing")))
}

/// As [`without`], for a peer that a chore installs.
fn without_peer(peer: &Peer) -> Result<Outcome> {
    without(peer.name).map_err(|error| error.context("`cargo xtask peers` installs it"))
}

fn peers_are_required() -> bool {
    env::var_os("HMS_OPS_REQUIRE_PEERS").is_some_and(|value| value == "1")
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place that times stages; nothing is decided by it"
)]
fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let start = std::time::Instant::now();
    let done = work();
    (done, start.elapsed().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(chosen: &[&Stage]) -> Vec<&'static str> {
        chosen.iter().map(|stage| stage.name).collect()
    }

    #[test]
    fn without_a_name_every_stage_runs_and_cheap_ones_come_first() {
        let all = choose(&[]).unwrap();

        assert_eq!(all.len(), STAGES.len());
        assert_eq!(&names(&all)[..2], ["format", "tidy"]);
    }

    #[test]
    fn named_stages_run_in_the_order_of_the_table() {
        let chosen = choose(&["tests".to_owned(), "format".to_owned()]).unwrap();

        assert_eq!(names(&chosen), ["format", "tests"]);
    }

    #[test]
    fn an_unknown_stage_is_a_misuse_that_names_it() {
        let error = choose(&["polish".to_owned()]).unwrap_err();

        assert!(error.is::<Misuse>());
        assert!(error.to_string().contains("`polish`"));
    }
}
