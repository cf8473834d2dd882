//! Stores against each other: what a sample costs to append, to keep and to find again.
//!
//! Every subject is measured in a process of its own, so that its processor time and its peak of
//! memory are its own too: a server is one, and for what is embedded this program starts itself
//! again with the arguments `child MEASURE FOLDER`.
//!
//! Options: `--quick` makes everything a tenth as large; `--only NAME`, also more than once, keeps
//! to the subjects and measures of these names; `--without-tsink` leaves out the slowest peer.

mod embedded;
mod figures;
mod servers;
mod subject;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::{env, fs};

use hms_ops_benches::server::{PROMETHEUS, Peer, VICTORIA_METRICS};
use hms_ops_benches::table::{Figures, OURS, Table};
use hms_ops_benches::workload::{LARGE, VALUES, Workload};
use hms_ops_benches::{remote_write, tsink};

const SUBJECTS: &[&str] = &[OURS, PROMETHEUS.name, VICTORIA_METRICS.name, tsink::NAME];
const MEASURES: &[&str] = &["w1", "scrapes", "reads", "w2", "restart", "limit"];
/// What a child is told of the size.
const QUICK: &str = "quick";

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    let (mut quick, mut without_tsink, mut only) = (false, false, Vec::new());
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            // Cargo says so to every bench.
            "--bench" => {}
            "--quick" => quick = true,
            "--without-tsink" => without_tsink = true,
            "--only" => {
                let wanted = arguments.next().unwrap_or_default();
                let mut names = SUBJECTS.iter().chain(MEASURES);
                let Some(name) = names.find(|name| **name == wanted) else {
                    return refuse(&format!("--only takes one of {SUBJECTS:?} or {MEASURES:?}"));
                };
                only.push(*name);
            }
            "child" => {
                let rest: Vec<_> = arguments.collect();
                let [measure, folder, size] = rest.as_slice() else {
                    return refuse("a child is told its measure, its folder and its size");
                };
                return child(measure, Path::new(folder), &Sizes::new(size == QUICK));
            }
            other => return refuse(&format!("no such option: {other}")),
        }
    }
    parent(&Run { quick, without_tsink, only, sizes: Sizes::new(quick) })
}

fn refuse(why: &str) -> ExitCode {
    eprintln!("{why}");
    ExitCode::from(2)
}

/// How large everything is.
struct Sizes {
    w1: Workload,
    w2: Workload,
    restart: Workload,
    /// Series that are offered to a store, and how many it may take.
    offered: usize,
    limit: usize,
    reads: usize,
}

impl Sizes {
    fn new(quick: bool) -> Self {
        let part = if quick { 10 } else { 1 };
        Self {
            w1: Workload::W1.part(part),
            w2: Workload::W2.part(part),
            restart: Workload::RESTART.part(part),
            offered: 1_000_000 / part,
            limit: 100_000 / part,
            reads: 20_000 / part,
        }
    }
}

/// What a child does: one measure of one subject, with what lies in `folder`.
fn child(measure: &str, folder: &Path, sizes: &Sizes) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let figures = runtime.block_on(async {
        Some(match measure {
            "w1" => embedded::ingest(sizes.w1, folder, LARGE, "w1").await,
            "scrapes" => embedded::ingest(sizes.w1, folder, embedded::SMALL, "scrapes").await,
            "reads" => embedded::reads(sizes.w1, folder, sizes.reads).await,
            "w2" => embedded::ingest(sizes.w2, folder, LARGE, "w2").await,
            "restart" => embedded::before_restart(sizes.restart, folder).await,
            "restarted" => embedded::after_restart(sizes.restart, folder).await,
            "limit" => embedded::limit(folder, sizes.offered, sizes.limit).await,
            tsink::NAME => embedded::ingest_tsink(sizes.w1, folder),
            _ => return None,
        })
    });
    let Some(figures) = figures else { return refuse(&format!("no such measure: {measure}")) };
    println!("{}", serde_json::to_string(&figures).expect("numbers and texts"));
    ExitCode::SUCCESS
}

/// What was asked for.
struct Run {
    quick: bool,
    without_tsink: bool,
    only: Vec<&'static str>,
    sizes: Sizes,
}

impl Run {
    /// Whether `name` is wanted, which is one of `kind`.
    fn wants(&self, name: &str, kind: &[&str]) -> bool {
        let mut those = self.only.iter().filter(|name| kind.contains(name)).peekable();
        those.peek().is_none() || those.any(|wanted| *wanted == name)
    }

