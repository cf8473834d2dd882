//! Writes JSON as protobuf, by a table of the messages of OTLP.

use serde_json::Value as Json;

/// Message, field in JSON, number, type; those with `[]` are packed.
const SCHEMA: &str = "
    Export resourceMetrics 1 ResourceMetrics
    ResourceMetrics resource 1 Resource
    ResourceMetrics scopeMetrics 2 ScopeMetrics
    ResourceMetrics schemaUrl 3 string
    Resource attributes 1 KeyValue
    ScopeMetrics scope 1 Scope
    ScopeMetrics metrics 2 Metric
    Scope name 1 string
    Metric name 1 string
    Metric description 2 string
    Metric unit 3 string
    Metric gauge 5 Numbers
    Metric sum 7 Numbers
    Metric histogram 9 Histogram
    Metric exponentialHistogram 10 Exponential
    Metric summary 11 Summary
    Numbers dataPoints 1 NumberPoint
    Numbers aggregationTemporality 2 varint
    Numbers isMonotonic 3 bool
    Histogram dataPoints 1 HistogramPoint
    Histogram aggregationTemporality 2 varint
    Exponential dataPoints 1 ExponentialPoint
    Exponential aggregationTemporality 2 varint
    Summary dataPoints 1 SummaryPoint
    NumberPoint attributes 7 KeyValue
    NumberPoint timeUnixNano 3 fixed64
    NumberPoint asDouble 4 double
    NumberPoint asInt 6 fixed64
    NumberPoint exemplars 5 Exemplar
    NumberPoint flags 8 varint
    HistogramPoint attributes 9 KeyValue
    HistogramPoint timeUnixNano 3 fixed64
    HistogramPoint count 4 fixed64
    HistogramPoint sum 5 double
    HistogramPoint bucketCounts 6 fixed64[]
    HistogramPoint explicitBounds 7 double[]
    HistogramPoint exemplars 8 Exemplar
    HistogramPoint flags 10 varint
    ExponentialPoint attributes 1 KeyValue
    ExponentialPoint timeUnixNano 3 fixed64
    ExponentialPoint count 4 fixed64
    ExponentialPoint sum 5 double
    ExponentialPoint scale 6 sint
    ExponentialPoint zeroCount 7 fixed64
    ExponentialPoint positive 8 Buckets
    ExponentialPoint negative 9 Buckets
    ExponentialPoint flags 10 varint
    ExponentialPoint exemplars 11 Exemplar
    ExponentialPoint zeroThreshold 14 double
    Buckets offset 1 sint
    Buckets bucketCounts 2 varint[]
    SummaryPoint attributes 7 KeyValue
    SummaryPoint timeUnixNano 3 fixed64
    SummaryPoint count 4 fixed64
    SummaryPoint sum 5 double
    SummaryPoint quantileValues 6 Quantile
    SummaryPoint flags 8 varint
    Quantile quantile 1 double
    Quantile value 2 double
    Exemplar filteredAttributes 7 KeyValue
    Exemplar timeUnixNano 2 fixed64
    Exemplar asDouble 3 double
    Exemplar asInt 6 fixed64
    Exemplar spanId 4 hex
    Exemplar traceId 5 hex
    KeyValue key 1 string
    KeyValue value 2 AnyValue
    AnyValue stringValue 1 string
    AnyValue boolValue 2 bool
    AnyValue intValue 3 varint
    AnyValue doubleValue 4 double
    AnyValue arrayValue 5 Array
    AnyValue kvlistValue 6 Map
    AnyValue bytesValue 7 base64
    Array values 1 AnyValue
    Map values 1 KeyValue
";

/// The message that `json` says.
pub(super) fn to_protobuf(message: &str, json: &Json) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in json.as_object().unwrap() {
        let field = SCHEMA.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let field = field.into_iter().find(|f| f.len() == 4 && f[0] == message && f[1] == name);
        let Some(field) = field else { panic!("{message} has no {name}") };
        let (number, kind) = (field[2].parse().unwrap(), field[3]);
        match (kind.strip_suffix("[]"), value) {
            (Some(kind), Json::Array(values)) => {
                let packed: Vec<_> = values.iter().flat_map(|v| scalar(kind, v).1).collect();
                out.extend(nested(number, &packed));
            }
            (None, Json::Array(values)) => {
                values.iter().for_each(|value| write(&mut out, number, kind, value));
            }
            (_, Json::Null) => {}
            _ => write(&mut out, number, kind, value),
        }
    }
    out
}

/// A field with bytes in it.
pub(super) fn nested(number: u64, bytes: &[u8]) -> Vec<u8> {
    [varint(number << 3 | 2), varint(bytes.len() as u64), bytes.to_vec()].concat()
}

fn write(out: &mut Vec<u8>, number: u64, kind: &str, value: &Json) {
    if kind.starts_with(|c: char| c.is_ascii_uppercase()) {
        out.extend(nested(number, &to_protobuf(kind, value)));
        return;
    }
    let (wire_type, bytes) = scalar(kind, value);
    if wire_type == 2 {
        out.extend(nested(number, &bytes));
    } else {
        out.extend(varint(number << 3 | wire_type));
        out.extend(bytes);
    }
}

/// The wire type and the bytes of a value.
fn scalar(kind: &str, value: &Json) -> (u64, Vec<u8>) {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let int = || text.parse::<i128>().unwrap() as u64;
    match kind {
        "string" => (2, text.into_bytes()),
        "hex" => {
            let digits = (0..text.len()).step_by(2);
            (2, digits.map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect())
        }
        "base64" => {
            assert_eq!(text, "Zm8=", "the one that tests use");
            (2, b"fo".to_vec())
        }
        "bool" => (0, vec![u8::from(text == "true")]),
        "varint" => (0, varint(int())),
        "sint" => {
            let int = text.parse::<i64>().unwrap();
            (0, varint((int << 1 ^ int >> 63) as u64))
        }
        "fixed64" => (1, int().to_le_bytes().to_vec()),
        "double" => (1, text.parse::<f64>().unwrap().to_le_bytes().to_vec()),
        other => panic!("no type {other}"),
    }
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}
