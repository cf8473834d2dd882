//! Replay: what a rule would have done over a history, second by second; and histories to test it on.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use hms_ops_alert::Engine;

use crate::core::alert::{AlertRule, AlertState, AlertStatus};
use crate::core::labels::{Labels, NAME, SERVICE};
use crate::core::ledger::Event;
use crate::core::name::stored_name;
use crate::core::query::QueryEngine;
use crate::core::store::{MemoryStore, Store, StoreExt};
use crate::core::time::{TimeRange, Timestamp};
use crate::feed::Feed;
use crate::tick::{EVERY, warm_up};

/// Nobody waits for a replay, so a slow store must not look like one without data.
const PATIENCE: Duration = Duration::from_secs(600);
/// Samples that a made-up history holds of a series: a week.
const LONGEST: usize = 7 * 86_400;

/// Runs a rule over what `store` has in `range`, as the engine would have: a tick each second, in each
/// only what was reported until then. Windows begin with what is stored before the range.
///
/// A source of `sources` has at least those labels, and reports that often; others each 15 s.
///
/// Cancel safe; it takes about as long as the reads do, one for each input and second.
///
/// ```
/// use std::sync::Arc;
/// use hms_ops::{alert::BudgetRule, core::metric::Budget, promql, replay};
/// use hms_ops::core::{labels::Labels, store::MemoryStore, time::{TimeRange, Timestamp}};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let store = Arc::new(MemoryStore::new());
/// let queries = Arc::new(promql::Engine::new(store.clone()));
/// let rule = BudgetRule::new("eligibility.latency_ms", Budget::new(300.0));
/// let range = TimeRange::new(Timestamp::from_millis(0), Timestamp::from_millis(60_000));
/// let replayed = replay::replay(Box::new(rule), store, queries, &[], range).await;
/// assert!(replayed.steps.is_empty());
/// # }
/// ```
pub async fn replay(
    rule: Box<dyn AlertRule>,
    store: Arc<dyn Store>,
    queries: Arc<dyn QueryEngine>,
    sources: &[(Labels, Duration)],
    range: TimeRange,
) -> Replayed {
    let mut engine = Engine::new();
    let place = engine.add_rule(rule);
    let mut feed = Feed::new(sources.to_vec()).patience(PATIENCE);
    warm_up(&mut engine, &mut feed, place, &*store, range.start).await;
    let specs: Vec<_> = engine.rules().cloned().collect();
    let (mut at, mut steps) = (range.start, Vec::new());
    while at <= range.end {
        let inputs = feed.read(&specs, at, &*store, &queries).await;
        steps.extend(engine.tick(at, &inputs).transitions.into_iter().filter_map(|event| {
            let Event::Transition { from, alert } = event else { return None };
            Some(Step { at, from, alert })
        }));
        at = at + EVERY;
    }
    Replayed { start: range.start, steps }
}

/// What a rule did over a history.
#[derive(Clone, Debug)]
pub struct Replayed {
    /// The first tick.
    pub start: Timestamp,
    /// Every change of an alert's state or health, in order.
    pub steps: Vec<Step>,
}

/// One change of an alert.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// When.
    pub at: Timestamp,
    /// The state before, in one word.
    pub from: String,
    /// The alert from then on.
    pub alert: AlertStatus,
}

impl Replayed {
    /// How long after the start alerts fired; one that breaks again while it recovers does not fire anew.
    pub fn fired(&self) -> Vec<Duration> {
        self.reached(
            |step| matches!(step.alert.state, AlertState::Firing { since } if since == step.at),
        )
    }

    /// How long after the start alerts resolved.
    pub fn resolved(&self) -> Vec<Duration> {
        self.reached(
            |step| matches!(step.alert.state, AlertState::Resolved { at, .. } if at == step.at),
        )
    }

    fn reached(&self, is: impl Fn(&Step) -> bool) -> Vec<Duration> {
        self.steps.iter().filter(|step| is(step)).map(|step| step.at.since(self.start)).collect()
    }
}

/// A line for each change: when, from which state to which, of what, and why.
impl fmt::Display for Replayed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Step { at, from, alert } in &self.steps {
            let (word, name, labels) = (alert.state.word(), &alert.name, &alert.labels);
            let after = at.since(self.start).as_secs();
            writeln!(f, "{after:>7} s  {from} → {word}  {name}{labels}: {}", alert.summary)?;
        }
        Ok(())
    }
}

