//! The tick: once a second, sample, read, decide, write down, and only then act.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hms_ops_alert::rule::SloView;
use hms_ops_alert::slo::Sli;
use hms_ops_alert::{BudgetRule, Engine, Outbox, Slo, SloRule, Tick};
use hms_ops_collect::registry::RegistrySampler;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, timeout};

use crate::core::alert::{AlertRule, AlertStatus, RuleError, RuleInput, RuleSpec};
use crate::core::labels::Labels;
use crate::core::ledger::{Entry, Event, Journal};
use crate::core::matcher::Matcher;
use crate::core::metric::Budget;
use crate::core::name::{Service, stored_name};
use crate::core::query::QueryEngine;
use crate::core::registry::Registry;
use crate::core::store::{SelectHint, Store, StoreStats};
use crate::core::time::{TimeRange, Timestamp};
use crate::feed::Feed;
use crate::reload::Intervals;
use crate::remote::Remote;
use crate::runbooks::Runbooks;

/// How often rules are evaluated, and this process is sampled.
pub(crate) const EVERY: Duration = Duration::from_secs(1);
/// How long the ledger's lease is held; renewed at each tick.
pub(crate) const LEASE: Duration = Duration::from_secs(10);
/// Entries of one append at most, far below what a ledger takes at once.
const APPEND: usize = 1000;
/// How long a tick waits until its samples are stored: rules must be evaluated on a slow disk, too.
const STORE_PATIENCE: Duration = Duration::from_millis(500);
/// How far back windows are filled at the start.
const WARM_UP: Duration = Duration::from_secs(600);
/// How much of a long history is read at once.
const PIECE: Duration = Duration::from_secs(6 * 3600);

fn rule_of(metric: &str, budget: Budget, service: Option<&Service>) -> BudgetRule {
    let rule = BudgetRule::new(metric, budget);
    match service {
        Some(service) => rule.of_service(service),
        None => rule,
    }
}

/// Fills the windows of a rule from what is stored up to `at`.
pub(crate) async fn warm_up(
    engine: &mut Engine,
    feed: &mut Feed,
    place: usize,
    store: &dyn Store,
    at: Timestamp,
) {
    let Some(spec) = engine.rules().nth(place).cloned() else { return };
    for (input, read) in spec.inputs.iter().enumerate() {
        let warmed = match read {
            RuleInput::Events { metric, matchers } => {
                let name = stored_name(metric);
                let parts =
                    Matcher::regex(crate::core::labels::NAME, &format!("{name}_(count|sum)"));
                let parts = parts.expect("a stored name has no special characters");
                let all: Vec<_> = matchers.iter().cloned().chain([parts]).collect();
                let range = TimeRange::last(WARM_UP, at);
                warm_up_input(engine, (place, input), &all, range, store).await
            }
            RuleInput::Counts { total, part, history, .. } => {
                let warmed =
                    warm_up_counts(engine, (place, input), [part, total], *history, store, at)
                        .await;
                if warmed.is_ok() {
                    feed.known_until((place, input), at);
                }
                warmed
            }
            RuleInput::Query { .. } => Ok(()),
        };
        if let Err(error) = warmed {
            tracing::warn!(rule = %spec.name, %error, "the rule starts without all of its history");
        }
    }
}

/// Hands the history of counts to their rule, piece by piece: a month does not fit into memory.
async fn warm_up_counts(
    engine: &mut Engine,
    input: (usize, usize),
    sides: [&[Matcher]; 2],
    history: Duration,
    store: &dyn Store,
    at: Timestamp,
) -> Result<(), RuleError> {
    let mut start = at - history;
    while start < at {
        let end = (start + PIECE).min(at);
        let range = TimeRange::new(start + Duration::from_millis(1), end);
        for matchers in sides.into_iter().filter(|matchers| !matchers.is_empty()) {
            warm_up_input(engine, input, matchers, range, store).await?;
        }
        start = end;
    }
    Ok(())
}

