//! `hms-ops lab`: the lab for a person to play with, or as a drill.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Result, anyhow};
use hms_ops::core::time::Timestamp;
use serde::Serialize;
use serde_json::json;

use crate::args::LabArgs;
use crate::failure::{self, FAILED};
use crate::lab::drill::{self, Seen, TraceSeen};
use crate::lab::figures::{Figure, figures};
use crate::lab::history::History;
use crate::lab::judge::Step;
use crate::lab::setting::{FAULT_MS, METRIC, RATE, RUNBOOK, SERVICE, Setting, USERS};
use crate::lab::users::Report;
use crate::lab::{Ended, Lab, timeline};
use crate::screen::Paint;
use crate::{log, signals};

/// Exit status after a second Ctrl-C, as shells have it.
const INTERRUPTED: i32 = 130;

pub(crate) async fn run(args: &LabArgs) -> Result<ExitCode> {
    log::start(log::Wanted::Trouble);
    let ended = signals::asked_to_end();
    tokio::pin!(ended);
    let setting = Setting::new(args.fast);
    // A drill may run beside a lab, and beside other drills.
    let port = args.port.or(args.drill.then_some(0));
    let history = History::choose(args.data.as_deref(), args.drill)?;
    let lab = tokio::select! {
        lab = Lab::start(setting, port, history) => lab?,
        () = &mut ended => return Ok(ExitCode::SUCCESS),
    };
    if args.drill { run_drill(lab, args, ended).await } else { play(lab, args, ended).await }
}

/// Shows the timeline until somebody ends it.
async fn play(lab: Lab, args: &LabArgs, ended: impl Future<Output = ()>) -> Result<ExitCode> {
    let paint = Paint::of(&io::stdout());
    let mut follower = lab.follow();
    let shown = async {
        if args.json {
            print(&started(&lab).to_string())?;
        } else {
            print(&welcome(&lab, paint))?;
        }
        loop {
            for entry in follower.next().await? {
                print(&match args.json {
                    true => serde_json::to_string(&*entry)?,
                    false => timeline::by_clock(&entry, paint),
                })?;
            }
        }
    };
    let shown: Result<()> = tokio::select! {
        shown = shown => shown,
        () = ended => Ok(()),
    };
    let Ended { problems, .. } = end(lab).await;
    // Who closed the pipe has seen enough.
    let closed = |e: &anyhow::Error| {
        e.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
    };
    if let Err(error) = shown
        && !closed(&error)
    {
        return Err(error);
    }
    match problems.is_empty() {
        true => Ok(ExitCode::SUCCESS),
        false => Err(anyhow!("{}", problems.join("; "))),
    }
}

/// Drills, ends the lab, judges.
async fn run_drill(lab: Lab, args: &LabArgs, ended: impl Future<Output = ()>) -> Result<ExitCode> {
    let paint = Paint::of(&io::stdout());
    let hold = lab.setting.budget.hold;
    if !args.json {
        print(&preparing(&lab, paint))?;
    }
    let mut said = false;
    let show = |fault_at: Timestamp, entry: &hms_ops::core::ledger::Recorded| {
        if args.json {
            return;
        }
        // A drill goes on without an audience; its exit status is what counts.
        if !std::mem::replace(&mut said, true) {
            let _ = print(&heading(paint));
        }
        let _ = print(&timeline::since(fault_at, entry, paint));
    };
    let seen = tokio::select! {
        seen = drill::run(&lab, show) => seen,
        () = ended => Err(anyhow!("the drill was interrupted")),
    };
    let Ended { users, problems } = end(lab).await;
    let verdict = Verdict::new(seen?, users, problems, hold, args.strict);
    if args.json {
        print(&serde_json::to_string(&verdict)?)?;
    } else {
        print(&verdict.table(paint))?;
    }
    if verdict.passed {
        return Ok(ExitCode::SUCCESS);
    }
    failure::say(&format!("the drill failed: {}", verdict.problems.join("; ")));
    Ok(ExitCode::from(FAILED))
}

/// Ends the lab; who asks for it once more wants no order. The processes then end by themselves.
async fn end(lab: Lab) -> Ended {
    let in_haste = signals::asked_to_end();
    tokio::select! {
        ended = lab.end() => ended,
        () = in_haste => std::process::exit(INTERRUPTED),
    }
}

/// What came of a drill.
#[derive(Debug, Serialize)]
struct Verdict {
    passed: bool,
    fault_at: Timestamp,
    /// In the order in which they should come.
    steps: Vec<Taken>,
    figures: Vec<Figure>,
    users: Report,
    trace: Option<TraceSeen>,
    problems: Vec<String>,
}

/// A step, and how long after the fault it was taken.
#[derive(Debug, Serialize)]
struct Taken {
    step: Step,
    since_fault_ms: Option<u64>,
}

