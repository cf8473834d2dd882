//! What the host makes of a process that does not keep to the protocol; the test plays the process.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use hms_ops_core::alert::AlertState;
use hms_ops_core::ledger::Event;
use hms_ops_core::runbook::{Call, Outcome};
use hms_ops_core::time::Timestamp;
use hms_ops_runbook::Sandbox;
use hms_ops_runbook::frame::{self, RunbookFrame};
use hms_ops_runbook::sandbox::{Launched, Process};
use serde_json::json;
use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
use tokio::time::timeout;

use crate::world::{World, alert};

/// Gives out the ends of streams whose other ends the test holds, last first.
#[derive(Debug)]
struct Played(Mutex<Vec<DuplexStream>>);

#[derive(Debug)]
struct NoProcess;

#[async_trait]
impl Process for NoProcess {
    fn id(&self) -> u32 {
        0
    }

    async fn wait(&mut self) -> String {
        "exit status: 7".to_owned()
    }

    async fn kill(&mut self) {}
}

impl Sandbox for Played {
    fn check(&self) -> Result<(), String> {
        Ok(())
    }

    fn launch(&self) -> io::Result<Launched> {
        let socket = self.0.lock().unwrap().pop();
        let socket = socket.ok_or_else(|| io::Error::other("no more"))?;
        Ok(Launched {
            socket: Box::new(socket),
            output: Box::new(io::Cursor::new(Vec::new())),
            process: Box::new(NoProcess),
        })
    }
}

async fn outcome_of(bytes: &[u8]) -> Outcome {
    let (near, mut far) = duplex(1 << 21);
    far.write_all(bytes).await.unwrap();
    drop(far);
    played(vec![near]).await.run("rollover").await
}

async fn played(near: Vec<DuplexStream>) -> World {
    World::with(Arc::new(Played(Mutex::new(near)))).await
}

async fn frame(frame: &RunbookFrame) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::write(&mut bytes, frame).await.unwrap();
    bytes
}

#[tokio::test]
async fn a_message_that_is_no_json_ends_the_run() {
    let outcome = outcome_of(b"\0\0\0\x03{x}").await;
    let Outcome::BrokeProtocol { reason } = outcome else { panic!("{outcome:?}") };
    assert!(reason.starts_with("a message that cannot be read: "), "{reason}");
}

#[tokio::test]
async fn a_message_that_is_too_long_ends_the_run() {
    let outcome = outcome_of(b"\x00\x01\x00\x01").await;
    let reason = "a message of 65537 bytes, the limit is 65536".to_owned();
    assert_eq!(outcome, Outcome::BrokeProtocol { reason });
}

#[tokio::test]
async fn a_process_that_stops_in_a_message_has_no_outcome() {
    let outcome = outcome_of(b"\0\0\0\x09{\"say").await;
    assert_eq!(outcome, Outcome::NoOutcome { exit: "exit status: 7".into() });
}

#[tokio::test]
async fn a_process_cannot_claim_an_end_that_only_the_host_can_see() {
    let end = RunbookFrame::End { outcome: Outcome::Cancelled { reason: "by me".into() } };
    let outcome = outcome_of(&frame(&end).await).await;
    let reason = "it claims what only the host can say: cancelled: by me".to_owned();
    assert_eq!(outcome, Outcome::BrokeProtocol { reason });
}

#[tokio::test]
async fn a_process_is_ready_once() {
    let (near, mut far) = duplex(1 << 16);
    let ready = frame(&RunbookFrame::Ready).await;
    far.write_all(&ready.repeat(2)).await.unwrap();
    let outcome = played(vec![near]).await.run("rollover").await;
    let reason = "it says ready twice".to_owned();
    assert_eq!(outcome, Outcome::BrokeProtocol { reason });
}

