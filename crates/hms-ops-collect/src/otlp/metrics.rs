//! Metrics in OTLP: from an export, in JSON or protobuf, to samples in a store.
//!
//! What a series is called, and which ones a point becomes, is as in Prometheus 3.x. Of an export that
//! cannot be read nothing is stored; of one that can, whatever the store takes.
//!
//! Source: *OpenTelemetry Protocol 1.x*, "OTLP/HTTP"; *OpenTelemetry Specification*, "Prometheus and
//! OpenMetrics Compatibility".

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use hms_ops_core::metadata::MetadataStore;
use hms_ops_core::store::{Store, StoreError};

use self::model::Export;
use self::translate::Translation;
use super::LONG_BYTES;
use crate::client::{ClientError, gunzip};
use crate::exposition::excerpt;
use crate::protobuf::ProtobufError;
use crate::scrape::Commit;
use crate::series_cache::SeriesCache;

mod binary;
mod model;
mod name;
mod native;
#[cfg(feature = "http")]
mod routes;
mod series;
mod translate;

#[cfg(feature = "http")]
pub use self::routes::metrics_router;

/// The longest body of one export of metrics, as sent and inflated: 16 MiB.
pub const MAX_METRICS_BODY_BYTES: usize = 16 << 20;
/// The most samples that are taken from one export.
pub const MAX_SAMPLES: usize = 250_000;
/// The most messages within one export; an attribute is one, in JSON two, and a point up to four.
const MAX_MESSAGES: usize = 1_000_000;
/// Bytes of memory for the series that senders have named before.
const CACHE_BYTES: usize = 64 << 20;
/// How many metrics of which something was refused are told one by one.
const TOLD: usize = 16;
/// How much is told of a reason, in bytes: it may name a series.
const REASON_BYTES: usize = 512;

/// How an export is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// `application/json`.
    Json,
    /// `application/x-protobuf`.
    Protobuf,
}

/// Why an export was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each message explains its fields")]
pub enum MetricsError {
    /// Not gzip, or too long.
    #[error(transparent)]
    Gzip(#[from] ClientError),

    /// Not JSON, or not what OTLP puts into it.
    #[error(transparent)]
    Json(#[from] serde_json::Error),

    /// Not protobuf, or not what OTLP puts into it.
    #[error("the body is no export of metrics: {reason}")]
    Protobuf { reason: String },

    /// An id of another length.
    #[error("{name} has {bytes} bytes, not {expected}")]
    Id { name: &'static str, bytes: usize, expected: usize },

    /// More messages than any body needs that says something.
    #[error("the body has more than {MAX_MESSAGES} messages")]
    TooMany,

    /// Lists and maps within each other.
    #[error("the value of an attribute is nested too deep")]
    TooDeep,

    /// The samples could not be stored; a later try may succeed.
    #[error("the samples could not be stored")]
    Store(#[from] StoreError),
}

impl From<ProtobufError> for MetricsError {
    fn from(error: ProtobufError) -> Self {
        Self::Protobuf { reason: error.to_string() }
    }
}

/// Data points that were refused, by the name of their metric.
///
/// Prints as one line: `"claims": 3 data points: delta temporality is not taken; "lag": ...`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    points: u64,
    metrics: BTreeMap<String, (u64, String)>,
    untold: u64,
}

impl Refused {
    /// How many there are.
    pub fn points(&self) -> u64 {
        self.points
    }

    /// Whether everything was taken.
    pub fn is_empty(&self) -> bool {
        self.metrics.is_empty()
    }

    /// Of a metric only the first reason is kept.
    fn add(&mut self, metric: &str, points: usize, reason: impl fmt::Display) {
        let (metric, points) = (excerpt(metric), points as u64);
        self.points += points;
        if let Some((refused, _)) = self.metrics.get_mut(&metric) {
            *refused += points;
        } else if self.metrics.len() < TOLD {
            let mut reason = reason.to_string();
            reason.truncate(reason.floor_char_boundary(REASON_BYTES));
            self.metrics.insert(metric, (points, reason));
        } else {
            self.untold += points;
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (metric, (points, reason))) in self.metrics.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            let plural = if *points == 1 { "" } else { "s" };
            write!(f, "{separator}{metric}: {points} data point{plural}: {reason}")?;
        }
        if self.untold > 0 {
            write!(f, "; {} data points of other metrics", self.untold)?;
        }
        Ok(())
    }
}

/// Takes exports of metrics into a store, and remembers the handles of their series.
///
/// ```
/// use std::sync::Arc;
/// use hms_ops_collect::otlp::{Encoding, MetricsReceiver};
/// use hms_ops_core::{metadata::MetadataStore, store::MemoryStore};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), hms_ops_collect::otlp::MetricsError> {
/// let (store, metadata) = (Arc::new(MemoryStore::new()), Arc::new(MetadataStore::new()));
/// let receiver = Arc::new(MetricsReceiver::new(store, metadata));
/// let body = br#"{"resourceMetrics": []}"#.to_vec();
/// let refused = receiver.receive(body.into(), Encoding::Json).await?;
/// assert!(refused.is_empty());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct MetricsReceiver {
    store: Arc<dyn Store>,
    metadata: Arc<MetadataStore>,
    handles: Mutex<SeriesCache>,
}

impl MetricsReceiver {
    /// A receiver that writes samples to `store`, and what is said about metrics to `metadata`.
    pub fn new(store: Arc<dyn Store>, metadata: Arc<MetadataStore>) -> Self {
        Self { store, metadata, handles: Mutex::new(SeriesCache::new(CACHE_BYTES)) }
    }

