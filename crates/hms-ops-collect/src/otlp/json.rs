//! The mapping of spans to OTLP's JSON: ids in hexadecimal, 64-bit integers as text, enumerations
//! as numbers.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use hms_ops_core::span::{AttributeValue, SpanId, SpanKind, SpanRecord, SpanStatus, TraceId};
use serde::de::Deserializer;
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};

use super::MAX_BODY_BYTES;
use super::common::{
    AnyValue, Attribute, MAX_ATTRIBUTES, MAX_NAME_BYTES, MAX_TEXT_BYTES, Number, id, or_default,
};
use crate::exposition::excerpt;

const SERVICE_NAME: &str = "service.name";
const UNKNOWN_SERVICE: &str = "unknown_service";
/// Every span carries it, so a body must not be able to choose a long one for many.
const MAX_SERVICE_BYTES: usize = 256;

/// Why a body is not an export of spans.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each message explains its fields")]
pub enum OtlpError {
    /// Nothing of it was read.
    #[error("the body has {bytes} bytes, the limit is {MAX_BODY_BYTES}")]
    TooLong { bytes: usize },

    /// Not JSON, or not what OTLP puts into it.
    #[error(transparent)]
    Json(#[from] serde_json::Error),

    /// The name of a service is no name.
    #[error("{SERVICE_NAME} {excerpt} has more than {MAX_SERVICE_BYTES} bytes")]
    Service { excerpt: String },
}

/// Writes spans as the body of one export, by service.
///
/// ```
/// use hms_ops_collect::otlp::{decode, encode};
///
/// assert_eq!(decode(&encode(&[]))?, []);
/// # Ok::<(), hms_ops_collect::otlp::OtlpError>(())
/// ```
pub fn encode(spans: &[SpanRecord]) -> Vec<u8> {
    let mut services: BTreeMap<&str, Vec<SpanOut<'_>>> = BTreeMap::new();
    for span in spans {
        services.entry(&span.service).or_default().push(SpanOut::of(span));
    }
    let resource_spans = services.into_iter().map(|(service, spans)| ResourceSpansOut {
        resource: ResourceOut { attributes: [AttributeOut::text(SERVICE_NAME, service)] },
        scope_spans: [ScopeSpansOut { spans }],
    });
    serde_json::to_vec(&ExportOut { resource_spans: resource_spans.collect() })
        .expect("no map key is anything but text")
}

/// Reads the spans of one export. Fields that are not known are skipped; of a resource only
/// `service.name` is kept.
///
/// A span keeps its first 64 attributes, 256 bytes of its name and of each key, and 4 KiB of each
/// text and of its status message; the rest is cut off.
///
/// # Errors
///
/// [`OtlpError`]; one span that cannot be right makes the whole body wrong.
pub fn decode(body: &[u8]) -> Result<Vec<SpanRecord>, OtlpError> {
    if body.len() > MAX_BODY_BYTES {
        return Err(OtlpError::TooLong { bytes: body.len() });
    }
    let export: ExportIn = serde_json::from_slice(body)?;
    let mut records = Vec::new();
    for resource_spans in export.resource_spans {
        let mut attributes = resource_spans.resource.attributes.into_iter();
        let service = attributes.find_map(|AttributeIn(name, value)| match value {
            AttributeValue::Text(service) if name == SERVICE_NAME => Some(service),
            _ => None,
        });
        let service = service.unwrap_or(Cow::Borrowed(UNKNOWN_SERVICE));
        if service.len() > MAX_SERVICE_BYTES {
            return Err(OtlpError::Service { excerpt: excerpt(&service) });
        }
        let spans = resource_spans.scope_spans.into_iter().flat_map(|scope| scope.spans);
        records.extend(spans.map(|SpanIn(mut span)| {
            bound(&mut span);
            SpanRecord { service: service.clone(), ..span }
        }));
    }
    Ok(records)
}

/// Cuts what is longer than a store wants to keep: it counts spans, not their bytes.
fn bound(span: &mut SpanRecord) {
    cut(&mut span.name, MAX_NAME_BYTES);
    span.attributes.truncate(MAX_ATTRIBUTES);
    span.attributes.shrink_to_fit();
    for (key, value) in &mut span.attributes {
        cut(key, MAX_NAME_BYTES);
        if let AttributeValue::Text(text) = value {
            cut(text, MAX_TEXT_BYTES);
        }
    }
    if let SpanStatus::Error(message) = &mut span.status {
        cut(message, MAX_TEXT_BYTES);
    }
}

fn cut(text: &mut Cow<'static, str>, max: usize) {
    if text.len() > max {
        let end = text.floor_char_boundary(max);
        *text = Cow::Owned(text[..end].to_owned());
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ExportOut<'a> {
    resource_spans: Vec<ResourceSpansOut<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResourceSpansOut<'a> {
    resource: ResourceOut<'a>,
    scope_spans: [ScopeSpansOut<'a>; 1],
}

#[derive(Serialize)]
struct ResourceOut<'a> {
    attributes: [AttributeOut<'a>; 1],
}

#[derive(Serialize)]
struct ScopeSpansOut<'a> {
    spans: Vec<SpanOut<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SpanOut<'a> {
    trace_id: TraceId,
    span_id: SpanId,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_span_id: Option<SpanId>,
    name: &'a str,
    kind: u8,
    start_time_unix_nano: String,
    end_time_unix_nano: String,
    attributes: Vec<AttributeOut<'a>>,
    status: StatusOut<'a>,
}

#[derive(Serialize)]
struct StatusOut<'a> {
    code: u8,
    #[serde(skip_serializing_if = "str::is_empty")]
    message: &'a str,
}

#[derive(Serialize)]
struct AttributeOut<'a> {
    key: &'a str,
    value: ValueOut<'a>,
}

