//! What a library must not bring along: error and command-line frameworks anywhere, a runtime or I/O in core.

use anyhow::Result;

use super::{Complaint, line_of, read};
use crate::workspace::{Dependency, Kind, Package, Workspace};

/// Programs, not libraries.
const PROGRAMS: &[&str] = &["hms-ops-cli", "hms-ops-benches", "xtask"];

/// For programs only.
const FOR_PROGRAMS: &[&str] = &["anyhow", "clap"];

const CORE: &str = "hms-ops-core";

/// Runtimes, and what opens sockets or files.
const DOES_IO: &[&str] = &[
    "async-std",
    "axum",
    "h2",
    "hyper",
    "hyper-util",
    "libc",
    "memmap2",
    "mio",
    "native-tls",
    "nix",
    "notify",
    "quinn",
    "reqwest",
    "rustix",
    "rustls",
    "smol",
    "socket2",
    "tempfile",
    "tokio-rustls",
    "tokio-stream",
    "tokio-util",
    "tonic",
    "tungstenite",
    "ureq",
    "walkdir",
];

/// Channels and locks need no runtime.
const TOKIO_IN_CORE: &[&str] = &["sync"];

pub(super) fn check(workspace: &Workspace) -> Result<Vec<Complaint>> {
    let mut complaints = Vec::new();
    for package in &workspace.packages {
        let file = workspace.show(&package.manifest);
        let manifest = read(&package.manifest)?;
        for dependency in
            package.dependencies.iter().filter(|dependency| dependency.kind != Kind::Dev)
        {
            if let Some(sentence) = refused(package, dependency) {
                complaints.push(Complaint::new(
                    &file,
                    line_of(&manifest, &dependency.name),
                    sentence,
                ));
            }
        }
    }
    Ok(complaints)
}

fn refused(package: &Package, dependency: &Dependency) -> Option<String> {
    let (from, to) = (package.name.as_str(), dependency.name.as_str());
    if FOR_PROGRAMS.contains(&to) && !PROGRAMS.contains(&from) {
        return Some(format!(
            "{from} is a library and must not depend on {to}, which is for programs"
        ));
    }
    if from != CORE {
        return None;
    }
    if DOES_IO.contains(&to) {
        return Some(format!("{CORE} does no I/O and must not depend on {to}"));
    }
    let too_much = too_much_tokio(dependency)?;
    Some(format!("{CORE} has no runtime: of tokio it may use `sync` alone, not {too_much}"))
}

fn too_much_tokio(dependency: &Dependency) -> Option<String> {
    if dependency.name != "tokio" {
        return None;
    }
    if dependency.default_features {
        return Some("its default features".to_owned());
    }
    let extra =
        dependency.features.iter().find(|feature| !TOKIO_IN_CORE.contains(&feature.as_str()))?;
    Some(format!("`{extra}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(from: &str, to: &str, features: &[&str]) -> Option<String> {
        let package = Package {
            name: from.to_owned(),
            manifest: "Cargo.toml".into(),
            library: None,
            dependencies: vec![],
            features: Default::default(),
        };
        let dependency = Dependency {
            name: to.to_owned(),
            kind: Kind::Normal,
            features: features.iter().map(|&feature| feature.to_owned()).collect(),
            default_features: false,
        };
        refused(&package, &dependency)
    }

    #[test]
    fn anyhow_and_clap_are_for_programs() {
        assert!(verdict("hms-ops-alert", "anyhow", &[]).is_some());
        assert!(verdict("hms-ops", "clap", &[]).is_some());
        assert_eq!(verdict("hms-ops-cli", "clap", &[]), None);
        assert_eq!(verdict("xtask", "anyhow", &[]), None);
    }

    #[test]
    fn core_may_use_tokios_channels_and_nothing_else_of_it() {
        assert_eq!(verdict("hms-ops-core", "tokio", &["sync"]), None);
        assert!(verdict("hms-ops-core", "tokio", &["sync", "rt"]).unwrap().ends_with("not `rt`"));
        assert_eq!(verdict("hms-ops-collect", "tokio", &["rt"]), None);
    }

    #[test]
    fn core_brings_nothing_that_opens_sockets_or_files() {
        assert!(verdict("hms-ops-core", "hyper", &[]).is_some());
        assert_eq!(verdict("hms-ops-core", "serde", &[]), None);
        assert_eq!(verdict("hms-ops-collect", "hyper", &[]), None);
    }
}
