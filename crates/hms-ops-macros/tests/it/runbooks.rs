use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use hms_ops_core::alert::{AlertHealth, AlertState, AlertStatus, Fingerprint};
use hms_ops_core::labels::Labels;
use hms_ops_core::runbook::{
    Call, Execution, ExecutionId, HostCalls, Registration, RunbookContext, RunbookError,
    RunbookResult,
};
use hms_ops_core::time::Timestamp;
use hms_ops_macros::runbook;
use serde_json::Value as Json;

use crate::ops::__private::block_on;

#[runbook(
    crate = crate::ops,
    on_alert = "eligibility.latency_ms",
    on_alert = "eligibility.errors",
    timeout = "5m",
    compensate = undo::rollback
)]
async fn rollover(ctx: &mut RunbookContext) -> RunbookResult {
    ctx.note("rolled over").await?;
    ctx.note("done").await
}

mod undo {
    use super::*;

    pub(super) async fn rollback(ctx: &mut RunbookContext) -> RunbookResult {
        ctx.note("rolled back").await
    }
}

#[runbook(crate = crate::ops, on_alert = "disk_full", name = "clean-up")]
pub(crate) async fn r#loop(_: &mut RunbookContext) -> Result<(), RunbookError> {
    Err("nothing to delete".into())
}

/// Answers every note, and keeps it.
#[derive(Debug, Default)]
struct Notes(Mutex<Vec<String>>);

#[async_trait]
impl HostCalls for Notes {
    async fn call(&self, call: Call) -> Result<Json, RunbookError> {
        self.0.lock().unwrap().push(call.args["text"].as_str().unwrap().to_owned());
        Ok(Json::Null)
    }
}

/// A context, and the notes that are made through it.
fn context() -> (RunbookContext, Arc<Notes>) {
    let alert = AlertStatus {
        name: "disk_full".to_owned(),
        fingerprint: Fingerprint::of("disk_full", &Labels::default()),
        service: None,
        labels: Labels::default(),
        state: AlertState::Inactive,
        health: AlertHealth::Ok,
        value: None,
        threshold: None,
        summary: String::new(),
    };
    let notes = Arc::new(Notes::default());
    let execution = Execution {
        id: ExecutionId::of("rollover", &alert.fingerprint, Timestamp::from_millis(0)),
        runbook: "rollover".to_owned(),
        alert,
        params: Json::Null,
        journal: Vec::new(),
    };
    (RunbookContext::new(execution, notes.clone()), notes)
}

#[test]
fn a_runbook_is_registered_with_what_its_options_say() {
    let names: Vec<_> = Registration::all().iter().map(|found| found.name).collect();
    assert_eq!(names, ["clean-up", "rollover"]);

    let spec = (Registration::find("rollover").unwrap().make)().spec();
    assert_eq!(spec.name, "rollover");
    assert_eq!(spec.on_alert, ["eligibility.latency_ms", "eligibility.errors"]);
    assert_eq!(spec.timeout, Duration::from_secs(300));

    let spec = (Registration::find("clean-up").unwrap().make)().spec();
    assert_eq!(spec.name, "clean-up");
    assert_eq!(spec.timeout, Duration::from_secs(60));
}

#[test]
fn a_runbook_runs_and_takes_back_what_its_functions_say() {
    let (mut ctx, notes) = context();
    let rollover = (Registration::find("rollover").unwrap().make)();
    block_on(rollover.run(&mut ctx)).unwrap();
    block_on(rollover.compensate(&mut ctx)).unwrap();
    assert_eq!(*notes.0.lock().unwrap(), ["rolled over", "done", "rolled back"]);
}

#[test]
fn a_runbook_without_compensation_says_that_it_has_none() {
    let (mut ctx, _) = context();
    let clean_up = (Registration::find("clean-up").unwrap().make)();
    let failed = block_on(clean_up.run(&mut ctx)).unwrap_err();
    assert_eq!(failed, RunbookError::failed("nothing to delete"));
    assert_eq!(block_on(clean_up.compensate(&mut ctx)), Err(RunbookError::Unsupported));
}

#[test]
fn the_function_is_still_a_function() {
    let (mut ctx, notes) = context();
    block_on(rollover(&mut ctx)).unwrap();
    assert_eq!(*notes.0.lock().unwrap(), ["rolled over", "done"]);
}
