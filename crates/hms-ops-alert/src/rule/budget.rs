//! The budget rule: the mean of a metric's events stays at or below a limit, service by service.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use hms_ops_core::alert::{
    AlertRule, Condition, ConditionSink, EventBatch, EventDelta, InputData, RuleError, RuleInput,
    RuleSpec, TickContext, Verdict, deltas,
};
use hms_ops_core::labels::{Labels, SERVICE};
use hms_ops_core::metric::Budget;
use hms_ops_core::name::{Service, Unit};
use hms_ops_core::sample::Sample;
use hms_ops_core::store::SeriesSet;
use hms_ops_core::time::{TimeRange, Timestamp};

/// A source is silent when it has missed this many of its reports.
const MISSED_REPORTS: u32 = 3;
/// How often a source that was never seen is expected to report.
const USUAL_INTERVAL: Duration = Duration::from_secs(15);

/// Breaks when the event-weighted mean of a metric is above its budget.
///
/// One verdict a service, over all its clusters and instances: after a shift the service recovers,
/// although the abandoned cluster may stay slow. The window is kept in slots of a sixtieth of its
/// length, so an event counts for up to that much shorter than the window says.
///
/// ```
/// use hms_ops_alert::BudgetRule;
/// use hms_ops_core::{alert::AlertRule, metric::Budget};
///
/// let rule = BudgetRule::new("eligibility.latency_ms", Budget::new(300.0));
/// assert_eq!(rule.spec().name, "eligibility.latency_ms");
/// ```
#[derive(Debug)]
pub struct BudgetRule {
    spec: RuleSpec,
    budget: Budget,
    unit: Unit,
    began: Option<Timestamp>,
    windows: BTreeMap<Service, Window>,
    warm: BTreeMap<Labels, Warm>,
}

impl BudgetRule {
    /// The rule for a metric, in every service that has it.
    pub fn new(metric: &str, budget: Budget) -> Self {
        let inputs = vec![RuleInput::Events { metric: metric.to_owned(), matchers: Vec::new() }];
        let spec = RuleSpec {
            name: metric.to_owned(),
            service: None,
            inputs,
            hold: budget.hold,
            recover: budget.recover,
        };
        let unit = Unit::of(metric);
        Self { spec, budget, unit, began: None, windows: BTreeMap::new(), warm: BTreeMap::new() }
    }

    /// The same rule for one service only.
    #[must_use]
    pub fn of_service(mut self, service: &Service) -> Self {
        let own = hms_ops_core::matcher::Matcher::equal(SERVICE, service.as_str());
        for input in &mut self.spec.inputs {
            if let RuleInput::Events { matchers, .. } = input {
                matchers.push(own.clone());
            }
        }
        self.spec.service = Some(service.clone());
        self
    }

    fn judge(&self, service: &Service, at: Timestamp, sources: &[&EventBatch]) -> Verdict {
        let window = self.windows.get(service);
        let (count, sum) = window.map_or((0.0, 0.0), Window::total);
        let (limit, unit) = (self.budget.limit, self.unit.symbol());
        let over = self.budget.mean_over;
        // One that reports from the future does so because the clock was set back.
        let silent = |s: &EventBatch| {
            at.since(s.last_report).max(s.last_report.since(at)) > s.interval * MISSED_REPORTS
        };
        // A source that has yet to report for the first time is given the time of a usual one.
        let waited = self.began.map_or(Duration::ZERO, |began| at.since(began));
        let none = sources.is_empty() && waited <= USUAL_INTERVAL * MISSED_REPORTS;
        let (condition, value, summary) = if !none && sources.iter().all(|s| silent(s)) {
            let summary = match sources.iter().map(|s| s.last_report).max() {
                Some(last) => format!("no source has reported since {last}"),
                None => "no source has ever reported".to_owned(),
            };
            (Condition::NoData, None, summary)
        } else if count <= 0.0 {
            (Condition::Idle, None, format!("no events in the last {over:?}"))
        } else {
            let mean = sum / count;
            let condition = if mean > limit { Condition::Breach } else { Condition::Ok };
            let summary = format!(
                "mean over {over:?} is {mean:.0} {unit} of {count:.0} events, budget {limit} {unit}"
            );
            (condition, Some(mean), summary)
        };
        Verdict {
            labels: Labels::from_pairs([(SERVICE, service.as_str())]),
            condition,
            value,
            threshold: Some(limit),
            summary,
        }
    }
}

