//! Engines of PromQL against each other: what a query costs over HTTP and in process, and what a
//! sample costs that comes by remote write.
//!
//! Every subject has a process of its own, so that its processor time is its own too: a server is
//! one, and for ours and for what is embedded this program starts itself again with the arguments
//! `child MEASURE FOLDER`. All servers run at once, and are asked in turns.
//!
//! Options: `--quick` makes everything a tenth as large; `--without-tsink` leaves out
//! the slowest peer.

mod answer;
mod embedded;
mod figures;
mod queries;
mod servers;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::{env, fs, io};

use hms_ops_benches::server::{PROMETHEUS, Server, VICTORIA_METRICS, free_address};
use hms_ops_benches::table::{Figures, OURS, Table};
use hms_ops_benches::workload::{VALUES, Workload};
use hms_ops_benches::{remote_write, tsink};

use servers::Subject;

const EMBEDDED: &str = "embedded";
const SERVE: &str = "serve";
/// Answered as soon as anything can be asked.
const READY: &str = "/api/v1/query?query=1";
/// What a child is told of the size.
const QUICK: &str = "quick";

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    let (mut quick, mut without_tsink) = (false, false);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            // Cargo says so to every bench.
            "--bench" => {}
            "--quick" => quick = true,
            "--without-tsink" => without_tsink = true,
            "child" => return child(&arguments.collect::<Vec<_>>()),
            other => return refuse(&format!("no such option: {other}")),
        }
    }
    match parent(&Sizes::new(quick), quick, without_tsink) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn refuse(why: &str) -> ExitCode {
    eprintln!("{why}");
    ExitCode::from(2)
}

/// How large everything is.
struct Sizes {
    workload: Workload,
    rounds: usize,
    repeats: usize,
}

impl Sizes {
    fn new(quick: bool) -> Self {
        let part = if quick { 10 } else { 1 };
        Self { workload: Workload::W1.part(part), rounds: 4, repeats: 10 }
    }
}

fn child(arguments: &[String]) -> ExitCode {
    let [measure, folder, rest] = arguments else {
        return refuse("a child is told its measure, its folder, and its size or address");
    };
    let (folder, sizes) = (Path::new(folder), Sizes::new(rest == QUICK));
    let repeats = sizes.rounds * sizes.repeats;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let figures = runtime.expect("a runtime").block_on(async {
        match measure.as_str() {
            SERVE => match rest.parse() {
                Ok(address) => embedded::serve(folder, address).await,
                Err(_) => None,
            },
            EMBEDDED => Some(embedded::ours(sizes.workload, folder, repeats).await),
            tsink::NAME => Some(embedded::tsink(sizes.workload, folder, repeats)),
            _ => None,
        }
    });
    let Some(figures) = figures else { return refuse(&format!("no such measure: {measure}")) };
    println!("{}", serde_json::to_string(&figures).expect("numbers and texts"));
    ExitCode::SUCCESS
}

fn parent(sizes: &Sizes, quick: bool, without_tsink: bool) -> io::Result<ExitCode> {
    let temporary = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let root = temporary.path();
    let mut table = Table::new("query", figures::GROUPS, quick);

    let mut subjects = vec![ours(&folder(root, OURS)?)?];
    for peer in [&PROMETHEUS, &VICTORIA_METRICS] {
        if peer.find().is_some() {
            subjects.push(Subject::peer(peer, &folder(root, peer.name)?)?);
        } else {
            table.absent(peer.name);
        }
    }
    eprintln!("over HTTP\n  remote write ...");
    let requests = remote_write::write(sizes.workload, 2, &folder(root, "requests")?)?;
    subjects.iter_mut().try_for_each(|subject| subject.write(sizes.workload, &requests))?;
    servers::ask(&mut subjects, sizes.workload.end(), sizes.rounds, sizes.repeats)?;

    eprintln!("in process");
    for Subject { name, note, mut figures, .. } in subjects {
        if name == OURS {
            figures.extend(embedded(EMBEDDED, root, sizes, quick)?);
        }
        table.subject(name, &note, figures);
    }
    if !without_tsink {
        table.subject(tsink::NAME, tsink::NOTE, embedded(tsink::NAME, root, sizes, quick)?);
    }
    table.finish(env!("CARGO_TARGET_TMPDIR"));
    let required = env::var_os("HMS_OPS_REQUIRE_PEERS").is_some_and(|value| value == "1");
    Ok(if required && table.lacks_a_peer() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Our server, which is this program.
fn ours(folder: &Path) -> io::Result<Subject> {
    let (address, mut command) = (free_address()?, Command::new(env::current_exe()?));
    command.args(["child", SERVE]).arg(folder).arg(address.to_string());
    let server = Server::start(OURS, command, folder, address, READY)?;
    Ok(Subject::new(OURS, embedded::NAME.to_owned(), server))
}

/// Starts this program again for one measure in a process of its own.
fn embedded(measure: &str, root: &Path, sizes: &Sizes, quick: bool) -> io::Result<Figures> {
    eprintln!("  {measure} ...");
    let folder = folder(root, &format!("in-process-{measure}"))?;
    sizes.workload.write(&folder.join(VALUES))?;
    let mut command = Command::new(env::current_exe()?);
    command.args(["child", measure]).arg(folder).arg(if quick { QUICK } else { "whole" });
    let output = command.stderr(Stdio::inherit()).output()?;
    assert!(output.status.success(), "{measure} ended with {}", output.status);
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// A new folder in `root`.
fn folder(root: &Path, name: &str) -> io::Result<PathBuf> {
    let folder = root.join(name);
    fs::create_dir(&folder)?;
    Ok(folder)
}
