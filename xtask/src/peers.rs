//! `cargo xtask peers`: the real programs that tests run against, installed where they are missing.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::process;
use crate::workspace::Workspace;

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

const ALERTMANAGER: Peer = Peer {
    name: "alertmanager",
    programs: &["prometheus-alertmanager", "alertmanager"],
    package: "prometheus-alertmanager",
    used_by: "the tests of notifiers",
};

/// Every peer; a new one is a line here.
const PEERS: &[&Peer] = &[&CHROMIUM, &PROMETHEUS, &VICTORIA_METRICS, &ALERTMANAGER];

/// A Python package of someone else's, in a virtual environment of its own below `target/peers`.
#[derive(Debug)]
struct PythonPeer {
    name: &'static str,
    /// What pip installs, each of one version.
    packages: &'static [&'static str],
    used_by: &'static str,
}

const OPENTELEMETRY: PythonPeer = PythonPeer {
    name: "opentelemetry",
    packages: &["opentelemetry-sdk==1.45.2", "opentelemetry-exporter-otlp-proto-http==1.45.2"],
    used_by: "the tests of OTLP",
};

impl PythonPeer {
    /// Where its Python is, or is to be.
    fn python(&self, root: &Path) -> PathBuf {
        root.join("target/peers").join(self.name).join("bin/python")
    }

    fn install(&self, root: &Path) -> Result<()> {
        let folder = root.join("target/peers").join(self.name);
        process::run(Command::new("python3").args(["-m", "venv"]).arg(folder))?;
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
        process::run(Command::new(self.python(root)).args(pip).args(self.packages))
    }
}

impl Peer {
    /// Where it is, if it is there.
    pub(crate) fn find(&self) -> Option<PathBuf> {
        self.programs.iter().find_map(|program| process::find(program))
    }
}

pub(crate) fn chore(workspace: &Workspace) -> Result<()> {
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
    let (root, peer) = (&workspace.root, &OPENTELEMETRY);
    let python = peer.python(root);
    let lacks_python = !python.is_file();
    if lacks_python {
        println!("{}: missing; {} need it", peer.name, peer.used_by);
        if !process::succeeds(Command::new("python3").args(["-c", "import ensurepip"])) {
            missing.push("python3-venv");
        }
    } else {
        println!("{}: found at {}", peer.name, python.display());
    }
    println!("cargo-nextest: {}", nextest_note());
    if !missing.is_empty() {
        install(&missing)?;
    }
    if lacks_python { peer.install(root) } else { Ok(()) }
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
