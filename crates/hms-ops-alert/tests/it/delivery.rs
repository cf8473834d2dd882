//! Notifications on their way to real receivers over loopback.

use std::sync::Arc;
use std::time::Duration;

use hms_ops_alert::notify::{Secret, WebhookNotifier, sign};
use hms_ops_alert::{Outbox, notify::LogNotifier};
use hms_ops_core::alert::{AlertHealth, AlertState, AlertStatus, Fingerprint};
use hms_ops_core::clock::ManualClock;
use hms_ops_core::labels::Labels;
use hms_ops_core::ledger::{Event, Journal, Ledger, MemoryLedger, Seq};
use hms_ops_core::notify::{Notification, Notifier, SendError};
use hms_ops_core::time::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn notification() -> Notification {
    let labels = Labels::from_pairs([("service", "eligibility-svc")]);
    let alert = AlertStatus {
        name: "eligibility.latency_ms".into(),
        fingerprint: Fingerprint::of("eligibility.latency_ms", &labels),
        service: Some("eligibility-svc".into()),
        labels,
        state: AlertState::Firing { since: Timestamp::from_millis(5000) },
        health: AlertHealth::Ok,
        value: Some(412.0),
        threshold: Some(300.0),
        summary: "mean over 60s is 412 ms".into(),
    };
    Notification {
        key: "incident/firing".into(),
        at: Timestamp::from_millis(1_700_000_000_123),
        alert,
    }
}

async fn journal() -> Arc<Journal> {
    let clock = Arc::new(ManualClock::at(Timestamp::from_millis(0)));
    let ledger: Arc<dyn Ledger> = Arc::new(MemoryLedger::new(clock.clone()));
    let journal = Journal::open(ledger, clock, "test", Duration::from_secs(60)).await;
    Arc::new(journal.unwrap().unwrap())
}

/// Answers one request with `answer`, and returns what was asked.
async fn one_request(listener: &TcpListener, answer: &str) -> String {
    let (mut stream, _) = listener.accept().await.unwrap();
    let request = read_request(&mut stream).await;
    stream.write_all(answer.as_bytes()).await.unwrap();
    request
}

/// Head and body of the next request.
pub(crate) async fn read_request(stream: &mut TcpStream) -> String {
    let mut request = Vec::new();
    loop {
        assert!(stream.read_buf(&mut request).await.unwrap() > 0);
        let Some(end) = request.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
            continue;
        };
        let head = str::from_utf8(&request[..end]).unwrap();
        let length: usize = header(head, "content-length").parse().unwrap();
        if request.len() >= end + 4 + length {
            return String::from_utf8(request).unwrap();
        }
    }
}

pub(crate) fn header<'a>(request: &'a str, name: &str) -> &'a str {
    let line = request.lines().find(|l| l.to_lowercase().starts_with(&format!("{name}:")));
    line.unwrap_or_else(|| panic!("no {name} in {request}")).split_once(':').unwrap().1.trim()
}

#[tokio::test]
async fn a_webhook_is_posted_as_json_with_a_signature_that_verifies() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let secret = Secret::parse(SECRET).unwrap();
    let now = Arc::new(ManualClock::at(Timestamp::from_millis(1_700_000_900_123)));
    let notifier = WebhookNotifier::new("on-call", &url, secret.clone()).unwrap().clock(now);
    let n = notification();
    let (sent, request) =
        tokio::join!(notifier.send(&n), one_request(&listener, "HTTP/1.1 204 No Content\r\n\r\n"),);
    assert_eq!(sent.unwrap().0, "204 No Content");
    assert!(request.starts_with("POST /hook HTTP/1.1\r\n"), "{request}");
    let body = request.split_once("\r\n\r\n").unwrap().1;
    let expected = sign(&secret, "incident/firing", 1_700_000_900, body.as_bytes());
    assert_eq!(header(&request, "webhook-signature"), expected);
    assert_eq!(serde_json::from_str::<Notification>(body).unwrap(), n);
}

