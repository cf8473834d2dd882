//! Tells phones by ntfy.
//!
//! Source: ntfy's docs, "Publishing", "Publish as JSON". Tested against a stand-in only.

use async_trait::async_trait;
use hms_ops_core::notify::{Notification, Notifier, Receipt, SendError};
use serde_json::json;

use super::endpoint::{Endpoint, EndpointError};
use super::token::Token;
use super::told;

/// What is longer becomes an attachment.
const MAX_MESSAGE: usize = 4000;
const MAX_TITLE: usize = 250;

/// Publishes each notification to one topic: loud while firing, quiet when it is over.
#[derive(Clone, Debug)]
pub struct NtfyNotifier {
    receiver: String,
    server: Endpoint,
    topic: String,
    token: Option<Token>,
}

impl NtfyNotifier {
    /// The endpoint is that of the topic, as people subscribe to it: `https://ntfy.sh/my-topic`.
    ///
    /// # Errors
    ///
    /// [`EndpointError::Url`] where there is no topic.
    pub fn new(receiver: &str, topic: Endpoint) -> Result<Self, EndpointError> {
        let path = topic.path().to_owned();
        let (folder, name) = path.rsplit_once('/').unwrap_or_default();
        if name.is_empty() {
            return Err(EndpointError::Url { reason: "its path does not end in a topic" });
        }
        let server = topic.at(&format!("{folder}/"))?;
        Ok(Self { receiver: receiver.to_owned(), server, topic: name.to_owned(), token: None })
    }

    /// Shows this token, where topics are not open to everybody.
    #[must_use]
    pub fn token(mut self, token: Token) -> Self {
        self.token = Some(token);
        self
    }
}

#[async_trait]
impl Notifier for NtfyNotifier {
    fn receiver(&self) -> &str {
        &self.receiver
    }

    async fn send(&self, n: &Notification) -> Result<Receipt, SendError> {
        let (_, ends_at) = told::span(&n.alert, n.at);
        let over = ends_at.is_some();
        let title = format!("{} {}", n.alert.state.word().to_uppercase(), n.alert.name);
        let body = json!({
            "topic": self.topic,
            "title": told::cut(&title, MAX_TITLE),
            "message": told::cut(&n.headline(), MAX_MESSAGE),
            "priority": if over { 3 } else { 5 },
            "tags": [if over { "white_check_mark" } else { "rotating_light" }],
        });
        let bearer = self.token.as_ref().map(|token| format!("Bearer {}", token.as_str()));
        let headers: Vec<_> = bearer.iter().map(|bearer| ("authorization", &**bearer)).collect();
        self.server.post(&headers, body.to_string().into_bytes()).await
    }
}
