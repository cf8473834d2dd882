//! The other side: what this binary does when it was started as the process of a runbook.

use std::collections::HashMap;
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as StdSocket;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};

use async_trait::async_trait;
use hms_ops_core::runbook::{
    Call, Execution, HostCalls, Outcome, Registration, RunbookContext, RunbookError,
};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Signal, getpgrp, getpid, kill_process_group, set_child_subreaper};
use serde_json::Value as Json;
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::{Mutex, oneshot};

use crate::frame::{self, FrameReader, HostFrame, RunbookFrame};

/// The name under which a runbook process is started, in place of the program's.
pub(super) const MARKER: &str = "hms-ops-runbook";

static ENTERED: AtomicBool = AtomicBool::new(false);

/// Runs a runbook and ends the process, if the process was started for that; else returns.
///
/// Must be the first thing in `main`, before any thread starts: the process of a runbook begins
/// here and must not become a second service. `#[hms_ops::main]` does it.
pub fn enter() {
    ENTERED.store(true, Ordering::Relaxed);
    if is_runbook_process() {
        run();
    }
}

pub(super) fn entered() -> bool {
    ENTERED.load(Ordering::Relaxed)
}

/// Whether this process was started for a runbook.
pub fn is_runbook_process() -> bool {
    std::env::args_os().next().is_some_and(|name| name == MARKER)
}

fn run() -> ! {
    let socket = match take_socket() {
        Ok(socket) => socket,
        Err(error) => {
            eprintln!("{MARKER} is started by HMS-OPS, not by hand: {error}");
            std::process::exit(2);
        }
    };
    // What this process starts stays below it, so that the host finds it.
    let _ = set_child_subreaper(Some(getpid()));
    if let Ok(watched) = socket.try_clone() {
        std::thread::spawn(move || end_with_the_host(watched.as_fd()));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.and_then(|runtime| runtime.block_on(serve(socket)));
    if let Err(error) = done {
        eprintln!("{MARKER}: {error}");
    }
    std::process::exit(0);
}

/// Takes the socket from standard input, and leaves nothing there for what this process starts.
fn take_socket() -> io::Result<StdSocket> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        return Err(io::Error::other("standard input is a terminal"));
    }
    let socket: OwnedFd = stdin.as_fd().try_clone_to_owned()?;
    let socket = StdSocket::from(socket);
    socket.peer_addr()?;
    let nothing = std::fs::File::open("/dev/null")?;
    rustix::stdio::dup2_stdin(&nothing)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Ends this process, and its group, when the host is gone, even if the runbook never yields.
fn end_with_the_host(socket: BorrowedFd<'_>) {
    let mut watched = [PollFd::new(&socket, PollFlags::RDHUP)];
    while poll(&mut watched, None).is_err() {}
    let _ = kill_process_group(getpgrp(), Signal::KILL);
    std::process::abort();
}

async fn serve(socket: StdSocket) -> io::Result<()> {
    let (reader, writer) = UnixStream::from_std(socket)?.into_split();
    let mut reader = FrameReader::new(reader, usize::MAX);
    let host = Arc::new(SocketHost {
        writer: Mutex::new(writer),
        waiting: std::sync::Mutex::default(),
        last_id: AtomicU64::new(0),
    });
    host.say(&RunbookFrame::Ready).await?;
    let HostFrame::Start { execution } = reader.next().await.map_err(io::Error::other)? else {
        return Err(io::Error::other("the host did not say what to run"));
    };
    let calls: Arc<dyn HostCalls> = host.clone();
    // A task of its own, so that a panic is its result and not the end of this process.
    let running = tokio::spawn(run_one(*execution, calls));
    let answers = tokio::spawn({
        let host = host.clone();
        async move {
            while let Ok(HostFrame::Answer { id, result }) = reader.next().await {
                host.answer(id, result);
            }
        }
    });
    let outcome = match running.await {
        Ok(Ok(())) => Outcome::Completed,
        Ok(Err(error)) => Outcome::Failed { error },
        Err(ended) => Outcome::Panicked { message: panic_message(ended) },
    };
    host.say(&RunbookFrame::End { outcome }).await?;
    // The host ends this process and what it started; were it to end first, that would be lost.
    let _ = answers.await;
    Ok(())
}

async fn run_one(execution: Execution, host: Arc<dyn HostCalls>) -> Result<(), RunbookError> {
    let Some(registration) = Registration::find(&execution.runbook) else {
        return Err(RunbookError::failed(format!("no runbook {:?} here", execution.runbook)));
    };
    let mut ctx = RunbookContext::new(execution, host);
    (registration.make)().run(&mut ctx).await
}

fn panic_message(ended: tokio::task::JoinError) -> String {
    match ended.try_into_panic() {
        Ok(panic) => match panic.downcast::<String>() {
            Ok(message) => *message,
            Err(panic) => panic
                .downcast_ref::<&str>()
                .map_or_else(|| "without a message".to_owned(), |message| (*message).to_owned()),
        },
        Err(ended) => ended.to_string(),
    }
}

/// Carries calls to the host.
#[derive(Debug)]
struct SocketHost {
    writer: Mutex<OwnedWriteHalf>,
    waiting: std::sync::Mutex<HashMap<u64, oneshot::Sender<Result<Json, RunbookError>>>>,
    last_id: AtomicU64,
}

impl SocketHost {
    async fn say(&self, frame: &RunbookFrame) -> io::Result<()> {
        let mut writer = self.writer.lock().await;
        frame::write(&mut *writer, frame).await.map_err(io::Error::other)
    }

    fn answer(&self, id: u64, result: Result<Json, RunbookError>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(caller) = waiting.remove(&id) {
            let _ = caller.send(result);
        }
    }
}

#[async_trait]
impl HostCalls for SocketHost {
    async fn call(&self, call: Call) -> Result<Json, RunbookError> {
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        let (sender, answer) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(id, sender);
        let capability = call.capability.clone();
        let failed = |reason: String| RunbookError::Call { capability, reason };
        match self.say(&RunbookFrame::Call { id, call }).await {
            Ok(()) => answer.await.unwrap_or_else(|_| Err(failed("the host is gone".to_owned()))),
            Err(error) => Err(failed(error.to_string())),
        }
    }
}
