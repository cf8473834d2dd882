//! Reads an export of metrics from protobuf.
//!
//! Source: *OpenTelemetry Protocol 1.x*, `metrics_service.proto`, `metrics.proto`, `common.proto`.

use std::borrow::Cow;

use hms_ops_core::span::{SpanId, TraceId};

use super::super::common::{AnyValue, Attribute, Number, base64};
use super::model::{
    Buckets, Exemplar, ExponentialPoint, Export, Flags, HistogramPoint, Metric, NumberPoint,
    Points, Quantile, Resource, ResourceMetrics, ScopeMetrics, SummaryPoint,
};
use super::native::MAX_BUCKETS;
use super::{MAX_MESSAGES, MetricsError};
use crate::protobuf::{Field, ProtobufError, Reader};

/// How deep lists and maps may lie in each other, as deep as JSON may.
const MAX_DEPTH: usize = 32;

impl<'a> Export<'a> {
    /// Reads an export from protobuf.
    pub(super) fn from_protobuf(body: &'a [u8]) -> Result<Self, MetricsError> {
        Decoder { messages: 0 }.export(body)
    }
}

/// What goes with a message into a model that is larger than it.
struct Decoder {
    messages: usize,
}

/// Takes one field of a message into the value that the message becomes.
type Take<'a, T> = fn(&mut Decoder, &mut T, u32, Field<'a>) -> Result<(), MetricsError>;

