//! A service with users, clusters and a mesh, in memory and in tokio's paused time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use hms_ops_core::clock::Clock;
use hms_ops_core::ledger::{Event, Fence, Journal, Ledger, MemoryLedger, Seq};
use hms_ops_core::mesh::{
    Applied, Capabilities, ClusterTraffic, Health, MeshController, MeshError, Plan, Served,
    ShiftReport, ShiftRequest, ShiftState, Snapshot, Split, TrafficControl, TrafficEvidence,
};
use hms_ops_core::name::{Cluster, Service};
use hms_ops_core::time::Timestamp;
use hms_ops_mesh::{Router, ShiftEngine, ShiftRules};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

/// A router whose clusters and users do what a test says.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) router: Router,
    pub(crate) applies: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) health: BTreeMap<Cluster, Health>,
    pub(crate) served: BTreeMap<Cluster, Served>,
    /// Clusters that answer every request with an error.
    pub(crate) failing: BTreeSet<Cluster>,
    /// Clusters that do not answer when asked for their counters.
    pub(crate) silent: BTreeSet<Cluster>,
    /// Clusters that somebody uses past the mesh.
    pub(crate) strays: BTreeSet<Cluster>,
    /// Whether users send nothing.
    pub(crate) idle: bool,
    /// How often others change the split just before an apply.
    pub(crate) rivals: usize,
    /// How many applies fail after they took effect.
    pub(crate) broken: usize,
}

impl World {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn serve(&self, cluster: &Cluster) -> bool {
        let mut state = self.state();
        let fails = state.failing.contains(cluster);
        let zero = Served { requests: 0.0, errors: 0.0 };
        let served = state.served.entry(cluster.clone()).or_insert(zero);
        served.requests += 1.0;
        served.errors += f64::from(u8::from(fails));
        !fails
    }

    /// Users: a request every 5 ms.
    async fn live(self: Arc<Self>) {
        loop {
            sleep(Duration::from_millis(5)).await;
            let strays = self.state().strays.clone();
            for cluster in &strays {
                self.serve(cluster);
            }
            if !self.state().idle {
                let mut request = self.router.begin();
                let cluster = request.picked().cluster.clone();
                if !self.serve(&cluster) {
                    request.fail();
                }
            }
        }
    }

    pub(crate) async fn split(&self) -> Split {
        self.router.snapshot(&service()).await.unwrap().split()
    }
}

#[async_trait]
impl MeshController for World {
    fn capabilities(&self) -> Capabilities {
        self.router.capabilities()
    }

    fn services(&self) -> Vec<Service> {
        self.router.services()
    }

    async fn snapshot(&self, service: &Service) -> Result<Snapshot, MeshError> {
        let mut snapshot = self.router.snapshot(service).await?;
        for cluster in &mut snapshot.clusters {
            let health = self.state().health.get(&cluster.cluster).cloned();
            cluster.health = health.unwrap_or(Health::Healthy);
        }
        Ok(snapshot)
    }

    async fn plan(&self, request: &ShiftRequest) -> Result<Plan, MeshError> {
        self.router.plan(request).await
    }

    async fn apply(&self, plan: &Plan, fence: &Fence) -> Result<Applied, MeshError> {
        let nth = self.applies.fetch_add(1, Ordering::SeqCst);
        let rival = {
            let mut state = self.state();
            state.rivals = state.rivals.saturating_sub(1);
            state.rivals > 0
        };
        if rival {
            let edit = ShiftRequest { percent: 90, ..wish("cluster-a", &format!("rival {nth}")) };
            let edit = self.router.plan(&edit).await?;
            self.router.apply(&edit, fence).await?;
        }
        let applied = self.router.apply(plan, fence).await?;
        let mut state = self.state();
        if state.broken > 0 {
            state.broken -= 1;
            return Err(MeshError::Backend("connection reset".into()));
        }
        Ok(applied)
    }

    async fn observe(&self, service: &Service) -> Result<Vec<ClusterTraffic>, MeshError> {
        self.router.observe(service).await
    }
}

#[async_trait]
impl TrafficEvidence for World {
    async fn served(&self, _: &Service, cluster: &Cluster) -> Result<Served, String> {
        let state = self.state();
        if state.silent.contains(cluster) {
            return Err("connection refused".to_owned());
        }
        let zero = Served { requests: 0.0, errors: 0.0 };
        Ok(state.served.get(cluster).copied().unwrap_or(zero))
    }
}

