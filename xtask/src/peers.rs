//! `cargo xtask peers`: the real programs that tests run against, installed where they are missing.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail};

use crate::process;

/// A program of someone else's that tests run against.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    /// Any of these on the path will do.
    programs: &'static [&'static str],
    /// The Debian package.
    package: &'static str,
    used_by: &'static str,
}

/// A browser, for the tests of the page.
pub(crate) const CHROMIUM: Peer = Peer {
    name: "chromium",
    programs: &["chromium", "chromium-browser", "google-chrome"],
    package: "chromium",
    used_by: "the browser tests of the page",
};

/// Stores that take remote write, for ours to be measured against.
const PROMETHEUS: Peer = Peer {
    name: "prometheus",
    programs: &["prometheus"],
    package: "prometheus",
    used_by: "the benches of the store",
};
const VICTORIA_METRICS: Peer = Peer {
    name: "victoria-metrics",
    programs: &["victoria-metrics", "victoria-metrics-prod"],
    package: "victoria-metrics",
    used_by: "the benches of the store",
};

/// Every peer; a new one is a line here.
const PEERS: &[&Peer] = &[&CHROMIUM, &PROMETHEUS, &VICTORIA_METRICS];

impl Peer {
    /// Where it is, if it is there.
    pub(crate) fn find(&self) -> Option<PathBuf> {
        self.programs.iter().find_map(|program| process::find(program))
    }
}

pub(crate) fn chore() -> Result<()> {
    let mut missing = Vec::new();
    for peer in PEERS {
        match peer.find() {
            Some(path) => println!("{}: found at {}", peer.name, path.display()),
            None => {
                println!("{}: missing; {} need it", peer.name, peer.used_by);
                missing.push(peer.package);
            }
        }
    }
    println!("cargo-nextest: {}", nextest_note());
    if missing.is_empty() { Ok(()) } else { install(&missing) }
}

/// Whether `cargo nextest` can run the tests.
pub(crate) fn has_nextest() -> bool {
    process::succeeds(process::cargo().args(["nextest", "--version"]))
}

fn nextest_note() -> &'static str {
    if has_nextest() { "found" } else { "missing; tests run under `cargo test` instead" }
}

fn install(packages: &[&str]) -> Result<()> {
    if process::find("apt-get").is_none() {
        bail!(
            "there is no apt-get here; install {} the way this system does it",
            packages.join(" and ")
        );
    }
    if !is_root() {
        bail!("installing needs root; run: {}", by_hand(packages));
    }
    process::run(apt_get().arg("update"))?;
    process::run(apt_get().args(["install", "-y", "--no-install-recommends"]).args(packages))
}

/// The command a person types to install `packages`.
fn by_hand(packages: &[&str]) -> String {
    format!(
        "sudo apt-get update && sudo apt-get install -y --no-install-recommends {}",
        packages.join(" ")
    )
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn is_root() -> bool {
    process::stdout(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_for_people_without_root_names_every_package() {
        assert_eq!(
            by_hand(&["chromium", "haproxy"]),
            "sudo apt-get update && sudo apt-get install -y --no-install-recommends chromium haproxy"
        );
    }
}
