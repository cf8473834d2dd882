//! Notifiers: how people are told.

use async_trait::async_trait;
use hms_ops_core::alert::AlertStatus;
use hms_ops_core::notify::{Notifier, SendError};

#[cfg(feature = "notify-alertmanager")]
mod alertmanager;
#[cfg_attr(
    not(all(feature = "notify-ntfy", feature = "notify-webhook")),
    allow(dead_code, reason = "each kind of receiver uses some of it")
)]
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
#[cfg_attr(
    not(all(feature = "notify-ntfy", feature = "notify-webhook")),
    allow(dead_code, reason = "each kind of receiver uses some of it")
)]
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
