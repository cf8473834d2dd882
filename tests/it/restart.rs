//! A process that ends without a word, and the next one: alerts go on as they were, and what nobody
//! was told yet is told once.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hms_ops::async_trait;
use hms_ops::core::alert::AlertState;
use hms_ops::core::notify::{Notification, Notifier, Receipt, SendError};
use hms_ops::core::registry::Registry;
use hms_ops::prelude::*;
use tokio::runtime::Runtime;

use crate::healing::until;

const SECOND: Duration = Duration::from_secs(1);

/// On-call's phone; it may ring forever.
#[derive(Clone, Debug, Default)]
struct Phone {
    rings_forever: bool,
    taken: Arc<Mutex<Vec<Notification>>>,
}

impl Phone {
    fn said(&self) -> Vec<(&'static str, String)> {
        let taken = self.taken.lock().unwrap();
        taken.iter().map(|n| (n.alert.state.word(), n.key.clone())).collect()
    }
}

#[async_trait]
impl Notifier for Phone {
    fn receiver(&self) -> &str {
        "phone"
    }

    async fn send(&self, n: &Notification) -> Result<Receipt, SendError> {
        if self.rings_forever {
            std::future::pending::<()>().await;
        }
        self.taken.lock().unwrap().push(n.clone());
        Ok(Receipt("rang".to_owned()))
    }
}

async fn start(folder: &Path, phone: &Phone) -> (Ops, Metric) {
    let ops = Ops::builder().service("claims").registry(Registry::new()).data(folder);
    let ops = ops.notifier(phone.clone()).start().await.unwrap();
    let budget = Budget::new(300.0).mean_over(SECOND * 2).hold(SECOND).recover(SECOND);
    let latency = ops.metric("claims.latency_ms").budget(budget);
    (ops, latency)
}

fn state(ops: &Ops) -> Option<AlertState> {
    let alerts = ops.alerts();
    alerts.iter().find(|alert| alert.name == "claims.latency_ms").map(|alert| alert.state)
}

#[test]
fn an_alert_goes_on_where_it_was_and_what_was_not_delivered_is_sent_once() {
    let folder = tempfile::tempdir().unwrap();
    // The runtime ends with the process: no task has the time to say goodbye.
    let (before, key) = Runtime::new().unwrap().block_on(async {
        let phone = Phone { rings_forever: true, ..Phone::default() };
        let (ops, latency) = start(folder.path(), &phone).await;
        let mut queued = Vec::new();
        // The log has its own as well, and settles it.
        until(async || {
            latency.record(900.0);
            queued = ops.ledger().history().await.unwrap().unsettled;
            matches!(&queued[..], [(receiver, _)] if receiver == "phone")
        })
        .await;
        (state(&ops), queued.remove(0).1.key)
    });
    assert!(matches!(before, Some(AlertState::Firing { .. })), "{before:?}");

    let phone = Phone::default();
    Runtime::new().unwrap().block_on(async {
        let (ops, latency) = start(folder.path(), &phone).await;
        until(async || {
            latency.record(900.0);
            state(&ops).is_some() && !phone.said().is_empty()
        })
        .await;
        assert_eq!(state(&ops), before);
        assert_eq!(phone.said(), [("firing", key.clone())]);
    });

    Runtime::new().unwrap().block_on(async {
        let (ops, latency) = start(folder.path(), &phone).await;
        until(async || {
            latency.record(20.0);
            phone.said().len() > 1
        })
        .await;
        // The same incident is over, and nobody was called twice.
        let resolved = key.replace("/firing/", "/resolved/");
        assert_eq!(phone.said(), [("firing", key), ("resolved", resolved)]);
        until(async || ops.ledger().history().await.unwrap().unsettled.is_empty()).await;
        ops.ledger().verify().await.unwrap();
        ops.shutdown(SECOND).await.unwrap();
    });
}
