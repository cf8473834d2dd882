//! The wire format of Protocol Buffers, read in place and appended to a buffer.
//!
//! There is no schema here: a message is a run of numbered fields, and whoever reads it knows what
//! they mean. Nothing is copied and nothing recurses; a message within a message is bytes.
//!
//! Source: *Protocol Buffers*, "Encoding".

/// The highest number that a field may have.
const MAX_NUMBER: u64 = (1 << 29) - 1;

/// Why bytes are not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each message explains its fields")]
pub(crate) enum ProtobufError {
    /// The bytes end within a field.
    #[error("the message breaks off within a field")]
    Truncated,

    /// A number of more than 64 bits.
    #[error("a varint has more than 64 bits")]
    Varint,

    /// Zero, or more than 29 bits.
    #[error("{number} is no field number")]
    Number { number: u64 },

    /// A group, or none of the wire types.
    #[error("field {number} has the wire type {wire_type}, which is not in use")]
    WireType { number: u32, wire_type: u8 },

    /// A field that is known has another wire type than it should.
    #[error("{name} is {found} where {expected} was expected")]
    Kind { name: &'static str, found: &'static str, expected: &'static str },

    /// A string is none.
    #[error("{name} is not valid UTF-8")]
    Utf8 { name: &'static str },

    /// Packed numbers of eight bytes do not fill their length.
    #[error("{name} has {length} bytes, which is no multiple of 8")]
    Packed { name: &'static str, length: usize },
}

/// What stands in a field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Field<'a> {
    /// An integer, a flag or a value of an enumeration.
    Varint(u64),
    /// Eight bytes, little endian: a `double` or a fixed integer.
    Fixed64(u64),
    /// Four bytes, little endian.
    Fixed32(u32),
    /// A string, bytes, a message, or packed numbers.
    Bytes(&'a [u8]),
}

/// Reads the fields of one message, in the order in which they stand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads the message that `bytes` are.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The number of the next field, and what is in it; `None` after the last.
    ///
    /// # Errors
    ///
    /// [`ProtobufError`] when the bytes are no message. What follows an error means nothing.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<(u32, Field<'a>)>, ProtobufError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let number = tag >> 3;
        if number == 0 || number > MAX_NUMBER {
            return Err(ProtobufError::Number { number });
        }
        let number = number as u32;
        let field = match tag & 7 {
            0 => Field::Varint(self.varint()?),
            1 => Field::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = self.varint()?;
                let length = usize::try_from(length).map_err(|_| ProtobufError::Truncated)?;
                let split = self.rest.split_at_checked(length);
                let (bytes, rest) = split.ok_or(ProtobufError::Truncated)?;
                self.rest = rest;
                Field::Bytes(bytes)
            }
            5 => Field::Fixed32(u32::from_le_bytes(self.array()?)),
            wire_type => {
                return Err(ProtobufError::WireType { number, wire_type: wire_type as u8 });
            }
        };
        Ok(Some((number, field)))
    }

    /// The bytes that have not been read.
    #[inline]
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, ProtobufError> {
        // Tags and lengths have one byte, nearly always.
        if let [byte @ ..0x80, rest @ ..] = self.rest {
            self.rest = rest;
            return Ok(u64::from(*byte));
        }
        self.long_varint()
    }

    fn long_varint(&mut self) -> Result<u64, ProtobufError> {
        let mut value = 0;
        for (index, &byte) in self.rest.iter().enumerate().take(10) {
            // The tenth byte has room for one bit.
            if index == 9 && byte > 1 {
                return Err(ProtobufError::Varint);
            }
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                self.rest = &self.rest[index + 1..];
                return Ok(value);
            }
        }
        Err(if self.rest.len() < 10 { ProtobufError::Truncated } else { ProtobufError::Varint })
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], ProtobufError> {
        let (array, rest) = self.rest.split_first_chunk().ok_or(ProtobufError::Truncated)?;
        self.rest = rest;
        Ok(*array)
    }
}

/// Each takes the name of the field, which an error is to say.
impl<'a> Field<'a> {
    /// An unsigned integer, or any other one as its 64 bits.
    #[inline]
    pub(crate) fn uint(self, name: &'static str) -> Result<u64, ProtobufError> {
        match self {
            Self::Varint(value) => Ok(value),
            other => Err(other.unexpected(name, "a varint")),
        }
    }