enum ValueOut<'a> {
    Text(&'a str),
    Attribute(&'a AttributeValue),
}

impl<'a> SpanOut<'a> {
    fn of(span: &'a SpanRecord) -> Self {
        let duration = u64::try_from(span.duration.as_nanos()).unwrap_or(u64::MAX);
        let attributes = span.attributes.iter();
        Self {
            trace_id: span.trace_id,
            span_id: span.span_id,
            parent_span_id: span.parent_id,
            name: &span.name,
            kind: match span.kind {
                SpanKind::Internal => 1,
                SpanKind::Server => 2,
                SpanKind::Client => 3,
                SpanKind::Producer => 4,
                SpanKind::Consumer => 5,
            },
            start_time_unix_nano: span.start_ns.to_string(),
            end_time_unix_nano: span.start_ns.saturating_add(duration).to_string(),
            attributes: attributes
                .map(|(key, value)| AttributeOut { key, value: ValueOut::Attribute(value) })
                .collect(),
            status: match &span.status {
                SpanStatus::Unset => StatusOut { code: 0, message: "" },
                SpanStatus::Ok => StatusOut { code: 1, message: "" },
                SpanStatus::Error(message) => StatusOut { code: 2, message },
            },
        }
    }
}

impl<'a> AttributeOut<'a> {
    fn text(key: &'a str, value: &'a str) -> Self {
        Self { key, value: ValueOut::Text(value) }
    }
}

impl Serialize for ValueOut<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        match *self {
            Self::Text(text) => map.serialize_entry("stringValue", text)?,
            Self::Attribute(AttributeValue::Text(text)) => {
                map.serialize_entry("stringValue", text)?
            }
            Self::Attribute(AttributeValue::Bool(bool)) => {
                map.serialize_entry("boolValue", bool)?
            }
            Self::Attribute(AttributeValue::Int(int)) => {
                map.serialize_entry("intValue", &int.to_string())?;
            }
            Self::Attribute(AttributeValue::Float(float)) if float.is_finite() => {
                map.serialize_entry("doubleValue", float)?;
            }
            Self::Attribute(AttributeValue::Float(float)) => {
                let name = match float {
                    float if float.is_nan() => "NaN",
                    float if *float > 0.0 => "Infinity",
                    _ => "-Infinity",
                };
                map.serialize_entry("doubleValue", name)?;
            }
        }
        map.end()
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExportIn {
    #[serde(default, deserialize_with = "or_default")]
    resource_spans: Vec<ResourceSpansIn>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResourceSpansIn {
    #[serde(default, deserialize_with = "or_default")]
    resource: ResourceIn,
    #[serde(default, deserialize_with = "or_default")]
    scope_spans: Vec<ScopeSpansIn>,
}

#[derive(Default, Deserialize)]
struct ResourceIn {
    #[serde(default, deserialize_with = "or_default")]
    attributes: Vec<AttributeIn>,
}

#[derive(Deserialize)]
struct ScopeSpansIn {
    #[serde(default, deserialize_with = "or_default")]
    spans: Vec<SpanIn>,
}

/// A span; its service is not known yet.
struct SpanIn(SpanRecord);

/// An attribute with its value.
struct AttributeIn(String, AttributeValue);

impl<'de> Deserialize<'de> for SpanIn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Fields {
            #[serde(default, deserialize_with = "or_default")]
            trace_id: String,
            #[serde(default, deserialize_with = "or_default")]
            span_id: String,
            #[serde(default, deserialize_with = "or_default")]
            parent_span_id: String,
            #[serde(default, deserialize_with = "or_default")]
            name: String,
            #[serde(default, deserialize_with = "or_default")]
            kind: u8,
            #[serde(default, deserialize_with = "or_default")]
            start_time_unix_nano: Number<u64>,
            #[serde(default, deserialize_with = "or_default")]
            end_time_unix_nano: Number<u64>,
            #[serde(default, deserialize_with = "or_default")]
            attributes: Vec<AttributeIn>,
            #[serde(default, deserialize_with = "or_default")]
            status: Status,
        }

        #[derive(Default, Deserialize)]
        struct Status {
            #[serde(default, deserialize_with = "or_default")]
            code: u8,
            #[serde(default, deserialize_with = "or_default")]
            message: String,
        }

        let fields = Fields::deserialize(deserializer)?;
        let trace_id = id("traceId", &fields.trace_id)?;
        let span_id = id("spanId", &fields.span_id)?;
        let parent_id = match fields.parent_span_id.as_str() {
            // Some write no parent as zeros.
            text if text.bytes().all(|digit| digit == b'0') => None,
            text => Some(id("parentSpanId", text)?),
        };
        let (start_ns, end_ns) = (fields.start_time_unix_nano.0, fields.end_time_unix_nano.0);
        Ok(Self(SpanRecord {
            trace_id,
            span_id,
            parent_id,
            service: Cow::Borrowed(UNKNOWN_SERVICE),
            name: fields.name.into(),
            kind: match fields.kind {
                2 => SpanKind::Server,
                3 => SpanKind::Client,
                4 => SpanKind::Producer,
                5 => SpanKind::Consumer,
                _ => SpanKind::Internal,
            },
            start_ns,
            duration: Duration::from_nanos(end_ns.saturating_sub(start_ns)),
            status: match fields.status.code {
                1 => SpanStatus::Ok,
                2 => SpanStatus::Error(fields.status.message.into()),
                _ => SpanStatus::Unset,
            },
            attributes: fields
                .attributes
                .into_iter()
                .map(|AttributeIn(key, value)| (key.into(), value))
                .collect(),
        }))
    }
}

