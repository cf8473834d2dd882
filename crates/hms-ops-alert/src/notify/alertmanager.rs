//! Tells an Alertmanager, which groups, routes, silences and tells people.
//!
//! Source: Alertmanager 0.25, `api/v2/openapi.yaml`, `POST /alerts`; the intervals are those of
//! Prometheus.

use std::time::Duration;

use async_trait::async_trait;
use hms_ops_core::alert::{AlertState, AlertStatus};
use hms_ops_core::notify::{Notification, Notifier, Receipt, SendError};
use hms_ops_core::time::Timestamp;
use serde_json::{Value as Json, json};

use super::endpoint::{Endpoint, EndpointError};
use super::{Reminded, told};

/// How long a firing alert lasts there without being told again: four times as long as it takes.
const LASTS: Duration = Duration::from_secs(4 * 60);
/// How long it is said that an alert is over.
const SAY_RESOLVED: Duration = Duration::from_secs(5 * 60);
/// How many alerts one request has.
const BATCH: usize = 64;

/// Posts alerts to one Alertmanager. Each is sent when it fires and when it resolves, and
/// [reminded](Reminded) of meanwhile: an Alertmanager forgets what it is not told again.
#[derive(Clone, Debug)]
pub struct AlertmanagerNotifier {
    receiver: String,
    endpoint: Endpoint,
    external_url: String,
}

impl AlertmanagerNotifier {
    /// The endpoint is that of the Alertmanager itself, such as `http://alertmanager:9093`.
    ///
    /// # Errors
    ///
    /// [`EndpointError`] where the path of its API cannot be appended.
    pub fn new(receiver: &str, endpoint: Endpoint) -> Result<Self, EndpointError> {
        let path = format!("{}/api/v2/alerts", endpoint.path().trim_end_matches('/'));
        let endpoint = endpoint.at(&path)?;
        Ok(Self { receiver: receiver.to_owned(), endpoint, external_url: String::new() })
    }

    /// Says where people find this engine: `generatorURL` of each alert.
    #[must_use]
    pub fn external_url(mut self, url: &str) -> Self {
        self.external_url = url.to_owned();
        self
    }

    fn alert(&self, alert: &AlertStatus, now: Timestamp) -> Json {
        let (starts_at, ends_at) = told::span(alert, now);
        let mut told = json!({
            "labels": told::labels(alert),
            "annotations": told::annotations(alert),
            "startsAt": starts_at.to_string(),
            "endsAt": ends_at.unwrap_or(now + LASTS).to_string(),
        });
        // An empty one is no URL, and refused.
        if !self.external_url.is_empty() {
            told["generatorURL"] = self.external_url.as_str().into();
        }
        told
    }

    async fn post(&self, alerts: &[&AlertStatus]) -> Result<Receipt, SendError> {
        let now = self.endpoint.now();
        let told: Vec<_> = alerts.iter().map(|alert| self.alert(alert, now)).collect();
        self.endpoint.post(&[], Json::from(told).to_string().into_bytes()).await
    }
}

#[async_trait]
impl Notifier for AlertmanagerNotifier {
    fn receiver(&self) -> &str {
        &self.receiver
    }

    async fn send(&self, n: &Notification) -> Result<Receipt, SendError> {
        self.post(&[&n.alert]).await
    }
}

#[async_trait]
impl Reminded for AlertmanagerNotifier {
    async fn remind(&self, alerts: &[AlertStatus]) -> Result<(), SendError> {
        let now = self.endpoint.now();
        let said = |alert: &&AlertStatus| match alert.state {
            AlertState::Firing { .. } | AlertState::Recovering { .. } => true,
            AlertState::Resolved { at, .. } => now.since(at) < SAY_RESOLVED,
            AlertState::Pending { .. } | AlertState::Inactive => false,
        };
        let said: Vec<_> = alerts.iter().filter(said).collect();
        let mut result = Ok(());
        for batch in said.chunks(BATCH) {
            // One that is refused keeps no other back.
            result = result.and(self.post(batch).await.map(|_| ()));
        }
        result
    }
}
