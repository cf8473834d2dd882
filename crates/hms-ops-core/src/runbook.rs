//! Runbooks: what a user writes, what it is given, and what becomes of it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};

use crate::alert::{AlertStatus, Fingerprint, hex};
use crate::labels::Labels;
use crate::mesh::{ShiftReport, Snapshot};
use crate::time::Timestamp;

/// Repairs something. Runs in a process of its own, and can do nothing but call capabilities.
///
/// State comes in as [`RunbookContext::params`] and [`RunbookContext::alert`] only: the value that
/// runs is made anew in the other process.
#[async_trait]
pub trait Runbook: Send + Sync {
    /// What it is called, what it answers, how long it may take.
    fn spec(&self) -> RunbookSpec;

    /// Does the work. A panic is reported as the outcome of this run alone.
    ///
    /// # Errors
    ///
    /// [`RunbookError`] when the work could not be done; the run is then recorded as failed.
    async fn run(&self, ctx: &mut RunbookContext) -> RunbookResult;

    /// Takes back what `run` did, in a fresh process; [`RunbookContext::journal`] says what that
    /// was. Meant for an alert that did not recover, but not called in this release.
    ///
    /// # Errors
    ///
    /// [`RunbookError::Unsupported`] where a runbook cannot be taken back.
    async fn compensate(&self, ctx: &mut RunbookContext) -> RunbookResult;
}

/// How a runbook ends.
pub type RunbookResult = Result<(), RunbookError>;

/// What a runbook is called, what it answers, how long it may take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunbookSpec {
    /// Its name; the policy grants by it.
    pub name: String,
    /// The alerts that it answers, in either spelling.
    pub on_alert: Vec<String>,
    /// After this long its process is killed, with all that it started.
    pub timeout: Duration,
}

/// A runbook that was linked into the binary; `#[runbook]` makes one.
#[derive(Clone, Copy, Debug)]
pub struct Registration {
    /// Its name.
    pub name: &'static str,
    /// Makes it.
    pub make: fn() -> Box<dyn Runbook>,
}

inventory::collect!(Registration);

impl Registration {
    /// All runbooks that were linked into this binary, sorted by name.
    pub fn all() -> Vec<Self> {
        let mut all: Vec<_> = inventory::iter::<Self>.into_iter().copied().collect();
        all.sort_by_key(|registration| registration.name);
        all
    }

    /// The one with this name.
    pub fn find(name: &str) -> Option<Self> {
        Self::all().into_iter().find(|registration| registration.name == name)
    }
}

/// Names one execution: a runbook, for one incident. The same wherever it is computed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ExecutionId(String);

impl ExecutionId {
    /// The execution of `runbook` for the alert `fingerprint` that fired at `firing_since`.
    pub fn of(runbook: &str, fingerprint: &Fingerprint, firing_since: Timestamp) -> Self {
        let mut hash = Sha256::new();
        for part in [runbook, fingerprint.as_str(), &firing_since.as_millis().to_string()] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        Self(hex(&hash.finalize()[..16]))
    }

    /// 32 hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ExecutionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ExecutionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a run is about: handed to the runbook's process when it starts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Execution {
    /// Which execution.
    pub id: ExecutionId,
    /// Which runbook.
    pub runbook: String,
    /// The alert that it answers, as it stood when it fired.
    pub alert: AlertStatus,
    /// Parameters from the configuration; `null` where there are none.
    pub params: Json,
    /// What an earlier run of the same execution did, for [`Runbook::compensate`]; always empty in
    /// this release, which does not call that.
    pub journal: Vec<JournalEntry>,
}

/// One call that a run made, and what became of it; `None` when that is not known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JournalEntry {
    /// The call.
    pub call: Call,
    /// The answer, or why there is none.
    pub result: Option<Result<Json, String>>,
}

/// A call of a capability.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// Which capability: `mesh.shift`, `note`, `metrics.query`, or a team's own.
    pub capability: String,
    /// Its arguments.
    pub args: Json,
}

/// Carries calls out of the sandbox. Who calls is known from where the call comes from, never from
/// what it says.
#[async_trait]
pub trait HostCalls: fmt::Debug + Send + Sync {
    /// Carries out one call.
    ///
    /// # Errors
    ///
    /// [`RunbookError::Denied`] when the policy does not grant it, [`RunbookError::Call`] when it
    /// was tried and failed.
    async fn call(&self, call: Call) -> Result<Json, RunbookError>;
}