    fn measures(&self, measure: &str) -> bool {
        self.wants(measure, MEASURES)
    }

    /// Starts this program again for one measure.
    fn child(&self, measure: &str, folder: &Path) -> Figures {
        eprintln!("  {measure} ...");
        let program = env::current_exe().expect("this program is a file");
        let mut command = Command::new(program);
        command.args(["child", measure]).arg(folder).arg(if self.quick { QUICK } else { "whole" });
        let output = command.stderr(Stdio::inherit()).output().expect("it can be started again");
        assert!(output.status.success(), "{measure} ended with {}", output.status);
        serde_json::from_slice(&output.stdout).expect("a child says its figures")
    }
}

fn parent(run: &Run) -> ExitCode {
    let temporary = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("room for files");
    let root = temporary.path();
    let mut table = Table::new("store", figures::GROUPS, run.quick);

    if run.wants(OURS, SUBJECTS) {
        eprintln!("{OURS}");
        table.subject(OURS, subject::NAME, ours(run, root));
    }
    for peer in [&PROMETHEUS, &VICTORIA_METRICS] {
        if !run.wants(peer.name, SUBJECTS) {
        } else if peer.find().is_some() {
            eprintln!("{}", peer.name);
            let version = peer.version().unwrap_or("which does not tell its version".to_owned());
            table.subject(peer.name, &version, server(run, peer, root));
        } else {
            table.absent(peer.name);
        }
    }
    if run.wants(tsink::NAME, SUBJECTS) && run.measures("w1") && !run.without_tsink {
        eprintln!("{}", tsink::NAME);
        let folder = values(root, tsink::NAME, run.sizes.w1);
        table.subject(tsink::NAME, tsink::NOTE, run.child(tsink::NAME, &folder));
    }

    table.finish(env!("CARGO_TARGET_TMPDIR"));
    let required = env::var_os("HMS_OPS_REQUIRE_PEERS").is_some_and(|value| value == "1");
    if required && table.lacks_a_peer() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn ours(run: &Run, root: &Path) -> Figures {
    let mut all = Figures::new();
    for (name, workload) in [("w1", run.sizes.w1), ("scrapes", run.sizes.w1), ("w2", run.sizes.w2)]
    {
        // Reads need what the first of them leaves behind.
        if run.measures(name) || name == "w1" && run.measures("reads") {
            all.extend(run.child(name, &values(root, name, workload)));
        }
    }
    if run.measures("reads") {
        all.extend(run.child("reads", &root.join("w1")));
    }
    if run.measures("restart") {
        let folder = values(root, "restart", run.sizes.restart);
        run.child("restart", &folder);
        all.extend(run.child("restarted", &folder));
    }
    if run.measures("limit") {
        all.extend(run.child("limit", &folder(root, "limit")));
    }
    all
}

fn server(run: &Run, peer: &Peer, root: &Path) -> Figures {
    let mut all = Figures::new();
    let requests = |name: &str, workload: Workload| {
        let folder = folder(root, &format!("{}-{name}", peer.name));
        let files = remote_write::write(workload, 2, &folder).expect("room for files");
        (folder, files)
    };
    for (name, workload) in [("w1", run.sizes.w1), ("w2", run.sizes.w2)] {
        if run.measures(name) {
            eprintln!("  {name} ...");
            let (folder, files) = requests(name, workload);
            all.extend(servers::ingest(peer, workload, &folder, &files, name).expect(peer.name));
            fs::remove_dir_all(folder).expect("it is ours");
        }
    }
    // The other peer has no log to replay.
    if run.measures("restart") && peer.name == PROMETHEUS.name {
        eprintln!("  restart ...");
        let (folder, files) = requests("restart", run.sizes.restart);
        all.extend(servers::restart(peer, run.sizes.restart, &folder, &files).expect(peer.name));
        fs::remove_dir_all(folder).expect("it is ours");
    }
    all
}

/// A new folder in `root`.
fn folder(root: &Path, name: &str) -> PathBuf {
    let folder = root.join(name);
    fs::create_dir(&folder).expect("room for a folder");
    folder
}

/// A new folder with the values of a workload.
fn values(root: &Path, name: &str, workload: Workload) -> PathBuf {
    let folder = folder(root, name);
    workload.write(&folder.join(VALUES)).expect("room for values");
    folder
}
