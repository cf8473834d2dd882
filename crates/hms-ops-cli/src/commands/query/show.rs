//! An answer of the API as people read it: a table of an instant, plots of a range.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use hms_ops::core::labels::Labels;
use hms_ops::core::time::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::plot::{self, Line};
use crate::screen::{Paint, plain};

/// How many series are drawn; the others are counted.
const MAX_PLOTS: usize = 8;
/// How many rows a table has; the others are counted.
const MAX_ROWS: usize = 1000;

/// What the API answers.
#[derive(Debug, Deserialize)]
pub(super) struct Reply {
    #[serde(default)]
    data: Value,
    error: Option<String>,
    #[serde(default)]
    warnings: Vec<String>,
    #[serde(default)]
    infos: Vec<String>,
    // Whatever has none is no answer of the API.
    #[serde(rename = "status")]
    _status: String,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
enum Data {
    Scalar((f64, String)),
    String((f64, String)),
    Vector(Vec<Point>),
    Matrix(Vec<Series>),
}

#[derive(Debug, Deserialize)]
struct Point {
    metric: BTreeMap<String, String>,
    value: Option<(f64, String)>,
    histogram: Option<(f64, Counted)>,
}

#[derive(Debug, Deserialize)]
struct Series {
    metric: BTreeMap<String, String>,
    #[serde(default)]
    values: Vec<(f64, String)>,
    #[serde(default)]
    histograms: Vec<(f64, Counted)>,
}

/// A native histogram, of which people are shown how much it has.
#[derive(Debug, Deserialize)]
struct Counted {
    count: String,
    sum: String,
}

impl Reply {
    pub(super) fn read(body: &str) -> Option<Self> {
        serde_json::from_str(body).ok()
    }

    pub(super) fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    pub(super) fn notices(&self) -> impl Iterator<Item = &str> {
        self.warnings.iter().chain(&self.infos).map(String::as_str)
    }

    pub(super) fn data(&self) -> &Value {
        &self.data
    }
}

pub(super) fn for_people(reply: &Reply, width: usize, paint: Paint) -> Result<String> {
    let data = Data::deserialize(&reply.data).context("the engine answers what is no data")?;
    Ok(match data {
        Data::Scalar((_, value)) | Data::String((_, value)) => format!("{}\n", plain(&value)),
        Data::Vector(points) if points.is_empty() => "nothing\n".to_owned(),
        Data::Vector(points) => table(&points, paint),
        Data::Matrix(series) if series.is_empty() => "nothing\n".to_owned(),
        Data::Matrix(series) => plots(&series, width, paint),
    })
}

/// Value, time, series; values stand right.
fn table(points: &[Point], paint: Paint) -> String {
    let rows = points.iter().take(MAX_ROWS).map(|point| {
        let (at, value) = match (&point.value, &point.histogram) {
            (Some((at, value)), _) => (*at, plain(value)),
            (None, Some((at, histogram))) => (*at, counted(histogram)),
            (None, None) => (0.0, String::new()),
        };
        (value, time(at), name(&point.metric))
    });
    let rows: Vec<_> = rows.collect();
    let values = rows.iter().map(|(value, ..)| value.chars().count()).max().unwrap_or(0).max(5);
    let times = rows.iter().map(|(_, at, _)| at.len()).max().unwrap_or(0);
    let heading = format!("  {:>values$}  {:times$}  series", "value", "time");
    let mut text = format!("{}\n", paint.bold(&heading));
    for (value, at, name) in &rows {
        text += &format!("  {value:>values$}  {}  {name}\n", paint.dim(&format!("{at:times$}")));
    }
    text + &more(points.len() - rows.len())
}

/// A plot for each series, all at one scale.
fn plots(series: &[Series], width: usize, paint: Paint) -> String {
    let lines = series.iter().take(MAX_PLOTS).map(|series| {
        let values = series.values.iter().map(|(at, value)| (*at, number(value)));
        let counts = series.histograms.iter().map(|(at, h)| (*at, number(&h.count)));
        Line { name: name(&series.metric), points: values.chain(counts).collect() }
    });
    let lines: Vec<_> = lines.collect();
    plot::plots(&lines, width, paint) + &more(series.len() - lines.len())
}

fn more(left: usize) -> String {
    if left == 0 { String::new() } else { format!("  … and {left} more; `--json` prints all\n") }
}

fn counted(histogram: &Counted) -> String {
    plain(&format!("{} observations, sum {}", histogram.count, histogram.sum))
}

fn number(text: &str) -> f64 {
    text.parse().unwrap_or(f64::NAN)
}

/// `up{job="a"}`.
fn name(metric: &BTreeMap<String, String>) -> String {
    let pairs = metric.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    plain(&Labels::from_pairs(pairs).to_string())
}

/// RFC 3339, without thousandths where there are none.
pub(super) fn time(seconds: f64) -> String {
    #[allow(clippy::cast_possible_truncation, reason = "the cast saturates")]
    let at = Timestamp::from_millis((seconds * 1000.0).round() as i64).to_string();
    at.replace(".000Z", "Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(data: &str) -> String {
        let reply = Reply::read(&format!(r#"{{"status":"success","data":{data}}}"#)).unwrap();
        for_people(&reply, 60, Paint::NONE).unwrap()
    }

    #[test]
    fn an_instant_is_a_table() {
        let data = r#"{"resultType":"vector","result":[
            {"metric":{"__name__":"up","job":"a\u001b[2J"},"value":[1700000000,"1"]},
            {"metric":{},"value":[1700000000.5,"-0.30000000000000004"]},
            {"metric":{"x":"y"},"histogram":[1700000000,{"count":"3","sum":"17.5","buckets":[]}]}]}"#;
        let expected = "                     value  time                      series
                         1  2023-11-14T22:13:20Z      up{job=\"a\u{fffd}[2J\"}
      -0.30000000000000004  2023-11-14T22:13:20.500Z  {}
  3 observations, sum 17.5  2023-11-14T22:13:20Z      {x=\"y\"}
";
        assert_eq!(shown(data), expected);
    }

    #[test]
    fn one_value_stands_alone_and_nothing_is_said_in_a_word() {
        assert_eq!(shown(r#"{"resultType":"scalar","result":[1,"2"]}"#), "2\n");
        assert_eq!(shown(r#"{"resultType":"string","result":[1,"a"]}"#), "a\n");
        assert_eq!(shown(r#"{"resultType":"vector","result":[]}"#), "nothing\n");
        assert_eq!(shown(r#"{"resultType":"matrix","result":[]}"#), "nothing\n");
    }

    #[test]
    fn a_range_of_too_many_series_says_how_many_are_not_drawn() {
        let series = |n| format!(r#"{{"metric":{{"n":"{n}"}},"values":[[0,"1"],[60,"2"]]}}"#);
        let all: Vec<_> = (0..11).map(series).collect();
        let text = shown(&format!(r#"{{"resultType":"matrix","result":[{}]}}"#, all.join(",")));
        assert!(text.ends_with("  … and 3 more; `--json` prints all\n"), "{text}");
        assert_eq!(text.matches("{n=").count(), 8);
    }
}
