//! The only place that reads a clock.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::time::Timestamp;

/// Tells what time it is. Everything else receives a [`Timestamp`] or a `Clock`.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The wall clock. It may step backwards; callers must not mind.
    fn now(&self) -> Timestamp;
}

/// The clock of the operating system.
///
/// ```
/// use hms_ops_core::clock::{Clock, SystemClock};
///
/// assert!(SystemClock.now().as_millis() > 1_700_000_000_000);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(i64::try_from(wall().as_millis()).unwrap_or(i64::MAX))
    }
}

impl SystemClock {
    /// Nanoseconds since the epoch that never step backwards within a process: the wall clock at
    /// the first call, plus the monotonic time since. For spans, whose children must not begin
    /// before their parents.
    #[allow(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn unix_nanos() -> u64 {
        static ANCHOR: OnceLock<(u64, Instant)> = OnceLock::new();
        let (wall, mono) = ANCHOR.get_or_init(|| (nanos(wall()), Instant::now()));
        wall.saturating_add(nanos(mono.elapsed()))
    }
}

#[allow(clippy::disallowed_methods, reason = "this is the clock")]
fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn nanos(d: Duration) -> u64 {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)
}

/// A clock that stands still until it is moved; for tests, replay and simulation.
///
/// ```
/// use std::time::Duration;
/// use hms_ops_core::clock::{Clock, ManualClock};
/// use hms_ops_core::time::Timestamp;
///
/// let clock = ManualClock::at(Timestamp::from_millis(1000));
/// clock.advance(Duration::from_secs(1));
/// assert_eq!(clock.now(), Timestamp::from_millis(2000));
/// ```
#[derive(Debug, Default)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock that shows `at`.
    pub const fn at(at: Timestamp) -> Self {
        Self(AtomicI64::new(at.as_millis()))
    }

    /// Moves the clock to `at`, which may be earlier.
    pub fn set(&self, at: Timestamp) {
        self.0.store(at.as_millis(), Ordering::SeqCst);
    }

    /// Moves the clock forward by `by`.
    pub fn advance(&self, by: Duration) {
        let moved = |millis| (Timestamp::from_millis(millis) + by).as_millis();
        self.0.update(Ordering::SeqCst, Ordering::SeqCst, moved);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

/// Measures how long something took, on the monotonic clock.
///
/// ```
/// use hms_ops_core::clock::Stopwatch;
///
/// let watch = Stopwatch::start();
/// assert!(watch.elapsed() >= std::time::Duration::ZERO);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Begins to measure now.
    #[allow(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Time since [`Stopwatch::start`].
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}
