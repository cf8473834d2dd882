//! A topic of ntfy.

use std::sync::Arc;

use hms_ops_alert::Receiver;
use hms_ops_alert::notify::{NtfyNotifier, Token};

use super::Reading;
use crate::config::ConfigError;

pub(super) fn make(reading: &Reading<'_>) -> Result<Receiver, ConfigError> {
    let notifier = NtfyNotifier::new(&reading.table.name, reading.endpoint(None)?);
    let mut notifier = notifier.map_err(|e| reading.wrong(e.to_string()))?;
    if let Some(file) = &reading.table.token_file {
        let token = Token::new(&reading.text(file)?);
        let at = file.span().start;
        notifier = notifier.token(token.map_err(|e| reading.config.malformed(at, e.to_string()))?);
    }
    Ok(Receiver::new(Arc::new(notifier)))
}