impl Verdict {
    fn new(
        seen: Seen,
        users: Report,
        ended: Vec<String>,
        hold: std::time::Duration,
        strict: bool,
    ) -> Self {
        let Seen { fault_at, crossing, story, trace, problems: around } = seen;
        let mut problems = story.problems();
        problems.extend(around);
        if users.failed > 0 || users.sent != users.ok {
            let lost = users.sent - users.ok;
            let reason = users.first_failure.as_deref().unwrap_or("no answer at the end");
            problems.push(format!("{lost} of {} user requests failed: {reason}", users.sent));
        }
        problems.extend(ended);
        let figures = figures(&story, crossing, hold);
        let missed = figures.iter().filter(|figure| strict && !figure.is_met());
        problems.extend(missed.map(|figure| match figure.measured_ms {
            Some(ms) => format!("{}: {ms} ms, at most {} ms wanted", figure.what, figure.goal_ms),
            None => format!("{}: not measured", figure.what),
        }));
        let since_fault = |at: Timestamp| u64::try_from(at.since(fault_at).as_millis()).ok();
        let steps = Step::ALL.into_iter().map(|step| {
            let since_fault_ms = story.at(step).and_then(since_fault);
            Taken { step, since_fault_ms }
        });
        let passed = problems.is_empty();
        Self { passed, fault_at, steps: steps.collect(), figures, users, trace, problems }
    }

    fn table(&self, paint: Paint) -> String {
        let verdict = |met: bool| if met { paint.green("met") } else { paint.red("missed") };
        let head = format!("  {:<56}{:>9}{:>11}  verdict", "figure", "goal", "measured");
        let mut lines = vec![String::new(), paint.dim(&head)];
        for figure in &self.figures {
            let goal = format!("≤ {} ms", figure.goal_ms);
            let measured = figure.measured_ms.map_or("–".to_owned(), |ms| format!("{ms} ms"));
            let verdict = verdict(figure.is_met());
            lines.push(format!("  {:<56}{goal:>9}{measured:>11}  {verdict}", figure.what));
        }
        let Report { sent, ok, .. } = self.users;
        let lost = sent - ok;
        let what = format!("user requests lost, of {sent}");
        lines.push(format!("  {what:<56}{:>9}{lost:>11}  {}", "0", verdict(lost == 0)));
        if let Some(TraceSeen { id, spans }) = &self.trace {
            lines.push(String::new());
            lines.push(format!("  trace {id}: {spans} spans through router and {SERVICE}"));
        }
        lines.push(String::new());
        lines.push(match self.passed {
            true => paint
                .green("  The drill passed: nothing missing, nothing lost, nothing left running."),
            false => paint.red("  The drill failed."),
        });
        lines.join("\n")
    }
}

fn started(lab: &Lab) -> serde_json::Value {
    let clusters = lab.clusters.iter().map(|cluster| (cluster.name, cluster.url.as_str()));
    json!({
        "kind": "lab_started",
        "page": lab.page_url(),
        "router": lab.router_url(),
        "history": lab.history.folder(),
        "clusters": clusters.collect::<std::collections::BTreeMap<_, _>>(),
        "processes": lab.process_ids(),
    })
}

fn welcome(lab: &Lab, paint: Paint) -> String {
    let (page, router) = (lab.page_url(), lab.router_url());
    let budget = &lab.setting.budget;
    let fault = format!("curl '{router}fake_slow?ms={FAULT_MS}'");
    let place = |name: &str, url: &str, what: &str| {
        format!("  {name:<10} {}  {}", paint.cyan(&format!("{url:<27}")), paint.dim(what))
    };
    let mut lines = vec![
        String::new(),
        format!("  {}  the whole loop on this machine", paint.bold("hms-ops lab")),
        String::new(),
        place("page", &page, "open it, and keep it in view"),
        place("router", &router, &format!("{USERS} users, about {RATE} requests a second")),
    ];
    for (cluster, what) in lab.clusters.iter().zip(["serves", "warm standby"]) {
        lines.push(place(cluster.name, &format!("{}/", cluster.url), what));
    }
    let what = if lab.history.kept { "the next lab goes on with it" } else { "goes with the lab" };
    lines.push(place("history", &lab.history.folder().display().to_string(), what));
    lines.extend([
        String::new(),
        format!("  Break it:  {}", paint.bold(&fault)),
        String::new(),
        format!(
            "  The mean of {METRIC} over {:?} passes its budget of {} ms.",
            budget.mean_over, budget.limit
        ),
        format!(
            "  When it has for {:?}, the alert fires and the runbook {RUNBOOK} shifts traffic.",
            budget.hold
        ),
        format!(
            "  The clusters' own counters confirm it; after {:?} within budget it is resolved.",
            budget.recover
        ),
        String::new(),
        paint.dim("  Ctrl-C ends everything."),
        String::new(),
    ]);
    lines.join("\n")
}

fn preparing(lab: &Lab, paint: Paint) -> String {
    let title = paint.bold("hms-ops lab --drill");
    let page = paint.cyan(&lab.page_url());
    format!("\n  {title}  page {page}, {FAULT_MS} ms of fault into {}\n", lab.clusters[0].name)
}

fn heading(paint: Paint) -> String {
    paint.dim(&format!("  {:>9}  what", "fault +"))
}

/// A line on standard output, at once.
fn print(line: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}
