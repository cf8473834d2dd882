//! Signed webhooks.

use std::sync::Arc;

use hms_ops_alert::Receiver;
use hms_ops_alert::notify::{Secret, WebhookNotifier};

use super::Reading;
use crate::config::ConfigError;

/// The file has a key a line: more than one while keys are exchanged.
pub(super) fn make(reading: &Reading<'_>) -> Result<Receiver, ConfigError> {
    let missing = || reading.wrong("it needs a `secret_file`".to_owned());
    let file = reading.table.secret_file.as_ref().ok_or_else(missing)?;
    let malformed = |reason| reading.config.malformed(file.span().start, reason);
    let text = reading.text(file)?;
    let secrets = text.trim().lines().map(Secret::parse).collect::<Result<Vec<_>, _>>();
    let mut secrets = secrets.map_err(|e| malformed(e.to_string()))?.into_iter();
    let first = secrets.next().ok_or_else(|| malformed("there is no key in it".to_owned()))?;
    let notifier = WebhookNotifier::new(&reading.table.name, reading.endpoint(None)?, first);
    let external_url = reading.table.external_url.as_deref().unwrap_or_default();
    let notifier = secrets.fold(notifier, WebhookNotifier::also_signed_by);
    Ok(Receiver::new(Arc::new(notifier.external_url(external_url))))
}
