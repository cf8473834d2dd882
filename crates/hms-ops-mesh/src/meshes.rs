//! Several mesh backends as one.

use std::sync::Arc;

use async_trait::async_trait;
use hms_ops_core::ledger::Fence;
use hms_ops_core::mesh::{
    Applied, Capabilities, ClusterTraffic, Fencing, MeshController, MeshError, Plan, ShiftRequest,
    Snapshot,
};
use hms_ops_core::name::Service;

/// Mesh backends side by side; each service belongs to the first that controls it.
///
/// ```
/// use std::sync::Arc;
/// use hms_ops_core::mesh::MeshController;
/// use hms_ops_mesh::{Meshes, Router};
///
/// let claims = Router::builder("claims").cluster("cluster-a", "http://127.0.0.1:9001").build()?;
/// let members = Router::builder("members").cluster("cluster-a", "http://127.0.0.1:9002").build()?;
/// let both = Meshes::new([Arc::new(claims) as _, Arc::new(members) as _]);
/// assert_eq!(both.services().len(), 2);
/// # Ok::<(), hms_ops_mesh::RouterError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Meshes(Vec<Arc<dyn MeshController>>);

impl Meshes {
    /// Puts backends side by side.
    pub fn new(meshes: impl IntoIterator<Item = Arc<dyn MeshController>>) -> Self {
        Self(meshes.into_iter().collect())
    }

    fn of(&self, service: &Service) -> Result<&Arc<dyn MeshController>, MeshError> {
        let mesh = self.0.iter().find(|mesh| mesh.services().contains(service));
        mesh.ok_or_else(|| MeshError::UnknownService { service: service.clone() })
    }
}

#[async_trait]
impl MeshController for Meshes {
    /// What all of them are able to do.
    fn capabilities(&self) -> Capabilities {
        let each = || self.0.iter().map(|mesh| mesh.capabilities());
        let native = each().all(|c| c.fencing == Fencing::Native);
        Capabilities {
            weights: each().all(|c| c.weights),
            fencing: if native { Fencing::Native } else { Fencing::Advisory },
        }
    }

    fn services(&self) -> Vec<Service> {
        let mut services: Vec<_> = self.0.iter().flat_map(|mesh| mesh.services()).collect();
        services.sort();
        services.dedup();
        services
    }

    async fn snapshot(&self, service: &Service) -> Result<Snapshot, MeshError> {
        self.of(service)?.snapshot(service).await
    }

    async fn plan(&self, request: &ShiftRequest) -> Result<Plan, MeshError> {
        self.of(&request.service)?.plan(request).await
    }

    async fn apply(&self, plan: &Plan, fence: &Fence) -> Result<Applied, MeshError> {
        self.of(&plan.service)?.apply(plan, fence).await
    }

    async fn observe(&self, service: &Service) -> Result<Vec<ClusterTraffic>, MeshError> {
        self.of(service)?.observe(service).await
    }
}
