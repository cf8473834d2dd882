//! An Alertmanager.

use std::sync::Arc;

use hms_ops_alert::Receiver;
use hms_ops_alert::notify::AlertmanagerNotifier;

use super::Reading;
use crate::config::ConfigError;

pub(super) fn make(reading: &Reading<'_>) -> Result<Receiver, ConfigError> {
    let notifier = AlertmanagerNotifier::new(&reading.table.name, reading.endpoint(None)?);
    let notifier = notifier.map_err(|e| reading.wrong(e.to_string()))?;
    let external_url = reading.table.external_url.as_deref().unwrap_or_default();
    Ok(Receiver::reminded(Arc::new(notifier.external_url(external_url))))
}
