//! The executor: starts runbooks, carries out their calls, and says how they ended.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hms_ops_core::alert::{AlertState, AlertStatus};
use hms_ops_core::ledger::{Entry, Event, Journal, LedgerError};
use hms_ops_core::runbook::{
    Call, Capability, Execution, ExecutionId, Invocation, Outcome, Registration, RunbookError,
};
use serde_json::Value as Json;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::capability::NoteCapability;
use crate::frame::{self, FrameError, FrameReader, HostFrame, MAX_TOTAL, RunbookFrame};
use crate::policy::{Policy, PolicyError};
use crate::sandbox::{Launched, Process, Sandbox, Socket};

/// How many processes run at once; more runs wait.
const MAX_PROCESSES: usize = 16;
/// How many calls of one run are carried out at once; more wait.
const MAX_IN_FLIGHT: usize = 8;
/// How many calls one run may make.
const MAX_CALLS: u64 = 1000;
/// How much of what a run prints is kept, from its beginning.
const KEPT_OUTPUT: usize = 16 * 1024;
/// How much it may print before it is killed.
const MAX_OUTPUT: usize = 1024 * 1024;
/// How long a process may take to say that it is ready.
const MAX_START: Duration = Duration::from_secs(10);
/// How long to wait for a process that has closed its socket to end.
const MAX_LINGER: Duration = Duration::from_secs(1);
/// How long a call may go on after its run has ended; [`Capability::invoke`] promises it.
const MAX_AFTER_RUN: Duration = Duration::from_secs(30);
/// How long it may go on then once the executor shuts down.
const MAX_AFTER_STOP: Duration = Duration::from_secs(5);

/// Starts runbooks in processes of their own, at most once for each incident.
#[derive(Debug)]
pub struct Executor {
    shared: Arc<Shared>,
    runs: Mutex<JoinSet<()>>,
    stop: watch::Sender<bool>,
}

#[derive(Debug)]
struct Shared {
    journal: Arc<Journal>,
    sandbox: Arc<dyn Sandbox>,
    policy: Policy,
    capabilities: BTreeMap<String, Arc<dyn Capability>>,
    held: watch::Sender<Option<String>>,
    turns: Semaphore,
}

/// The calls of one run, and what tells them of its end.
#[derive(Debug)]
struct Calls {
    running: JoinSet<(u64, Answer)>,
    ended: watch::Receiver<bool>,
    stop: watch::Receiver<bool>,
}

/// What a process is told about a call; without its record, it is told nothing.
type Answer = Result<Result<Json, RunbookError>, LedgerError>;

/// Why runbooks cannot be run here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each message explains its fields")]
pub enum ExecutorError {
    /// The policy has an error.
    #[error(transparent)]
    Policy(#[from] PolicyError),

    /// The program lacks what the sandbox needs.
    #[error("{0}")]
    NoEntry(String),

    /// A process was started, but did not answer as it must.
    #[error("a runbook process does not answer: {reason}")]
    SelfTest { reason: String },
}

impl Executor {
    /// An executor that writes to `journal`, starts processes in `sandbox` and grants by `policy`.
    /// `capabilities` are what calls may name, besides notes.
    ///
    /// # Errors
    ///
    /// [`ExecutorError::Policy`] when the policy names a runbook or a capability that is not there.
    pub fn new(
        journal: Arc<Journal>,
        sandbox: Arc<dyn Sandbox>,
        policy: Policy,
        capabilities: Vec<Arc<dyn Capability>>,
    ) -> Result<Self, ExecutorError> {
        let note: Arc<dyn Capability> = Arc::new(NoteCapability);
        let capabilities: BTreeMap<_, _> =
            capabilities.into_iter().chain([note]).map(|c| (c.name().to_owned(), c)).collect();
        let runbooks: Vec<_> = Registration::all().iter().map(|r| r.name).collect();
        policy.check(&runbooks, &capabilities)?;
        let held = watch::Sender::new(None);
        let turns = Semaphore::new(MAX_PROCESSES);
        let shared = Shared { journal, sandbox, policy, capabilities, held, turns };
        let (runs, stop) = (Mutex::default(), watch::Sender::new(false));
        Ok(Self { shared: Arc::new(shared), runs, stop })
    }

