//! The answer to a query, out of the JSON that the API gives; a sample is one at once.
//!
//! Source: "HTTP API" of the Prometheus documentation, "Expression query result formats".

use std::collections::BTreeMap;

use hms_ops_core::labels::Labels;
use hms_ops_core::query::{Answer, Data};
use hms_ops_core::sample::{Sample, Value};
use hms_ops_core::time::Timestamp;
use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny};
use serde_json::value::RawValue;

#[derive(Deserialize)]
struct Said<'a> {
    #[serde(borrow)]
    data: Told<'a>,
    warnings: Option<Vec<String>>,
    infos: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Told<'a> {
    result_type: &'a str,
    #[serde(borrow)]
    result: &'a RawValue,
}

#[derive(Deserialize)]
struct Series {
    #[serde(deserialize_with = "labels")]
    metric: Labels,
    value: Option<Point>,
    #[serde(default)]
    values: Vec<Point>,
    histogram: Option<IgnoredAny>,
    histograms: Option<IgnoredAny>,
}

/// An instant in seconds, and a number as text.
struct Point(Sample);

/// Reads an answer. Native histograms, which come whole in no JSON, are left out; whether there are
/// none is told beside it.
pub(super) fn read(body: &[u8]) -> Result<(Answer, bool), serde_json::Error> {
    let Said { data: Told { result_type, result }, warnings, infos } =
        serde_json::from_slice(body)?;
    let mut whole = true;
    let mut series = || -> Result<Vec<Series>, serde_json::Error> {
        let all: Vec<Series> = serde_json::from_str(result.get())?;
        whole = all.iter().all(|one| one.histogram.is_none() && one.histograms.is_none());
        Ok(all)
    };
    let data = match result_type {
        "scalar" => {
            let Point(Sample { at, value }) = serde_json::from_str(result.get())?;
            Data::Scalar(at, value.as_float().unwrap_or(f64::NAN))
        }
        "string" => {
            let (at, text): (f64, String) = serde_json::from_str(result.get())?;
            Data::Text(time(at), text)
        }
        "vector" => {
            let all = series()?.into_iter();
            Data::Vector(all.filter_map(|one| Some((one.metric, one.value?.0))).collect())
        }
        "matrix" => {
            let all = series()?.into_iter().filter(|one| !one.values.is_empty());
            let samples = |all: Vec<Point>| all.into_iter().map(|Point(sample)| sample).collect();
            Data::Matrix(all.map(|one| (one.metric, samples(one.values))).collect())
        }
        other => return Err(Error::custom(format!("{other:?} is no kind of result"))),
    };
    let answer =
        Answer { data, warnings: warnings.unwrap_or_default(), infos: infos.unwrap_or_default() };
    Ok((answer, whole))
}

fn time(seconds: f64) -> Timestamp {
    Timestamp::from_millis((seconds * 1000.0).round() as i64)
}

fn labels<'de, D: Deserializer<'de>>(from: D) -> Result<Labels, D::Error> {
    let pairs = BTreeMap::<String, String>::deserialize(from)?;
    Ok(Labels::from_pairs(pairs.iter().map(|(name, value)| (&**name, &**value))))
}

impl<'de> Deserialize<'de> for Point {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let (seconds, text) = <(f64, &str)>::deserialize(from)?;
        let number: f64 = text.parse().map_err(D::Error::custom)?;
        Ok(Self(Sample { at: time(seconds), value: Value::Float(number) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_json(json: &serde_json::Value) -> Result<(Answer, bool), serde_json::Error> {
        read(json.to_string().as_bytes())
    }

    #[test]
    fn every_kind_of_answer_is_read_with_what_was_said_about_it() {
        let json = serde_json::json!({
            "data": { "resultType": "vector", "result": [
                { "metric": { "a": "1" }, "value": [1.5, "+Inf"] },
                { "metric": { "a": "2" }, "histogram": [1.5, { "count": "1" }] },
            ] },
            "warnings": ["w"], "infos": ["i"],
        });
        let (answer, whole) = read_json(&json).unwrap();
        let at = Timestamp::from_millis(1500);
        let sample = |value: f64| Sample { at, value: value.into() };
        let labels = Labels::from_pairs([("a", "1")]);
        assert_eq!(answer.data, Data::Vector(vec![(labels.clone(), sample(f64::INFINITY))]));
        assert_eq!((&answer.warnings[..], whole), (&["w".to_owned()][..], false));
        assert_eq!(answer.infos, ["i"]);
        for (kind, result, expected) in [
            ("scalar", serde_json::json!([1.5, "2"]), Data::Scalar(at, 2.0)),
            ("string", serde_json::json!([1.5, "\"x"]), Data::Text(at, "\"x".into())),
            (
                "matrix",
                serde_json::json!([{ "metric": { "a": "1" }, "values": [[1.5, "-0.25"]] }]),
                Data::Matrix(vec![(labels, vec![sample(-0.25)])]),
            ),
            ("matrix", serde_json::json!([{ "metric": {}, "values": [] }]), Data::Matrix(vec![])),
        ] {
            let json = serde_json::json!({ "data": { "resultType": kind, "result": result } });
            assert_eq!(read_json(&json).unwrap(), (expected.into(), true), "{kind}");
        }
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        for hostile in [
            "null",
            "{\"data\":{}}",
            "{\"data\":{\"resultType\":\"vector\",\"result\":[1]}}",
            "{\"data\":{\"resultType\":\"vector\",\"result\":[{\"metric\":{\"a\":1}}]}}",
            "{\"data\":{\"resultType\":\"scalar\",\"result\":[1,\"one\"]}}",
            "{\"data\":{\"resultType\":\"vectors\",\"result\":[]}}",
        ] {
            assert!(read(hostile.as_bytes()).is_err(), "{hostile}");
        }
        let deep =
            format!("{{\"data\":{{\"resultType\":\"vector\",\"result\":{}", "[".repeat(9999));
        assert!(read(deep.as_bytes()).is_err());
    }
}
