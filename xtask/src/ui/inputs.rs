//! A digest of files: equal digests mean nothing has changed since.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Folders that are made from the others, or are nobody's source.
const NOT_SOURCES: &[&str] = &["node_modules", "dist", "coverage", "test-results"];

/// Digests `path`: a file, or every source file under a folder, names included.
///
/// A new compiler may digest differently; the worst that follows is one build too many.
///
/// # Errors
///
/// When a file cannot be read.
pub(super) fn digest(path: &Path) -> Result<String> {
    let mut files = Vec::new();
    collect(path, &mut files)?;
    files.sort();
    let mut hasher = DefaultHasher::new();
    for file in files {
        file.strip_prefix(path).unwrap_or(&file).hash(&mut hasher);
        fs::read(&file)
            .with_context(|| format!("cannot read {}", file.display()))?
            .hash(&mut hasher);
    }
    Ok(format!("{:016x}", hasher.finish()))
}

/// Digests `text` itself.
pub(super) fn digest_of_text(text: &str) -> String {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    if !path.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    let cannot_list = || format!("cannot list {}", path.display());
    for entry in fs::read_dir(path).with_context(cannot_list)? {
        let entry = entry.with_context(cannot_list)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_folder = entry.file_type().with_context(cannot_list)?.is_dir();
        // A dot folder is a tool's cache; a dot file, such as `.npmrc`, steers the build.
        if is_folder && (NOT_SOURCES.contains(&name.as_ref()) || name.starts_with('.')) {
            continue;
        }
        collect(&entry.path(), files)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A temporary folder with two sources in it.
    fn folder(name: &str) -> PathBuf {
        let folder =
            std::env::temp_dir().join(format!("xtask-inputs-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join("src")).unwrap();
        fs::write(folder.join("package.json"), "{}").unwrap();
        fs::write(folder.join("src/main.ts"), "one").unwrap();
        folder
    }

    #[test]
    fn the_digest_changes_with_a_files_content_and_with_its_name() {
        let folder = folder("content");
        let before = digest(&folder).unwrap();

        fs::write(folder.join("src/main.ts"), "two").unwrap();
        let edited = digest(&folder).unwrap();
        fs::rename(folder.join("src/main.ts"), folder.join("src/page.ts")).unwrap();
        let renamed = digest(&folder).unwrap();

        assert_ne!(before, edited);
        assert_ne!(edited, renamed);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_npm_and_tools_leave_behind_does_not_count() {
        let folder = folder("leavings");
        let before = digest(&folder).unwrap();

        for leaving in ["node_modules", "dist", ".cache"] {
            fs::create_dir(folder.join(leaving)).unwrap();
            fs::write(folder.join(leaving).join("file"), "new").unwrap();
        }

        assert_eq!(digest(&folder).unwrap(), before);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = digest(Path::new("no-such-lock.json")).unwrap_err();

        assert_eq!(error.to_string(), "cannot read no-such-lock.json");
    }
}
