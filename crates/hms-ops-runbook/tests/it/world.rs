//! What the tests share: an executor over a ledger in memory, and how to read what it wrote.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hms_ops_core::alert::{AlertHealth, AlertState, AlertStatus, Fingerprint};
use hms_ops_core::clock::SystemClock;
use hms_ops_core::labels::Labels;
use hms_ops_core::ledger::{Event, Journal, Ledger, MemoryLedger, Seq};
use hms_ops_core::mesh::{
    MeshError, ShiftReport, ShiftRequest, ShiftState, Snapshot, TrafficControl,
};
use hms_ops_core::name::Service;
use hms_ops_core::runbook::{Capability, Invocation, Outcome};
use hms_ops_core::time::Timestamp;
use hms_ops_runbook::capability::ShiftCapability;
use hms_ops_runbook::frame::MAX_FRAME;
use hms_ops_runbook::sandbox::Reexec;
use hms_ops_runbook::{Executor, Policy, Sandbox};
use serde_json::Value as Json;

pub(crate) struct World {
    pub(crate) executor: Executor,
    pub(crate) ledger: Arc<dyn Ledger>,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(Arc::new(Reexec)).await
    }

    pub(crate) async fn with(sandbox: Arc<dyn Sandbox>) -> Self {
        let policy = "[runbook.rollover]\n\
                      mesh.shift = { services = [\"eligibility-svc\"], to = [\"cluster-b\"] }\n\
                      params = { reason = \"hurricane\" }\n\
                      [runbook.waits_for_the_host]\nblock = true\nhang = true\n\
                      [runbook.sleeps]\nhang = true\n\
                      [runbook.is_told_too_much]\nlong = true\n";
        let ledger: Arc<dyn Ledger> = Arc::new(MemoryLedger::new(Arc::new(SystemClock)));
        let ttl = Duration::from_secs(3600);
        let journal = Journal::open(ledger.clone(), Arc::new(SystemClock), "test", ttl).await;
        let capabilities: Vec<Arc<dyn Capability>> = vec![
            Arc::new(ShiftCapability::new(Arc::new(Obedient))),
            Arc::new(Block),
            Arc::new(Bad::Hang),
            Arc::new(Bad::Long),
        ];
        let policy = Policy::parse("ops.toml", policy).unwrap();
        let journal = Arc::new(journal.unwrap().unwrap());
        let executor = Executor::new(journal, sandbox, policy, capabilities).unwrap();
        Self { executor, ledger }
    }

    pub(crate) async fn run(&self, runbook: &str) -> Outcome {
        self.executor.run(runbook, alert()).await.unwrap().expect("the first run")
    }

    /// Every entry in one line.
    pub(crate) async fn story(&self) -> Vec<String> {
        let entries = self.ledger.read(Seq(1), 10_000).await.unwrap();
        entries
            .iter()
            .map(|recorded| match &recorded.entry.event {
                Event::RunClaimed { runbook, .. } => format!("claimed {runbook}"),
                Event::RunStarted { .. } => "started".to_owned(),
                Event::CallIntent { call, capability, .. } => format!("intent {call} {capability}"),
                Event::CallResult { call, result: Ok(_), .. } => format!("result {call} ok"),
                Event::CallResult { call, result: Err(e), .. } => format!("result {call}: {e}"),
                Event::Note { text, .. } => format!("note {text}"),
                Event::RunFinished { outcome, .. } => outcome.to_string(),
                other => format!("{other:?}"),
            })
            .collect()
    }

    /// Waits for the first entry that `pick` picks something from.
    pub(crate) async fn wait_for<T>(&self, pick: impl Fn(&Event) -> Option<T>) -> T {
        let mut seen = Seq(0);
        loop {
            for recorded in self.ledger.read(seen.next(), 100).await.unwrap() {
                seen = recorded.seq;
                if let Some(found) = pick(&recorded.entry.event) {
                    return found;
                }
            }
            self.ledger.changed(seen).await.unwrap();
        }
    }
}

pub(crate) fn alert() -> AlertStatus {
    let labels = Labels::from_pairs([("service", "eligibility-svc")]);
    AlertStatus {
        name: "eligibility.latency_ms".into(),
        fingerprint: Fingerprint::of("eligibility.latency_ms", &labels),
        service: Some("eligibility-svc".into()),
        labels,
        state: AlertState::Firing { since: Timestamp::from_millis(5000) },
        health: AlertHealth::Ok,
        value: Some(412.0),
        threshold: Some(300.0),
        summary: "mean over 60s is 412 ms".into(),
    }
}

/// A mesh that does whatever it is told; the real one has tests of its own.
#[derive(Debug)]
pub(crate) struct Obedient;

#[async_trait]
impl TrafficControl for Obedient {
    async fn snapshot(&self, service: &Service) -> Result<Snapshot, MeshError> {
        Err(MeshError::UnknownService { service: service.clone() })
    }

    async fn shift(&self, request: ShiftRequest) -> Result<ShiftReport, MeshError> {
        let state = ShiftState::Observed { evidence: "cluster-b served 20 of 20".into() };
        let to = vec![(request.to, 100)];
        Ok(ShiftReport { service: request.service, from: vec![], to, state })
    }
}

/// A call that returns when the test lets it.
#[derive(Debug)]
struct Block;

#[async_trait]
impl Capability for Block {
    fn name(&self) -> &str {
        "block"
    }

    fn check_grant(&self, _: &Json) -> Result<(), String> {
        Ok(())
    }

    fn check(&self, _: &Json, _: &Json) -> Result<(), String> {
        Ok(())
    }

    async fn invoke(&self, invocation: &Invocation<'_>, _: Json) -> Result<Json, String> {
        // Until the process that called is gone.
        let process = invocation.execution.id.to_string();
        tokio::task::spawn_blocking(move || {
            while CALLERS.lock().unwrap().contains(&process) {
                std::thread::yield_now();
            }
        })
        .await
        .unwrap();
        Ok(Json::Null)
    }
}

/// Calls that no host should have to carry out.
#[derive(Debug)]
enum Bad {
    /// Never returns.
    Hang,
    /// Answers so much that a frame has no room for more.
    Long,
}

#[async_trait]
impl Capability for Bad {
    fn name(&self) -> &str {
        match self {
            Self::Hang => "hang",
            Self::Long => "long",
        }
    }

    fn check_grant(&self, _: &Json) -> Result<(), String> {
        Ok(())
    }

    fn check(&self, _: &Json, _: &Json) -> Result<(), String> {
        Ok(())
    }

    async fn invoke(&self, _: &Invocation<'_>, _: Json) -> Result<Json, String> {
        match self {
            Self::Hang => pending().await,
            Self::Long => Ok(Json::String("x".repeat(MAX_FRAME - r#"{"Ok":""}"#.len()))),
        }
    }
}

/// Executions whose blocked call is not let go.
pub(crate) static CALLERS: std::sync::Mutex<Vec<String>> = std::sync::Mutex::new(Vec::new());
