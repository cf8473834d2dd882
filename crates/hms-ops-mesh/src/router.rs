//! The router: a mesh backend inside the process.
//!
//! A pick reads one table that a shift swaps as a whole, so a request goes by the old split or by
//! the new one and never waits. Requests are counted per cluster and per thread.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use arc_swap::ArcSwap;
use hms_ops_core::clock::Clock;
use hms_ops_core::name::{Cluster, Service};
use hms_ops_core::span::SpanSink;
use hms_ops_core::striped::{Count, Striped};

use crate::health::{Checked, HealthOptions};
use crate::proxy::ProxyOptions;

mod builder;
mod control;
mod endpoint;
mod table;

pub use builder::{RouterBuilder, RouterError};
use control::Writer;
pub(crate) use endpoint::Endpoint;
use table::Table;

/// Splits the traffic of one service over its clusters, by weight. Cheap to clone.
///
/// It is a [`MeshController`](hms_ops_core::mesh::MeshController), so the shift engine moves its
/// traffic. Requests reach it through [`Router::serve`], a reverse proxy, or through
/// [`Router::layer`] in a client of one's own. A service without fresh health checks
/// ([`Router::start_health_checks`]) is never shifted.
///
/// ```
/// use hms_ops_mesh::Router;
///
/// let router = Router::builder("eligibility-svc")
///     .cluster("cluster-a", "http://127.0.0.1:9001")
///     .cluster("cluster-b", "http://127.0.0.1:9002")
///     .build()?;
/// assert_eq!(router.pick().cluster.as_str(), "cluster-a");
/// # Ok::<(), hms_ops_mesh::RouterError>(())
/// ```
#[derive(Clone)]
pub struct Router {
    inner: Arc<Inner>,
    held: Arc<Striped<OnceLock<Arc<Held>>>>,
}

/// The router as the requests hold it that one thread has begun: a count of holders that all threads
/// write at every request would cost them 30 ns. Aligned, so that no two counts share a cache line.
#[repr(align(128))]
struct Held(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    service: Service,
    backends: Box<[Backend]>,
    table: ArcSwap<Table>,
    writer: Mutex<Writer>,
    options: Options,
}

/// How a router works; see [`RouterBuilder`].
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) spans: Option<Arc<dyn SpanSink>>,
    pub(crate) health: HealthOptions,
    pub(crate) proxy: ProxyOptions,
}

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picked {
    /// The service that was asked for.
    pub service: Service,
    /// The cluster that answers.
    pub cluster: Cluster,
    /// Where that is, as `http://host:port`.
    pub endpoint: Arc<str>,
}

/// One cluster: where it is, what it was sent, how it is.
#[derive(Debug)]
pub(crate) struct Backend {
    pub(crate) picked: Picked,
    pub(crate) endpoint: Endpoint,
    begun: Count,
    ended: Count,
    errors: Count,
    down: AtomicBool,
    checked: Mutex<Checked>,
}

/// A request that was given to a cluster and counts there as active until this is dropped.
///
/// ```
/// let router = hms_ops_mesh::Router::builder("claims")
///     .cluster("cluster-a", "http://127.0.0.1:9001")
///     .build()?;
/// let mut request = router.begin();
/// println!("ask {}", request.picked().endpoint);
/// request.fail();
/// # Ok::<(), hms_ops_mesh::RouterError>(())
/// ```
#[must_use = "the request counts as answered when this is dropped"]
pub struct InFlight {
    held: Arc<Held>,
    index: usize,
    failed: bool,
}

impl Router {
    /// A router for the traffic of `service`.
    pub fn builder(service: impl Into<Service>) -> RouterBuilder {
        RouterBuilder::new(service.into())
    }

    /// The service whose traffic this is.
    pub fn service(&self) -> &Service {
        &self.inner.service
    }

    /// Picks a cluster by weight, without counting a request.
    ///
    /// A cluster that fails its checks is replaced by a healthy one with weight, if there is one.
    #[inline]
    pub fn pick(&self) -> &Picked {
        &self.inner.backends[self.pick_index()].picked
    }

    /// Picks as [`Router::pick`] does, and counts a request that begins now.
    #[inline]
    pub fn begin(&self) -> InFlight {
        self.begin_at(self.pick_index())
    }

    /// Begins a second attempt: at another cluster with weight, if there is one.
    pub(crate) fn begin_again(&self, first: &InFlight) -> InFlight {
        let table = self.inner.table.load();
        let other = table
            .pick_where(|i| i != first.index && !self.backend(i).is_down())
            .or_else(|| table.pick_where(|i| i != first.index));
        self.begin_at(other.unwrap_or(first.index))
    }

    pub(crate) fn backends(&self) -> &[Backend] {
        &self.inner.backends
    }

    pub(crate) fn backend(&self, index: usize) -> &Backend {
        &self.inner.backends[index]
    }

    pub(crate) fn options(&self) -> &Options {
        &self.inner.options
    }

    fn begin_at(&self, index: usize) -> InFlight {
        self.backend(index).begun.add(1);
        let (held, _) = self.held.cell();
        let held = held.get_or_init(|| Arc::new(Held(self.inner.clone()))).clone();
        InFlight { held, index, failed: false }
    }

    #[inline]
    fn pick_index(&self) -> usize {
        let table = self.inner.table.load();
        let picked = table.pick();
        if !self.backend(picked).is_down() {
            return picked;
        }
        table.pick_where(|i| !self.backend(i).is_down()).unwrap_or(picked)
    }
}

impl Backend {
    fn new(picked: Picked, endpoint: Endpoint) -> Self {
        Self {
            picked,
            endpoint,
            begun: Count::new(),
            ended: Count::new(),
            errors: Count::new(),
            down: AtomicBool::new(false),
            checked: Mutex::default(),
        }
    }

    /// The state of its health checks; changed only through [`Backend::check`].
    pub(crate) fn checked(&self) -> MutexGuard<'_, Checked> {
        self.checked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in the result of one check.
    pub(crate) fn check(&self, change: impl FnOnce(&mut Checked)) {
        let mut checked = self.checked();
        change(&mut checked);
        self.down.store(checked.is_down(), Ordering::Relaxed);
    }

    fn is_down(&self) -> bool {
        self.down.load(Ordering::Relaxed)
    }

    /// Requests that were begun and have not ended.
    fn active(&self) -> u64 {
        // What has ended is read first, so that no request counts as ended and not as begun.
        let ended = self.ended.get();
        self.begun.get().saturating_sub(ended)
    }
}

impl InFlight {
    /// Where the request goes.
    pub fn picked(&self) -> &Picked {
        &self.backend().picked
    }

    /// The request failed: no answer, or one of 5xx.
    pub fn fail(&mut self) {
        self.failed = true;
    }

    pub(crate) fn index(&self) -> usize {
        self.index
    }

    fn backend(&self) -> &Backend {
        &self.held.0.backends[self.index]
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let backend = self.backend();
        if self.failed {
            backend.errors.add(1);
        }
        backend.ended.add(1);
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl fmt::Debug for InFlight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InFlight")
            .field("picked", self.picked())
            .field("failed", &self.failed)
            .finish()
    }
}