async fn warm_up_input(
    engine: &mut Engine,
    (place, input): (usize, usize),
    matchers: &[Matcher],
    range: TimeRange,
    store: &dyn Store,
) -> Result<(), RuleError> {
    let mut history = store.select(matchers, range, &SelectHint::default()).await?;
    engine.warm_up(place, input, &mut *history)
}

/// The instant of a tick: one period after the last one, unless the clock is elsewhere by now. A
/// timer that is a few milliseconds early would otherwise make every hold a whole tick longer.
fn on_the_grid(last: Option<Timestamp>, now: Timestamp) -> Timestamp {
    let due = last.map(|last| last + EVERY);
    let near = |due: &Timestamp| now.since(*due) < EVERY / 2 && due.since(now) < EVERY / 2;
    due.filter(near).unwrap_or(now)
}

/// Owns the engine and turns the crank.
pub(crate) struct Ticker {
    pub(crate) engine: Engine,
    pub(crate) own_service: Option<Service>,
    pub(crate) registry: Registry,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) queries: Arc<dyn QueryEngine>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) runbooks: Arc<Runbooks>,
    pub(crate) remote: Remote,
    pub(crate) alerts: watch::Sender<Vec<AlertStatus>>,
    pub(crate) rules: watch::Sender<Vec<RuleSpec>>,
    pub(crate) parts: Parts,
}

/// What the ticker keeps from tick to tick.
pub(crate) struct Parts {
    sampler: RegistrySampler,
    exporter: Option<Box<dyn Exporter>>,
    feed: Feed,
    /// This process, as one of the sources.
    own: Option<(Labels, Duration)>,
    /// The others, which change when the config is read again.
    intervals: watch::Receiver<Intervals>,
    /// Metrics of this process whose budget has a rule, and that rule's place.
    budgets: HashMap<Arc<str>, (Budget, usize)>,
    /// Metrics whose budget was declared for this process from outside; that one counts.
    declared: HashSet<String>,
    /// How the store was when that was last said.
    shown: StoreStats,
    /// Decided, but not yet in the ledger, and so not yet acted upon.
    unwritten: Tick,
}

impl Parts {
    /// `labels` are those of this process, `intervals` those of its targets.
    pub(crate) fn new(
        registry: Registry,
        labels: Labels,
        intervals: watch::Receiver<Intervals>,
        mut exporter: Option<Box<dyn Exporter>>,
    ) -> Self {
        let own = (!labels.is_empty()).then(|| (labels.clone(), EVERY));
        let known = intervals.borrow().clone();
        if let Some(exporter) = &mut exporter {
            exporter.set_labels(labels.clone());
        }
        Self {
            sampler: RegistrySampler::new(registry, labels),
            exporter,
            feed: Feed::new(own.iter().cloned().chain(known).collect()),
            own,
            intervals,
            budgets: HashMap::new(),
            declared: HashSet::new(),
            shown: StoreStats::default(),
            unwritten: Tick::default(),
        }
    }
}

/// Metrics of this process that are kept outside of its registry.
#[async_trait]
pub(crate) trait Exporter: fmt::Debug + Send {
    /// Sets the labels that every series gets; called once, before the first sample.
    fn set_labels(&mut self, labels: Labels);

    /// Writes the metrics as they are now, stamped `at`; returns how many samples were refused.
    async fn sample(&mut self, store: &dyn Store, at: Timestamp) -> Result<u64, SampleError>;
}

/// Why metrics could not be sampled.
pub(crate) type SampleError = Box<dyn std::error::Error + Send + Sync>;

impl Ticker {
    /// Adds a rule, with its windows filled from what is stored.
    pub(crate) async fn add_rule(&mut self, rule: Box<dyn AlertRule>) -> usize {
        let place = self.engine.add_rule(rule);
        self.warm_up(place).await;
        place
    }

    async fn warm_up(&mut self, place: usize) {
        let now = self.journal.clock().now();
        warm_up(&mut self.engine, &mut self.parts.feed, place, &*self.store, now).await;
    }

