//! What is not written down does not happen: the ledger fails while an alert fires.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hms_ops::alert::Receiver;
use hms_ops::async_trait;
use hms_ops::core::alert::{
    AlertRule, Condition, ConditionSink, RuleError, RuleSpec, TickContext, Verdict,
};
use hms_ops::core::clock::SystemClock;
use hms_ops::core::labels::Labels;
use hms_ops::core::ledger::{
    Entry, Event, Fence, History, Ledger, LedgerError, MemoryLedger, Recorded, Seq,
};
use hms_ops::core::notify::{Notification, Notifier, Receipt, SendError};
use hms_ops::core::registry::Registry;
use hms_ops::core::store::SeriesSet;
use hms_ops::prelude::*;

use crate::healing::until;

const SECOND: Duration = Duration::from_secs(1);

/// A ledger whose disk may be away, and that takes no more than so many entries at once.
#[derive(Debug)]
struct Flaky {
    inner: MemoryLedger,
    away: Arc<AtomicBool>,
    /// Appends that met no disk.
    refused: Arc<AtomicUsize>,
    most: usize,
}

impl Flaky {
    fn new(away: &Arc<AtomicBool>) -> Self {
        let inner = MemoryLedger::new(Arc::new(SystemClock));
        Self { inner, away: away.clone(), refused: Arc::default(), most: usize::MAX }
    }
}

#[async_trait]
impl Ledger for Flaky {
    async fn lease(&self, holder: &str, ttl: Duration) -> Result<Option<Fence>, LedgerError> {
        self.inner.lease(holder, ttl).await
    }

    async fn append(&self, fence: &Fence, entries: Vec<Entry>) -> Result<Seq, LedgerError> {
        if self.away.load(Ordering::SeqCst) {
            self.refused.fetch_add(1, Ordering::SeqCst);
            return Err(LedgerError::Backend("the disk is full".into()));
        }
        if entries.len() > self.most {
            return Err(LedgerError::Backend("more than one append takes".into()));
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
    let ops = Ops::builder()
        .service("claims")
        .registry(Registry::new())
        .ledger(Flaky::new(&away))
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

#[tokio::test]
async fn who_watches_for_silence_hears_it_while_the_ledger_refuses_what_was_decided() {
    let (away, watcher) = (Arc::new(AtomicBool::new(false)), Phone::default());
    let beats = || watcher.0.lock().unwrap().len();
    let heartbeat = Receiver::new(Arc::new(watcher.clone())).heartbeat(SECOND);
    let ledger = Flaky::new(&away);
    let refused = ledger.refused.clone();
    let ops = Ops::builder().service("claims").registry(Registry::new()).ledger(ledger);
    let ops = ops.receiver(heartbeat).start().await.unwrap();
    until(async || beats() > 1).await;

    away.store(true, Ordering::SeqCst);
    let budget = Budget::new(300.0).mean_over(SECOND * 2).hold(SECOND).recover(SECOND);
    let latency = ops.metric("claims.latency_ms").budget(budget);
    until(async || {
        latency.record(900.0);
        refused.load(Ordering::SeqCst) >= 2
    })
    .await;
    let before = beats();
    until(async || {
        latency.record(900.0);
        refused.load(Ordering::SeqCst) >= 5
    })
    .await;
    assert_eq!(beats(), before);

    away.store(false, Ordering::SeqCst);
    until(async || beats() > before + 1).await;
    ops.shutdown(SECOND).await.unwrap();
}

/// More at once than an append takes: as many alerts as a large estate has, or as flap while the
/// ledger is away.
#[derive(Debug)]
struct Storm(RuleSpec);

const ALERTS: usize = 1200;

impl AlertRule for Storm {
    fn spec(&self) -> &RuleSpec {
        &self.0
    }

    fn warm_up(&mut self, _: usize, _: &mut dyn SeriesSet) -> Result<(), RuleError> {
        Ok(())
    }

    fn evaluate(&mut self, _: &TickContext<'_>, out: &mut dyn ConditionSink) {
        for n in 0..ALERTS {
            out.report(Verdict {
                labels: Labels::from_pairs([("n", n.to_string().as_str())]),
                condition: Condition::Breach,
                value: None,
                threshold: None,
                summary: String::new(),
            });
        }
    }
}

#[tokio::test]
async fn more_decisions_than_one_append_takes_are_written_one_append_after_the_other() {
    let away = Arc::new(AtomicBool::new(false));
    let spec = RuleSpec {
        name: "storm".to_owned(),
        service: None,
        inputs: Vec::new(),
        hold: Duration::ZERO,
        recover: Duration::ZERO,
    };
    let ops = Ops::builder().registry(Registry::new()).rule(Storm(spec));
    let ops = ops.ledger(Flaky { most: 1000, ..Flaky::new(&away) }).start().await.unwrap();
    let mut firing = 0;
    until(async || {
        let page = ops.ledger().read(Seq(1), 10_000).await.unwrap();
        let told = |recorded: &&Arc<Recorded>| {
            matches!(&recorded.entry.event, Event::Transition { alert, .. } if alert.state.is_active())
        };
        firing = page.iter().filter(told).count();
        firing >= ALERTS
    })
    .await;
    assert_eq!(firing, ALERTS);
    ops.shutdown(SECOND).await.unwrap();
}
