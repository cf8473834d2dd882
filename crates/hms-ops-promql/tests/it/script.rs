//! The scripts in which Prometheus tests PromQL: what is loaded, what is evaluated, what is expected.
//!
//! ```text
//! load 5m
//!   up{job="a"} 1+1x9
//!
//! eval instant at 10m sum(up)
//!   expect no_warn
//!   {} 3
//! ```
//!
//! A line that is empty or begins with `#` ends a command.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hms_ops_core::labels::{Labels, NAME};
use hms_ops_core::sample::{CounterReset, Histogram, Sample, Value};
use hms_ops_core::time::{TimeRange, Timestamp};
use hms_ops_promql::notation::parse_series;
use regex::Regex;

/// One step of a script, and the number of its line.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) line: usize,
    pub(crate) action: Action,
}

#[derive(Debug)]
pub(crate) enum Action {
    /// Forgets all samples.
    Clear,
    /// Adds these.
    Load(Vec<(Labels, Vec<Sample>)>),
    /// Evaluates a query.
    Eval(Eval),
}

/// A query, and what is expected of it.
#[derive(Debug)]
pub(crate) struct Eval {
    pub(crate) query: String,
    pub(crate) when: When,
    pub(crate) fails: Option<Text>,
    pub(crate) warnings: Notices,
    pub(crate) infos: Notices,
    /// Whether the order of the series counts.
    pub(crate) ordered: bool,
    pub(crate) data: Expected,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum When {
    Instant(Timestamp),
    Range(TimeRange, Duration),
}

/// What is expected of warnings, or of infos.
#[derive(Debug)]
pub(crate) enum Notices {
    /// Nothing is said.
    Any,
    None,
    /// One at least; each is among these texts, and each of these is there.
    Some(Vec<Text>),
}

#[derive(Debug)]
pub(crate) enum Text {
    Any,
    Is(String),
    Fits(Regex),
}

impl Text {
    pub(crate) fn accepts(&self, text: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Is(expected) => expected == text,
            Self::Fits(pattern) => pattern.is_match(text),
        }
    }
}

#[derive(Debug)]
pub(crate) enum Expected {
    Scalar(f64),
    Text(String),
    Series {
        all: Vec<ExpectedSeries>,
        /// Of the values, where it is not that of the query.
        range: Option<(TimeRange, Duration)>,
    },
}

#[derive(Debug)]
pub(crate) struct ExpectedSeries {
    pub(crate) labels: Labels,
    pub(crate) values: Vec<Option<Value>>,
    /// Whether it is said what is known about resets.
    pub(crate) compares_resets: bool,
}

type Read<T> = Result<T, String>;

/// Reads a script.
pub(crate) fn parse(text: &str) -> Read<Vec<Command>> {
    let lines = text.lines().map(str::trim);
    let lines: Vec<_> = lines.map(|l| if l.starts_with('#') { "" } else { l }).collect();
    let mut commands = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let (line, head) = (at + 1, lines[at]);
        at += 1;
        if head.is_empty() {
            continue;
        }
        let below = lines[at..].iter().take_while(|l| !l.is_empty()).count();
        let word = head.split([' ', '\t']).next().unwrap_or_default();
        let action = match word {
            "clear" => Ok(Action::Clear),
            _ => {
                let body = &lines[at..at + below];
                at += below;
                match word {
                    "load" | "load_with_nhcb" => load(head, body).map(Action::Load),
                    _ => eval(head, body).map(Action::Eval),
                }
            }
        };
        commands.push(Command { line, action: action.map_err(|e| format!("line {line}: {e}"))? });
    }
    Ok(commands)
}

fn load(head: &str, body: &[&str]) -> Read<Vec<(Labels, Vec<Sample>)>> {
    let (command, step) = head.split_once([' ', '\t']).ok_or("load needs a step")?;
    let step = length(step.trim())?;
    let mut loaded: Vec<(Labels, Vec<Sample>)> = Vec::new();
    // Since when a counter has counted is nothing that the store takes.
    let starts = |line: &str| line.split([' ', '\t']).next().is_some_and(|of| of.ends_with("@st"));
    for line in body.iter().filter(|line| !starts(line)) {
        let (labels, values) = parse_series(line).map_err(|e| format!("{line}: {e}"))?;
        let at = |i: usize| instant(0) + step * i as u32;
        let values = values.into_iter().enumerate();
        let samples = values.filter_map(|(i, v)| Some(Sample { at: at(i), value: v? })).collect();
        // Of a series that comes twice the later line counts.
        loaded.retain(|(other, _)| *other != labels);
        loaded.push((labels, samples));
    }
    if command == "load_with_nhcb" {
        let native = with_custom_edges(&loaded)?;
        loaded.extend(native);
    }
    for (_, samples) in &mut loaded {
        note_resets(samples);
    }
    Ok(loaded)
}

