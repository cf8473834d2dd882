//! Notifications on their way to receivers over loopback: what is sent, and what answers mean.

use std::sync::Arc;
use std::time::Duration;

use hms_ops_alert::notify::{
    AlertmanagerNotifier, Endpoint, NtfyNotifier, PagerDutyNotifier, Reminded, Secret,
    SlackNotifier, Token, WebhookNotifier, sign,
};
use hms_ops_core::alert::{AlertState, AlertStatus};
use hms_ops_core::clock::ManualClock;
use hms_ops_core::notify::{Notifier, SendError};
use hms_ops_testkit::world::{alert, at};
use serde_json::{Value as Json, json};

use crate::hook::{Hook, SECRET, about, body, firing, header, resolved};

/// A second key, of 24 bytes.
const NEXT_SECRET: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX";

fn endpoint(hook: &Hook, path: &str) -> Endpoint {
    let now = Arc::new(ManualClock::at(at(300)));
    Endpoint::new(&hook.url(path)).unwrap().clock(now)
}

fn json_of(request: &str) -> Json {
    serde_json::from_str(body(request)).unwrap()
}

#[tokio::test]
async fn a_webhook_is_signed_by_every_key_over_what_is_sent() {
    let hook = Hook::start().await;
    let keys = [SECRET, NEXT_SECRET].map(|key| Secret::parse(key).unwrap());
    let notifier = WebhookNotifier::new("on-call", endpoint(&hook, "/hook?a=b"), keys[0].clone())
        .also_signed_by(keys[1].clone());
    let n = about(firing());
    assert_eq!(notifier.send(&n).await.unwrap().0, "204 No Content");
    let request = &hook.taken()[0];
    assert!(request.starts_with("POST /hook?a=b HTTP/1.1\r\n"), "{request}");
    assert_eq!(header(request, "webhook-id"), n.key);
    let signed = keys.map(|key| sign(&key, &n.key, 300, body(request).as_bytes()));
    assert_eq!(header(request, "webhook-signature"), signed.join(" "));
}

#[tokio::test]
async fn a_webhook_has_the_payload_of_alertmanager_s() {
    let hook = Hook::start().await;
    let secret = Secret::parse(SECRET).unwrap();
    let notifier = WebhookNotifier::new("on-call", endpoint(&hook, "/"), secret)
        .external_url("http://ops.example.org");
    notifier.send(&about(resolved())).await.unwrap();
    let labels = json!({ "alertname": "eligibility.latency_ms", "service": "eligibility-svc" });
    let annotations = json!({
        "summary": "mean over 60 s is 412 ms, the budget is 300 ms",
        "threshold": "300",
        "value": "412",
    });
    let expected = json!({
        "version": "4",
        "groupKey": "{}:{alertname=\"eligibility.latency_ms\", service=\"eligibility-svc\"}",
        "truncatedAlerts": 0,
        "status": "resolved",
        "receiver": "on-call",
        "groupLabels": labels,
        "commonLabels": labels,
        "commonAnnotations": annotations,
        "externalURL": "http://ops.example.org",
        "alerts": [{
            "status": "resolved",
            "labels": labels,
            "annotations": annotations,
            "startsAt": "1970-01-01T00:01:00.000Z",
            "endsAt": "1970-01-01T00:05:00.000Z",
            "generatorURL": "http://ops.example.org",
            "fingerprint": "FINGERPRINT",
        }],
    });
    let mut sent = json_of(&hook.taken()[0]);
    let fingerprint = sent["alerts"][0]["fingerprint"].take();
    assert_eq!(fingerprint.as_str().unwrap().len(), 16);
    sent["alerts"][0]["fingerprint"] = "FINGERPRINT".into();
    assert_eq!(sent, expected);
}

#[tokio::test]
async fn what_a_receiver_answers_decides_whether_to_try_again() {
    #[derive(Debug, PartialEq)]
    enum Then {
        Again(Option<Duration>),
        Never,
        NobodyEver,
    }
    let after = |secs| Then::Again(Some(Duration::from_secs(secs)));
    for (answer, expected) in [
        ("503 X\r\nretry-after: 7", after(7)),
        ("503 X\r\nretry-after: Thu, 01 Jan 1970 00:06:00 GMT", after(60)),
        ("429 X", Then::Again(None)),
        ("408 X", Then::Again(None)),
        ("400 X", Then::Never),
        ("302 X\r\nlocation: http://elsewhere/", Then::Never),
        ("410 Gone", Then::NobodyEver),
    ] {
        let hook = Hook::start().await;
        hook.answer(answer);
        let notifier = SlackNotifier::new("channel", endpoint(&hook, "/T0/hidden"));
        let error = notifier.send(&about(firing())).await.unwrap_err();
        assert!(!error.to_string().contains("hidden"), "{error}");
        let then = match error {
            SendError::Retry { after, .. } => Then::Again(after),
            SendError::Permanent { .. } => Then::Never,
            SendError::Gone { .. } => Then::NobodyEver,
        };
        assert_eq!(then, expected, "{answer}");
    }
}

