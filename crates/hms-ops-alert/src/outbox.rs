//! The outbox: carries notifications to their receivers, each at its own pace.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hms_ops_core::alert::{AlertHealth, AlertState, AlertStatus, Fingerprint};
use hms_ops_core::labels::Labels;
use hms_ops_core::ledger::{Event, Journal};
use hms_ops_core::notify::{Notification, Notifier, SendError};
use hms_ops_core::random;
use hms_ops_core::registry::Registry;
use hms_ops_core::time::Timestamp;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, Sleep};

use crate::notify::Reminded;

/// How many notifications wait for one receiver at most; more are dropped, and settled so.
const QUEUE: usize = 256;
/// The longest wait between two tries, where the receiver does not ask for a longer one.
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// The longest that a receiver may ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(3600);
/// A receiver that does not take a notification this often has lost it.
const MAX_TRIES: u32 = 100;
const MINUTE: Duration = Duration::from_secs(60);

/// The alert that is raised at all other receivers when one has lost a notification, and resolved
/// when that one takes one again.
pub const LOST_ALERT: &str = "hms_ops.lost_notifications";
/// What a heartbeat is called: an alert that always fires, for those who watch for its absence.
pub const HEARTBEAT_ALERT: &str = "hms_ops.heartbeat";

/// A notifier, and how it is to be treated.
#[derive(Clone, Debug)]
pub struct Receiver {
    notifier: Arc<dyn Notifier>,
    reminded: Option<Arc<dyn Reminded>>,
    per_minute: Option<NonZeroU32>,
    heartbeat: Option<Duration>,
}

impl Receiver {
    /// Told at once, of alerts only.
    pub fn new(notifier: Arc<dyn Notifier>) -> Self {
        Self { notifier, reminded: None, per_minute: None, heartbeat: None }
    }

    /// Told at once, and [reminded](Reminded).
    pub fn reminded(notifier: Arc<dyn Reminded>) -> Self {
        Self { reminded: Some(notifier.clone()), ..Self::new(notifier) }
    }

    /// Makes no more tries a minute than this.
    #[must_use]
    pub fn per_minute(mut self, tries: NonZeroU32) -> Self {
        self.per_minute = Some(tries);
        self
    }

    /// Sends [`HEARTBEAT_ALERT`] this often, for as long as the engine ticks: a dead man's switch.
    #[must_use]
    pub fn heartbeat(mut self, every: Duration) -> Self {
        self.heartbeat = Some(every);
        self
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        self.notifier.receiver()
    }
}

/// Sends notifications until they are delivered or given up. A receiver that is down delays no
/// other: each has a queue and a task of its own.
///
/// While an alert's *firing* waits, its *resolved* takes its place. A receiver that answers that it is
/// gone is told nothing more by this process. What is lost is counted as
/// `hms_ops_lost_notifications_total` and raises [`LOST_ALERT`].
#[derive(Debug)]
pub struct Outbox {
    post: Arc<Post>,
    tasks: JoinSet<()>,
    reminders: JoinSet<()>,
}

/// What the tasks share.
#[derive(Debug)]
struct Post {
    journal: Arc<Journal>,
    registry: Registry,
    queues: BTreeMap<String, Queue>,
}

#[derive(Debug)]
struct Queue {
    receiver: Receiver,
    waiting: Mutex<Waiting>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    items: VecDeque<Item>,
    /// Nothing more will be queued.
    closed: bool,
    /// Why nothing can be delivered any more.
    gone: Option<String>,
    /// What others are told while notifications for this one are lost.
    losing: Option<AlertStatus>,
    /// The first heartbeat and the last.
    beats: Option<(Timestamp, Timestamp)>,
}

#[derive(Debug)]
enum Item {
    /// In the ledger as queued, and to be settled there.
    Message(Notification),
    Heartbeat(Notification),
}

/// What became of a notification.
enum Fate {
    Delivered(String),
    Superseded { by: String },
    Lost(String),
}

