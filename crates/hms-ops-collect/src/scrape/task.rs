//! The task of one target: waits, fetches, hands over.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use hms_ops_core::clock::{Clock, Stopwatch};
use hms_ops_core::store::Store;
use hms_ops_core::time::Timestamp;
use hyper::header::{ACCEPT, ACCEPT_ENCODING, HeaderName, HeaderValue, USER_AGENT};
use tokio::sync::{mpsc, oneshot};

use super::series::{Counts, TargetSeries};
use super::{Health, Nudge, ScrapeError, Target, TargetStatus, lock, millis};
use crate::client::{Answer, in_one_line};
use crate::exposition::known_format;

pub(super) struct Task {
    target: Arc<Target>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    status: Arc<Mutex<TargetStatus>>,
    series: TargetSeries,
    last: Option<Timestamp>,
}

impl Task {
    pub(super) fn new(
        target: Arc<Target>,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        status: Arc<Mutex<TargetStatus>>,
        series: TargetSeries,
    ) -> Self {
        Self { target, store, clock, status, series, last: None }
    }

    /// Scrapes until `stop` is dropped, then ends all series.
    pub(super) async fn run(
        mut self,
        mut nudges: mpsc::Receiver<Nudge>,
        mut stop: oneshot::Receiver<()>,
    ) {
        let mut schedule =
            Schedule::new(self.target.interval, self.target.phase(), self.clock.now());
        let watch = Stopwatch::start();
        let mut waiting = Vec::new();
        loop {
            let wait = schedule.next.saturating_sub(watch.elapsed());
            tokio::select! {
                biased;
                _ = &mut stop => break,
                nudge = nudges.recv() => waiting.extend(nudge),
                () = tokio::time::sleep(wait) => schedule.tick(),
            }
            while let Ok(nudge) = nudges.try_recv() {
                waiting.push(nudge);
            }
            let (at, took) = (self.timestamp(), Stopwatch::start());
            let fetched = tokio::select! {
                biased;
                _ = &mut stop => break,
                fetched = self.fetch() => fetched,
            };
            let result = self.store(fetched, at, took).await;
            let status = self.report(&result, at, took, schedule.skip(watch.elapsed()));
            for nudge in waiting.drain(..) {
                let _ = nudge.send(status.clone());
            }
        }
        let at = self.timestamp();
        if let Ok(commit) = self.series.end(&*self.store, at) {
            let _ = commit.await;
        }
    }

    async fn fetch(&self) -> Result<Answer, ScrapeError> {
        let Target { endpoint, limits, manner, .. } = &*self.target;
        if let Some(reason) = &manner.refused {
            return Err(ScrapeError::Refused { reason: reason.clone() });
        }
        let mut headers = vec![(
            USER_AGENT,
            HeaderValue::from_static(concat!("hms-ops/", env!("CARGO_PKG_VERSION"))),
        )];
        headers.extend(HeaderValue::from_str(&manner.accept).ok().map(|accept| (ACCEPT, accept)));
        let encoding = if manner.gzip { "gzip" } else { "identity" };
        headers.push((ACCEPT_ENCODING, HeaderValue::from_static(encoding)));
        let timeout = self.target.deadline();
        // A prober gives up in time to say so.
        if let Ok(seconds) = HeaderValue::from_str(&timeout.as_secs_f64().to_string()) {
            headers.push((HeaderName::from_static("x-prometheus-scrape-timeout-seconds"), seconds));
        }
        let answer = manner.access.get(endpoint, &headers, limits.body_bytes);
        match tokio::time::timeout(timeout, answer).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(ScrapeError::Timeout { timeout }),
        }
    }

    /// Stores what was fetched, or that nothing was.
    async fn store(
        &mut self,
        fetched: Result<Answer, ScrapeError>,
        at: Timestamp,
        took: Stopwatch,
    ) -> Result<Counts, ScrapeError> {
        let stored = fetched.and_then(|answer| {
            let fallback = self.target.manner.fallback;
            let format = known_format(&answer.content_type).unwrap_or(fallback);
            self.series.success(&*self.store, &answer.body, format, at, took)
        });
        let error = match stored {
            Ok((counts, commit)) => match commit.await {
                Ok(()) => return Ok(counts),
                Err(error) => error.into(),
            },
            Err(error) => error,
        };
        let commit = self.series.failure(&*self.store, at, took)?;
        commit.await?;
        Err(error)
    }

    fn report(
        &self,
        result: &Result<Counts, ScrapeError>,
        at: Timestamp,
        took: Stopwatch,
        skipped: u64,
    ) -> TargetStatus {
        let mut status = lock(&self.status);
        let counts = result.as_ref().copied().unwrap_or_default();
        status.health = if result.is_ok() { Health::Up } else { Health::Down };
        status.last_error = result.as_ref().err().map(|error| in_one_line(error));
        status.last_scrape = Some(at);
        status.duration = took.elapsed();
        status.samples = counts.samples;
        status.refused_samples = counts.refused;
        status.scrapes += 1;
        status.skipped_scrapes += skipped;
        status.clone()
    }

    /// Now; but later than the scrape before, unless the clock has really been set back.
    fn timestamp(&mut self) -> Timestamp {
        const SET_BACK: Duration = Duration::from_secs(1);
        let now = self.clock.now();
        let at = match self.last {
            Some(last) if last >= now && last.since(now) < SET_BACK => {
                last + Duration::from_millis(1)
            }
            _ => now,
        };
        self.last = Some(at);
        at
    }
}

/// When the scrapes of a target are due, as time since its task began.
struct Schedule {
    next: Duration,
    interval: Duration,
}

impl Schedule {
    /// The first scrape is due when the wall clock is `phase` past a multiple of `interval`.
    fn new(interval: Duration, phase: Duration, now: Timestamp) -> Self {
        let period = millis(interval);
        let passed = now.as_millis().rem_euclid(period.cast_signed()).cast_unsigned();
        let next = Duration::from_millis((period + millis(phase) - passed) % period);
        Self { next, interval }
    }

    fn tick(&mut self) {
        self.next += self.interval;
    }

    /// Leaves out the scrapes that were due a whole interval ago and more, and counts them: one
    /// that is less late follows at once.
    fn skip(&mut self, now: Duration) -> u64 {
        let late = now.saturating_sub(self.next).as_nanos() / self.interval.as_nanos();
        let late = u32::try_from(late).unwrap_or(u32::MAX);
        self.next += self.interval * late;
        u64::from(late)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_first_scrape_keeps_the_phase_of_the_wall_clock() {
        let first = |phase, now| {
            Schedule::new(15 * SECOND, phase * SECOND, Timestamp::from_millis(now)).next
        };
        assert_eq!(first(4, 1_767_225_600_000), 4 * SECOND);
        assert_eq!(first(4, 1_767_225_603_000), SECOND);
        assert_eq!(first(4, 1_767_225_605_000), 14 * SECOND);
        assert_eq!(first(0, -1_000), SECOND);
    }

    #[test]
    fn a_scrape_that_lasts_too_long_skips_those_that_would_overlap_it() {
        let mut schedule = Schedule { next: 10 * SECOND, interval: 10 * SECOND };
        schedule.tick();
        assert_eq!(schedule.skip(19 * SECOND), 0);
        assert_eq!(
            schedule.skip(29 * SECOND),
            0,
            "late by less than an interval: it follows at once"
        );
        assert_eq!(schedule.skip(45 * SECOND), 2);
        assert_eq!(schedule.next, 40 * SECOND);
    }
}
