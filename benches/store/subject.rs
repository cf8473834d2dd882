//! The store of ours that is measured: all that the bench knows of it.

use std::path::Path;
use std::time::Duration;

use hms_ops_tsdb::{Durability, Options, SeriesLimits, Tsdb};

/// What it is called in the table.
pub(crate) const NAME: &str = "Tsdb, its log synced each second";

/// A kill loses nothing; the peers wait for no disk either when they acknowledge.
const DURABILITY: Durability = Durability::Interval(Duration::from_secs(1));

/// Opens the store with what it has in `folder`.
pub(crate) fn open(folder: &Path, max_series: usize) -> Tsdb {
    let series = SeriesLimits { store: max_series, metric: max_series, target: max_series };
    let options = Options { durability: DURABILITY, series, ..Options::default() };
    Tsdb::open(folder, options).expect("a folder of ours")
}

/// Brings all it holds into the form in which it stays.
pub(crate) fn seal(store: &Tsdb) {
    store.seal().expect("room for blocks");
}
