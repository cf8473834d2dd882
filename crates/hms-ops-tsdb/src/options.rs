//! What a store promises, and what it may take.

use std::sync::Arc;
use std::time::Duration;

use hms_ops_core::clock::{Clock, SystemClock};

/// When a commit has resolved, what will its samples survive?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// A loss of power: each commit waits for the disk. Commits that come together share the wait.
    EachCommit,
    /// The end of the process, however it comes. A loss of power takes what was committed in the
    /// last interval, and nothing else.
    Interval(Duration),
    /// The end of the process, however it comes. A loss of power takes what the operating system
    /// had not written yet.
    OperatingSystem,
}

/// How much a store may hold. Over a limit new series are refused and counted; those that exist keep
/// flowing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeriesLimits {
    /// Series in the head; 1,000,000.
    pub store: usize,
    /// Series in the head with the same name; 100,000.
    pub metric: usize,
    /// Series in the head with the same label `instance`; 100,000.
    pub target: usize,
}

impl Default for SeriesLimits {
    fn default() -> Self {
        Self { store: 1_000_000, metric: 100_000, target: 100_000 }
    }
}

/// What a store promises, and what it may take; the fields say what is usual.
///
/// ```
/// use std::time::Duration;
/// use hms_ops_tsdb::{Durability, Options, SeriesLimits};
///
/// let options = Options {
///     durability: Durability::Interval(Duration::from_secs(1)),
///     retention: Duration::from_secs(90 * 24 * 3600),
///     series: SeriesLimits { target: 2000, ..SeriesLimits::default() },
///     ..Options::default()
/// };
/// assert_eq!(options.block, Duration::from_secs(2 * 3600));
/// ```
#[derive(Clone, Debug)]
pub struct Options {
    /// What a commit survives; each commit a loss of power.
    pub durability: Durability,
    /// How much older than the newest of its series a sample may be; 5 minutes.
    pub out_of_order_window: Duration,
    /// How far ahead of the clock a sample may be; 10 minutes. Retention counts from the newest
    /// sample, so one from a wrong clock must not be it.
    pub ahead: Duration,
    /// Says what time it is, to samples that are ahead of it and to nothing else.
    pub clock: Arc<dyn Clock>,
    /// How much time the head collects before it is sealed into a block; 2 hours.
    pub block: Duration,
    /// How long blocks are kept, counted from the newest sample; 15 days.
    pub retention: Duration,
    /// How many bytes of blocks are kept at most; no limit.
    pub retention_bytes: Option<u64>,
    /// How many series.
    pub series: SeriesLimits,
    /// Bytes that the head may take; 512 MiB. Near it, the head is sealed early; over it, new series
    /// are refused.
    pub memory: u64,
    /// Exemplars kept, in memory and in the log; 100,000.
    pub exemplars: usize,
    /// Whether a thread of the store's own seals, compacts and drops what is due. Without it,
    /// [`Tsdb::maintain`](crate::Tsdb::maintain) is called by whoever owns the store.
    pub background: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            durability: Durability::EachCommit,
            out_of_order_window: Duration::from_secs(300),
            ahead: Duration::from_secs(600),
            clock: Arc::new(SystemClock),
            block: Duration::from_secs(2 * 3600),
            retention: Duration::from_secs(15 * 24 * 3600),
            retention_bytes: None,
            series: SeriesLimits::default(),
            memory: 512 << 20,
            exemplars: 100_000,
            background: true,
        }
    }
}
