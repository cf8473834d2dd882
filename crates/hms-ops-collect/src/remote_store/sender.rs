//! The task that sends what is queued, in order, one request at a time.
//!
//! When the backend is gone (nobody listens, or the connection breaks), everything that is not safe
//! is sent again as soon as it is back: what it had acknowledged last may not have been on its disk.
//! A backend that refuses samples it has already, as Prometheus does with older ones, costs time only.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hms_ops_core::random;
use hms_ops_wal::log::Seq;
use tokio::time::{interval, sleep, timeout};

use super::backend::{Backend, Fate, RemoteError};
use super::queue::{Queue, Record};
use super::wire;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause that the backend may ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(300);
/// How long a look at the backend may hold up what is to be sent.
const LOOK_PATIENCE: Duration = Duration::from_secs(2);
/// Requests into which one refused record is cut at most, to find what is wrong with it.
const CUTS: usize = 64;

/// What has become of what was sent.
#[derive(Debug, Default)]
pub(super) struct Sent {
    pub(super) requests: AtomicU64,
    pub(super) samples: AtomicU64,
    pub(super) repeated: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) retries: AtomicU64,
    pub(super) rewinds: AtomicU64,
    pub(super) reachable: AtomicBool,
    last_error: Mutex<Option<String>>,
}

impl Sent {
    pub(super) fn last_error(&self) -> Option<String> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn failed(&self, error: &RemoteError) {
        let line = error.in_one_line();
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(line);
    }
}

#[derive(Debug)]
pub(super) struct Sender {
    pub(super) backend: Arc<Backend>,
    pub(super) queue: Queue,
    pub(super) sent: Arc<Sent>,
    pub(super) longest_pause: Duration,
    /// How often the backend is asked since when it runs.
    pub(super) watch_pause: Duration,
}

/// How an attempt ended.
enum End {
    Taken,
    Refused,
    /// The backend was gone: everything that is not safe comes first.
    Rewound(Seq),
    Closed,
}

/// What a look at the backend has shown.
enum Look {
    /// It is the one that it was, as far as it tells.
    Same,
    /// Another one, which may not have what this one had.
    New,
    /// Nobody is there; whether what it has is safe shows later.
    Gone,
}

impl Sender {
    /// Runs until the queue is closed.
    pub(super) async fn run(self) {
        let mut position = self.queue.progress.borrow().safe;
        // Whether the backend is known to have been there since the last rewind.
        let mut seen = true;
        let mut born = None;
        let mut watch = interval(self.watch_pause);
        loop {
            let records = tokio::select! {
                biased;
                _ = watch.tick() => {
                    match self.look(&mut born).await {
                        Look::New => {
                            let Some(safe) = self.rewind().await else { return };
                            position = safe;
                        }
                        Look::Same => self.queue.settle().await,
                        Look::Gone => {}
                    }
                    // From now on, or a look that takes long would be followed by the next at once.
                    watch.reset();
                    continue;
                }
                records = self.queue.next(position) => records,
            };
            if records.is_empty() {
                return;
            }
            match self.deliver(records, &mut seen).await {
                Ok(next) => position = next,
                Err(End::Rewound(safe)) => position = safe,
                Err(_) => return,
            }
        }
    }

    /// Sends records in order; those that are refused are cut until what is refused stands alone.
    async fn deliver(&self, records: Vec<Record>, seen: &mut bool) -> Result<Seq, End> {
        let end = records.last().map_or(0, |record| record.seq + 1);
        let mut parts = vec![&records[..]];
        while let Some(part) = parts.pop() {
            let body: Vec<u8> =
                part.iter().flat_map(|record| record.body.iter().copied()).collect();
            match self.send(&body, seen).await {
                End::Taken => {
                    let samples = part.iter().map(|record| u64::from(record.samples)).sum();
                    self.sent.samples.fetch_add(samples, Relaxed);
                }
                End::Refused if part.len() > 1 => {
                    let (early, late) = part.split_at(part.len() / 2);
                    parts.extend([late, early]);
                    continue;
                }
                End::Refused => self.cut(&part[0], seen).await?,
                other => return Err(other),
            }
            self.queue.acknowledge(part).await;
        }
        Ok(end)
    }

