//! Where the lab keeps its history: a folder of the user's, or one that goes with the lab.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use hms_ops::tsdb::Tsdb;

/// A folder for the lab's samples.
#[derive(Debug)]
pub(crate) struct History {
    folder: PathBuf,
    /// Whether the next lab goes on with it.
    pub(crate) kept: bool,
}

impl History {
    /// The folder that was asked for. Else a drill gets one that goes with it, and a lab the usual
    /// one, unless another lab has that.
    pub(crate) fn choose(asked: Option<&Path>, drill: bool) -> Result<Self> {
        if let Some(folder) = asked {
            return Ok(Self { folder: folder.to_owned(), kept: true });
        }
        match usual().filter(|folder| !drill && !Tsdb::is_in_use(folder)) {
            Some(folder) => Ok(Self { folder, kept: true }),
            None => {
                let name = format!("hms-ops-lab-{}", std::process::id());
                let folder = env::temp_dir().join(name);
                fs::create_dir_all(&folder)
                    .with_context(|| format!("cannot make {}", folder.display()))?;
                Ok(Self { folder, kept: false })
            }
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for History {
    fn drop(&mut self) {
        if !self.kept {
            // What is left of a folder for temporary files, the system removes.
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// Where programs of this user keep what should outlive them.
fn usual() -> Option<PathBuf> {
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME");
    let state = state.or_else(|| Some(absolute("HOME")?.join(".local/state")));
    Some(state?.join("hms-ops/lab"))
}
