//! The table that a bench prints, and the file that it leaves.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::case::Figures;
use crate::host;

/// What a bench has to say.
#[derive(Debug)]
pub struct Report {
    name: String,
    file: PathBuf,
    rows: Vec<Row>,
    goals: Vec<Goal>,
}

#[derive(Debug)]
struct Row {
    group: String,
    figures: Figures,
    /// How often as long as the first of its group.
    ratio: f64,
    allocations: Option<f64>,
}

/// A promise, and what was measured.
#[derive(Clone, Debug)]
pub struct Goal {
    /// What was promised.
    pub promise: String,
    /// At most this.
    pub limit: f64,
    /// This was measured.
    pub measured: f64,
}

impl Goal {
    /// Whether the promise is kept.
    pub fn is_met(&self) -> bool {
        self.measured <= self.limit
    }
}

impl Report {
    /// A report of this name; `tmp` is Cargo's `CARGO_TARGET_TMPDIR`, which benches are told.
    pub fn new(name: &str, tmp: &str) -> Self {
        let file = Path::new(tmp).with_file_name("bench").join(name).with_extension("json");
        Self { name: name.to_owned(), file, rows: Vec::new(), goals: Vec::new() }
    }

    /// Adds what was measured; ratios are to the first row.
    pub fn group(&mut self, group: &str, figures: &[Figures]) {
        self.group_with_allocations(group, figures, &[]);
    }

    /// As [`Report::group`], with the allocations per call of each row, in the same order.
    pub fn group_with_allocations(
        &mut self,
        group: &str,
        figures: &[Figures],
        allocations: &[f64],
    ) {
        let Some(first) = figures.first() else { return };
        self.rows.extend(figures.iter().enumerate().map(|(n, figures)| Row {
            group: group.to_owned(),
            figures: figures.clone(),
            ratio: figures.nanos() / first.nanos(),
            allocations: allocations.get(n).copied(),
        }));
    }

    /// Compares a figure with a promise.
    pub fn goal(&mut self, promise: &str, limit: f64, measured: f64) {
        self.goals.push(Goal { promise: promise.to_owned(), limit, measured });
    }

    /// Prints the table and writes the file.
    ///
    /// # Panics
    ///
    /// When the file cannot be written: a bench has nobody else to tell.
    pub fn finish(self) {
        self.print();
        let folder = self.file.parent().expect("the file is in a folder");
        fs::create_dir_all(folder).expect("the target folder can be written");
        let text = serde_json::to_string_pretty(&self.json()).expect("numbers and texts");
        fs::write(&self.file, text + "\n").expect("the target folder can be written");
    }

    fn print(&self) {
        println!("{}: nanoseconds per call, medians, on {}", self.name, host::machine());
        let mut group = "";
        for row in &self.rows {
            if row.group != group {
                group = &row.group;
                println!();
                println!(
                    "{group:<44} {:>9} {:>9} {:>9} {:>8} {:>9} {:>9}",
                    "wall", "cpu", "cpu p90", "ratio", "reader", "allocs"
                );
            }
            let Figures { name, wall, cpu, p90, reader, .. } = &row.figures;
            println!(
                "  {name:<42} {wall:>9.1} {cpu:>9.1} {p90:>9.1} {:>7.2}x {:>9} {:>9}",
                row.ratio,
                reader.map_or(String::new(), |nanos| format!("{nanos:.2}")),
                row.allocations.map_or(String::new(), |count| format!("{count:.3}")),
            );
        }
        println!();
        for goal in &self.goals {
            let met = if goal.is_met() { "met" } else { "NOT MET" };
            println!("  {}: {:.2} of {} {met}", goal.promise, goal.measured, goal.limit);
        }
        println!();
    }

    fn json(&self) -> serde_json::Value {
        let rows = self.rows.iter().map(|row| {
            json!({
                "group": row.group,
                "name": row.figures.name,
                "threads": row.figures.threads,
                "wall_ns": row.figures.wall,
                "cpu_ns": row.figures.cpu,
                "cpu_p90_ns": row.figures.p90,
                "ratio": row.ratio,
                "reader_ns": row.figures.reader,
                "allocations": row.allocations,
            })
        });
        let goals = self.goals.iter().map(|goal| {
            json!({
                "promise": goal.promise,
                "limit": goal.limit,
                "measured": goal.measured,
                "met": goal.is_met(),
            })
        });
        json!({
            "bench": self.name,
            "machine": host::machine(),
            "rows": rows.collect::<Vec<_>>(),
            "goals": goals.collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(name: &str, cpu: f64) -> Figures {
        Figures { name: name.to_owned(), threads: 1, wall: 9.0, cpu, p90: 9.0, reader: None }
    }

    #[test]
    fn ratios_are_to_the_first_of_the_group() {
        let mut report = Report::new("test", "target/tmp");
        report.group("one", &[figures("ours", 2.0), figures("theirs", 5.0)]);
        report.group_with_allocations("two", &[figures("ours", 4.0)], &[0.5]);
        report.goal("ours", 3.0, 2.0);

        let json = report.json();
        let ratios: Vec<_> = (0..3).map(|n| json["rows"][n]["ratio"].as_f64()).collect();
        assert_eq!(ratios, [Some(1.0), Some(2.5), Some(1.0)]);
        assert_eq!(json["rows"][2]["allocations"], 0.5);
        assert_eq!(json["goals"][0]["met"], true);
        assert_eq!(report.file, Path::new("target/bench/test.json"));
    }
}