    /// Adds the rule of a budget that was declared for a scraped metric.
    pub(crate) async fn add_budget(
        &mut self,
        metric: &str,
        budget: Budget,
        service: Option<&Service>,
    ) {
        if service.is_none() || service == self.own_service.as_ref() {
            self.parts.declared.insert(stored_name(metric).into_owned());
        }
        self.add_rule(Box::new(rule_of(metric, budget, service))).await;
    }

    /// Adds the rule of an SLO. A latency in this process gets the exact edge that the SLO needs.
    pub(crate) async fn add_slo(&mut self, slo: Slo) -> SloView {
        for warning in slo.warnings() {
            tracing::warn!(slo = slo.name(), "{warning}");
        }
        let own = slo.service().is_none() || slo.service() == self.own_service.as_ref();
        if let Sli::Latency { metric, limit } = slo.sli()
            && own
        {
            self.registry.declare_edge(metric, *limit);
        }
        let rule = SloRule::new(slo);
        let view = rule.view();
        self.add_rule(Box::new(rule)).await;
        view
    }

    /// Ticks until told to stop. A tick that comes too late is skipped and counted.
    pub(crate) async fn run(mut self, mut stopped: watch::Receiver<bool>) {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut last = None;
        loop {
            let planned = tokio::select! {
                biased;
                _ = stopped.wait_for(|stop| *stop) => return,
                planned = ticks.tick() => planned,
            };
            let skipped = planned.elapsed().as_secs() / EVERY.as_secs();
            self.registry.counter("hms_ops_skipped_ticks_total").increment(skipped);
            let at = on_the_grid(last, self.journal.clock().now());
            last = Some(at);
            self.tick(at).await;
            self.registry.counter("hms_ops_ticks_total").increment(1);
        }
    }

    /// One tick, for the instant `at`.
    pub(crate) async fn tick(&mut self, at: Timestamp) {
        self.sample(at).await;
        self.find_budgets().await;
        if self.parts.intervals.has_changed().unwrap_or_default() {
            let now = self.parts.intervals.borrow_and_update().clone();
            let all = self.parts.own.iter().cloned().chain(now);
            self.parts.feed.set_intervals(all.collect());
        }
        let specs: Vec<_> = self.engine.rules().cloned().collect();
        let inputs = self.parts.feed.read(&specs, at, &*self.store, &self.queries).await;
        let decided = self.engine.tick(at, &inputs);
        self.alerts.send_replace(self.engine.alerts().cloned().collect());
        self.rules.send_replace(specs);

        let unwritten = &mut self.parts.unwritten;
        unwritten.transitions.extend(decided.transitions);
        unwritten.notifications.extend(decided.notifications);
        unwritten.runs.extend(decided.runs);
        match self.journal.renew(LEASE).await {
            Ok(true) => self.write_and_act(at).await,
            Ok(false) => {
                // What follows is the other engine's to decide.
                self.parts.unwritten = Tick::default();
                self.failed("another engine holds the ledger's lease");
            }
            Err(error) => self.failed(&error.to_string()),
        }
    }

    async fn sample(&mut self, at: Timestamp) {
        self.show_store().await;
        let own = self.parts.sampler.sample(&*self.store, at);
        let own = timeout(STORE_PATIENCE, own).await;
        self.sampled(own.map_or_else(|late| Err(late.into()), |own| own.map_err(Into::into)));
        if let Some(exporter) = &mut self.parts.exporter {
            let exported = timeout(STORE_PATIENCE, exporter.sample(&*self.store, at)).await;
            self.sampled(exported.unwrap_or_else(|late| Err(late.into())));
        }
    }

