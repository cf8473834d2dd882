//! A build without a store in another process.

use std::sync::Arc;
use std::time::Duration;

use crate::Error;
use crate::config::{Config, ConfigError};
use crate::core::clock::Clock;
use crate::core::query::QueryEngine;
use crate::core::registry::Registry;
use crate::core::store::Store;

/// Nothing to be told.
#[derive(Debug, Default)]
pub(crate) struct Options {}

impl Options {
    pub(crate) fn configure(self, config: &Config) -> Result<Self, ConfigError> {
        match &config.file.store.remote {
            Some(remote) => {
                let reason = "history in a backend needs the feature `store-prometheus`".to_owned();
                Err(config.malformed(remote.span().start, reason))
            }
            None => Ok(self),
        }
    }

    /// Gives back `own`.
    pub(crate) fn open(
        self,
        own: Option<Arc<dyn Store>>,
        _clock: &Arc<dyn Clock>,
    ) -> Result<(Remote, Option<Arc<dyn Store>>), Error> {
        Ok((Remote, own))
    }
}

/// Nothing to be shown or ended.
#[derive(Clone, Debug)]
pub(crate) struct Remote;

impl Remote {
    /// Gives back `own`.
    pub(crate) fn queries(&self, own: Arc<dyn QueryEngine>) -> Arc<dyn QueryEngine> {
        own
    }

    pub(crate) fn show(&mut self, _registry: &Registry) {}

    pub(crate) async fn shutdown(self, _within: Duration) {}
}
