//! Rules tested over histories, as a team tests its own.

use std::time::Duration;

use hms_ops::alert::BudgetRule;
use hms_ops::assert_fires;
use hms_ops::core::metric::Budget;
use hms_ops::replay::{Replayed, Scenario};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn rule() -> BudgetRule {
    BudgetRule::new("eligibility.latency_ms", Budget::new(300.0))
}

fn scenario() -> Scenario {
    Scenario::new("eligibility.latency_ms", "eligibility-svc").events(secs(300), 10.0, 100.0)
}

#[tokio::test]
async fn a_step_over_the_budget_fires_when_the_mean_has_been_over_it_for_two_minutes() {
    // 49 s at 350 ms and 11 s at 100 ms are the first minute whose mean is over 300 ms.
    let replayed = scenario().events(secs(300), 10.0, 350.0).replay(rule()).await;
    assert_fires!(replayed, at = secs(300 + 49 + 120));
}

#[tokio::test]
async fn a_spike_of_half_a_minute_wakes_nobody() {
    let spike = scenario().events(secs(30), 10.0, 1000.0).events(secs(300), 10.0, 100.0);
    assert_fires!(spike.replay(rule()).await, never);
}

#[tokio::test]
async fn an_alert_resolves_a_minute_after_the_mean_is_well_again() {
    let healed = scenario().events(secs(300), 10.0, 350.0).events(secs(300), 10.0, 100.0);
    let replayed = healed.replay(rule()).await;
    assert_fires!(replayed, at = secs(469));
    // After 12 s the minute has 48 s of 350 ms, whose mean is the budget itself.
    assert_eq!(replayed.resolved(), [secs(600 + 12 + 60)]);
}

#[tokio::test]
async fn silence_and_a_quiet_night_resolve_nothing_and_fire_nothing() {
    let quiet = scenario().idle(secs(600)).events(secs(120), 0.1, 100.0).replay(rule()).await;
    assert_fires!(quiet, never);
    let gap = scenario().events(secs(300), 10.0, 350.0).silence(secs(600)).replay(rule()).await;
    assert_eq!(gap.resolved(), [] as [Duration; 0]);
    let fired: Vec<_> = named(&gap, "firing");
    assert_eq!(fired, ["eligibility.latency_ms", "eligibility.latency_ms.no_data"]);
}

#[tokio::test]
#[should_panic(
    expected = "469 s  pending → firing  eligibility.latency_ms{service=\"eligibility-svc\"}"
)]
async fn an_assertion_that_fails_shows_what_happened() {
    let replayed = scenario().events(secs(300), 10.0, 350.0).replay(rule()).await;
    assert_fires!(replayed, never);
}

/// The alerts that came into a state, in order.
fn named<'a>(replayed: &'a Replayed, state: &str) -> Vec<&'a str> {
    let into =
        replayed.steps.iter().filter(|step| step.alert.state.word() == state && step.from != state);
    into.map(|step| step.alert.name.as_str()).collect()
}
