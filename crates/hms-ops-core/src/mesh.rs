//! Traffic: what a mesh backend tells and does, and what a shift of traffic goes through.

use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::fence::Fence;
use crate::name::{Cluster, Service};

/// Reads and changes how one mesh splits the traffic of services over clusters.
///
/// Steps, guards, confirmation and rollback are not here: they live once, in the shift engine of
/// `hms-ops-mesh`. A backend is finished when it passes `hms_ops_testkit::mesh`. What every backend
/// promises:
///
/// - `plan` changes nothing. `apply` changes all or nothing.
/// - `apply` does nothing when a plan with the same key was applied before, and answers with the
///   revision that it had then; a plan that was refused does not use up its key.
/// - `apply` refuses when the split is not at the plan's revision any more.
/// - With [`Fencing::Native`], `apply` refuses an epoch older than the newest it has seen.
/// - `observe` counts what was really sent, not what the split says.
#[async_trait]
pub trait MeshController: fmt::Debug + Send + Sync + 'static {
    /// What the backend is able to do.
    fn capabilities(&self) -> Capabilities;

    /// The services whose traffic it controls, sorted.
    fn services(&self) -> Vec<Service>;

    /// How the service's traffic is split now, and how its clusters are.
    ///
    /// # Errors
    ///
    /// [`MeshError::UnknownService`], or [`MeshError::Backend`] when the mesh cannot be reached.
    async fn snapshot(&self, service: &Service) -> Result<Snapshot, MeshError>;

    /// What a request would change; a dry run.
    ///
    /// # Errors
    ///
    /// [`MeshError`] when the request cannot be carried out as it is.
    async fn plan(&self, request: &ShiftRequest) -> Result<Plan, MeshError>;

    /// Carries out a plan.
    ///
    /// Not cancel safe: a dropped call may or may not have been applied; apply again with the same
    /// key.
    ///
    /// # Errors
    ///
    /// [`MeshError::Conflict`], [`MeshError::Fenced`], or [`MeshError::Backend`].
    async fn apply(&self, plan: &Plan, fence: &Fence) -> Result<Applied, MeshError>;

    /// What the mesh has sent to each cluster so far.
    ///
    /// # Errors
    ///
    /// [`MeshError::UnknownService`], or [`MeshError::Backend`] when the mesh cannot be reached.
    async fn observe(&self, service: &Service) -> Result<Vec<ClusterTraffic>, MeshError>;
}

/// What a mesh backend is able to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Whether traffic can be split by weight, or only be sent to one cluster.
    pub weights: bool,
    /// Who refuses an older epoch.
    pub fencing: Fencing,
}

/// Who refuses an effect of a writer whose epoch is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fencing {
    /// The side of the proxies does.
    Native,
    /// Only the caller's own check; several engines must not shift automatically.
    Advisory,
}

/// How the traffic of a service is split, and how its clusters are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The service.
    pub service: Service,
    /// Grows with each change of the split.
    pub revision: u64,
    /// Its clusters, sorted by name.
    pub clusters: Vec<ClusterSnapshot>,
}

impl Snapshot {
    /// One cluster, if it is known.
    pub fn cluster(&self, name: &Cluster) -> Option<&ClusterSnapshot> {
        self.clusters.iter().find(|c| c.cluster == *name)
    }

    /// The split: each cluster's weight.
    pub fn split(&self) -> Split {
        self.clusters.iter().map(|c| (c.cluster.clone(), c.weight)).collect()
    }
}

/// Weight of each cluster, sorted by name; shares are weight over the sum of weights.
pub type Split = Vec<(Cluster, u32)>;

/// One cluster of a service as the mesh sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClusterSnapshot {
    /// The cluster.
    pub cluster: Cluster,
    /// Where it is reached, as `http://host:port`, where the backend knows.
    pub endpoint: Option<String>,
    /// Its part of the traffic.
    pub weight: u32,
    /// How it is.
    pub health: Health,
    /// Requests that it is answering right now.
    pub active: u64,
}

/// How a cluster is, by active checks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "health", rename_all = "snake_case")]
pub enum Health {
    /// It answers its checks.
    Healthy,
    /// It does not.
    Unhealthy {
        /// The last check's failure.
        reason: String,
    },
    /// It was not checked, or not lately.
    Unknown,
}

/// A wish to move traffic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShiftRequest {
    /// The service whose traffic to move.
    pub service: Service,
    /// The cluster to move it to.
    pub to: Cluster,
    /// The share of traffic that it shall have then, in percent: 0 to 100.
    pub percent: u8,
    /// Names the wish: with the same key it is carried out once.
    pub key: String,
    /// Who wishes it, and why.
    pub cause: String,
}

/// What a request would change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The service.
    pub service: Service,
    /// The revision that the plan was made for.
    pub revision: u64,
    /// The split now.
    pub from: Split,
    /// The split then.
    pub to: Split,
    /// The request's key.
    pub key: String,
}