    /// Says how the store is doing, in metrics of the engine.
    async fn show_store(&mut self) {
        self.remote.show(&self.registry);
        let stats = self.store.stats().await;
        let before = std::mem::replace(&mut self.parts.shown, stats);
        for (name, value) in [
            ("hms_ops_store_series", stats.series),
            ("hms_ops_store_samples", stats.samples),
            ("hms_ops_store_memory_bytes", stats.memory_bytes),
            ("hms_ops_store_disk_bytes", stats.disk_bytes),
            ("hms_ops_store_damaged", stats.damaged),
        ] {
            self.registry.gauge(name).set(value as f64);
        }
        for (name, now, before) in [
            ("refused_series", stats.refused_series, before.refused_series),
            ("dropped_samples", stats.dropped_samples, before.dropped_samples),
            ("late_samples", stats.late_samples, before.late_samples),
        ] {
            let counter = self.registry.counter(&format!("hms_ops_store_{name}_total"));
            counter.increment(now.saturating_sub(before));
        }
    }

    fn sampled(&self, refused: Result<u64, SampleError>) {
        match refused {
            Ok(0) => {}
            Ok(refused) => self.registry.counter("hms_ops_refused_series_total").increment(refused),
            Err(error) => self.failed(&error.to_string()),
        }
    }

    /// Makes rules for budgets that this process has declared since, or declared anew.
    async fn find_budgets(&mut self) {
        for (metric, budget) in self.registry.budgets() {
            if self.parts.declared.contains(&*stored_name(&metric)) {
                continue;
            }
            let rule = Box::new(rule_of(&metric, budget, self.own_service.as_ref()));
            let place = match self.parts.budgets.get(&metric) {
                Some((known, _)) if *known == budget => continue,
                Some((_, place)) => {
                    let place = *place;
                    self.engine.replace_rule(place, rule);
                    self.warm_up(place).await;
                    place
                }
                None => self.add_rule(rule).await,
            };
            self.parts.budgets.insert(metric, (budget, place));
        }
    }

    /// First the ledger, then the effects: what is not written down does not happen. After a long time
    /// without a ledger there may be more than one append takes.
    async fn write_and_act(&mut self, at: Timestamp) {
        loop {
            let Tick { transitions, notifications, .. } = &self.parts.unwritten;
            let first = transitions.len().min(APPEND);
            let then = notifications.len().min(APPEND - first);
            if first + then == 0 {
                break;
            }
            let decided = transitions[..first].iter().cloned();
            let queued = notifications[..then].iter().map(|(receiver, notification)| {
                let (receiver, notification) = (receiver.clone(), notification.clone());
                Event::NotificationQueued { receiver, notification }
            });
            let entry = |event| Entry { at, actor: "engine".to_owned(), event };
            let entries = decided.chain(queued).map(entry).collect();
            if let Err(error) = self.journal.append(entries).await {
                return self.failed(&error.to_string());
            }
            self.parts.unwritten.transitions.drain(..first);
            let written: Vec<_> = self.parts.unwritten.notifications.drain(..then).collect();
            for (receiver, notification) in written {
                self.outbox.queue(&receiver, notification).await;
            }
        }
        for (runbook, alert) in std::mem::take(&mut self.parts.unwritten.runs) {
            // The ledger may have been away for long; what is over needs no repair.
            let still = self
                .engine
                .alerts()
                .any(|now| now.fingerprint == alert.fingerprint && now.state.is_active());
            if still {
                self.runbooks.spawn(&runbook, alert);
            }
        }
        // Only now: who watches for silence has to hear of an engine that can tell nobody anything.
        self.outbox.beat(at);
    }

    fn failed(&self, error: &str) {
        self.registry.counter("hms_ops_tick_failures_total").increment(1);
        tracing::error!(error, "a tick failed; what it decided waits for the next");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_keep_their_grid_until_the_clock_is_elsewhere() {
        let at = Timestamp::from_millis;
        assert_eq!(on_the_grid(None, at(3991)), at(3991));
        assert_eq!(on_the_grid(Some(at(3991)), at(4990)), at(4991));
        assert_eq!(on_the_grid(Some(at(3991)), at(5490)), at(4991));
        // A tick was skipped, or the clock was set.
        assert_eq!(on_the_grid(Some(at(3991)), at(5995)), at(5995));
        assert_eq!(on_the_grid(Some(at(3991)), at(1000)), at(1000));
    }
}
