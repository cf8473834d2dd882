//! PagerDuty.

use std::sync::Arc;

use hms_ops_alert::Receiver;
use hms_ops_alert::notify::{PAGERDUTY_URL, PagerDutyNotifier, Token};

use super::Reading;
use crate::config::ConfigError;

/// The token is the integration's key.
pub(super) fn make(reading: &Reading<'_>) -> Result<Receiver, ConfigError> {
    let missing = || reading.wrong("it needs a `token_file`".to_owned());
    let file = reading.table.token_file.as_ref().ok_or_else(missing)?;
    let at = file.span().start;
    let key = Token::new(&reading.text(file)?);
    let key = key.map_err(|e| reading.config.malformed(at, e.to_string()))?;
    let endpoint = reading.endpoint(Some(PAGERDUTY_URL))?;
    Ok(Receiver::new(Arc::new(PagerDutyNotifier::new(&reading.table.name, endpoint, key))))
}
