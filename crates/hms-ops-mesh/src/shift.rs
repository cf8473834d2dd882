//! The shift engine: guards, carries out, confirms and rolls back shifts, above any mesh backend.
//!
//! What to do next is decided by a state machine without I/O ([`watching`]); the tasks here read
//! counters, apply plans and write the ledger. Everything that was asked for is in the ledger before
//! anything is changed, and has an end there.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use hms_ops_core::ledger::{Journal, LedgerError};
use hms_ops_core::mesh::{
    MeshController, MeshError, ShiftReport, ShiftRequest, Snapshot, TrafficControl, TrafficEvidence,
};
use hms_ops_core::name::Service;
use hms_ops_core::time::Timestamp;
use tokio::sync::{oneshot, watch};

use crate::tasks::Tasks;

mod flight;
mod guard;
mod past;
mod rules;
mod watching;

pub use rules::ShiftRules;

/// How long a shutdown waits for what hangs.
const PATIENCE: Duration = Duration::from_secs(10);

/// Shifts traffic, and says only what the clusters' own counters show.
///
/// A shift is *accepted* when no guard speaks against it, *applied* when the mesh has the new split,
/// *observed* when the clusters' counters show it, and *settled* when it stayed well for the time of
/// the bake. It is *refused* with nothing changed when a cluster that would gain traffic is not known
/// to be healthy, when another shift of the service is under way, or when the request makes no sense.
/// It is *rolled back* when a cluster that gained traffic fails too often. It is *unconfirmed* when
/// the counters do not show it in time; the report then says what is missing.
///
/// [`TrafficControl::shift`] returns at *observed*, or at the end if that comes first; the bake goes
/// on by itself and its end is in the ledger.
///
/// ```
/// use std::sync::Arc;
/// use hms_ops_core::ledger::Journal;
/// use hms_ops_core::mesh::{MeshController, MeshError, ShiftRequest, TrafficControl, TrafficEvidence};
/// use hms_ops_mesh::{ShiftEngine, ShiftRules};
///
/// async fn roll_over(
///     mesh: Arc<dyn MeshController>,
///     evidence: Arc<dyn TrafficEvidence>,
///     journal: Arc<Journal>,
/// ) -> Result<(), MeshError> {
///     let engine = ShiftEngine::new(mesh, evidence, journal, ShiftRules::default());
///     engine.recover().await?;
///     let report = engine
///         .shift(ShiftRequest {
///             service: "eligibility-svc".into(),
///             to: "cluster-b".into(),
///             percent: 100,
///             key: "incident 7".to_owned(),
///             cause: "person/ana: cluster-a is slow".to_owned(),
///         })
///         .await?;
///     println!("{}: {}", report.state.word(), report.state.detail());
///     engine.shutdown().await;
///     Ok(())
/// }
/// ```
#[derive(Debug)]
pub struct ShiftEngine {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    mesh: Arc<dyn MeshController>,
    evidence: Arc<dyn TrafficEvidence>,
    journal: Arc<Journal>,
    rules: ShiftRules,
    tasks: Tasks,
    flights: Mutex<Flights>,
}

/// The shifts of this engine, one of a service at a time.
#[derive(Debug, Default)]
struct Flights {
    under_way: HashMap<Service, UnderWay>,
    /// When the traffic of a service was shifted last.
    last: HashMap<Service, Timestamp>,
}

#[derive(Debug)]
struct UnderWay {
    key: String,
    /// Whether its first report is in the ledger.
    reported: watch::Receiver<bool>,
}

impl ShiftEngine {
    /// An engine that moves the traffic of `mesh`, believes `evidence`, and writes `journal`.
    pub fn new(
        mesh: Arc<dyn MeshController>,
        evidence: Arc<dyn TrafficEvidence>,
        journal: Arc<Journal>,
        rules: ShiftRules,
    ) -> Self {
        let (tasks, flights) = (Tasks::default(), Mutex::default());
        Self { inner: Arc::new(Inner { mesh, evidence, journal, rules, tasks, flights }) }
    }

    /// Gives every shift an end that an engine before this one left without: *unconfirmed*, with
    /// what the mesh shows now. Nothing is done again. Also learns when each service was shifted
    /// last, for the cool-down. To be called once, before the first shift.
    ///
    /// # Errors
    ///
    /// [`MeshError::Backend`] when the ledger cannot be read or written.
    pub async fn recover(&self) -> Result<(), MeshError> {
        self.inner.recover().await
    }

    /// Refuses new shifts, ends those under way as they stand, in the ledger too, and returns when
    /// every task has ended. What hangs in the mesh or the ledger is broken off after 10 seconds.
    pub async fn shutdown(&self) {
        self.inner.tasks.shutdown(PATIENCE).await;
    }
}

impl Drop for ShiftEngine {
    fn drop(&mut self) {
        self.inner.tasks.ask_to_stop();
    }
}

#[async_trait]
impl TrafficControl for ShiftEngine {
    async fn snapshot(&self, service: &Service) -> Result<Snapshot, MeshError> {
        self.inner.mesh.snapshot(service).await
    }

    async fn shift(&self, request: ShiftRequest) -> Result<ShiftReport, MeshError> {
        let over = || MeshError::Backend("the shift engine was shut down".into());
        if self.inner.tasks.stop().is_set() {
            return Err(over());
        }
        let (tell, told) = oneshot::channel();
        self.inner.tasks.spawn(self.inner.clone().carry_out(request, tell));
        told.await.unwrap_or_else(|_| Err(over()))
    }
}

impl Inner {
    fn flights(&self) -> MutexGuard<'_, Flights> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn ledger_failed(error: LedgerError) -> MeshError {
    MeshError::Backend(Box::new(error))
}