    /// A signed integer that is not zigzag-encoded: `int64`, `int32`, an enumeration.
    #[inline]
    pub(crate) fn int(self, name: &'static str) -> Result<i64, ProtobufError> {
        self.uint(name).map(u64::cast_signed)
    }

    /// A signed integer that is: `sint64`, `sint32`.
    #[inline]
    pub(crate) fn sint(self, name: &'static str) -> Result<i64, ProtobufError> {
        self.uint(name).map(zigzag)
    }

    /// A `double`.
    #[inline]
    pub(crate) fn double(self, name: &'static str) -> Result<f64, ProtobufError> {
        match self {
            Self::Fixed64(bits) => Ok(f64::from_bits(bits)),
            other => Err(other.unexpected(name, "a fixed64")),
        }
    }

    /// Bytes, or a message.
    #[inline]
    pub(crate) fn bytes(self, name: &'static str) -> Result<&'a [u8], ProtobufError> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            other => Err(other.unexpected(name, "length-delimited")),
        }
    }

    /// A string.
    #[inline]
    pub(crate) fn text(self, name: &'static str) -> Result<&'a str, ProtobufError> {
        std::str::from_utf8(self.bytes(name)?).map_err(|_| ProtobufError::Utf8 { name })
    }

    /// One part of a repeated integer, packed or not.
    #[inline]
    pub(crate) fn uints(self, name: &'static str) -> Result<Uints<'a>, ProtobufError> {
        match self {
            Self::Varint(one) => Ok(Uints { one: Some(one), packed: Reader::new(&[]) }),
            Self::Bytes(packed) => Ok(Uints { one: None, packed: Reader::new(packed) }),
            other => Err(other.unexpected(name, "packed varints")),
        }
    }

    /// One part of a repeated `double`, packed or not.
    pub(crate) fn doubles(
        self,
        name: &'static str,
    ) -> Result<impl Iterator<Item = f64> + 'a, ProtobufError> {
        let (one, packed) = match self {
            Self::Fixed64(bits) => (Some(bits), &[][..]),
            Self::Bytes(bytes) => {
                let (packed, rest) = bytes.as_chunks::<8>();
                if !rest.is_empty() {
                    return Err(ProtobufError::Packed { name, length: bytes.len() });
                }
                (None, packed)
            }
            other => return Err(other.unexpected(name, "packed fixed64s")),
        };
        let packed = packed.iter().map(|bytes| u64::from_le_bytes(*bytes));
        Ok(one.into_iter().chain(packed).map(f64::from_bits))
    }

    #[cold]
    fn unexpected(self, name: &'static str, expected: &'static str) -> ProtobufError {
        let found = match self {
            Self::Varint(_) => "a varint",
            Self::Fixed64(_) => "a fixed64",
            Self::Fixed32(_) => "a fixed32",
            Self::Bytes(_) => "length-delimited",
        };
        ProtobufError::Kind { name, found, expected }
    }
}

/// Integers of a repeated field; after an error there are no more.
#[derive(Clone, Debug)]
pub(crate) struct Uints<'a> {
    one: Option<u64>,
    packed: Reader<'a>,
}

impl Iterator for Uints<'_> {
    type Item = Result<u64, ProtobufError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if let Some(one) = self.one.take() {
            return Some(Ok(one));
        }
        if self.packed.rest.is_empty() {
            return None;
        }
        let next = self.packed.varint();
        if next.is_err() {
            self.packed.rest = &[];
        }
        Some(next)
    }
}

/// The signed integer that a `sint` holds as this unsigned one: 0, -1, 1, -2, and so on.
#[inline]
pub(crate) fn zigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

/// Appends the fields of a message to a buffer. A default value is written like any other: who
/// does not want it does not write it.
#[derive(Debug)]
pub(crate) struct Writer<'a> {
    into: &'a mut Vec<u8>,
}

impl<'a> Writer<'a> {
    /// Appends to `into`.
    pub(crate) fn new(into: &'a mut Vec<u8>) -> Self {
        Self { into }
    }

    /// An unsigned integer, or any other one as its 64 bits.
    pub(crate) fn uint(&mut self, number: u32, value: u64) {
        self.tag(number, 0);
        self.varint(value);
    }

