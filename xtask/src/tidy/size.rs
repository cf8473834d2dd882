//! Size is a feature: how many packages a user compiles for the facade.

use std::collections::BTreeSet;

use anyhow::Result;

use super::Complaint;
use crate::process;
use crate::workspace::Workspace;

/// What one choice of features may cost.
struct Budget {
    what: &'static str,
    args: &'static [&'static str],
    packages: usize,
}

const BUDGETS: &[Budget] = &[
    Budget { what: "the default facade", args: &[], packages: 120 },
    Budget {
        what: "the agent (no default features)",
        args: &["--no-default-features"],
        packages: 40,
    },
];

pub(super) fn check(workspace: &Workspace) -> Result<Vec<Complaint>> {
    let mut complaints = Vec::new();
    for budget in BUDGETS {
        let mut cargo = workspace.cargo();
        cargo
            .args(["tree", "--package", "hms-ops", "--edges", "normal,build", "--prefix", "none"])
            .args(budget.args);
        let packages = packages(&process::stdout(&mut cargo)?);
        let sentence =
            format!("{} is {packages} packages, of {} it may be", budget.what, budget.packages);
        println!("{sentence}");
        if packages > budget.packages {
            complaints.push(Complaint::new("Cargo.toml", 1, sentence));
        }
    }
    Ok(complaints)
}

/// Counts the packages in the lines of `cargo tree --prefix none`; one that stands there twice counts once.
fn packages(tree: &str) -> usize {
    let name_and_version = |line: &str| {
        let mut words = line.split_whitespace();
        Some((words.next()?.to_owned(), words.next()?.to_owned()))
    };
    tree.lines().filter_map(name_and_version).collect::<BTreeSet<_>>().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_counts_once_and_each_of_its_versions_by_itself() {
        let tree = "\
hms-ops v0.1.0 (here)
serde v1.0.228
serde v1.0.228 (*)
syn v2.0.1 (proc-macro)
syn v3.0.0

";

        assert_eq!(packages(tree), 4);
    }
}
