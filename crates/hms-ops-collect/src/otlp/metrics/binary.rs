//! Reads an export of metrics from protobuf: how messages and what is in their fields are read.
//!
//! Source: *OpenTelemetry Protocol 1.x*, `metrics.proto`, `common.proto`.

use std::borrow::Cow;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hms_ops_core::span::{SpanId, TraceId};

use super::super::common::{AnyValue, Attribute, Number};
use super::model::{Export, Flags, Id, Temporality, Varints};
use super::native::MAX_BUCKETS;
use super::{MAX_MESSAGES, MetricsError};
use crate::protobuf::{Field, Reader};

/// How deep lists and maps may lie in each other, as deep as JSON may.
const MAX_DEPTH: usize = 32;

/// A message that is read field by field; what is not known is passed over.
pub(super) trait Message<'a>: Default {
    fn take(
        &mut self,
        decoder: &mut Decoder,
        number: u32,
        field: Field<'a>,
    ) -> Result<(), MetricsError>;
}

/// What a field holds. Of one that comes twice the later counts, or both where there may be many.
pub(super) trait Value<'a> {
    fn read(
        &mut self,
        decoder: &mut Decoder,
        field: Field<'a>,
        name: &'static str,
    ) -> Result<(), MetricsError>;
}

/// What goes with a message into a model that is larger than it.
pub(super) struct Decoder {
    messages: usize,
}

impl<'a> Export<'a> {
    /// Reads an export from protobuf.
    pub(super) fn from_protobuf(body: &'a [u8]) -> Result<Self, MetricsError> {
        Decoder { messages: 0 }.message(body)
    }
}

impl Decoder {
    fn message<'a, M: Message<'a>>(&mut self, bytes: &'a [u8]) -> Result<M, MetricsError> {
        self.count::<M>()?;
        let (mut message, mut reader) = (M::default(), Reader::new(bytes));
        while let Some((number, field)) = reader.next()? {
            message.take(self, number, field)?;
        }
        Ok(message)
    }

    /// An empty message takes two bytes and becomes up to a hundred times as many; so it counts once for
    /// each 64 of them.
    fn count<T>(&mut self) -> Result<(), MetricsError> {
        self.messages += size_of::<T>().div_ceil(64);
        if self.messages > MAX_MESSAGES { Err(MetricsError::TooMany) } else { Ok(()) }
    }

    fn key_value<'a>(
        &mut self,
        bytes: &'a [u8],
        depth: usize,
    ) -> Result<Attribute<'a>, MetricsError> {
        self.count::<Attribute<'_>>()?;
        let (mut key, mut value) = ("", AnyValue::Empty);
        let mut reader = Reader::new(bytes);
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
                1 => AnyValue::Text(field.text("string_value")?.into()),
                2 => AnyValue::Bool(field.uint("bool_value")? != 0),
                3 => AnyValue::Int(field.int("int_value")?),
                4 => AnyValue::Double(field.double("double_value")?),
                5 => {
                    let mut values = Vec::new();
                    let mut reader = Reader::new(field.bytes("array_value")?);
                    while let Some((number, field)) = reader.next()? {
                        if number == 1 {
                            self.count::<AnyValue<'_>>()?;
                            values.push(self.any_value(field.bytes("values")?, depth + 1)?);
                        }
                    }
                    AnyValue::List(values)
                }
                6 => {
                    let mut attributes = Vec::new();
                    let mut reader = Reader::new(field.bytes("kvlist_value")?);
                    while let Some((number, field)) = reader.next()? {
                        if number == 1 {
                            let bytes = field.bytes("values")?;
                            attributes.push(self.key_value(bytes, depth + 1)?);
                        }
                    }
                    AnyValue::Map(attributes)
                }
                7 => AnyValue::Text(BASE64_STANDARD.encode(field.bytes("bytes_value")?).into()),
                _ => value,
            };
        }
        Ok(value)
    }
}

impl<'a, M: Message<'a>> Value<'a> for M {
    fn read(
        &mut self,
        decoder: &mut Decoder,
        field: Field<'a>,
        name: &'static str,
    ) -> Result<(), MetricsError> {
        *self = decoder.message(field.bytes(name)?)?;
        Ok(())
    }
}

impl<'a, M: Message<'a>> Value<'a> for Vec<M> {
    fn read(
        &mut self,
        decoder: &mut Decoder,
        field: Field<'a>,
        name: &'static str,
    ) -> Result<(), MetricsError> {
        self.push(decoder.message(field.bytes(name)?)?);
        Ok(())
    }
}

impl<'a> Value<'a> for Vec<Attribute<'a>> {
    fn read(
        &mut self,
        decoder: &mut Decoder,
        field: Field<'a>,
        name: &'static str,
    ) -> Result<(), MetricsError> {
        self.push(decoder.key_value(field.bytes(name)?, 0)?);
        Ok(())
    }
}

impl<'a, V: Value<'a> + Default> Value<'a> for Option<V> {
    fn read(
        &mut self,
        decoder: &mut Decoder,
        field: Field<'a>,
        name: &'static str,
    ) -> Result<(), MetricsError> {
        self.insert(V::default()).read(decoder, field, name)
    }
}

/// What needs no more than its field.
macro_rules! plain {
    ($($type:ty: |$value:ident, $field:ident, $name:ident| $read:expr,)*) => {$(
        impl<'a> Value<'a> for $type {
            #[inline]
            fn read(
                &mut self,
                _: &mut Decoder,
                $field: Field<'a>,
                $name: &'static str,
            ) -> Result<(), MetricsError> {
                let $value = self;
                $read;
                Ok(())
            }
        }
    )*};
}

plain! {
    bool: |value, field, name| *value = field.uint(name)? != 0,
    Cow<'a, str>: |value, field, name| *value = field.text(name)?.into(),
    // A `fixed64`, an `sfixed64`, and a `sint32`, of which what is above 32 bits is cut off.
    Number<u64>: |value, field, name| value.0 = field.double(name)?.to_bits(),
    Number<i64>: |value, field, name| value.0 = field.double(name)?.to_bits().cast_signed(),
    Number<i32>: |value, field, name| value.0 = field.sint(name)? as i32,
    Number<f64>: |value, field, name| value.0 = field.double(name)?,
    Vec<Number<u64>>: |value, field, name| {
        value.extend(field.doubles(name)?.map(|bits| Number(bits.to_bits())))
    },
    Vec<Number<f64>>: |value, field, name| value.extend(field.doubles(name)?.map(Number)),
    Varints: |value, field, name| {
        for number in field.uints(name)? {
            let number = Number(number?);
            // One too many is kept, to tell that there were too many.
            if value.0.len() <= MAX_BUCKETS {
                value.0.push(number);
            }
        }
    },
    Flags: |value, field, name| *value = Flags(field.uint(name)? as u32),
    Temporality: |value, field, name| *value = field.uint(name)?.into(),
    Id<TraceId>: |value, field, name| {
        value.0 = id(field, name)?.and_then(|bytes| TraceId::new(u128::from_be_bytes(bytes)))
    },
    Id<SpanId>: |value, field, name| {
        value.0 = id(field, name)?.and_then(|bytes| SpanId::new(u64::from_be_bytes(bytes)))
    },
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
    use super::super::model::Buckets;
    use super::*;

    #[test]
    fn of_too_many_buckets_one_too_many_is_kept() {
        let counts = [&b"\x12\x80\x80\x02"[..], &[0; 1 << 15]].concat();
        let buckets: Buckets = Decoder { messages: 0 }.message(&counts).unwrap();
        assert_eq!(buckets.bucket_counts.0.len(), MAX_BUCKETS + 1);
    }
}
