//! The outbox: carries notifications to their receivers, each at its own pace.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hms_ops_core::ledger::{Event, Journal};
use hms_ops_core::notify::{Notification, Notifier, SendError};
use hms_ops_core::random;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// How many notifications wait for one receiver at most; more are dropped, and settled so.
const QUEUE: usize = 256;
/// The longest wait between two tries, where the receiver does not ask for a longer one.
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// The longest that a receiver may ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(3600);
/// A receiver that does not take a notification this often has lost it.
const MAX_TRIES: u32 = 100;

/// Sends notifications until they are delivered or given up. A receiver that is down delays no
/// other: each has a queue and a task of its own.
#[derive(Debug)]
pub struct Outbox {
    journal: Arc<Journal>,
    queues: BTreeMap<String, mpsc::Sender<Notification>>,
    tasks: JoinSet<()>,
}

impl Outbox {
    /// Starts a task for each notifier. Must be called within a tokio runtime.
    pub fn start(journal: Arc<Journal>, notifiers: Vec<Arc<dyn Notifier>>) -> Self {
        let mut tasks = JoinSet::new();
        let mut queues = BTreeMap::new();
        for notifier in notifiers {
            let (sender, queue) = mpsc::channel(QUEUE);
            queues.insert(notifier.receiver().to_owned(), sender);
            tasks.spawn(deliver(notifier, queue, journal.clone()));
        }
        Self { journal, queues, tasks }
    }

    /// The receivers, sorted.
    pub fn receivers(&self) -> impl Iterator<Item = &str> {
        self.queues.keys().map(String::as_str)
    }

    /// Queues a notification whose `NotificationQueued` entry is in the ledger. Does not wait: when
    /// the queue is full, the notification is settled as lost.
    pub async fn queue(&self, receiver: &str, notification: Notification) {
        let Some(queue) = self.queues.get(receiver) else { return };
        if let Err(refused) = queue.try_send(notification) {
            let lost = refused.into_inner();
            let result = Err(format!("{QUEUE} notifications are waiting for this receiver"));
            settle(&self.journal, receiver, lost.key, result).await;
        }
    }

    /// Queues what an earlier process has queued and not settled, oldest first, each with the key that
    /// it had. Only the newest of an alert is sent: once it has resolved, nobody is woken because it
    /// fired.
    pub async fn resume(&self, unsettled: &[(String, Notification)]) {
        for (i, (receiver, notification)) in unsettled.iter().enumerate() {
            let is_newer = |(to, later): &(String, Notification)| {
                to == receiver && later.alert.fingerprint == notification.alert.fingerprint
            };
            let over = if unsettled[i + 1..].iter().any(is_newer) {
                "superseded by a newer notification of the same alert"
            } else if !self.queues.contains_key(receiver) {
                "there is no such receiver any more"
            } else {
                self.queue(receiver, notification.clone()).await;
                continue;
            };
            let key = notification.key.clone();
            settle(&self.journal, receiver, key, Err(over.to_owned())).await;
        }
    }

    /// Gives every queued notification until `within` to be delivered, then stops; what is left is
    /// in the ledger as queued.
    pub async fn shutdown(mut self, within: Duration) {
        self.queues.clear();
        let drained = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(within, drained).await.is_err() {
            self.tasks.shutdown().await;
        }
    }
}

async fn deliver(
    notifier: Arc<dyn Notifier>,
    mut queue: mpsc::Receiver<Notification>,
    journal: Arc<Journal>,
) {
    while let Some(notification) = queue.recv().await {
        let result = try_until_settled(&*notifier, &notification).await;
        settle(&journal, notifier.receiver(), notification.key, result).await;
    }
}

async fn try_until_settled(notifier: &dyn Notifier, n: &Notification) -> Result<String, String> {
    let mut tried = 0;
    loop {
        match notifier.send(n).await {
            Ok(receipt) => return Ok(receipt.0),
            Err(SendError::Permanent { reason }) => return Err(reason),
            Err(SendError::Retry { reason, after }) => {
                tried += 1;
                if tried == MAX_TRIES {
                    return Err(format!("given up after {tried} tries: {reason}"));
                }
                let wait = after.map_or_else(|| backoff(tried), |after| after.min(LONGEST_ASKED));
                let receiver = notifier.receiver();
                tracing::warn!(receiver, tried, ?wait, "notification not delivered: {reason}");
                tokio::time::sleep(wait).await;
            }
        }
    }
}

/// Full jitter: a random wait up to a limit that doubles with each try, from one second.
fn backoff(tried: u32) -> Duration {
    let limit = Duration::from_secs(1 << tried.min(9)).min(LONGEST_WAIT);
    Duration::from_millis(random::below(limit.as_millis() as u64))
}

async fn settle(journal: &Journal, receiver: &str, key: String, result: Result<String, String>) {
    let event = Event::NotificationSettled { receiver: receiver.to_owned(), key, result };
    if let Err(error) = journal.write("engine", event).await {
        tracing::error!(receiver, %error, "cannot record what became of a notification");
    }
}
