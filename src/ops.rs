//! The running engine.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hms_ops_alert::rule::{SloStatus, SloView};
use hms_ops_alert::{Engine, Outbox, Receiver, Slo};
use hms_ops_collect::scrape::{ActiveTarget, DroppedTarget, Scraper, Target, TargetStatus};
use hms_ops_promql::EngineOptions;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::admin::Admin;
use crate::builder::OpsBuilder;
use crate::config::Declared;
use crate::control::OpsControl;
use crate::core::alert::{AlertStatus, RuleSpec};
use crate::core::clock::Clock;
use crate::core::control::Control;
use crate::core::labels::{CLUSTER, Labels, SERVICE};
use crate::core::ledger::{Journal, Ledger};
use crate::core::mesh::TrafficControl;
use crate::core::metadata::MetadataStore;
use crate::core::metric::{Budget, Counter, Gauge, Metric};
use crate::core::name::{Service, same_name};
use crate::core::query::QueryEngine;
use crate::core::random;
use crate::core::registry::Registry;
use crate::core::span_store::{MemorySpanStore, SpanStore};
use crate::core::store::Store;
use crate::core::time::Timestamp;
use crate::evidence::ScrapedEvidence;
use crate::prometheus::{Found, Jobs, Means};
use crate::reload::{Keeper, Reloader};
use crate::remote::Remote;
use crate::runbooks::Runbooks;
use crate::storage::Storage;
use crate::tick::{LEASE, Parts, Ticker};
use crate::traffic::Traffic;
use crate::{Error, agent, journal, listen, runbooks, spans};

