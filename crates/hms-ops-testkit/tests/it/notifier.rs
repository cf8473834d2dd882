//! A notifier of a few lines, whole and with a flaw.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use hms_ops_core::notify::{Notification, Notifier, Receipt, SendError};
use hms_ops_testkit::notifier::{NotifierUnderTest, a_receiver_that_is_down_is_tried_again};
use hms_ops_testkit::notifier_suite;
use hms_ops_testkit::world::RecordingNotifier;

use super::fails;

#[async_trait]
impl NotifierUnderTest for RecordingNotifierUnderTest {
    fn notifier(&self) -> &dyn Notifier {
        &self.0
    }

    async fn received(&self) -> Vec<String> {
        self.0.sent().iter().map(Notification::headline).collect()
    }

    async fn down(&self, down: bool) -> bool {
        self.0.down(down);
        true
    }
}

struct RecordingNotifierUnderTest(RecordingNotifier);

mod the_recording_one {
    use super::*;

    notifier_suite!(RecordingNotifierUnderTest(RecordingNotifier::new("pager")));
}

/// Gives up at once.
#[derive(Debug, Default)]
struct Hasty {
    down: AtomicBool,
    sent: Mutex<Vec<String>>,
}

#[async_trait]
impl Notifier for Hasty {
    fn receiver(&self) -> &str {
        "hasty"
    }

    async fn send(&self, n: &Notification) -> Result<Receipt, SendError> {
        if self.down.load(Ordering::SeqCst) {
            return Err(SendError::Permanent { reason: "down".to_owned() });
        }
        self.sent.lock().unwrap().push(n.headline());
        Ok(Receipt(n.key.clone()))
    }
}

#[async_trait]
impl NotifierUnderTest for Hasty {
    fn notifier(&self) -> &dyn Notifier {
        self
    }

    async fn received(&self) -> Vec<String> {
        self.sent.lock().unwrap().clone()
    }

    async fn down(&self, down: bool) -> bool {
        self.down.store(down, Ordering::SeqCst);
        true
    }
}

#[test]
fn one_that_gives_up_at_once_is_found() {
    assert!(fails(a_receiver_that_is_down_is_tried_again(Hasty::default())));
}