    /// A signed integer that is not zigzag-encoded.
    pub(crate) fn int(&mut self, number: u32, value: i64) {
        self.uint(number, value.cast_unsigned());
    }

    /// A signed integer that is.
    pub(crate) fn sint(&mut self, number: u32, value: i64) {
        self.uint(number, unzigzag(value));
    }

    /// A `double`.
    pub(crate) fn double(&mut self, number: u32, value: f64) {
        self.tag(number, 1);
        self.into.extend_from_slice(&value.to_le_bytes());
    }

    /// Bytes, or a string.
    pub(crate) fn bytes(&mut self, number: u32, value: impl AsRef<[u8]>) {
        let value = value.as_ref();
        self.tag(number, 2);
        self.varint(value.len() as u64);
        self.into.extend_from_slice(value);
    }

    /// A message, whose fields `write` writes.
    pub(crate) fn message(&mut self, number: u32, write: impl FnOnce(&mut Writer<'_>)) {
        self.tag(number, 2);
        // One byte for the length; a longer one moves the message.
        let start = self.into.len() + 1;
        self.into.push(0);
        write(&mut Writer { into: self.into });
        let end = self.into.len();
        let (encoded, bytes) = encode((end - start) as u64);
        self.into.resize(end + bytes - 1, 0);
        self.into.copy_within(start..end, start + bytes - 1);
        self.into[start - 1..][..bytes].copy_from_slice(&encoded[..bytes]);
    }

    /// Integers, packed; none is no field at all.
    pub(crate) fn uints(&mut self, number: u32, values: impl IntoIterator<Item = u64>) {
        let mut values = values.into_iter().peekable();
        if values.peek().is_some() {
            self.message(number, |packed| values.for_each(|value| packed.varint(value)));
        }
    }

    /// Integers, zigzag-encoded and packed; none is no field at all.
    pub(crate) fn sints(&mut self, number: u32, values: impl IntoIterator<Item = i64>) {
        self.uints(number, values.into_iter().map(unzigzag));
    }

    /// `double`s, packed; none is no field at all.
    pub(crate) fn doubles(&mut self, number: u32, values: impl IntoIterator<Item = f64>) {
        let mut values = values.into_iter().peekable();
        if values.peek().is_some() {
            self.message(number, |packed| {
                values.for_each(|value| packed.into.extend_from_slice(&value.to_le_bytes()));
            });
        }
    }

    fn tag(&mut self, number: u32, wire_type: u64) {
        self.varint(u64::from(number) << 3 | wire_type);
    }

    fn varint(&mut self, value: u64) {
        let (encoded, bytes) = encode(value);
        self.into.extend_from_slice(&encoded[..bytes]);
    }
}

/// An integer as a varint, and how many bytes of it count.
fn encode(mut value: u64) -> ([u8; 10], usize) {
    let (mut encoded, mut bytes) = ([0; 10], 1);
    while value >= 0x80 {
        encoded[bytes - 1] = value as u8 | 0x80;
        value >>= 7;
        bytes += 1;
    }
    encoded[bytes - 1] = value as u8;
    (encoded, bytes)
}

fn unzigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63).cast_unsigned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(&mut Writer::new(&mut bytes));
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Vec<(u32, Field<'_>)>, ProtobufError> {
        let mut reader = Reader::new(bytes);
        std::iter::from_fn(|| reader.next().transpose()).collect()
    }

    #[test]
    fn the_examples_of_the_specification_read_and_write_as_it_says() {
        assert_eq!(read(&[0x08, 0x96, 0x01]), Ok(vec![(1, Field::Varint(150))]));
        assert_eq!(written(|w| w.uint(1, 150)), [0x08, 0x96, 0x01]);
        let testing = [0x12, 0x07, b't', b'e', b's', b't', b'i', b'n', b'g'];
        assert_eq!(read(&testing), Ok(vec![(2, Field::Bytes(b"testing"))]));
        assert_eq!(written(|w| w.bytes(2, "testing")), testing);
        assert_eq!(written(|w| w.message(3, |w| w.uint(1, 150))), [0x1a, 3, 0x08, 0x96, 0x01]);
        let packed = [0x32, 6, 3, 0x8e, 2, 0x9e, 0xa7, 5];
        assert_eq!(written(|w| w.uints(6, [3, 270, 86942])), packed);
        let fields = read(&packed).unwrap();
        let values: Result<Vec<_>, _> = fields[0].1.uints("f").unwrap().collect();
        assert_eq!(values, Ok(vec![3, 270, 86942]));
        assert_eq!([0, 1, 2, 3, u64::MAX].map(zigzag), [0, -1, 1, -2, i64::MIN]);
    }

    #[test]
    fn a_message_of_any_length_has_its_length_before_it() {
        for length in [0, 1, 127, 128, 129, 16_383, 16_384, 2_097_152] {
            let text = vec![b'x'; length];
            let inner = written(|w| w.bytes(7, &text));
            let outer = written(|w| {
                w.uint(1, 1);
                w.message(2, |w| w.bytes(7, &text));
                w.uint(3, 3);
            });
            let fields =
                vec![(1, Field::Varint(1)), (2, Field::Bytes(&inner)), (3, Field::Varint(3))];
            assert_eq!(read(&outer), Ok(fields), "{length}");
        }
    }

    #[test]
    fn what_is_no_message_is_refused_with_the_reason() {
        let too_long = [0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2];
        for (bytes, error) in [
            (&[0x08][..], ProtobufError::Truncated),
            (&[0x09, 1, 2, 3, 4, 5, 6, 7], ProtobufError::Truncated),
            (&[0x0d, 1, 2, 3], ProtobufError::Truncated),
            (&[0x12, 0xff, 0xff, 0xff, 0xff, 0x0f], ProtobufError::Truncated),
            (&too_long, ProtobufError::Varint),
            (&[0x80; 12], ProtobufError::Varint),
            (&[0x00, 1], ProtobufError::Number { number: 0 }),
            (&[0x80, 0x80, 0x80, 0x80, 0x10], ProtobufError::Number { number: 1 << 29 }),
            (&[0x0b], ProtobufError::WireType { number: 1, wire_type: 3 }),
            (&[0x0f], ProtobufError::WireType { number: 1, wire_type: 7 }),
        ] {
            assert_eq!(read(bytes), Err(error), "{bytes:x?}");
        }
        let kind = Field::Varint(1).double("value").unwrap_err().to_string();
        assert_eq!(kind, "value is a varint where a fixed64 was expected");
        assert_eq!(Field::Bytes(&[0xff]).text("name"), Err(ProtobufError::Utf8 { name: "name" }));
        assert!(Field::Bytes(&[0; 9]).doubles("counts").is_err());
        let broken: Vec<_> = Field::Bytes(&[1, 0x80]).uints("refs").unwrap().collect();
        assert_eq!(broken, [Ok(1), Err(ProtobufError::Truncated)]);
    }

    proptest! {
        #[test]
        fn what_is_written_reads_the_same(
            number in 1u32..1 << 29, uint: u64, int: i64, bits: u64, bytes: Vec<u8>, ints: Vec<i64>,
        ) {
            let doubles: Vec<f64> = ints.iter().map(|&int| int as f64).collect();
            let message = written(|w| {
                w.uint(number, uint);
                w.int(number, int);
                w.sint(number, int);
                w.double(number, f64::from_bits(bits));
                w.bytes(number, &bytes);
                w.sints(number, ints.iter().copied());
                w.doubles(number, doubles.iter().copied());
            });
            let fields = read(&message).unwrap();
            prop_assert!(fields.iter().all(|(read, _)| *read == number));
            let fields: Vec<_> = fields.into_iter().map(|(_, field)| field).collect();
            prop_assert_eq!(fields[0].uint("f"), Ok(uint));
            prop_assert_eq!(fields[1].int("f"), Ok(int));
            prop_assert_eq!(fields[2].sint("f"), Ok(int));
            prop_assert_eq!(fields[3], Field::Fixed64(bits));
            prop_assert_eq!(fields[4].bytes("f"), Ok(&bytes[..]));
            if !ints.is_empty() {
                let read: Result<Vec<_>, _> =
                    fields[5].uints("f").unwrap().map(|v| v.map(zigzag)).collect();
                prop_assert_eq!(read, Ok(ints));
                prop_assert_eq!(fields[6].doubles("f").unwrap().collect::<Vec<_>>(), doubles);
            }
        }

        #[test]
        fn no_bytes_make_a_reader_panic(bytes: Vec<u8>) {
            let _ = read(&bytes);
        }
    }
}
