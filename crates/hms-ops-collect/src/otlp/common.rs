//! What the signals of OTLP share: attributes, and how JSON writes numbers, ids and what is absent.
//!
//! Source: *OpenTelemetry Protocol 1.x*, `common.proto` and "JSON Protobuf Encoding".

use std::borrow::Cow;
use std::str::FromStr;

use hms_ops_core::exposition::edge_label;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use serde_json::value::RawValue;

use crate::exposition::excerpt;

/// How many attributes are kept, of a span or of a point.
pub(super) const MAX_ATTRIBUTES: usize = 64;
/// The longest name, in bytes.
pub(super) const MAX_NAME_BYTES: usize = 256;
/// The longest text that is a value, in bytes.
pub(super) const MAX_TEXT_BYTES: usize = 4096;

/// A key and its value.
#[derive(Debug, Deserialize)]
pub(super) struct Attribute<'a> {
    #[serde(borrow)]
    pub(super) key: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "or_default")]
    pub(super) value: AnyValue<'a>,
}

/// The value of an attribute. Bytes are text already, in base64.
#[derive(Debug, Default)]
pub(super) enum AnyValue<'a> {
    #[default]
    Empty,
    Text(Cow<'a, str>),
    Bool(bool),
    Int(i64),
    Double(f64),
    List(Vec<AnyValue<'a>>),
    Map(Vec<Attribute<'a>>),
}

impl AnyValue<'_> {
    /// The value as a label has it: text as it is, numbers in decimal, lists and maps in JSON.
    pub(super) fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Empty => Cow::Borrowed(""),
            Self::Text(text) => Cow::Borrowed(text),
            Self::Bool(true) => Cow::Borrowed("true"),
            Self::Bool(false) => Cow::Borrowed("false"),
            Self::Int(int) => Cow::Owned(int.to_string()),
            Self::Double(double) => Cow::Owned(edge_label(*double)),
            Self::List(_) | Self::Map(_) => Cow::Owned(self.json().to_string()),
        }
    }

    /// As deep as what it was read from, which had a limit.
    fn json(&self) -> serde_json::Value {
        match self {
            Self::Empty => serde_json::Value::Null,
            Self::Text(text) => (&**text).into(),
            Self::Bool(bool) => (*bool).into(),
            Self::Int(int) => (*int).into(),
            Self::Double(double) => (*double).into(),
            Self::List(values) => values.iter().map(Self::json).collect(),
            Self::Map(attributes) => {
                attributes.iter().map(|a| (a.key.clone().into_owned(), a.value.json())).collect()
            }
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for AnyValue<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Fields<'a> {
            #[serde(borrow)]
            string_value: Option<Cow<'a, str>>,
            bool_value: Option<bool>,
            int_value: Option<Number<i64>>,
            double_value: Option<Number<f64>>,
            #[serde(borrow)]
            array_value: Option<Values<AnyValue<'a>>>,
            #[serde(borrow)]
            kvlist_value: Option<Values<Attribute<'a>>>,
            #[serde(borrow)]
            bytes_value: Option<Cow<'a, str>>,
        }

        #[derive(Deserialize)]
        #[serde(bound(deserialize = "T: Deserialize<'de>"))]
        struct Values<T> {
            #[serde(default, deserialize_with = "or_default")]
            values: Vec<T>,
        }

        let fields = Fields::deserialize(deserializer)?;
        let value = (fields.string_value.map(AnyValue::Text))
            .or(fields.bool_value.map(AnyValue::Bool))
            .or(fields.int_value.map(|int| AnyValue::Int(int.0)))
            .or(fields.double_value.map(|double| AnyValue::Double(double.0)))
            .or(fields.array_value.map(|array| AnyValue::List(array.values)))
            .or(fields.kvlist_value.map(|map| AnyValue::Map(map.values)))
            .or(fields.bytes_value.map(AnyValue::Text));
        Ok(value.unwrap_or_default())
    }
}

/// A number that may be written as text.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Number<T>(pub(super) T);

impl<'de, T: FromStr> Deserialize<'de> for Number<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // As written: the detour over JSON's own numbers would not be exact.
        let text = <&RawValue>::deserialize(deserializer)?.get().trim_matches('"');
        let number = text
            .parse()
            .map_err(|_| D::Error::custom(format!("{} is not a number", excerpt(text))))?;
        Ok(Self(number))
    }
}

/// An id, in digits of either case.
pub(super) fn id<T: FromStr, E: serde::de::Error>(field: &str, text: &str) -> Result<T, E> {
    let bad = |_| E::custom(format!("{field} {} is not an id", excerpt(text)));
    text.to_ascii_lowercase().parse().map_err(bad)
}

/// JSON's `null` is a field left out.
pub(super) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_any_type_has_a_text() {
        for (json, text) in [
            (r#"{"stringValue":"a"}"#, "a"),
            (r#"{"boolValue":true}"#, "true"),
            (r#"{"intValue":"-7"}"#, "-7"),
            (r#"{"doubleValue":0.5}"#, "0.5"),
            (r#"{"doubleValue":"Infinity"}"#, "+Inf"),
            (r#"{"bytesValue":"Zg=="}"#, "Zg=="),
            (
                r#"{"arrayValue":{"values":[{"intValue":1},{"stringValue":"\"x"},{}]}}"#,
                r#"[1,"\"x",null]"#,
            ),
            (
                r#"{"kvlistValue":{"values":[{"key":"b","value":{"doubleValue":1.5}},{"key":"a"}]}}"#,
                r#"{"a":null,"b":1.5}"#,
            ),
            (r#"{"arrayValue":{}}"#, "[]"),
            ("{}", ""),
        ] {
            let value: AnyValue<'_> = serde_json::from_str(json).unwrap();
            assert_eq!(value.text(), text, "{json}");
        }
    }
}
