//! Evidence of a shift: what the clusters' own counters say, scraped when it is asked for.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hms_ops_collect::scrape::{Health, Scraper};

use crate::core::clock::Clock;
use crate::core::labels::{CLUSTER, SERVICE};
use crate::core::matcher::Matcher;
use crate::core::mesh::{Served, TrafficEvidence};
use crate::core::name::{Cluster, Service};
use crate::core::signal::Signal;
use crate::core::store::{Store, StoreExt};
use crate::core::time::TimeRange;

/// Reads how many events a cluster has counted: its latency metric's `_count`.
#[derive(Debug)]
pub(crate) struct ScrapedEvidence {
    scraper: Arc<Scraper>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    budgets: Vec<String>,
}

impl ScrapedEvidence {
    pub(crate) fn new(
        scraper: Arc<Scraper>,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        budgets: Vec<String>,
    ) -> Self {
        Self { scraper, store, clock, budgets }
    }
}

#[async_trait]
impl TrafficEvidence for ScrapedEvidence {
    async fn served(&self, service: &Service, cluster: &Cluster) -> Result<Served, String> {
        let before = self.clock.now();
        let scraped = self.scraper.scrape_now(|target| {
            let labels = target.labels();
            labels.get(SERVICE) == Some(service.as_str())
                && labels.get(CLUSTER) == Some(cluster.as_str())
        });
        let scraped = scraped.await;
        if scraped.is_empty() {
            return Err(format!("no target is scraped for {cluster} of {service}"));
        }
        if let Some(down) = scraped.iter().find(|target| target.health != Health::Up) {
            let reason = down.last_error.as_ref().map_or("not scraped", |error| error.as_str());
            return Err(format!("{}: {reason}", down.url));
        }

        let of_cluster =
            [Matcher::equal(SERVICE, service.as_str()), Matcher::equal(CLUSTER, cluster.as_str())];
        // Scrapes are stamped with their start, which is not before the question.
        let range = TimeRange::new(before - Duration::from_millis(1), before + FRESH);
        let known = self.store.series(&of_cluster, range).await.map_err(|e| e.to_string())?;
        let budgets: Vec<_> = self.budgets.iter().map(String::as_str).collect();
        let Some(signal) = Signal::choose(&known, &budgets) else {
            return Err(format!("{cluster} of {service} exposes no latency metric to count by"));
        };
        let counted = Matcher::metric(&format!("{}_count", signal.source));
        let all: Vec<_> = of_cluster.into_iter().chain([counted]).collect();
        let counts = self.store.collect(&all, range).await.map_err(|e| e.to_string())?;
        let mut served = Served { requests: 0.0, errors: 0.0 };
        for (labels, samples) in &counts {
            let Some(count) = samples.last().and_then(|sample| sample.value.as_float()) else {
                continue;
            };
            served.requests += count;
            if Signal::is_error(labels) {
                served.errors += count;
            }
        }
        Ok(served)
    }
}

/// How far after the question a scrape may be stamped.
const FRESH: Duration = Duration::from_secs(60);
