//! The error budgets of the services that an SLO holds, and how fast they are spent.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use hms_ops_core::alert::{Condition, EventBatch, Verdict};
use hms_ops_core::labels::{Labels, SERVICE};
use hms_ops_core::name::Service;
use hms_ops_core::time::Timestamp;
use serde::Serialize;

use super::{MISSED_REPORTS, SEVERITY};
use crate::slo::guard::is_significant;
use crate::slo::period::{Spent, as_seconds};
use crate::slo::ring::{Ring, SLOTS};
use crate::slo::{BurnAlert, Objective, Period, Severity, Sli, Slices, Slo};

/// How long a slice waits for reports that are late.
const SLICE_GRACE: i64 = 15_000;

/// The budgets of an SLO, service by service.
#[derive(Debug)]
pub(super) struct Budgets {
    slo: Slo,
    part_is_bad: bool,
    /// The lengths of all windows, ascending, and the alerts, with the places of their windows.
    windows: Vec<Duration>,
    alerts: Vec<(BurnAlert, usize, usize)>,
    pub(super) services: BTreeMap<Service, Budget>,
}

/// What became of an error budget, for people and for programs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SloStatus {
    /// Name of the SLO.
    pub slo: String,
    /// The service.
    pub service: Service,
    /// How many events shall be good, in percent.
    pub objective: String,
    /// The period that the budget is for.
    pub period: Period,
    /// When that period began.
    pub since: Timestamp,
    /// Events, or slices, in the period so far.
    pub total: u64,
    /// The bad ones.
    pub bad: u64,
    /// The part of the budget that is left; 1 when nothing was spent, negative when too much was.
    pub budget_left: f64,
    /// Whether even one bad event is more than the period's budget.
    pub low_traffic: bool,
    /// When the budget will be gone, if it goes on as in the first alert's long window; `None` where the
    /// period ends before.
    pub exhausted_at: Option<Timestamp>,
    /// How fast the budget is spent, window by window.
    pub burns: Vec<Burn>,
}

/// One alert of an SLO, with its numbers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Burn {
    /// Whom it is for.
    pub severity: Severity,
    /// The burn rate that is too fast.
    pub threshold: f64,
    /// The window over which it matters.
    pub long: BurnWindow,
    /// The window in which it still goes on.
    pub short: BurnWindow,
    /// Whether the bad events of the long window are too many for an accident.
    pub significant: bool,
    /// Whether it is broken.
    pub broken: bool,
}

/// How fast a budget is spent in one window.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct BurnWindow {
    /// How far the window looks back.
    #[serde(serialize_with = "as_seconds")]
    pub length: Duration,
    /// Events, or slices, in it.
    pub total: u64,
    /// The bad ones.
    pub bad: u64,
    /// The burn rate; `None` when there was no event.
    pub burn: Option<f64>,
}

impl Budgets {
    pub(super) fn new(slo: Slo) -> Self {
        let part_is_bad = match slo.sli() {
            Sli::Latency { .. } => false,
            Sli::Ratio { part_is_bad, .. } => *part_is_bad,
            Sli::Availability { .. } => true,
        };
        let mut windows: Vec<_> = slo.alerts().iter().flat_map(|a| [a.long, a.short]).collect();
        windows.sort();
        windows.dedup();
        let place = |window| windows.partition_point(|w| *w < window);
        let alerts = slo.alerts().iter().map(|a| (*a, place(a.long), place(a.short))).collect();
        Self { slo, part_is_bad, windows, alerts, services: BTreeMap::new() }
    }

    /// Lets every window end at `now`.
    pub(super) fn advance(&mut self, now: Timestamp) {
        let (part_is_bad, slices) = (self.part_is_bad, self.slo.slices());
        for budget in self.services.values_mut() {
            budget.advance(now, slices.map(|s| (s, part_is_bad)));
        }
    }

    /// What became of each service's budget, as of the newest tick.
    pub(super) fn status(&self) -> Vec<SloStatus> {
        self.services.iter().map(|(service, budget)| self.status_of(service, budget)).collect()
    }

    fn status_of(&self, service: &Service, budget: &Budget) -> SloStatus {
        let (objective, period) = (self.slo.objective(), self.slo.period());
        let (total, bad) = self.bad_of(budget.period.sums());
        let allowed = objective.error_ratio() * total as f64;
        let budget_left = if total == 0 { 1.0 } else { 1.0 - bad as f64 / allowed };
        let burns: Vec<_> = self.alerts.iter().map(|alert| self.burn(budget, alert)).collect();
        let now = budget.now;
        let speed = burns.first().and_then(|burn| burn.long.burn).filter(|burn| *burn > 0.0);
        let lasts = speed.map(|burn| period.length().as_secs_f64() * budget_left.max(0.0) / burn);
        let exhausted_at = lasts.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let ends = match period {
            Period::Rolling(length) => now + length,
            Period::Week | Period::Month => period.end(now),
        };
        SloStatus {
            slo: self.slo.name().to_owned(),
            service: service.clone(),
            objective: objective.to_string(),
            period,
            since: period.start(now),
            total,
            bad,
            budget_left,
            low_traffic: allowed < 1.0,
            exhausted_at: exhausted_at.map(|lasts| now + lasts).filter(|at| *at < ends),
            burns,
        }
    }

