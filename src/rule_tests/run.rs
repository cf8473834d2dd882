//! One test: time goes by in steps of the evaluation interval, and nothing of a later instant is
//! known at an earlier one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use hms_ops_alert::rule::prometheus::{Alerts, Found, alert_labels, recorded};
use hms_ops_alert::rule_file::{Group, Kind, Rule};
use hms_ops_alert::template::{Answers, Data as About, Expansion, Template};
use hms_ops_promql::ast::Expr;
use hms_ops_promql::{Engine, EngineOptions};

use super::Failure;
use super::file::{AlertCheck, QueryCheck, Test, TestFile};
use crate::core::labels::Labels;
use crate::core::query::{Answer as Answered, Data, QueryEngine, QueryOptions};
use crate::core::sample::Value;
use crate::core::store::{MemoryStore, SeriesRef, Store, StoreError};
use crate::core::time::Timestamp;

/// Series of one test, those that rules record included.
const MAX_SERIES: usize = 100_000;
/// Samples of one series.
const MAX_SAMPLES: usize = 1_000_001;
/// Samples of one test, 16 bytes and more each.
const MAX_SAMPLES_OF_ALL: usize = 20_000_000;

type Answer = Result<Vec<(Labels, Value)>, String>;

/// Runs one test; returns what was not as expected.
pub(super) async fn run(file: &TestFile, test: &Test) -> Vec<Failure> {
    match (Run::new(file, test)).run().await {
        Ok(failures) => failures,
        Err(failure) => vec![failure],
    }
}

struct Run<'a> {
    file: &'a TestFile,
    test: &'a Test,
    store: Arc<MemoryStore>,
    engine: Engine,
    rules: Vec<State<'a>>,
    samples: usize,
}

/// A rule, from one evaluation to the next.
struct State<'a> {
    group: &'a Group,
    rule: &'a Rule,
    /// Its query, which is asked at every step.
    query: Result<Expr, String>,
    alerts: Alerts,
    /// What it stored last.
    series: BTreeSet<Labels>,
}

