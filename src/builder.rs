//! Says what an engine is made of.

use std::sync::Arc;

use crate::config::{Config, Declared};
use crate::core::alert::AlertRule;
use crate::core::clock::{Clock, SystemClock};
use crate::core::ledger::Ledger;
use crate::core::metric::Budget;
use crate::core::name::Service;
use crate::core::notify::Notifier;
use crate::core::registry::Registry;
use crate::core::span_store::SpanStore;
use crate::core::store::Store;
use crate::tick::Exporter;
use crate::{Error, Ops, admin, notifiers, prometheus, remote, runbooks, storage, traffic};
use hms_ops_alert::notify::LogNotifier;
use hms_ops_alert::{Receiver, Slo};
use hms_ops_collect::scrape::Target;
use hms_ops_promql::EngineOptions;

/// Says what an [`Ops`] is made of; each part has a default.
#[derive(Debug)]
pub struct OpsBuilder {
    pub(crate) service: Option<Service>,
    pub(crate) cluster: Option<String>,
    pub(crate) registry: Option<Registry>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) store: Option<Arc<dyn Store>>,
    pub(crate) storage: storage::Options,
    pub(crate) prometheus: prometheus::Options,
    pub(crate) remote: remote::Options,
    pub(crate) ledger: Option<Arc<dyn Ledger>>,
    pub(crate) spans: Option<Arc<dyn SpanStore>>,
    pub(crate) rules: Vec<Box<dyn AlertRule>>,
    pub(crate) budgets: Vec<Declared>,
    pub(crate) slos: Vec<Slo>,
    pub(crate) targets: Vec<Target>,
    pub(crate) receivers: Vec<Receiver>,
    pub(crate) traffic: traffic::Options,
    pub(crate) runbooks: runbooks::Options,
    pub(crate) admin: admin::Options,
    pub(crate) query_limits: EngineOptions,
    pub(crate) metrics: Option<String>,
    /// The name of the config file, and what is in it.
    pub(crate) config_file: Option<(String, String)>,
    pub(crate) exporter: Option<Box<dyn Exporter>>,
    pub(crate) stop_on_signals: bool,
    pub(crate) require_listeners: bool,
}

impl OpsBuilder {
    pub(crate) fn new() -> Self {
        Self {
            service: None,
            cluster: None,
            registry: None,
            clock: Arc::new(SystemClock),
            store: None,
            storage: storage::Options::default(),
            prometheus: prometheus::Options::default(),
            remote: remote::Options::default(),
            ledger: None,
            spans: None,
            rules: Vec::new(),
            budgets: Vec::new(),
            slos: Vec::new(),
            targets: Vec::new(),
            receivers: vec![Receiver::new(Arc::new(LogNotifier))],
            traffic: traffic::Options::default(),
            runbooks: runbooks::Options::default(),
            admin: admin::Options::default(),
            query_limits: EngineOptions::default(),
            metrics: None,
            config_file: None,
            exporter: None,
            stop_on_signals: false,
            require_listeners: false,
        }
    }

    /// Names the service that this process is; its metrics get the label `service`.
    #[must_use]
    pub fn service(mut self, name: impl Into<Service>) -> Self {
        self.service = Some(name.into());
        self
    }

    /// Names the cluster that this process runs in; its metrics get the label `cluster`.
    #[must_use]
    pub fn cluster(mut self, name: &str) -> Self {
        self.cluster = Some(name.to_owned());
        self
    }

    /// Takes a registry of its own in place of the process-wide one, so that two engines can live
    /// in one process.
    #[must_use]
    pub fn registry(mut self, registry: Registry) -> Self {
        self.registry = Some(registry);
        self
    }

    /// Keeps samples in `store`. Default: in memory, bounded, gone with the process.
    #[must_use]
    pub fn store(mut self, store: impl Store) -> Self {
        self.store = Some(Arc::new(store));
        self
    }

    /// Writes to `ledger`. Default: in the folder of the samples, if there is one and the feature
    /// `ledger-file`; otherwise in memory, bounded, gone with the process.
    #[must_use]
    pub fn ledger(mut self, ledger: impl Ledger) -> Self {
        self.ledger = Some(Arc::new(ledger));
        self
    }

    /// Keeps spans in `spans`. Default: in memory, bounded, gone with the process.
    #[must_use]
    pub fn spans(mut self, spans: impl SpanStore) -> Self {
        self.spans = Some(Arc::new(spans));
        self
    }