    /// Starts a process and waits for its first word, so that a host where runbooks cannot run says
    /// so at once, and not at night.
    ///
    /// # Errors
    ///
    /// [`ExecutorError::NoEntry`] and [`ExecutorError::SelfTest`].
    pub async fn self_test(&self) -> Result<(), ExecutorError> {
        let sandbox = &self.shared.sandbox;
        sandbox.check().map_err(ExecutorError::NoEntry)?;
        let failed = |reason: String| ExecutorError::SelfTest { reason };
        let mut launched = sandbox.launch().map_err(|e| failed(e.to_string()))?;
        let mut reader = FrameReader::new(&mut launched.socket, MAX_TOTAL);
        let said = timeout(MAX_START, reader.next()).await;
        launched.process.kill().await;
        match said {
            Ok(Ok(RunbookFrame::Ready)) => Ok(()),
            Ok(Ok(other)) => Err(failed(format!("it said {other:?} first"))),
            Ok(Err(error)) => Err(failed(error.to_string())),
            Err(_) => Err(failed(format!("it said nothing for {MAX_START:?}"))),
        }
    }

    /// Stops all automatic action, or allows it again with `None`: while held, no run starts, and
    /// running ones may not call anything.
    pub fn hold(&self, reason: Option<String>) {
        self.shared.held.send_replace(reason);
    }

    /// Begins to run `runbook` for `alert`, which is firing; returns at once. Sixteen processes run
    /// at the same time; further runs are claimed and wait for their turn.
    pub fn spawn(&self, runbook: &str, alert: AlertStatus) {
        let shared = self.shared.clone();
        let stop = self.stop.subscribe();
        let runbook = runbook.to_owned();
        let run = async move {
            let execution = shared.execution(&runbook, alert);
            if let Err(error) = shared.run(execution, stop).await {
                tracing::error!(runbook, %error, "a run could not be recorded");
            }
        };
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        while runs.try_join_next().is_some() {}
        runs.spawn(run);
    }

    /// Runs `runbook` for `alert` to its end; `None` when the same incident had its run already.
    ///
    /// Cancel safe in that a dropped call kills the process; its end is then not recorded.
    ///
    /// # Errors
    ///
    /// [`LedgerError`] when the run could not be recorded; without its record nothing has an
    /// effect.
    pub async fn run(
        &self,
        runbook: &str,
        alert: AlertStatus,
    ) -> Result<Option<Outcome>, LedgerError> {
        let execution = self.shared.execution(runbook, alert);
        self.shared.run(execution, self.stop.subscribe()).await
    }

    /// Cancels every run, records that, and waits until no process is left.
    pub async fn shutdown(&self) {
        self.stop.send_replace(true);
        let mut runs =
            std::mem::take(&mut *self.runs.lock().unwrap_or_else(PoisonError::into_inner));
        while runs.join_next().await.is_some() {}
    }
}

impl Shared {
    fn execution(&self, runbook: &str, alert: AlertStatus) -> Execution {
        let since = match alert.state {
            AlertState::Firing { since } => since,
            AlertState::Recovering { firing_since, .. }
            | AlertState::Resolved { firing_since, .. } => firing_since,
            _ => self.journal.clock().now(),
        };
        Execution {
            id: ExecutionId::of(runbook, &alert.fingerprint, since),
            runbook: runbook.to_owned(),
            alert,
            params: self.policy.params(runbook),
            journal: Vec::new(),
        }
    }

    async fn run(
        self: &Arc<Self>,
        execution: Execution,
        mut stop: watch::Receiver<bool>,
    ) -> Result<Option<Outcome>, LedgerError> {
        let claim = Event::RunClaimed {
            execution: execution.id.clone(),
            runbook: execution.runbook.clone(),
            alert: execution.alert.name.clone(),
            fingerprint: execution.alert.fingerprint.clone(),
            service: execution.alert.service.as_ref().map(ToString::to_string),
        };
        match self.journal.write("engine", claim).await {
            Ok(_) => {}
            Err(LedgerError::Claimed { .. }) => return Ok(None),
            Err(error) => return Err(error),
        }
        let turn = tokio::select! {
            biased;
            () = stopped(&mut stop) => None,
            turn = self.turns.acquire() => turn.ok(),
        };
        let held = self.held.borrow().clone();
        let (outcome, output) = match (turn, held) {
            (None, _) => (shut_down(), String::new()),
            (_, Some(reason)) => {
                let reason = format!("automatic action is held: {reason}");
                (Outcome::Cancelled { reason }, String::new())
            }
            (Some(_turn), None) => self.launch(&execution, stop).await?,
        };
        let finished = Event::RunFinished {
            execution: execution.id.clone(),
            outcome: outcome.clone(),
            output,
        };
        self.journal.write("engine", finished).await?;
        Ok(Some(outcome))
    }

