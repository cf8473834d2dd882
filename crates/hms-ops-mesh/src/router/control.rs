//! The router as a mesh backend: fenced, compared and swapped, once per key.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};

use async_trait::async_trait;
use hms_ops_core::ledger::Fence;
use hms_ops_core::mesh::{
    Applied, Capabilities, ClusterSnapshot, ClusterTraffic, Fencing, MeshController, MeshError,
    Plan, ShiftRequest, Snapshot,
};
use hms_ops_core::name::{Cluster, Service};

use super::{Router, Table};
use crate::split;

/// How many keys of applied plans are remembered.
const MAX_KEYS: usize = 1024;

/// What the writers of the table have done so far.
#[derive(Debug, Default)]
pub(super) struct Writer {
    newest_epoch: u64,
    /// Keys and the revisions they led to, oldest first.
    applied: VecDeque<(String, u64)>,
}

impl Router {
    fn own(&self, service: &Service) -> Result<(), MeshError> {
        if *service == self.inner.service {
            return Ok(());
        }
        Err(MeshError::UnknownService { service: service.clone() })
    }

    fn position(&self, cluster: &Cluster) -> Result<usize, MeshError> {
        let found = self.inner.backends.binary_search_by(|b| b.picked.cluster.cmp(cluster));
        found.map_err(|_| MeshError::UnknownCluster {
            service: self.inner.service.clone(),
            cluster: cluster.clone(),
        })
    }

    fn read(&self) -> Snapshot {
        let (table, now) = (self.inner.table.load(), self.inner.options.clock.now());
        let backends = self.inner.backends.iter().zip(&table.weights);
        let clusters = backends.map(|(backend, weight)| ClusterSnapshot {
            cluster: backend.picked.cluster.clone(),
            endpoint: Some(backend.picked.endpoint.to_string()),
            weight: *weight,
            health: backend.checked().health(now, self.inner.options.health.stale_after()),
            active: backend.active(),
        });
        Snapshot {
            service: self.inner.service.clone(),
            revision: table.revision,
            clusters: clusters.collect(),
        }
    }

    /// The weights of a plan by position.
    fn weights(&self, plan: &Plan) -> Result<Box<[u32]>, MeshError> {
        let mut weights = vec![0; self.inner.backends.len()];
        for (cluster, weight) in &plan.to {
            weights[self.position(cluster)?] = *weight;
        }
        Ok(weights.into())
    }
}

#[async_trait]
impl MeshController for Router {
    fn capabilities(&self) -> Capabilities {
        Capabilities { weights: true, fencing: Fencing::Native }
    }

    fn services(&self) -> Vec<Service> {
        vec![self.inner.service.clone()]
    }

    async fn snapshot(&self, service: &Service) -> Result<Snapshot, MeshError> {
        self.own(service)?;
        Ok(self.read())
    }

    async fn plan(&self, request: &ShiftRequest) -> Result<Plan, MeshError> {
        self.own(&request.service)?;
        self.position(&request.to)?;
        let snapshot = self.read();
        let from = snapshot.split();
        let to = split::toward(&from, &request.to, request.percent)
            .ok_or(MeshError::BadShare { percent: request.percent })?;
        let (service, key) = (request.service.clone(), request.key.clone());
        Ok(Plan { service, revision: snapshot.revision, from, to, key })
    }

    async fn apply(&self, plan: &Plan, fence: &Fence) -> Result<Applied, MeshError> {
        self.own(&plan.service)?;
        let weights = self.weights(plan)?;
        let mut writer = self.inner.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if fence.epoch < writer.newest_epoch {
            let newest = writer.newest_epoch;
            return Err(MeshError::Fenced { epoch: fence.epoch, newest });
        }
        writer.newest_epoch = fence.epoch;
        if let Some((_, revision)) = writer.applied.iter().find(|(key, _)| *key == plan.key) {
            return Ok(Applied { revision: *revision, again: true });
        }
        let found = self.inner.table.load().revision;
        if plan.revision != found {
            let service = plan.service.clone();
            return Err(MeshError::Conflict { service, planned: plan.revision, found });
        }
        let revision = found + 1;
        let table = Table::new(revision, weights)
            .ok_or_else(|| MeshError::Backend("the plan leaves no cluster with weight".into()))?;
        self.inner.table.store(Arc::new(table));
        if writer.applied.len() == MAX_KEYS {
            writer.applied.pop_front();
        }
        writer.applied.push_back((plan.key.clone(), revision));
        Ok(Applied { revision, again: false })
    }

    async fn observe(&self, service: &Service) -> Result<Vec<ClusterTraffic>, MeshError> {
        self.own(service)?;
        let traffic = self.inner.backends.iter().map(|backend| {
            // Errors before requests, so that no answer has more errors than requests.
            let (errors, active) = (backend.errors.get(), backend.active());
            let cluster = backend.picked.cluster.clone();
            ClusterTraffic { cluster, requests: backend.begun.get(), errors, active }
        });
        Ok(traffic.collect())
    }
}
