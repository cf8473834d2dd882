//! A build without Prometheus configs.

use std::sync::Arc;

use hms_ops_collect::scrape::{ActiveTarget, DroppedTarget};

use crate::config::{Config, ConfigError};
use crate::core::clock::Clock;
use crate::core::metadata::MetadataStore;
use crate::core::registry::Registry;
use crate::core::store::Store;
use crate::reload::Intervals;

/// Nothing to be told.
#[derive(Debug, Default)]
pub(crate) struct Options {}

impl Options {
    pub(crate) fn configure(self, config: &Config) -> Result<Self, ConfigError> {
        match config.file.scrape_config_files.first() {
            Some(file) => {
                let reason = "Prometheus configs need the feature `prometheus-config`".to_owned();
                Err(config.malformed(file.span().start, reason))
            }
            None => Ok(self),
        }
    }

    pub(crate) fn start(self, _means: Means) -> Jobs {
        Jobs::default()
    }
}

/// What jobs would need.
#[derive(Debug)]
#[allow(dead_code, reason = "there are none")]
pub(crate) struct Means {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metadata: Arc<MetadataStore>,
    pub(crate) registry: Registry,
}

/// No jobs.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    found: Found,
}

/// Nothing that they could have found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found;

impl Found {
    pub(crate) fn active(&self) -> Vec<ActiveTarget> {
        Vec::new()
    }

    pub(crate) fn dropped(&self) -> Vec<DroppedTarget> {
        Vec::new()
    }

    #[cfg_attr(not(feature = "api-prometheus"), allow(dead_code, reason = "the API tells it"))]
    pub(crate) fn dropped_counts(&self) -> Vec<(String, usize)> {
        Vec::new()
    }
}

impl Jobs {
    pub(crate) fn found(&self) -> &Found {
        &self.found
    }

    pub(crate) fn intervals(&self) -> Intervals {
        Vec::new()
    }

    pub(crate) async fn replace(&mut self, _options: Options) {}

    pub(crate) async fn shutdown(self) {}
}
