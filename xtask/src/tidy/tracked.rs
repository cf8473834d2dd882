//! What must not stand in a file of the repository: large data, and the names of one machine or one registry.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};

use super::Complaint;
use crate::process;
use crate::workspace::Workspace;

const LARGEST: usize = 512 * 1024;

/// Hosts that packages come from, in pieces, so that this file does not name them. A person's own registry may be another.
const REGISTRIES: &[&str] = &[
    concat!("crates", ".io"),
    concat!("npmjs", ".org"),
    concat!("npmjs", ".com"),
    concat!("yarnpkg", ".com"),
    concat!("pypi", ".org"),
    concat!("pythonhosted", ".org"),
    concat!("proxy.golang", ".org"),
    concat!("sum.golang", ".org"),
    concat!("deb.debian", ".org"),
    concat!("security.debian", ".org"),
    concat!("registry-1.docker", ".io"),
];

/// Folders of one machine, in pieces as well.
const MACHINE_PATHS: &[&str] =
    &[concat!("/ro", "ot/"), concat!("/wo", "rk/"), concat!("/tmp/", "bash")];

pub(super) fn check(workspace: &Workspace) -> Result<Vec<Complaint>> {
    let mut complaints = Vec::new();
    for file in files(workspace)? {
        let path = workspace.root.join(&file);
        // Deleted but not yet committed, or a link.
        if !path.symlink_metadata().is_ok_and(|metadata| metadata.is_file()) {
            continue;
        }
        let content = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        complaints.extend(judge(&file, &content));
    }
    Ok(complaints)
}

/// Every file that is committed, or would be by `git add --all`.
fn files(workspace: &Workspace) -> Result<Vec<String>> {
    let mut git = Command::new("git");
    git.current_dir(&workspace.root).args([
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]);
    let names = process::stdout(&mut git)?;
    Ok(names.split('\0').filter(|name| !name.is_empty()).map(str::to_owned).collect())
}

fn judge(file: &str, content: &[u8]) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    if content.len() > LARGEST {
        let sentence = format!(
            "{} KiB are more than the {} a file may have",
            content.len() / 1024,
            LARGEST / 1024
        );
        complaints.push(Complaint::new(file, 1, sentence));
    }
    for (index, line) in String::from_utf8_lossy(content).lines().enumerate() {
        let sentences = registry_in(file, line).into_iter().chain(machine_path_in(line));
        complaints.extend(sentences.map(|sentence| Complaint::new(file, index + 1, sentence)));
    }
    complaints
}

fn registry_in(file: &str, line: &str) -> Option<String> {
    if file.ends_with("Cargo.lock") && line.starts_with("source = \"registry+") {
        return None;
    }
    // Whatever its host is: a lock file that names where a package came from binds everyone to that place.
    if file.ends_with("package-lock.json") && line.trim_start().starts_with("\"resolved\": \"http")
    {
        return Some(
            "the lock names a registry; make it with npm's `omit-lockfile-registry-resolved=true`"
                .to_owned(),
        );
    }
    let host = REGISTRIES.iter().find(|host| line.contains(*host))?;
    Some(format!(
        "the registry host {host} is named; each person's tools are set up with their own"
    ))
}

fn machine_path_in(line: &str) -> Option<String> {
    let stands_alone = |path: &&&str| {
        line.match_indices(**path).any(|(at, _)| {
            !line[..at].ends_with(|c: char| c.is_alphanumeric() || "_-./".contains(c))
        })
    };
    let path = MACHINE_PATHS.iter().find(stands_alone)?;
    Some(format!("a path under {path} exists on one machine only"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sentences(file: &str, content: &str) -> usize {
        judge(file, content.as_bytes()).len()
    }

    #[test]
    fn a_registry_host_is_found_with_its_line() {
        let content = format!("one\nsee https://{}/crates/x\n", REGISTRIES[0]);

        let complaints = judge("README.md", content.as_bytes());

        assert_eq!(complaints.len(), 1);
        assert_eq!(complaints[0].line, 2);
    }

    #[test]
    fn the_source_lines_of_cargos_lock_are_ordinary() {
        let line =
            format!("source = \"registry+https://github.com/rust-lang/{}-index\"", REGISTRIES[0]);

        assert_eq!(sentences("Cargo.lock", &line), 0);
        assert_eq!(sentences("notes.md", &line), 1);
    }

    #[test]
    fn an_npm_lock_must_not_say_where_packages_came_from() {
        assert_eq!(
            sentences(
                "ui/package-lock.json",
                r#"      "resolved": "https://mirror.example/preact.tgz","#
            ),
            1
        );
        assert_eq!(sentences("ui/package-lock.json", r#"      "version": "11.2.0","#), 0);
    }

    #[test]
    fn a_path_of_one_machine_is_found_and_a_folder_of_the_same_name_is_not() {
        let path = MACHINE_PATHS[0];

        assert_eq!(sentences("a.sh", &format!("cd {path}project")), 1);
        assert_eq!(sentences("a.sh", &format!("ls '{path}project'")), 1);
        assert_eq!(sentences("a.rs", &format!("\"/proc/self{path}etc\"")), 0);
    }

    #[test]
    fn a_large_file_is_refused_even_when_it_is_not_text() {
        assert_eq!(judge("a.bin", &vec![0xff; LARGEST]).len(), 0);
        assert_eq!(judge("a.bin", &vec![0xff; LARGEST + 1]).len(), 1);
    }
}
