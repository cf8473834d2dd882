//! Writes notifications to the log.

use async_trait::async_trait;
use hms_ops_core::alert::AlertState;
use hms_ops_core::notify::{Notification, Notifier, Receipt, SendError};

/// Writes each notification as one `tracing` event: an error while firing, information otherwise.
///
/// ```
/// use hms_ops_alert::notify::LogNotifier;
/// use hms_ops_core::notify::Notifier;
///
/// assert_eq!(LogNotifier.receiver(), "log");
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct LogNotifier;

#[async_trait]
impl Notifier for LogNotifier {
    fn receiver(&self) -> &str {
        "log"
    }

    async fn send(&self, n: &Notification) -> Result<Receipt, SendError> {
        match n.alert.state {
            AlertState::Firing { .. } => tracing::error!(key = %n.key, "{}", n.headline()),
            _ => tracing::info!(key = %n.key, "{}", n.headline()),
        }
        Ok(Receipt("written to the log".to_owned()))
    }
}