/// Notes what Prometheus' store knows of histograms: those that go on without a reset. Of the others
/// it knows nothing when it reads them back.
fn note_resets(samples: &mut [Sample]) {
    let mut before: Option<Arc<Histogram>> = None;
    for sample in samples {
        let Value::Histogram(h) = &mut sample.value else {
            before = None;
            continue;
        };
        let counts = h.reset != CounterReset::Gauge;
        let follows =
            before.replace(h.clone()).filter(|b| (b.reset != CounterReset::Gauge) == counts);
        let goes_on = follows.is_some_and(|before| !is_reset(&before, h));
        if counts && goes_on && h.reset != CounterReset::Reset {
            Arc::make_mut(h).reset = CounterReset::NotReset;
        }
    }
}

fn is_reset(before: &Histogram, after: &Histogram) -> bool {
    let lost = |a: &[(i32, f64)], b: &[(i32, f64)]| {
        a.iter().any(|(i, n)| b.iter().find(|(other, _)| i == other).is_none_or(|(_, m)| m < n))
    };
    (before.schema, before.zero_threshold.to_bits(), &before.custom_edges)
        != (after.schema, after.zero_threshold.to_bits(), &after.custom_edges)
        || after.count < before.count
        || after.zero_count < before.zero_count
        || lost(&before.positive, &after.positive)
        || lost(&before.negative, &after.negative)
}

/// What is collected of one classic histogram at one instant.
#[derive(Default)]
struct Classic {
    /// Upper edge and observations up to it.
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
}

/// For each classic histogram a native one with the same edges.
fn with_custom_edges(loaded: &[(Labels, Vec<Sample>)]) -> Read<Vec<(Labels, Vec<Sample>)>> {
    let mut classics: BTreeMap<Labels, BTreeMap<Timestamp, Classic>> = BTreeMap::new();
    for (labels, samples) in loaded {
        let name = labels.name().unwrap_or_default();
        let Some((base, suffix)) = name.rsplit_once('_') else { continue };
        let edge = match (suffix, labels.get("le")) {
            ("bucket", Some(le)) => match le.parse::<f64>() {
                Ok(le) if !le.is_nan() => le,
                _ => continue,
            },
            ("count" | "sum", _) => f64::NAN,
            _ => continue,
        };
        let classic = classics.entry(labels.without(&["le"]).with(NAME, base)).or_default();
        for sample in samples {
            let Some(value) = sample.value.as_float() else { continue };
            let classic = classic.entry(sample.at).or_default();
            match suffix {
                "count" => classic.count = Some(value),
                "sum" => classic.sum = value,
                _ => classic.buckets.push((edge, value)),
            }
        }
    }
    let native = |(labels, at_all): (Labels, BTreeMap<Timestamp, Classic>)| {
        let sample = |(at, classic): (Timestamp, Classic)| {
            let value = Value::Histogram(Arc::new(native(classic)?));
            Ok(Sample { at, value })
        };
        let samples: Read<_> = at_all.into_iter().map(sample).collect();
        Ok((labels, samples?))
    };
    classics.into_iter().map(native).collect()
}

fn native(mut classic: Classic) -> Read<Histogram> {
    classic.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    let highest = classic.buckets.last().map_or(0.0, |last| last.1);
    let count = classic.count.unwrap_or(highest);
    if classic.buckets.last().is_none_or(|last| last.0 != f64::INFINITY) {
        classic.buckets.push((f64::INFINITY, count));
    }
    let mut positive = Vec::new();
    let mut before = 0.0;
    for (i, &(_, upto)) in classic.buckets.iter().enumerate() {
        if upto < before {
            return Err("a classic histogram's buckets do not ascend".to_owned());
        }
        if upto > before {
            positive.push((i as i32, upto - before));
        }
        before = upto;
    }
    classic.buckets.pop();
    Ok(Histogram {
        schema: -53,
        zero_threshold: 0.0,
        zero_count: 0.0,
        count,
        sum: classic.sum,
        positive,
        negative: Vec::new(),
        custom_edges: classic.buckets.into_iter().map(|(edge, _)| edge).collect(),
        reset: CounterReset::Unknown,
    })
}

