//! The webhooks of a config file.

use std::sync::Arc;

use hms_ops_alert::notify::{Secret, WebhookNotifier};

use crate::config::{Config, ConfigError, Webhook};
use crate::core::notify::Notifier;

/// Makes the notifiers, with their secrets read.
pub(crate) fn read(config: &Config) -> Result<Vec<Arc<dyn Notifier>>, ConfigError> {
    config.file.webhook.iter().map(|webhook| notifier(config, webhook)).collect()
}

fn notifier(config: &Config, webhook: &Webhook) -> Result<Arc<dyn Notifier>, ConfigError> {
    let path = config.path(webhook.secret_file.get_ref());
    let at = webhook.secret_file.span().start;
    let text = std::fs::read_to_string(&path)
        .map_err(|e| config.malformed(at, format!("{}: {e}", path.display())))?;
    let secret = Secret::parse(&text).map_err(|e| config.malformed(at, e.to_string()))?;
    let notifier = WebhookNotifier::new(&webhook.receiver, webhook.url.get_ref(), secret)
        .map_err(|e| config.malformed(webhook.url.span().start, e.to_string()))?;
    Ok(Arc::new(notifier))
}
