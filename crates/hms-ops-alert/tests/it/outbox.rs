//! The outbox: what waits, what is tried again, what is lost, and who hears of that.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use hms_ops_alert::notify::{LogNotifier, Reminded};
use hms_ops_alert::{Outbox, Receiver, outbox::HEARTBEAT_ALERT, outbox::LOST_ALERT};
use hms_ops_core::alert::{AlertStatus, Fingerprint};
use hms_ops_core::exposition;
use hms_ops_core::ledger::{Event, Journal, Seq};
use hms_ops_core::notify::{Notification, Notifier, Receipt, SendError};
use hms_ops_core::registry::Registry;
use hms_ops_testkit::world::{alert, at, secs};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::timeout;

use crate::hook::{about, firing, journal, resolved};

/// Answers as it was told, then takes everything; a minute of paused time is a minute.
#[derive(Debug)]
struct Told {
    name: &'static str,
    answers: Mutex<VecDeque<SendError>>,
    tried: Mutex<Vec<Notification>>,
    changed: Notify,
}

impl Told {
    fn new(name: &'static str, answers: impl IntoIterator<Item = SendError>) -> Arc<Self> {
        let answers = Mutex::new(answers.into_iter().collect());
        Arc::new(Self { name, answers, tried: Mutex::default(), changed: Notify::new() })
    }

    fn receiver(self: &Arc<Self>) -> Receiver {
        Receiver::new(self.clone())
    }

    /// Names and states of the alerts of all tries.
    fn tried(&self) -> Vec<(String, &'static str)> {
        let tried = self.tried.lock().unwrap();
        tried.iter().map(|n| (n.alert.name.clone(), n.alert.state.word())).collect()
    }

    async fn wait_for(&self, tries: usize) {
        while self.tried.lock().unwrap().len() < tries {
            self.changed.notified().await;
        }
    }
}

#[async_trait]
impl Notifier for Told {
    fn receiver(&self) -> &str {
        self.name
    }

    async fn send(&self, n: &Notification) -> Result<Receipt, SendError> {
        self.tried.lock().unwrap().push(n.clone());
        self.changed.notify_one();
        let answer = self.answers.lock().unwrap().pop_front();
        answer.map_or_else(|| Ok(Receipt("taken".to_owned())), Err)
    }
}

fn retry(after: Option<Duration>) -> SendError {
    SendError::Retry { reason: "busy".to_owned(), after }
}

fn never() -> SendError {
    SendError::Permanent { reason: "no".to_owned() }
}

fn gone() -> SendError {
    SendError::Gone { reason: "moved".to_owned() }
}