#[tokio::test]
async fn what_a_receiver_answers_decides_whether_to_try_again() {
    for (answer, expected) in [
        ("HTTP/1.1 503 X\r\nretry-after: 7\r\n\r\n", Some(Some(Duration::from_secs(7)))),
        ("HTTP/1.1 429 X\r\n\r\n", Some(None)),
        ("HTTP/1.1 410 Gone\r\n\r\n", None),
        ("HTTP/1.1 302 X\r\nlocation: http://elsewhere/\r\n\r\n", None),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let notifier =
            WebhookNotifier::new("on-call", &url, Secret::parse(SECRET).unwrap()).unwrap();
        let n = notification();
        let (sent, _) = tokio::join!(notifier.send(&n), one_request(&listener, answer));
        let after = match sent.unwrap_err() {
            SendError::Retry { after, .. } => Some(after),
            SendError::Permanent { .. } => None,
        };
        assert_eq!(after, expected, "{answer}");
    }
}

#[tokio::test]
async fn a_receiver_that_is_down_delays_no_other() {
    let down = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", down.local_addr().unwrap());
    drop(down);
    let secret = Secret::parse(SECRET).unwrap();
    let down = WebhookNotifier::new("down", &url, secret).unwrap();
    let journal = journal().await;
    let outbox = Outbox::start(journal.clone(), vec![Arc::new(down), Arc::new(LogNotifier)]);
    outbox.queue("down", notification()).await;
    outbox.queue("log", notification()).await;

    let seq = journal.ledger().changed(Seq(0)).await.unwrap();
    let entries = journal.ledger().read(seq, 1).await.unwrap();
    let Event::NotificationSettled { receiver, result, .. } = &entries[0].entry.event else {
        panic!("{entries:?}");
    };
    assert_eq!((receiver.as_str(), result.is_ok()), ("log", true));
    outbox.shutdown(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_settles_what_it_cannot_take() {
    #[derive(Debug)]
    struct Stuck;
    #[async_trait::async_trait]
    impl Notifier for Stuck {
        fn receiver(&self) -> &str {
            "stuck"
        }
        async fn send(&self, _: &Notification) -> Result<hms_ops_core::notify::Receipt, SendError> {
            std::future::pending().await
        }
    }
    let journal = journal().await;
    let outbox = Outbox::start(journal.clone(), vec![Arc::new(Stuck)]);
    // One is being sent once the task has run; 256 wait; the next is one too many.
    outbox.queue("stuck", notification()).await;
    tokio::task::yield_now().await;
    for _ in 0..257 {
        outbox.queue("stuck", notification()).await;
    }
    let entries = journal.ledger().read(Seq(1), 10).await.unwrap();
    assert_eq!(entries.len(), 1);
    let Event::NotificationSettled { result, .. } = &entries[0].entry.event else { panic!() };
    assert_eq!(result, &Err("256 notifications are waiting for this receiver".to_owned()));
    outbox.shutdown(Duration::ZERO).await;
}

#[tokio::test]
async fn what_an_earlier_process_left_is_sent_unless_it_is_over() {
    let journal = journal().await;
    let outbox = Outbox::start(journal.clone(), vec![Arc::new(LogNotifier)]);
    let of = |name: &str, word: &str| {
        let mut n = notification();
        n.alert.fingerprint = Fingerprint::of(name, &n.alert.labels);
        n.key = format!("{name}/{word}");
        n
    };
    let unsettled = [
        ("log".to_owned(), of("over", "firing")),
        ("pager that was sold".to_owned(), of("open", "firing")),
        ("log".to_owned(), of("open", "firing")),
        ("log".to_owned(), of("over", "resolved")),
    ];
    outbox.resume(&unsettled).await;
    outbox.shutdown(Duration::from_secs(10)).await;
    let entries = journal.ledger().read(Seq(1), 10).await.unwrap();
    let mut settled: Vec<_> = entries
        .iter()
        .map(|recorded| match &recorded.entry.event {
            Event::NotificationSettled { receiver, key, result } => {
                (receiver.as_str(), key.as_str(), result.as_ref().err().map_or("", String::as_str))
            }
            other => panic!("{other:?}"),
        })
        .collect();
    settled.sort_unstable();
    let expected = [
        ("log", "open/firing", ""),
        ("log", "over/firing", "superseded by a newer notification of the same alert"),
        ("log", "over/resolved", ""),
        ("pager that was sold", "open/firing", "there is no such receiver any more"),
    ];
    assert_eq!(settled, expected);
}