impl AlertRule for BudgetRule {
    fn spec(&self) -> &RuleSpec {
        &self.spec
    }

    fn warm_up(&mut self, _input: usize, history: &mut dyn SeriesSet) -> Result<(), RuleError> {
        let mut samples = Vec::new();
        while history.advance()? {
            samples.clear();
            history.read(&mut samples)?;
            let labels = history.labels();
            let name = labels.name().unwrap_or_default();
            let warm = self.warm.entry(source_key(labels)).or_default();
            if name.ends_with("_count") {
                warm.count = std::mem::take(&mut samples);
            } else if name.ends_with("_sum") {
                warm.sum = std::mem::take(&mut samples);
            } else {
                let reason = "it is neither the count nor the sum of a metric";
                return Err(RuleError::Unusable { labels: labels.clone(), reason });
            }
        }
        for (source, warm) in std::mem::take(&mut self.warm) {
            let service = Service::from(source.get(SERVICE).unwrap_or_default());
            let window = self.windows.entry(service).or_insert_with(|| Window::of(&self.budget));
            for delta in deltas(&warm.count, &warm.sum) {
                window.add(&delta);
            }
        }
        Ok(())
    }

    fn evaluate(&mut self, cx: &TickContext<'_>, out: &mut dyn ConditionSink) {
        let Some(InputData::Events(batches)) = cx.inputs.first() else { return };
        self.began.get_or_insert(cx.at);
        let mut services: BTreeMap<Service, Vec<&EventBatch>> = BTreeMap::new();
        for batch in batches {
            let service = Service::from(batch.source.get(SERVICE).unwrap_or_default());
            let window =
                self.windows.entry(service.clone()).or_insert_with(|| Window::of(&self.budget));
            batch.deltas.iter().for_each(|delta| window.add(delta));
            services.entry(service).or_default().push(batch);
        }
        // A service that was configured, but never reported, has no data either.
        if let Some(service) = &self.spec.service {
            services.entry(service.clone()).or_default();
        }
        let range = TimeRange::last(self.budget.mean_over, cx.at);
        self.windows.values_mut().for_each(|window| window.keep(range));
        for (service, sources) in services {
            out.report(self.judge(&service, cx.at, &sources));
        }
    }
}

/// History of one source, before it becomes deltas.
#[derive(Debug, Default)]
struct Warm {
    count: Vec<Sample>,
    sum: Vec<Sample>,
}

fn source_key(labels: &Labels) -> Labels {
    labels.without(&[hms_ops_core::labels::NAME])
}

/// Events of one service in the window, in slots.
#[derive(Debug)]
struct Window {
    slot_ms: i64,
    slots: VecDeque<Slot>,
}

#[derive(Debug)]
struct Slot {
    number: i64,
    count: f64,
    sum: f64,
}

impl Window {
    fn of(budget: &Budget) -> Self {
        let slot = (budget.mean_over / 60).max(Duration::from_millis(50));
        Self { slot_ms: slot.as_millis() as i64, slots: VecDeque::new() }
    }

    fn add(&mut self, delta: &EventDelta) {
        let number = delta.at.as_millis().div_euclid(self.slot_ms);
        let place = self.slots.partition_point(|slot| slot.number < number);
        if self.slots.get(place).is_none_or(|slot| slot.number != number) {
            self.slots.insert(place, Slot { number, count: 0.0, sum: 0.0 });
        }
        self.slots[place].count += delta.count;
        self.slots[place].sum += delta.sum;
    }

    fn keep(&mut self, range: TimeRange) {
        let start = range.start.as_millis();
        while self.slots.front().is_some_and(|slot| slot.number * self.slot_ms < start) {
            self.slots.pop_front();
        }
    }