    async fn launch(
        self: &Arc<Self>,
        execution: &Execution,
        stop: watch::Receiver<bool>,
    ) -> Result<(Outcome, String), LedgerError> {
        let not_started = |reason: String| (Outcome::NotStarted { reason }, String::new());
        let Some(registration) = Registration::find(&execution.runbook) else {
            return Ok(not_started(format!("no runbook {:?} is linked", execution.runbook)));
        };
        if let Err(reason) = self.sandbox.check() {
            return Ok(not_started(reason));
        }
        let limit = (registration.make)().spec().timeout;
        let mut launched = match self.sandbox.launch() {
            Ok(launched) => launched,
            Err(error) => return Ok(not_started(error.to_string())),
        };
        let started =
            Event::RunStarted { execution: execution.id.clone(), process: launched.process.id() };
        let recorded = self.journal.write("engine", started).await;
        let served = match recorded {
            Ok(_) => self.serve(execution, &mut launched, limit, stop).await,
            Err(error) => Err(error),
        };
        launched.process.kill().await;
        served
    }

    /// Lets one process run until it has ended, or must be ended; then its calls end too.
    async fn serve(
        self: &Arc<Self>,
        execution: &Execution,
        launched: &mut Launched,
        limit: Duration,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(Outcome, String), LedgerError> {
        let Launched { socket, output, process } = launched;
        let mut printed = Printed::new();
        let ended = watch::Sender::new(false);
        let mut calls =
            Calls { running: JoinSet::new(), ended: ended.subscribe(), stop: stop.clone() };
        let outcome = tokio::select! {
            // Messages first: a process that says how it ended and ends has said so.
            biased;
            outcome = self.converse(execution, socket, process, &mut calls) => outcome,
            () = printed.read(output) => Ok(broke(format!("more than {MAX_OUTPUT} bytes of output"))),
            () = sleep(limit) => Ok(Outcome::TimedOut { after: limit }),
            () = stopped(&mut stop) => Ok(shut_down()),
        };
        process.kill().await;
        // Nothing of a run is recorded after its end: calls that have begun end first.
        ended.send_replace(true);
        while calls.running.join_next().await.is_some() {}
        let _ = timeout(MAX_LINGER, printed.read_to_end(output)).await;
        Ok((outcome?, printed.kept()))
    }

    /// Speaks with one process until it has nothing more to say.
    ///
    /// Waits for the process without limit, also for being read; so whoever calls this sets one and
    /// drops it then. Calls that have begun go on in `calls`.
    async fn converse(
        self: &Arc<Self>,
        execution: &Execution,
        socket: &mut Box<dyn Socket>,
        process: &mut Box<dyn Process>,
        calls: &mut Calls,
    ) -> Result<Outcome, LedgerError> {
        let (from, mut to) = tokio::io::split(socket);
        let mut reader = FrameReader::new(from, MAX_TOTAL);
        let mut ready = false;
        let mut last_call = 0;
        let outcome = loop {
            tokio::select! {
                biased;
                said = reader.next(), if calls.running.len() < MAX_IN_FLIGHT => match said {
                    Ok(RunbookFrame::Ready) if ready => break broke("it says ready twice"),
                    Ok(RunbookFrame::Ready) => {
                        ready = true;
                        let execution = Box::new(execution.clone());
                        if frame::write(&mut to, &HostFrame::Start { execution }).await.is_err() {
                            break broke("it does not listen");
                        }
                    }
                    Ok(RunbookFrame::Call { id, call }) => {
                        last_call += 1;
                        if last_call > MAX_CALLS {
                            break broke(format!("more than {MAX_CALLS} calls"));
                        }
                        let (shared, execution) = (self.clone(), execution.clone());
                        let given_up = given_up(calls.ended.clone(), calls.stop.clone());
                        calls.running.spawn(async move {
                            (id, shared.call(&execution, last_call, call, given_up).await)
                        });
                    }
                    Ok(RunbookFrame::End { outcome }) => match outcome {
                        Outcome::Completed | Outcome::Failed { .. } | Outcome::Panicked { .. } => {
                            break outcome;
                        }
                        other => break broke(format!("it claims what only the host can say: {other}")),
                    },
                    Err(FrameError::Closed { .. } | FrameError::Io(_)) => {
                        let exit = timeout(MAX_LINGER, process.wait()).await;
                        let exit = exit.unwrap_or_else(|_| "closed its socket and went on".to_owned());
                        break Outcome::NoOutcome { exit };
                    }
                    Err(error) => break broke(error.to_string()),
                },
                Some(done) = calls.running.join_next() => {
                    let Ok((id, result)) = done else { break broke("a capability panicked") };
                    // Whether it still listens, reading tells.
                    let _ = frame::write(&mut to, &HostFrame::Answer { id, result: result? }).await;
                }
            }
        };
        Ok(outcome)
    }

    /// Carries out one call: policy, intent, effect, result. A ledger error ends the run. The effect
    /// is dropped at `given_up`, which says how long after the run that is.
    async fn call(
        &self,
        execution: &Execution,
        number: u64,
        call: Call,
        given_up: impl Future<Output = Duration>,
    ) -> Answer {
        let actor = format!("runbook/{}", execution.runbook);
        let Call { capability, args } = call;
        let intent = Event::CallIntent {
            execution: execution.id.clone(),
            call: number,
            capability: capability.clone(),
            args: args.clone(),
        };
        let result_of = |answer: &Result<Json, RunbookError>| {
            let result = answer.clone().map_err(|error| match error {
                RunbookError::Denied { reason, .. } => format!("denied: {reason}"),
                RunbookError::Call { reason, .. } => reason,
                other => other.to_string(),
            });
            Event::CallResult { execution: execution.id.clone(), call: number, result }
        };
        let granted = self.granted(&execution.runbook, &capability, &args);
        let (known, grant) = match granted {
            Ok(granted) => granted,
            Err(reason) => {
                let at = self.journal.clock().now();
                let answer = frame::sendable(Err(RunbookError::Denied { capability, reason }));
                let denied = [intent, result_of(&answer)]
                    .map(|event| Entry { at, actor: actor.clone(), event })
                    .to_vec();
                self.journal.append(denied).await?;
                return Ok(answer);
            }
        };
        self.journal.write(&actor, intent).await?;
        let invocation = Invocation { execution, call: number, grant };
        let result = tokio::select! {
            result = known.invoke(&invocation, args) => result,
            within = given_up => {
                Err(format!("unknown: the call did not end within {within:?} of its run"))
            }
        };
        if let (Ok(Json::String(text)), "note") = (&result, capability.as_str()) {
            let note = Event::Note { execution: execution.id.clone(), text: text.clone() };
            self.journal.write(&actor, note).await?;
        }
        let answer =
            frame::sendable(result.map_err(|reason| RunbookError::Call { capability, reason }));
        self.journal.write(&actor, result_of(&answer)).await?;
        Ok(answer)
    }

    fn granted(
        &self,
        runbook: &str,
        capability: &str,
        args: &Json,
    ) -> Result<(&Arc<dyn Capability>, &Json), String> {
        if let Some(reason) = &*self.held.borrow() {
            return Err(format!("automatic action is held: {reason}"));
        }
        let known = self.capabilities.get(capability).ok_or("there is no such capability")?;
        let grant = match self.policy.grant(runbook, capability) {
            Some(grant) => grant,
            None if capability == "note" => &Json::Null,
            None => return Err(format!("the policy grants {runbook} no {capability}")),
        };
        known.check(grant, args)?;
        Ok((known, grant))
    }
}

/// Waits for the order to stop; the executor lives longer than its runs.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Waits until a call has had its time after the end of its run; returns how much that was.
async fn given_up(mut ended: watch::Receiver<bool>, mut stop: watch::Receiver<bool>) -> Duration {
    stopped(&mut ended).await;
    tokio::select! {
        () = sleep(MAX_AFTER_RUN) => MAX_AFTER_RUN,
        () = async { stopped(&mut stop).await; sleep(MAX_AFTER_STOP).await } => MAX_AFTER_STOP,
    }
}

fn broke(reason: impl Into<String>) -> Outcome {
    Outcome::BrokeProtocol { reason: reason.into() }
}

fn shut_down() -> Outcome {
    Outcome::Cancelled { reason: "the service shut down".to_owned() }
}

/// What a process printed: the beginning is kept, all of it is counted.
#[derive(Debug)]
struct Printed {
    kept: Vec<u8>,
    total: usize,
    ended: bool,
}

impl Printed {
    fn new() -> Self {
        Self { kept: Vec::new(), total: 0, ended: false }
    }

    /// Reads until there is more than may be printed; never returns when the output just ends.
    ///
    /// Cancel safe.
    async fn read(&mut self, from: &mut (impl AsyncRead + Unpin)) {
        while self.total <= MAX_OUTPUT {
            if self.ended {
                pending::<()>().await;
            }
            self.read_some(from).await;
        }
    }

    async fn read_to_end(&mut self, from: &mut (impl AsyncRead + Unpin)) {
        while !self.ended && self.total <= MAX_OUTPUT {
            self.read_some(from).await;
        }
    }

    async fn read_some(&mut self, from: &mut (impl AsyncRead + Unpin)) {
        let mut buffer = [0; 4096];
        match from.read(&mut buffer).await {
            Ok(0) | Err(_) => self.ended = true,
            Ok(n) => {
                self.total += n;
                let room = KEPT_OUTPUT - self.kept.len();
                self.kept.extend_from_slice(&buffer[..n.min(room)]);
            }
        }
    }

    fn kept(&self) -> String {
        String::from_utf8_lossy(&self.kept).into_owned()
    }
}
