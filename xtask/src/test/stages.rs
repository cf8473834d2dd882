//! The stages themselves. Cheap ones first; those that compile alike stand together, so that they share artifacts.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};

use super::{Outcome, Stage, features, without, without_peer};
use crate::workspace::Workspace;
use crate::{binary, peers, process, tidy, ui};

pub(super) const STAGES: &[Stage] = &[
    Stage { name: "format", about: "every file as rustfmt writes it", run: format },
    Stage { name: "tidy", about: "what the compiler cannot check", run: tidy },
    Stage { name: "ui", about: "the page builds and its own tests pass", run: ui },
    Stage { name: "clippy", about: "no warning anywhere, all features, all targets", run: clippy },
    Stage { name: "tests", about: "every test of the workspace, all features", run: tests },
    Stage { name: "drill", about: "the lab heals an injected fault", run: drill },
    Stage { name: "browser", about: "the page in a browser, alone and with the lab", run: browser },
    Stage { name: "doctests", about: "the examples in the docs of facade and core", run: doctests },
    Stage { name: "docs", about: "the docs build without a warning", run: docs },
    Stage { name: "benches", about: "benchmarks and fuzz targets compile", run: benches },
    Stage {
        name: "features",
        about: "the facade compiles with every feature alone",
        run: feature_subsets,
    },
    Stage {
        name: "without-page",
        about: "the dashboard compiles without its page",
        run: without_page,
    },
];

/// The lab's runbook is sandboxed, and so needs Linux.
const RUNS_LABS: bool = cfg!(target_os = "linux");

fn format(workspace: &Workspace) -> Result<Outcome> {
    cargo(workspace, &["fmt", "--all", "--check"])
}

fn tidy(workspace: &Workspace) -> Result<Outcome> {
    tidy::chore(workspace)?;
    Ok(Outcome::Passed)
}

fn ui(workspace: &Workspace) -> Result<Outcome> {
    if let Some(tool) = ui::missing_tool() {
        return without(tool);
    }
    ui::build(workspace)?;
    passed(&mut ui::script(workspace, "test")?)
}

fn clippy(workspace: &Workspace) -> Result<Outcome> {
    cargo(
        workspace,
        &["clippy", "--workspace", "--all-features", "--all-targets", "--", "-D", "warnings"],
    )
}

fn tests(workspace: &Workspace) -> Result<Outcome> {
    if peers::has_nextest() {
        cargo(workspace, &["nextest", "run", "--workspace", "--all-features", "--no-fail-fast"])
    } else {
        // Not `--all-targets`: that would run the benchmarks too.
        let targets = ["--lib", "--bins", "--tests", "--examples"];
        cargo(
            workspace,
            &[&["test", "--workspace", "--all-features", "--no-fail-fast"], &targets[..]].concat(),
        )
    }
}

fn drill(workspace: &Workspace) -> Result<Outcome> {
    if !RUNS_LABS {
        return Ok(Outcome::Skipped("sandboxed runbooks need Linux".to_owned()));
    }
    let binary = binary::as_tested(workspace)?;
    passed(Command::new(binary).current_dir(&workspace.root).args(["lab", "--fast", "--drill"]))
}

fn browser(workspace: &Workspace) -> Result<Outcome> {
    if let Some(tool) = ui::missing_tool() {
        return without(tool);
    }
    let Some(chromium) = peers::CHROMIUM.find() else {
        return without_peer(&peers::CHROMIUM);
    };
    ui::build(workspace)?;
    passed(ui::script(workspace, "test:browser")?.env("CHROMIUM", &chromium))?;
    if !RUNS_LABS {
        return Ok(Outcome::Passed);
    }
    let binary = binary::as_tested(workspace)?;
    passed(ui::script(workspace, "test:lab")?.arg("--").arg(binary).env("CHROMIUM", chromium))
}

fn doctests(workspace: &Workspace) -> Result<Outcome> {
    cargo(
        workspace,
        &["test", "--doc", "--package", "hms-ops", "--package", "hms-ops-core", "--all-features"],
    )
}

fn docs(workspace: &Workspace) -> Result<Outcome> {
    // `--lib`: the page of the binary `hms-ops` would overwrite that of the library `hms_ops`.
    let mut cargo = workspace.cargo();
    cargo
        .args(["doc", "--no-deps", "--workspace", "--lib", "--all-features"])
        .env("RUSTDOCFLAGS", "-D warnings");
    passed(&mut cargo)
}

fn benches(workspace: &Workspace) -> Result<Outcome> {
    cargo(workspace, &["check", "--package", "hms-ops-benches", "--all-targets"])?;
    if workspace.root.join("fuzz/Cargo.toml").is_file() {
        cargo(workspace, &["check", "--manifest-path", "fuzz/Cargo.toml"])?;
    }
    Ok(Outcome::Passed)
}

fn feature_subsets(workspace: &Workspace) -> Result<Outcome> {
    for subset in features::subsets(&workspace.package("hms-ops")?.features) {
        passed(
            workspace
                .cargo()
                .args(["check", "--quiet", "--package", "hms-ops", "--lib"])
                .args(subset),
        )?;
    }
    Ok(Outcome::Passed)
}

/// Last, because another `dist` makes cargo build the dashboard, and all that stands on it, once more.
fn without_page(workspace: &Workspace) -> Result<Outcome> {
    let empty = workspace.target.join("xtask/empty-dist");
    fs::create_dir_all(&empty).with_context(|| format!("cannot create {}", empty.display()))?;
    let mut cargo = workspace.cargo();
    cargo
        .args(["check", "--package", "hms-ops-dashboard", "--all-features"])
        .env("HMS_OPS_DASHBOARD_DIST", empty);
    passed(&mut cargo)
}

fn cargo(workspace: &Workspace, args: &[&str]) -> Result<Outcome> {
    passed(workspace.cargo().args(args))
}

fn passed(command: &mut Command) -> Result<Outcome> {
    process::run(command)?;
    Ok(Outcome::Passed)
}