    /// All, and the bad ones. Where parts are counted apart, they may be ahead of the whole.
    fn bad_of(&self, (total, part): (u64, u64)) -> (u64, u64) {
        match self.part_is_bad {
            true => (total.max(part), part),
            false => (total, total.saturating_sub(part)),
        }
    }

    fn burn(&self, budget: &Budget, (alert, long, short): &(BurnAlert, usize, usize)) -> Burn {
        let objective = self.slo.objective();
        let sums = |place: usize| self.bad_of(budget.windows[place].sums());
        let ((total, bad), (short_total, short_bad)) = (sums(*long), sums(*short));
        let above = objective.burns_above(alert.burn, bad, total);
        let expected = || total as f64 * objective.error_ratio() * alert.burn.get();
        let significant = above && is_significant(bad, expected());
        let goes_on = objective.burns_above(alert.burn, short_bad, short_total);
        Burn {
            severity: alert.severity,
            threshold: alert.burn.get(),
            long: BurnWindow::new(alert.long, total, bad, objective),
            short: BurnWindow::new(alert.short, short_total, short_bad, objective),
            significant,
            broken: significant && goes_on,
        }
    }

    /// The verdict of one severity, by its worst alert.
    pub(super) fn judge(&self, severity: Severity, budget: &Budget) -> Verdict {
        let mut worst: Option<Burn> = None;
        let (mut idle, mut unseen) = (true, false);
        for alert in self.alerts.iter().filter(|(alert, ..)| alert.severity == severity) {
            let burn = self.burn(budget, alert);
            idle &= burn.long.total == 0;
            // What the long window has found may go on, while nothing happens that would show it.
            unseen |= burn.significant && burn.short.total == 0;
            // Of those that are broken the fastest is told, of the others the one that comes closest.
            let rank = |burn: &Burn| match burn.broken {
                true => (true, burn.threshold),
                false => {
                    let [long, short] = [&burn.long, &burn.short].map(|w| w.burn.unwrap_or(0.0));
                    (false, long.min(short) / burn.threshold)
                }
            };
            if worst.as_ref().is_none_or(|worst| rank(&burn) > rank(worst)) {
                worst = Some(burn);
            }
        }
        let (_, bad) = self.bad_of(budget.period.sums());
        let labels = budget.labels[severity as usize].clone();
        let Some(worst) = worst.filter(|worst| !idle && (worst.broken || !unseen)) else {
            let summary = "no events in the windows of the SLO".to_owned();
            let condition = Condition::Idle;
            return Verdict { labels, condition, value: None, threshold: None, summary };
        };
        let condition = if worst.broken { Condition::Breach } else { Condition::Ok };
        let mut summary = String::with_capacity(128);
        let burn = |window: &BurnWindow| window.burn.unwrap_or(0.0);
        let written = write!(
            summary,
            "burn rate over {} is {}, over {} {}, limit {}; {bad} bad in the period, {} % of \
             the budget left",
            Spoken(worst.long.length),
            Tenths(burn(&worst.long)),
            Spoken(worst.short.length),
            Tenths(burn(&worst.short)),
            worst.threshold,
            Tenths(self.budget_left(budget) * 100.0),
        );
        written.expect("a String takes every write");
        Verdict {
            labels,
            condition,
            value: worst.long.burn,
            threshold: Some(worst.threshold),
            summary,
        }
    }

    fn budget_left(&self, budget: &Budget) -> f64 {
        let (total, bad) = self.bad_of(budget.period.sums());
        if total == 0 {
            return 1.0;
        }
        1.0 - bad as f64 / (self.slo.objective().error_ratio() * total as f64)
    }

    pub(super) fn add(&mut self, labels: &Labels, at: Timestamp, total: f64, part: f64) {
        let service = labels.get(SERVICE).unwrap_or_default();
        let (part_is_bad, slices) = (self.part_is_bad, self.slo.slices());
        self.of(service).add(at, total, part, slices.map(|s| (s, part_is_bad)));
    }

    pub(super) fn of(&mut self, service: &str) -> &mut Budget {
        if !self.services.contains_key(service) {
            let budget = Budget::new(service, &self.windows, self.slo.period());
            self.services.insert(Service::from(service), budget);
        }
        self.services.get_mut(service).expect("it was put there")
    }
}

impl BurnWindow {
    fn new(length: Duration, total: u64, bad: u64, objective: Objective) -> Self {
        let burn = (total > 0).then(|| bad as f64 / total as f64 / objective.error_ratio());
        Self { length, total, bad, burn }
    }
}

