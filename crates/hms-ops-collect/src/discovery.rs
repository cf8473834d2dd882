//! Discovery: keeps the targets of jobs as their sources say, and scrapes them.
//!
//! A source that fails keeps its last good targets; how often it failed and why is shown.

#![allow(clippy::mutable_key_type, reason = "a target is what it says, not what is cached for it")]

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hms_ops_core::clock::Clock;
use hms_ops_core::labels::Labels;
use hms_ops_core::metadata::MetadataStore;
use hms_ops_core::store::Store;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::scrape::{ActiveTarget, DroppedTarget, Manner, Scraper, Target};
use crate::scrape_config::{Group, Job, Populated, Provider, ScrapeConfig, populate};

mod dns;
mod file;
mod http;

/// Targets of one source.
const MAX_TARGETS: usize = 20_000;
/// Bytes of their labels, of which each target has a copy.
const MAX_LABEL_BYTES: usize = 32 << 20;
/// Dropped targets that a job remembers, unless its file says fewer.
const MAX_DROPPED: usize = 10_000;
/// News that may wait; sources wait beyond it.
const NEWS: usize = 16;

/// Scrapes the jobs of a config, with the targets that their sources have at the time.
///
/// Owns its tasks: [`Discovery::shutdown`] ends and joins them.
///
/// ```
/// use std::sync::Arc;
/// use hms_ops_collect::{discovery::Discovery, scrape_config::ScrapeConfig};
/// use hms_ops_core::{clock::SystemClock, store::MemoryStore};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let text = "scrape_configs: [{job_name: node, static_configs: [{targets: ['127.0.0.1:1']}]}]";
/// let config = ScrapeConfig::parse("prometheus.yml", text)?;
/// let discovery = Discovery::start(&config, Arc::new(MemoryStore::new()), Arc::new(SystemClock));
/// discovery.changes().changed().await?;
/// assert_eq!(discovery.active()[0].status.url, "http://127.0.0.1:1/metrics");
/// discovery.shutdown().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Discovery {
    scraper: Arc<Scraper>,
    pools: Arc<Mutex<Vec<Pool>>>,
    changes: watch::Receiver<u64>,
    sources: JoinSet<()>,
    follower: JoinHandle<()>,
}

/// How a source of targets is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceStatus {
    /// The job that it belongs to.
    pub pool: String,
    /// What it is: `static`, `file`, `http` or `dns`.
    pub kind: &'static str,
    /// Targets that it has, before relabelling.
    pub targets: usize,
    /// How often it failed.
    pub failures: u64,
    /// Why it failed the last time it was asked; `None` when it did not.
    pub last_error: Option<String>,
}

/// A job and its targets.
#[derive(Debug)]
struct Pool {
    job: Job,
    sources: Vec<Found>,
    active: Vec<(Target, Labels)>,
    dropped: Vec<DroppedTarget>,
    dropped_count: usize,
}

/// What one source has found.
#[derive(Debug)]
struct Found {
    kind: &'static str,
    groups: Vec<Group>,
    failures: u64,
    last_error: Option<String>,
}

/// What a source has found anew.
#[derive(Debug)]
struct News {
    pool: usize,
    source: usize,
    groups: Vec<Group>,
    error: Option<String>,
}

/// Tells what a source has found.
#[derive(Debug)]
struct Reporter {
    pool: usize,
    source: usize,
    news: mpsc::Sender<News>,
}

impl Discovery {
    /// Starts to find and scrape what `config` says. Must be called within a Tokio runtime.
    pub fn start(config: &ScrapeConfig, store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self::start_with_metadata(config, store, clock, Arc::default())
    }

    /// As [`Discovery::start`], and keeps in `metadata` what targets say about their metrics.
    pub fn start_with_metadata(
        config: &ScrapeConfig,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        metadata: Arc<MetadataStore>,
    ) -> Self {
        let scraper = Arc::new(Scraper::start_with_metadata(store, clock, metadata, []));
        let mut pools: Vec<Pool> = config.jobs().iter().cloned().map(Pool::new).collect();
        pools.iter_mut().for_each(Pool::populate);
        let (sender, news) = mpsc::channel(NEWS);
        let mut sources = JoinSet::new();
        for (index, pool) in pools.iter().enumerate() {
            for (source, provider) in pool.job.providers.iter().enumerate() {
                let reporter = Reporter { pool: index, source, news: sender.clone() };
                match provider.clone() {
                    Provider::Static(_) => {}
                    Provider::File { patterns, refresh } => {
                        sources.spawn(file::watch(patterns, refresh, reporter));
                    }
                    Provider::Http { endpoint, access, refresh } => {
                        sources.spawn(http::ask(endpoint, access, refresh, reporter));
                    }
                    Provider::Dns { names, records, refresh } => {
                        sources.spawn(dns::resolve(names, records, refresh, reporter));
                    }
                }
            }
        }
        let pools = Arc::new(Mutex::new(pools));
        let (changed, changes) = watch::channel(0);
        let follower = tokio::spawn(follow(pools.clone(), scraper.clone(), news, changed));
        Self { scraper, pools, changes, sources, follower }
    }

