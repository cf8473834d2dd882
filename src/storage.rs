//! Where samples are kept: in a folder, or in memory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hms_ops_tsdb::{Durability, Options as TsdbOptions, Tsdb};

use crate::Error;
use crate::builder::OpsBuilder;
use crate::config::{Config, ConfigError, StoreTable};
use crate::core::clock::Clock;
use crate::core::store::{MemoryStore, Store};

/// What the builder was told about storage.
#[derive(Debug, Default)]
pub(crate) struct Options {
    data: Option<PathBuf>,
    options: TsdbOptions,
}

impl Options {
    pub(crate) fn configure(mut self, config: &Config) -> Result<Self, ConfigError> {
        let table = &config.file.store;
        if let Some(data) = &table.data {
            self.data = Some(config.path(data.get_ref()));
        }
        self.options = options(config, table, self.options)?;
        Ok(self)
    }

    /// How long samples are kept, as `15d`; empty in memory, where their number counts.
    pub(crate) fn retention(&self) -> String {
        let seconds = self.options.retention.as_secs();
        let unit = [(86_400, "d"), (3600, "h"), (60, "m"), (1, "s")];
        let fits = unit.into_iter().find(|(length, _)| seconds.is_multiple_of(*length));
        match (&self.data, fits) {
            (Some(_), Some((length, unit))) => format!("{}{unit}", seconds / length),
            _ => String::new(),
        }
    }

    /// The folder that an engine's history is in, if there is one.
    pub(crate) fn folder(&self) -> Option<PathBuf> {
        self.data.clone()
    }

    /// Opens the store: `own`, if there is one.
    pub(crate) fn open(
        mut self,
        own: Option<Arc<dyn Store>>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Storage, Error> {
        self.options.clock = clock.clone();
        match (self.data, own) {
            (Some(data), Some(_)) => {
                let data = data.display();
                Err(Error::setup(format!("there is a store, and {data} is to be another")))
            }
            (Some(data), None) => {
                let tsdb = Tsdb::open(&data, self.options).map_err(Error::setup)?;
                let tsdb = Arc::new(tsdb);
                Ok(Storage { store: tsdb.clone(), tsdb: Some(tsdb) })
            }
            (None, own) => {
                let store = own.unwrap_or_else(|| Arc::new(MemoryStore::new()));
                Ok(Storage { store, tsdb: None })
            }
        }
    }
}

/// The store, and what has to be ended with it.
#[derive(Debug)]
pub(crate) struct Storage {
    store: Arc<dyn Store>,
    tsdb: Option<Arc<Tsdb>>,
}

impl Storage {
    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Writes down what waits, and frees the folder.
    pub(crate) async fn shutdown(self) -> Result<(), Error> {
        let Some(tsdb) = self.tsdb else { return Ok(()) };
        let closed = tokio::task::spawn_blocking(move || tsdb.close()).await;
        closed.map_err(Error::setup)?.map_err(Error::setup)
    }
}

impl OpsBuilder {
    /// Keeps samples in this folder, which is made if it is missing; one process at a time may have
    /// it. Without it, and without [`OpsBuilder::store`], they are in memory. With the feature
    /// `ledger-file` the ledger is there, too, unless there is an [`OpsBuilder::ledger`]: after a
    /// restart alerts go on as they were, and what was not delivered is sent again.
    #[must_use]
    pub fn data(mut self, folder: impl AsRef<Path>) -> Self {
        self.storage.data = Some(folder.as_ref().to_owned());
        self
    }

    /// The folder that samples are kept in, if there is one.
    pub fn data_folder(&self) -> Option<&Path> {
        self.storage.data.as_deref()
    }

    /// Says what the store in [`OpsBuilder::data`] promises, and what it may take.
    #[must_use]
    pub fn data_options(mut self, options: TsdbOptions) -> Self {
        self.storage.options = options;
        self
    }
}

fn options(
    config: &Config,
    table: &StoreTable,
    mut options: TsdbOptions,
) -> Result<TsdbOptions, ConfigError> {
    if let Some(text) = &table.durability {
        options.durability = match text.get_ref().as_str() {
            "each-commit" => Durability::EachCommit,
            "operating-system" => Durability::OperatingSystem,
            _ => Durability::Interval(config.duration(text).map_err(|_| {
                let reason = format!(
                    "{:?} is none of \"each-commit\", \"operating-system\", or an interval such as 1s",
                    text.get_ref()
                );
                config.malformed(text.span().start, reason)
            })?),
        };
    }
    if let Some(text) = &table.retention {
        options.retention = config.duration(text)?;
    }
    if let Some(text) = &table.retention_size {
        options.retention_bytes = Some(config.bytes(text)?);
    }
    if let Some(text) = &table.out_of_order_window {
        options.out_of_order_window = config.duration(text)?;
    }
    if let Some(text) = &table.memory {
        options.memory = config.bytes(text)?;
    }
    let series = &mut options.series;
    series.store = table.series.unwrap_or(series.store);
    series.metric = table.series_per_metric.unwrap_or(series.metric);
    series.target = table.series_per_target.unwrap_or(series.target);
    Ok(options)
}