#[tokio::test]
async fn an_alertmanager_is_reminded_of_what_fires_and_of_what_was_over_just_now() {
    let hook = Hook::start().await;
    let endpoint = endpoint(&hook, "/am/");
    let notifier = AlertmanagerNotifier::new("am", endpoint).unwrap();
    let named = |name, state| alert(name, state);
    let alerts: Vec<AlertStatus> = vec![
        named("fires", AlertState::Firing { since: at(60) }),
        named("recovers", AlertState::Recovering { firing_since: at(60), since: at(200) }),
        named("was over", AlertState::Resolved { firing_since: at(-99), at: at(1) }),
        named("was over long ago", AlertState::Resolved { firing_since: at(-99), at: at(0) }),
        named("waits", AlertState::Pending { since: at(60) }),
    ];
    notifier.remind(&alerts).await.unwrap();
    let taken = hook.taken();
    assert!(taken[0].starts_with("POST /am/api/v2/alerts HTTP/1.1\r\n"), "{taken:?}");
    let told: Vec<_> = json_of(&taken[0])
        .as_array()
        .unwrap()
        .iter()
        .map(|a| [&a["labels"]["alertname"], &a["endsAt"]].map(|t| t.as_str().unwrap().to_owned()))
        .collect();
    let until = "1970-01-01T00:09:00.000Z";
    let expected =
        [["fires", until], ["recovers", until], ["was over", "1970-01-01T00:00:01.000Z"]];
    assert_eq!(told, expected);
    // Nothing to say is not said.
    notifier.remind(&alerts[3..]).await.unwrap();
    assert_eq!(hook.taken().len(), 1);
}

#[tokio::test]
async fn ntfy_is_told_the_topic_at_its_root_and_shown_the_token() {
    let hook = Hook::start().await;
    let topic = endpoint(&hook, "/sub/my-topic");
    let token = Token::new("tk_secret\n").unwrap();
    let notifier = NtfyNotifier::new("phone", topic).unwrap().token(token);
    notifier.send(&about(firing())).await.unwrap();
    let request = &hook.taken()[0];
    assert!(request.starts_with("POST /sub/ HTTP/1.1\r\n"), "{request}");
    assert_eq!(header(request, "authorization"), "Bearer tk_secret");
    let expected = json!({
        "topic": "my-topic",
        "title": "FIRING eligibility.latency_ms",
        "message": "FIRING eligibility.latency_ms (eligibility-svc): mean over 60 s is 412 ms, the \
                    budget is 300 ms",
        "priority": 5,
        "tags": ["rotating_light"],
    });
    assert_eq!(json_of(request), expected);
    let error = NtfyNotifier::new("phone", endpoint(&hook, "/")).unwrap_err().to_string();
    assert!(error.ends_with("its path does not end in a topic"), "{error}");
}

#[tokio::test]
async fn pagerduty_has_one_incident_from_firing_to_resolved() {
    let hook = Hook::start().await;
    let key = Token::new("R0UT1NG").unwrap();
    let notifier = PagerDutyNotifier::new("pager", endpoint(&hook, "/v2/enqueue"), key);
    let mut warned = firing();
    warned.labels = warned.labels.with("severity", "warning");
    notifier.send(&about(warned)).await.unwrap();
    notifier.send(&about(resolved())).await.unwrap();
    let [fired, over] = [0, 1].map(|i| json_of(&hook.taken()[i]));
    assert_eq!([&fired["event_action"], &over["event_action"]], ["trigger", "resolve"]);
    assert_eq!(fired["routing_key"], "R0UT1NG");
    assert_eq!(fired["dedup_key"], over["dedup_key"]);
    let severities = [&fired["payload"]["severity"], &over["payload"]["severity"]];
    assert_eq!(severities, ["warning", "critical"]);
    assert_eq!(fired["payload"]["source"], "eligibility-svc");
}

#[tokio::test]
async fn nobody_is_mentioned_by_an_alert_s_text_in_slack() {
    let hook = Hook::start().await;
    let notifier = SlackNotifier::new("channel", endpoint(&hook, "/"));
    let mut hostile = firing();
    hostile.summary = "<!channel> & <http://x|click>".to_owned();
    notifier.send(&about(hostile)).await.unwrap();
    let sent = json_of(&hook.taken()[0]);
    let text = sent["text"].as_str().unwrap();
    assert!(text.ends_with(": &lt;!channel&gt; &amp; &lt;http://x|click&gt;"), "{text}");
    assert_eq!(sent["mrkdwn"], false);
}
