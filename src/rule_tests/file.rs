//! What a file of tests says.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use hms_ops_alert::rule_file::{FileError, Group};
use hms_ops_collect::scrape_config::matching;
use hms_ops_promql::notation::{parse_labels, parse_values};

use crate::core::labels::Labels;
use crate::core::sample::Value;
use crate::core::time::Timestamp;
use crate::core::yaml::fields::{Field, Source};
use crate::rule_files::{self, RuleFileError};

const MINUTE: Duration = Duration::from_secs(60);
/// Evaluations of one test.
const MAX_EVALUATIONS: u128 = 1_000_000;

pub(super) struct TestFile {
    pub(super) name: String,
    pub(super) every: Duration,
    /// Whether numbers may differ in their last bit.
    pub(super) is_fuzzy: bool,
    /// In the order of evaluation.
    pub(super) groups: Vec<Group>,
    pub(super) tests: Vec<Test>,
}

pub(super) struct Test {
    pub(super) name: String,
    pub(super) line: usize,
    /// How far apart the values of a series are.
    pub(super) interval: Duration,
    pub(super) start: Timestamp,
    pub(super) series: Vec<(Labels, Vec<Option<Value>>)>,
    pub(super) external_labels: Labels,
    pub(super) external_url: String,
    pub(super) alerts: Vec<AlertCheck>,
    pub(super) queries: Vec<QueryCheck>,
}

pub(super) struct AlertCheck {
    pub(super) line: usize,
    pub(super) name: String,
    pub(super) at: Duration,
    /// Labels and annotations, sorted.
    pub(super) expected: Vec<(Labels, Labels)>,
}

pub(super) struct QueryCheck {
    pub(super) line: usize,
    pub(super) query: String,
    pub(super) at: Duration,
    /// Sorted by labels.
    pub(super) expected: Vec<(Labels, Value)>,
}

impl TestFile {
    /// Reads a file, its rule files too, and what is likely wrong with them.
    pub(super) fn read(path: &Path) -> Result<(Self, Vec<String>), RuleFileError> {
        let (name, text) = rule_files::read(path)?;
        let source = Source::new(&name);
        let document = source.parse(&text)?;
        let mut fields = source.root(&document, "the file").fields()?;
        let (mut groups, mut warnings) = (Vec::new(), Vec::new());
        for field in fields.items("rule_files")? {
            let pattern = source.path(field.text()?);
            let files = matching(&pattern).map_err(|error| field.error(error.to_string()))?;
            if files.is_empty() {
                let complaint = field.error(format!("no file is like {}", pattern.display()));
                warnings.push(complaint.to_string());
            }
            for file in files {
                groups.extend(rule_files::load(file)?.groups);
            }
        }
        let every = fields.duration("evaluation_interval")?.filter(|every| !every.is_zero());
        let every = every.unwrap_or(MINUTE);
        let mut order = BTreeMap::new();
        for (place, field) in fields.items("group_eval_order")?.iter().enumerate() {
            if order.insert(field.text()?.to_owned(), place).is_some() {
                return Err(field.error("the group stands there already").into());
            }
        }
        // Those without a place come first, as in Prometheus.
        groups.sort_by_key(|group: &Group| order.get(&group.name).copied().unwrap_or(0));
        let tests = fields.items("tests")?;
        let tests = tests.iter().enumerate().map(|(i, item)| Test::read(i, item, every));
        let tests = tests.collect::<Result<_, _>>()?;
        let is_fuzzy = fields.flag("fuzzy_compare", false)?;
        fields.end()?;
        Ok((Self { name, every, is_fuzzy, groups, tests }, warnings))
    }
}

impl Test {
    fn read(place: usize, item: &Field<'_>, every: Duration) -> Result<Self, FileError> {
        let mut fields = item.fields()?;
        let name = fields.text("name")?.filter(|name| !name.is_empty());
        let name = name.map_or_else(|| format!("test {}", place + 1), str::to_owned);
        let interval = fields.duration("interval")?.filter(|interval| !interval.is_zero());
        let start = fields.get("start_timestamp").map(|field| instant(&field)).transpose()?;
        let test = Self {
            name,
            line: item.line(),
            interval: interval.unwrap_or(every),
            start: start.unwrap_or_default(),
            series: each(fields.items("input_series")?, series)?,
            external_labels: labels(fields.get("external_labels"))?,
            external_url: fields.text("external_url")?.unwrap_or_default().to_owned(),
            alerts: each(fields.items("alert_rule_test")?, AlertCheck::read)?,
            queries: each(fields.items("promql_expr_test")?, QueryCheck::read)?,
        };
        fields.end()?;
        if test.end().as_nanos() / every.as_nanos() >= MAX_EVALUATIONS {
            let reason = format!("there would be more than {MAX_EVALUATIONS} evaluations");
            return Err(item.error(reason));
        }
        Ok(test)
    }

