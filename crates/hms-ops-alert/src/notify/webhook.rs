//! Posts notifications as JSON, signed.
//!
//! Source: Standard Webhooks specification 1.0, "Verifying webhook authenticity": the headers
//! `webhook-id`, `webhook-timestamp` and `webhook-signature`, HMAC-SHA256 over `id.timestamp.body`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use hms_ops_core::clock::{Clock, SystemClock};
use hms_ops_core::notify::{Notification, Notifier, Receipt, SendError};
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HOST, RETRY_AFTER};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use sha2::Sha256;
use tokio::net::TcpStream;

/// How long one try may take.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Posts each notification to one URL.
///
/// The body is the [`Notification`] as JSON. `webhook-id` is its key, equal on every try, with `%XX`
/// (RFC 3986, section 2.1) for what a header could not carry and for full stops, which would make
/// the signed text ambiguous. The answer's status decides: 2xx is delivered, 410 and other 4xx are
/// final, 408, 429, 5xx and no answer may be tried again. Redirects are not followed.
#[derive(Clone, Debug)]
pub struct WebhookNotifier {
    receiver: String,
    uri: Uri,
    authority: String,
    secret: Secret,
    clock: Arc<dyn Clock>,
}

/// A signing key; never printed.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Secret {
    /// Reads `whsec_` and base64, as Standard Webhooks writes keys; 24 to 64 bytes.
    ///
    /// # Errors
    ///
    /// [`WebhookError::Secret`], which does not repeat the text.
    pub fn parse(text: &str) -> Result<Self, WebhookError> {
        let encoded = text.trim().strip_prefix("whsec_").ok_or(WebhookError::Secret)?;
        let key = STANDARD.decode(encoded).map_err(|_| WebhookError::Secret)?;
        if (24..=64).contains(&key.len()) { Ok(Self(key)) } else { Err(WebhookError::Secret) }
    }
}

/// Why a webhook cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each message explains its fields")]
pub enum WebhookError {
    /// The URL is not one that this release posts to.
    #[error("webhook {receiver}: {url:?} is not of the form http://host:port/path ({reason})")]
    Url { receiver: String, url: String, reason: &'static str },

    /// The key has another form.
    #[error("a webhook secret is `whsec_` and base64 of 24 to 64 bytes")]
    Secret,
}

impl WebhookNotifier {
    /// A notifier that posts to `url`.
    ///
    /// # Errors
    ///
    /// [`WebhookError::Url`] when the URL is malformed or not `http`: TLS is left to a proxy on
    /// this host in this release.
    pub fn new(receiver: &str, url: &str, secret: Secret) -> Result<Self, WebhookError> {
        let bad = |reason| WebhookError::Url {
            receiver: receiver.to_owned(),
            url: url.to_owned(),
            reason,
        };
        let uri: Uri = url.parse().map_err(|_| bad("it is not a URL"))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => return Err(bad("https needs a proxy on this host in this release")),
            _ => return Err(bad("the scheme is not http")),
        }
        let host = uri.host().ok_or_else(|| bad("it has no host"))?;
        let authority = format!("{host}:{}", uri.port_u16().unwrap_or(80));
        let clock = Arc::new(SystemClock);
        Ok(Self { receiver: receiver.to_owned(), uri, authority, secret, clock })
    }

    /// Stamps each try by `clock`; receivers refuse what is too old.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    async fn post(&self, n: &Notification) -> Result<hyper::Response<()>, String> {
        let body = serde_json::to_vec(n).map_err(|e| e.to_string())?;
        let timestamp = self.clock.now().as_millis().div_euclid(1000);
        let id = header_id(&n.key);
        let signature = sign(&self.secret, &id, timestamp, &body);
        let target = self.uri.path_and_query().map_or("/", |p| p.as_str());
        let request = Request::post(target)
            .header(HOST, &self.authority)
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signature)
            .body(Full::new(Bytes::from(body)))
            .map_err(|e| e.to_string())?;
        let stream = TcpStream::connect(&self.authority).await.map_err(|e| e.to_string())?;
        let io = TokioIo::new(stream);
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(io).await.map_err(|e| e.to_string())?;
        // The connection is driven here, so that nothing is left running when this is dropped.
        let mut answer = std::pin::pin!(sender.send_request(request));
        let answer = tokio::select! {
            answer = &mut answer => answer,
            _ = connection => answer.await,
        };
        Ok(answer.map_err(|e| e.to_string())?.map(|_body| ()))
    }
}

/// The value of `webhook-signature`: `v1,` and base64 of HMAC-SHA256 over `id.timestamp.body`.
pub fn sign(secret: &Secret, id: &str, timestamp: i64, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(&secret.0).expect("HMAC takes keys of any length");
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body);
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

/// A key as `webhook-id`: it may hold the name of a receiver, which people choose.
fn header_id(key: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'%' | b'.');
    key.bytes().fold(String::with_capacity(key.len()), |mut id, byte| {
        match plain(byte) {
            true => id.push(char::from(byte)),
            false => id.push_str(&format!("%{byte:02X}")),
        }
        id
    })
}

#[async_trait]
impl Notifier for WebhookNotifier {
    fn receiver(&self) -> &str {
        &self.receiver
    }

    async fn send(&self, n: &Notification) -> Result<Receipt, SendError> {
        let answer = match tokio::time::timeout(TIMEOUT, self.post(n)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(reason)) => return Err(SendError::Retry { reason, after: None }),
            Err(_) => {
                let reason = format!("no answer within {TIMEOUT:?}");
                return Err(SendError::Retry { reason, after: None });
            }
        };
        let status = answer.status();
        if status.is_success() {
            return Ok(Receipt(status.to_string()));
        }
        let reason = format!("the receiver answered {status}");
        let again = matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS);
        if again || status.is_server_error() {
            let after = answer.headers().get(RETRY_AFTER).and_then(|v| v.to_str().ok());
            let after = after.and_then(|v| v.parse().ok()).map(Duration::from_secs);
            return Err(SendError::Retry { reason, after });
        }
        Err(SendError::Permanent { reason })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_the_specification_s_example() {
        // The published example of the Standard Webhooks reference implementations.
        let secret = Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let body = br#"{"test": 2432232314}"#;
        assert_eq!(
            sign(&secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[test]
    fn an_id_fits_in_a_header_and_differs_where_keys_do() {
        assert_eq!(header_id("4f1d/60000/firing/on-call"), "4f1d/60000/firing/on-call");
        assert_eq!(header_id("größe v1.2\r\n"), "gr%C3%B6%C3%9Fe%20v1%2E2%0D%0A");
        assert_ne!(header_id("a b"), header_id("a%20b"));
    }

    #[test]
    fn a_secret_is_never_printed_and_a_bad_one_not_repeated() {
        let secret = Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        assert_eq!(format!("{secret:?}"), "Secret(…)");
        let error = Secret::parse("hunter2").unwrap_err().to_string();
        assert!(!error.contains("hunter2"));
    }

    #[test]
    fn a_url_that_cannot_be_posted_to_is_named() {
        let secret = Secret(vec![0; 24]);
        let error = WebhookNotifier::new("on-call", "ftp://x", secret).unwrap_err().to_string();
        let expected = "webhook on-call: \"ftp://x\" is not of the form http://host:port/path \
                        (the scheme is not http)";
        assert_eq!(error, expected);
    }
}
