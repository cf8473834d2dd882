//! Posts notifications in the form of Alertmanager's webhooks, signed.
//!
//! Sources: Alertmanager's docs, "Configuration", `<webhook_config>`, version 4 of the payload;
//! Standard Webhooks specification 1.0, "Verifying webhook authenticity": the headers `webhook-id`,
//! `webhook-timestamp` and `webhook-signature`, HMAC-SHA256 over `id.timestamp.body`.

use std::collections::BTreeMap;
use std::fmt;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use hms_ops_core::notify::{Notification, Notifier, Receipt, SendError};
use serde_json::{Value as Json, json};
use sha2::Sha256;

use super::endpoint::Endpoint;
use super::told;

/// What Alertmanager says for the end of what is not over.
const NOT_OVER: &str = "0001-01-01T00:00:00Z";

/// Posts each notification to one URL, as a group of one alert: what takes the webhooks of
/// Alertmanager takes these.
///
/// `webhook-id` is the notification's key, equal on every try, with `%XX` (RFC 3986, section 2.1) for
/// what a header could not carry and for full stops, which would make the signed text ambiguous.
#[derive(Clone, Debug)]
pub struct WebhookNotifier {
    receiver: String,
    endpoint: Endpoint,
    secrets: Vec<Secret>,
    external_url: String,
}

/// A signing key; never printed.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Why a text is no signing key; it is not repeated.
#[derive(Debug, thiserror::Error)]
#[error("a webhook secret is `whsec_` and base64 of 24 to 64 bytes")]
pub struct SecretError;

impl Secret {
    /// Reads `whsec_` and base64, as Standard Webhooks writes keys; 24 to 64 bytes.
    ///
    /// # Errors
    ///
    /// [`SecretError`].
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let encoded = text.trim().strip_prefix("whsec_").ok_or(SecretError)?;
        let key = STANDARD.decode(encoded).map_err(|_| SecretError)?;
        if (24..=64).contains(&key.len()) { Ok(Self(key)) } else { Err(SecretError) }
    }
}

impl WebhookNotifier {
    /// A notifier that signs by `secret`.
    pub fn new(receiver: &str, endpoint: Endpoint, secret: Secret) -> Self {
        let (receiver, external_url) = (receiver.to_owned(), String::new());
        Self { receiver, endpoint, secrets: vec![secret], external_url }
    }

    /// Signs by this key as well: while keys are exchanged, receivers know one of them.
    #[must_use]
    pub fn also_signed_by(mut self, secret: Secret) -> Self {
        self.secrets.push(secret);
        self
    }

    /// Says where people find this engine: `externalURL` of the payload.
    #[must_use]
    pub fn external_url(mut self, url: &str) -> Self {
        self.external_url = url.to_owned();
        self
    }

    fn payload(&self, n: &Notification) -> Json {
        let labels = told::labels(&n.alert);
        let annotations = told::annotations(&n.alert);
        let (starts_at, ends_at) = told::span(&n.alert, n.at);
        let status = if ends_at.is_some() { "resolved" } else { "firing" };
        json!({
            "version": "4",
            "groupKey": format!("{{}}:{}", group(&labels)),
            "truncatedAlerts": 0,
            "status": status,
            "receiver": self.receiver,
            "groupLabels": labels,
            "commonLabels": labels,
            "commonAnnotations": annotations,
            "externalURL": self.external_url,
            "alerts": [{
                "status": status,
                "fingerprint": fingerprint(&labels),
                "labels": labels,
                "annotations": annotations,
                "startsAt": starts_at.to_string(),
                "endsAt": ends_at.map_or_else(|| NOT_OVER.to_owned(), |at| at.to_string()),
                "generatorURL": self.external_url,
            }],
        })
    }
}

/// `{a="b", c="d"}`.
fn group(labels: &BTreeMap<String, String>) -> String {
    let pairs: Vec<_> = labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    format!("{{{}}}", pairs.join(", "))
}

/// As Prometheus computes it: 64-bit FNV-1a (Fowler, Noll, Vo) over names and values, each closed by
/// a byte that UTF-8 does not have.
fn fingerprint(labels: &BTreeMap<String, String>) -> String {
    let texts = labels.iter().flat_map(|(name, value)| [name, value]);
    let bytes = texts.flat_map(|text| text.bytes().chain([0xff]));
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("{hash:016x}")
}

/// One value of `webhook-signature`: `v1,` and base64 of HMAC-SHA256 over `id.timestamp.body`.
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
        let body = self.payload(n).to_string().into_bytes();
        let timestamp = self.endpoint.now().as_millis().div_euclid(1000);
        let id = header_id(&n.key);
        let signed = self.secrets.iter().map(|secret| sign(secret, &id, timestamp, &body));
        let signatures = signed.collect::<Vec<_>>().join(" ");
        let headers = [
            ("webhook-id", &*id),
            ("webhook-timestamp", &*timestamp.to_string()),
            ("webhook-signature", &*signatures),
        ];
        self.endpoint.post(&headers, body).await
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
}