/// The budget of one service, and how fast it is spent.
#[derive(Debug)]
pub(super) struct Budget {
    now: Timestamp,
    windows: Box<[Ring<u32>]>,
    period: Spent,
    /// Parts of events that were counted: a counter may grow by less than one.
    rest: (f64, f64),
    /// Slices that are not over yet, and up to where they are.
    slices: BTreeMap<i64, (f64, f64)>,
    judged: i64,
    /// Label sets by severity.
    pub(super) labels: [Labels; 2],
    pub(super) sources: u32,
    pub(super) silent: u32,
    last_report: Option<Timestamp>,
}

impl Budget {
    fn new(service: &str, windows: &[Duration], period: Period) -> Self {
        let labels = |severity: Severity| {
            Labels::from_pairs([(SERVICE, service), (SEVERITY, severity.word())])
        };
        Self {
            now: Timestamp::MIN,
            windows: windows.iter().map(|w| Ring::new(w.as_millis() as i64)).collect(),
            period: Spent::new(period),
            rest: (0.0, 0.0),
            slices: BTreeMap::new(),
            judged: i64::MIN,
            labels: [labels(Severity::Page), labels(Severity::Ticket)],
            sources: 0,
            silent: 0,
            last_report: None,
        }
    }

    pub(super) fn begin(&mut self) {
        (self.sources, self.silent, self.last_report) = (0, 0, None);
    }

    pub(super) fn see(&mut self, batch: &EventBatch, now: Timestamp) {
        // One that reports from the future does so because the clock was set back.
        let away = now.since(batch.last_report).max(batch.last_report.since(now));
        self.sources += 1;
        self.silent += u32::from(away > batch.interval * MISSED_REPORTS);
        self.last_report = self.last_report.max(Some(batch.last_report));
    }

    pub(super) fn silence(&self) -> String {
        match self.last_report {
            Some(last) => format!("no source has reported since {last}"),
            None => "no source has ever reported".to_owned(),
        }
    }

    fn add(&mut self, at: Timestamp, total: f64, part: f64, slices: Option<(Slices, bool)>) {
        if !(total >= 0.0 && part >= 0.0) || (total == 0.0 && part == 0.0) {
            return;
        }
        if let Some((slices, _)) = slices {
            let number = at.as_millis().div_euclid(slices.length.as_millis() as i64);
            if number > self.judged {
                let slice = self.slices.entry(number).or_default();
                (slice.0, slice.1) = (slice.0 + total, slice.1 + part);
            }
            return;
        }
        let whole = |rest: &mut f64, more: f64| {
            *rest += more;
            let whole = rest.floor();
            *rest -= whole;
            whole as u64
        };
        let (total, part) = (whole(&mut self.rest.0, total), whole(&mut self.rest.1, part));
        self.count(at, total, part);
    }

    fn count(&mut self, at: Timestamp, total: u64, part: u64) {
        for window in &mut self.windows {
            window.add(at.as_millis(), total, part);
        }
        self.period.add(at, total, part);
    }

    fn advance(&mut self, now: Timestamp, slices: Option<(Slices, bool)>) {
        self.now = now;
        if let Some((slices, part_is_bad)) = slices {
            let length = slices.length.as_millis() as i64;
            let over = now.as_millis().saturating_sub(SLICE_GRACE).div_euclid(length) - 1;
            while let Some((number, (total, part))) =
                self.slices.first_key_value().map(|(n, s)| (*n, *s))
                && number <= over
            {
                self.slices.pop_first();
                let bad = if part_is_bad { part } else { (total - part).max(0.0) };
                let is_bad = bad > total.max(bad) * slices.target.error_ratio();
                let part = u64::from(is_bad == part_is_bad);
                // At its end: it was not judged before.
                self.count(Timestamp::from_millis((number + 1) * length - 1), 1, part);
            }
            // A clock that was set far back is believed in the end.
            let set_back = self.judged.saturating_sub(over) > SLOTS as i64;
            self.judged = if set_back { over } else { self.judged.max(over) };
        }
        for window in &mut self.windows {
            window.advance(now.as_millis());
        }
        self.period.advance(now);
    }
}

/// A length of time as people say it: `1h`, `5m`.
struct Spoken(Duration);

impl std::fmt::Display for Spoken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seconds = self.0.as_secs();
        match [(86_400, "d"), (3600, "h"), (60, "m")]
            .iter()
            .find(|(unit, _)| seconds.is_multiple_of(*unit))
        {
            Some((unit, name)) => write!(f, "{}{name}", seconds / unit),
            None => write!(f, "{seconds}s"),
        }
    }
}

/// A number with one digit after the point; several times faster than `{:.1}`, which tries to be exact.
struct Tenths(f64);

impl std::fmt::Display for Tenths {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tenths = (self.0 * 10.0).round() as i64;
        let (sign, tenths) = (if tenths < 0 { "-" } else { "" }, tenths.unsigned_abs());
        write!(f, "{sign}{}.{}", tenths / 10, tenths % 10)
    }
}
