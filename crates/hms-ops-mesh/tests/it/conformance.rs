//! The suites of the testkit, over real sockets: users, a proxy, and clusters that count.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use hms_ops_core::clock::SystemClock;
use hms_ops_core::ledger::{Journal, MemoryLedger};
use hms_ops_core::mesh::{MeshController, Served, TrafficControl, TrafficEvidence};
use hms_ops_core::name::{Cluster, Service};
use hms_ops_mesh::{HealthChecks, Meshes, Router, Serving, ShiftEngine, ShiftRules};
use hms_ops_testkit::mesh::{A, B, MeshUnderTest, SERVICE};
use hms_ops_testkit::{keep, mesh_suite, traffic_control_suite};
use http::StatusCode;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::SendRequest;
use tokio::net::TcpListener;
use tokio::sync::Mutex;

use crate::backend::{Backend, connect, request, text};

mod router {
    use super::*;

    mesh_suite!(Routed::start(|router| Arc::new(router)).await);
}

mod meshes {
    use super::*;

    mesh_suite!(Routed::start(|router| Arc::new(beside_another(router))).await);

    fn beside_another(router: Router) -> Meshes {
        let other = Router::builder("other-svc").cluster(A, "http://127.0.0.1:1").build();
        Meshes::new([Arc::new(other.unwrap()) as _, Arc::new(router) as _])
    }
}

mod shift_engine {
    use super::*;

    traffic_control_suite!(engine().await);
}

/// A cluster that counts its requests, save for health checks, and fails them when it is told to.
struct Counting {
    backend: Backend,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    requests: AtomicU64,
    failing: AtomicBool,
}

impl Counting {
    async fn start() -> Self {
        let counts = Arc::new(Counts::default());
        let own = counts.clone();
        let answer = move |path: &str| {
            if path == "/health" {
                return StatusCode::OK;
            }
            own.requests.fetch_add(1, Ordering::SeqCst);
            match own.failing.load(Ordering::SeqCst) {
                true => StatusCode::INTERNAL_SERVER_ERROR,
                false => StatusCode::OK,
            }
        };
        let backend = Backend::start(move |request| {
            let status = answer(request.uri().path());
            async move { Ok(text(status, "")) }
        });
        Self { backend: backend.await, counts }
    }
}

/// A router with two clusters that were found healthy, and a user of its proxy.
struct Routed {
    mesh: Arc<dyn MeshController>,
    clusters: [Counting; 2],
    user: Mutex<User>,
    _serving: Serving,
    _checks: HealthChecks,
}

impl Routed {
    /// The mesh under test is what `mesh` makes of the router.
    async fn start(mesh: impl FnOnce(Router) -> Arc<dyn MeshController>) -> Self {
        let clusters = [Counting::start().await, Counting::start().await];
        let [a, b] = clusters.each_ref().map(|cluster| cluster.backend.url());
        let router = Router::builder(SERVICE).cluster(A, a).cluster(B, b).build().unwrap();
        let checks = router.start_health_checks();
        router.check_now().await;
        let serving = router.serve(TcpListener::bind("127.0.0.1:0").await.unwrap()).unwrap();
        let user = Mutex::new(User(connect(serving.address()).await));
        Self { mesh: mesh(router), clusters, user, _serving: serving, _checks: checks }
    }

    fn cluster(&self, name: &str) -> &Counts {
        let i = [A, B].iter().position(|known| *known == name);
        &self.clusters[i.unwrap()].counts
    }
}

/// One connection, on which one request follows the other.
struct User(SendRequest<Empty<Bytes>>);

impl User {
    async fn ask(&mut self) {
        let asked = request("GET", "/").body(Empty::new()).unwrap();
        self.0.ready().await.unwrap();
        let answer = self.0.send_request(asked).await.unwrap();
        answer.into_body().collect().await.unwrap();
    }
}

#[async_trait]
impl MeshUnderTest for Routed {
    fn controller(&self) -> &dyn MeshController {
        &self.mesh
    }

    async fn send(&self, requests: u64) {
        let mut user = self.user.lock().await;
        for _ in 0..requests {
            user.ask().await;
        }
    }

    async fn received(&self, cluster: &str) -> u64 {
        self.cluster(cluster).requests.load(Ordering::SeqCst)
    }

    async fn fail(&self, cluster: &str, failing: bool) {
        self.cluster(cluster).failing.store(failing, Ordering::SeqCst);
    }
}

/// What both clusters have counted themselves.
#[derive(Debug)]
struct Counted([Arc<Counts>; 2]);

#[async_trait]
impl TrafficEvidence for Counted {
    async fn served(&self, _: &Service, cluster: &Cluster) -> Result<Served, String> {
        let counts = &self.0[usize::from(cluster.as_str() == B)];
        Ok(Served { requests: counts.requests.load(Ordering::SeqCst) as f64, errors: 0.0 })
    }
}

/// A shift engine above a router whose user asks without end.
async fn engine() -> Arc<dyn TrafficControl> {
    let routed = keep(Routed::start(|router| Arc::new(router)).await);
    let mesh = routed.mesh.clone();
    let evidence = Arc::new(Counted(routed.clusters.each_ref().map(|c| c.counts.clone())));
    let clock = Arc::new(SystemClock);
    let ledger = Arc::new(MemoryLedger::new(clock.clone()));
    let hour = Duration::from_secs(3600);
    let journal = Journal::open(ledger, clock, "test", hour).await.unwrap().unwrap();
    let rules = ShiftRules {
        poll: Duration::from_millis(5),
        quiet: Duration::from_millis(20),
        bake: Duration::from_millis(20),
        ..ShiftRules::default()
    };
    tokio::spawn(async move {
        loop {
            routed.send(1).await;
        }
    });
    Arc::new(ShiftEngine::new(mesh, evidence, Arc::new(journal), rules))
}
