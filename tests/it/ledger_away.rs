//! What is not written down does not happen: the ledger fails while an alert fires.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hms_ops::async_trait;
use hms_ops::core::clock::SystemClock;
use hms_ops::core::ledger::{
    Entry, Fence, History, Ledger, LedgerError, MemoryLedger, Recorded, Seq,
};
use hms_ops::core::notify::{Notification, Notifier, Receipt, SendError};
use hms_ops::core::registry::Registry;
use hms_ops::prelude::*;

use crate::healing::until;

const SECOND: Duration = Duration::from_secs(1);

/// A ledger whose disk may be away.
#[derive(Debug)]
struct Flaky {
    inner: MemoryLedger,
    away: Arc<AtomicBool>,
}

#[async_trait]
impl Ledger for Flaky {
    async fn lease(&self, holder: &str, ttl: Duration) -> Result<Option<Fence>, LedgerError> {
        self.inner.lease(holder, ttl).await
    }

    async fn append(&self, fence: &Fence, entries: Vec<Entry>) -> Result<Seq, LedgerError> {
        if self.away.load(Ordering::SeqCst) {
            return Err(LedgerError::Backend("the disk is full".into()));
        }
        self.inner.append(fence, entries).await
    }

    async fn read(&self, from: Seq, limit: usize) -> Result<Vec<Arc<Recorded>>, LedgerError> {
        self.inner.read(from, limit).await
    }

    async fn history(&self) -> Result<History, LedgerError> {
        self.inner.history().await
    }

    async fn changed(&self, after: Seq) -> Result<Seq, LedgerError> {
        self.inner.changed(after).await
    }

    async fn verify(&self) -> Result<Seq, LedgerError> {
        self.inner.verify().await
    }
}

/// On-call's phone: remembers what came.
#[derive(Clone, Debug, Default)]
struct Phone(Arc<Mutex<Vec<String>>>);

#[async_trait]
impl Notifier for Phone {
    fn receiver(&self) -> &str {
        "phone"
    }

    async fn send(&self, n: &Notification) -> Result<Receipt, SendError> {
        self.0.lock().unwrap().push(n.alert.state.word().to_owned());
        Ok(Receipt("rang".to_owned()))
    }
}

#[tokio::test]
async fn nobody_is_called_before_the_ledger_has_it_and_everybody_once_it_does() {
    let (away, phone) = (Arc::new(AtomicBool::new(true)), Phone::default());
    let inner = MemoryLedger::new(Arc::new(SystemClock));
    let ops = Ops::builder()
        .service("claims")
        .registry(Registry::new())
        .ledger(Flaky { inner, away: away.clone() })
        .notifier(phone.clone())
        .start()
        .await
        .unwrap();
    let budget = Budget::new(300.0).mean_over(SECOND * 2).hold(SECOND).recover(SECOND);
    let latency = ops.metric("claims.latency_ms").budget(budget);
    until(async || {
        latency.record(900.0);
        ops.alerts().iter().any(|alert| alert.state.word() == "firing")
    })
    .await;
    assert_eq!(ops.ledger().read(Seq(1), 10).await.unwrap(), []);
    assert_eq!(*phone.0.lock().unwrap(), Vec::<String>::new());

    away.store(false, Ordering::SeqCst);
    until(async || {
        latency.record(900.0);
        !phone.0.lock().unwrap().is_empty()
    })
    .await;
    assert_eq!(*phone.0.lock().unwrap(), ["firing"]);
    ops.ledger().verify().await.unwrap();
    ops.shutdown(SECOND).await.unwrap();
}
