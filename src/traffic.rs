//! Traffic: the mesh that this engine controls, and the shift engine above it.

use std::net::SocketAddr;
use std::sync::Arc;

use hms_ops_mesh::{HealthChecks, Meshes, Router, Serving, ShiftEngine, ShiftRules};

use crate::builder::OpsBuilder;
use crate::config::{Config, ConfigError};
use crate::core::ledger::Journal;
use crate::core::mesh::{MeshController, TrafficControl, TrafficEvidence};
use crate::core::name::Service;
use crate::{Error, listen};

/// What the builder was told about traffic.
#[derive(Debug, Default)]
pub(crate) struct Options {
    routers: Vec<Router>,
    others: Vec<Arc<dyn MeshController>>,
    routes: Vec<(Router, String)>,
    rules: ShiftRules,
}

impl Options {
    /// Adds the routes of a config file.
    pub(crate) fn configure(mut self, config: &Config) -> Result<Self, ConfigError> {
        for route in &config.file.route {
            let service = route.service.get_ref();
            if self.services().iter().any(|known| known.as_str() == service) {
                let reason = format!("two routes are for {service}");
                return Err(config.malformed(route.service.span().start, reason));
            }
            let at = route.primary.span().start;
            let primary = route.primary.get_ref();
            if !route.clusters.contains_key(primary) {
                let known: Vec<_> = route.clusters.keys().collect();
                let reason = format!("primary {primary:?} is not among the clusters {known:?}");
                return Err(config.malformed(at, reason));
            }
            let mut router = Router::builder(route.service.get_ref().as_str());
            for (name, url) in &route.clusters {
                let weight = if name == primary { 100 } else { 0 };
                router = router.cluster(name.as_str(), url).weight(weight);
            }
            if let Some(path) = &route.health {
                router = router.health_path(path);
            }
            if let Some(sink) = crate::spans::sink() {
                router = router.spans(sink);
            }
            let at = route.service.span().start;
            let router = router.build().map_err(|e| config.malformed(at, e.to_string()))?;
            match &route.listen {
                Some(address) => self.routes.push((router, address.clone())),
                None => self.routers.push(router),
            }
        }
        Ok(self)
    }

    /// The services whose traffic is controlled.
    pub(crate) fn services(&self) -> Vec<Service> {
        let routers = self.routers.iter().chain(self.routes.iter().map(|(router, _)| router));
        let own = routers.map(|router| router.service().clone());
        own.chain(self.others.iter().flat_map(|mesh| mesh.services())).collect()
    }

    /// Where the clusters are reached, as service, cluster and URL, where that is known.
    pub(crate) async fn endpoints(&self) -> Vec<(Service, String, String)> {
        let mut all = Vec::new();
        for mesh in self.meshes() {
            for service in mesh.services() {
                let Ok(snapshot) = mesh.snapshot(&service).await else { continue };
                all.extend(snapshot.clusters.into_iter().filter_map(|cluster| {
                    Some((service.clone(), cluster.cluster.to_string(), cluster.endpoint?))
                }));
            }
        }
        all
    }

    fn meshes(&self) -> Vec<Arc<dyn MeshController>> {
        let routers = self.routers.iter().chain(self.routes.iter().map(|(router, _)| router));
        let routers = routers.map(|router| Arc::new(router.clone()) as Arc<dyn MeshController>);
        routers.chain(self.others.iter().cloned()).collect()
    }

    /// Starts health checks, listeners and the shift engine.
    pub(crate) async fn start(
        self,
        journal: Arc<Journal>,
        evidence: Arc<dyn TrafficEvidence>,
    ) -> Result<Traffic, Error> {
        let meshes = self.meshes();
        if meshes.is_empty() {
            return Ok(Traffic::default());
        }
        let mut traffic = Traffic::default();
        let routers = self.routers.iter().chain(self.routes.iter().map(|(router, _)| router));
        for router in routers {
            router.check_now().await;
            traffic.checks.push(router.start_health_checks());
        }
        for (router, address) in &self.routes {
            let listener = listen::bind("traffic", address).await?;
            let failed =
                |source| Error::Listen { listener: "traffic", address: address.clone(), source };
            traffic.serving.push(router.serve(listener).map_err(failed)?);
        }
        let mesh: Arc<dyn MeshController> = Arc::new(Meshes::new(meshes));
        let engine = ShiftEngine::new(mesh, evidence, journal, self.rules);
        engine.recover().await.map_err(Error::setup)?;
        traffic.engine = Some(Arc::new(engine));
        Ok(traffic)
    }
}

/// Traffic under control.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    checks: Vec<HealthChecks>,
    serving: Vec<Serving>,
    engine: Option<Arc<ShiftEngine>>,
}

impl Traffic {
    pub(crate) fn control(&self) -> Option<Arc<dyn TrafficControl>> {
        self.engine.clone().map(|engine| engine as Arc<dyn TrafficControl>)
    }

    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.serving.iter().map(Serving::address).collect()
    }

    pub(crate) async fn shutdown(self) {
        if let Some(engine) = self.engine {
            engine.shutdown().await;
        }
        for serving in self.serving {
            serving.shutdown().await;
        }
        for checks in self.checks {
            checks.shutdown().await;
        }
    }
}

impl OpsBuilder {
    /// Puts a router under control: its clusters' health is checked, its traffic may be shifted.
    /// Serving it stays with the caller.
    #[must_use]
    pub fn mesh(mut self, router: Router) -> Self {
        self.traffic.routers.push(router);
        self
    }

    /// Puts any other mesh under control.
    #[must_use]
    pub fn mesh_controller(mut self, mesh: impl MeshController) -> Self {
        self.traffic.others.push(Arc::new(mesh));
        self
    }

    /// Says how strict shifts are.
    #[must_use]
    pub fn shift_rules(mut self, rules: ShiftRules) -> Self {
        self.traffic.rules = rules;
        self
    }
}