/// Something that the host does for runbooks. Teams add their own without widening the sandbox.
///
/// A call reaches it only after the policy granted it and the intent is in the ledger.
#[async_trait]
pub trait Capability: fmt::Debug + Send + Sync + 'static {
    /// What it is called in policies and calls.
    fn name(&self) -> &str;

    /// Checks that a grant makes sense; called when a policy is read, not at each call.
    ///
    /// # Errors
    ///
    /// A sentence that names the key at fault.
    fn check_grant(&self, grant: &Json) -> Result<(), String>;

    /// Checks the arguments against the limits that the policy grants; called before the intent
    /// is written.
    ///
    /// # Errors
    ///
    /// A sentence that says what is not granted.
    fn check(&self, grant: &Json, args: &Json) -> Result<(), String>;

    /// Carries out a call, without blocking its thread.
    ///
    /// # Cancel safety
    ///
    /// When the run ends first, the call may go on for 30 s, or for 5 s once the executor shuts
    /// down. Then it is dropped, and the ledger says that its result is unknown: an effect that
    /// must not stop half-way belongs in a task of its own.
    ///
    /// # Errors
    ///
    /// A sentence that says what failed.
    async fn invoke(&self, invocation: &Invocation<'_>, args: Json) -> Result<Json, String>;
}

/// Which call of which run a capability carries out; known from the socket, not from the message.
#[derive(Clone, Copy, Debug)]
pub struct Invocation<'a> {
    /// The run.
    pub execution: &'a Execution,
    /// The number of the call within the run, from 1.
    pub call: u64,
    /// What the policy grants the run, for limits that only the moment of the call can tell; `null`
    /// where no grant is needed.
    pub grant: &'a Json,
}

/// What a runbook is given: what happened, and what it may call.
#[derive(Debug)]
pub struct RunbookContext {
    execution: Execution,
    host: Arc<dyn HostCalls>,
}

impl RunbookContext {
    /// A context for one execution, whose calls go to `host`.
    pub fn new(execution: Execution, host: Arc<dyn HostCalls>) -> Self {
        Self { execution, host }
    }

    /// The execution: its id, runbook and parameters.
    pub fn execution(&self) -> &Execution {
        &self.execution
    }

    /// The alert that this run answers, as it stood when it fired.
    pub fn alert(&self) -> &AlertStatus {
        &self.execution.alert
    }

    /// What an earlier run of the same execution did; see [`Execution::journal`].
    pub fn journal(&self) -> &[JournalEntry] {
        &self.execution.journal
    }

    /// The parameters that the configuration gives this runbook.
    ///
    /// # Errors
    ///
    /// [`RunbookError::Failed`] when they do not have the shape of `T`.
    pub fn params<T: DeserializeOwned>(&self) -> Result<T, RunbookError> {
        T::deserialize(&self.execution.params)
            .map_err(|e| RunbookError::failed(format_args!("the parameters do not fit: {e}")))
    }

    /// Traffic, through the host's policy and the guards of every shift.
    pub fn mesh(&self) -> MeshCalls<'_> {
        MeshCalls { ctx: self }
    }

    /// Tells people something; it is kept in the ledger and shown on the page.
    ///
    /// # Errors
    ///
    /// [`RunbookError`] when the note is too long or there are too many.
    pub async fn note(&self, text: impl Into<String> + Send) -> RunbookResult {
        self.call("note", json!({ "text": text.into() })).await.map(|_| ())
    }

    /// The newest value of every series that a query selects.
    ///
    /// # Errors
    ///
    /// [`RunbookError`] when the policy does not grant the series, or the query fails.
    pub async fn query(&self, query: &str) -> Result<Vec<(Labels, f64)>, RunbookError> {
        self.typed("metrics.query", json!({ "query": query })).await
    }

    /// Calls any capability by name, such as a team's own.
    ///
    /// # Errors
    ///
    /// [`RunbookError`] when it is denied or fails.
    pub async fn call(&self, capability: &str, args: Json) -> Result<Json, RunbookError> {
        self.host.call(Call { capability: capability.to_owned(), args }).await
    }

    async fn typed<T: DeserializeOwned>(
        &self,
        capability: &str,
        args: Json,
    ) -> Result<T, RunbookError> {
        let answer = self.call(capability, args).await?;
        T::deserialize(answer).map_err(|e| RunbookError::Call {
            capability: capability.to_owned(),
            reason: format!("the answer does not have the expected shape: {e}"),
        })
    }
}

