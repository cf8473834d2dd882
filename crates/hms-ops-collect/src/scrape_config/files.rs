//! Patterns of files.

use std::io;
use std::path::{Path, PathBuf};

use hms_ops_core::yaml::fields::{Field, FileError};

/// Files that one pattern may mean.
const MAX_FILES: usize = 10_000;

/// A pattern of the config as a path, if it has `*` in its last part at most and is as `right` wants.
pub(super) fn checked(
    field: &Field<'_>,
    right: impl Fn(&str) -> bool,
) -> Result<PathBuf, FileError> {
    let text = field.text()?;
    let (folder, last) = text.rsplit_once('/').unwrap_or(("", text));
    if folder.contains('*') || last.is_empty() || text.contains(['?', '[']) || !right(last) {
        let reason = format!("{text:?} is not a path with at most its last part a pattern with *");
        return Err(field.error(reason));
    }
    Ok(field.source().path(text))
}

/// The files that `pattern` means, sorted; a path without `*` means itself, if it is there. Only the
/// last part of it is a pattern.
///
/// # Errors
///
/// When the folder cannot be read, or more than ten thousand files are meant.
pub fn matching(pattern: &Path) -> io::Result<Vec<PathBuf>> {
    let last = pattern.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if !last.contains('*') {
        return Ok(Vec::from_iter(pattern.exists().then(|| pattern.to_owned())));
    }
    let folder = match pattern.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let mut found = Vec::new();
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        entries => entries?,
    };
    for entry in entries {
        let name = entry?.file_name();
        if name.to_str().is_some_and(|name| fits(last, name)) {
            found.push(pattern.with_file_name(name));
        }
        if found.len() > MAX_FILES {
            return Err(io::Error::other(format!("more than {MAX_FILES} files are meant")));
        }
    }
    found.sort();
    Ok(found)
}

/// Whether `*` can stand for what `name` has more than `pattern`.
fn fits(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_part_of_a_name() {
        for (pattern, name, fit) in [
            ("*.yml", "a.yml", true),
            ("*.yml", "a.yaml", false),
            ("a*b*c", "abc", true),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "acb", false),
            ("ab*ba", "aba", false),
            ("*", "", true),
        ] {
            assert_eq!(fits(pattern, name), fit, "{pattern} {name}");
        }
    }
}
