//! The `hms-ops` binary: built by cargo, and found where cargo says it put it.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::process;
use crate::workspace::Workspace;

/// How fast the binary should be, and so how long its build may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    Dev,
    Release,
}

/// Builds the binary alone, with the features its users get.
pub(crate) fn build(workspace: &Workspace, profile: Profile) -> Result<PathBuf> {
    let release: &[&str] = if profile == Profile::Release { &["--release"] } else { &[] };
    let args = [&["build", "--package", "hms-ops-cli", "--bin", "hms-ops"], release].concat();
    cargo(workspace, &args)?.context("cargo built hms-ops-cli but named no binary `hms-ops`")
}

/// The binary that the tests of the workspace were built with, so that nothing is compiled twice.
pub(crate) fn as_tested(workspace: &Workspace) -> Result<PathBuf> {
    // The same features and dev-dependencies as the test run; any other choice compiles half of the tree again.
    let tested = cargo(workspace, &["test", "--no-run", "--workspace", "--all-features"])?;
    tested.map_or_else(|| build(workspace, Profile::Dev), Ok)
}

fn cargo(workspace: &Workspace, args: &[&str]) -> Result<Option<PathBuf>> {
    let mut cargo = workspace.cargo();
    cargo.args(args).arg("--message-format=json-render-diagnostics");
    eprintln!("$ {}", process::line(&cargo));
    Ok(executable(&process::stdout(&mut cargo)?))
}

/// The path of the binary in cargo's messages, one JSON object a line; the test harness of the binary is another file.
fn executable(messages: &str) -> Option<PathBuf> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut found = messages.filter(|message| {
        message["reason"] == "compiler-artifact"
            && message["target"]["name"] == "hms-ops"
            && message["target"]["kind"][0] == "bin"
            && message["profile"]["test"] == false
    });
    found.find_map(|message| message["executable"].as_str().map(PathBuf::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_binary_is_the_artifact_that_is_neither_a_library_nor_a_test() {
        let messages = r#"
{"reason":"compiler-artifact","target":{"name":"hms_ops","kind":["lib"]},"profile":{"test":false},"executable":null}
{"reason":"compiler-artifact","target":{"name":"hms-ops","kind":["bin"]},"profile":{"test":true},"executable":"/t/deps/hms_ops-1"}
{"reason":"compiler-artifact","target":{"name":"hms-ops","kind":["bin"]},"profile":{"test":false},"executable":"/t/hms-ops"}
{"reason":"build-finished","success":true}
"#;

        assert_eq!(executable(messages), Some(PathBuf::from("/t/hms-ops")));
    }

    #[test]
    fn messages_without_the_binary_give_none() {
        assert_eq!(executable(r#"{"reason":"build-finished","success":true}"#), None);
    }
}
