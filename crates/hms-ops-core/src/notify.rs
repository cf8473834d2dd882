//! Notifications: what on-call is told, and the trait of those who deliver it.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::alert::AlertStatus;
use crate::time::Timestamp;

/// One message to one receiver.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notification {
    /// Names the message; equal on every try, so that a receiver can drop duplicates.
    pub key: String,
    /// When it was decided.
    pub at: Timestamp,
    /// The alert that it is about, as it stood then.
    pub alert: AlertStatus,
}

impl Notification {
    /// One line for people: `FIRING eligibility.latency_ms (eligibility-svc): mean over …`.
    pub fn headline(&self) -> String {
        let AlertStatus { name, service, state, summary, .. } = &self.alert;
        let word = state.word().to_uppercase();
        match service {
            Some(service) => format!("{word} {name} ({service}): {summary}"),
            None => format!("{word} {name}: {summary}"),
        }
    }
}

/// Delivers one notification to one receiver.
///
/// A backend is finished when it passes `hms_ops_testkit::notifier`.
#[async_trait]
pub trait Notifier: fmt::Debug + Send + Sync + 'static {
    /// What the receiver is called, in the ledger and in the configuration.
    fn receiver(&self) -> &str;

    /// Sends `n` once; whether and when to try again is the outbox's decision.
    ///
    /// Cancel safe: a dropped call may or may not have been delivered, and the receiver drops
    /// duplicates by [`Notification::key`].
    ///
    /// # Errors
    ///
    /// [`SendError::Retry`] when a later try may succeed, [`SendError::Permanent`] when none can,
    /// [`SendError::Gone`] when nothing can ever be delivered there.
    async fn send(&self, n: &Notification) -> Result<Receipt, SendError>;
}

/// The receiver's word that it took a notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt(pub String);

/// Why a notification was not delivered.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each message explains its fields")]
pub enum SendError {
    /// Not now; perhaps later, and not before `after` where the receiver said so.
    #[error("not delivered yet: {reason}")]
    Retry { reason: String, after: Option<Duration> },

    /// Never.
    #[error("not deliverable: {reason}")]
    Permanent { reason: String },

    /// Neither this one nor any other: the receiver has said that it is no more.
    #[error("the receiver is gone: {reason}")]
    Gone { reason: String },
}