    /// Changes when a source has reported: with every set of targets that has been put in force, and
    /// with every failure.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }

    /// What scrapes the targets.
    pub fn scraper(&self) -> &Arc<Scraper> {
        &self.scraper
    }

    /// The targets that are scraped, job by job.
    pub fn active(&self) -> Vec<ActiveTarget> {
        let statuses = self.scraper.by_target();
        let pools = lock(&self.pools);
        let all = pools.iter().flat_map(|pool| pool.active.iter().map(move |of| (pool, of)));
        let active = all.filter_map(|(pool, (target, discovered))| {
            let (pool, discovered) = (pool.job.name.clone(), discovered.clone());
            Some(ActiveTarget { pool, discovered, status: statuses.get(target)?.clone() })
        });
        active.collect()
    }

    /// The targets that are not scraped, job by job, as far as they are remembered.
    pub fn dropped(&self) -> Vec<DroppedTarget> {
        lock(&self.pools).iter().flat_map(|pool| pool.dropped.iter().cloned()).collect()
    }

    /// How many targets of each job are not scraped.
    pub fn dropped_counts(&self) -> Vec<(String, usize)> {
        lock(&self.pools).iter().map(|p| (p.job.name.clone(), p.dropped_count)).collect()
    }

    /// How the sources of targets are doing, job by job.
    pub fn sources(&self) -> Vec<SourceStatus> {
        self.watch_sources().statuses()
    }

    /// Follows how the sources of targets are doing.
    pub fn watch_sources(&self) -> SourceWatch {
        SourceWatch { pools: self.pools.clone(), changes: self.changes.clone() }
    }

    /// Ends all series with a staleness marker and joins every task.
    pub async fn shutdown(mut self) {
        self.sources.shutdown().await;
        // It ends with the last source. An error is a panic, reported where it happened.
        let _ = self.follower.await;
        self.scraper.set_targets([]).await;
    }
}

/// Follows how the sources of targets are doing.
#[derive(Clone, Debug)]
pub struct SourceWatch {
    pools: Arc<Mutex<Vec<Pool>>>,
    changes: watch::Receiver<u64>,
}

impl SourceWatch {
    /// Waits for a report; `None` when there can be no more. Always in the same order.
    ///
    /// Cancel safe.
    pub async fn changed(&mut self) -> Option<Vec<SourceStatus>> {
        self.changes.changed().await.ok()?;
        Some(self.statuses())
    }

    fn statuses(&self) -> Vec<SourceStatus> {
        let pools = lock(&self.pools);
        let all = pools.iter().flat_map(|pool| pool.sources.iter().map(move |found| (pool, found)));
        let statuses = all.map(|(pool, found)| SourceStatus {
            pool: pool.job.name.clone(),
            kind: found.kind,
            targets: found.groups.iter().map(|group| group.targets.len()).sum(),
            failures: found.failures,
            last_error: found.last_error.clone(),
        });
        statuses.collect()
    }
}

/// Puts in force what the sources find, until the last of them ends.
async fn follow(
    pools: Arc<Mutex<Vec<Pool>>>,
    scraper: Arc<Scraper>,
    mut news: mpsc::Receiver<News>,
    changed: watch::Sender<u64>,
) {
    loop {
        let targets: Vec<Target> = {
            let pools = lock(&pools);
            pools.iter().flat_map(|pool| pool.active.iter().map(|(t, _)| t.clone())).collect()
        };
        scraper.set_targets(targets).await;
        changed.send_modify(|count| *count += 1);
        let Some(first) = news.recv().await else { return };
        let mut pools = lock(&pools);
        let mut touched = HashSet::from([first.pool]);
        pools[first.pool].take(first);
        while let Ok(more) = news.try_recv() {
            touched.insert(more.pool);
            pools[more.pool].take(more);
        }
        touched.into_iter().for_each(|pool| pools[pool].populate());
    }
}

