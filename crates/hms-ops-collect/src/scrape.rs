//! Scraping: reads targets at their intervals and stores what they expose.
//!
//! A target is hostile until it has shown otherwise: everything that it decides is bounded by its
//! [`Limits`] and one deadline, and a scrape that passes a bound is rejected as a whole.

#![allow(clippy::mutable_key_type, reason = "a target is what it says, not what is cached for it")]

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hms_ops_core::clock::Clock;
use hms_ops_core::labels::{INSTANCE, Labels};
use hms_ops_core::metadata::MetadataStore;
use hms_ops_core::store::{Store, StoreError};
use hms_ops_core::time::Timestamp;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::client::{ClientError, Endpoint};
use crate::exposition::ExpositionError;

mod manner;
pub mod relabel;
mod sampler;
mod series;
mod task;

#[cfg_attr(
    not(feature = "prometheus-config"),
    allow(unused_imports, reason = "for jobs of a file")
)]
pub(crate) use self::manner::{KeptLimits, Manner};
pub use self::sampler::ExpositionSampler;
pub(crate) use self::series::Commit;
use self::series::TargetSeries;
use self::task::Task;

/// Nudges that may wait for one target; more wait in [`Scraper::scrape_now`].
const NUDGES: usize = 16;

/// What to scrape, and how.
///
/// ```
/// use std::time::Duration;
/// use hms_ops_collect::scrape::Target;
///
/// let target = Target::new("http://127.0.0.1:9110/metrics")?
///     .label("service", "eligibility-svc")
///     .label("cluster", "cluster-a")
///     .interval(Duration::from_secs(5));
/// assert_eq!(target.labels().get("instance"), Some("127.0.0.1:9110"));
/// # Ok::<(), hms_ops_collect::ClientError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    endpoint: Endpoint,
    labels: Labels,
    interval: Duration,
    timeout: Duration,
    limits: Limits,
    manner: Arc<Manner>,
}

/// By what tells most targets apart.
impl Hash for Target {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.endpoint.hash(state);
        self.labels.hash(state);
    }
}

impl Target {
    /// The target at `url`, `http://host:port/path`, every 15 s, with the label `instance` set to
    /// `host:port`.
    ///
    /// # Errors
    ///
    /// [`ClientError::Url`], [`ClientError::Tls`] or [`ClientError::Credentials`].
    pub fn new(url: &str) -> Result<Self, ClientError> {
        let endpoint: Endpoint = url.parse()?;
        let labels = Labels::from_pairs([(INSTANCE, endpoint.authority())]);
        let (interval, timeout) = (Duration::ZERO, Duration::MAX);
        let (limits, manner) = (Limits::default(), Arc::default());
        Ok(Self { endpoint, labels, interval, timeout, limits, manner }
            .interval(Duration::from_secs(15))
            .timeout(Duration::from_secs(10)))
    }

    /// Puts a label on every series of the target.
    #[must_use]
    pub fn label(mut self, name: &str, value: &str) -> Self {
        self.labels = self.labels.with(name, value);
        self
    }

    /// How often; at least a millisecond, and once in a century at least.
    #[must_use]
    pub fn interval(mut self, interval: Duration) -> Self {
        const CENTURY: Duration = Duration::from_secs(100 * 365 * 86_400);
        self.interval = interval.clamp(Duration::from_millis(1), CENTURY);
        self
    }

    /// How often it is scraped.
    pub fn scraped_every(&self) -> Duration {
        self.interval
    }

    /// How long connecting, headers and body may take together; never longer than the interval.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How much one scrape may bring.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// What a series says of itself wins over the labels of the target; without it, the latter win,
    /// and the former is kept as `exported_name`.
    #[must_use]
    pub fn honor_labels(mut self) -> Self {
        Arc::make_mut(&mut self.manner).honor_labels = true;
        self
    }

    /// A sample is stored at the time that it states; without it, at that of the scrape.
    #[must_use]
    pub fn honor_timestamps(mut self) -> Self {
        Arc::make_mut(&mut self.manner).honor_timestamps = true;
        self
    }

    /// Relabels each series, once it has the labels of the target; what the rules drop is not stored.
    #[must_use]
    pub fn metric_relabel(mut self, rules: impl IntoIterator<Item = relabel::Rule>) -> Self {
        Arc::make_mut(&mut self.manner).relabel = rules.into_iter().collect();
        self
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        self.endpoint.url()
    }

    /// The labels that all its series have.
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// Has these labels and no others.
    #[cfg_attr(not(feature = "prometheus-config"), allow(dead_code, reason = "for jobs of a file"))]
    pub(crate) fn labels_are(mut self, labels: Labels) -> Self {
        self.labels = labels;
        self
    }

    #[cfg_attr(not(feature = "prometheus-config"), allow(dead_code, reason = "for jobs of a file"))]
    pub(crate) fn manner(mut self, manner: Arc<Manner>) -> Self {
        self.manner = manner;
        self
    }