/// Receiver and result of every settled notification, in the ledger's order.
async fn settled(journal: &Journal) -> Vec<(String, Result<String, String>)> {
    let entries = journal.ledger().read(Seq(1), 1000).await.unwrap();
    let settled = entries.into_iter().filter_map(|entry| match entry.entry.event.clone() {
        Event::NotificationSettled { receiver, result, .. } => Some((receiver, result)),
        _ => None,
    });
    settled.collect()
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_is_down_delays_no_other() {
    let down = Told::new("down", (0..50).map(|_| retry(None)));
    let journal = journal().await;
    let receivers = vec![down.receiver(), Receiver::new(Arc::new(LogNotifier))];
    let outbox = Outbox::start(journal.clone(), Registry::new(), receivers);
    outbox.queue("down", about(firing())).await;
    outbox.queue("log", about(firing())).await;
    journal.ledger().changed(Seq(0)).await.unwrap();
    let settled = settled(&journal).await;
    assert_eq!(settled, [("log".to_owned(), Ok("written to the log".to_owned()))]);
    outbox.shutdown(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_says_when_to_come_again_is_not_asked_before() {
    let busy = Told::new("busy", [retry(Some(secs(120)))]);
    let outbox = Outbox::start(journal().await, Registry::new(), vec![busy.receiver()]);
    outbox.queue("busy", about(firing())).await;
    busy.wait_for(1).await;
    timeout(secs(119), busy.wait_for(2)).await.unwrap_err();
    timeout(secs(2), busy.wait_for(2)).await.unwrap();
    outbox.shutdown(secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_resolved_takes_the_place_of_a_firing_that_was_not_delivered() {
    let busy = Told::new("busy", [retry(Some(secs(60)))]);
    let journal = journal().await;
    let outbox = Outbox::start(journal.clone(), Registry::new(), vec![busy.receiver()]);
    let other = || about(alert("another", firing().state));
    // One is being tried, another alert's waits behind it, and a second firing of the first.
    outbox.queue("busy", about(firing())).await;
    busy.wait_for(1).await;
    outbox.queue("busy", other()).await;
    outbox.queue("busy", about(firing())).await;
    outbox.queue("busy", about(resolved())).await;
    outbox.shutdown(secs(600)).await;
    let name = |name: &str, word| (name.to_owned(), word);
    let expected = [
        name("eligibility.latency_ms", "firing"),
        name("another", "firing"),
        name("eligibility.latency_ms", "resolved"),
    ];
    assert_eq!(busy.tried(), expected);
    let superseded = Err(format!("superseded by {}", about(resolved()).key));
    let results: Vec<_> = settled(&journal).await.into_iter().map(|(_, result)| result).collect();
    let taken = || Ok("taken".to_owned());
    assert_eq!(results, [superseded.clone(), superseded, taken(), taken()]);
}

#[tokio::test(start_paused = true)]
async fn no_more_tries_are_made_in_a_minute_than_a_receiver_allows() {
    let slow = Told::new("slow", []);
    let receiver = slow.receiver().per_minute(NonZeroU32::new(2).unwrap());
    let outbox = Outbox::start(journal().await, Registry::new(), vec![receiver]);
    for name in ["a", "b", "c", "d", "e"] {
        outbox.queue("slow", about(alert(name, firing().state))).await;
    }
    timeout(secs(59), slow.wait_for(3)).await.unwrap_err();
    assert_eq!(slow.tried().len(), 2);
    timeout(secs(2), slow.wait_for(4)).await.unwrap();
    timeout(secs(58), slow.wait_for(5)).await.unwrap_err();
    outbox.shutdown(secs(60)).await;
    assert_eq!(slow.tried().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn who_has_lost_something_is_told_of_elsewhere_once_and_again_when_that_is_over() {
    let deaf = Told::new("deaf", [never(), never()]);
    let other = Told::new("other", []);
    let registry = Registry::new();
    let receivers = vec![deaf.receiver(), other.receiver()];
    let outbox = Outbox::start(journal().await, registry.clone(), receivers);
    outbox.queue("deaf", about(firing())).await;
    other.wait_for(1).await;
    for name in ["a", "b"] {
        outbox.queue("deaf", about(alert(name, firing().state))).await;
    }
    other.wait_for(2).await;
    outbox.shutdown(secs(1)).await;
    let lost = |word| (LOST_ALERT.to_owned(), word);
    assert_eq!(other.tried(), [lost("firing"), lost("resolved")]);
    let summary = other.tried.lock().unwrap()[0].alert.summary.clone();
    assert_eq!(summary, "deaf has lost a notification: no");
    let shown = exposition::encode(&registry.snapshot(), exposition::Format::Text);
    assert!(shown.contains("\nhms_ops_lost_notifications_total 2\n"), "{shown}");
}

#[tokio::test(start_paused = true)]
async fn losses_of_all_receivers_do_not_go_in_circles() {
    let deaf = ["a", "b", "c"].map(|name| Told::new(name, (0..50).map(|_| never())));
    let receivers = deaf.iter().map(|deaf| deaf.receiver()).collect();
    let journal = journal().await;
    let outbox = Outbox::start(journal.clone(), Registry::new(), receivers);
    outbox.queue("a", about(firing())).await;
    let mut seq = Seq(0);
    while settled(&journal).await.len() < 7 {
        seq = timeout(secs(60), journal.ledger().changed(seq)).await.unwrap().unwrap();
    }
    outbox.shutdown(secs(600)).await;
    let tries: usize = deaf.iter().map(|deaf| deaf.tried().len()).sum();
    assert_eq!(tries, 1 + 3 * 2, "each tells the two others once");
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_is_gone_is_told_nothing_more() {
    let gone = Told::new("gone", [gone()]);
    let journal = journal().await;
    let outbox = Outbox::start(journal.clone(), Registry::new(), vec![gone.receiver()]);
    outbox.queue("gone", about(firing())).await;
    outbox.queue("gone", about(alert("another", firing().state))).await;
    let mut seq = Seq(0);
    while settled(&journal).await.len() < 2 {
        seq = journal.ledger().changed(seq).await.unwrap();
    }
    outbox.queue("gone", about(resolved())).await;
    let lost = Err("the receiver is gone: moved".to_owned());
    let results: Vec<_> = settled(&journal).await.into_iter().map(|(_, result)| result).collect();
    assert_eq!(results, [lost.clone(), lost.clone(), lost]);
    assert_eq!(gone.tried().len(), 1);
    outbox.shutdown(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn who_forgets_is_reminded_each_minute_of_alerts_and_of_what_others_lose() {
    #[derive(Debug)]
    struct Forgets(mpsc::UnboundedSender<Vec<String>>);
    #[async_trait]
    impl Notifier for Forgets {
        fn receiver(&self) -> &str {
            "am"
        }
        async fn send(&self, _: &Notification) -> Result<Receipt, SendError> {
            Ok(Receipt("taken".to_owned()))
        }
    }
    #[async_trait]
    impl Reminded for Forgets {
        async fn remind(&self, alerts: &[AlertStatus]) -> Result<(), SendError> {
            self.0.send(alerts.iter().map(|alert| alert.name.clone()).collect()).unwrap();
            Err(retry(None))
        }
    }
    let (said, mut heard) = mpsc::unbounded_channel();
    let deaf = Told::new("deaf", [never()]);
    let receivers = vec![Receiver::reminded(Arc::new(Forgets(said))), deaf.receiver()];
    let mut outbox = Outbox::start(journal().await, Registry::new(), receivers);
    let (alerts, seen) = watch::channel(vec![firing()]);
    outbox.remind_of(&seen);
    outbox.queue("deaf", about(firing())).await;
    timeout(secs(59), heard.recv()).await.unwrap_err();
    let expected = ["eligibility.latency_ms", LOST_ALERT];
    assert_eq!(timeout(secs(2), heard.recv()).await.unwrap().unwrap(), expected);
    // Reminded of what is so now, also after a failure.
    alerts.send_replace(vec![]);
    assert_eq!(timeout(secs(61), heard.recv()).await.unwrap().unwrap(), [LOST_ALERT]);
    outbox.shutdown(secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_is_sent_at_its_interval_and_never_late() {
    let watcher = Told::new("watcher", [retry(None)]);
    let other = Told::new("other", []);
    let receivers = vec![watcher.receiver().heartbeat(secs(60)), other.receiver()];
    let journal = journal().await;
    let outbox = Outbox::start(journal.clone(), Registry::new(), receivers);
    for second in 0..150 {
        outbox.beat(at(second));
        tokio::task::yield_now().await;
    }
    outbox.shutdown(secs(600)).await;
    let instants: Vec<_> = watcher.tried.lock().unwrap().iter().map(|n| n.at).collect();
    assert_eq!(instants, [at(0), at(60), at(120)]);
    assert_eq!(watcher.tried()[0], (HEARTBEAT_ALERT.to_owned(), "firing"));
    assert!(other.tried().is_empty());
    assert!(settled(&journal).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_settles_what_it_cannot_take() {
    let stuck = Told::new("stuck", [retry(Some(secs(3600)))]);
    let journal = journal().await;
    let outbox = Outbox::start(journal.clone(), Registry::new(), vec![stuck.receiver()]);
    // One is being tried; 256 wait; the next is one too many.
    outbox.queue("stuck", about(firing())).await;
    stuck.wait_for(1).await;
    for _ in 0..257 {
        outbox.queue("stuck", about(firing())).await;
    }
    let lost = Err("256 notifications are waiting for this receiver".to_owned());
    assert_eq!(settled(&journal).await, [("stuck".to_owned(), lost)]);
    outbox.shutdown(Duration::ZERO).await;
}

#[tokio::test]
async fn what_an_earlier_process_left_is_sent_unless_it_is_over() {
    let journal = journal().await;
    let log = Receiver::new(Arc::new(LogNotifier));
    let outbox = Outbox::start(journal.clone(), Registry::new(), vec![log]);
    let of = |name: &str, word: &str| {
        let mut n = about(firing());
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
    outbox.shutdown(secs(10)).await;
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
