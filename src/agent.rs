//! An agent: a service that records, and that an engine elsewhere watches.

use std::net::SocketAddr;

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::core::metric::{Counter, Gauge, Metric};
use crate::core::registry::Registry;
use crate::{Error, listen, spans};

/// Exposes the metrics of this process at `/metrics`, and sends its spans to an engine.
///
/// ```no_run
/// use hms_ops::prelude::*;
///
/// # async fn start() -> Result<(), hms_ops::Error> {
/// let agent = Agent::builder().service("eligibility-svc").metrics("127.0.0.1:9111").start().await?;
/// Metric::new("eligibility.latency_ms").budget(300.0).record(12.0);
/// agent.shutdown().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Agent {
    registry: Registry,
    metrics_address: Option<SocketAddr>,
    spans: spans::Sending,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Agent {
    /// Begins to say what the agent does.
    pub fn builder() -> AgentBuilder {
        AgentBuilder::default()
    }

    /// Where `/metrics` is, if it is served.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_address
    }

    /// A metric of the agent's registry.
    pub fn metric(&self, name: &str) -> Metric {
        self.registry.metric(name)
    }

    /// A counter of the agent's registry.
    pub fn counter(&self, name: &str) -> Counter {
        self.registry.counter(name)
    }

    /// A gauge of the agent's registry.
    pub fn gauge(&self, name: &str) -> Gauge {
        self.registry.gauge(name)
    }

    /// Sends the spans that are left, stops listening, and joins every task.
    pub async fn shutdown(mut self) {
        self.spans.shutdown().await;
        self.stop.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Says what an [`Agent`] does.
#[derive(Debug, Default)]
pub struct AgentBuilder {
    service: Option<String>,
    registry: Option<Registry>,
    metrics: Option<String>,
    engine: Option<String>,
}

impl AgentBuilder {
    /// Names the service that this process is.
    #[must_use]
    pub fn service(mut self, name: &str) -> Self {
        self.service = Some(name.to_owned());
        self
    }

    /// Takes a registry of its own in place of the process-wide one.
    #[must_use]
    pub fn registry(mut self, registry: Registry) -> Self {
        self.registry = Some(registry);
        self
    }

    /// Serves `/metrics` at this address, as `127.0.0.1:9111`; port 0 takes a free one. It is read
    /// only and may bind wide.
    #[must_use]
    pub fn metrics(mut self, address: &str) -> Self {
        self.metrics = Some(address.to_owned());
        self
    }

    /// Sends spans to the engine at this URL, as `http://127.0.0.1:9110`. Needs the features `trace`
    /// and `alert`.
    #[must_use]
    pub fn engine(mut self, url: &str) -> Self {
        self.engine = Some(url.to_owned());
        self
    }

    /// Starts. Macros of the `metrics` crate are captured from now on, unless they are already
    /// captured by something else.
    ///
    /// # Errors
    ///
    /// [`Error::Listen`] when the address cannot be listened on; [`Error::Setup`] when the engine's
    /// URL is malformed, or this build cannot send spans.
    pub async fn start(self) -> Result<Agent, Error> {
        let registry = self.registry.unwrap_or_else(|| Registry::global().clone());
        capture(&registry);
        let spans = spans::Sending::start(self.service.as_deref(), self.engine.as_deref())?;
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let mut metrics_address = None;
        if let Some(address) = &self.metrics {
            let listener = listen::bind("metrics", address).await?;
            metrics_address = Some(listen::local_address("metrics", address, &listener)?);
            tasks.spawn(listen::serve_metrics(listener, registry.clone(), stopped));
        }
        Ok(Agent { registry, metrics_address, spans, stop, tasks })
    }
}

/// Makes a registry the recorder of the `metrics` crate, if there is none yet.
pub(crate) fn capture(registry: &Registry) {
    if metrics::set_global_recorder(registry.clone()).is_err() {
        tracing::debug!("the `metrics` crate has a recorder already");
    }
}
