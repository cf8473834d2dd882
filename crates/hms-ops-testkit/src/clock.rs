//! The suite of clocks that are moved by hand, such as [`ManualClock`].
//!
//! ```
//! mod manual_clock {
//!     use hms_ops_core::clock::ManualClock;
//!
//!     hms_ops_testkit::clock_suite!(ManualClock::default());
//! }
//! ```

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use hms_ops_core::clock::{Clock, ManualClock};
use hms_ops_core::time::Timestamp;

use crate::world::{at, secs};

/// A clock that stands still until it is moved.
pub trait MovableClock: Clock {
    /// Moves the clock to `at`, which may be earlier.
    fn set(&self, at: Timestamp);

    /// Moves the clock forward by `by`.
    fn advance(&self, by: Duration);
}

impl MovableClock for ManualClock {
    fn set(&self, at: Timestamp) {
        Self::set(self, at);
    }

    fn advance(&self, by: Duration) {
        Self::advance(self, by);
    }
}

/// One test for each promise of a clock that is moved by hand; see [`clock`](crate::clock).
#[macro_export]
macro_rules! clock_suite {
    ($clock:expr) => {
        $crate::cases! { $clock;
            the_clock_stands_still_until_it_is_moved
            the_clock_may_be_set_back
            all_who_share_the_clock_see_the_same_time
            concurrent_advances_add_up
            ; clock
        }
    };
}

/// However often it is read.
pub async fn the_clock_stands_still_until_it_is_moved(clock: impl MovableClock) {
    clock.set(at(100));
    for _ in 0..3 {
        assert_eq!(clock.now(), at(100));
    }
    clock.advance(secs(5));
    assert_eq!(clock.now(), at(105));
    clock.advance(Duration::ZERO);
    assert_eq!(clock.now(), at(105));
}

/// Before the epoch, too; at the end of time it stays.
pub async fn the_clock_may_be_set_back(clock: impl MovableClock) {
    for when in [at(100), at(50), at(-50), Timestamp::MIN, Timestamp::MAX] {
        clock.set(when);
        assert_eq!(clock.now(), when);
    }
    clock.advance(secs(1));
    assert_eq!(clock.now(), Timestamp::MAX);
}

/// Also through a pointer.
pub async fn all_who_share_the_clock_see_the_same_time(clock: impl MovableClock) {
    let clock = Arc::new(clock);
    let shared: Arc<dyn Clock> = clock.clone();
    clock.set(at(7));
    assert_eq!(thread::spawn(move || shared.now()).join().unwrap(), at(7));
}

/// No movement is lost.
pub async fn concurrent_advances_add_up(clock: impl MovableClock) {
    clock.set(at(0));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..10_000).for_each(|_| clock.advance(secs(1))));
        }
    });
    assert_eq!(clock.now(), at(40_000));
}
