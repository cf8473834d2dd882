//! A small world for tests: points in time, and parts that remember what they were asked.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use hms_ops_core::alert::{AlertHealth, AlertState, AlertStatus, Fingerprint};
use hms_ops_core::labels::{Labels, SERVICE};
use hms_ops_core::notify::{Notification, Notifier, Receipt, SendError};
use hms_ops_core::runbook::{Call, HostCalls, RunbookError};
use hms_ops_core::time::Timestamp;
use serde_json::Value as Json;

/// The point `secs` seconds after the epoch.
///
/// ```
/// use hms_ops_testkit::world::{at, secs};
///
/// assert_eq!(at(60) + secs(5), at(65));
/// ```
pub const fn at(secs: i64) -> Timestamp {
    Timestamp::from_millis(secs * 1000)
}

/// This many seconds.
pub const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// An alert in this state, for `eligibility-svc`, with a value above its threshold.
///
/// ```
/// use hms_ops_core::alert::AlertState;
/// use hms_ops_testkit::world::{alert, at};
///
/// let firing = alert("eligibility.latency_ms", AlertState::Firing { since: at(60) });
/// assert_eq!(firing.summary, "mean over 60 s is 412 ms, the budget is 300 ms");
/// ```
pub fn alert(name: &str, state: AlertState) -> AlertStatus {
    let labels = Labels::from_pairs([(SERVICE, "eligibility-svc")]);
    AlertStatus {
        name: name.to_owned(),
        fingerprint: Fingerprint::of(name, &labels),
        service: Some("eligibility-svc".into()),
        labels,
        state,
        health: AlertHealth::Ok,
        value: Some(412.0),
        threshold: Some(300.0),
        summary: "mean over 60 s is 412 ms, the budget is 300 ms".to_owned(),
    }
}

/// A notifier that remembers what it was asked to send, and can be told to refuse.
///
/// ```
/// use hms_ops_core::notify::Notifier;
/// use hms_ops_testkit::world::RecordingNotifier;
///
/// let pager = RecordingNotifier::new("pager");
/// assert_eq!(pager.receiver(), "pager");
/// assert!(pager.sent().is_empty());
/// ```
#[derive(Debug)]
pub struct RecordingNotifier {
    receiver: String,
    sent: Mutex<Vec<Notification>>,
    down: AtomicBool,
}

impl RecordingNotifier {
    /// A notifier of this receiver, which accepts everything.
    pub fn new(receiver: &str) -> Self {
        Self { receiver: receiver.to_owned(), sent: Mutex::default(), down: AtomicBool::new(false) }
    }

    /// What was accepted so far.
    pub fn sent(&self) -> Vec<Notification> {
        self.sent.lock().unwrap().clone()
    }

    /// From now on every try fails with [`SendError::Retry`], or none.
    pub fn down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }
}

#[async_trait]
impl Notifier for RecordingNotifier {
    fn receiver(&self) -> &str {
        &self.receiver
    }

    async fn send(&self, n: &Notification) -> Result<Receipt, SendError> {
        if self.down.load(Ordering::SeqCst) {
            return Err(SendError::Retry { reason: "told to be down".to_owned(), after: None });
        }
        self.sent.lock().unwrap().push(n.clone());
        Ok(Receipt(n.key.clone()))
    }
}

/// The host side of a runbook: remembers every call, and answers as it was told.
///
/// ```
/// use hms_ops_core::runbook::{Call, HostCalls};
/// use hms_ops_testkit::{block_on, world::RecordingHost};
/// use serde_json::json;
///
/// let host = RecordingHost::new().answer("note", json!(null));
/// let note = Call { capability: "note".to_owned(), args: json!({ "text": "hello" }) };
/// block_on(async {
///     host.call(note.clone()).await.unwrap();
///     let shift = Call { capability: "mesh.shift".to_owned(), args: json!({}) };
///     host.call(shift).await.expect_err("nobody said what to answer");
/// });
/// assert_eq!(host.calls()[0], note);
/// ```
#[derive(Debug, Default)]
pub struct RecordingHost {
    answers: BTreeMap<String, Json>,
    calls: Mutex<Vec<Call>>,
}

impl RecordingHost {
    /// A host that denies everything.
    pub fn new() -> Self {
        Self::default()
    }

    /// Answers every call of a capability with `answer`.
    #[must_use]
    pub fn answer(mut self, capability: &str, answer: Json) -> Self {
        self.answers.insert(capability.to_owned(), answer);
        self
    }

    /// Every call so far, the denied ones too.
    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }
}

#[async_trait]
impl HostCalls for RecordingHost {
    async fn call(&self, call: Call) -> Result<Json, RunbookError> {
        let answer = self.answers.get(&call.capability).cloned();
        let denied = RunbookError::Denied {
            capability: call.capability.clone(),
            reason: "nobody said what to answer".to_owned(),
        };
        self.calls.lock().unwrap().push(call);
        answer.ok_or(denied)
    }
}
