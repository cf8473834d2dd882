//! The suites of the testkit, for the budget rule and for every notifier.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use hms_ops_alert::notify::{LogNotifier, Secret, WebhookNotifier};
use hms_ops_alert::{BudgetRule, Slo, SloRule};
use hms_ops_core::metric::Budget;
use hms_ops_core::notify::Notifier;
use hms_ops_testkit::notifier::NotifierUnderTest;
use hms_ops_testkit::{keep, notifier_suite, rule_suite};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::delivery::{SECRET, read_request};

mod budget_rule {
    use super::*;

    rule_suite!(BudgetRule::new("eligibility.latency_ms", Budget::new(300.0)));
}

mod budget_rule_of_one_service {
    use super::*;

    rule_suite!(
        BudgetRule::new("eligibility.latency_ms", Budget::new(300.0)).of_service(&"claims".into())
    );
}

mod slo_rule_of_a_latency {
    use super::*;

    rule_suite!(SloRule::new(
        Slo::new("fast")
            .latency("eligibility.latency_ms", 300.0)
            .objective("99.9")
            .build()
            .unwrap()
    ));
}

mod slo_rule_of_one_service {
    use super::*;

    rule_suite!(SloRule::new(
        Slo::new("good")
            .service("claims")
            .bad_ratio(r#"errors_total{code="500"}"#, "requests_total")
            .objective("99.9")
            .build()
            .unwrap()
    ));
}

mod log_notifier {
    use super::*;

    notifier_suite!(Logged::new());
}

mod webhook_notifier {
    use super::*;

    notifier_suite!(Hooked::start().await);
}

/// The log notifier, and the log of this thread.
struct Logged(Log);

/// Keeps the message of every event.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Logged {
    fn new() -> Self {
        let log = Log::default();
        let _until_the_end = keep(tracing::subscriber::set_default(log.clone()));
        Self(log)
    }
}

#[async_trait]
impl NotifierUnderTest for Logged {
    fn notifier(&self) -> &dyn Notifier {
        &LogNotifier
    }

    async fn received(&self) -> Vec<String> {
        self.0.0.lock().unwrap().clone()
    }

    async fn down(&self, _: bool) -> bool {
        false
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("hms_ops_alert")
    }

    fn event(&self, event: &Event<'_>) {
        event.record(&mut Messages(&mut self.0.lock().unwrap()));
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

struct Messages<'a>(&'a mut Vec<String>);

impl Visit for Messages<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0.push(format!("{value:?}"));
        }
    }
}

/// The webhook notifier, and a receiver on loopback that answers 503 while it is down.
struct Hooked {
    notifier: WebhookNotifier,
    received: Arc<Mutex<Vec<String>>>,
    down: Arc<AtomicBool>,
}

impl Hooked {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let secret = Secret::parse(SECRET).unwrap();
        let notifier = WebhookNotifier::new("on-call", &url, secret).unwrap();
        let (received, down) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<AtomicBool>::default());
        let (bodies, refuses) = (received.clone(), down.clone());
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let request = read_request(&mut stream).await;
                let answer = if refuses.load(Ordering::SeqCst) {
                    "HTTP/1.1 503 X\r\n\r\n"
                } else {
                    let (_, body) = request.split_once("\r\n\r\n").unwrap();
                    bodies.lock().unwrap().push(body.to_owned());
                    "HTTP/1.1 204 X\r\n\r\n"
                };
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        Self { notifier, received, down }
    }
}

#[async_trait]
impl NotifierUnderTest for Hooked {
    fn notifier(&self) -> &dyn Notifier {
        &self.notifier
    }

    async fn received(&self) -> Vec<String> {
        self.received.lock().unwrap().clone()
    }

    async fn down(&self, down: bool) -> bool {
        self.down.store(down, Ordering::SeqCst);
        true
    }
}