/// A plan was carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The revision of the new split.
    pub revision: u64,
    /// Whether this was done before, by the same key.
    pub again: bool,
}

/// What was sent to one cluster so far. Counts only grow, save when the mesh restarts.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterTraffic {
    /// The cluster.
    pub cluster: Cluster,
    /// Requests sent.
    pub requests: u64,
    /// Of these, failed: no answer, or one of 5xx.
    pub errors: u64,
    /// Not yet answered.
    pub active: u64,
}

/// Asks the clusters themselves what they have served: the evidence that a shift took effect.
///
/// A suite is in `hms_ops_testkit::mesh`.
#[async_trait]
pub trait TrafficEvidence: fmt::Debug + Send + Sync + 'static {
    /// What a cluster of a service says that it has served so far, read now.
    ///
    /// # Errors
    ///
    /// A sentence that says why there is no evidence.
    async fn served(&self, service: &Service, cluster: &Cluster) -> Result<Served, String>;
}

/// What a cluster says that it has served. Counts only grow, save when it restarts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Served {
    /// Requests answered.
    pub requests: f64,
    /// Of these, failed.
    pub errors: f64,
}

/// Shifts traffic with guards and confirmation; what runbooks and people are given.
#[async_trait]
pub trait TrafficControl: fmt::Debug + Send + Sync + 'static {
    /// How the service's traffic is split now.
    ///
    /// # Errors
    ///
    /// As [`MeshController::snapshot`].
    async fn snapshot(&self, service: &Service) -> Result<Snapshot, MeshError>;

    /// Carries out a shift until traffic is seen to flow as wished, or to its end if that comes
    /// first. Every state on the way is in the ledger, and so is what follows. Concurrent shifts of
    /// one service are refused.
    ///
    /// A dropped call does not stop the shift.
    ///
    /// # Errors
    ///
    /// [`MeshError`] when the mesh or the ledger failed, so that it is not known how far it came.
    async fn shift(&self, request: ShiftRequest) -> Result<ShiftReport, MeshError>;
}

/// Where a shift stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShiftReport {
    /// The service.
    pub service: Service,
    /// The split before.
    pub from: Split,
    /// The split wished for.
    pub to: Split,
    /// How far it came.
    #[serde(flatten)]
    pub state: ShiftState,
}

/// The states of a shift, in order; the last four are ends.
///
/// A mesh that accepted a change proves nothing: only traffic that the receiving clusters count
/// themselves does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "shift_state", rename_all = "snake_case")]
pub enum ShiftState {
    /// No guard spoke against it.
    Accepted,
    /// The mesh has taken the new split.
    Applied,
    /// The clusters' own counters show it.
    Observed {
        /// The numbers.
        evidence: String,
    },
    /// It stayed well for the time of the bake.
    Settled {
        /// The numbers.
        evidence: String,
    },
    /// A guard spoke against it; nothing was changed.
    Refused {
        /// Which guard, and why.
        reason: String,
    },
    /// It went badly, and the split is the old one again.
    RolledBack {
        /// What went badly.
        reason: String,
    },
    /// The split is the new one, but the counters do not show it.
    Unconfirmed {
        /// What is missing.
        reason: String,
    },
}

impl ShiftState {
    /// The state in one word or two.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Applied => "applied",
            Self::Observed { .. } => "observed",
            Self::Settled { .. } => "settled",
            Self::Refused { .. } => "refused",
            Self::RolledBack { .. } => "rolled back",
            Self::Unconfirmed { .. } => "unconfirmed",
        }
    }

    /// The numbers or the reason, if the state has any.
    pub fn detail(&self) -> &str {
        match self {
            Self::Accepted | Self::Applied => "",
            Self::Observed { evidence } | Self::Settled { evidence } => evidence,
            Self::Refused { reason }
            | Self::RolledBack { reason }
            | Self::Unconfirmed { reason } => reason,
        }
    }

    /// Whether traffic was seen to flow as wished.
    pub fn is_confirmed(&self) -> bool {
        matches!(self, Self::Observed { .. } | Self::Settled { .. })
    }
}

/// Why a mesh refused or failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each message explains its fields")]
pub enum MeshError {
    /// The mesh does not control this service.
    #[error("unknown service {service}")]
    UnknownService { service: Service },

    /// The service does not run there.
    #[error("unknown cluster {cluster} of {service}")]
    UnknownCluster { service: Service, cluster: Cluster },

    /// The wished share is no share.
    #[error("{percent} % is not a share of traffic")]
    BadShare { percent: u8 },

    /// Somebody changed the split in between.
    #[error("the split of {service} is at revision {found}, the plan is for {planned}")]
    Conflict { service: Service, planned: u64, found: u64 },

    /// A newer writer has acted.
    #[error("epoch {epoch} is over, the newest seen is {newest}")]
    Fenced { epoch: u64, newest: u64 },

    /// The mesh could not be reached, or the ledger could not be written.
    #[error("the mesh failed: {0}")]
    Backend(#[source] Box<dyn std::error::Error + Send + Sync>),
}