impl Outbox {
    /// Starts a task for each receiver. Must be called within a tokio runtime.
    pub fn start(journal: Arc<Journal>, registry: Registry, receivers: Vec<Receiver>) -> Self {
        let queues = receivers.into_iter().map(|receiver| {
            let name = receiver.name().to_owned();
            let (waiting, changed) = (Mutex::default(), Notify::new());
            (name, Queue { receiver, waiting, changed })
        });
        let post = Arc::new(Post { journal, registry, queues: queues.collect() });
        let mut tasks = JoinSet::new();
        for name in post.queues.keys() {
            tasks.spawn(deliver(post.clone(), name.clone()));
        }
        Self { post, tasks, reminders: JoinSet::new() }
    }

    /// Reminds those who forget of how alerts stand, once a minute from now on.
    pub fn remind_of(&mut self, alerts: &watch::Receiver<Vec<AlertStatus>>) {
        for queue in self.post.queues.values() {
            if let Some(reminded) = &queue.receiver.reminded {
                let reminding = remind(self.post.clone(), reminded.clone(), alerts.clone());
                self.reminders.spawn(reminding);
            }
        }
    }

    /// The receivers, sorted.
    pub fn receivers(&self) -> impl Iterator<Item = &str> {
        self.post.queues.keys().map(String::as_str)
    }

    /// Queues a notification whose `NotificationQueued` entry is in the ledger. Does not wait: when
    /// the queue is full, the notification is settled as lost.
    pub async fn queue(&self, receiver: &str, notification: Notification) {
        let Some(queue) = self.post.queues.get(receiver) else { return };
        for (key, fate) in queue.push(notification) {
            self.post.settle(queue, key, fate).await;
        }
    }

    /// Says that the engine is alive at `at`: sends the heartbeats that are due. A late one says
    /// nothing, so each is tried once, and not in the ledger.
    pub fn beat(&self, at: Timestamp) {
        self.post.queues.values().for_each(|queue| queue.beat(at));
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
            } else if !self.post.queues.contains_key(receiver) {
                "there is no such receiver any more"
            } else {
                self.queue(receiver, notification.clone()).await;
                continue;
            };
            let (receiver, key) = (receiver.clone(), notification.key.clone());
            let result = Err(over.to_owned());
            self.post.write(Event::NotificationSettled { receiver, key, result }).await;
        }
    }

    /// Gives every queued notification until `within` to be delivered, then stops; what is left is
    /// in the ledger as queued.
    pub async fn shutdown(mut self, within: Duration) {
        self.reminders.shutdown().await;
        for queue in self.post.queues.values() {
            queue.lock().closed = true;
            queue.changed.notify_one();
        }
        let drained = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(within, drained).await.is_err() {
            self.tasks.shutdown().await;
        }
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a notification; returns what is settled by that.
    fn push(&self, notification: Notification) -> Vec<(String, Fate)> {
        let mut waiting = self.lock();
        if let Some(reason) = &waiting.gone {
            return vec![(notification.key, Fate::Lost(reason.clone()))];
        }
        let mut settled = Vec::new();
        waiting.items.retain(|item| match item {
            Item::Message(old) if supersedes(&notification, old) => {
                let by = notification.key.clone();
                settled.push((old.key.clone(), Fate::Superseded { by }));
                false
            }
            _ => true,
        });
        if waiting.items.len() >= QUEUE {
            let reason = format!("{QUEUE} notifications are waiting for this receiver");
            settled.push((notification.key, Fate::Lost(reason)));
        } else {
            waiting.items.push_back(Item::Message(notification));
        }
        self.changed.notify_one();
        settled
    }

    fn beat(&self, at: Timestamp) {
        let Some(every) = self.receiver.heartbeat else { return };
        let mut waiting = self.lock();
        let due = waiting.beats.is_none_or(|(_, last)| at.since(last) >= every);
        if !due || waiting.gone.is_some() {
            return;
        }
        let since = waiting.beats.map_or(at, |(first, _)| first);
        waiting.beats = Some((since, at));
        let summary = "the engine is alive".to_owned();
        let state = AlertState::Firing { since };
        let name = self.receiver.name();
        let key = format!("heartbeat/{}/{name}", at.as_millis());
        let alert = own_alert(HEARTBEAT_ALERT, name, state, summary);
        // Of two, the newer says all.
        waiting.items.retain(|item| matches!(item, Item::Message(_)));
        waiting.items.push_back(Item::Heartbeat(Notification { key, at, alert }));
        self.changed.notify_one();
    }

    /// The next to be delivered; `None` at the end.
    async fn next(&self) -> Option<Item> {
        loop {
            {
                let mut waiting = self.lock();
                if let Some(item) = waiting.items.pop_front() {
                    return Some(item);
                }
                if waiting.closed {
                    return None;
                }
            }
            self.changed.notified().await;
        }
    }

    /// The key of what waits and makes `n` needless.
    fn superseding(&self, n: &Notification) -> Option<String> {
        self.lock().items.iter().find_map(|item| match item {
            Item::Message(newer) if supersedes(newer, n) => Some(newer.key.clone()),
            _ => None,
        })
    }
}

