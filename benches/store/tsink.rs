//! tsink, the one peer that is embedded.

use std::path::Path;
use std::time::Duration;

use hms_ops_benches::server::data;
use hms_ops_benches::usage::{Usage, bytes_below};
use hms_ops_benches::workload::{SERIES, Workload, labels};
use hms_ops_core::clock::Stopwatch;
use hms_ops_core::labels::NAME;
use tsink::{DataPoint, Label, Row, StorageBuilder, TimestampPrecision, WalSyncMode};

use crate::embedded::VALUES;
use crate::figures::{self, Figures};

/// What is said of it in the table.
pub(crate) const NOTE: &str = "0.10.2, batches of 20,000";

/// Scrapes in a batch: ten times as many as others get, because small ones cost it more than twice
/// as much per sample.
const SCRAPES: usize = 400;

/// Appends a workload and closes the store, which seals it.
pub(crate) fn ingest(workload: Workload, folder: &Path) -> Figures {
    let storage = StorageBuilder::new()
        .with_data_path(data(folder))
        .with_timestamp_precision(TimestampPrecision::Milliseconds)
        .with_wal_sync_mode(WalSyncMode::Periodic(Duration::from_secs(1)))
        .build()
        .expect("a new folder");
    let file = folder.join(VALUES);
    // Its rows own their labels: made once, so that only what it does with them counts.
    let mut batch: Vec<Row> = (0..SCRAPES).flat_map(|n| rows(n % workload.instances)).collect();
    let (before, watch) = (Usage::own(), Stopwatch::start());
    for (n, scrape) in workload.read(&file).expect("values").enumerate() {
        let scrape = scrape.expect("values of all scrapes");
        let at = Workload::at(scrape.number).as_millis();
        let rows = &mut batch[n % SCRAPES * SERIES..][..SERIES];
        for (row, value) in rows.iter_mut().zip(scrape.values) {
            row.set_data_point(DataPoint::new(at, value));
        }
        if (n + 1) % SCRAPES == 0 {
            storage.insert_rows(&batch).expect("newer samples");
        }
    }
    let mut figures = figures::ingested("w1", workload, before, Usage::own(), watch.elapsed());
    storage.close().expect("it can be closed");
    let bytes = bytes_below(&data(folder)).expect("it has files");
    figures.extend(figures::sealed("w1", workload, before, Usage::own(), bytes));
    figures
}

fn rows(instance: usize) -> Vec<Row> {
    let row = |series: &hms_ops_core::labels::Labels| {
        let own = series.iter().filter(|(name, _)| *name != NAME);
        let labels = own.map(|(name, value)| Label::new(name, value)).collect();
        Row::with_labels(series.name().unwrap_or_default(), labels, DataPoint::new(0, 0.0))
    };
    labels(instance, 0).iter().map(row).collect()
}
