//! What a ledger may take.

use std::sync::Arc;
use std::time::Duration;

use hms_ops_core::clock::{Clock, SystemClock};

/// What a ledger in files may take; the fields say what is usual.
///
/// ```
/// use std::time::Duration;
/// use hms_ops_ledger::FileLedgerOptions;
///
/// let ten_years = Duration::from_secs(10 * 365 * 24 * 3600);
/// let options = FileLedgerOptions { retention: ten_years, ..FileLedgerOptions::default() };
/// assert_eq!(options.retention_bytes, 1 << 30);
/// ```
#[derive(Clone, Debug)]
pub struct FileLedgerOptions {
    /// Tells when a lease is over, and how old a segment is.
    pub clock: Arc<dyn Clock>,
    /// Bytes at which a new segment begins, with a snapshot; 4 MiB. A restart reads about so much,
    /// and so does a page of old entries.
    pub segment_bytes: u64,
    /// How long entries are kept; 400 days. Dropped by whole segments, never the last one.
    pub retention: Duration,
    /// How many bytes are kept; 1 GiB. Dropped by whole segments, never the last one.
    pub retention_bytes: u64,
    /// How many of the newest entries are kept in memory, of at most 16 MiB as JSON; 10,000.
    pub recent: usize,
}

impl Default for FileLedgerOptions {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            segment_bytes: 4 << 20,
            retention: Duration::from_secs(400 * 24 * 3600),
            retention_bytes: 1 << 30,
            recent: 10_000,
        }
    }
}