fn eval(head: &str, body: &[&str]) -> Read<Eval> {
    let mut words = Words(head);
    let command = words.next()?;
    let (mut fails, mut ordered) = (None, false);
    let (mut warnings, mut infos) = (Notices::Any, Notices::Any);
    match command {
        "eval" => {}
        "eval_fail" => fails = Some(Text::Any),
        "eval_warn" => warnings = Notices::Some(vec![Text::Any]),
        "eval_info" => infos = Notices::Some(vec![Text::Any]),
        "eval_ordered" => ordered = true,
        other => return Err(format!("there is no command {other:?}")),
    }
    let when = match words.next()? {
        "instant" => {
            words.expect("at")?;
            When::Instant(instant(0) + length(words.next()?)?)
        }
        _ => {
            let (range, step) = words.range()?;
            When::Range(range, step)
        }
    };
    let query = words.0.to_owned();

    let (mut data, mut all, mut range) = (None, Vec::new(), None);
    for line in body {
        if let Some(text) = line.strip_prefix("expected_fail_message") {
            fails = Some(Text::Is(text.trim().to_owned()));
        } else if let Some(pattern) = line.strip_prefix("expected_fail_regexp") {
            fails = Some(fits(pattern)?);
        } else if let Some(definition) = line.strip_prefix("expect range vector ") {
            range = Some(Words(definition).range()?);
        } else if let Some(text) = line.strip_prefix("expect string ") {
            let text = unquoted(text).ok_or_else(|| format!("{text} is not in quotes"))?;
            data = Some(Expected::Text(text));
        } else if let Some(statement) = line.strip_prefix("expect ") {
            let (kind, text) = statement.split_once([' ', '\t']).unwrap_or((statement, ""));
            let text = match text.trim() {
                "" => Text::Any,
                text => match text.split_once(':') {
                    Some(("msg", message)) => Text::Is(message.trim().to_owned()),
                    Some(("regex", pattern)) => fits(pattern)?,
                    _ => return Err(format!("cannot read {line:?}")),
                },
            };
            match kind {
                "fail" => fails = Some(text),
                "ordered" => ordered = true,
                "warn" => warnings.add(text),
                "info" => infos.add(text),
                "no_warn" => warnings = Notices::None,
                "no_info" => infos = Notices::None,
                _ => return Err(format!("cannot read {line:?}")),
            }
        } else if let Some(number) = number(line) {
            data = Some(Expected::Scalar(number));
        } else {
            let (labels, values) = parse_series(line).map_err(|e| format!("{line}: {e}"))?;
            let compares_resets = line.contains("counter_reset_hint");
            all.push(ExpectedSeries { labels, values, compares_resets });
        }
    }
    let data = data.unwrap_or(Expected::Series { all, range });
    Ok(Eval { query, when, fails, warnings, infos, ordered, data })
}

impl Notices {
    fn add(&mut self, text: Text) {
        match self {
            Self::Some(texts) => texts.push(text),
            _ => *self = Self::Some(vec![text]),
        }
    }
}

/// What is left of a line.
struct Words<'a>(&'a str);

impl<'a> Words<'a> {
    fn next(&mut self) -> Read<&'a str> {
        let (word, rest) = self.0.split_once([' ', '\t']).unwrap_or((self.0, ""));
        self.0 = rest.trim_start();
        if word.is_empty() { Err("the line breaks off".to_owned()) } else { Ok(word) }
    }

    fn expect(&mut self, expected: &str) -> Read<()> {
        match self.next()? {
            word if word == expected => Ok(()),
            other => Err(format!("expected {expected:?}, found {other:?}")),
        }
    }

    /// `from 0 to 10m step 1m`
    fn range(&mut self) -> Read<(TimeRange, Duration)> {
        let mut part = |word| {
            self.expect(word)?;
            length(self.next()?)
        };
        let (from, to, step) = (part("from")?, part("to")?, part("step")?);
        Ok((TimeRange::new(instant(0) + from, instant(0) + to), step))
    }
}

fn instant(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn fits(pattern: &str) -> Read<Text> {
    let pattern = pattern.trim();
    Regex::new(pattern).map(Text::Fits).map_err(|_| format!("{pattern:?} is no pattern"))
}

fn number(text: &str) -> Option<f64> {
    match text.strip_prefix("0x") {
        Some(hex) => i64::from_str_radix(hex, 16).ok().map(|n| n as f64),
        None => text.parse().ok(),
    }
}

/// The text in quotes, as a label's value is written.
fn unquoted(text: &str) -> Option<String> {
    let (labels, _) = parse_series(&format!("{{text={text}}}")).ok()?;
    Some(labels.get("text").unwrap_or_default().to_owned())
}

/// `1h30m`, `500ms`, `0`.
fn length(text: &str) -> Read<Duration> {
    let wrong = || format!("{text:?} is no length of time");
    let (mut rest, mut length) = (text, Duration::ZERO);
    while !rest.is_empty() && text != "0" {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (number, after) = rest.split_at(digits);
        let unit = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let millis: u64 = match &after[..unit] {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 7 * 86_400_000,
            "y" => 365 * 86_400_000,
            _ => return Err(wrong()),
        };
        let number: u64 = number.parse().map_err(|_| wrong())?;
        length += Duration::from_millis(number * millis);
        rest = &after[unit..];
    }
    if text.is_empty() { Err(wrong()) } else { Ok(length) }
}
