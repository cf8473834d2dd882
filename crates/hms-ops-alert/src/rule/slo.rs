//! The rule of an SLO: alerts when an error budget is spent too fast, service by service.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hms_ops_core::alert::{
    AlertRule, Condition, ConditionSink, CountKind, InputData, RuleError, RuleInput, RuleSpec,
    TickContext, Verdict, deltas,
};
use hms_ops_core::labels::{CLUSTER, INSTANCE, Labels, NAME, SERVICE};
use hms_ops_core::matcher::Matcher;
use hms_ops_core::sample::Sample;
use hms_ops_core::store::SeriesSet;
use hms_ops_core::time::Timestamp;

use crate::slo::{Severity, Sli, Slo};

mod budgets;

use budgets::{Budget, Budgets};
pub use budgets::{Burn, BurnWindow, SloStatus};

/// The label of an SLO's alert that says whom it is for.
pub const SEVERITY: &str = "severity";

/// A source is silent when it has missed this many of its reports.
const MISSED_REPORTS: u32 = 3;
/// How often a source that was never seen is expected to report.
const USUAL_INTERVAL: Duration = Duration::from_secs(15);
/// A series that appears in a source after so long began at zero.
const SETTLED: Duration = Duration::from_secs(90);

/// Breaks when the error budget of an [`Slo`] is spent too fast: one verdict for each severity and
/// service, over all clusters and instances of the service.
///
/// Every number is a sum of events over a window; no ratio is ever averaged. A window with too few bad
/// events to be sure (by Poisson's distribution, less than 1 % of an accident) breaks nothing.
///
/// ```
/// use hms_ops_alert::{Slo, SloRule};
/// use hms_ops_core::alert::AlertRule;
///
/// let slo = Slo::new("disaster-claims").availability("up").objective("99.9").build()?;
/// assert_eq!(SloRule::new(slo).spec().name, "disaster-claims");
/// # Ok::<(), hms_ops_alert::slo::SloErrors>(())
/// ```
#[derive(Debug)]
pub struct SloRule {
    spec: RuleSpec,
    severities: Vec<Severity>,
    /// Whether it is a ratio whose good events have counters of their own.
    part_is_good: bool,
    began: Option<Timestamp>,
    budgets: Arc<Mutex<Budgets>>,
    /// Series of the history, until the first tick.
    warm: BTreeMap<Labels, Warm>,
    /// Of a latency, those that still lack their other side; and how far both were read.
    waiting: BTreeMap<Labels, (bool, Vec<Sample>)>,
    pairs: BTreeMap<Labels, (Sample, Sample)>,
    /// When each service's good events were first counted apart: what was before cannot be judged.
    good_since: BTreeMap<String, Timestamp>,
}

impl SloRule {
    /// The rule of an SLO.
    pub fn new(slo: Slo) -> Self {
        let (total, mut part, kind) = match slo.sli() {
            Sli::Latency { metric, limit } => {
                let total = vec![Matcher::metric(&format!("{metric}_count"))];
                let bucket = Matcher::metric(&format!("{metric}_bucket"));
                let le = Matcher::regex("le", &spellings(*limit));
                let le = le.expect("the spellings of a number are escaped");
                (
                    total,
                    vec![bucket, le],
                    CountKind::Bucket { metric: metric.clone(), edge: *limit },
                )
            }
            Sli::Ratio { total, part, .. } => (total.clone(), part.clone(), CountKind::Counters),
            Sli::Availability { gauge } => (gauge.clone(), Vec::new(), CountKind::Zeros),
        };
        let mut total = total;
        if let Some(service) = slo.service() {
            let own = Matcher::equal(SERVICE, service.as_str());
            total.push(own.clone());
            if kind != CountKind::Zeros {
                part.push(own);
            }
        }
        let mut severities: Vec<_> = slo.alerts().iter().map(|alert| alert.severity).collect();
        severities.sort();
        severities.dedup();
        let longest = slo.alerts().iter().map(|alert| alert.long).max().unwrap_or_default();
        let history = slo.period().length().max(longest);
        let spec = RuleSpec {
            name: slo.name().to_owned(),
            service: slo.service().cloned(),
            inputs: vec![RuleInput::Counts { total, part, kind, history }],
            hold: Duration::ZERO,
            recover: slo.recover(),
        };
        let part_is_good = matches!(slo.sli(), Sli::Ratio { part_is_bad: false, .. });
        let budgets = Arc::new(Mutex::new(Budgets::new(slo)));
        Self {
            spec,
            severities,
            part_is_good,
            began: None,
            budgets,
            warm: BTreeMap::new(),
            waiting: BTreeMap::new(),
            pairs: BTreeMap::new(),
            good_since: BTreeMap::new(),
        }
    }

