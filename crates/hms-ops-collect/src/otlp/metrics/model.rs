//! An export of metrics, as far as it is used, and how JSON writes it.
//!
//! Source: *OpenTelemetry Protocol 1.x*, `metrics.proto`.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

use super::super::common::{Attribute, Number, id, or_default};
use super::{MAX_MESSAGES, MetricsError};
use hms_ops_core::span::{SpanId, TraceId};

/// Flag of a point that has no value: its series has ended.
const NO_RECORDED_VALUE: u32 = 1;

/// Whether the numbers of a sum or a histogram count from a fixed start or from the last export.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Temporality {
    #[default]
    Unspecified,
    Delta,
    Cumulative,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Export<'a> {
    #[serde(borrow, deserialize_with = "or_default")]
    pub(super) resource_metrics: Vec<ResourceMetrics<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ResourceMetrics<'a> {
    #[serde(borrow, deserialize_with = "or_default")]
    pub(super) resource: Resource<'a>,
    #[serde(borrow, deserialize_with = "or_default")]
    pub(super) scope_metrics: Vec<ScopeMetrics<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Resource<'a> {
    #[serde(borrow, deserialize_with = "or_default")]
    pub(super) attributes: Vec<Attribute<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ScopeMetrics<'a> {
    #[serde(borrow, deserialize_with = "or_default")]
    pub(super) metrics: Vec<Metric<'a>>,
}

/// One of the five kinds is there.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Metric<'a> {
    #[serde(borrow, deserialize_with = "or_default")]
    pub(super) name: Cow<'a, str>,
    #[serde(borrow, deserialize_with = "or_default")]
    pub(super) description: Cow<'a, str>,
    #[serde(borrow, deserialize_with = "or_default")]
    pub(super) unit: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) gauge: Option<Points<NumberPoint<'a>>>,
    #[serde(borrow)]
    pub(super) sum: Option<Points<NumberPoint<'a>>>,
    #[serde(borrow)]
    pub(super) histogram: Option<Points<HistogramPoint<'a>>>,
    #[serde(borrow)]
    pub(super) exponential_histogram: Option<Points<ExponentialPoint<'a>>>,
    #[serde(borrow)]
    pub(super) summary: Option<Points<SummaryPoint<'a>>>,
}

/// The points of a metric. Gauges and summaries have no temporality, and only a sum is monotonic.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", default, bound(deserialize = "P: Deserialize<'de>"))]
pub(super) struct Points<P> {
    #[serde(deserialize_with = "or_default")]
    pub(super) data_points: Vec<P>,
    #[serde(deserialize_with = "or_default")]
    pub(super) aggregation_temporality: Temporality,
    #[serde(deserialize_with = "or_default")]
    pub(super) is_monotonic: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct NumberPoint<'a> {
    #[serde(borrow, deserialize_with = "or_default")]
    pub(super) attributes: Vec<Attribute<'a>>,
    #[serde(deserialize_with = "or_default")]
    pub(super) time_unix_nano: Number<u64>,
    pub(super) as_double: Option<Number<f64>>,
    pub(super) as_int: Option<Number<i64>>,
    #[serde(borrow, deserialize_with = "or_default")]
    pub(super) exemplars: Vec<Exemplar<'a>>,
    #[serde(deserialize_with = "or_default")]
    pub(super) flags: Flags,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct HistogramPoint<'a> {
    #[serde(borrow, deserialize_with = "or_default")]
    pub(super) attributes: Vec<Attribute<'a>>,
    #[serde(deserialize_with = "or_default")]
    pub(super) time_unix_nano: Number<u64>,
    #[serde(deserialize_with = "or_default")]
    pub(super) count: Number<u64>,
    pub(super) sum: Option<Number<f64>>,
    #[serde(deserialize_with = "or_default")]
    pub(super) bucket_counts: Vec<Number<u64>>,
    #[serde(deserialize_with = "or_default")]
    pub(super) explicit_bounds: Vec<Number<f64>>,
    #[serde(borrow, deserialize_with = "or_default")]
    pub(super) exemplars: Vec<Exemplar<'a>>,
    #[serde(deserialize_with = "or_default")]
    pub(super) flags: Flags,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ExponentialPoint<'a> {
    #[serde(borrow, deserialize_with = "or_default")]
    pub(super) attributes: Vec<Attribute<'a>>,
    #[serde(deserialize_with = "or_default")]
    pub(super) time_unix_nano: Number<u64>,
    #[serde(deserialize_with = "or_default")]
    pub(super) count: Number<u64>,
    pub(super) sum: Option<Number<f64>>,
    #[serde(deserialize_with = "or_default")]
    pub(super) scale: Number<i32>,
    #[serde(deserialize_with = "or_default")]
    pub(super) zero_count: Number<u64>,
    #[serde(deserialize_with = "or_default")]
    pub(super) zero_threshold: Number<f64>,
    #[serde(deserialize_with = "or_default")]
    pub(super) positive: Buckets,
    #[serde(deserialize_with = "or_default")]
    pub(super) negative: Buckets,
    #[serde(borrow, deserialize_with = "or_default")]
    pub(super) exemplars: Vec<Exemplar<'a>>,
    #[serde(deserialize_with = "or_default")]
    pub(super) flags: Flags,
}

