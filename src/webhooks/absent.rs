//! A build without webhooks.

use std::sync::Arc;

use crate::config::{Config, ConfigError};
use crate::core::notify::Notifier;

/// None, and none may be asked for.
pub(crate) fn read(config: &Config) -> Result<Vec<Arc<dyn Notifier>>, ConfigError> {
    match config.file.webhook.first() {
        Some(webhook) => {
            let reason = "webhooks need the feature `notify-webhook`".to_owned();
            Err(config.malformed(webhook.url.span().start, reason))
        }
        None => Ok(Vec::new()),
    }
}
