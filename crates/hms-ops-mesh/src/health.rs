//! Active health checks: each cluster is asked at once and then in its own rhythm, so that one
//! that hangs delays no other.

use std::time::Duration;

use hms_ops_core::mesh::Health;
use hms_ops_core::time::Timestamp;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::router::Router;
use crate::tasks::{Stop, Tasks};

mod probe;

/// What a health check asks for, how often, and what follows.
#[derive(Clone, Debug)]
pub(crate) struct HealthOptions {
    pub(crate) path: String,
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
    /// Failures in a row that make unhealthy.
    pub(crate) failures: u32,
    /// Successes in a row that make healthy.
    pub(crate) successes: u32,
}

/// Checks health until it is shut down or dropped; from [`Router::start_health_checks`].
#[derive(Debug)]
#[must_use = "the checks end when this is dropped"]
pub struct HealthChecks {
    tasks: Tasks,
}

/// What the checks of one cluster have shown so far.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    verdict: Option<Result<(), String>>,
    last: Option<Timestamp>,
    successes: u32,
    failures: u32,
}

impl Default for HealthOptions {
    fn default() -> Self {
        let second = Duration::from_secs(1);
        let path = "/health".to_owned();
        Self { path, interval: second, timeout: second, failures: 2, successes: 1 }
    }
}

impl HealthOptions {
    /// The age at which a result says nothing any more.
    pub(crate) fn stale_after(&self) -> Duration {
        self.interval.saturating_mul(3)
    }
}

impl Checked {
    /// Takes in the result of a check.
    fn record(&mut self, result: Result<(), String>, at: Timestamp, options: &HealthOptions) {
        self.last = Some(at);
        let turned = match &result {
            Ok(()) => {
                (self.successes, self.failures) = (self.successes.saturating_add(1), 0);
                self.successes >= options.successes
            }
            Err(_) => {
                (self.successes, self.failures) = (0, self.failures.saturating_add(1));
                self.failures >= options.failures
            }
        };
        if turned {
            self.verdict = Some(result);
        }
    }

    pub(crate) fn is_down(&self) -> bool {
        matches!(self.verdict, Some(Err(_)))
    }

    /// How the cluster is at `now`.
    pub(crate) fn health(&self, now: Timestamp, stale_after: Duration) -> Health {
        let fresh = self.last.is_some_and(|last| now.since(last) <= stale_after);
        match &self.verdict {
            Some(Ok(())) if fresh => Health::Healthy,
            Some(Err(reason)) if fresh => Health::Unhealthy { reason: reason.clone() },
            _ => Health::Unknown,
        }
    }
}

impl Router {
    /// Starts to check the health of every cluster, at once and then at every interval.
    pub fn start_health_checks(&self) -> HealthChecks {
        let tasks = Tasks::default();
        for index in 0..self.backends().len() {
            tasks.spawn(self.clone().keep_checking(index, tasks.stop()));
        }
        HealthChecks { tasks }
    }

    /// Checks every cluster once, now, and returns when all results are in.
    ///
    /// Cancel safe.
    pub async fn check_now(&self) {
        let mut checks = JoinSet::new();
        for index in 0..self.backends().len() {
            let router = self.clone();
            checks.spawn(async move { router.check(index).await });
        }
        while checks.join_next().await.is_some() {}
    }

    async fn keep_checking(self, index: usize, mut stop: Stop) {
        let mut ticks = interval(self.options().health.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let check = async {
            loop {
                ticks.tick().await;
                self.check(index).await;
            }
        };
        tokio::select! {
            () = check => {}
            () = stop.wait() => {}
        }
    }

    async fn check(&self, index: usize) {
        let (backend, options) = (self.backend(index), &self.options().health);
        let probe = probe::probe(&backend.endpoint, &options.path);
        let result = match tokio::time::timeout(options.timeout, probe).await {
            Ok(result) => result,
            Err(_) => Err(format!("no answer within {:?}", options.timeout)),
        };
        let at = self.options().clock.now();
        backend.check(|checked| checked.record(result, at, options));
    }
}

impl HealthChecks {
    /// Stops checking; returns when no check runs any more.
    pub async fn shutdown(self) {
        self.tasks.shutdown(Duration::MAX).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STALE: Duration = Duration::from_secs(3);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn failed() -> Result<(), String> {
        Err("answered 503".to_owned())
    }

    #[test]
    fn one_success_makes_healthy_and_two_failures_make_unhealthy() {
        let (mut checked, options) = (Checked::default(), HealthOptions::default());
        assert_eq!(checked.health(at(0), STALE), Health::Unknown);
        checked.record(Ok(()), at(0), &options);
        assert_eq!(checked.health(at(0), STALE), Health::Healthy);
        checked.record(failed(), at(1), &options);
        assert_eq!(checked.health(at(1), STALE), Health::Healthy);
        checked.record(failed(), at(2), &options);
        let reason = "answered 503".to_owned();
        assert_eq!(checked.health(at(2), STALE), Health::Unhealthy { reason });
        assert!(checked.is_down());
        checked.record(Ok(()), at(3), &options);
        assert_eq!(checked.health(at(3), STALE), Health::Healthy);
    }

    #[test]
    fn one_failure_at_the_start_does_not_make_a_verdict() {
        let mut checked = Checked::default();
        checked.record(failed(), at(0), &HealthOptions::default());
        assert_eq!(checked.health(at(0), STALE), Health::Unknown);
    }

    #[test]
    fn health_is_unknown_after_three_intervals_without_a_result() {
        let mut checked = Checked::default();
        checked.record(Ok(()), at(0), &HealthOptions::default());
        assert_eq!(checked.health(at(3), STALE), Health::Healthy);
        assert_eq!(checked.health(at(4), STALE), Health::Unknown);
    }
}
