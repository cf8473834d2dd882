//! The promises of every store.

use std::time::Duration;

use hms_ops_testkit::{keep, store_suite};
use hms_ops_tsdb::{Options, SeriesLimits, Tsdb};
use tempfile::tempdir;

/// Histories of the suite span days, and its oracle seals nothing.
fn open(options: Options) -> Tsdb {
    let block = Duration::from_secs(3650 * 24 * 3600);
    Tsdb::open(keep(tempdir().unwrap()).path(), Options { block, ..options }).unwrap()
}

fn two_series() -> Options {
    Options { series: SeriesLimits { store: 2, ..SeriesLimits::default() }, ..Options::default() }
}

mod with_a_window {
    use super::*;

    store_suite! {
        open(Options::default()),
        out_of_order: Duration::from_secs(300),
        two_series: open(two_series())
    }
}

mod without_a_window {
    use super::*;

    store_suite!(open(Options { out_of_order_window: Duration::ZERO, ..Options::default() }));
}
