//! A build without a store on disk.

use std::path::PathBuf;
use std::sync::Arc;

use crate::Error;
use crate::config::{Config, ConfigError};
use crate::core::clock::Clock;
use crate::core::store::{MemoryStore, Store};

/// Nothing to be told.
#[derive(Debug, Default)]
pub(crate) struct Options;

impl Options {
    pub(crate) fn configure(self, config: &Config) -> Result<Self, ConfigError> {
        match &config.file.store.data {
            Some(data) => {
                let reason = "history on disk needs the feature `store-tsdb`".to_owned();
                Err(config.malformed(data.span().start, reason))
            }
            None => Ok(self),
        }
    }

    pub(crate) fn retention(&self) -> String {
        String::new()
    }

    pub(crate) fn folder(&self) -> Option<PathBuf> {
        None
    }

    /// Opens the store: `own`, if there is one.
    pub(crate) fn open(
        self,
        own: Option<Arc<dyn Store>>,
        _clock: &Arc<dyn Clock>,
    ) -> Result<Storage, Error> {
        Ok(Storage { store: own.unwrap_or_else(|| Arc::new(MemoryStore::new())) })
    }
}

/// The store.
#[derive(Debug)]
pub(crate) struct Storage {
    store: Arc<dyn Store>,
}

impl Storage {
    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    pub(crate) async fn shutdown(self) -> Result<(), Error> {
        Ok(())
    }
}