/// The running engine: it samples this process and scrapes others, holds them to their budgets,
/// runs runbooks, shifts traffic, and serves the page.
///
/// ```no_run
/// use hms_ops::prelude::*;
///
/// # async fn start() -> Result<(), hms_ops::Error> {
/// let ops = Ops::builder().service("eligibility-svc").dashboard("127.0.0.1:9110").start().await?;
/// let latency = ops.metric("eligibility.latency_ms").budget(300.0);
/// latency.record(12.0);
/// ops.shutdown(std::time::Duration::from_secs(10)).await
/// # }
/// ```
#[derive(Debug)]
pub struct Ops {
    registry: Registry,
    storage: Storage,
    remote: Remote,
    journal: Arc<Journal>,
    scraper: Arc<Scraper>,
    found: Found,
    reloader: Reloader,
    jobs: JoinHandle<Jobs>,
    outbox: Arc<Outbox>,
    runbooks: Arc<Runbooks>,
    traffic: Traffic,
    control: Arc<dyn Control>,
    admin: Admin,
    spans: spans::Collecting,
    alerts: watch::Receiver<Vec<AlertStatus>>,
    slos: Vec<SloView>,
    metrics_address: Option<SocketAddr>,
    /// Somebody wants the program to end.
    asked: watch::Sender<bool>,
    /// The program has called for the end.
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Ops {
    /// Begins to say what the engine is made of.
    pub fn builder() -> OpsBuilder {
        OpsBuilder::new()
    }

    pub(crate) async fn start(builder: OpsBuilder) -> Result<Self, Error> {
        if runbooks::is_runbook_process() {
            return Err(Error::NotEntered);
        }
        refuse_twice(&builder.budgets, &builder.slos, &builder.receivers)?;
        let registry = builder.registry.unwrap_or_else(|| Registry::global().clone());
        // Who hands over an exporter has its recorder there.
        if builder.exporter.is_none() {
            agent::capture(&registry);
        }
        let clock = builder.clock;
        let retention = builder.storage.retention();
        let config_name = builder.config_file.as_ref().map(|(name, _)| name.clone());
        let config_name = config_name.unwrap_or_default();
        let (remote, own) = builder.remote.open(builder.store, &clock)?;
        let data = builder.storage.folder();
        let storage = builder.storage.open(own, &clock)?;
        let store = storage.store().clone();
        let span_store: Arc<dyn SpanStore> =
            builder.spans.unwrap_or_else(|| Arc::new(MemorySpanStore::new()));
        let ledger = journal::open(builder.ledger, data.as_deref(), &clock)?;

        let holder = format!("{}-{:016x}", std::process::id(), random::next_u64());
        let journal = Journal::open(ledger.clone(), clock.clone(), &holder, LEASE).await;
        let journal = Arc::new(journal.map_err(Error::setup)?.ok_or(Error::NotTheWriter)?);
        let history = ledger.history().await.map_err(Error::setup)?;

        let mut targets = builder.targets;
        add_endpoints(&mut targets, builder.traffic.endpoints().await)?;
        let mut services: Vec<Service> = builder.service.iter().cloned().collect();
        services.extend(builder.traffic.services());
        services.extend(targets.iter().filter_map(|t| t.labels().get(SERVICE).map(Service::from)));
        services.sort();
        services.dedup();

        let fixed = targets.iter().map(|t| (t.labels().clone(), t.scraped_every())).collect();
        let metadata = Arc::new(MetadataStore::new());
        let scraper =
            Scraper::start_with_metadata(store.clone(), clock.clone(), metadata.clone(), targets);
        let scraper = Arc::new(scraper);
        let jobs = builder.prometheus.start(Means {
            store: store.clone(),
            clock: clock.clone(),
            metadata: metadata.clone(),
            registry: registry.clone(),
        });
        let found = jobs.found().clone();
        let (keeper, reloader, intervals) =
            Keeper::new(jobs, builder.config_file, fixed, clock.clone(), registry.clone());
        let declared: Vec<_> = builder.budgets.iter().map(|(m, b, _)| (m.clone(), *b)).collect();
        let evidence = Arc::new(ScrapedEvidence::new(
            scraper.clone(),
            store.clone(),
            clock.clone(),
            declared.iter().map(|(metric, _)| metric.clone()).collect(),
        ));
        let traffic = builder.traffic.start(journal.clone(), evidence).await?;
        // An engine each: a rule never waits in line behind a runbook, nor either behind people.
        let limits = [EngineOptions::default(), EngineOptions::default(), builder.query_limits];
        let [of_rules, of_runbooks, of_people] = limits.map(|limits| -> Arc<dyn QueryEngine> {
            Arc::new(hms_ops_promql::Engine::with_options(store.clone(), limits))
        });
        let of_people = remote.queries(of_people);
        let runbooks =
            builder.runbooks.start(journal.clone(), of_runbooks, traffic.control()).await?;
        let runbooks = Arc::new(runbooks);
        let (alerts, alerts_seen) = watch::channel(Vec::new());
        let mut outbox = Outbox::start(journal.clone(), registry.clone(), builder.receivers);
        outbox.remind_of(&alerts_seen);
        let outbox = Arc::new(outbox);
        outbox.resume(&history.unsettled).await;
        let control: Arc<dyn Control> =
            Arc::new(OpsControl::new(journal.clone(), runbooks.clone(), traffic.control()));
        if let Some(reason) = &history.held {
            runbooks.hold(Some(reason.clone()));
        }

        let mut engine = Engine::new();
        engine.restore(&history);
        for (alert, runbook) in runbooks.bindings() {
            engine.bind(alert, runbook);
        }
        outbox.receivers().for_each(|receiver| engine.add_receiver(receiver));
        let own = [(SERVICE, builder.service.as_ref().map(Service::as_str))];
        let own = own.into_iter().chain([(CLUSTER, builder.cluster.as_deref())]);
        let labels =
            Labels::from_pairs(own.filter_map(|(name, value)| value.map(|value| (name, value))));
        let (rules, rules_seen) = watch::channel(Vec::new());
        let mut ticker = Ticker {
            engine,
            own_service: builder.service.clone(),
            registry: registry.clone(),
            store: store.clone(),
            queries: of_rules,
            journal: journal.clone(),
            outbox: outbox.clone(),
            runbooks: runbooks.clone(),
            remote: remote.clone(),
            alerts,
            rules,
            parts: Parts::new(registry.clone(), labels, intervals, builder.exporter),
        };
        for rule in builder.rules {
            ticker.add_rule(rule).await;
        }
        for (metric, budget, service) in &builder.budgets {
            ticker.add_budget(metric, *budget, service.as_ref()).await;
        }
        let mut slos = Vec::new();
        for slo in builder.slos {
            slos.push(ticker.add_slo(slo).await);
        }

        let span_service = builder.service.as_ref().map(Service::as_str);
        let collecting = spans::Collecting::start(span_service, span_store.clone());
        let budgets = {
            let registry = registry.clone();
            move || {
                let own = registry.budgets();
                let own = own.into_iter().map(|(name, budget)| (name.to_string(), budget));
                declared.iter().cloned().chain(own).collect()
            }
        };
        let shown = Shown {
            store: store.clone(),
            ledger: ledger.clone(),
            spans: span_store.clone(),
            clock: clock.clone(),
            traffic: traffic.control(),
            budgets: Box::new(budgets),
            alerts: alerts_seen.clone(),
            services,
            queries: of_people,
            metadata,
            rules: rules_seen,
            targets: Targets { scraper: scraper.clone(), found: found.clone() },
            registry: registry.clone(),
            reloader: reloader.clone(),
            may_reload: builder.admin.may_reload(),
            config_name,
            query_limits: builder.query_limits,
            retention,
            started: clock.now(),
        };
        let tolerate = Tolerate { listeners: !builder.require_listeners, registry: &registry };
        let admin = tolerate.or_none(builder.admin.start(shown).await)?.unwrap_or_default();

        let asked = watch::Sender::new(false);
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let mut metrics_address = None;
        if let Some(address) = &builder.metrics {
            let listener = listen::bind("metrics", address).await;
            if let Some(listener) = tolerate.or_none(listener)? {
                metrics_address = Some(listen::local_address("metrics", address, &listener)?);
                tasks.spawn(listen::serve_metrics(listener, registry.clone(), stopped.clone()));
            }
        }
        if builder.stop_on_signals {
            tasks.spawn(stop_on_signals(asked.clone(), stopped.clone()));
        }
        tasks.spawn(ticker.run(stopped.clone()));
        let jobs = tokio::spawn(keeper.run(stopped));
        Ok(Self {
            registry,
            storage,
            remote,
            journal,
            scraper,
            found,
            reloader,
            jobs,
            outbox,
            runbooks,
            traffic,
            control,
            admin,
            spans: collecting,
            alerts: alerts_seen,
            slos,
            metrics_address,
            asked,
            stop,
            tasks,
        })
    }

    /// A metric of the engine's registry.
    pub fn metric(&self, name: &str) -> Metric {
        self.registry.metric(name)
    }

    /// A counter of the engine's registry.
    pub fn counter(&self, name: &str) -> Counter {
        self.registry.counter(name)
    }

    /// A gauge of the engine's registry.
    pub fn gauge(&self, name: &str) -> Gauge {
        self.registry.gauge(name)
    }

    /// Where the page and the APIs are, if they are served.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.address()
    }

