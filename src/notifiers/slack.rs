//! A channel of Slack.

use std::sync::Arc;

use hms_ops_alert::Receiver;
use hms_ops_alert::notify::SlackNotifier;

use super::Reading;
use crate::config::ConfigError;

/// The URL is the secret, and a config file is shown to people.
pub(super) fn make(reading: &Reading<'_>) -> Result<Receiver, ConfigError> {
    if reading.table.url.is_some() {
        let reason = "the URL of Slack is a secret: say `url_file`".to_owned();
        return Err(reading.wrong(reason));
    }
    let notifier = SlackNotifier::new(&reading.table.name, reading.endpoint(None)?);
    Ok(Receiver::new(Arc::new(notifier)))
}
