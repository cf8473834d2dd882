//! The table of a bench whose subjects are whole processes: what was measured, what was promised.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::host;

/// What the subject is called whose figures the promises are about.
pub const OURS: &str = "ours";

/// What was measured of one subject: `MEASURE.FIGURE` and its value.
pub type Figures = BTreeMap<String, f64>;

/// Lines that belong together, and what they are about.
pub type Group = (&'static str, &'static [Line]);

/// A line of the table.
#[derive(Debug)]
pub struct Line {
    figure: &'static str,
    title: &'static str,
    /// Shown is the value divided by this.
    unit: f64,
    goals: &'static [Goal],
}

/// Shows `figure`, divided by `unit`, under `title`.
pub const fn line(
    figure: &'static str,
    title: &'static str,
    unit: f64,
    goals: &'static [Goal],
) -> Line {
    Line { figure, title, unit, goals }
}

/// What was promised of a figure of ours.
#[derive(Debug)]
pub struct Goal {
    /// The subject whose figure ours is divided by; none where the figure itself counts.
    pub against: Option<&'static str>,
    /// The promise.
    pub bound: Bound,
    /// What it has to keep in any case.
    pub floor: Option<f64>,
}

/// On which side of a limit a figure is to be.
#[derive(Clone, Copy, Debug)]
pub enum Bound {
    /// This much or more.
    AtLeast(f64),
    /// This much or less.
    AtMost(f64),
}
use Bound::{AtLeast, AtMost};

impl Goal {
    /// What counts, if all of it was measured.
    fn measured(&self, figure: &str, ours: &Figures, all: &[Subject]) -> Option<f64> {
        let ours = ours.get(figure)?;
        let Some(against) = self.against else { return Some(*ours) };
        let peer = all.iter().find(|subject| subject.key == against)?;
        Some(ours / peer.figures.get(figure)?)
    }

    fn verdict(&self, measured: Option<f64>) -> &'static str {
        let Some(measured) = measured else { return "not measured" };
        let keeps = |limit: f64| match self.bound {
            AtLeast(_) => measured >= limit,
            AtMost(_) => measured <= limit,
        };
        let (AtLeast(limit) | AtMost(limit)) = self.bound;
        match self.floor {
            _ if keeps(limit) => "met",
            Some(floor) if keeps(floor) => "NOT MET, but its floor is",
            _ => "NOT MET",
        }
    }

    fn text(&self) -> String {
        let bound = match self.bound {
            AtLeast(limit) => format!("at least {limit}"),
            AtMost(limit) => format!("at most {limit}"),
        };
        let against = self.against.map_or(String::new(), |peer| format!(" times {peer}"));
        let floor = self.floor.map_or(String::new(), |floor| format!(", floor {floor}"));
        bound + &against + &floor
    }
}

/// What such a bench has to say.
#[derive(Debug)]
pub struct Table {
    bench: &'static str,
    groups: &'static [Group],
    quick: bool,
    subjects: Vec<Subject>,
    absent: Vec<&'static str>,
}

#[derive(Debug)]
struct Subject {
    key: &'static str,
    note: String,
    figures: Figures,
}

impl Table {
    /// The table of a bench of this name; what it measures is a tenth as large if `quick`.
    pub fn new(bench: &'static str, groups: &'static [Group], quick: bool) -> Self {
        Self { bench, groups, quick, subjects: Vec::new(), absent: Vec::new() }
    }

    /// Adds what was measured of a subject; `note` says which it was.
    pub fn subject(&mut self, key: &'static str, note: &str, figures: Figures) {
        self.subjects.push(Subject { key, note: note.to_owned(), figures });
    }

    /// Says that a peer is not on this machine.
    pub fn absent(&mut self, peer: &'static str) {
        self.absent.push(peer);
    }

    /// Whether one is not.
    pub fn lacks_a_peer(&self) -> bool {
        !self.absent.is_empty()
    }

    /// Prints the table and writes the file; `tmp` is Cargo's `CARGO_TARGET_TMPDIR`.
    ///
    /// # Panics
    ///
    /// When the file cannot be written: a bench has nobody else to tell.
    pub fn finish(&self, tmp: &str) {
        self.print();
        let file = Path::new(tmp).with_file_name("bench").join(self.bench).with_extension("json");
        let folder = file.parent().expect("the file is in a folder");
        fs::create_dir_all(folder).expect("the target folder can be written");
        let text = serde_json::to_string_pretty(&self.json()).expect("numbers and texts");
        fs::write(&file, text + "\n").expect("the target folder can be written");
    }

    fn print(&self) {
        println!("{}, on {}", self.bench, host::machine());
        if self.quick {
            println!("  everything a tenth as large: figures are not those of the promises");
        }
        for Subject { key, note, .. } in &self.subjects {
            println!("  {key}: {note}");
        }
        for peer in &self.absent {
            println!("  {peer}: absent; `cargo xtask peers` installs it");
        }
        for (group, lines) in self.groups {
            println!("\n{group}");
            print!("  {:<46}", "");
            self.subjects.iter().for_each(|subject| print!(" {:>16}", subject.key));
            println!();
            lines.iter().for_each(|line| self.print_line(line));
        }
    }

    fn print_line(&self, line: &Line) {
        print!("  {:<46}", line.title);
        for subject in &self.subjects {
            let value = subject.figures.get(line.figure).map(|value| value / line.unit);
            print!(" {:>16}", value.map_or("-".to_owned(), |value| format!("{value:.2}")));
        }
        println!();
        for goal in line.goals {
            let measured = goal.measured(line.figure, self.ours(), &self.subjects);
            let said = measured.map_or(String::new(), |measured| format!("{measured:.2} "));
            println!("    {}: {said}{}", goal.text(), goal.verdict(measured));
        }
    }

    fn ours(&self) -> &Figures {
        static NONE: Figures = Figures::new();
        self.subjects.iter().find(|subject| subject.key == OURS).map_or(&NONE, |it| &it.figures)
    }

    fn json(&self) -> Value {
        let subjects = self.subjects.iter().map(|subject| {
            json!({ "name": subject.key, "note": subject.note, "figures": subject.figures })
        });
        let lines = self.groups.iter().flat_map(|(_, lines)| lines.iter());
        let goals = lines.flat_map(|line| {
            line.goals.iter().map(|goal| {
                let measured = goal.measured(line.figure, self.ours(), &self.subjects);
                json!({
                    "figure": line.figure,
                    "promise": goal.text(),
                    "measured": measured,
                    "verdict": goal.verdict(measured),
                })
            })
        });
        json!({
            "bench": self.bench,
            "machine": host::machine(),
            "quick": self.quick,
            "absent": self.absent,
            "subjects": subjects.collect::<Vec<_>>(),
            "goals": goals.collect::<Vec<_>>(),
        })
    }
}
