//! Notifiers: how people are told.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hms_ops_core::alert::AlertStatus;
use hms_ops_core::notify::{Notifier, SendError};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

#[cfg(feature = "notify-alertmanager")]
mod alertmanager;
#[cfg(feature = "http-client")]
mod endpoint;
mod log;
#[cfg(feature = "notify-ntfy")]
mod ntfy;
#[cfg(feature = "notify-pagerduty")]
mod pagerduty;
#[cfg(feature = "notify-slack")]
mod slack;
#[cfg(any(feature = "notify-ntfy", feature = "notify-pagerduty"))]
mod token;
#[cfg(feature = "http-client")]
mod told;
#[cfg(feature = "notify-webhook")]
mod webhook;

#[cfg(feature = "notify-alertmanager")]
pub use alertmanager::AlertmanagerNotifier;
#[cfg(feature = "http-client")]
pub use endpoint::{Endpoint, EndpointError};
pub use log::LogNotifier;
#[cfg(feature = "notify-ntfy")]
pub use ntfy::NtfyNotifier;
#[cfg(feature = "notify-pagerduty")]
pub use pagerduty::{PAGERDUTY_URL, PagerDutyNotifier};
#[cfg(feature = "notify-slack")]
pub use slack::SlackNotifier;
#[cfg(any(feature = "notify-ntfy", feature = "notify-pagerduty"))]
pub use token::{Token, TokenError};
#[cfg(feature = "notify-webhook")]
pub use webhook::{Secret, SecretError, WebhookNotifier, sign};

/// How often those are told again who forget.
const AGAIN: Duration = Duration::from_secs(60);

/// A receiver that forgets an alert unless it is told again.
#[async_trait]
pub trait Reminded: Notifier {
    /// Says how all alerts stand. Not in the ledger, since it says nothing new.
    ///
    /// # Errors
    ///
    /// [`SendError`]; the next time comes anyway.
    async fn remind(&self, alerts: &[AlertStatus]) -> Result<(), SendError>;
}

/// Tells `receiver` once a minute how the alerts stand, for as long as somebody says so.
pub(crate) async fn keep_reminding(
    receiver: Arc<dyn Reminded>,
    alerts: watch::Receiver<Vec<AlertStatus>>,
) {
    let mut times = tokio::time::interval(AGAIN);
    times.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // What has just changed is told by the outbox.
    times.tick().await;
    loop {
        times.tick().await;
        if alerts.has_changed().is_err() {
            return;
        }
        let now = alerts.borrow().clone();
        if let Err(error) = receiver.remind(&now).await {
            tracing::warn!(receiver = receiver.receiver(), %error, "could not be reminded");
        }
    }
}