/// That an alert is over is what counts, however it began.
fn supersedes(newer: &Notification, older: &Notification) -> bool {
    newer.alert.fingerprint == older.alert.fingerprint
        && matches!(newer.alert.state, AlertState::Resolved { .. })
        && older.alert.state.is_active()
}

/// Tells `receiver` once a minute how the alerts stand, for as long as somebody says so.
async fn remind(
    post: Arc<Post>,
    receiver: Arc<dyn Reminded>,
    alerts: watch::Receiver<Vec<AlertStatus>>,
) {
    let mut times = tokio::time::interval(MINUTE);
    times.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // What has just changed is told by way of the queue.
    times.tick().await;
    loop {
        times.tick().await;
        if alerts.has_changed().is_err() {
            return;
        }
        let mut now = alerts.borrow().clone();
        let others = post.queues.iter().filter(|(name, _)| *name != receiver.receiver());
        now.extend(others.filter_map(|(_, queue)| queue.lock().losing.clone()));
        if let Err(error) = receiver.remind(&now).await {
            tracing::warn!(receiver = receiver.receiver(), %error, "could not be reminded");
        }
    }
}

async fn deliver(post: Arc<Post>, name: String) {
    let queue = &post.queues[&name];
    let mut tokens = Tokens::new(queue.receiver.per_minute);
    while let Some(item) = queue.next().await {
        match item {
            Item::Heartbeat(beat) => {
                tokens.take().await;
                if let Err(error) = queue.receiver.notifier.send(&beat).await {
                    tracing::warn!(receiver = name, %error, "a heartbeat was not delivered");
                }
            }
            Item::Message(n) => {
                let fate = try_until_settled(queue, &mut tokens, &n).await;
                post.settle(queue, n.key, fate).await;
            }
        }
    }
}

