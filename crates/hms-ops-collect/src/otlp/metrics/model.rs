//! An export of metrics, as far as it is used, in JSON and in protobuf.
//!
//! Source: *OpenTelemetry Protocol 1.x*, `metrics_service.proto`, `metrics.proto`.

use std::borrow::Cow;
use std::str::FromStr;

use hms_ops_core::span::{SpanId, TraceId};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

use super::super::common::{Attribute, Number, id, or_default};
use super::binary::{Decoder, Message, Value};
use super::{MAX_MESSAGES, MetricsError};
use crate::protobuf::Field;

/// Flag of a point that has no value: its series has ended.
const NO_RECORDED_VALUE: u32 = 1;

/// Which fields of a message go where, by the numbers that protobuf knows them by.
macro_rules! fields {
    ([$($generics:tt)*] $message:ty { $($number:literal $field:ident)* }) => {
        impl<$($generics)*> Message<'a> for $message {
            fn take(
                &mut self,
                decoder: &mut Decoder,
                number: u32,
                field: Field<'a>,
            ) -> Result<(), MetricsError> {
                match number {
                    $($number => self.$field.read(decoder, field, stringify!($field)),)*
                    _ => Ok(()),
                }
            }
        }
    };
}

/// Messages by their fields: the number that protobuf knows one by, its name, which is in camel case in
/// JSON, and what it holds.
macro_rules! messages {
    ($($(#[$about:meta])* $name:ident { $($number:literal $field:ident: $type:ty,)* })*) => {$(
        $(#[$about])*
        #[derive(Debug, Default, Deserialize)]
        #[serde(rename_all = "camelCase", default, bound(deserialize = "'de: 'a"))]
        pub(super) struct $name<'a> {
            $(
                #[serde(deserialize_with = "or_default")]
                pub(super) $field: $type,
            )*
        }

        fields! { ['a] $name<'a> { $($number $field)* } }
    )*};
}

messages! {
    Export {
        1 resource_metrics: Vec<ResourceMetrics<'a>>,
    }

    ResourceMetrics {
        1 resource: Resource<'a>,
        2 scope_metrics: Vec<ScopeMetrics<'a>>,
    }

    Resource {
        1 attributes: Vec<Attribute<'a>>,
    }

    ScopeMetrics {
        2 metrics: Vec<Metric<'a>>,
    }

    /// One of the five kinds is there.
    Metric {
        1 name: Cow<'a, str>,
        2 description: Cow<'a, str>,
        3 unit: Cow<'a, str>,
        5 gauge: Option<Points<NumberPoint<'a>>>,
        7 sum: Option<Points<NumberPoint<'a>>>,
        9 histogram: Option<Points<HistogramPoint<'a>>>,
        10 exponential_histogram: Option<Points<ExponentialPoint<'a>>>,
        11 summary: Option<Points<SummaryPoint<'a>>>,
    }

    NumberPoint {
        3 time_unix_nano: Number<u64>,
        4 as_double: Option<Number<f64>>,
        5 exemplars: Vec<Exemplar<'a>>,
        6 as_int: Option<Number<i64>>,
        7 attributes: Vec<Attribute<'a>>,
        8 flags: Flags,
    }

    HistogramPoint {
        3 time_unix_nano: Number<u64>,
        4 count: Number<u64>,
        5 sum: Option<Number<f64>>,
        6 bucket_counts: Vec<Number<u64>>,
        7 explicit_bounds: Vec<Number<f64>>,
        8 exemplars: Vec<Exemplar<'a>>,
        9 attributes: Vec<Attribute<'a>>,
        10 flags: Flags,
    }

    ExponentialPoint {
        1 attributes: Vec<Attribute<'a>>,
        3 time_unix_nano: Number<u64>,
        4 count: Number<u64>,
        5 sum: Option<Number<f64>>,
        6 scale: Number<i32>,
        7 zero_count: Number<u64>,
        8 positive: Buckets,
        9 negative: Buckets,
        10 flags: Flags,
        11 exemplars: Vec<Exemplar<'a>>,
        14 zero_threshold: Number<f64>,
    }

    SummaryPoint {
        3 time_unix_nano: Number<u64>,
        4 count: Number<u64>,
        5 sum: Number<f64>,
        6 quantile_values: Vec<Quantile>,
        7 attributes: Vec<Attribute<'a>>,
        8 flags: Flags,
    }

    Exemplar {
        2 time_unix_nano: Number<u64>,
        3 as_double: Option<Number<f64>>,
        4 span_id: Id<SpanId>,
        5 trace_id: Id<TraceId>,
        6 as_int: Option<Number<i64>>,
        7 filtered_attributes: Vec<Attribute<'a>>,
    }
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

/// Bucket `i` is number `offset + i` of the scale.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Buckets {
    #[serde(deserialize_with = "or_default")]
    pub(super) offset: Number<i32>,
    #[serde(deserialize_with = "or_default")]
    pub(super) bucket_counts: Varints,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Quantile {
    #[serde(deserialize_with = "or_default")]
    pub(super) quantile: Number<f64>,
    #[serde(deserialize_with = "or_default")]
    pub(super) value: Number<f64>,
}

/// Whether the numbers of a sum or a histogram count from a fixed start or from the last export.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Temporality {
    #[default]
    Unspecified,
    Delta,
    Cumulative,
}

/// Bits, of which one has a meaning.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Flags(pub(super) u32);

/// Numbers that are varints in protobuf, where others have a fixed length.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Varints(pub(super) Vec<Number<u64>>);

/// An id, which may be left out, empty or zero.
#[derive(Debug)]
pub(super) struct Id<T>(pub(super) Option<T>);

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

impl<P> Default for Points<P> {
    fn default() -> Self {
        let (data_points, aggregation_temporality) = (Vec::new(), Temporality::default());
        Self { data_points, aggregation_temporality, is_monotonic: false }
    }
}

fields! { ['a, P: Message<'a>] Points<P> { 1 data_points 2 aggregation_temporality 3 is_monotonic } }
fields! { ['a] Buckets { 1 offset 2 bucket_counts } }
fields! { ['a] Quantile { 1 quantile 2 value } }

impl From<u64> for Temporality {
    fn from(number: u64) -> Self {
        match number {
            1 => Self::Delta,
            2 => Self::Cumulative,
            _ => Self::Unspecified,
        }
    }
}

impl<'de> Deserialize<'de> for Temporality {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u64::deserialize(deserializer).map(Self::from)
    }
}

impl Flags {
    pub(super) fn no_recorded_value(self) -> bool {
        self.0 & NO_RECORDED_VALUE != 0
    }
}

impl<'de> Deserialize<'de> for Flags {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Number::deserialize(deserializer).map(|number| Self(number.0))
    }
}

impl<T> Default for Id<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<'de, T: FromStr> Deserialize<'de> for Id<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <Cow<'_, str>>::deserialize(deserializer)?;
        if text.len() > 32 {
            return Err(D::Error::custom(format!("an id has {} digits", text.len())));
        }
        let is_none = text.bytes().all(|digit| digit == b'0');
        Ok(Self(if is_none { None } else { Some(id("the text", &text)?) }))
    }
}
