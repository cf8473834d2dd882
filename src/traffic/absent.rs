//! A build that controls no traffic.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::Error;
use crate::config::{Config, ConfigError};
use crate::core::ledger::Journal;
use crate::core::mesh::{TrafficControl, TrafficEvidence};
use crate::core::name::Service;

/// Nothing to be told.
#[derive(Debug, Default)]
pub(crate) struct Options;

impl Options {
    pub(crate) fn configure(self, config: &Config) -> Result<Self, ConfigError> {
        match config.file.route.first() {
            Some(route) => {
                let reason = "routes need the feature `mesh-in-process`".to_owned();
                Err(config.malformed(route.service.span().start, reason))
            }
            None => Ok(self),
        }
    }

    pub(crate) fn services(&self) -> Vec<Service> {
        Vec::new()
    }

    pub(crate) async fn endpoints(&self) -> Vec<(Service, String, String)> {
        Vec::new()
    }

    pub(crate) async fn start(
        self,
        _journal: Arc<Journal>,
        _evidence: Arc<dyn TrafficEvidence>,
    ) -> Result<Traffic, Error> {
        Ok(Traffic)
    }
}

/// No traffic.
#[derive(Debug, Default)]
pub(crate) struct Traffic;

impl Traffic {
    pub(crate) fn control(&self) -> Option<Arc<dyn TrafficControl>> {
        None
    }

    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        Vec::new()
    }

    pub(crate) async fn shutdown(self) {}
}
