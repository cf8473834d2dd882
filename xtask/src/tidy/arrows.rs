//! Which crate of the workspace may depend on which: the table of the design, kept true.

use anyhow::Result;

use super::{Complaint, line_of, read};
use crate::workspace::{Dependency, Kind, Package, Workspace};

/// What a crate may depend on, of this workspace.
#[derive(Clone, Copy, Debug)]
enum May {
    /// These only.
    Use(&'static [&'static str]),
    /// A package outside of the house.
    UseAnything,
}

const ARROWS: &[(&str, May)] = &[
    ("hms-ops-core", May::Use(&[])),
    ("hms-ops-macros", May::Use(&[])),
    ("hms-ops-trace", May::Use(&["hms-ops-core", "hms-ops-macros"])),
    ("hms-ops-wal", May::Use(&["hms-ops-core"])),
    ("hms-ops-tsdb", May::Use(&["hms-ops-core", "hms-ops-wal"])),
    ("hms-ops-promql", May::Use(&["hms-ops-core"])),
    ("hms-ops-collect", May::Use(&["hms-ops-core", "hms-ops-wal"])),
    ("hms-ops-alert", May::Use(&["hms-ops-core"])),
    ("hms-ops-ledger", May::Use(&["hms-ops-core", "hms-ops-wal"])),
    ("hms-ops-runbook", May::Use(&["hms-ops-core"])),
    ("hms-ops-mesh", May::Use(&["hms-ops-core"])),
    ("hms-ops-lake", May::Use(&["hms-ops-core"])),
    ("hms-ops-dashboard", May::Use(&["hms-ops-core"])),
    ("hms-ops", May::Use(FACADE)),
    ("hms-ops-cli", May::Use(&["hms-ops"])),
    ("hms-ops-testkit", May::Use(&["hms-ops-core", "hms-ops-wal"])),
    ("hms-ops-benches", May::UseAnything),
    ("xtask", May::UseAnything),
];

/// All the rooms: only the facade knows every one.
const FACADE: &[&str] = &[
    "hms-ops-core",
    "hms-ops-macros",
    "hms-ops-trace",
    "hms-ops-wal",
    "hms-ops-tsdb",
    "hms-ops-promql",
    "hms-ops-collect",
    "hms-ops-alert",
    "hms-ops-ledger",
    "hms-ops-runbook",
    "hms-ops-mesh",
    "hms-ops-lake",
    "hms-ops-dashboard",
];

/// What tests may use besides: the vocabulary, and its suites.
const IN_TESTS: &[&str] = &["hms-ops-core", "hms-ops-testkit"];

/// What single crates may use in tests and examples besides.
const IN_TESTS_OF: &[(&str, &str)] = &[
    // A team's own engine is the binary with the team's runbooks.
    ("hms-ops", "hms-ops-cli"),
    // The language says the same over the store on disk.
    ("hms-ops-promql", "hms-ops-tsdb"),
];

pub(super) fn check(workspace: &Workspace) -> Result<Vec<Complaint>> {
    let ours: Vec<&str> = workspace.packages.iter().map(|package| package.name.as_str()).collect();
    let mut complaints = Vec::new();
    for package in &workspace.packages {
        let file = workspace.show(&package.manifest);
        let manifest = read(&package.manifest)?;
        for (dependency, sentence) in refused(package, &ours) {
            complaints.push(Complaint::new(&file, line_of(&manifest, &dependency), sentence));
        }
    }
    Ok(complaints)
}

/// What the table refuses of `package`: the dependency, and a sentence.
fn refused(package: &Package, ours: &[&str]) -> Vec<(String, String)> {
    let name = &package.name;
    let Some((_, may)) = ARROWS.iter().find(|(known, _)| known == name) else {
        let sentence = format!(
            "{name} is not in the table of arrows: say in xtask/src/tidy/arrows.rs what it may use"
        );
        return vec![("name".to_owned(), sentence)];
    };
    let May::Use(allowed) = may else {
        return Vec::new();
    };
    let arrows =
        package.dependencies.iter().filter(|dependency| ours.contains(&dependency.name.as_str()));
    let refused = arrows.filter(|arrow| !is_allowed(name, arrow, allowed));
    refused.map(|arrow| (arrow.name.clone(), sentence(name, arrow, allowed))).collect()
}

fn is_allowed(from: &str, arrow: &Dependency, allowed: &[&str]) -> bool {
    let to = arrow.name.as_str();
    let in_tests =
        arrow.kind == Kind::Dev && (IN_TESTS.contains(&to) || IN_TESTS_OF.contains(&(from, to)));
    allowed.contains(&to) || in_tests
}

fn sentence(from: &str, arrow: &Dependency, allowed: &[&str]) -> String {
    let to = &arrow.name;
    let may = if allowed.is_empty() {
        "nothing of this workspace".to_owned()
    } else {
        allowed.join(", ")
    };
    format!("{from} must not depend on {to}; it may depend on {may}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &[&str] =
        &["hms-ops", "hms-ops-core", "hms-ops-mesh", "hms-ops-runbook", "hms-ops-testkit"];

    fn package(name: &str, dependencies: &[(&str, Kind)]) -> Package {
        let dependency = |&(name, kind): &(&str, Kind)| Dependency {
            name: name.to_owned(),
            kind,
            features: vec![],
            default_features: true,
        };
        Package {
            name: name.to_owned(),
            manifest: "Cargo.toml".into(),
            library: None,
            dependencies: dependencies.iter().map(dependency).collect(),
            features: Default::default(),
        }
    }

    #[test]
    fn a_room_may_use_core_and_crates_from_outside() {
        let mesh =
            package("hms-ops-mesh", &[("hms-ops-core", Kind::Normal), ("serde", Kind::Normal)]);

        assert_eq!(refused(&mesh, OURS), []);
    }

    #[test]
    fn a_room_that_names_another_is_refused_with_both_names() {
        let refused = refused(&package("hms-ops-runbook", &[("hms-ops-mesh", Kind::Normal)]), OURS);

        assert_eq!(refused.len(), 1);
        assert_eq!(
            refused[0].1,
            "hms-ops-runbook must not depend on hms-ops-mesh; it may depend on hms-ops-core"
        );
    }

    #[test]
    fn the_testkit_is_for_tests_only() {
        assert_eq!(refused(&package("hms-ops-mesh", &[("hms-ops-testkit", Kind::Dev)]), OURS), []);
        assert_eq!(
            refused(&package("hms-ops-mesh", &[("hms-ops-testkit", Kind::Normal)]), OURS).len(),
            1
        );
    }

    #[test]
    fn a_room_may_not_use_the_facade_even_in_tests() {
        assert_eq!(refused(&package("hms-ops-mesh", &[("hms-ops", Kind::Dev)]), OURS).len(), 1);
        assert_eq!(refused(&package("hms-ops-cli", &[("hms-ops", Kind::Dev)]), OURS), []);
    }

    #[test]
    fn a_crate_that_the_table_does_not_know_must_be_added_to_it() {
        assert!(
            refused(&package("hms-ops-attic", &[]), OURS)[0].1.contains("xtask/src/tidy/arrows.rs")
        );
    }

    #[test]
    fn every_arrow_leads_to_a_crate_of_the_table() {
        let known = |name: &str| ARROWS.iter().any(|(crate_name, _)| *crate_name == name);

        for (from, may) in ARROWS {
            if let May::Use(allowed) = may {
                assert!(allowed.iter().all(|to| known(to)), "{from} leads out of the table");
            }
        }
    }
}