impl<'a> Run<'a> {
    fn new(file: &'a TestFile, test: &'a Test) -> Self {
        let store = MemoryStore::with_limits(MAX_SERIES, MAX_SAMPLES);
        let store = Arc::new(store.out_of_order_window(Duration::from_secs(u32::MAX.into())));
        let options =
            EngineOptions { subquery_step: file.every, at_once: 1, ..EngineOptions::default() };
        let engine = Engine::with_options(store.clone(), options);
        let rules = file.groups.iter().flat_map(|group| {
            let state = move |rule: &'a Rule| {
                let query = hms_ops_promql::parse(&rule.expr).map_err(|error| error.to_string());
                let (alerts, series) = (Alerts::default(), BTreeSet::new());
                State { group, rule, query, alerts, series }
            };
            group.rules.iter().map(state)
        });
        Self { file, test, engine, rules: rules.collect(), store, samples: 0 }
    }

    async fn run(mut self) -> Result<Vec<Failure>, Failure> {
        let (every, test) = (self.file.every, self.test);
        let mut checks: Vec<_> = test.alerts.iter().collect();
        checks.sort_by_key(|check| check.at);
        let mut checks = checks.into_iter().peekable();
        let mut failures = Vec::new();
        let (mut passed, mut loaded) = (Duration::ZERO, 0);
        while passed <= test.end() {
            let at = test.start + passed;
            let fails = |check: &str, error: String| self.failure(test.line, check, error);
            loaded = match self.load(loaded, passed).await {
                Ok((loaded, samples)) => {
                    self.samples += samples;
                    loaded
                }
                Err(error) => return Err(fails("the series", error)),
            };
            let errors = self.evaluate(at, passed).await;
            if !errors.is_empty() {
                // What comes after would only be a consequence.
                failures.extend(errors);
                return Ok(failures);
            }
            while let Some(check) = checks.next_if(|check| check.at < passed + every) {
                failures.extend(self.compare_alerts(check).await);
            }
            passed += every;
        }
        for check in &test.queries {
            failures.extend(self.compare_answer(check).await);
        }
        failures.sort_by_key(|failure| failure.line);
        Ok(failures)
    }

    fn failure(&self, line: usize, check: &str, error: String) -> Failure {
        let (test, check) = (self.test.name.clone(), check.to_owned());
        Failure { line, test, check, expected: vec![], got: vec![], error: Some(error) }
    }

    /// Stores the values of all series up to an instant; the first `loaded` of each are stored.
    async fn load(&self, loaded: usize, passed: Duration) -> Result<(usize, usize), String> {
        let interval = self.test.interval;
        let until = usize::try_from(passed.as_nanos() / interval.as_nanos()).unwrap_or(usize::MAX);
        let mut samples = Vec::new();
        for (labels, values) in &self.test.series {
            for (i, value) in values.iter().enumerate().take(until.saturating_add(1)).skip(loaded) {
                if let Some(value) = value {
                    let at = self.test.start + interval * u32::try_from(i).unwrap_or(u32::MAX);
                    samples.push((labels, at, value.clone()));
                }
            }
        }
        let count = samples.len();
        self.store(samples, false).await?;
        Ok((until.saturating_add(1), count))
    }

    async fn store(
        &self,
        samples: Vec<(&Labels, Timestamp, Value)>,
        is_rule: bool,
    ) -> Result<(), String> {
        if self.samples + samples.len() > MAX_SAMPLES_OF_ALL {
            return Err(format!("a test holds {MAX_SAMPLES_OF_ALL} samples at most"));
        }
        let mut appender = self.store.appender();
        let mut last: Option<(&Labels, SeriesRef)> = None;
        for (labels, at, value) in samples {
            let series = match last {
                Some((known, series)) if known == labels => series,
                _ => appender.series(labels).map_err(|error| error.to_string())?,
            };
            last = Some((labels, series));
            match appender.append(series, at, value) {
                // Of two rules that store the same, the first counts.
                Err(StoreError::Duplicate { .. }) if is_rule => {}
                done => done.map_err(|error| error.to_string())?,
            }
        }
        appender.commit().await.map_err(|error| error.to_string())
    }

    /// Evaluates all rules, one after the other.
    async fn evaluate(&mut self, at: Timestamp, passed: Duration) -> Vec<Failure> {
        let mut failures = Vec::new();
        for i in 0..self.rules.len() {
            if let Err(error) = self.evaluate_rule(i, at).await {
                let rule = self.rules[i].rule;
                let check = format!("rule {} at {}", rule.name, shown(passed));
                failures.push(self.failure(self.test.line, &check, error));
            }
        }
        failures
    }

    async fn evaluate_rule(&mut self, i: usize, at: Timestamp) -> Result<(), String> {
        let State { group, rule, ref query, .. } = self.rules[i];
        let at = at - group.query_offset;
        let answer =
            self.engine.instant_of(&rule.expr, query.as_ref().map_err(Clone::clone)?, at).await;
        let answer = vector(answer.map_err(|error| error.to_string())?)?;
        let series = match &rule.kind {
            Kind::Record => {
                recorded(rule, group.limit, answer).map_err(|error| error.to_string())?
            }
            Kind::Alert { labels, .. } => {
                let mut found = Vec::with_capacity(answer.len());
                for (series, value) in answer {
                    let value = value.as_float().unwrap_or(0.0);
                    let mut expanded = Vec::with_capacity(labels.len());
                    for (name, template) in labels {
                        expanded.push((&**name, self.expand(template, &series, value, at).await));
                    }
                    let expanded = expanded.iter().map(|(name, value)| (*name, value.as_str()));
                    let labels = alert_labels(rule, &series, expanded);
                    found.push(Found { series, labels, value });
                }
                let alerts = &mut self.rules[i].alerts;
                let series = alerts.step(rule, group.limit, at, found);
                let series = series.map_err(|error| error.to_string())?.into_iter();
                series.map(|(labels, value)| (labels, value.into())).collect()
            }
        };
        let now: BTreeSet<_> = series.iter().map(|(labels, _)| labels.clone()).collect();
        let before = std::mem::replace(&mut self.rules[i].series, now);
        let gone =
            before.difference(&self.rules[i].series).map(|labels| (labels, at, Value::STALE));
        let samples = series.iter().map(|(labels, value)| (labels, at, value.clone()));
        let samples: Vec<_> = samples.chain(gone).collect();
        let count = samples.len();
        self.store(samples, true).await?;
        self.samples += count;
        Ok(())
    }

    async fn ask(&self, query: &str, at: Timestamp) -> Answer {
        let answer = self.engine.instant(query, at, &QueryOptions::default()).await;
        vector(answer.map_err(|error| error.to_string())?)
    }

    async fn expand(
        &self,
        template: &Template,
        series: &Labels,
        value: f64,
        at: Timestamp,
    ) -> String {
        if let Some(literal) = template.literal() {
            return literal.to_owned();
        }
        let about = About {
            labels: series,
            external_labels: &self.test.external_labels,
            external_url: &self.test.external_url,
            value,
        };
        let mut answers = Answers::new();
        loop {
            match template.expand(&about, &answers) {
                Expansion::Done(text) => return text,
                Expansion::Ask(query) => {
                    let answer = self.ask(&query, at).await;
                    let floats = |all: Vec<(Labels, Value)>| {
                        all.into_iter().filter_map(|(l, v)| Some((l, v.as_float()?))).collect()
                    };
                    answers.insert(query, answer.map(floats));
                }
            }
        }
    }

    async fn compare_alerts(&self, check: &AlertCheck) -> Option<Failure> {
        let mut got = Vec::new();
        for State { rule, alerts, .. } in self.rules.iter().filter(|s| s.rule.name == check.name) {
            let Kind::Alert { annotations, .. } = &rule.kind else { continue };
            for (labels, alert) in alerts.active().filter(|(_, alert)| alert.is_firing) {
                let mut expanded = BTreeMap::new();
                for (name, template) in annotations {
                    let text = self.expand(template, &alert.series, alert.value, alert.seen).await;
                    expanded.insert(name.as_str(), text);
                }
                got.push((labels.clone(), Labels::from_pairs(expanded)));
            }
        }
        got.sort();
        let shown_of =
            |(labels, annotations): &(Labels, Labels)| format!("{labels} with {annotations}");
        (got != check.expected).then(|| Failure {
            line: check.line,
            test: self.test.name.clone(),
            check: format!("alert {} at {}", check.name, shown(check.at)),
            expected: check.expected.iter().map(shown_of).collect(),
            got: got.iter().map(shown_of).collect(),
            error: None,
        })
    }

    async fn compare_answer(&self, check: &QueryCheck) -> Option<Failure> {
        let name = format!("query {} at {}", check.query, shown(check.at));
        let mut got = match self.ask(&check.query, self.test.start + check.at).await {
            Ok(got) => got,
            Err(error) => return Some(self.failure(check.line, &name, error)),
        };
        got.sort_by(|(a, _), (b, _)| a.cmp(b));
        let same = |(a, b): (&(Labels, Value), &(Labels, Value))| {
            a.0 == b.0 && equal(&a.1, &b.1, self.file.is_fuzzy)
        };
        if got.len() == check.expected.len() && got.iter().zip(&check.expected).all(same) {
            return None;
        }
        let shown_of = |(labels, value): &(Labels, Value)| match value {
            Value::Float(value) => format!("{labels} {value}"),
            Value::Histogram(histogram) => format!("{labels} {histogram:?}"),
        };
        Some(Failure {
            line: check.line,
            test: self.test.name.clone(),
            check: name,
            expected: check.expected.iter().map(shown_of).collect(),
            got: got.iter().map(shown_of).collect(),
            error: None,
        })
    }
}

/// A vector, or a number as one.
fn vector(answer: Answered) -> Answer {
    match answer.data {
        Data::Vector(_) | Data::Scalar(..) => Ok(answer.into_values()),
        _ => Err("the query gives neither a vector nor a number".to_owned()),
    }
}

/// As people compare: what is no number is like itself, and zero has no sign.
fn equal(a: &Value, b: &Value, is_fuzzy: bool) -> bool {
    match (a, b) {
        (Value::Float(a), Value::Float(b)) => {
            let is_next = *b == a.next_up() || *b == a.next_down();
            a == b || (a.is_nan() && b.is_nan()) || (is_fuzzy && is_next)
        }
        _ => a == b,
    }
}

/// As Prometheus writes it.
fn shown(passed: Duration) -> String {
    crate::core::yaml::fields::show_duration(passed)
}