    fn deadline(&self) -> Duration {
        self.timeout.min(self.interval)
    }

    /// When in its interval the target is scraped: spread over targets, the same in every run.
    fn phase(&self) -> Duration {
        // FNV-1a: the standard library's hash may change between releases.
        let text = format!("{}{}", self.url(), self.labels);
        let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Duration::from_millis(hash % millis(self.interval))
    }
}

/// How much one scrape may bring. What passes a limit is rejected as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the body, as sent and inflated; 16 MiB.
    pub body_bytes: usize,
    /// Samples, and so series; 50,000. As many lines of metadata.
    pub samples: usize,
    /// Labels of one series, beside its name; 64.
    pub labels: usize,
    /// Bytes of a label name or a metric name; 256.
    pub name_bytes: usize,
    /// Bytes of a label value; 4,096.
    pub value_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 16 << 20,
            samples: 50_000,
            labels: 64,
            name_bytes: 256,
            value_bytes: 4096,
        }
    }
}

/// Why a scrape failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each message explains its fields")]
pub enum ScrapeError {
    /// The target did not answer, or not as it should.
    #[error(transparent)]
    Client(#[from] ClientError),

    /// The target was not asked.
    #[error("{reason}")]
    Refused { reason: String },

    /// The target was too slow.
    #[error("no complete answer within {timeout:?}")]
    Timeout { timeout: Duration },

    /// The body is not an exposition.
    #[error(transparent)]
    Exposition(#[from] ExpositionError),

    /// The body passes a limit.
    #[error("line {line}: more than {limit} {what}")]
    TooMany { line: usize, what: &'static str, limit: usize },

    /// A part of a series passes a limit.
    #[error("line {line}: {what} {excerpt} has more than {limit} bytes")]
    TooLong { line: usize, what: &'static str, excerpt: String, limit: usize },

    /// Relabelling took the name of a metric away.
    #[error("line {line}: relabelling left {excerpt} without a name")]
    NoName { line: usize, excerpt: String },

    /// The samples could not be stored.
    #[error("the samples could not be stored")]
    Store(#[from] StoreError),
}

/// Whether the last scrape of a target went well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// Not scraped yet.
    #[default]
    Unknown,
    /// It did.
    Up,
    /// It did not.
    Down,
}

/// `unknown`, `up` or `down`.
impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        })
    }
}

/// How a target is doing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TargetStatus {
    /// Where it is.
    pub url: String,
    /// The labels that all its series have.
    pub labels: Labels,
    /// How often it is scraped.
    pub interval: Duration,
    /// How long a scrape may take.
    pub timeout: Duration,
    /// Whether the last scrape went well.
    pub health: Health,
    /// Why the last scrape failed; `None` when it went well.
    pub last_error: Option<String>,
    /// When the last scrape began.
    pub last_scrape: Option<Timestamp>,
    /// How long it took.
    pub duration: Duration,
    /// Samples that it brought.
    pub samples: usize,
    /// Of these, the ones that the store refused: their series are new and the store is full, come
    /// twice, or have a newer sample.
    pub refused_samples: usize,
    /// Scrapes so far.
    pub scrapes: u64,
    /// Scrapes left out because the one before was not over.
    pub skipped_scrapes: u64,
}

/// A target that is scraped.
#[derive(Clone, Debug, PartialEq)]
pub struct ActiveTarget {
    /// The job that it belongs to.
    pub pool: String,
    /// The labels before relabelling.
    pub discovered: Labels,
    /// How it is doing.
    pub status: TargetStatus,
}

/// A target that is not scraped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DroppedTarget {
    /// The job that it would belong to.
    pub pool: String,
    /// The labels before relabelling.
    pub discovered: Labels,
    /// Why it cannot be scraped; `None` when relabelling dropped it.
    pub reason: Option<String>,
}

