//! A build that runs no runbooks.

use std::sync::Arc;

use crate::Error;
use crate::config::{Config, ConfigError};
use crate::core::alert::AlertStatus;
use crate::core::ledger::Journal;
use crate::core::mesh::TrafficControl;
use crate::core::query::QueryEngine;

/// Nothing to be told.
#[derive(Debug, Default)]
pub(crate) struct Options;

impl Options {
    pub(crate) fn configure(self, config: &Config) -> Result<Self, ConfigError> {
        if config.file.runbook.is_empty() {
            return Ok(self);
        }
        let at = config.text.find("runbook").unwrap_or(0);
        Err(config.malformed(at, "runbooks need the feature `runbook-sandbox`".to_owned()))
    }

    pub(crate) async fn start(
        self,
        _journal: Arc<Journal>,
        _queries: Arc<dyn QueryEngine>,
        _traffic: Option<Arc<dyn TrafficControl>>,
    ) -> Result<Runbooks, Error> {
        Ok(Runbooks)
    }
}

/// Never, here.
pub(crate) fn is_runbook_process() -> bool {
    false
}

/// No runbooks.
#[derive(Debug)]
pub(crate) struct Runbooks;

impl Runbooks {
    pub(crate) fn bindings(&self) -> &[(String, String)] {
        &[]
    }

    pub(crate) fn spawn(&self, _runbook: &str, _alert: AlertStatus) {}

    pub(crate) fn hold(&self, _reason: Option<String>) {}

    pub(crate) async fn shutdown(&self) {}
}