    /// Stores the points of one export, and says which ones were refused: those of delta temporality,
    /// those without a time or a name, those beyond a limit, and those that the store refuses.
    ///
    /// Must be called within a Tokio runtime when the body has more than 1 MiB. Cancel safe: dropped,
    /// the points may or may not be stored, and may be sent again.
    ///
    /// # Errors
    ///
    /// [`MetricsError`]; nothing was stored.
    pub async fn receive(
        self: &Arc<Self>,
        body: Bytes,
        encoding: Encoding,
    ) -> Result<Refused, MetricsError> {
        let (refused, commit) = if body.len() <= LONG_BYTES {
            self.append(&body, encoding)?
        } else {
            self.off_executor(move |receiver| receiver.append(&body, encoding)).await?
        };
        commit.await?;
        Ok(refused)
    }

    /// The same for a body in gzip, which may become a thousand times as long.
    #[cfg_attr(not(feature = "http"), allow(dead_code, reason = "only a route takes them"))]
    async fn receive_gzip(
        self: &Arc<Self>,
        body: Bytes,
        encoding: Encoding,
    ) -> Result<Refused, MetricsError> {
        let appended = self.off_executor(move |receiver| {
            receiver.append(&gunzip(&body, MAX_METRICS_BODY_BYTES)?, encoding)
        });
        let (refused, commit) = appended.await?;
        commit.await?;
        Ok(refused)
    }

    async fn off_executor<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, MetricsError> + Send + 'static,
    ) -> Result<T, MetricsError> {
        let receiver = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&receiver)).await;
        // The runtime ends, or reading has panicked.
        done.unwrap_or_else(|failed| Err(StoreError::Backend(Box::new(failed)).into()))
    }

    /// Appends the points of an export.
    fn append(&self, body: &[u8], encoding: Encoding) -> Result<(Refused, Commit), MetricsError> {
        let export = match encoding {
            Encoding::Json => Export::from_json(body)?,
            Encoding::Protobuf => Export::from_protobuf(body)?,
        };
        let appender = self.store.appender();
        let mut translation = Translation::new(appender, &self.handles, &self.metadata);
        translation.export(&export)?;
        Ok(translation.finish())
    }
}