    /// Where `/metrics` is, if it is served.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_address
    }

    /// Where the routes of the config file listen.
    pub fn traffic_addresses(&self) -> Vec<SocketAddr> {
        self.traffic.addresses()
    }

    /// Where samples are.
    pub fn store(&self) -> &Arc<dyn Store> {
        self.storage.store()
    }

    /// Where everything that was decided and done is written down.
    pub fn ledger(&self) -> &Arc<dyn Ledger> {
        self.journal.ledger()
    }

    /// How every scrape target is doing.
    pub fn targets(&self) -> Vec<TargetStatus> {
        self.active_targets().into_iter().map(|target| target.status).collect()
    }

    /// Every scrape target with what it was before relabelling. The pool of those that no Prometheus
    /// config names is `hms-ops`.
    pub fn active_targets(&self) -> Vec<ActiveTarget> {
        Targets { scraper: self.scraper.clone(), found: self.found.clone() }.active()
    }

    /// What the Prometheus configs' sources have found and is not scraped.
    pub fn dropped_targets(&self) -> Vec<DroppedTarget> {
        self.found.dropped()
    }

    /// Every alert as it stood at the last tick.
    pub fn alerts(&self) -> Vec<AlertStatus> {
        self.alerts.borrow().clone()
    }

    /// What became of every error budget: how much is left, how fast it is spent, and when it will be
    /// gone.
    pub fn slos(&self) -> Vec<SloStatus> {
        self.slos.iter().flat_map(SloView::status).collect()
    }

    /// What a person may do.
    pub fn control(&self) -> &Arc<dyn Control> {
        &self.control
    }

    /// Reads the config file again, and what `scrape_config_files` names in it: all of it takes
    /// effect, or nothing. Other keys need a restart; the log names those that have changed.
    ///
    /// # Errors
    ///
    /// [`Error::Setup`], with file and line; the engine goes on with what it had.
    pub async fn reload(&self) -> Result<(), Error> {
        self.reloader.reload().await
    }

    /// Whether the engine was told to stop: by a signal, with
    /// [`OpsBuilder::stop_on_signals`](crate::OpsBuilder::stop_on_signals).
    pub fn is_shutting_down(&self) -> bool {
        *self.asked.borrow()
    }

    /// Waits until the engine was told to stop. Borrows nothing, so it can be handed to a server's
    /// graceful shutdown.
    pub fn stopped(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut asked = self.asked.subscribe();
        async move {
            let _ = asked.wait_for(|asked| *asked).await;
        }
    }

    /// Ends everything and joins every task: what runs is cancelled and recorded, what is in flight
    /// finishes, the last samples, spans and notifications are handed on.
    ///
    /// `within` bounds the time for notifications that are not delivered yet, and then for samples that
    /// a remote store has not taken; those are sent after the next start.
    ///
    /// # Errors
    ///
    /// [`Error::Setup`] when the store cannot write down its last samples.
    pub async fn shutdown(mut self, within: Duration) -> Result<(), Error> {
        self.stop.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
        drop(self.control);
        // Together: a run that is cancelled waits for its shift, which ends when traffic does.
        tokio::join!(self.runbooks.shutdown(), self.traffic.shutdown());
        self.admin.shutdown().await;
        self.spans.shutdown().await;
        self.scraper.set_targets([]).await;
        if let Ok(jobs) = self.jobs.await {
            jobs.shutdown().await;
        }
        if let Some(outbox) = Arc::into_inner(self.outbox) {
            outbox.shutdown(within).await;
        }
        self.remote.shutdown(within).await;
        self.storage.shutdown().await
    }
}

