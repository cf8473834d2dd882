//! `hms-ops tsdb verify`: what is damaged.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use hms_ops::tsdb::{Report, Tsdb};
use serde_json::json;

use super::table::counted;
use crate::failure::FAILED;
use crate::screen::plain;

/// One line for each thing that is damaged, and one about all; exit status 1 if there is such a thing.
pub(super) fn run(dir: &Path, json: bool) -> Result<ExitCode> {
    super::expect_history(dir)?;
    let report = Tsdb::verify(dir).map_err(|error| super::cannot_open(error, dir))?;
    super::print(&if json { object(&report) } else { text(&report) })?;
    let whole = report.damaged.is_empty();
    Ok(if whole { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

fn object(report: &Report) -> String {
    let Report { blocks, series, samples, records, damaged, .. } = report;
    let report = json!({
        "blocks": blocks,
        "series": series,
        "samples": samples,
        "records": records,
        "damaged": damaged,
    });
    format!("{report}\n")
}

fn text(report: &Report) -> String {
    let mut text: String = report.damaged.iter().map(|what| format!("{}\n", plain(what))).collect();
    text += &match report.damaged.len() as u64 {
        0 => "nothing is damaged: ".to_owned(),
        1 => "1 thing is damaged; readable: ".to_owned(),
        n => format!("{} things are damaged; readable: ", super::table::grouped(n)),
    };
    text += &format!(
        "{} in {}, {} of the log\n",
        counted(report.samples, "sample", "samples"),
        counted(report.blocks, "block", "blocks"),
        counted(report.records, "record", "records"),
    );
    text
}