/// A history of one service's events that a test makes up, second by second.
///
/// ```
/// use std::time::Duration;
/// use hms_ops::{alert::BudgetRule, assert_fires, core::metric::Budget, replay::Scenario};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let secs = Duration::from_secs;
/// let rule = BudgetRule::new("eligibility.latency_ms", Budget::new(300.0));
/// let replayed = Scenario::new("eligibility.latency_ms", "eligibility-svc")
///     .events(secs(300), 10.0, 100.0)    // ten a second, 100 ms each
///     .events(secs(300), 10.0, 350.0)
///     .replay(rule)
///     .await;
/// assert_fires!(replayed, at = secs(300 + 49 + 120));
/// # }
/// ```
#[derive(Debug)]
pub struct Scenario {
    metric: String,
    source: Labels,
    seconds: Vec<Option<(f64, f64)>>,
}

impl Scenario {
    /// Nothing has happened yet.
    pub fn new(metric: &str, service: &str) -> Self {
        let source = Labels::from_pairs([(SERVICE, service)]);
        Self { metric: metric.to_owned(), source, seconds: Vec::new() }
    }

    /// For so long, so many events happen each second, with this mean.
    #[must_use]
    pub fn events(self, last: Duration, per_second: f64, mean: f64) -> Self {
        self.go_on(last, Some((per_second, per_second * mean)))
    }

    /// For so long, the service reports that nothing happens.
    #[must_use]
    pub fn idle(self, last: Duration) -> Self {
        self.events(last, 0.0, 0.0)
    }

    /// For so long, the service does not report.
    #[must_use]
    pub fn silence(self, last: Duration) -> Self {
        self.go_on(last, None)
    }

    fn go_on(mut self, last: Duration, second: Option<(f64, f64)>) -> Self {
        let seconds = usize::try_from(last.as_secs()).unwrap_or(usize::MAX);
        let room = LONGEST.saturating_sub(self.seconds.len());
        self.seconds.extend(std::iter::repeat_n(second, seconds.min(room)));
        self
    }

    /// Runs a rule over it. A week at most is kept.
    ///
    /// # Panics
    ///
    /// When the metric cannot be stored, such as one whose name is empty.
    pub async fn replay(self, rule: impl AlertRule) -> Replayed {
        let start = Timestamp::from_millis(0);
        let store = Arc::new(MemoryStore::with_limits(2, LONGEST + 1));
        let name = stored_name(&self.metric).into_owned();
        let [counts, sums] =
            ["_count", "_sum"].map(|part| self.source.with(NAME, &format!("{name}{part}")));
        let (mut at, mut total) = (start, (0.0, 0.0));
        let seconds = std::iter::once(&Some((0.0, 0.0))).chain(&self.seconds);
        for second in seconds {
            if let Some((count, sum)) = second {
                total = (total.0 + count, total.1 + sum);
                for (series, value) in [(&counts, &total.0), (&sums, &total.1)] {
                    let stored = store.append_one(series, at, *value).await;
                    stored.expect("the metric can be stored");
                }
            }
            at = at + EVERY;
        }
        let range = TimeRange::new(start, start + EVERY * self.seconds.len() as u32);
        let queries = Arc::new(hms_ops_promql::Engine::new(store.clone()));
        replay(Box::new(rule), store, queries, &[(self.source, EVERY)], range).await
    }
}

/// Asserts when an alert fires in a [`Replayed`] history: so long after its start, and once; or never.
///
/// ```
/// # use hms_ops::{assert_fires, replay::Replayed, core::time::Timestamp};
/// # let replayed = Replayed { start: Timestamp::from_millis(0), steps: vec![] };
/// assert_fires!(replayed, never);
/// ```
#[macro_export]
macro_rules! assert_fires {
    ($replayed:expr, never) => {
        $crate::assert_fires!(@ $replayed, &[])
    };
    ($replayed:expr, at = $after:expr) => {
        $crate::assert_fires!(@ $replayed, &[$after])
    };
    (@ $replayed:expr, $expected:expr) => {{
        let (replayed, expected): (&$crate::replay::Replayed, &[::std::time::Duration]) =
            (&$replayed, $expected);
        let fired = replayed.fired();
        assert!(fired == expected, "fires at {fired:?}, not at {expected:?}:\n{replayed}");
    }};
}
