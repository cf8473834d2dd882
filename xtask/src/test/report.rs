//! The table at the end of a test run: stage, seconds, outcome.

use std::fmt::Write;

use anyhow::Result;

use super::Outcome;

/// One line of the table.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) stage: &'static str,
    pub(super) seconds: f64,
    pub(super) outcome: String,
}

/// How a stage ended, in a word or a few.
pub(super) fn word(done: &Result<Outcome>) -> String {
    match done {
        Ok(Outcome::Passed) => "passed".to_owned(),
        Ok(Outcome::Skipped(why)) => format!("skipped: {why}"),
        Err(_) => "FAILED".to_owned(),
    }
}

/// The rows under a heading, and their sum.
pub(super) fn table(rows: &[Row]) -> String {
    let mut table = format!("{:<14}{:>9}  {}\n", "stage", "seconds", "outcome");
    for row in rows {
        line(&mut table, row.stage, row.seconds, &row.outcome);
    }
    let sum = rows.iter().map(|row| row.seconds).sum();
    line(&mut table, "all", sum, "");
    table
}

fn line(table: &mut String, stage: &str, seconds: f64, outcome: &str) {
    let line = format!("{stage:<14}{seconds:>9.1}  {outcome}");
    writeln!(table, "{}", line.trim_end()).expect("a string takes every write");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_shows_every_stage_with_its_seconds_and_their_sum() {
        let rows = [
            Row { stage: "format", seconds: 0.84, outcome: word(&Ok(Outcome::Passed)) },
            Row {
                stage: "browser",
                seconds: 0.0,
                outcome: word(&Ok(Outcome::Skipped("chromium is missing".into()))),
            },
            Row { stage: "drill", seconds: 61.2, outcome: word(&Err(anyhow::anyhow!("no"))) },
        ];

        let expected = "\
stage           seconds  outcome
format              0.8  passed
browser             0.0  skipped: chromium is missing
drill              61.2  FAILED
all                62.0
";
        assert_eq!(table(&rows), expected);
    }
}