/// Bucket `i` is number `offset + i` of the scale.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Buckets {
    #[serde(deserialize_with = "or_default")]
    pub(super) offset: Number<i32>,
    #[serde(deserialize_with = "or_default")]
    pub(super) bucket_counts: Vec<Number<u64>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct SummaryPoint<'a> {
    #[serde(borrow, deserialize_with = "or_default")]
    pub(super) attributes: Vec<Attribute<'a>>,
    #[serde(deserialize_with = "or_default")]
    pub(super) time_unix_nano: Number<u64>,
    #[serde(deserialize_with = "or_default")]
    pub(super) count: Number<u64>,
    #[serde(deserialize_with = "or_default")]
    pub(super) sum: Number<f64>,
    #[serde(deserialize_with = "or_default")]
    pub(super) quantile_values: Vec<Quantile>,
    #[serde(deserialize_with = "or_default")]
    pub(super) flags: Flags,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Quantile {
    #[serde(deserialize_with = "or_default")]
    pub(super) quantile: Number<f64>,
    #[serde(deserialize_with = "or_default")]
    pub(super) value: Number<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Exemplar<'a> {
    #[serde(borrow, deserialize_with = "or_default")]
    pub(super) filtered_attributes: Vec<Attribute<'a>>,
    #[serde(deserialize_with = "or_default")]
    pub(super) time_unix_nano: Number<u64>,
    pub(super) as_double: Option<Number<f64>>,
    pub(super) as_int: Option<Number<i64>>,
    #[serde(deserialize_with = "trace_id")]
    pub(super) trace_id: Option<TraceId>,
    #[serde(deserialize_with = "span_id")]
    pub(super) span_id: Option<SpanId>,
}

/// Bits, of which one has a meaning.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Flags(pub(super) u32);

impl Flags {
    pub(super) fn no_recorded_value(self) -> bool {
        self.0 & NO_RECORDED_VALUE != 0
    }
}

impl<P> Default for Points<P> {
    fn default() -> Self {
        let (data_points, aggregation_temporality) = (Vec::new(), Temporality::default());
        Self { data_points, aggregation_temporality, is_monotonic: false }
    }
}

impl From<u64> for Temporality {
    fn from(number: u64) -> Self {
        match number {
            1 => Self::Delta,
            2 => Self::Cumulative,
            _ => Self::Unspecified,
        }
    }
}

impl<'a> Export<'a> {
    /// Reads an export from JSON.
    pub(super) fn from_json(body: &'a [u8]) -> Result<Self, MetricsError> {
        // An empty object takes three bytes and becomes a hundred times as many.
        if memchr::memchr_iter(b'{', body).count() > MAX_MESSAGES {
            return Err(MetricsError::TooMany);
        }
        Ok(serde_json::from_slice(body)?)
    }
}

impl<'de> Deserialize<'de> for Temporality {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u64::deserialize(deserializer).map(Self::from)
    }
}

impl<'de> Deserialize<'de> for Flags {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Number::deserialize(deserializer).map(|number| Self(number.0))
    }
}

fn trace_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<TraceId>, D::Error> {
    optional_id("traceId", deserializer)
}

fn span_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SpanId>, D::Error> {
    optional_id("spanId", deserializer)
}

/// None is nothing, an empty text, or zeros.
fn optional_id<'de, D: Deserializer<'de>, T: std::str::FromStr>(
    field: &str,
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    let text: Cow<'_, str> = or_default(deserializer)?;
    if text.len() > 32 {
        return Err(D::Error::custom(format!("{field} has {} digits", text.len())));
    }
    if text.bytes().all(|digit| digit == b'0') { Ok(None) } else { id(field, &text).map(Some) }
}
