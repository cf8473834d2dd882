//! The suite of [`Notifier`].
//!
//! ```no_run
//! use hms_ops_core::notify::Notifier;
//! use hms_ops_testkit::notifier::NotifierUnderTest;
//! # struct Receiver;
//! # impl Receiver {
//! #     fn bodies(&self) -> Vec<String> { vec![] }
//! #     fn answer(&self, _: u16) {}
//! # }
//! # fn webhook() -> Hooked { todo!() }
//!
//! struct Hooked {
//!     notifier: Box<dyn Notifier>,
//!     receiver: Receiver,
//! }
//!
//! #[async_trait::async_trait]
//! impl NotifierUnderTest for Hooked {
//!     fn notifier(&self) -> &dyn Notifier {
//!         &*self.notifier
//!     }
//!
//!     async fn received(&self) -> Vec<String> {
//!         self.receiver.bodies()
//!     }
//!
//!     async fn down(&self, down: bool) -> bool {
//!         self.receiver.answer(if down { 503 } else { 200 });
//!         true
//!     }
//! }
//!
//! hms_ops_testkit::notifier_suite!(webhook());
//! ```

use async_trait::async_trait;
use hms_ops_core::alert::AlertState;
use hms_ops_core::name::stored_name;
use hms_ops_core::notify::{Notification, Notifier, SendError};

use crate::within;
use crate::world::{alert, at};

/// A notifier, and the receiver that it delivers to. Nobody else delivers there.
#[async_trait]
pub trait NotifierUnderTest: Send + Sync {
    /// The backend.
    fn notifier(&self) -> &dyn Notifier;

    /// What the receiver has taken so far, one text a delivery, as it came.
    async fn received(&self) -> Vec<String>;

    /// Takes the receiver down, in one of the ways that it comes back from, or up again; `false` if
    /// it has no such way, as a log has none.
    async fn down(&self, down: bool) -> bool;
}

/// One test for each promise of [`Notifier`](hms_ops_core::notify::Notifier); see
/// [`notifier`](crate::notifier).
#[macro_export]
macro_rules! notifier_suite {
    ($notifier:expr) => {
        $crate::cases! { $notifier;
            the_receiver_has_a_name
            firing_and_resolved_are_delivered
            the_same_key_twice_is_accepted
            hostile_text_is_delivered
            a_receiver_that_is_down_is_tried_again
            ; notifier
        }
    };
}

/// The ledger and the configuration call it by that name, so it does not change.
pub async fn the_receiver_has_a_name(notifier: impl NotifierUnderTest) {
    let name = notifier.notifier().receiver().to_owned();
    assert!(!name.is_empty());
    send(&notifier, &firing("k")).await.unwrap();
    assert_eq!(notifier.notifier().receiver(), name);
}

/// One delivery each, that names the alert; on-call can tell one from the other.
pub async fn firing_and_resolved_are_delivered(notifier: impl NotifierUnderTest) {
    let fired = firing("fired");
    let over = AlertState::Resolved { firing_since: at(60), at: at(300) };
    let resolved = Notification {
        key: "resolved".to_owned(),
        at: at(300),
        alert: alert(&fired.alert.name, over),
    };
    send(&notifier, &fired).await.unwrap();
    send(&notifier, &resolved).await.unwrap();
    let received = notifier.received().await;
    assert_eq!(received.len(), 2, "{received:?}");
    let name = &*fired.alert.name;
    let named = |text: &String| text.contains(name) || text.contains(&*stored_name(name));
    assert!(received.iter().all(named), "{name} is missing in {received:?}");
    let word = |text: &str, word| text.to_lowercase().contains(word);
    assert!(word(&received[1], "resolved"), "{}", received[1]);
    assert!(!word(&received[0], "resolved"), "{}", received[0]);
}

/// A try after a lost answer must succeed; dropping the duplicate is the receiver's part.
pub async fn the_same_key_twice_is_accepted(notifier: impl NotifierUnderTest) {
    let firing = firing("k");
    for _ in 0..3 {
        send(&notifier, &firing).await.unwrap();
    }
}

/// Names, labels and summaries hold what services say, not what protocols like.
pub async fn hostile_text_is_delivered(notifier: impl NotifierUnderTest) {
    let hostile = "\" ' \\ \r\n\r\nX-Injected: 1 <script>&amp; {{x}} \u{1}\u{7f} größe \u{1f98a}";
    let mut firing = firing(hostile);
    firing.alert.summary = format!("{hostile} {}", "long ".repeat(1000));
    firing.alert.labels = firing.alert.labels.with("path", hostile);
    firing.alert.service = Some(hostile.into());
    firing.alert.value = Some(f64::NAN);
    send(&notifier, &firing).await.unwrap();
    assert_eq!(notifier.received().await.len(), 1);
}

/// `Retry`, with the reason; and a later try succeeds. What cannot be down is not asked.
pub async fn a_receiver_that_is_down_is_tried_again(notifier: impl NotifierUnderTest) {
    if !notifier.down(true).await {
        return;
    }
    match send(&notifier, &firing("k")).await {
        Err(SendError::Retry { reason, .. }) => assert!(!reason.is_empty(), "without a reason"),
        other => panic!("expected to try again, got {other:?}"),
    }
    notifier.down(false).await;
    let before = notifier.received().await.len();
    send(&notifier, &firing("k")).await.unwrap();
    assert_eq!(notifier.received().await.len(), before + 1);
}

fn firing(key: &str) -> Notification {
    let alert = alert("eligibility.latency_ms", AlertState::Firing { since: at(60) });
    Notification { key: key.to_owned(), at: at(60), alert }
}

async fn send(notifier: &impl NotifierUnderTest, n: &Notification) -> Result<(), SendError> {
    within("an answer of the receiver", notifier.notifier().send(n)).await.map(|_| ())
}
