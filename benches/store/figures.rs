//! What was measured, what was promised, and the table of both.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use hms_ops_benches::server::{PROMETHEUS, VICTORIA_METRICS};
use hms_ops_benches::usage::Usage;
use hms_ops_benches::workload::Workload;
use serde_json::{Value, json};

pub(crate) const OURS: &str = "ours";
pub(crate) const TSINK: &str = "tsink";

/// What was measured of one subject: `MEASURE.FIGURE` and its value.
pub(crate) type Figures = BTreeMap<String, f64>;

/// The least processor time that can be told apart from none.
const TICK: f64 = 0.01;

/// What it took until the last batch was acknowledged.
pub(crate) fn ingested(
    name: &str,
    workload: Workload,
    before: Usage,
    after: Usage,
    wall: Duration,
) -> Figures {
    let samples = workload.samples() as f64;
    Figures::from([
        (format!("{name}.per_cpu_s"), samples / (after.cpu - before.cpu).max(TICK)),
        (format!("{name}.per_s"), samples / wall.as_secs_f64()),
        (format!("{name}.peak_rss_mb"), after.peak_rss),
    ])
}

/// What it took from the first batch until everything was sealed, in that many bytes.
pub(crate) fn sealed(
    name: &str,
    workload: Workload,
    before: Usage,
    after: Usage,
    bytes: u64,
) -> Figures {
    let samples = workload.samples() as f64;
    Figures::from([
        (format!("{name}.sealed_per_cpu_s"), samples / (after.cpu - before.cpu).max(TICK)),
        (format!("{name}.sealed_peak_rss_mb"), after.peak_rss),
        (format!("{name}.bytes_per_sample"), bytes as f64 / samples),
    ])
}

/// What it took to be ready again, of a process that had used `before` until then.
pub(crate) fn restarted(before: f64, after: Usage, wall: Duration) -> Figures {
    Figures::from([
        ("restart.cpu_s".to_owned(), after.cpu - before),
        ("restart.wall_s".to_owned(), wall.as_secs_f64()),
        ("restart.peak_rss_mb".to_owned(), after.peak_rss),
    ])
}

/// A line of the table.
struct Line {
    figure: &'static str,
    title: &'static str,
    /// Shown is the value divided by this.
    unit: f64,
    goals: &'static [Goal],
}

/// What was promised of a figure of ours.
struct Goal {
    /// The subject whose figure ours is divided by; none where the figure itself counts.
    against: Option<&'static str>,
    bound: Bound,
    /// What it has to keep in any case.
    floor: Option<f64>,
}

enum Bound {
    AtLeast(f64),
    AtMost(f64),
}
use Bound::{AtLeast, AtMost};

const PROM: Option<&str> = Some(PROMETHEUS.name);
const VM: Option<&str> = Some(VICTORIA_METRICS.name);