/// Calls about traffic; from [`RunbookContext::mesh`].
#[derive(Debug)]
pub struct MeshCalls<'a> {
    ctx: &'a RunbookContext,
}

impl MeshCalls<'_> {
    /// Sends all traffic of `service` to `cluster`, and returns once the clusters' own counters
    /// show it.
    ///
    /// # Errors
    ///
    /// [`RunbookError::Denied`] when the policy does not grant it; [`RunbookError::Call`] when the
    /// shift was refused, rolled back, or could not be confirmed.
    pub async fn shift(&self, service: &str, cluster: &str) -> Result<ShiftReport, RunbookError> {
        self.shift_percent(service, cluster, 100).await
    }

    /// As [`MeshCalls::shift`], with this share of the traffic in percent.
    ///
    /// # Errors
    ///
    /// As [`MeshCalls::shift`].
    pub async fn shift_percent(
        &self,
        service: &str,
        cluster: &str,
        percent: u8,
    ) -> Result<ShiftReport, RunbookError> {
        let args = json!({ "service": service, "to": cluster, "percent": percent });
        self.ctx.typed("mesh.shift", args).await
    }

    /// How the service's traffic is split now.
    ///
    /// # Errors
    ///
    /// [`RunbookError`] when the policy does not grant it, or the mesh fails.
    pub async fn snapshot(&self, service: &str) -> Result<Snapshot, RunbookError> {
        self.ctx.typed("mesh.snapshot", json!({ "service": service })).await
    }
}

/// Why a runbook failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(tag = "error", rename_all = "snake_case")]
#[non_exhaustive]
#[allow(missing_docs, reason = "each message explains its fields")]
pub enum RunbookError {
    /// The policy does not grant it; nothing was done.
    #[error("{capability} denied: {reason}")]
    Denied { capability: String, reason: String },

    /// It was tried and failed.
    #[error("{capability} failed: {reason}")]
    Call { capability: String, reason: String },

    /// The runbook says so.
    #[error("{reason}")]
    Failed { reason: String },

    /// The runbook cannot do that.
    #[error("this runbook cannot be taken back")]
    Unsupported,
}

impl RunbookError {
    /// A failure in the runbook's own words.
    pub fn failed(reason: impl fmt::Display) -> Self {
        Self::Failed { reason: reason.to_string() }
    }
}

impl From<String> for RunbookError {
    fn from(reason: String) -> Self {
        Self::Failed { reason }
    }
}

impl From<&str> for RunbookError {
    fn from(reason: &str) -> Self {
        Self::Failed { reason: reason.to_owned() }
    }
}

/// How an execution ended. Only [`Outcome::Completed`] is a success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
#[non_exhaustive]
#[allow(missing_docs, reason = "the variants explain their fields")]
pub enum Outcome {
    /// The runbook returned `Ok`.
    Completed,
    /// The runbook returned an error.
    Failed { error: RunbookError },
    /// The runbook panicked.
    Panicked { message: String },
    /// It took longer than it may, and was killed.
    TimedOut { after: Duration },
    /// Its process ended without saying how the runbook ended.
    NoOutcome { exit: String },
    /// Its process sent what is no message, or too many, and was killed.
    BrokeProtocol { reason: String },
    /// It could not be started.
    NotStarted { reason: String },
    /// It was stopped from outside, by a person or because the service shut down.
    Cancelled { reason: String },
}

impl Outcome {
    /// Whether the runbook did what it is for.
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Completed)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Completed => f.write_str("completed"),
            Self::Failed { error } => write!(f, "failed: {error}"),
            Self::Panicked { message } => write!(f, "panicked: {message}"),
            Self::TimedOut { after } => write!(f, "killed after its time of {after:?}"),
            Self::NoOutcome { exit } => write!(f, "ended without an outcome: {exit}"),
            Self::BrokeProtocol { reason } => write!(f, "broke the protocol: {reason}"),
            Self::NotStarted { reason } => write!(f, "not started: {reason}"),
            Self::Cancelled { reason } => write!(f, "cancelled: {reason}"),
        }
    }
}
