//! `cargo xtask ui`: builds the page with npm, and only when something it is made of has changed.

mod inputs;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process;
use crate::workspace::Workspace;

/// Builds the page into `dist`, unless it stands there already.
///
/// # Errors
///
/// When Node.js is missing, or npm fails; it has said why.
pub(crate) fn build(workspace: &Workspace) -> Result<()> {
    let page = Page::of(workspace)?;
    let built = Stamp::of(workspace, "page");
    let inputs = inputs::digest(&page.ui)?;
    if page.index().is_file() && built.says(&inputs) {
        eprintln!("the page is up to date");
        return Ok(());
    }
    install(workspace)?;
    built.clear()?;
    process::run(page.npm()?.args(["run", "build"]))?;
    if !page.index().is_file() {
        bail!("`npm run build` succeeded but left no {}", workspace.show(&page.index()));
    }
    built.write(&inputs)
}

/// Installs the packages of the page, when the lock file has changed or nothing is installed.
pub(crate) fn install(workspace: &Workspace) -> Result<()> {
    let page = Page::of(workspace)?;
    let installed = Stamp::of(workspace, "packages");
    let lock = inputs::digest(&page.ui.join("package-lock.json"))?;
    if page.ui.join("node_modules").is_dir() && installed.says(&lock) {
        return Ok(());
    }
    let mut npm = page.npm()?;
    installed.clear()?;
    process::run(npm.args(["ci", "--no-audit", "--no-fund"]))?;
    installed.write(&lock)
}

/// Runs a script of the page's `package.json`, with its packages installed.
pub(crate) fn script(workspace: &Workspace, name: &str) -> Result<Command> {
    install(workspace)?;
    let mut npm = Page::of(workspace)?.npm()?;
    npm.args(["run", name]);
    Ok(npm)
}

/// What of Node.js is not on the path.
pub(crate) fn missing_tool() -> Option<&'static str> {
    ["node", "npm"].into_iter().find(|tool| find_tool(tool).is_none())
}

/// The folders of the page.
struct Page {
    ui: PathBuf,
    dist: PathBuf,
}

impl Page {
    fn of(workspace: &Workspace) -> Result<Self> {
        let home = workspace.root.join("crates/hms-ops-dashboard");
        let page = Self { ui: home.join("ui"), dist: home.join("dist") };
        if !page.ui.join("package.json").is_file() {
            bail!(
                "the page has no sources: {} is missing",
                workspace.show(&page.ui.join("package.json"))
            );
        }
        Ok(page)
    }

    fn index(&self) -> PathBuf {
        self.dist.join("index.html")
    }

    /// npm, to be run where the page is.
    fn npm(&self) -> Result<Command> {
        if let Some(tool) = missing_tool() {
            bail!("{}", how_to_go_on(tool));
        }
        let mut npm = Command::new(find_tool("npm").context("npm is missing")?);
        npm.current_dir(&self.ui);
        Ok(npm)
    }
}

fn find_tool(tool: &str) -> Option<PathBuf> {
    // On Windows npm is a script, and `Command` adds only `.exe` by itself.
    process::find(tool).or_else(|| process::find(&format!("{tool}.cmd")))
}

fn how_to_go_on(tool: &str) -> String {
    format!(
        "{tool} is missing, and the page is built with it: install Node.js 20.19 or newer, which brings npm. \
         To go on without the page, use `cargo xtask lab --without-page`, or cargo itself: \
         every crate compiles without it and serves one page that says how to get the rest"
    )
}

/// A file in the target folder that says what something was last made from.
struct Stamp(PathBuf);

impl Stamp {
    fn of(workspace: &Workspace, what: &str) -> Self {
        // Two checkouts may share one target folder; each has its own page.
        let checkout = inputs::digest_of_text(&workspace.root.to_string_lossy());
        Self(workspace.target.join("xtask").join(format!("{what}-{checkout}")))
    }

    fn says(&self, digest: &str) -> bool {
        fs::read_to_string(&self.0).is_ok_and(|stamp| stamp == digest)
    }

    /// Forgets, before the work starts: half-done work must not look done.
    fn clear(&self) -> Result<()> {
        match fs::remove_file(&self.0) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| cannot("remove", &self.0))
            }
            _ => Ok(()),
        }
    }

    fn write(&self, digest: &str) -> Result<()> {
        let folder = self.0.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).with_context(|| cannot("create", folder))?;
        fs::write(&self.0, digest).with_context(|| cannot("write", &self.0))
    }
}

fn cannot(verb: &str, path: &Path) -> String {
    format!("cannot {verb} {}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_tool_is_named_with_what_to_install_and_how_to_go_on() {
        let message = how_to_go_on("npm");

        assert!(message.starts_with("npm is missing"));
        assert!(message.contains("install Node.js 20.19 or newer"));
        assert!(message.contains("lab --without-page"));
    }
}
