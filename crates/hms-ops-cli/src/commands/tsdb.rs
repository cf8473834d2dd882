//! `hms-ops tsdb`: looks after the history on disk, in a folder that no engine has open.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Error, Result};
use hms_ops::tsdb::{Options, SeriesLimits, Tsdb, TsdbError};

use crate::args::{TsdbArgs, TsdbCommand};
use crate::failure::Misuse;
use crate::log;

mod export;
mod import;
mod progress;
mod snapshot;
mod stats;
mod table;
mod time;
mod verify;

pub(crate) use self::time::parse as parse_time;

/// The folder of the history, unless another is named.
pub(crate) const DEFAULT_DATA: &str = "hms-ops-data";

pub(crate) async fn run(args: &TsdbArgs) -> Result<ExitCode> {
    log::start(log::Wanted::Trouble);
    let dir = &args.data;
    let done = match &args.what {
        TsdbCommand::Stats { top, json } => stats::run(dir, *top, *json).await,
        TsdbCommand::Verify { json } => return verify::run(dir, *json),
        TsdbCommand::Export(args) => export::run(dir, args).await,
        TsdbCommand::Import { files } => import::run(dir, files),
        TsdbCommand::Snapshot { to } => snapshot::run(dir, to),
    };
    // Who closed the pipe has seen enough.
    let closed = |error: &Error| {
        error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
    };
    match done {
        Err(error) if !closed(&error) => Err(error),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// Opens history that exists.
pub(super) fn open(dir: &Path) -> Result<Tsdb> {
    expect_history(dir)?;
    open_or_make(dir)
}

/// Opens history as it is: without limits, nothing that an engine has kept is refused, sealed or
/// dropped.
fn open_or_make(dir: &Path) -> Result<Tsdb> {
    let no_limit = SeriesLimits { store: usize::MAX, metric: usize::MAX, target: usize::MAX };
    let options = Options {
        out_of_order_window: Duration::MAX,
        retention: Duration::MAX,
        series: no_limit,
        memory: u64::MAX,
        exemplars: usize::MAX,
        background: false,
        ..Options::default()
    };
    Tsdb::open(dir, options).map_err(|error| cannot_open(error, dir))
}

/// Opening makes what is missing; whoever only reads has named the wrong folder.
fn expect_history(dir: &Path) -> Result<()> {
    if dir.join("blocks").is_dir() {
        return Ok(());
    }
    let dir = dir.display();
    Err(Misuse(format!("{dir} has no history; `--data` says where it is")).into())
}

fn cannot_open(error: TsdbError, dir: &Path) -> Error {
    match error {
        TsdbError::InUse { folder } => {
            let folder = folder.display();
            Misuse(format!("{folder} is in use by an engine: end that first, then try again"))
                .into()
        }
        other => Error::from(other).context(format!("cannot open {}", dir.display())),
    }
}

/// What a folder takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Size {
    blocks: u64,
    bytes: u64,
}

fn size_of(dir: &Path) -> Result<Size> {
    let mut size = Size::default();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        let cannot = || format!("cannot read {}", folder.display());
        for entry in fs::read_dir(&folder).with_context(cannot)? {
            let entry = entry.with_context(cannot)?;
            if entry.file_type().with_context(cannot)?.is_dir() {
                folders.push(entry.path());
                continue;
            }
            size.bytes += entry.metadata().with_context(cannot)?.len();
            size.blocks += u64::from(entry.path().extension().is_some_and(|e| e == "block"));
        }
    }
    Ok(size)
}

/// Prints to standard output, which may be closed.
fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}