impl Pool {
    fn new(job: Job) -> Self {
        let found = |provider: &Provider| {
            let (kind, groups) = match provider {
                Provider::Static(groups) => ("static", groups.clone()),
                Provider::File { .. } => ("file", Vec::new()),
                Provider::Http { .. } => ("http", Vec::new()),
                Provider::Dns { .. } => ("dns", Vec::new()),
            };
            Found { kind, groups, failures: 0, last_error: None }
        };
        let sources = job.providers.iter().map(found).collect();
        Self { job, sources, active: Vec::new(), dropped: Vec::new(), dropped_count: 0 }
    }

    fn take(&mut self, news: News) {
        let found = &mut self.sources[news.source];
        found.failures += u64::from(news.error.is_some());
        found.last_error = news.error;
        found.groups = news.groups;
    }

    /// Makes targets of what was found.
    fn populate(&mut self) {
        self.active.clear();
        self.dropped.clear();
        self.dropped_count = 0;
        let remembered = self.job.keep_dropped.unwrap_or(MAX_DROPPED).min(MAX_DROPPED);
        let mut known = HashSet::new();
        let groups = self.sources.iter().flat_map(|found| &found.groups);
        for (own, group) in groups.flat_map(|group| group.targets.iter().map(move |t| (t, group))) {
            let reason = match populate(&self.job, own, &group.labels) {
                (discovered, Populated::Active(target)) => {
                    if known.insert(target.clone()) {
                        self.active.push((target, discovered));
                    }
                    continue;
                }
                (discovered, Populated::Dropped) => (discovered, None),
                (discovered, Populated::Broken(reason)) => (discovered, Some(reason)),
            };
            self.dropped_count += 1;
            if self.dropped.len() < remembered {
                let (discovered, reason) = reason;
                self.dropped.push(DroppedTarget {
                    pool: self.job.name.clone(),
                    discovered,
                    reason,
                });
            }
        }
        let count = self.active.len();
        if let Some(limit) = self.job.target_limit.filter(|limit| count > *limit) {
            let reason = format!("the job has {count} targets, its target_limit is {limit}");
            let refused = Manner { refused: Some(reason), ..Manner::clone(&self.job.manner) };
            let refused = Arc::new(refused);
            for (target, _) in &mut self.active {
                *target = target.clone().manner(refused.clone());
            }
        }
    }
}

impl Reporter {
    /// Hands on what a source has found, and what went wrong with it.
    async fn report(&self, mut groups: Vec<Group>, mut error: Option<String>) {
        let (mut left, mut bytes) = (MAX_TARGETS, MAX_LABEL_BYTES);
        for group in &mut groups {
            if group.targets.len() > left {
                error = Some(format!("more than {MAX_TARGETS} targets; the others are left out"));
                group.targets.truncate(left);
            }
            let shared = size(&group.labels);
            let too_many = group.targets.iter().position(|target| {
                let left = bytes.checked_sub(shared + size(target));
                bytes = left.unwrap_or(bytes);
                left.is_none()
            });
            if let Some(many) = too_many {
                error = Some(format!(
                    "labels of more than {MAX_LABEL_BYTES} bytes; the other targets are left out"
                ));
                group.targets.truncate(many);
            }
            left -= group.targets.len();
        }
        let news = News { pool: self.pool, source: self.source, groups, error };
        // Nobody listens any more only at the end.
        let _ = self.news.send(news).await;
    }
}

fn size(labels: &Labels) -> usize {
    labels.iter().map(|(name, value)| name.len() + value.len()).sum()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_long_label_is_not_multiplied_by_all_targets_of_its_group() {
        let group = |targets, label: &str| Group {
            targets: vec![Labels::from_pairs([("__address__", "a:1")]); targets],
            labels: Labels::from_pairs([("x", label)]),
        };
        let (sender, mut news) = mpsc::channel(1);
        let reporter = Reporter { pool: 0, source: 0, news: sender };
        let groups = vec![group(1, "y"), group(100, &"y".repeat(4 << 20)), group(1, "y")];
        reporter.report(groups, None).await;
        let News { groups, error, .. } = news.recv().await.unwrap();
        let targets: Vec<_> = groups.iter().map(|group| group.targets.len()).collect();
        assert_eq!(targets, [1, 7, 1]);
        let reason = "labels of more than 33554432 bytes; the other targets are left out";
        assert_eq!(error.as_deref(), Some(reason));
    }
}