impl<'de> Deserialize<'de> for AttributeIn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Attribute { key, value } = Attribute::deserialize(deserializer)?;
        let value = match value {
            AnyValue::Bool(bool) => AttributeValue::Bool(bool),
            AnyValue::Int(int) => AttributeValue::Int(int),
            AnyValue::Double(double) => AttributeValue::Float(double),
            AnyValue::Text(text) => AttributeValue::Text(text.into_owned().into()),
            other => AttributeValue::Text(other.text().into_owned().into()),
        };
        Ok(Self(key.into_owned(), value))
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    use super::*;

    /// The example of the specification, shortened, with what other senders do differently.
    const EXPORT: &str = r#"{"resourceSpans": [{
        "resource": {"attributes": [
            {"key": "host.name", "value": {"stringValue": "h"}},
            {"key": "service.name", "value": {"stringValue": "my.service"}}
        ]},
        "scopeSpans": [{"scope": {"name": "my.library", "version": "1.0.0"}, "spans": [{
            "traceId": "5B8EFFF798038103D269B633813FC60C",
            "spanId": "EEE19B7EC3C1B174",
            "parentSpanId": "EEE19B7EC3C1B173",
            "name": "I'm a server span",
            "startTimeUnixNano": "1544712660000000000",
            "endTimeUnixNano": 1544712661000000000,
            "kind": 2,
            "attributes": [
                {"key": "s", "value": {"stringValue": "v"}},
                {"key": "i", "value": {"intValue": "-7"}},
                {"key": "j", "value": {"intValue": 7}},
                {"key": "d", "value": {"doubleValue": 6.2222701341780365e60}},
                {"key": "inf", "value": {"doubleValue": "-Infinity"}},
                {"key": "b", "value": {"boolValue": true}},
                {"key": "l", "value": {"arrayValue": {"values": [{"intValue": "1"}]}}},
                {"key": "empty", "value": {}}
            ],
            "links": null, "status": {"code": 2, "message": "no"}, "aNewField": {}
        }]}]
    }]}"#;

    #[test]
    fn a_span_keeps_no_more_than_its_bounds() {
        let mut attributes: Vec<_> = (0..100).map(|i| attribute(&format!("k{i}"), "v")).collect();
        attributes[0] = attribute(&"k".repeat(1000), &"ü".repeat(5000));
        let body = format!(
            r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{
                "traceId":"4bf92f3577b34da6a3ce929d0e0e4736","spanId":"00f067aa0ba902b7",
                "name":"{}","startTimeUnixNano":"1","endTimeUnixNano":"2",
                "status":{{"code":2,"message":"{}"}},"attributes":[{}]}}]}}]}}]}}"#,
            "n".repeat(1000),
            "m".repeat(9000),
            attributes.join(",")
        );
        let span = decode(body.as_bytes()).unwrap().remove(0);
        assert_eq!((span.name.len(), span.attributes.len()), (256, 64));
        assert_eq!(span.attributes.capacity(), 64);
        let (key, value) = &span.attributes[0];
        let AttributeValue::Text(text) = value else { panic!("{value:?}") };
        assert_eq!((key.len(), text.len()), (256, 4096));
        let SpanStatus::Error(message) = span.status else { panic!("{:?}", span.status) };
        assert_eq!(message.len(), 4096);
    }

    fn attribute(key: &str, value: &str) -> String {
        format!(r#"{{"key":"{key}","value":{{"stringValue":"{value}"}}}}"#)
    }

    #[test]
    fn the_specifications_example_is_understood() {
        let spans = decode(EXPORT.as_bytes()).unwrap();
        let [span] = &spans[..] else { panic!("{spans:?}") };
        assert_eq!(span.trace_id.to_string(), "5b8efff798038103d269b633813fc60c");
        assert_eq!(span.parent_id.unwrap().to_string(), "eee19b7ec3c1b173");
        assert_eq!((&*span.service, &*span.name), ("my.service", "I'm a server span"));
        assert_eq!((span.kind, span.duration), (SpanKind::Server, Duration::from_secs(1)));
        assert_eq!(span.status, SpanStatus::Error("no".into()));
        let values: Vec<_> = span.attributes.iter().map(|(_, value)| value.clone()).collect();
        assert_eq!(
            values,
            [
                AttributeValue::Text("v".into()),
                AttributeValue::Int(-7),
                AttributeValue::Int(7),
                AttributeValue::Float(6.222_270_134_178_036_5e60),
                AttributeValue::Float(f64::NEG_INFINITY),
                AttributeValue::Bool(true),
                AttributeValue::Text("[1]".into()),
                AttributeValue::Text("".into()),
            ]
        );
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let export = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[
            {"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","parentSpanId":""},
            {"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b175","parentSpanId":"0000000000000000"}
        ]}]},{}]}"#;
        let span = decode(export.as_bytes()).unwrap().remove(0);
        assert_eq!(&*span.service, "unknown_service");
        assert_eq!(
            (span.parent_id, span.kind, span.status),
            (None, SpanKind::Internal, SpanStatus::Unset)
        );
        assert_eq!(decode(b"{}").unwrap(), []);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let spans = |span: &str| {
            format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{span}]}}]}}]}}"#)
        };
        for (body, reason) in [
            (spans("{}"), r#"traceId "" is not an id at line 1 column"#),
            (spans(r#"{"traceId":"zz"}"#), r#"traceId "zz" is not an id at line 1"#),
            (spans(r#"{"startTimeUnixNano":"x"}"#), r#""x" is not a number at line 1"#),
            (spans(r#"{"attributes":[{}]}"#), "missing field `key` at line 1"),
            ("[".to_owned(), "EOF while parsing"),
            (" ".repeat(MAX_BODY_BYTES + 1), "the body has 4194305 bytes, the limit is 4194304"),
            (EXPORT.replace("my.service", &"x".repeat(257)), "service.name \"xxx"),
        ] {
            let error = decode(body.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with(reason), "{error}");
        }
    }

    fn value() -> impl Strategy<Value = AttributeValue> {
        prop_oneof![
            any::<bool>().prop_map(AttributeValue::Bool),
            any::<i64>().prop_map(AttributeValue::Int),
            any::<f64>()
                .prop_filter("equal to itself", |f| !f.is_nan())
                .prop_map(AttributeValue::Float),
            ".{0,8}".prop_map(|text| AttributeValue::Text(text.into())),
        ]
    }

    prop_compose! {
        fn span()(
            ids in (1_u128.., 1_u64.., option::of(1_u64..)),
            texts in ("[ab]", ".{0,8}"),
            kind in prop_oneof![
                Just(SpanKind::Internal), Just(SpanKind::Server), Just(SpanKind::Client),
                Just(SpanKind::Producer), Just(SpanKind::Consumer),
            ],
            times in (0..u64::MAX / 2, 0..u64::MAX / 2),
            status in prop_oneof![
                Just(SpanStatus::Unset), Just(SpanStatus::Ok), ".{0,8}".prop_map(|m| SpanStatus::Error(m.into())),
            ],
            attributes in vec((".{0,4}", value()), 0..4),
        ) -> SpanRecord {
            SpanRecord {
                trace_id: TraceId::new(ids.0).unwrap(),
                span_id: SpanId::new(ids.1).unwrap(),
                parent_id: ids.2.and_then(SpanId::new),
                service: texts.0.into(),
                name: texts.1.into(),
                kind,
                start_ns: times.0,
                duration: Duration::from_nanos(times.1),
                status,
                attributes: attributes.into_iter().map(|(k, v)| (k.into(), v)).collect(),
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded_by_service(mut spans in vec(span(), 0..5)) {
            let decoded = decode(&encode(&spans)).unwrap();
            spans.sort_by_key(|span| span.service.clone());
            prop_assert_eq!(decoded, spans);
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(body in vec(any::<u8>(), 0..100)) {
            let _ = decode(&body);
        }
    }
}