impl Decoder {
    /// Reads a whole message, field by field.
    fn message<'a, T: Default>(
        &mut self,
        field: Field<'a>,
        name: &'static str,
        take: Take<'a, T>,
    ) -> Result<T, MetricsError> {
        self.read(field.bytes(name)?, take)
    }

    fn read<'a, T: Default>(
        &mut self,
        bytes: &'a [u8],
        take: Take<'a, T>,
    ) -> Result<T, MetricsError> {
        self.count()?;
        let (mut value, mut reader) = (T::default(), Reader::new(bytes));
        while let Some((number, field)) = reader.next()? {
            take(self, &mut value, number, field)?;
        }
        Ok(value)
    }

    /// An empty message takes two bytes and becomes a hundred times as many.
    fn count(&mut self) -> Result<(), MetricsError> {
        self.messages += 1;
        if self.messages > MAX_MESSAGES { Err(MetricsError::TooMany) } else { Ok(()) }
    }

    fn export<'a>(&mut self, body: &'a [u8]) -> Result<Export<'a>, MetricsError> {
        self.read(body, |decoder, export: &mut Export<'a>, number, field| {
            if number == 1 {
                let resource = decoder.message(field, "resourceMetrics", Self::resource_metrics)?;
                export.resource_metrics.push(resource);
            }
            Ok(())
        })
    }

    fn resource_metrics<'a>(
        &mut self,
        into: &mut ResourceMetrics<'a>,
        number: u32,
        field: Field<'a>,
    ) -> Result<(), MetricsError> {
        match number {
            1 => {
                into.resource = self.message(
                    field,
                    "resource",
                    |decoder, resource: &mut Resource<'a>, number, field| match number {
                        1 => decoder.attribute(&mut resource.attributes, field),
                        _ => Ok(()),
                    },
                )?;
            }
            2 => {
                let scope = self.message(
                    field,
                    "scopeMetrics",
                    |decoder, scope: &mut ScopeMetrics<'a>, number, field| {
                        if number == 2 {
                            scope.metrics.push(decoder.message(field, "metrics", Self::metric)?);
                        }
                        Ok(())
                    },
                )?;
                into.scope_metrics.push(scope);
            }
            _ => {}
        }
        Ok(())
    }

    fn metric<'a>(
        &mut self,
        into: &mut Metric<'a>,
        number: u32,
        field: Field<'a>,
    ) -> Result<(), MetricsError> {
        match number {
            1 => into.name = field.text("name")?.into(),
            2 => into.description = field.text("description")?.into(),
            3 => into.unit = field.text("unit")?.into(),
            5 => into.gauge = Some(self.points(field, "gauge", Self::number)?),
            7 => into.sum = Some(self.points(field, "sum", Self::number)?),
            9 => into.histogram = Some(self.points(field, "histogram", Self::histogram)?),
            10 => {
                let points = self.points(field, "exponentialHistogram", Self::exponential)?;
                into.exponential_histogram = Some(points);
            }
            11 => into.summary = Some(self.points(field, "summary", Self::summary)?),
            _ => {}
        }
        Ok(())
    }

    fn points<'a, P: Default>(
        &mut self,
        field: Field<'a>,
        name: &'static str,
        take: Take<'a, P>,
    ) -> Result<Points<P>, MetricsError> {
        let (mut points, mut reader) = (Points::default(), Reader::new(field.bytes(name)?));
        while let Some((number, field)) = reader.next()? {
            match number {
                1 => points.data_points.push(self.message(field, "dataPoints", take)?),
                2 => {
                    points.aggregation_temporality = field.uint("aggregationTemporality")?.into();
                }
                3 => points.is_monotonic = field.uint("isMonotonic")? != 0,
                _ => {}
            }
        }
        Ok(points)
    }

    fn number<'a>(
        &mut self,
        into: &mut NumberPoint<'a>,
        number: u32,
        field: Field<'a>,
    ) -> Result<(), MetricsError> {
        match number {
            3 => into.time_unix_nano = fixed(field, "timeUnixNano")?,
            4 => into.as_double = Some(Number(field.double("asDouble")?)),
            5 => into.exemplars.push(self.message(field, "exemplars", Self::exemplar)?),
            6 => into.as_int = Some(Number(fixed(field, "asInt")?.0.cast_signed())),
            7 => self.attribute(&mut into.attributes, field)?,
            8 => into.flags = flags(field)?,
            _ => {}
        }
        Ok(())
    }

    fn histogram<'a>(
        &mut self,
        into: &mut HistogramPoint<'a>,
        number: u32,
        field: Field<'a>,
    ) -> Result<(), MetricsError> {
        match number {
            3 => into.time_unix_nano = fixed(field, "timeUnixNano")?,
            4 => into.count = fixed(field, "count")?,
            5 => into.sum = Some(Number(field.double("sum")?)),
            6 => {
                let counts = field.doubles("bucketCounts")?;
                into.bucket_counts.extend(counts.map(|bits| Number(bits.to_bits())));
            }
            7 => into.explicit_bounds.extend(field.doubles("explicitBounds")?.map(Number)),
            8 => into.exemplars.push(self.message(field, "exemplars", Self::exemplar)?),
            9 => self.attribute(&mut into.attributes, field)?,
            10 => into.flags = flags(field)?,
            _ => {}
        }
        Ok(())
    }

    fn exponential<'a>(
        &mut self,
        into: &mut ExponentialPoint<'a>,
        number: u32,
        field: Field<'a>,
    ) -> Result<(), MetricsError> {
        match number {
            1 => self.attribute(&mut into.attributes, field)?,
            3 => into.time_unix_nano = fixed(field, "timeUnixNano")?,
            4 => into.count = fixed(field, "count")?,
            5 => into.sum = Some(Number(field.double("sum")?)),
            6 => into.scale = sint32(field, "scale")?,
            7 => into.zero_count = fixed(field, "zeroCount")?,
            8 => into.positive = self.message(field, "positive", Self::buckets)?,
            9 => into.negative = self.message(field, "negative", Self::buckets)?,
            10 => into.flags = flags(field)?,
            11 => into.exemplars.push(self.message(field, "exemplars", Self::exemplar)?),
            14 => into.zero_threshold = Number(field.double("zeroThreshold")?),
            _ => {}
        }
        Ok(())
    }

    fn buckets(
        &mut self,
        into: &mut Buckets,
        number: u32,
        field: Field<'_>,
    ) -> Result<(), MetricsError> {
        match number {
            1 => into.offset = sint32(field, "offset")?,
            2 => {
                for count in field.uints("bucketCounts")? {
                    let count = Number(count?);
                    // One too many is kept, to tell that there were too many.
                    if into.bucket_counts.len() <= MAX_BUCKETS {
                        into.bucket_counts.push(count);
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn summary<'a>(
        &mut self,
        into: &mut SummaryPoint<'a>,
        number: u32,
        field: Field<'a>,
    ) -> Result<(), MetricsError> {
        match number {
            3 => into.time_unix_nano = fixed(field, "timeUnixNano")?,
            4 => into.count = fixed(field, "count")?,
            5 => into.sum = Number(field.double("sum")?),
            6 => {
                let value = self.message(
                    field,
                    "quantileValues",
                    |_, value: &mut Quantile, number, field| {
                        match number {
                            1 => value.quantile = Number(field.double("quantile")?),
                            2 => value.value = Number(field.double("value")?),
                            _ => {}
                        }
                        Ok(())
                    },
                )?;
                into.quantile_values.push(value);
            }
            7 => self.attribute(&mut into.attributes, field)?,
            8 => into.flags = flags(field)?,
            _ => {}
        }
        Ok(())
    }

    fn exemplar<'a>(
        &mut self,
        into: &mut Exemplar<'a>,
        number: u32,
        field: Field<'a>,
    ) -> Result<(), MetricsError> {
        match number {
            2 => into.time_unix_nano = fixed(field, "timeUnixNano")?,
            3 => into.as_double = Some(Number(field.double("asDouble")?)),
            4 => {
                into.span_id = id(field, "spanId")?.and_then(|b| SpanId::new(u64::from_be_bytes(b)))
            }
            5 => {
                into.trace_id =
                    id(field, "traceId")?.and_then(|b| TraceId::new(u128::from_be_bytes(b)))
            }
            6 => into.as_int = Some(Number(fixed(field, "asInt")?.0.cast_signed())),
            7 => self.attribute(&mut into.filtered_attributes, field)?,
            _ => {}
        }
        Ok(())
    }

    fn attribute<'a>(
        &mut self,
        into: &mut Vec<Attribute<'a>>,
        field: Field<'a>,
    ) -> Result<(), MetricsError> {
        into.push(self.key_value(field, 0)?);
        Ok(())
    }

    fn key_value<'a>(
        &mut self,
        field: Field<'a>,
        depth: usize,
    ) -> Result<Attribute<'a>, MetricsError> {
        self.count()?;
        let (mut key, mut value) = ("", AnyValue::Empty);
        let mut reader = Reader::new(field.bytes("attributes")?);
        while let Some((number, field)) = reader.next()? {
            match number {
                1 => key = field.text("key")?,
                2 => value = self.any_value(field.bytes("value")?, depth)?,
                _ => {}
            }
        }
        Ok(Attribute { key: Cow::Borrowed(key), value })
    }

    fn any_value<'a>(
        &mut self,
        bytes: &'a [u8],
        depth: usize,
    ) -> Result<AnyValue<'a>, MetricsError> {
        if depth == MAX_DEPTH {
            return Err(MetricsError::TooDeep);
        }
        let (mut value, mut reader) = (AnyValue::Empty, Reader::new(bytes));
        while let Some((number, field)) = reader.next()? {
            value = match number {
                1 => AnyValue::Text(field.text("stringValue")?.into()),
                2 => AnyValue::Bool(field.uint("boolValue")? != 0),
                3 => AnyValue::Int(field.int("intValue")?),
                4 => AnyValue::Double(field.double("doubleValue")?),
                5 => {
                    let mut values = Vec::new();
                    let mut reader = Reader::new(field.bytes("arrayValue")?);
                    while let Some((number, field)) = reader.next()? {
                        if number == 1 {
                            self.count()?;
                            values.push(self.any_value(field.bytes("values")?, depth + 1)?);
                        }
                    }
                    AnyValue::List(values)
                }
                6 => {
                    let mut attributes = Vec::new();
                    let mut reader = Reader::new(field.bytes("kvlistValue")?);
                    while let Some((number, field)) = reader.next()? {
                        if number == 1 {
                            attributes.push(self.key_value(field, depth + 1)?);
                        }
                    }
                    AnyValue::Map(attributes)
                }
                7 => AnyValue::Text(base64(field.bytes("bytesValue")?).into()),
                _ => value,
            };
        }
        Ok(value)
    }
}

