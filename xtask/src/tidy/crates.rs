//! Every crate says on its first line what it is, and obeys the lints of the workspace.

use anyhow::Result;

use super::{Complaint, read};
use crate::workspace::Workspace;

pub(super) fn check(workspace: &Workspace) -> Result<Vec<Complaint>> {
    let mut complaints = Vec::new();
    for package in &workspace.packages {
        if let Some(library) = &package.library
            && !read(library)?.starts_with("//!")
        {
            let sentence = "the first line of a crate says what it is, after `//!`";
            complaints.push(Complaint::new(workspace.show(library), 1, sentence));
        }
        if !obeys_workspace_lints(&read(&package.manifest)?) {
            let sentence =
                "write `[lints]` and `workspace = true`, so that every crate obeys the same lints";
            complaints.push(Complaint::new(workspace.show(&package.manifest), 1, sentence));
        }
    }
    Ok(complaints)
}

fn obeys_workspace_lints(manifest: &str) -> bool {
    let mut table = "";
    manifest.lines().map(str::trim).any(|line| {
        if line.starts_with('[') {
            table = line;
        }
        let bare: String = line.split_whitespace().collect();
        (table == "[lints]" && bare == "workspace=true")
            || (table.is_empty() && bare == "lints.workspace=true")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lints_of_the_workspace_are_taken_in_a_table_of_their_own() {
        assert!(obeys_workspace_lints("[package]\nname = \"a\"\n\n[lints]\nworkspace = true\n"));
        assert!(!obeys_workspace_lints("[package]\nname = \"a\"\n"));
    }

    #[test]
    fn a_dependency_from_the_workspace_is_not_a_lint() {
        assert!(!obeys_workspace_lints("[lints]\n\n[dependencies.serde]\nworkspace = true\n"));
    }
}