    /// Sends what of a refused record is good. One that was taken before is one that the backend has.
    async fn cut(&self, record: &Record, seen: &mut bool) -> Result<(), End> {
        if record.seq < self.queue.progress.borrow().acknowledged {
            self.sent.repeated.fetch_add(u64::from(record.samples), Relaxed);
            return Ok(());
        }
        let all = wire::split(&record.body);
        let (mut parts, mut cuts, mut refused) = (vec![&all[..]], 0, 0);
        while let Some(part) = parts.pop() {
            // The whole of it was refused just now.
            let whole = part.len() == all.len();
            let end = if whole { End::Refused } else { self.send(&part.concat(), seen).await };
            cuts += 1;
            match end {
                End::Taken => {}
                End::Refused if part.len() > 1 && cuts < CUTS => {
                    let (early, late) = part.split_at(part.len() / 2);
                    parts.extend([late, early]);
                }
                End::Refused => refused += wire::count(part),
                other => return Err(other),
            }
        }
        self.sent.refused.fetch_add(refused, Relaxed);
        self.sent.samples.fetch_add(u64::from(record.samples).saturating_sub(refused), Relaxed);
        Ok(())
    }

    /// Sends one body until the backend takes or refuses it, or has been gone.
    async fn send(&self, body: &[u8], seen: &mut bool) -> End {
        let mut pause = FIRST_PAUSE;
        loop {
            let fate = self.backend.write(body).await;
            self.sent.requests.fetch_add(1, Relaxed);
            let there = matches!(fate, Fate::Taken | Fate::Refused(_));
            self.sent.reachable.store(there, Relaxed);
            let asked = match fate {
                Fate::Taken => {
                    *seen = true;
                    return End::Taken;
                }
                Fate::Refused(error) => {
                    *seen = true;
                    self.sent.failed(&error);
                    return End::Refused;
                }
                Fate::Later(error, asked) => {
                    self.sent.failed(&error);
                    asked
                }
                Fate::Gone(error) => {
                    self.sent.failed(&error);
                    // Once for each time that it was there.
                    if std::mem::take(seen) {
                        return self.rewind().await.map_or(End::Closed, End::Rewound);
                    }
                    None
                }
            };
            self.sent.retries.fetch_add(1, Relaxed);
            // On top of what is asked for, or all who were asked the same would come at once.
            let asked = asked.unwrap_or_default().min(LONGEST_ASKED);
            sleep(asked + jittered(pause)).await;
            pause = (pause * 2).min(self.longest_pause);
        }
    }

    async fn rewind(&self) -> Option<Seq> {
        self.sent.rewinds.fetch_add(1, Relaxed);
        self.queue.rewind().await
    }

    /// Whether another process has taken the backend's place since the last look, which may have gone
    /// unseen while there was nothing to send. Among several behind one address only the youngest
    /// counts, or each look would see another.
    async fn look(&self, born: &mut Option<f64>) -> Look {
        let progress = *self.queue.progress.borrow();
        if born.is_some() && progress.safe >= progress.acknowledged {
            return Look::Same;
        }
        match timeout(LOOK_PATIENCE, self.backend.born()).await {
            Ok(Ok(Some(now))) => {
                let younger = born.is_some_and(|born| now > born);
                *born = Some(born.map_or(now, |born| born.max(now)));
                if younger { Look::New } else { Look::Same }
            }
            Ok(Err(error)) if error.is_silence() => Look::Gone,
            // It tells nothing, which is no reason to keep samples for ever.
            _ => Look::Same,
        }
    }
}

/// Anything up to `pause`, so that many senders do not come at once.
fn jittered(pause: Duration) -> Duration {
    let micros = u64::try_from(pause.as_micros()).unwrap_or(u64::MAX);
    Duration::from_micros(random::below(micros.saturating_add(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_spread_over_all_the_time_that_they_may_take() {
        let pause = Duration::from_millis(100);
        let mut all: Vec<_> = (0..1000).map(|_| jittered(pause)).collect();
        all.sort();
        assert!(all[100] < pause / 5 && all[900] > pause / 5 * 4 && all[999] <= pause, "{all:?}");
    }
}
