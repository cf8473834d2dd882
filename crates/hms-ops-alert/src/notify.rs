//! Notifiers: how people are told.

mod log;
#[cfg(feature = "notify-webhook")]
mod webhook;

pub use log::LogNotifier;
#[cfg(feature = "notify-webhook")]
pub use webhook::{Secret, WebhookError, WebhookNotifier, sign};
