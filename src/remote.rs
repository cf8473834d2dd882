//! History in a backend that speaks Prometheus.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hms_ops_collect::remote_store::{Credentials, RemoteMetrics, RemoteOptions, RemoteStore};

use crate::Error;
use crate::builder::OpsBuilder;
use crate::config::{Config, ConfigError, RemoteTable};
use crate::core::clock::Clock;
use crate::core::query::QueryEngine;
use crate::core::registry::Registry;
use crate::core::store::Store;

/// What the builder was told about a backend: its URL, and the folder of the queue.
#[derive(Debug, Default)]
pub(crate) struct Options {
    backend: Option<(String, PathBuf)>,
    options: RemoteOptions,
}

impl Options {
    pub(crate) fn configure(mut self, config: &Config) -> Result<Self, ConfigError> {
        let store = &config.file.store;
        let Some(table) = &store.remote else { return Ok(self) };
        let (at, table) = (table.span().start, table.get_ref());
        self.backend = Some((table.url.clone(), config.path(&table.queue)));
        let options = &mut self.options;
        options.write_url = table.write_url.clone().or(options.write_url.take());
        options.headers.extend(table.headers.clone());
        options.ca_file =
            table.ca_file.as_ref().map(|file| config.path(file)).or(options.ca_file.take());
        if let Some(credentials) = credentials(config, table, at)? {
            options.credentials = credentials;
        }
        if let Some(text) = &table.queue_size {
            options.queue_bytes = config.bytes(text)?;
        }
        if let Some(text) = &table.keep {
            options.keep = config.duration(text)?;
        }
        if let Some(text) = &store.out_of_order_window {
            options.out_of_order_window = config.duration(text)?;
        }
        options.series = store.series.unwrap_or(options.series);
        Ok(self)
    }

    /// Opens the store, if there is to be one; else gives back `own`.
    pub(crate) fn open(
        mut self,
        own: Option<Arc<dyn Store>>,
        clock: &Arc<dyn Clock>,
    ) -> Result<(Remote, Option<Arc<dyn Store>>), Error> {
        let Some((url, folder)) = self.backend else { return Ok((Remote::default(), own)) };
        if own.is_some() {
            return Err(Error::setup(format!("there is a store, and {url} is to be another")));
        }
        self.options.clock = clock.clone();
        let store = RemoteStore::open(&url, &folder, self.options).map_err(Error::setup)?;
        let store = Arc::new(store);
        let remote = Remote { store: Some(store.clone()), ..Remote::default() };
        Ok((remote, Some(store)))
    }
}

/// The store, when it is a remote one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Remote {
    store: Option<Arc<RemoteStore>>,
    /// How it was when that was last said.
    shown: RemoteMetrics,
}

impl Remote {
    /// Who answers what people ask: the backend, and `own` where it cannot.
    pub(crate) fn queries(&self, own: Arc<dyn QueryEngine>) -> Arc<dyn QueryEngine> {
        match &self.store {
            Some(store) => Arc::new(store.query_engine().or(own)),
            None => own,
        }
    }

    /// Says how the way to the backend is, in metrics of the engine.
    pub(crate) fn show(&mut self, registry: &Registry) {
        let Some(store) = &self.store else { return };
        let now = store.metrics();
        let before = std::mem::replace(&mut self.shown, now.clone());
        for (name, value) in [
            ("hms_ops_remote_queue_bytes", now.queued_bytes as f64),
            ("hms_ops_remote_queue_samples", now.queued_samples as f64),
            ("hms_ops_remote_lag_seconds", now.lag.as_secs_f64()),
            ("hms_ops_remote_reachable", f64::from(u8::from(now.reachable))),
        ] {
            registry.gauge(name).set(value);
        }
        for (name, now, before) in [
            ("sent_samples", now.sent_samples, before.sent_samples),
            ("refused_samples", now.refused_samples, before.refused_samples),
            ("repeated_samples", now.repeated_samples, before.repeated_samples),
            ("dropped_samples", now.overflowed_samples, before.overflowed_samples),
            ("requests", now.requests, before.requests),
            ("retries", now.retries, before.retries),
            ("rewinds", now.rewinds, before.rewinds),
            ("connections", now.connections, before.connections),
        ] {
            let counter = registry.counter(&format!("hms_ops_remote_{name}_total"));
            counter.increment(now.saturating_sub(before));
        }
        if now.last_error != before.last_error
            && let Some(error) = &now.last_error
        {
            tracing::warn!(error, "the backend of the store does not take what it is sent");
        }
    }

    /// Sends what waits, for as long as `within`.
    pub(crate) async fn shutdown(self, within: Duration) {
        if let Some(store) = self.store {
            store.close(within).await;
        }
    }
}

impl OpsBuilder {
    /// Keeps samples in the backend at `url`, which speaks Prometheus; until it has taken them, they
    /// wait in `queue`, a folder that is made if it is missing. One process at a time may have it.
    #[must_use]
    pub fn remote(mut self, url: &str, queue: impl AsRef<Path>, options: RemoteOptions) -> Self {
        let backend = Some((url.to_owned(), queue.as_ref().to_owned()));
        self.remote = Options { backend, options };
        self
    }
}

fn credentials(
    config: &Config,
    table: &RemoteTable,
    at: usize,
) -> Result<Option<Credentials>, ConfigError> {
    Ok(match (&table.user, &table.password_file, &table.token_file) {
        (None, None, None) => None,
        (Some(user), Some(file), None) => {
            Some(Credentials::Basic { user: user.clone(), password_file: config.path(file) })
        }
        (None, None, Some(file)) => Some(Credentials::Bearer { token_file: config.path(file) }),
        _ => {
            let reason = "a backend takes `user` and `password_file`, or `token_file`".to_owned();
            return Err(config.malformed(at, reason));
        }
    })
}