    /// Tells the time by `clock`.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Adds a rule. Budgets of this process's own metrics need none.
    #[must_use]
    pub fn rule(mut self, rule: impl AlertRule) -> Self {
        self.rules.push(Box::new(rule));
        self
    }

    /// Declares the budget of a scraped or otherwise exported metric, for one service or for every one
    /// that has it.
    #[must_use]
    pub fn budget(mut self, metric: &str, budget: Budget, service: Option<&str>) -> Self {
        self.budgets.push((metric.to_owned(), budget, service.map(Service::from)));
        self
    }

    /// Holds a service to an objective: an alert of that name fires when its error budget is spent too
    /// fast, and runbooks bind to it by that name.
    ///
    /// ```no_run
    /// use hms_ops::prelude::*;
    ///
    /// # async fn start() -> Result<(), Box<dyn std::error::Error>> {
    /// let slo = Slo::new("disaster-claims")
    ///     .latency("claims.latency_ms", 500.0)
    ///     .objective("99.999")
    ///     .build()?;
    /// let ops = Ops::builder().service("claims-svc").slo(slo).start().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn slo(mut self, slo: Slo) -> Self {
        self.slos.push(slo);
        self
    }

    /// Scrapes a target.
    #[must_use]
    pub fn target(mut self, target: Target) -> Self {
        self.targets.push(target);
        self
    }

    /// Tells people through `notifier` too, besides the log.
    #[must_use]
    pub fn notifier(self, notifier: impl Notifier) -> Self {
        self.receiver(Receiver::new(Arc::new(notifier)))
    }

    /// Adds a receiver of every alert that says how it is to be treated: how often it may be told, and
    /// whether it hears a heartbeat.
    #[must_use]
    pub fn receiver(mut self, receiver: Receiver) -> Self {
        self.receivers.push(receiver);
        self
    }

    /// Serves `/metrics` of this process at this address; port 0 takes a free one. It is read only
    /// and may bind wide.
    #[must_use]
    pub fn metrics(mut self, address: &str) -> Self {
        self.metrics = Some(address.to_owned());
        self
    }

    /// Limits what the queries of people may use: those of the page and of Prometheus' API. Rules and
    /// runbooks have turns of their own.
    #[must_use]
    pub fn query_limits(mut self, limits: EngineOptions) -> Self {
        self.query_limits = limits;
        self
    }

    /// Makes [`Ops::is_shutting_down`] true at SIGINT and SIGTERM (Ctrl-C elsewhere). From then on
    /// the process no longer ends at these signals by itself: the program must see it and end.
    #[must_use]
    pub fn stop_on_signals(mut self) -> Self {
        self.stop_on_signals = true;
        self
    }

    /// Makes an address that cannot be listened on an error of [`OpsBuilder::start`]. Without it the
    /// engine starts without that listener, logs why and counts it in
    /// `hms_ops_listen_failures_total`: a busy port must not take a service down.
    #[must_use]
    pub fn require_listeners(mut self) -> Self {
        self.require_listeners = true;
        self
    }

    /// Adds what a config file says. Its policy replaces one that was given before.
    ///
    /// # Errors
    ///
    /// [`Error::Setup`] when a file that it names cannot be used.
    pub fn config(mut self, config: &Config) -> Result<Self, Error> {
        self.targets.extend_from_slice(config.targets());
        self.budgets.extend(config.budgets().map_err(Error::setup)?);
        self.slos.extend(config.slos().map_err(Error::setup)?);
        self.receivers.extend(notifiers::read(config).map_err(Error::setup)?);
        self.storage = self.storage.configure(config).map_err(Error::setup)?;
        self.prometheus = self.prometheus.configure(config).map_err(Error::setup)?;
        self.remote = self.remote.configure(config).map_err(Error::setup)?;
        self.traffic = self.traffic.configure(config).map_err(Error::setup)?;
        self.runbooks = self.runbooks.configure(config).map_err(Error::setup)?;
        self.admin = self.admin.configure(config).map_err(Error::setup)?;
        self.metrics = config.file.listen.metrics.clone().or(self.metrics);
        self.config_file = Some((config.name.clone(), config.text.clone()));
        Ok(self)
    }

    /// Starts every part, in an order in which each finds what it needs.
    ///
    /// # Errors
    ///
    /// [`Error`], before anything has an effect.
    pub async fn start(self) -> Result<Ops, Error> {
        Ops::start(self).await
    }
}
