//! What the host makes of a process that does not keep to the protocol; the test plays the process.

use std::io;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use hms_ops_core::runbook::Outcome;
use hms_ops_runbook::Sandbox;
use hms_ops_runbook::frame::{self, RunbookFrame};
use hms_ops_runbook::sandbox::{Launched, Process};
use tokio::io::{AsyncWriteExt, DuplexStream};

use crate::world::World;

/// Gives out one end of a stream whose other end the test holds.
#[derive(Debug)]
struct Played(Mutex<Option<DuplexStream>>);

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
        let socket = self.0.lock().unwrap().take();
        let socket = socket.ok_or_else(|| io::Error::other("only once"))?;
        Ok(Launched {
            socket: Box::new(socket),
            output: Box::new(io::Cursor::new(Vec::new())),
            process: Box::new(NoProcess),
        })
    }
}

async fn outcome_of(bytes: &[u8]) -> Outcome {
    let (near, mut far) = tokio::io::duplex(1 << 21);
    far.write_all(bytes).await.unwrap();
    drop(far);
    let world = World::with(Arc::new(Played(Mutex::new(Some(near))))).await;
    world.run("rollover").await
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