/// A `fixed64`, or an `sfixed64` as its 64 bits.
fn fixed(field: Field<'_>, name: &'static str) -> Result<Number<u64>, ProtobufError> {
    field.double(name).map(|bits| Number(bits.to_bits()))
}

/// A `sint32`; what is above 32 bits is cut off, as in protobuf.
fn sint32(field: Field<'_>, name: &'static str) -> Result<Number<i32>, ProtobufError> {
    field.sint(name).map(|value| Number(value as i32))
}

fn flags(field: Field<'_>) -> Result<Flags, ProtobufError> {
    field.uint("flags").map(|flags| Flags(flags as u32))
}

/// The bytes of an id; none are no id.
fn id<const N: usize>(
    field: Field<'_>,
    name: &'static str,
) -> Result<Option<[u8; N]>, MetricsError> {
    let bytes = field.bytes(name)?;
    if bytes.is_empty() {
        return Ok(None);
    }
    let wrong = |_| MetricsError::Id { name, bytes: bytes.len(), expected: N };
    bytes.try_into().map(Some).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_too_many_buckets_one_too_many_is_kept() {
        let counts = [&b"\x12\x80\x80\x02"[..], &[0; 1 << 15]].concat();
        let buckets: Buckets = Decoder { messages: 0 }.read(&counts, Decoder::buckets).unwrap();
        assert_eq!(buckets.bucket_counts.len(), MAX_BUCKETS + 1);
    }
}
