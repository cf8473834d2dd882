//! `cargo xtask torture`: the tests of what is on disk, with far more rounds than CI has time for.

use anyhow::Result;

use crate::process;
use crate::workspace::Workspace;

/// What a round is, for the tests that count them.
const ROUNDS: &[(&str, &str)] = &[
    // Processes that are killed while they write.
    ("HMS_OPS_TORTURE_KILLS", "1000"),
    // Histories that end in a loss of power, of each kind.
    ("HMS_OPS_TORTURE_SEEDS", "10000"),
    // Each byte of a log and of a block is damaged, and not every so manieth.
    ("HMS_OPS_TORTURE_STRIDE", "1"),
];

/// Unoptimized, it would take a day.
const TESTS: &[&str] = &[
    "test",
    "--release",
    "--package",
    "hms-ops-wal",
    "--package",
    "hms-ops-tsdb",
    "--test",
    "it",
    "--",
    "power",
    "kill",
    "faults",
    "damage",
];

pub(crate) fn chore(workspace: &Workspace) -> Result<()> {
    let mut cargo = workspace.cargo();
    process::run(cargo.args(TESTS).envs(ROUNDS.iter().copied()))
}
