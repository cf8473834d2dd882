//! Features are chosen where modules are declared: `cfg` stands on `mod`, `use` and `pub use` lines.
//!
//! A function with a `cfg` inside has as many meanings as there are features; a module with one is there or is not.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{Complaint, read};
use crate::workspace::Workspace;

/// Packages that are free to do as they like.
const FREE_PACKAGES: &[&str] = &["hms-ops-benches", "xtask"];

/// Words of a `cfg` that may stand anywhere: the host, the build, and how they are combined.
const FREE_WORDS: &[&str] =
    &["test", "unix", "windows", "debug_assertions", "docsrs", "all", "any", "not"];

/// What a `cfg` of a feature may stand on.
const DECLARATIONS: &[&str] =
    &["mod ", "use ", "pub mod ", "pub use ", "pub(crate) mod ", "pub(crate) use "];

pub(super) fn check(workspace: &Workspace) -> Result<Vec<Complaint>> {
    let mut complaints = Vec::new();
    for package in
        workspace.packages.iter().filter(|package| !FREE_PACKAGES.contains(&package.name.as_str()))
    {
        let Some(folder) = package.library.as_deref().and_then(Path::parent) else {
            continue;
        };
        for file in sources(folder)? {
            let misplaced = misplaced(&read(&file)?);
            complaints.extend(misplaced.into_iter().map(|line| {
                let sentence = "a `cfg` of a feature stands on a `mod`, `use` or `pub use` line: move what it chooses \
                                into a module";
                Complaint::new(workspace.show(&file), line, sentence)
            }));
        }
    }
    Ok(complaints)
}

/// Every `.rs` file under `folder`, sorted.
fn sources(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let cannot_list = || format!("cannot list {}", folder.display());
    for entry in fs::read_dir(folder).with_context(cannot_list)? {
        let path = entry.with_context(cannot_list)?.path();
        if path.is_dir() {
            files.extend(sources(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The lines, counted from 1, of every `cfg` attribute that stands where it should not. Unit tests are free.
fn misplaced(source: &str) -> Vec<usize> {
    let mut lines = source.lines().map(str::trim).enumerate().peekable();
    let mut found = Vec::new();
    while let Some((index, line)) = lines.next() {
        let Some(mut attribute) =
            line.strip_prefix("#[cfg(").or(line.strip_prefix("#![cfg(")).map(str::to_owned)
        else {
            continue;
        };
        while !attribute.contains(")]") {
            let Some((_, more)) = lines.next() else { break };
            attribute.push_str(more);
        }
        let (predicate, rest) = attribute.split_once(")]").unwrap_or((&attribute, ""));
        let mut item = rest.trim().to_owned();
        while item.is_empty() || item.starts_with("#[") || item.starts_with("//") {
            let Some((_, next)) = lines.next_if(|(_, next)| !next.starts_with("#[cfg(")) else {
                break;
            };
            item = next.to_owned();
        }
        if predicate == "test" && item.starts_with("mod tests {") {
            break;
        }
        if !is_free(predicate)
            && !DECLARATIONS.iter().any(|declaration| item.starts_with(declaration))
        {
            found.push(index + 1);
        }
    }
    found
}

/// Whether a predicate speaks of the host and the build alone.
fn is_free(predicate: &str) -> bool {
    let unquoted: String = predicate.split('"').step_by(2).collect();
    let mut words =
        unquoted.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty());
    words.all(|word| FREE_WORDS.contains(&word) || word.starts_with("target_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feature_may_choose_modules_and_re_exports() {
        let source = r#"
#[cfg(feature = "http")]
pub mod routes;
#[cfg(all(feature = "http", unix))]
#[doc(inline)]
pub use routes::Routes;
#[cfg(feature = "http")] mod private;
"#;

        assert!(misplaced(source).is_empty());
    }

    #[test]
    fn a_feature_may_not_choose_functions_or_fields() {
        let source = "#[cfg(feature = \"http\")]\nfn serve() {}\n\nstruct S {\n    #[cfg(not(feature = \"http\"))]\n    a: u8,\n}\n";

        assert_eq!(misplaced(source), [1, 5]);
    }

    #[test]
    fn an_attribute_over_several_lines_counts_from_its_first() {
        let source =
            "\n#[cfg(all(\n    feature = \"http\",\n    feature = \"alert\"\n))]\nfn serve() {}\n";

        assert_eq!(misplaced(source), [2]);
    }

    #[test]
    fn the_host_and_the_build_may_choose_anything() {
        let source = r#"
#[cfg(unix)]
fn a() {}
#[cfg(not(target_os = "linux"))]
fn b() {}
#[cfg(any(test, windows))]
fn c() {}
#[cfg_attr(docsrs, doc(cfg(feature = "http")))]
fn d() {}
"#;

        assert!(misplaced(source).is_empty());
    }

    #[test]
    fn unit_tests_are_free() {
        let source = "#[cfg(test)]\nmod tests {\n    #[cfg(feature = \"http\")]\n    #[test]\n    fn a() {}\n}\n";

        assert!(misplaced(source).is_empty());
    }

    #[test]
    fn a_cfg_upon_a_cfg_is_judged_by_itself() {
        let source = "#[cfg(unix)]\n#[cfg(feature = \"http\")]\nfn serve() {}\n";

        assert_eq!(misplaced(source), [2]);
    }
}
