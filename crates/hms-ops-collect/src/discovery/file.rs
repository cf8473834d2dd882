//! Targets from files, which are read again when they change.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use hms_ops_core::clock::Stopwatch;

use super::Reporter;
use crate::client::{in_one_line, read_bounded};
use crate::scrape_config::{Group, matching, read_groups};

/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(5);
const MAX_FILE_BYTES: u64 = 16 << 20;

/// By what a change is noticed.
type Stamps = BTreeMap<PathBuf, Option<(SystemTime, u64)>>;

/// What the files had, and the stamps that they had then.
#[derive(Debug, Default)]
struct Files {
    stamps: Stamps,
    groups: BTreeMap<PathBuf, Vec<Group>>,
}

/// Reads the files that `patterns` mean, again after `refresh`, and at once when one has changed.
pub(super) async fn watch(patterns: Vec<PathBuf>, refresh: Duration, reporter: Reporter) {
    let mut files = Files::default();
    let mut age = None;
    loop {
        let is_due = age.is_none_or(|age: Stopwatch| age.elapsed() >= refresh);
        let looked = {
            let patterns = patterns.clone();
            tokio::task::spawn_blocking(move || files.look(&patterns, is_due)).await
        };
        // An error is a panic, reported where it happened.
        let Ok((known, news)) = looked else { return };
        files = known;
        if is_due {
            age = Some(Stopwatch::start());
        }
        if let Some(error) = news {
            let groups = files.groups.values().flatten().cloned().collect();
            reporter.report(groups, error).await;
        }
        tokio::time::sleep(LOOK.min(refresh)).await;
    }
}

impl Files {
    /// Looks at the files, and reads them if one has changed or `is_due`; then also returns what went
    /// wrong. A file that is wrong keeps its last good groups.
    fn look(mut self, patterns: &[PathBuf], is_due: bool) -> (Self, Option<Option<String>>) {
        let mut stamps = Stamps::new();
        let mut error = None;
        for pattern in patterns {
            match matching(pattern) {
                Ok(paths) => stamps.extend(paths.into_iter().map(|path| {
                    let stamp = stamp(&path);
                    (path, stamp)
                })),
                Err(reason) => error = Some(format!("{}: {reason}", pattern.display())),
            }
        }
        if stamps == self.stamps && !is_due {
            return (self, None);
        }
        if error.is_none() {
            self.groups.retain(|path, _| stamps.contains_key(path));
        }
        for path in stamps.keys() {
            match read(path) {
                Ok(groups) => {
                    self.groups.insert(path.clone(), groups);
                }
                Err(reason) => error = Some(reason),
            }
        }
        self.stamps = stamps;
        (self, Some(error))
    }
}

fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

fn read(path: &Path) -> Result<Vec<Group>, String> {
    let name = path.display().to_string();
    let text = read_bounded(path, MAX_FILE_BYTES).map_err(|e| format!("{name}: {e}"))?;
    let read = read_groups(&name, &text).map_err(|error| in_one_line(&error))?;
    let labelled = read
        .into_iter()
        .map(|group| Group { labels: group.labels.with("__meta_filepath", &name), ..group });
    Ok(labelled.collect())
}
