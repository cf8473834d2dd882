//! Opens and closes incidents at PagerDuty.
//!
//! Source: PagerDuty's docs, "Events API v2", "Send an alert event". Tested against a stand-in only.

use async_trait::async_trait;
use hms_ops_core::labels::Labels;
use hms_ops_core::notify::{Notification, Notifier, Receipt, SendError};
use serde_json::json;

use super::endpoint::Endpoint;
use super::token::Token;
use super::told;

/// Where events go, but for those of the EU's region.
pub const PAGERDUTY_URL: &str = "https://events.pagerduty.com/v2/enqueue";

const MAX_SUMMARY: usize = 1024;
const SEVERITIES: [&str; 4] = ["critical", "error", "warning", "info"];

/// Triggers when an alert fires and resolves when it does. `dedup_key` names the incident, so however
/// often a try is repeated, there is one. An answer says that the event is queued there, no more.
#[derive(Clone, Debug)]
pub struct PagerDutyNotifier {
    receiver: String,
    endpoint: Endpoint,
    routing_key: Token,
}

impl PagerDutyNotifier {
    /// The key is that of an integration; the endpoint is [`PAGERDUTY_URL`] or that of a region.
    pub fn new(receiver: &str, endpoint: Endpoint, routing_key: Token) -> Self {
        Self { receiver: receiver.to_owned(), endpoint, routing_key }
    }
}

#[async_trait]
impl Notifier for PagerDutyNotifier {
    fn receiver(&self) -> &str {
        &self.receiver
    }

    async fn send(&self, n: &Notification) -> Result<Receipt, SendError> {
        let (starts_at, ends_at) = told::span(&n.alert, n.at);
        let service = n.alert.service.as_ref().map_or("hms-ops", |service| service.as_str());
        let body = json!({
            "routing_key": self.routing_key.as_str(),
            "event_action": if ends_at.is_some() { "resolve" } else { "trigger" },
            "dedup_key": format!("{}/{}", n.alert.fingerprint, starts_at.as_millis()),
            "client": "HMS-OPS",
            "payload": {
                "summary": told::cut(&n.headline(), MAX_SUMMARY),
                "source": told::cut(service, MAX_SUMMARY),
                "severity": severity(&n.alert.labels),
                "timestamp": n.at.to_string(),
                "class": told::cut(&n.alert.name, MAX_SUMMARY),
                "custom_details": {
                    "labels": told::labels(&n.alert),
                    "annotations": told::annotations(&n.alert),
                },
            },
        });
        self.endpoint.post(&[], body.to_string().into_bytes()).await
    }
}

/// The label `severity`, where PagerDuty knows that word.
fn severity(labels: &Labels) -> &str {
    let said = labels.get("severity").filter(|word| SEVERITIES.contains(word));
    said.unwrap_or("critical")
}