/// Scrapes targets, each in a task of its own.
///
/// Owns its tasks: [`Scraper::shutdown`] ends and joins them; dropped without it, they end by
/// themselves.
///
/// ```
/// use std::sync::Arc;
/// use hms_ops_collect::scrape::{Health, Scraper, Target};
/// use hms_ops_core::{clock::SystemClock, store::MemoryStore};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), hms_ops_collect::ClientError> {
/// let target = Target::new("http://127.0.0.1:1/metrics")?.label("service", "claims");
/// let scraper = Scraper::start(Arc::new(MemoryStore::new()), Arc::new(SystemClock), [target]);
/// let statuses = scraper.scrape_now(|target| target.labels().get("service") == Some("claims")).await;
/// assert_eq!(statuses[0].health, Health::Down);
/// scraper.shutdown().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Scraper {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    metadata: Arc<MetadataStore>,
    running: Mutex<Vec<Running>>,
    /// Held while targets change, so that changes do not mix.
    changing: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Running {
    target: Arc<Target>,
    status: Arc<Mutex<TargetStatus>>,
    nudges: mpsc::Sender<Nudge>,
    /// Dropped, it ends the task.
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// Asks for a scrape at once; answered after it.
type Nudge = oneshot::Sender<TargetStatus>;

impl Scraper {
    /// Starts to scrape `targets` into `store`. Must be called within a Tokio runtime.
    pub fn start(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        targets: impl IntoIterator<Item = Target>,
    ) -> Self {
        Self::start_with_metadata(store, clock, Arc::default(), targets)
    }

    /// As [`Scraper::start`], and keeps in `metadata` what targets say about their metrics.
    pub fn start_with_metadata(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        metadata: Arc<MetadataStore>,
        targets: impl IntoIterator<Item = Target>,
    ) -> Self {
        let scraper = Self {
            store,
            clock,
            metadata,
            running: Mutex::default(),
            changing: tokio::sync::Mutex::default(),
        };
        scraper.spawn(targets);
        scraper
    }

    /// Scrapes these targets from now on. Equal ones go on undisturbed; the series of those that
    /// are not among them end.
    pub async fn set_targets(&self, targets: impl IntoIterator<Item = Target>) {
        let targets: Vec<Target> = targets.into_iter().collect();
        let wanted: HashSet<&Target> = targets.iter().collect();
        let _changing = self.changing.lock().await;
        let removed: Vec<_> = {
            let is_removed = |running: &mut Running| !wanted.contains(&*running.target);
            self.running().extract_if(.., is_removed).collect()
        };
        // First, so that the end of a series does not come after its new beginning.
        stop(removed).await;
        self.spawn(targets);
    }

    /// How all targets are doing, in the order in which they were added.
    pub fn targets(&self) -> Vec<TargetStatus> {
        self.running().iter().map(|running| lock(&running.status).clone()).collect()
    }

    /// How each target is doing.
    #[cfg_attr(not(feature = "prometheus-config"), allow(dead_code, reason = "for discovery"))]
    pub(crate) fn by_target(&self) -> HashMap<Arc<Target>, TargetStatus> {
        let status = |running: &Running| (running.target.clone(), lock(&running.status).clone());
        self.running().iter().map(status).collect()
    }

    /// Scrapes the targets that `wanted` picks, now, and waits for the results. A scrape that runs
    /// already is not counted as one: another follows it.
    ///
    /// Cancel safe: dropped, the scrapes still happen.
    pub async fn scrape_now(&self, wanted: impl Fn(&Target) -> bool) -> Vec<TargetStatus> {
        let nudges: Vec<_> = {
            let running = self.running();
            let wanted = running.iter().filter(|running| wanted(&running.target));
            wanted.map(|running| running.nudges.clone()).collect()
        };
        let mut answers = Vec::with_capacity(nudges.len());
        for nudge in nudges {
            let (sender, answer) = oneshot::channel();
            if nudge.send(sender).await.is_ok() {
                answers.push(answer);
            }
        }
        let mut statuses = Vec::with_capacity(answers.len());
        for answer in answers {
            // An error says that the target was removed meanwhile.
            statuses.extend(answer.await);
        }
        statuses
    }

    /// Ends all series with a staleness marker and joins every task. A scrape that is under way is
    /// broken off.
    pub async fn shutdown(self) {
        self.set_targets([]).await;
    }

    fn spawn(&self, targets: impl IntoIterator<Item = Target>) {
        let mut running = self.running();
        let mut known: HashSet<Arc<Target>> =
            running.iter().map(|running| running.target.clone()).collect();
        for target in targets {
            let target = Arc::new(target);
            if known.insert(target.clone()) {
                running.push(Running::spawn(target, &self.store, &self.clock, &self.metadata));
            }
        }
    }

    fn running(&self) -> MutexGuard<'_, Vec<Running>> {
        lock(&self.running)
    }
}

impl Running {
    fn spawn(
        target: Arc<Target>,
        store: &Arc<dyn Store>,
        clock: &Arc<dyn Clock>,
        metadata: &Arc<MetadataStore>,
    ) -> Self {
        let status = TargetStatus {
            url: target.url().to_owned(),
            labels: target.labels.clone(),
            interval: target.interval,
            timeout: target.deadline(),
            ..TargetStatus::default()
        };
        let status = Arc::new(Mutex::new(status));
        let (nudges, nudged) = mpsc::channel(NUDGES);
        let (stop, stopped) = oneshot::channel();
        let series = TargetSeries::new(&target, metadata.clone());
        let task = Task::new(target.clone(), store.clone(), clock.clone(), status.clone(), series);
        let task = tokio::spawn(task.run(nudged, stopped));
        Self { target, status, nudges, stop, task }
    }
}

async fn stop(running: Vec<Running>) {
    let tasks: Vec<_> = running
        .into_iter()
        .map(|running| {
            drop(running.stop);
            running.task
        })
        .collect();
    for task in tasks {
        // An error is a panic in the task, which has been reported where it happened.
        let _ = task.await;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