    fn total(&self) -> (f64, f64) {
        self.slots.iter().fold((0.0, 0.0), |(count, sum), s| (count + s.count, sum + s.sum))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn rule() -> BudgetRule {
        BudgetRule::new("latency_ms", Budget::new(300.0).mean_over(SECOND * 10))
    }

    fn batch(cluster: &str, last_report: i64, deltas: &[(i64, f64, f64)]) -> EventBatch {
        EventBatch {
            source: Labels::from_pairs([("service", "svc"), ("cluster", cluster)]),
            interval: SECOND,
            last_report: at(last_report),
            deltas: deltas
                .iter()
                .map(|&(t, count, sum)| EventDelta { at: at(t), count, sum })
                .collect(),
        }
    }

    fn verdict(rule: &mut BudgetRule, now: i64, batches: Vec<EventBatch>) -> Verdict {
        let mut out = Vec::new();
        let inputs = [InputData::Events(batches)];
        rule.evaluate(&TickContext { at: at(now), inputs: &inputs }, &mut out);
        assert_eq!(out.len(), 1, "{out:?}");
        out.remove(0)
    }

    #[test]
    fn the_mean_is_weighted_by_events_over_all_clusters() {
        // A mean of the two clusters' means would be (100 + 1000) / 2 = 550, above the budget.
        let batches = vec![batch("a", 1, &[(1, 99.0, 9900.0)]), batch("b", 1, &[(1, 1.0, 1000.0)])];
        let v = verdict(&mut rule(), 1, batches);
        assert_eq!((v.condition, v.value), (Condition::Ok, Some(109.0)));
    }

    #[test]
    fn the_budget_itself_still_holds_and_above_it_breaks() {
        let v = verdict(&mut rule(), 1, vec![batch("a", 1, &[(1, 2.0, 600.0)])]);
        assert_eq!(v.condition, Condition::Ok);
        let v = verdict(&mut rule(), 1, vec![batch("a", 1, &[(1, 2.0, 600.1)])]);
        assert_eq!(v.condition, Condition::Breach);
        assert_eq!(v.summary, "mean over 10s is 300 ms of 2 events, budget 300 ms");
    }

    #[test]
    fn events_older_than_the_window_do_not_count() {
        let mut rule = rule();
        verdict(&mut rule, 1, vec![batch("a", 1, &[(1, 1.0, 9000.0)])]);
        let v = verdict(&mut rule, 10, vec![batch("a", 10, &[(10, 1.0, 100.0)])]);
        assert_eq!(v.value, Some(4550.0));
        let v = verdict(&mut rule, 12, vec![batch("a", 12, &[])]);
        assert_eq!(v.value, Some(100.0));
    }

    #[test]
    fn a_source_that_reports_without_events_is_idle() {
        let v = verdict(&mut rule(), 5, vec![batch("a", 5, &[])]);
        assert_eq!(v.condition, Condition::Idle);
    }

    #[test]
    fn silence_of_every_source_is_no_data_even_with_events_in_the_window() {
        let mut rule = rule();
        verdict(&mut rule, 1, vec![batch("a", 1, &[(1, 1.0, 9000.0)])]);
        assert_eq!(verdict(&mut rule, 4, vec![batch("a", 1, &[])]).condition, Condition::Breach);
        assert_eq!(verdict(&mut rule, 5, vec![batch("a", 1, &[])]).condition, Condition::NoData);
        // The standby reports: the service is judged by what there is.
        let v = verdict(&mut rule, 6, vec![batch("a", 1, &[]), batch("b", 6, &[])]);
        assert_eq!(v.condition, Condition::Breach);
    }

    #[test]
    fn a_configured_service_that_never_reported_has_no_data_after_a_while() {
        let mut rule = rule().of_service(&"svc".into());
        assert_eq!(verdict(&mut rule, 5, vec![]).condition, Condition::Idle);
        assert_eq!(verdict(&mut rule, 5 + 45, vec![]).condition, Condition::Idle);
        let v = verdict(&mut rule, 5 + 46, vec![]);
        assert_eq!(v.condition, Condition::NoData);
        assert_eq!(v.summary, "no source has ever reported");
    }
}
