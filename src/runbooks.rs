//! Runbooks: what they may do, and the executor that runs them.

use std::sync::Arc;

use hms_ops_runbook::capability::{QueryCapability, ShiftCapability, SnapshotCapability};
use hms_ops_runbook::policy::PolicyError;
use hms_ops_runbook::sandbox::Reexec;
use hms_ops_runbook::{Executor, Policy};

use crate::Error;
use crate::builder::OpsBuilder;
use crate::config::{Config, ConfigError};
use crate::core::alert::AlertStatus;
use crate::core::ledger::Journal;
use crate::core::mesh::TrafficControl;
use crate::core::query::QueryEngine;
use crate::core::runbook::{Capability, Registration};

/// What the builder was told about runbooks.
#[derive(Debug, Default)]
pub(crate) struct Options {
    policy: Policy,
    capabilities: Vec<Arc<dyn Capability>>,
}

impl Options {
    /// Takes the policy of a config file, if it has one.
    pub(crate) fn configure(mut self, config: &Config) -> Result<Self, ConfigError> {
        if !config.file.runbook.is_empty() {
            self.policy = Policy::parse(&config.name, &config.text).map_err(|e| match e {
                PolicyError::Malformed { file, line, reason } => {
                    ConfigError::Malformed { file, line, reason }
                }
                other => config.malformed(0, other.to_string()),
            })?;
        }
        Ok(self)
    }

    /// Sets up the executor, and tries it where there is a runbook to run.
    pub(crate) async fn start(
        mut self,
        journal: Arc<Journal>,
        queries: Arc<dyn QueryEngine>,
        traffic: Option<Arc<dyn TrafficControl>>,
    ) -> Result<Runbooks, Error> {
        if let Some(traffic) = traffic {
            self.capabilities.push(Arc::new(ShiftCapability::new(traffic.clone())));
            self.capabilities.push(Arc::new(SnapshotCapability::new(traffic)));
        }
        let clock = journal.clock().clone();
        self.capabilities.push(Arc::new(QueryCapability::new(queries, clock)));
        let (named, unnamed): (Vec<_>, Vec<_>) =
            Registration::all().into_iter().partition(|r| self.policy.names(r.name));
        for Registration { name, .. } in unnamed {
            let missing = format!("[runbook.{name}]");
            tracing::warn!("runbook {name} does not run: the policy has no table {missing}");
        }
        let sandbox = Arc::new(Reexec);
        let executor = Executor::new(journal, sandbox, self.policy, self.capabilities);
        let executor = executor.map_err(Error::setup)?;
        let bindings: Vec<_> = named
            .iter()
            .flat_map(|registration| {
                let alerts = (registration.make)().spec().on_alert;
                alerts.into_iter().map(|alert| (alert, registration.name.to_owned()))
            })
            .collect();
        if !bindings.is_empty() {
            executor.self_test().await.map_err(Error::setup)?;
        }
        Ok(Runbooks { executor, bindings })
    }
}

/// Whether this process must not become a service.
pub(crate) fn is_runbook_process() -> bool {
    hms_ops_runbook::is_runbook_process()
}

/// Runbooks ready to run.
#[derive(Debug)]
pub(crate) struct Runbooks {
    executor: Executor,
    bindings: Vec<(String, String)>,
}

impl Runbooks {
    /// Alert and runbook of every binding.
    pub(crate) fn bindings(&self) -> &[(String, String)] {
        &self.bindings
    }

    pub(crate) fn spawn(&self, runbook: &str, alert: AlertStatus) {
        self.executor.spawn(runbook, alert);
    }

    pub(crate) fn hold(&self, reason: Option<String>) {
        self.executor.hold(reason);
    }

    pub(crate) async fn shutdown(&self) {
        self.executor.shutdown().await;
    }
}

impl OpsBuilder {
    /// Says what runbooks may do; one that the policy has no table for does not run. Replaces one that was given
    /// before, also by a config file.
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        self.runbooks.policy = policy;
        self
    }

    /// Adds something that runbooks may be granted to call.
    #[must_use]
    pub fn capability(mut self, capability: impl Capability) -> Self {
        self.runbooks.capabilities.push(Arc::new(capability));
        self
    }
}
