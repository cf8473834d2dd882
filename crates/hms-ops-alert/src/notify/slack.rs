//! Tells a channel of Slack.
//!
//! Source: Slack's docs, "Sending messages using incoming webhooks" and "Formatting message text",
//! "Escaping text". Tested against a stand-in only.

use async_trait::async_trait;
use hms_ops_core::notify::{Notification, Notifier, Receipt, SendError};
use serde_json::json;

use super::endpoint::Endpoint;
use super::told;

const MAX_TEXT: usize = 3000;

/// Posts each notification to an incoming webhook, whose URL is the secret. The text is plain: it
/// mentions nobody and links nowhere, whatever an alert's texts hold.
#[derive(Clone, Debug)]
pub struct SlackNotifier {
    receiver: String,
    endpoint: Endpoint,
}

impl SlackNotifier {
    /// The endpoint is the incoming webhook.
    pub fn new(receiver: &str, endpoint: Endpoint) -> Self {
        Self { receiver: receiver.to_owned(), endpoint }
    }
}

#[async_trait]
impl Notifier for SlackNotifier {
    fn receiver(&self) -> &str {
        &self.receiver
    }

    async fn send(&self, n: &Notification) -> Result<Receipt, SendError> {
        let body = json!({
            "text": escape(&told::cut(&n.headline(), MAX_TEXT)),
            "mrkdwn": false,
            "unfurl_links": false,
            "unfurl_media": false,
        });
        self.endpoint.post(&[], body.to_string().into_bytes()).await
    }
}

/// The three characters that Slack gives a meaning, `<!channel>` being one.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