async fn try_until_settled(queue: &Queue, tokens: &mut Tokens, n: &Notification) -> Fate {
    let mut tried = 0;
    loop {
        tokens.take().await;
        if let Some(by) = queue.superseding(n) {
            return Fate::Superseded { by };
        }
        if let Some(reason) = queue.lock().gone.clone() {
            return Fate::Lost(reason);
        }
        match queue.receiver.notifier.send(n).await {
            Ok(receipt) => return Fate::Delivered(receipt.0),
            Err(SendError::Permanent { reason }) => return Fate::Lost(reason),
            Err(SendError::Gone { reason }) => {
                let reason = format!("the receiver is gone: {reason}");
                queue.lock().gone = Some(reason.clone());
                return Fate::Lost(reason);
            }
            Err(SendError::Retry { reason, after }) => {
                tried += 1;
                if tried == MAX_TRIES {
                    return Fate::Lost(format!("given up after {tried} tries: {reason}"));
                }
                let wait = after.map_or_else(|| backoff(tried), |after| after.min(LONGEST_ASKED));
                let receiver = queue.receiver.name();
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

/// A bucket of tokens, of which each comes back a minute after it was taken.
struct Tokens {
    all: Option<NonZeroU32>,
    taken: VecDeque<Pin<Box<Sleep>>>,
}

impl Tokens {
    fn new(all: Option<NonZeroU32>) -> Self {
        Self { all, taken: VecDeque::new() }
    }

    async fn take(&mut self) {
        let Some(all) = self.all else { return };
        if self.taken.len() >= all.get() as usize
            && let Some(back) = self.taken.pop_front()
        {
            back.await;
        }
        self.taken.push_back(Box::pin(tokio::time::sleep(MINUTE)));
    }
}

impl Post {
    async fn settle(&self, queue: &Queue, key: String, fate: Fate) {
        let now = self.journal.clock().now();
        let receiver = queue.receiver.name().to_owned();
        let (result, raised) = match fate {
            Fate::Superseded { by } => (Err(format!("superseded by {by}")), None),
            Fate::Delivered(receipt) => {
                let lost = queue.lock().losing.take();
                let resolved = lost.map(|alert| {
                    let firing_since = alert.state.since().unwrap_or(now);
                    let state = AlertState::Resolved { firing_since, at: now };
                    let summary = format!("{receiver} takes notifications again");
                    AlertStatus { state, summary, ..alert }
                });
                (Ok(receipt), resolved)
            }
            Fate::Lost(reason) => {
                self.registry.counter("hms_ops_lost_notifications_total").increment(1);
                let summary = format!("{receiver} has lost a notification: {reason}");
                let state = AlertState::Firing { since: now };
                let alert = own_alert(LOST_ALERT, &receiver, state, summary);
                let losing = &mut queue.lock().losing;
                let first = losing.is_none();
                losing.get_or_insert_with(|| alert.clone());
                (Err(reason), first.then_some(alert))
            }
        };
        let event = Event::NotificationSettled { receiver: receiver.clone(), key, result };
        self.write(event).await;
        if let Some(alert) = raised {
            self.tell_others(&receiver, alert, now).await;
        }
    }

    async fn tell_others(&self, but: &str, alert: AlertStatus, at: Timestamp) {
        for (receiver, queue) in self.queues.iter().filter(|(name, _)| *name != but) {
            let (print, word) = (&alert.fingerprint, alert.state.word());
            let key = format!("{print}/{}/{word}/{receiver}", at.as_millis());
            let notification = Notification { key, at, alert: alert.clone() };
            let queued = Event::NotificationQueued {
                receiver: receiver.clone(),
                notification: notification.clone(),
            };
            if !self.write(queued).await {
                continue;
            }
            for (key, fate) in queue.push(notification) {
                // What this one loses now is no news for the others: it would go in circles.
                let result = match fate {
                    Fate::Delivered(receipt) => Ok(receipt),
                    Fate::Superseded { by } => Err(format!("superseded by {by}")),
                    Fate::Lost(reason) => Err(reason),
                };
                let receiver = receiver.clone();
                self.write(Event::NotificationSettled { receiver, key, result }).await;
            }
        }
    }

    async fn write(&self, event: Event) -> bool {
        match self.journal.write("engine", event).await {
            Ok(_) => true,
            Err(error) => {
                tracing::error!(%error, "cannot record what became of a notification");
                false
            }
        }
    }
}

/// An alert about a receiver.
fn own_alert(name: &str, receiver: &str, state: AlertState, summary: String) -> AlertStatus {
    let labels = Labels::from_pairs([("receiver", receiver)]);
    AlertStatus {
        name: name.to_owned(),
        fingerprint: Fingerprint::of(name, &labels),
        service: None,
        labels,
        state,
        health: AlertHealth::Ok,
        value: None,
        threshold: None,
        summary,
    }
}
