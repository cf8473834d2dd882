//! tsink, the one peer that is embedded.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hms_ops_core::labels::{Labels, NAME as METRIC};
use tsink::promql::Engine;
use tsink::{DataPoint, Label, Row, Storage, StorageBuilder, TimestampPrecision, WalSyncMode};

use crate::server::data;
use crate::workload::{SERIES, Workload, labels};

/// What it is called.
pub const NAME: &str = "tsink";
/// What is said of it in a table.
pub const NOTE: &str = "0.10.2, batches of 20,000";

/// Scrapes in a batch: ten times as many as others get, because small ones cost it more than twice
/// as much per sample.
const SCRAPES: usize = 400;

/// A new store in `folder`.
///
/// # Panics
///
/// When there is no room for it.
pub fn open(folder: &Path) -> Arc<dyn Storage> {
    StorageBuilder::new()
        .with_data_path(data(folder))
        .with_timestamp_precision(TimestampPrecision::Milliseconds)
        .with_wal_sync_mode(WalSyncMode::Periodic(Duration::from_secs(1)))
        .build()
        .expect("a new folder")
}

/// The first batch, which all that follow reuse: its rows own their labels, and only what the store
/// does with them is to count.
pub fn batch(workload: Workload) -> Vec<Row> {
    (0..SCRAPES).flat_map(|n| rows(n % workload.instances)).collect()
}

/// Appends the values in `file`.
///
/// # Panics
///
/// When it refuses them.
pub fn append(storage: &dyn Storage, workload: Workload, file: &Path, batch: &mut [Row]) {
    for (n, scrape) in workload.read(file).expect("values").enumerate() {
        let scrape = scrape.expect("values of all scrapes");
        let at = Workload::at(scrape.number).as_millis();
        let rows = &mut batch[n % SCRAPES * SERIES..][..SERIES];
        for (row, value) in rows.iter_mut().zip(scrape.values) {
            row.set_data_point(DataPoint::new(at, value));
        }
        if (n + 1) % SCRAPES == 0 {
            storage.insert_rows(batch).expect("newer samples");
        }
    }
}

/// What answers PromQL over it.
pub fn engine(storage: Arc<dyn Storage>) -> Engine {
    Engine::with_precision(storage, TimestampPrecision::Milliseconds)
}

fn rows(instance: usize) -> Vec<Row> {
    let row = |series: &Labels| {
        let own = series.iter().filter(|(name, _)| *name != METRIC);
        let labels = own.map(|(name, value)| Label::new(name, value)).collect();
        Row::with_labels(series.name().unwrap_or_default(), labels, DataPoint::new(0, 0.0))
    };
    labels(instance, 0).iter().map(row).collect()
}