/// Refuses what would silence another: alerts and receivers meet by name.
fn refuse_twice(budgets: &[Declared], slos: &[Slo], receivers: &[Receiver]) -> Result<(), Error> {
    for (i, (metric, _, service)) in budgets.iter().enumerate() {
        let same = |(other, _, of): &&Declared| {
            same_name(other, metric) && (of == service || of.is_none() || service.is_none())
        };
        if let Some((_, _, of)) = budgets[..i].iter().find(same) {
            let whose = service.as_ref().or(of.as_ref());
            let whose = whose.map_or("every service", Service::as_str);
            return Err(Error::setup(format!("two budgets of {metric} hold for {whose}")));
        }
    }
    for (i, slo) in slos.iter().enumerate() {
        let name = slo.name();
        let others = slos[..i].iter().map(Slo::name).chain(budgets.iter().map(|(m, ..)| &**m));
        if others.into_iter().any(|other| same_name(other, name)) {
            return Err(Error::setup(format!("an SLO is called {name}, and so is another alert")));
        }
    }
    for (i, receiver) in receivers.iter().enumerate() {
        let name = receiver.name();
        if receivers[..i].iter().any(|other| other.name() == name) {
            return Err(Error::setup(format!("two receivers are called {name}")));
        }
    }
    Ok(())
}

