//! What a router may be told.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use hms_ops_core::clock::{Clock, SystemClock};
use hms_ops_core::name::{Cluster, Service};
use hms_ops_core::span::SpanSink;

use super::{Backend, Endpoint, Inner, Options, Picked, Router, Table};
use crate::health::HealthOptions;
use crate::proxy::ProxyOptions;

/// Describes a router; from [`Router::builder`].
#[derive(Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct RouterBuilder {
    service: Service,
    clusters: Vec<(Cluster, String, Option<u32>)>,
    weight_of_none: bool,
    options: Options,
}

/// Why a router cannot be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each message explains its fields")]
pub enum RouterError {
    /// There is nowhere to send traffic to.
    #[error("{service} has no cluster with weight")]
    NoWeight { service: Service },

    /// A weight belongs to the cluster named before it.
    #[error("a weight of {service} stands before its first cluster")]
    WeightOfNone { service: Service },

    /// A cluster is named once.
    #[error("{cluster} of {service} is named twice")]
    Twice { service: Service, cluster: Cluster },

    /// The router speaks plain HTTP/1.1, and adds the path of each request.
    #[error("{endpoint:?} of {cluster} is not of the form http://host:port")]
    Endpoint { cluster: Cluster, endpoint: String },

    /// The path is asked for in each check.
    #[error("health path {path:?} does not begin with / or has characters that no path has")]
    HealthPath { path: String },
}

impl RouterBuilder {
    pub(super) fn new(service: Service) -> Self {
        let options = Options {
            clock: Arc::new(SystemClock),
            spans: None,
            health: HealthOptions::default(),
            proxy: ProxyOptions::default(),
        };
        Self { service, clusters: Vec::new(), weight_of_none: false, options }
    }

    /// Adds a cluster, reached at `endpoint`, an address of the form `http://host:port`.
    ///
    /// The first has weight 100, the others 0, unless [`RouterBuilder::weight`] follows.
    pub fn cluster(mut self, name: impl Into<Cluster>, endpoint: impl Into<String>) -> Self {
        self.clusters.push((name.into(), endpoint.into(), None));
        self
    }

    /// Sets the weight of the cluster named last.
    pub fn weight(mut self, weight: u32) -> Self {
        match self.clusters.last_mut() {
            Some((_, _, of_last)) => *of_last = Some(weight),
            None => self.weight_of_none = true,
        }
        self
    }

    /// Checks health at this path; `/health` by default. Only an answer of 2xx is healthy.
    pub fn health_path(mut self, path: impl Into<String>) -> Self {
        self.options.health.path = path.into();
        self
    }

    /// Checks health this often; every second by default. After three times as long without a
    /// result, the health is unknown.
    pub fn health_interval(mut self, interval: Duration) -> Self {
        self.options.health.interval = interval.max(Duration::from_millis(1));
        self
    }

    /// Counts a check as failed after this time; one second by default.
    pub fn health_timeout(mut self, timeout: Duration) -> Self {
        self.options.health.timeout = timeout;
        self
    }

    /// Failures in a row that make a cluster unhealthy, and successes in a row that make it
    /// healthy; 2 and 1 by default.
    pub fn health_thresholds(mut self, failures: u32, successes: u32) -> Self {
        self.options.health.failures = failures.max(1);
        self.options.health.successes = successes.max(1);
        self
    }

    /// Connections of clients at a time; 1024 by default. Others wait to be accepted.
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.options.proxy.max_connections = connections.max(1);
        self
    }

    /// Gives up connecting to a cluster after this time; one second by default.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.options.proxy.connect_timeout = timeout;
        self
    }

    /// Waits this long for the head of a cluster's answer, once the request is sent; 30 seconds by
    /// default.
    pub fn response_timeout(mut self, timeout: Duration) -> Self {
        self.options.proxy.response_timeout = timeout;
        self
    }

    /// Breaks off a body, of a request or an answer, that does not move for this long; 5 minutes
    /// by default.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.options.proxy.idle_timeout = timeout;
        self
    }

    /// Lets requests that are under way at shutdown take this long; 30 seconds by default.
    pub fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.options.proxy.drain_timeout = timeout;
        self
    }

    /// Hands the span of each proxied request to `spans`.
    pub fn spans(mut self, spans: Arc<dyn SpanSink>) -> Self {
        self.options.spans = Some(spans);
        self
    }

    /// Tells the age of health checks by `clock` instead of the system's.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.options.clock = clock;
        self
    }

    /// Builds the router; it does nothing by itself yet.
    ///
    /// # Errors
    ///
    /// [`RouterError`] when traffic would have nowhere to go.
    pub fn build(self) -> Result<Router, RouterError> {
        let Self { service, mut clusters, weight_of_none, options } = self;
        if weight_of_none {
            return Err(RouterError::WeightOfNone { service });
        }
        if !options.health.path.starts_with('/')
            || options.health.path.parse::<http::uri::PathAndQuery>().is_err()
        {
            return Err(RouterError::HealthPath { path: options.health.path });
        }
        if let Some((_, _, weight @ None)) = clusters.first_mut() {
            *weight = Some(100);
        }
        clusters.sort_by(|a, b| a.0.cmp(&b.0));
        if let Some(pair) = clusters.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(RouterError::Twice { service, cluster: pair[0].0.clone() });
        }
        let weights = clusters.iter().map(|(_, _, weight)| weight.unwrap_or(0)).collect();
        let Some(table) = Table::new(1, weights) else {
            return Err(RouterError::NoWeight { service });
        };
        let backends = clusters.into_iter().map(|(cluster, url, _)| {
            let Some(endpoint) = Endpoint::parse(&url) else {
                return Err(RouterError::Endpoint { cluster, endpoint: url });
            };
            let endpoint_url = url.trim_end_matches('/').into();
            let picked = Picked { service: service.clone(), cluster, endpoint: endpoint_url };
            Ok(Backend::new(picked, endpoint))
        });
        let backends = backends.collect::<Result<_, _>>()?;
        let inner = Inner {
            service,
            backends,
            table: ArcSwap::from_pointee(table),
            writer: Mutex::default(),
            options,
        };
        Ok(Router { inner: Arc::new(inner), held: Arc::default() })
    }
}