#[tokio::test(start_paused = true)]
async fn a_process_that_does_not_read_is_killed_at_its_time() {
    let (near, far) = duplex(1024);
    let world = played(vec![near]).await;
    let flood = tokio::spawn(notes_without_end(far));
    let outcome = timeout(PATIENCE, world.run("sleeps")).await.expect("an end");
    assert_eq!(outcome, Outcome::TimedOut { after: Duration::from_millis(300) });
    flood.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_process_that_does_not_read_does_not_hold_up_a_shutdown() {
    let (near, far) = duplex(1024);
    let world = played(vec![near]).await;
    let flood = tokio::spawn(notes_without_end(far));
    world.executor.spawn("rollover", alert());
    world.wait_for(|event| matches!(event, Event::CallResult { .. }).then_some(())).await;
    timeout(PATIENCE, world.executor.shutdown()).await.expect("an end");
    assert_eq!(world.story().await.pop().unwrap(), "cancelled: the service shut down");
    flood.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_call_that_does_not_end_has_a_result_soon_after_its_run() {
    let (near, mut far) = duplex(1 << 16);
    let world = played(vec![near]).await;
    far.write_all(&call("hang", json!(null)).await).await.unwrap();
    let outcome = timeout(Duration::from_secs(31), world.run("sleeps")).await.expect("an end");
    assert_eq!(outcome, Outcome::TimedOut { after: Duration::from_millis(300) });
    assert_eq!(
        world.story().await[2..],
        [
            "intent 1 hang",
            "result 1: unknown: the call did not end within 30s of its run",
            "killed after its time of 300ms",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_call_that_does_not_end_does_not_hold_up_a_shutdown() {
    let (near, mut far) = duplex(1 << 16);
    let world = played(vec![near]).await;
    far.write_all(&call("hang", json!(null)).await).await.unwrap();
    world.executor.spawn("waits_for_the_host", alert());
    world.wait_for(|event| matches!(event, Event::CallIntent { .. }).then_some(())).await;
    timeout(PATIENCE, world.executor.shutdown()).await.expect("an end");
    assert_eq!(
        world.story().await[2..],
        [
            "intent 1 hang",
            "result 1: unknown: the call did not end within 5s of its run",
            "cancelled: the service shut down",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn sixteen_processes_run_at_once_and_more_wait_for_their_turn() {
    let (near, mut far): (Vec<_>, Vec<_>) = (0..18).map(|_| duplex(1)).unzip();
    let world = played(near).await;
    for since in 0..18 {
        let mut alert = alert();
        alert.state = AlertState::Firing { since: Timestamp::from_millis(since) };
        world.executor.spawn("rollover", alert);
    }
    world.wait_for(started(16)).await;
    drop(far.pop());
    world.wait_for(started(17)).await;
    timeout(PATIENCE, world.executor.shutdown()).await.expect("an end");

    let story = world.story().await;
    let count = |line: &str| story.iter().filter(|told| *told == line).count();
    assert_eq!(count("claimed rollover"), 18);
    assert_eq!(count("started"), 17);
    assert_eq!(count("ended without an outcome: exit status: 7"), 1);
    assert_eq!(count("cancelled: the service shut down"), 17);
}

/// Longer than any test waits for an end, in time that passes only while nothing else does.
const PATIENCE: Duration = Duration::from_secs(10);

/// Plays a process that calls and calls and never reads, until nobody listens.
async fn notes_without_end(mut far: DuplexStream) {
    far.write_all(&frame(&RunbookFrame::Ready).await).await.unwrap();
    let note = call("note", json!({ "text": "x".repeat(2000) })).await;
    while far.write_all(&note).await.is_ok() {}
}

async fn call(capability: &str, args: serde_json::Value) -> Vec<u8> {
    let call = Call { capability: capability.into(), args };
    frame(&RunbookFrame::Call { id: 1, call }).await
}

/// Picks the start of the run with this number, from 1.
fn started(number: usize) -> impl Fn(&Event) -> Option<()> {
    let seen = std::cell::Cell::new(0);
    move |event| {
        seen.set(seen.get() + usize::from(matches!(event, Event::RunStarted { .. })));
        (seen.get() == number).then_some(())
    }
}