/// Whether a busy port is an error, or only a loss.
struct Tolerate<'a> {
    listeners: bool,
    registry: &'a Registry,
}

impl Tolerate<'_> {
    fn or_none<T>(&self, started: Result<T, Error>) -> Result<Option<T>, Error> {
        match started {
            Err(error @ Error::Listen { .. }) if self.listeners => {
                self.registry.counter("hms_ops_listen_failures_total").increment(1);
                tracing::error!(%error, "the engine runs without this listener");
                Ok(None)
            }
            started => started.map(Some),
        }
    }
}

/// What the page shows, and the API beside it.
#[cfg_attr(
    not(all(feature = "api-prometheus", feature = "dashboard")),
    expect(dead_code, reason = "there is no page, or less beside it")
)]
pub(crate) struct Shown {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) spans: Arc<dyn SpanStore>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) traffic: Option<Arc<dyn TrafficControl>>,
    pub(crate) budgets: Box<dyn Fn() -> Vec<(String, Budget)> + Send + Sync>,
    pub(crate) alerts: watch::Receiver<Vec<AlertStatus>>,
    pub(crate) services: Vec<Service>,
    pub(crate) queries: Arc<dyn QueryEngine>,
    pub(crate) metadata: Arc<MetadataStore>,
    pub(crate) rules: watch::Receiver<Vec<RuleSpec>>,
    pub(crate) targets: Targets,
    pub(crate) registry: Registry,
    pub(crate) reloader: Reloader,
    pub(crate) may_reload: bool,
    /// Of the config file; empty if there is none.
    pub(crate) config_name: String,
    pub(crate) query_limits: EngineOptions,
    /// How long samples are kept, as `15d`; empty where no time is said.
    pub(crate) retention: String,
    pub(crate) started: Timestamp,
}

/// Every scrape target: the engine's own, and those that its jobs have found.
pub(crate) struct Targets {
    scraper: Arc<Scraper>,
    pub(crate) found: Found,
}

impl Targets {
    pub(crate) fn active(&self) -> Vec<ActiveTarget> {
        let own = self.scraper.targets().into_iter().map(|status| ActiveTarget {
            pool: "hms-ops".to_owned(),
            discovered: status.labels.clone(),
            status,
        });
        own.chain(self.found.active()).collect()
    }
}

/// Scrapes `/metrics` of every cluster that no target is for: without the clusters' own counters a
/// shift could not be confirmed.
fn add_endpoints(
    targets: &mut Vec<Target>,
    endpoints: Vec<(Service, String, String)>,
) -> Result<(), Error> {
    for (service, cluster, url) in endpoints {
        let known = targets.iter().any(|target| {
            let labels = target.labels();
            labels.get(SERVICE) == Some(service.as_str()) && labels.get(CLUSTER) == Some(&cluster)
        });
        if !known {
            let target = Target::new(&format!("{}/metrics", url.trim_end_matches('/')));
            let target = target.map_err(Error::setup)?;
            targets.push(target.label(SERVICE, service.as_str()).label(CLUSTER, &cluster));
        }
    }
    Ok(())
}

async fn stop_on_signals(asked: watch::Sender<bool>, mut stopped: watch::Receiver<bool>) {
    let signalled = async {
        #[cfg(unix)]
        use tokio::signal::unix::{SignalKind, signal};
        #[cfg(unix)]
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
            return;
        }
        let _ = tokio::signal::ctrl_c().await;
    };
    tokio::select! {
        () = signalled => { asked.send_replace(true); }
        _ = stopped.wait_for(|stop| *stop) => {}
    }
}
