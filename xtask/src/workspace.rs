//! What `cargo metadata` says of this workspace: its folders, packages, and declared dependencies.

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::process;

/// The workspace that a chore works on.
#[derive(Debug)]
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    pub(crate) target: PathBuf,
    pub(crate) packages: Vec<Package>,
}

/// A member of the workspace.
#[derive(Clone, Debug)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) manifest: PathBuf,
    /// `lib.rs`, when it has a library.
    pub(crate) library: Option<PathBuf>,
    pub(crate) dependencies: Vec<Dependency>,
    /// Feature to what it turns on.
    pub(crate) features: BTreeMap<String, Vec<String>>,
}

/// A dependency as declared, with what `workspace = true` adds.
#[derive(Clone, Debug)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) features: Vec<String>,
    pub(crate) default_features: bool,
}

/// When a dependency is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Normal,
    Build,
    Dev,
}

impl Workspace {
    /// Asks cargo about the workspace around this chore.
    ///
    /// # Errors
    ///
    /// When cargo refuses a manifest; it has said why.
    pub(crate) fn open() -> Result<Self> {
        let mut cargo = process::cargo();
        cargo.args(["metadata", "--no-deps", "--format-version", "1"]);
        // Set by `cargo xtask`, so that a chore means this checkout from whatever folder it is called.
        if let Some(xtask) = env::var_os("CARGO_MANIFEST_DIR") {
            cargo.current_dir(xtask);
        }
        Self::parse(&process::stdout(&mut cargo)?)
    }

    /// Reads the answer of `cargo metadata --no-deps --format-version 1`.
    pub(crate) fn parse(json: &str) -> Result<Self> {
        let metadata: Value = serde_json::from_str(json).context("cargo metadata is not JSON")?;
        Ok(Self {
            root: path(&metadata["workspace_root"])
                .context("cargo metadata names no workspace_root")?,
            target: path(&metadata["target_directory"])
                .context("cargo metadata names no target_directory")?,
            packages: list(&metadata["packages"])
                .iter()
                .map(Package::read)
                .collect::<Result<_>>()?,
        })
    }

    /// The member called `name`.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub(crate) fn package(&self, name: &str) -> Result<&Package> {
        self.packages
            .iter()
            .find(|package| package.name == name)
            .with_context(|| format!("the workspace has no package {name}"))
    }

    /// Cargo, to be run at the root.
    pub(crate) fn cargo(&self) -> std::process::Command {
        let mut cargo = process::cargo();
        cargo.current_dir(&self.root);
        cargo
    }

    /// `path` as it is written in messages: from the root, with `/`.
    pub(crate) fn show(&self, path: &Path) -> String {
        path.strip_prefix(&self.root).unwrap_or(path).to_string_lossy().replace('\\', "/")
    }
}

impl Package {
    fn read(json: &Value) -> Result<Self> {
        let name = text(&json["name"]).context("a package without a name")?;
        let library = list(&json["targets"]).iter().find(|target| is_library(target));
        Ok(Self {
            manifest: path(&json["manifest_path"])
                .with_context(|| format!("{name} has no manifest"))?,
            library: library.and_then(|target| path(&target["src_path"])),
            dependencies: list(&json["dependencies"]).iter().filter_map(Dependency::read).collect(),
            features: features(&json["features"]),
            name,
        })
    }
}

impl Dependency {
    fn read(json: &Value) -> Option<Self> {
        let kind = match json["kind"].as_str() {
            Some("dev") => Kind::Dev,
            Some("build") => Kind::Build,
            _ => Kind::Normal,
        };
        Some(Self {
            name: text(&json["name"])?,
            kind,
            features: list(&json["features"]).iter().filter_map(text).collect(),
            default_features: json["uses_default_features"].as_bool().unwrap_or(true),
        })
    }
}

fn is_library(target: &Value) -> bool {
    list(&target["kind"])
        .iter()
        .any(|kind| matches!(kind.as_str(), Some("lib" | "rlib" | "proc-macro")))
}

fn features(json: &Value) -> BTreeMap<String, Vec<String>> {
    let entries = json.as_object().into_iter().flatten();
    entries.map(|(name, on)| (name.clone(), list(on).iter().filter_map(text).collect())).collect()
}

fn list(json: &Value) -> &[Value] {
    json.as_array().map_or(&[], Vec::as_slice)
}

fn text(json: &Value) -> Option<String> {
    json.as_str().map(str::to_owned)
}

fn path(json: &Value) -> Option<PathBuf> {
    json.as_str().map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    const METADATA: &str = r#"{
        "workspace_root": "/house", "target_directory": "/house/target",
        "packages": [{
            "name": "room", "manifest_path": "/house/room/Cargo.toml",
            "targets": [{"kind": ["bin"], "src_path": "/house/room/src/main.rs"}, {"kind": ["lib"], "src_path": "/house/room/src/lib.rs"}],
            "features": {"default": ["light"], "light": []},
            "dependencies": [
                {"name": "hall", "kind": null, "features": ["wide"], "uses_default_features": false},
                {"name": "ladder", "kind": "dev", "features": [], "uses_default_features": true}
            ]
        }]
    }"#;

    #[test]
    fn metadata_tells_the_folders_and_each_packages_library_features_and_dependencies() {
        let workspace = Workspace::parse(METADATA).unwrap();
        let room = workspace.package("room").unwrap();

        assert_eq!(workspace.show(room.library.as_deref().unwrap()), "room/src/lib.rs");
        assert_eq!(room.features["default"], ["light"]);
        assert_eq!(room.dependencies[0].features, ["wide"]);
        assert!(!room.dependencies[0].default_features);
        assert_eq!(room.dependencies[0].kind, Kind::Normal);
        assert_eq!(room.dependencies[1].kind, Kind::Dev);
    }

    #[test]
    fn a_package_that_is_not_there_is_named() {
        let error = Workspace::parse(METADATA).unwrap().package("cellar").unwrap_err();

        assert_eq!(error.to_string(), "the workspace has no package cellar");
    }
}
