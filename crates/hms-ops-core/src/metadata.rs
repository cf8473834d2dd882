//! What is known about metrics beside their samples: type, help and unit.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};

/// Metrics that are described.
const METRICS: usize = 10_000;
/// Bytes of a name or a text; a longer text is cut, and under a longer name nothing is kept.
const TEXT_BYTES: usize = 1024;

/// The type of a metric family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the specification's own words")]
pub enum MetricType {
    /// Said to be `unknown` (`untyped` in text 0.0.4), or not said.
    #[default]
    Unknown,
    Counter,
    Gauge,
    Histogram,
    GaugeHistogram,
    Summary,
    Info,
    StateSet,
}

/// As OpenMetrics writes it.
impl fmt::Display for MetricType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "unknown",
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::GaugeHistogram => "gaugehistogram",
            Self::Summary => "summary",
            Self::Info => "info",
            Self::StateSet => "stateset",
        })
    }
}

/// What somebody has said about a metric. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// What its series mean together.
    pub metric_type: MetricType,
    /// What it tells people; may be empty.
    pub help: Arc<str>,
    /// The unit of its values; may be empty.
    pub unit: Arc<str>,
}

/// Keeps what was last said about each metric; 10,000 metrics, with texts of 1 KiB.
///
/// ```
/// use hms_ops_core::metadata::{MetadataStore, MetricType};
///
/// let metadata = MetadataStore::new();
/// metadata.set("claims_total", MetricType::Counter, "Claims received.", "");
/// assert_eq!(metadata.get("claims_total").map(|m| m.metric_type), Some(MetricType::Counter));
/// ```
#[derive(Debug)]
pub struct MetadataStore {
    limit: usize,
    metrics: RwLock<BTreeMap<Arc<str>, Metadata>>,
    refused: AtomicU64,
}

impl MetadataStore {
    /// An empty one for 10,000 metrics.
    pub fn new() -> Self {
        Self::with_limit(METRICS)
    }

    /// An empty one for so many metrics. Those that come later are refused and counted.
    pub fn with_limit(limit: usize) -> Self {
        Self { limit, metrics: RwLock::default(), refused: AtomicU64::new(0) }
    }

    /// Keeps what is said about a metric, in place of what was said before. Allocates nothing when
    /// it is the same.
    pub fn set(&self, metric: &str, metric_type: MetricType, help: &str, unit: &str) {
        let (help, unit) = (cut(help), cut(unit));
        let same = |known: &Metadata| {
            known.metric_type == metric_type && *known.help == *help && *known.unit == *unit
        };
        if self.read(|metrics| metrics.get(metric).is_some_and(same)) {
            return;
        }
        let said = Metadata { metric_type, help: help.into(), unit: unit.into() };
        let mut metrics = self.metrics.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = metrics.get_mut(metric) {
            *known = said;
        } else if metrics.len() < self.limit && metric.len() <= TEXT_BYTES {
            metrics.insert(metric.into(), said);
        } else {
            self.refused.fetch_add(1, Relaxed);
        }
    }

    /// What was last said about a metric.
    pub fn get(&self, metric: &str) -> Option<Metadata> {
        self.read(|metrics| metrics.get(metric).cloned())
    }

    /// All of it, sorted by metric.
    pub fn snapshot(&self) -> Vec<(Arc<str>, Metadata)> {
        self.read(|metrics| {
            metrics.iter().map(|(name, said)| (name.clone(), said.clone())).collect()
        })
    }

    /// How often something was said about a metric for which there was no room.
    pub fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    fn read<T>(&self, read: impl FnOnce(&BTreeMap<Arc<str>, Metadata>) -> T) -> T {
        read(&self.metrics.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Default for MetadataStore {
    fn default() -> Self {
        Self::new()
    }
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_BYTES)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_last_about_a_metric_counts() {
        let metadata = MetadataStore::new();
        metadata.set("b", MetricType::Unknown, "", "");
        metadata.set("a", MetricType::Counter, "All.", "bytes");
        metadata.set("b", MetricType::Gauge, "Some.", "");
        let said: Vec<_> = metadata.snapshot();
        assert_eq!(said.iter().map(|(name, _)| &**name).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!((said[1].1.metric_type, &*said[1].1.help), (MetricType::Gauge, "Some."));
        assert_eq!(metadata.get("c"), None);
    }

    #[test]
    fn a_full_one_refuses_new_metrics_and_keeps_up_with_those_it_has() {
        let metadata = MetadataStore::with_limit(1);
        metadata.set("a", MetricType::Counter, "Old.", "");
        metadata.set("b", MetricType::Counter, "", "");
        metadata.set("a", MetricType::Counter, "New.", "");
        assert_eq!(metadata.snapshot().len(), 1);
        assert_eq!(metadata.get("a").map(|said| said.help), Some("New.".into()));
        assert_eq!(metadata.refused(), 1);
    }

    #[test]
    fn a_long_text_is_cut_between_characters_and_a_long_name_is_refused() {
        let metadata = MetadataStore::new();
        metadata.set("a", MetricType::Gauge, &"ö".repeat(600), "");
        metadata.set("a", MetricType::Gauge, &format!("x{}", "ö".repeat(600)), "");
        assert_eq!(metadata.get("a").map(|said| said.help.len()), Some(1023));
        metadata.set(&"n".repeat(1025), MetricType::Gauge, "", "");
        assert_eq!(metadata.refused(), 1);
    }
}
