//! The jobs of Prometheus configs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hms_ops_collect::discovery::{Discovery, SourceWatch};
use hms_ops_collect::scrape::{ActiveTarget, DroppedTarget};
use hms_ops_collect::scrape_config::{Job, ScrapeConfig};
use tokio::task::JoinSet;

use crate::config::{Config, ConfigError};
use crate::core::clock::Clock;
use crate::core::labels::Labels;
use crate::core::metadata::MetadataStore;
use crate::core::registry::Registry;
use crate::core::store::Store;
use crate::reload::Intervals;

/// What the files say.
#[derive(Debug, Default)]
pub(crate) struct Options {
    files: Vec<ScrapeConfig>,
}

impl Options {
    pub(crate) fn configure(mut self, config: &Config) -> Result<Self, ConfigError> {
        for file in &config.file.scrape_config_files {
            let read = ScrapeConfig::from_file(config.path(file.get_ref()));
            let read = read.map_err(|error| {
                let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
                let reason = format!("{error}{}", cause.unwrap_or_default());
                config.malformed(file.span().start, reason)
            })?;
            self.files.push(read);
        }
        Ok(self)
    }

    pub(crate) fn start(self, means: Means) -> Jobs {
        let mut jobs = Jobs {
            means,
            found: Found::default(),
            intervals: Vec::new(),
            watchers: JoinSet::new(),
        };
        jobs.start(self);
        jobs
    }
}

/// What jobs need to do their work.
#[derive(Debug)]
pub(crate) struct Means {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metadata: Arc<MetadataStore>,
    pub(crate) registry: Registry,
}

/// Says and counts when targets could not be found.
async fn tell(mut sources: SourceWatch, registry: Registry) {
    let mut told = HashMap::new();
    while let Some(statuses) = sources.changed().await {
        for (index, status) in statuses.into_iter().enumerate() {
            let seen: &mut (u64, Option<String>) = told.entry(index).or_default();
            let failures = registry.counter("hms_ops_discovery_failures_total");
            failures.increment(status.failures - seen.0);
            if let Some(error) = status.last_error.as_ref().filter(|_| status.last_error != seen.1)
            {
                tracing::warn!(job = status.pool, error, "targets stay as they were found last");
            }
            *seen = (status.failures, status.last_error);
        }
    }
}

/// The jobs, running.
#[derive(Debug)]
pub(crate) struct Jobs {
    means: Means,
    found: Found,
    intervals: Intervals,
    watchers: JoinSet<()>,
}

/// What the jobs have found, for whoever wants to look.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found(Arc<Mutex<Vec<Discovery>>>);

impl Found {
    fn discoveries(&self) -> MutexGuard<'_, Vec<Discovery>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn active(&self) -> Vec<ActiveTarget> {
        self.discoveries().iter().flat_map(Discovery::active).collect()
    }

    pub(crate) fn dropped(&self) -> Vec<DroppedTarget> {
        self.discoveries().iter().flat_map(Discovery::dropped).collect()
    }

    /// How many targets of each job are not scraped.
    #[cfg_attr(not(feature = "api-prometheus"), allow(dead_code, reason = "the API tells it"))]
    pub(crate) fn dropped_counts(&self) -> Vec<(String, usize)> {
        self.discoveries().iter().flat_map(Discovery::dropped_counts).collect()
    }
}

impl Jobs {
    pub(crate) fn found(&self) -> &Found {
        &self.found
    }

    /// How often the targets of each job are scraped, by what their labels usually say.
    pub(crate) fn intervals(&self) -> Intervals {
        self.intervals.clone()
    }

    fn start(&mut self, options: Options) {
        let Means { store, clock, metadata, registry } = &self.means;
        let jobs = options.files.iter().flat_map(ScrapeConfig::jobs);
        let interval = |job: &Job| (Labels::from_pairs([("job", job.name())]), job.interval());
        self.intervals = jobs.map(interval).collect();
        for file in options.files {
            for warning in file.warnings() {
                tracing::warn!("{warning}");
            }
            let discovery = Discovery::start_with_metadata(
                &file,
                store.clone(),
                clock.clone(),
                metadata.clone(),
            );
            self.watchers.spawn(tell(discovery.watch_sources(), registry.clone()));
            self.found.discoveries().push(discovery);
        }
    }

    /// Ends the jobs, and then starts those of other files: no target is scraped twice at a time.
    pub(crate) async fn replace(&mut self, options: Options) {
        self.stop().await;
        self.start(options);
    }

    async fn stop(&mut self) {
        let discoveries = std::mem::take(&mut *self.found.discoveries());
        for discovery in discoveries {
            discovery.shutdown().await;
        }
        self.watchers.shutdown().await;
    }

    pub(crate) async fn shutdown(mut self) {
        self.stop().await;
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_mistake_in_a_file_is_told_with_the_line_of_both() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let parse = || {
            let text = "scrape_config_files = [\n\"prometheus.yml\"]\n";
            Config::parse(&path("ops.toml"), text).map(drop).map_err(|error| error.to_string())
        };
        let (ours, theirs) = (path("ops.toml"), path("prometheus.yml"));
        let absent = "No such file or directory (os error 2)";
        assert_eq!(parse(), Err(format!("{ours}:2: cannot read {theirs}: {absent}")));
        fs::write(&theirs, "\nglobl: {}").unwrap();
        let unknown = "globl: is not a key that is known here";
        assert_eq!(parse(), Err(format!("{ours}:2: {theirs}:2: {unknown}")));
        fs::write(&theirs, "scrape_configs: [{job_name: a}]").unwrap();
        assert_eq!(parse(), Ok(()));
    }

    #[tokio::test]
    async fn an_engine_scrapes_what_the_file_says() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let jobs = "rule_files: [x]\nscrape_configs:\n- job_name: j\n  static_configs:\n  \
                    - targets: ['127.0.0.1:1', drop]\n  relabel_configs:\n  \
                    - {action: drop, source_labels: [__address__], regex: drop}\n";
        fs::write(path("prometheus.yml"), jobs).unwrap();
        let text = "scrape_config_files = [\"prometheus.yml\"]\n";
        let config = Config::parse(&path("ops.toml"), text).unwrap();
        let builder = crate::Ops::builder().registry(Registry::new()).config(&config).unwrap();
        let ops = builder.start().await.unwrap();
        while ops.active_targets().is_empty() {
            tokio::task::yield_now().await;
        }
        let target = ops.active_targets().remove(0);
        assert_eq!(target.status.labels.to_string(), r#"{instance="127.0.0.1:1",job="j"}"#);
        assert_eq!((target.pool.as_str(), ops.dropped_targets().len()), ("j", 1));
        ops.shutdown(Duration::ZERO).await.unwrap();
    }
}