    /// The budgets as they are, and will be while the rule is evaluated elsewhere.
    pub fn view(&self) -> SloView {
        SloView { budgets: self.budgets.clone() }
    }

    /// Counts a side of a latency when the other is there: only reports that have both say anything.
    fn pair(&mut self, budgets: &mut Budgets, labels: &Labels, total: bool, samples: Vec<Sample>) {
        let source = labels.without(&[NAME, "le"]);
        let (Some(first), waiting) = (samples.first(), self.waiting.remove(&source)) else {
            return;
        };
        // One that waits since the piece before has no other side.
        let other = waiting.filter(|(other, of)| {
            *other != total && of.last().is_some_and(|last| last.at >= first.at)
        });
        let Some((_, other)) = other else {
            self.waiting.insert(source, (total, samples));
            return;
        };
        let (counts, parts) = if total { (samples, other) } else { (other, samples) };
        let (count, part) = self.pairs.remove(&source).unzip();
        let [counts, parts] = [(count, counts), (part, parts)]
            .map(|(last, of)| last.into_iter().chain(of).collect::<Vec<_>>());
        for delta in deltas(&counts, &parts) {
            budgets.add(labels, delta.at, delta.count, delta.sum);
        }
        let last = counts.iter().rev().filter(|count| !count.value.is_stale()).find_map(|count| {
            let part = parts.binary_search_by_key(&count.at, |part| part.at).ok()?;
            Some((count.clone(), parts[part].clone()))
        });
        self.pairs.extend(last.map(|last| (source, last)));
    }

    /// Ends the history: what was in it is in the windows from now on.
    fn warmed(&mut self) {
        let mut since: BTreeMap<Labels, Timestamp> = BTreeMap::new();
        let source = |labels: &Labels| labels.only(&[SERVICE, CLUSTER, INSTANCE]);
        let warm = std::mem::take(&mut self.warm);
        for (labels, series) in &warm {
            let first = since.entry(source(labels)).or_insert(series.first.0);
            *first = (*first).min(series.first.0);
        }
        let Some(RuleInput::Counts { total, part, kind: CountKind::Counters, .. }) =
            self.spec.inputs.first().cloned()
        else {
            return;
        };
        let mut budgets = lock(&self.budgets);
        for (labels, Warm { first: (at, value), .. }) in &warm {
            if *at > since[&source(labels)] + SETTLED {
                let of = |matchers: &[Matcher]| f64::from(u8::from(Matcher::all(matchers, labels)));
                budgets.add(labels, *at, value * of(&total), value * of(&part));
            }
        }
    }
}

impl AlertRule for SloRule {
    fn spec(&self) -> &RuleSpec {
        &self.spec
    }

    fn warm_up(&mut self, input: usize, history: &mut dyn SeriesSet) -> Result<(), RuleError> {
        let Some(RuleInput::Counts { total, part, kind, .. }) =
            self.spec.inputs.get(input).cloned()
        else {
            return Ok(());
        };
        let shared = self.budgets.clone();
        let mut budgets = lock(&shared);
        let mut samples = Vec::new();
        while history.advance()? {
            samples.clear();
            history.read(&mut samples)?;
            let labels = history.labels().clone();
            let in_total = Matcher::all(&total, &labels);
            let in_part = kind != CountKind::Zeros && Matcher::all(&part, &labels);
            if let CountKind::Bucket { .. } = kind {
                self.pair(&mut budgets, &labels, in_total, std::mem::take(&mut samples));
                continue;
            }
            let service = labels.get(SERVICE).unwrap_or_default();
            if self.part_is_good
                && in_part
                && let Some(first) = samples.first()
                && self.good_since.get(service).is_none_or(|since| first.at < *since)
            {
                self.good_since.insert(service.to_owned(), first.at);
            }
            let good_since = self.good_since.get(service).copied();
            let mut known = self.warm.get(&labels).copied();
            for Sample { at, value } in &samples {
                let value = value.as_float().filter(|value| value.is_finite());
                let (at, Some(value)) = (*at, value) else { continue };
                let Some(series) = &mut known else {
                    known = Some(Warm { first: (at, value), last: (at, value) });
                    if kind == CountKind::Zeros {
                        budgets.add(&labels, at, 1.0, f64::from(u8::from(value == 0.0)));
                    }
                    continue;
                };
                if at <= series.last.0 {
                    continue;
                }
                let more = if value < series.last.1 { value } else { value - series.last.1 };
                let before = std::mem::replace(&mut series.last, (at, value)).0;
                if self.part_is_good && good_since.is_none_or(|since| before < since) {
                    continue;
                }
                if kind == CountKind::Zeros {
                    budgets.add(&labels, at, 1.0, f64::from(u8::from(value == 0.0)));
                } else {
                    let of = |counts: bool| if counts { more } else { 0.0 };
                    budgets.add(&labels, at, of(in_total), of(in_part));
                }
            }
            if let Some(series) = known {
                self.warm.insert(labels, series);
            }
        }
        Ok(())
    }