    /// The last instant that anything is expected of.
    pub(super) fn end(&self) -> Duration {
        let alerts = self.alerts.iter().map(|check| check.at);
        alerts.chain(self.queries.iter().map(|check| check.at)).max().unwrap_or_default()
    }
}

impl AlertCheck {
    fn read(item: &Field<'_>) -> Result<Self, FileError> {
        let mut fields = item.fields()?;
        let at = fields.duration("eval_time")?.unwrap_or_default();
        let name = fields.text("alertname")?.unwrap_or_default().to_owned();
        if name.is_empty() {
            return Err(item.error("a test of an alert needs `alertname`"));
        }
        let alert = |item: &Field<'_>| {
            let mut fields = item.fields()?;
            let expected = labels(fields.get("exp_labels"))?.with("alertname", &name);
            let annotations = labels(fields.get("exp_annotations"))?;
            fields.end()?;
            Ok((expected, annotations))
        };
        let mut expected = each(fields.items("exp_alerts")?, alert)?;
        expected.sort();
        fields.end()?;
        Ok(Self { line: item.line(), name, at, expected })
    }
}

impl QueryCheck {
    fn read(item: &Field<'_>) -> Result<Self, FileError> {
        let mut fields = item.fields()?;
        let query = fields.text("expr")?.unwrap_or_default().to_owned();
        let at = fields.duration("eval_time")?.unwrap_or_default();
        let mut expected = each(fields.items("exp_samples")?, sample)?;
        expected.sort_by(|(a, _), (b, _)| a.cmp(b));
        fields.end()?;
        Ok(Self { line: item.line(), query, at, expected })
    }
}

fn each<T>(
    items: Vec<Field<'_>>,
    read: impl Fn(&Field<'_>) -> Result<T, FileError>,
) -> Result<Vec<T>, FileError> {
    items.iter().map(read).collect()
}

fn series(item: &Field<'_>) -> Result<(Labels, Vec<Option<Value>>), FileError> {
    let mut fields = item.fields()?;
    let (Some(labels), Some(values)) = (fields.get("series"), fields.get("values")) else {
        return Err(item.error("a series needs `series` and `values`"));
    };
    fields.end()?;
    let read = parse_labels(labels.text()?).map_err(|error| labels.error(error.to_string()))?;
    let values = parse_values(values.text()?).map_err(|error| values.error(error.to_string()))?;
    Ok((read, values))
}

fn sample(item: &Field<'_>) -> Result<(Labels, Value), FileError> {
    let mut fields = item.fields()?;
    let labels = match fields.get("labels") {
        Some(field) => match field.text()? {
            "" => Labels::empty(),
            text => parse_labels(text).map_err(|error| field.error(error.to_string()))?,
        },
        None => Labels::empty(),
    };
    let histogram = match fields.get("histogram") {
        Some(field) => {
            let read = parse_values(field.text()?).map_err(|e| field.error(e.to_string()))?;
            match &read[..] {
                [Some(value @ Value::Histogram(_))] => Some(value.clone()),
                _ => return Err(field.error("one histogram is expected")),
            }
        }
        None => None,
    };
    let value = fields.get("value").map(|field| number(&field)).transpose()?;
    fields.end()?;
    Ok((labels, histogram.unwrap_or(Value::Float(value.unwrap_or(0.0)))))
}

/// As YAML writes numbers.
fn number(field: &Field<'_>) -> Result<f64, FileError> {
    match field.text()?.to_ascii_lowercase().as_str() {
        ".inf" | "+.inf" => Ok(f64::INFINITY),
        "-.inf" => Ok(f64::NEG_INFINITY),
        ".nan" => Ok(f64::NAN),
        _ => field.number(),
    }
}

/// RFC 3339, or seconds since 1970.
fn instant(field: &Field<'_>) -> Result<Timestamp, FileError> {
    let text = field.text()?;
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    let seconds = text.parse::<f64>().ok().filter(|seconds| seconds.abs() < 1e12);
    let seconds = seconds.ok_or_else(|| {
        field.error(format!("{text:?} is neither RFC 3339 nor seconds since 1970"))
    })?;
    Ok(Timestamp::from_millis((seconds * 1000.0).round() as i64))
}

fn labels(field: Option<Field<'_>>) -> Result<Labels, FileError> {
    Ok(Labels::from_pairs(field.map_or_else(|| Ok(BTreeMap::new()), |field| field.labels())?))
}