const LINES: &[(&str, &[Line])] = &[
    (
        "W1: 5,000 series, 4.8 million samples",
        &[
            line(
                "w1.per_cpu_s",
                "million samples per CPU-s, batches of 2,000",
                1e6,
                &[
                    Goal { against: PROM, bound: AtLeast(5.0), floor: Some(2.0) },
                    Goal { against: VM, bound: AtLeast(1.5), floor: None },
                    Goal { against: Some(TSINK), bound: AtLeast(20.0), floor: None },
                ],
            ),
            line("scrapes.per_cpu_s", "the same, batches of one scrape", 1e6, &[]),
            line("w1.sealed_per_cpu_s", "the same, batches of 2,000, and sealed", 1e6, &[]),
            line("w1.per_s", "million samples per s, batches of 2,000", 1e6, &[]),
            line("scrapes.per_s", "the same, batches of one scrape", 1e6, &[]),
            line(
                "w1.peak_rss_mb",
                "peak RSS, MB",
                1.0,
                &[Goal { against: PROM, bound: AtMost(0.5), floor: Some(1.0) }],
            ),
            line("w1.sealed_peak_rss_mb", "the same, and sealed", 1.0, &[]),
            line(
                "w1.bytes_per_sample",
                "bytes per sample, all files, sealed",
                1.0,
                &[Goal { against: PROM, bound: AtMost(0.55), floor: Some(0.7) }],
            ),
            line("w1.reading_cpu_s", "CPU-s of reading the input, within", 1.0, &[]),
        ],
    ),
    (
        "W2: W1 with a tenth of the series replaced each hour, batches of 2,000",
        &[
            line("w2.per_cpu_s", "million samples per CPU-s", 1e6, &[]),
            line("w2.sealed_per_cpu_s", "the same, and sealed", 1e6, &[]),
            line("w2.peak_rss_mb", "peak RSS, MB", 1.0, &[]),
            line("w2.bytes_per_sample", "bytes per sample, all files, sealed", 1.0, &[]),
        ],
    ),
    (
        "Killed and started again with 20,000 series and 10 million samples in the WAL",
        &[
            line(
                "restart.cpu_s",
                "CPU-s",
                1.0,
                &[Goal { against: PROM, bound: AtMost(0.5), floor: Some(1.0) }],
            ),
            line("restart.wall_s", "seconds", 1.0, &[]),
            line("restart.peak_rss_mb", "peak RSS, MB", 1.0, &[]),
        ],
    ),
    (
        "A million series offered, a hundred thousand allowed",
        &[
            line(
                "limit.peak_rss_mb",
                "peak RSS, MB",
                1.0,
                &[Goal { against: None, bound: AtMost(300.0), floor: None }],
            ),
            line("limit.refused", "thousand series refused", 1e3, &[]),
        ],
    ),
    (
        "The newest sample of one series, W1, opened again",
        &[
            line("reads.p50_us", "median, µs", 1.0, &[]),
            line(
                "reads.p99_us",
                "p99, µs",
                1.0,
                &[Goal { against: None, bound: AtMost(100.0), floor: None }],
            ),
        ],
    ),
];

const fn line(
    figure: &'static str,
    title: &'static str,
    unit: f64,
    goals: &'static [Goal],
) -> Line {
    Line { figure, title, unit, goals }
}

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

/// What a bench of stores has to say.
pub(crate) struct Table {
    machine: String,
    quick: bool,
    subjects: Vec<Subject>,
    absent: Vec<&'static str>,
}

struct Subject {
    key: &'static str,
    note: String,
    figures: Figures,
}

impl Table {
    pub(crate) fn new(machine: &str, quick: bool) -> Self {
        Self { machine: machine.to_owned(), quick, subjects: Vec::new(), absent: Vec::new() }
    }

    /// Adds what was measured of a subject; `note` says which it was.
    pub(crate) fn subject(&mut self, key: &'static str, note: &str, figures: Figures) {
        self.subjects.push(Subject { key, note: note.to_owned(), figures });
    }

    /// Says that a peer is not on this machine.
    pub(crate) fn absent(&mut self, peer: &'static str) {
        self.absent.push(peer);
    }

    pub(crate) fn lacks_a_peer(&self) -> bool {
        !self.absent.is_empty()
    }

    /// Prints the table and writes the file.
    pub(crate) fn finish(&self, file: &Path) {
        self.print();
        let folder = file.parent().expect("the file is in a folder");
        fs::create_dir_all(folder).expect("the target folder can be written");
        let text = serde_json::to_string_pretty(&self.json()).expect("numbers and texts");
        fs::write(file, text + "\n").expect("the target folder can be written");
    }

    fn print(&self) {
        println!("store, on {}", self.machine);
        if self.quick {
            println!("  everything a tenth as large: figures are not those of the promises");
        }
        for Subject { key, note, .. } in &self.subjects {
            println!("  {key}: {note}");
        }
        for peer in &self.absent {
            println!("  {peer}: absent; `cargo xtask peers` installs it");
        }
        for (group, lines) in LINES {
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
        let lines = LINES.iter().flat_map(|(_, lines)| lines.iter());
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
            "bench": "store",
            "machine": self.machine,
            "quick": self.quick,
            "absent": self.absent,
            "subjects": subjects.collect::<Vec<_>>(),
            "goals": goals.collect::<Vec<_>>(),
        })
    }
}