    fn evaluate(&mut self, cx: &TickContext<'_>, out: &mut dyn ConditionSink) {
        let began = *self.began.get_or_insert(cx.at);
        if !self.warm.is_empty() {
            self.warmed();
        }
        self.waiting.clear();
        self.pairs.clear();
        let mut budgets = lock(&self.budgets);
        let own = &self.spec.service;
        // A service that was configured, but never reported, has no data either.
        if let Some(own) = own {
            budgets.of(own.as_str());
        }
        let mut wrong = None;
        match cx.inputs.first() {
            Some(InputData::Events(batches)) => {
                budgets.services.values_mut().for_each(Budget::begin);
                for batch in batches {
                    let service = batch.source.get(SERVICE).unwrap_or_default();
                    budgets.of(service).see(batch, cx.at);
                    for delta in &batch.deltas {
                        budgets.add(&batch.source, delta.at.min(cx.at), delta.count, delta.sum);
                    }
                }
            }
            Some(InputData::Unusable(reason)) => {
                if budgets.services.is_empty() {
                    budgets.of("");
                }
                wrong = Some(reason);
            }
            _ => return,
        }
        budgets.advance(cx.at);
        for budget in
            budgets.services.values().filter(|b| b.sources > 0 || own.is_some() || wrong.is_some())
        {
            // A source that has yet to report for the first time is given the time of a usual one.
            let none = budget.sources == 0 && cx.at.since(began) <= USUAL_INTERVAL * MISSED_REPORTS;
            let silent = budget.silent == budget.sources && !none;
            for severity in &self.severities {
                let (condition, summary) = match wrong {
                    Some(reason) => (Condition::Error(reason.clone()), reason.clone()),
                    None if silent => (Condition::NoData, budget.silence()),
                    None => {
                        out.report(budgets.judge(*severity, budget));
                        continue;
                    }
                };
                let labels = budget.labels[*severity as usize].clone();
                out.report(Verdict { labels, condition, value: None, threshold: None, summary });
            }
        }
    }
}

/// The error budgets of an SLO, seen from outside of the engine. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SloView {
    budgets: Arc<Mutex<Budgets>>,
}

impl SloView {
    /// What became of each service's budget, as of the newest tick.
    pub fn status(&self) -> Vec<SloStatus> {
        lock(&self.budgets).status()
    }
}

/// Counts are counts: what a panic of another has left is used.
fn lock(budgets: &Mutex<Budgets>) -> MutexGuard<'_, Budgets> {
    budgets.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A series of the history.
#[derive(Clone, Copy, Debug)]
struct Warm {
    first: (Timestamp, f64),
    last: (Timestamp, f64),
}

/// A pattern of the ways in which a bucket's edge is written: `500|500\.0|5e2|5e\+02`.
fn spellings(edge: f64) -> String {
    let short = format!("{edge:e}");
    let (mantissa, power) = short.split_once('e').unwrap_or((&short, "0"));
    let (sign, digits) = power.strip_prefix('-').map_or(("+", power), |digits| ("-", digits));
    let all = [
        format!("{edge}"),
        format!("{edge:?}"),
        format!("{mantissa}e{power}"),
        format!("{mantissa}e{sign}{digits:0>2}"),
    ];
    all.join("|").replace('.', "\\.").replace('+', "\\+")
}

#[cfg(test)]
mod tests;
