//! The dashboard: what it reads, its tasks, and its router.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hms_ops_core::alert::AlertStatus;
use hms_ops_core::clock::{Clock, SystemClock};
use hms_ops_core::labels::SERVICE;
use hms_ops_core::ledger::Ledger;
use hms_ops_core::mesh::TrafficControl;
use hms_ops_core::metric::Budget;
use hms_ops_core::name::Service;
use hms_ops_core::span_store::SpanStore;
use hms_ops_core::store::{Store, StoreError};
use hms_ops_core::time::TimeRange;
use tokio::sync::Semaphore;

use crate::api;
use crate::feed::Feed;
use crate::room::Rooms;
use crate::tasks::Tasks;

/// How far back a service must have reported to be listed.
const RECENT: Duration = Duration::from_secs(3600);

/// The live page of every service.
///
/// Its tasks are one that follows the ledger and one for each service that somebody looks at.
/// [`Dashboard::shutdown`] ends and joins them; dropped without it, they are told to end.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use std::sync::Arc;
///
/// use hms_ops_core::{clock::SystemClock, ledger::MemoryLedger, store::MemoryStore};
/// use hms_ops_dashboard::Dashboard;
///
/// let store = Arc::new(MemoryStore::new());
/// let ledger = Arc::new(MemoryLedger::new(Arc::new(SystemClock)));
/// let dashboard = Dashboard::builder(store, ledger).services(|| vec!["claims".into()]).start();
/// let app: axum::Router = axum::Router::new().nest_service("/dashboard", dashboard.router());
/// # drop(app);
/// dashboard.shutdown().await;
/// # });
/// ```
#[derive(Debug)]
pub struct Dashboard {
    shared: Arc<Shared>,
}

impl Dashboard {
    /// Begins to say what the dashboard reads.
    pub fn builder(store: Arc<dyn Store>, ledger: Arc<dyn Ledger>) -> DashboardBuilder {
        let sources = Sources {
            store,
            spans: None,
            traffic: None,
            clock: Arc::new(SystemClock),
            budgets: Arc::new(Vec::new),
            alerts: Arc::new(Vec::new),
            services: None,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        DashboardBuilder { sources, ledger, max_streams: 64 }
    }

    /// The page and its routes, under any prefix: every URL in it is relative.
    ///
    /// Nest it with `nest_service`, which takes `/prefix/` too; from `/prefix` the page leads there.
    ///
    /// Who may ask is the business of the listener, as are the checks of `Host` and `Origin`.
    pub fn router(&self) -> Router {
        api::router(self.shared.clone())
    }

    /// Ends all streams and tasks, and returns when they have ended. Requests after it get 503.
    ///
    /// To be called before a graceful shutdown of the listener, which would wait for the streams.
    /// Cancel safe: what has not ended by itself then is aborted.
    pub async fn shutdown(&self) {
        self.shared.tasks.shutdown().await;
    }
}

impl Drop for Dashboard {
    fn drop(&mut self) {
        self.shared.tasks.stop();
    }
}

/// Says what a [`Dashboard`] reads.
#[derive(Debug)]
pub struct DashboardBuilder {
    sources: Sources,
    ledger: Arc<dyn Ledger>,
    max_streams: usize,
}

impl DashboardBuilder {
    /// Where traces are; without it the page has none.
    #[must_use]
    pub fn spans(mut self, spans: Arc<dyn SpanStore>) -> Self {
        self.sources.spans = Some(spans);
        self
    }

    /// Who knows how traffic is split; without it the page does not say.
    #[must_use]
    pub fn traffic(mut self, traffic: Arc<dyn TrafficControl>) -> Self {
        self.sources.traffic = Some(traffic);
        self
    }

    /// The clock by which points are made. Default: the system's.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.sources.clock = clock;
        self
    }

    /// The metrics that have a budget, in either spelling; asked every few seconds.
    #[must_use]
    pub fn budgets(
        mut self,
        budgets: impl Fn() -> Vec<(String, Budget)> + Send + Sync + 'static,
    ) -> Self {
        self.sources.budgets = Arc::new(budgets);
        self
    }

    /// Every alert as it stands now, for the newest numbers; asked each second. Without it alerts
    /// are shown as of their last transition, and those that never had one are not.
    #[must_use]
    pub fn alerts(mut self, alerts: impl Fn() -> Vec<AlertStatus> + Send + Sync + 'static) -> Self {
        self.sources.alerts = Arc::new(alerts);
        self
    }

    /// The services that have a page. Default: those that reported to the store within an hour.
    #[must_use]
    pub fn services(mut self, services: impl Fn() -> Vec<Service> + Send + Sync + 'static) -> Self {
        self.sources.services = Some(Arc::new(services));
        self
    }

    /// The version that the page shows. Default: this crate's.
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.sources.version = version.into();
        self
    }

    /// How many event streams may be open at once; more get 503. Default 64.
    #[must_use]
    pub fn max_streams(mut self, max: usize) -> Self {
        self.max_streams = max.min(Semaphore::MAX_PERMITS);
        self
    }

    /// Starts to follow the ledger.
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime with time.
    pub fn start(self) -> Dashboard {
        let Self { sources, ledger, max_streams } = self;
        let shared = Shared {
            sources: Arc::new(sources),
            feed: Arc::default(),
            rooms: Rooms::default(),
            tasks: Tasks::new(),
            streams: Arc::new(Semaphore::new(max_streams)),
        };
        let feed = shared.feed.clone();
        shared.tasks.spawn(|stop| feed.follow(ledger, stop));
        Dashboard { shared: Arc::new(shared) }
    }
}

/// What the routes share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) sources: Arc<Sources>,
    pub(crate) feed: Arc<Feed>,
    pub(crate) rooms: Rooms,
    pub(crate) tasks: Tasks,
    /// One permit for each open stream.
    pub(crate) streams: Arc<Semaphore>,
}

/// What the dashboard reads.
pub(crate) struct Sources {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) spans: Option<Arc<dyn SpanStore>>,
    pub(crate) traffic: Option<Arc<dyn TrafficControl>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) budgets: Arc<dyn Fn() -> Vec<(String, Budget)> + Send + Sync>,
    pub(crate) alerts: Arc<dyn Fn() -> Vec<AlertStatus> + Send + Sync>,
    pub(crate) services: Option<Arc<dyn Fn() -> Vec<Service> + Send + Sync>>,
    pub(crate) version: String,
}

impl Sources {
    /// The services that have a page, sorted.
    pub(crate) async fn services(&self) -> Result<Vec<Service>, StoreError> {
        let mut services = match &self.services {
            Some(services) => services(),
            None => {
                let recent = TimeRange::last(RECENT, self.clock.now());
                let names = self.store.label_values(SERVICE, &[], recent).await?;
                names.into_iter().map(Service::from).collect()
            }
        };
        services.sort();
        services.dedup();
        Ok(services)
    }
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { store, spans, traffic, clock, version, .. } = self;
        f.debug_struct("Sources")
            .field("store", store)
            .field("spans", spans)
            .field("traffic", traffic)
            .field("clock", clock)
            .field("version", version)
            .finish_non_exhaustive()
    }
}