/// Shows tokio's time, paused or not.
#[derive(Debug)]
struct TokioClock(Instant);

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_767_225_600_000) + self.0.elapsed()
    }
}

/// A world under the control of an engine.
pub(crate) struct Lab {
    pub(crate) world: Arc<World>,
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) engine: Arc<ShiftEngine>,
    clock: Arc<dyn Clock>,
    rules: ShiftRules,
    users: JoinHandle<()>,
}

impl Lab {
    pub(crate) async fn new() -> Self {
        Self::with(ShiftRules::default()).await
    }

    pub(crate) async fn with(rules: ShiftRules) -> Self {
        let router = Router::builder("svc")
            .cluster("cluster-a", "http://127.0.0.1:1")
            .cluster("cluster-b", "http://127.0.0.1:2")
            .build()
            .unwrap();
        let state = Mutex::default();
        let world = Arc::new(World { router, applies: AtomicUsize::new(0), state });
        let users = tokio::spawn(world.clone().live());
        #[allow(clippy::disallowed_methods, reason = "this is a clock")]
        let clock: Arc<dyn Clock> = Arc::new(TokioClock(Instant::now()));
        let ledger: Arc<dyn Ledger> = Arc::new(MemoryLedger::new(clock.clone()));
        let engine = engine(&world, &ledger, &clock, rules.clone()).await;
        Self { world, ledger, engine, clock, rules, users }
    }

    /// The engine after a restart: of the old one only the ledger is left.
    pub(crate) async fn restart(&mut self) {
        let rules = self.rules.clone();
        self.engine = engine(&self.world, &self.ledger, &self.clock, rules).await;
        self.engine.recover().await.unwrap();
    }

    /// Changes how the world is.
    pub(crate) fn told<T>(&self, change: impl FnOnce(&mut State) -> T) {
        change(&mut self.world.state());
    }

    pub(crate) async fn shift(&self, request: ShiftRequest) -> ShiftReport {
        self.engine.shift(request).await.unwrap()
    }

    pub(crate) async fn journal(&self) -> Journal {
        let ttl = Duration::from_secs(120);
        let journal = Journal::open(self.ledger.clone(), self.clock.clone(), "engine", ttl);
        journal.await.unwrap().unwrap()
    }

    /// The states that a shift has in the ledger, in order.
    pub(crate) async fn states(&self, key: &str) -> Vec<ShiftState> {
        let entries = self.ledger.read(Seq(1), 10_000).await.unwrap();
        let states = entries.iter().filter_map(|recorded| match &recorded.entry.event {
            Event::ShiftReached { shift, report } if shift == key => Some(report.state.clone()),
            _ => None,
        });
        states.collect()
    }

    pub(crate) async fn words(&self, key: &str) -> Vec<&'static str> {
        self.states(key).await.iter().map(ShiftState::word).collect()
    }

    /// Waits for the state with this word in the ledger.
    pub(crate) async fn reaches(&self, key: &str, word: &str) -> ShiftState {
        let mut after = Seq(0);
        loop {
            let state = self.states(key).await.into_iter().find(|state| state.word() == word);
            if let Some(state) = state {
                return state;
            }
            after = self.ledger.changed(after).await.unwrap();
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.users.abort();
    }
}

async fn engine(
    world: &Arc<World>,
    ledger: &Arc<dyn Ledger>,
    clock: &Arc<dyn Clock>,
    rules: ShiftRules,
) -> Arc<ShiftEngine> {
    let ttl = Duration::from_secs(120);
    let journal = Journal::open(ledger.clone(), clock.clone(), "engine", ttl).await;
    let journal = Arc::new(journal.unwrap().unwrap());
    Arc::new(ShiftEngine::new(world.clone(), world.clone(), journal, rules))
}

pub(crate) fn service() -> Service {
    Service::new("svc")
}

pub(crate) fn cluster(name: &str) -> Cluster {
    Cluster::new(name)
}

pub(crate) fn split(a: u32, b: u32) -> Split {
    vec![(cluster("cluster-a"), a), (cluster("cluster-b"), b)]
}

pub(crate) fn wish(to: &str, key: &str) -> ShiftRequest {
    ShiftRequest {
        service: service(),
        to: cluster(to),
        percent: 100,
        key: key.to_owned(),
        cause: "a test wishes it".to_owned(),
    }
}

pub(crate) fn sick(reason: &str) -> Health {
    Health::Unhealthy { reason: reason.to_owned() }
}
