//! Series as Prometheus' unit tests of rules write them: `up{job="a"} 1 1+2x5 _ stale`.
//!
//! | written | means |
//! |---|---|
//! | `1` `-2.5` `NaN` `Inf` | this number |
//! | `stale` | the staleness marker |
//! | `_` `_x3` | no sample, once and three times |
//! | `1x4` | 1, and four times more |
//! | `1+2x5` `1-2x5` | 1, and five times more, each by two above or below the one before |
//! | `{{schema:0 sum:5 count:4 buckets:[1 2 1]}}` | a native histogram; `x4`, `+{{…}}x5` and `-{{…}}x5` follow as with numbers |
//!
//! A histogram has of `schema`, `sum`, `count`, `z_bucket`, `z_bucket_w`, `buckets`, `offset`,
//! `n_buckets`, `n_offset`, `custom_values` and `counter_reset_hint` what is not zero, empty or
//! `unknown`; `offset` is the index of the first of `buckets`.
//!
//! Source: Prometheus 3.14, "Unit testing for rules" and the `load` command of `promqltest`.

use std::sync::Arc;

use hms_ops_core::labels::{Labels, NAME};
use hms_ops_core::sample::{CounterReset, Histogram, Value};

use crate::histogram;

/// How many values a series may have, each bucket of a histogram counted as one.
pub const MAX_VALUES: usize = 1_000_000;

/// The schema of histograms with edges of their own.
const CUSTOM: i8 = -53;

/// Why a text is not a series. Columns count characters from one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each message explains its fields")]
pub enum NotationError {
    /// The text breaks off or goes on where it must not.
    #[error("column {column}: expected {expected}, found {found:?}")]
    Syntax { column: usize, expected: &'static str, found: String },

    /// There is no such histogram, or no such sum of histograms.
    #[error("column {column}: {reason}")]
    Histogram { column: usize, reason: String },

    /// It is longer than it may be.
    #[error("column {column}: a series has at most {limit} values, each bucket counted as one")]
    TooLong { column: usize, limit: usize },
}

/// Reads the labels of a series and its values, one for each instant; `None` where no sample is.
///
/// ```
/// use hms_ops_promql::notation::parse_series;
///
/// let (labels, values) = parse_series(r#"up{job="a"} 1+2x2 _ stale"#)?;
/// assert_eq!(labels.to_string(), r#"up{job="a"}"#);
/// assert_eq!(values[..4], [Some(1.0.into()), Some(3.0.into()), Some(5.0.into()), None]);
/// # Ok::<(), hms_ops_promql::notation::NotationError>(())
/// ```
///
/// # Errors
///
/// [`NotationError`] when the text is no series, or is one of more than [`MAX_VALUES`].
pub fn parse_series(text: &str) -> Result<(Labels, Vec<Option<Value>>), NotationError> {
    let mut cursor = Cursor { text, at: 0 };
    cursor.skip_space();
    let labels = cursor.labels()?;
    Ok((labels, cursor.values()?))
}

/// Reads only labels: `up{job="a"}`, `{job="a"}`, `{"a metric", "a label"="b"}`.
///
/// # Errors
///
/// [`NotationError`] when the text is anything else.
pub fn parse_labels(text: &str) -> Result<Labels, NotationError> {
    let mut cursor = Cursor { text, at: 0 };
    cursor.skip_space();
    let labels = cursor.labels()?;
    cursor.skip_space();
    if cursor.rest().is_empty() { Ok(labels) } else { Err(cursor.expected("nothing more")) }
}

/// Reads only values, one for each instant; `None` where no sample is.
///
/// # Errors
///
/// [`NotationError`] when the text is anything else, or has more than [`MAX_VALUES`].
pub fn parse_values(text: &str) -> Result<Vec<Option<Value>>, NotationError> {
    Cursor { text, at: 0 }.values()
}

/// What is read, and from which byte on.
struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn column(&self, at: usize) -> usize {
        self.text[..at].chars().count() + 1
    }

    fn expected(&self, expected: &'static str) -> NotationError {
        let found = self.rest().chars().take(12).collect();
        NotationError::Syntax { column: self.column(self.at), expected, found }
    }

    fn no_histogram(&self, at: usize, reason: impl Into<String>) -> NotationError {
        NotationError::Histogram { column: self.column(at), reason: reason.into() }
    }

    fn take_while(&mut self, accept: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let taken = &rest[..rest.find(|c| !accept(c)).unwrap_or(rest.len())];
        self.at += taken.len();
        taken
    }

    /// Whether there was some.
    fn skip_space(&mut self) -> bool {
        !self.take_while(|c| matches!(c, ' ' | '\t' | '\r' | '\n')).is_empty()
    }

    fn eat(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        self.at += if found { token.len() } else { 0 };
        found
    }

    fn demand(&mut self, token: &'static str) -> Result<(), NotationError> {
        if self.eat(token) { Ok(()) } else { Err(self.expected(token)) }
    }

    fn labels(&mut self) -> Result<Labels, NotationError> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        let name = self.name(true);
        let has_name = !name.is_empty();
        if has_name {
            pairs.push((NAME.to_owned(), name.to_owned()));
        }
        if !self.eat("{") {
            let bare = if has_name { Ok(()) } else { Err(self.expected("a series")) };
            return bare.map(|()| Labels::from_pairs(pairs));
        }
        loop {
            self.skip_space();
            if self.eat("}") {
                return Ok(Labels::from_pairs(pairs));
            }
            let quoted = self.rest().starts_with(QUOTES);
            let name = if quoted { self.string()? } else { self.name(false).to_owned() };
            if name.is_empty() {
                return Err(self.expected("a label or `}`"));
            }
            self.skip_space();
            if self.eat("=") {
                self.skip_space();
                let value = self.string()?;
                pairs.push((name, value));
            } else if quoted && !has_name && pairs.iter().all(|(name, _)| name != NAME) {
                pairs.push((NAME.to_owned(), name));
            } else {
                return Err(self.expected("="));
            }
            self.skip_space();
            if !self.eat(",") && !self.rest().starts_with('}') {
                return Err(self.expected("`,` or `}`"));
            }
        }
    }

    /// A name without quotes; empty if there is none.
    fn name(&mut self, of_metric: bool) -> &'a str {
        if self.rest().starts_with(|c: char| c.is_ascii_digit()) {
            return "";
        }
        self.take_while(|c| c.is_ascii_alphanumeric() || c == '_' || of_metric && c == ':')
    }

    /// A text in quotes, with the escapes that PromQL has; in backticks without any.
    fn string(&mut self) -> Result<String, NotationError> {
        let start = self.at;
        let Some(quote) = self.rest().chars().next().filter(|c| QUOTES.contains(c)) else {
            return Err(self.expected("a text in quotes"));
        };
        self.at += 1;
        let mut text = String::new();
        loop {
            text.push_str(self.take_while(|c| c != quote && (c != '\\' || quote == '`')));
            if self.eat(quote.encode_utf8(&mut [0; 4])) {
                return Ok(text);
            }
            if !self.eat("\\") {
                self.at = start;
                return Err(self.expected("a text whose quotes are closed"));
            }
            text.push(self.escaped()?);
        }
    }

    /// What stands after a backslash.
    fn escaped(&mut self) -> Result<char, NotationError> {
        let kind = self.rest().chars().next();
        let digits = match kind {
            Some('x') => 2,
            Some('u') => 4,
            Some('U') => 8,
            _ => 0,
        };
        let plain = match kind {
            Some('n') => Some('\n'),
            Some('t') => Some('\t'),
            Some('r') => Some('\r'),
            Some(c @ ('\\' | '"' | '\'')) => Some(c),
            _ => None,
        };
        let hex = self.rest().get(1..=digits).filter(|_| digits > 0);
        let coded = hex.and_then(|hex| u32::from_str_radix(hex, 16).ok()).and_then(char::from_u32);
        // A byte above ASCII is only a part of a character.
        let coded = coded.filter(|c| digits > 2 || c.is_ascii());
        let escaped = plain.or(coded).ok_or_else(|| self.expected("an escaped character"))?;
        self.at += 1 + digits;
        Ok(escaped)
    }

    /// The values up to the end, with space before each that follows something.
    fn values(&mut self) -> Result<Vec<Option<Value>>, NotationError> {
        let (mut values, mut room) = (Vec::new(), MAX_VALUES);
        loop {
            let apart = self.skip_space() || self.at == 0;
            if self.rest().is_empty() {
                return Ok(values);
            }
            if !apart {
                return Err(self.expected("a space"));
            }
            self.item(&mut values, &mut room)?;
        }
    }

    fn item(
        &mut self,
        values: &mut Vec<Option<Value>>,
        room: &mut usize,
    ) -> Result<(), NotationError> {
        let start = self.at;
        if self.eat("_") {
            let times = if self.eat("x") { self.integer()? } else { 1 };
            self.reserve(times, room, start)?;
            values.extend((0..times).map(|_| None));
            return Ok(());
        }
        let first = self.value()?;
        let subtracts = self.eat("-");
        let step = match &first {
            _ if !subtracts && !self.eat("+") => None,
            Value::Float(_) => Some(Value::Float(self.number()?)),
            Value::Histogram(_) => Some(self.value()?),
        };
        let times = if step.is_some() || self.rest().starts_with('x') {
            self.demand("x")?;
            self.integer()?
        } else {
            0
        };
        // No sum has more buckets than both of its sides.
        let size = size(&first) + step.as_ref().map_or(0, size);
        self.reserve(times.saturating_add(1).saturating_mul(size), room, start)?;
        let mut value = first;
        for left in (0..=times).rev() {
            values.push(Some(value.clone()));
            let Some(step) = step.as_ref().filter(|_| left > 0) else { continue };
            value = match (&value, step) {
                (Value::Float(value), Value::Float(step)) if subtracts => (value - step).into(),
                (Value::Float(value), Value::Float(step)) => (value + step).into(),
                (Value::Histogram(value), Value::Histogram(step)) => {
                    let sum = combine(value, step, subtracts)
                        .map_err(|reason| self.no_histogram(start, reason))?;
                    Value::Histogram(Arc::new(sum))
                }
                _ => return Err(self.no_histogram(start, "a number is no step of a histogram")),
            };
        }
        Ok(())
    }

    fn reserve(&self, size: usize, room: &mut usize, at: usize) -> Result<(), NotationError> {
        let too_long = NotationError::TooLong { column: self.column(at), limit: MAX_VALUES };
        *room = room.checked_sub(size).ok_or(too_long)?;
        Ok(())
    }

    fn value(&mut self) -> Result<Value, NotationError> {
        if self.rest().starts_with("{{") {
            return Ok(Value::Histogram(Arc::new(self.histogram()?)));
        }
        if self.eat("stale") {
            return Ok(Value::STALE);
        }
        Ok(Value::Float(self.number()?))
    }

    fn number(&mut self) -> Result<f64, NotationError> {
        let start = self.at;
        let negative = self.eat("-");
        if !negative {
            self.eat("+");
        }
        let digits = self.at;
        let word = self.take_while(|c| c.is_ascii_alphabetic() && c != 'x');
        let number = if word.eq_ignore_ascii_case("nan") {
            Some(f64::NAN)
        } else if word.eq_ignore_ascii_case("inf") {
            Some(f64::INFINITY)
        } else {
            self.at = digits;
            self.take_while(|c| c.is_ascii_digit() || c == '.');
            let mantissa = self.at;
            if self.eat("e") || self.eat("E") {
                let _sign = self.eat("-") || self.eat("+");
                if self.take_while(|c| c.is_ascii_digit()).is_empty() {
                    self.at = mantissa;
                }
            }
            self.text[digits..self.at].parse().ok()
        };
        let Some(number) = number else {
            self.at = start;
            return Err(self.expected("a value"));
        };
        Ok(if negative { -number } else { number })
    }

    /// A count of repetitions.
    fn integer(&mut self) -> Result<usize, NotationError> {
        let start = self.at;
        let parsed = self.take_while(|c| c.is_ascii_digit()).parse();
        parsed.map_err(|_| {
            self.at = start;
            self.expected("how often, as a number")
        })
    }

    /// A number that is an integer in the bounds of the type.
    fn whole(&mut self) -> Result<i32, NotationError> {
        let start = self.at;
        let number = self.number()?;
        let whole = number as i32;
        if f64::from(whole) == number {
            return Ok(whole);
        }
        self.at = start;
        Err(self.expected("an integer"))
    }

    fn list(&mut self) -> Result<Vec<f64>, NotationError> {
        self.demand("[")?;
        let mut numbers = Vec::new();
        loop {
            self.skip_space();
            if self.eat("]") {
                return Ok(numbers);
            }
            numbers.push(self.number()?);
        }
    }

    fn histogram(&mut self) -> Result<Histogram, NotationError> {
        let start = self.at;
        self.demand("{{")?;
        let mut found = Histogram {
            schema: 0,
            zero_threshold: 0.0,
            zero_count: 0.0,
            count: 0.0,
            sum: 0.0,
            positive: Vec::new(),
            negative: Vec::new(),
            custom_edges: Vec::new(),
            reset: CounterReset::Unknown,
        };
        let (mut buckets, mut n_buckets) = ((0, Vec::new()), (0, Vec::new()));
        let mut seen = Vec::new();
        loop {
            self.skip_space();
            if self.eat("}}") {
                break;
            }
            let at = self.at;
            let key = self.take_while(|c| c.is_ascii_lowercase() || c == '_');
            if seen.contains(&key) {
                return Err(self.no_histogram(at, format!("{key:?} comes twice")));
            }
            seen.push(key);
            self.demand(":")?;
            match key {
                "schema" => found.schema = self.schema()?,
                "sum" => found.sum = self.number()?,
                "count" => found.count = self.number()?,
                "z_bucket" => found.zero_count = self.number()?,
                "z_bucket_w" => found.zero_threshold = self.number()?,
                "custom_values" => found.custom_edges = self.list()?,
                "offset" => buckets.0 = self.whole()?,
                "buckets" => buckets.1 = self.list()?,
                "n_offset" => n_buckets.0 = self.whole()?,
                "n_buckets" => n_buckets.1 = self.list()?,
                "counter_reset_hint" => found.reset = self.hint()?,
                _ => return Err(self.no_histogram(at, format!("a histogram has no {key:?}"))),
            }
        }
        let rises = found.custom_edges.windows(2).all(|pair| pair[0] < pair[1]);
        if !rises || found.schema != CUSTOM && !found.custom_edges.is_empty() {
            let reason = "custom_values ascend, and belong to schema -53";
            return Err(self.no_histogram(start, reason));
        }
        let filled = |(offset, counts): (i32, Vec<f64>)| {
            let at = |i: usize| i32::try_from(i).ok().and_then(|i| offset.checked_add(i));
            let filled = counts.into_iter().enumerate().filter(|&(_, n)| n != 0.0);
            filled.map(|(i, n)| Some((at(i)?, n))).collect::<Option<Vec<_>>>()
        };
        let beyond = || self.no_histogram(start, "a bucket lies beyond all indexes");
        found.positive = filled(buckets).ok_or_else(beyond)?;
        found.negative = filled(n_buckets).ok_or_else(beyond)?;
        Ok(found)
    }

    fn schema(&mut self) -> Result<i8, NotationError> {
        let at = self.at;
        match self.whole()? {
            schema @ (-4..=8 | -53) => Ok(schema as i8),
            other => Err(self.no_histogram(at, format!("there is no schema {other}"))),
        }
    }

    fn hint(&mut self) -> Result<CounterReset, NotationError> {
        let at = self.at;
        match self.take_while(|c| c.is_ascii_lowercase() || c == '_') {
            "unknown" => Ok(CounterReset::Unknown),
            "reset" => Ok(CounterReset::Reset),
            "not_reset" => Ok(CounterReset::NotReset),
            "gauge" => Ok(CounterReset::Gauge),
            other => {
                Err(self.no_histogram(at, format!("there is no counter_reset_hint {other:?}")))
            }
        }
    }
}

const QUOTES: [char; 3] = ['"', '\'', '`'];

/// How many values it counts as.
fn size(value: &Value) -> usize {
    match value {
        Value::Float(_) => 1,
        Value::Histogram(h) => 1 + h.positive.len() + h.negative.len() + h.custom_edges.len(),
    }
}

/// `a + b` or `a - b`, with the resolution of `a`.
fn combine(a: &Histogram, b: &Histogram, subtracts: bool) -> Result<Histogram, String> {
    if a.schema > b.schema {
        return Err(format!("schema {} cannot be brought to schema {}", b.schema, a.schema));
    }
    let outcome = if subtracts { histogram::sub(a, b) } else { histogram::add(a, b) };
    Ok(outcome.map_err(|incompatible| incompatible.to_string())?.histogram)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(text: &str) -> Vec<Option<f64>> {
        let values = parse_values(text).unwrap();
        values.into_iter().map(|value| value.and_then(|value| value.as_float())).collect()
    }

    fn histograms(text: &str) -> Vec<Histogram> {
        let all = parse_values(text).unwrap().into_iter();
        let each = |value| match value {
            Some(Value::Histogram(h)) => (*h).clone(),
            other => panic!("{other:?}"),
        };
        all.map(each).collect()
    }

    #[test]
    fn a_repetition_says_how_often_the_first_value_is_followed() {
        assert_eq!(floats("1x2"), [Some(1.0); 3]);
        assert_eq!(floats("1+2x2 -1-0.5x1"), [1.0, 3.0, 5.0, -1.0, -1.5].map(Some));
        assert_eq!(floats("1e2--1x1 +Inf"), [100.0, 101.0, f64::INFINITY].map(Some));
        assert_eq!(floats("\t_ _x2\t2 "), [None, None, None, Some(2.0)]);
        assert_eq!(floats("1+1x0"), [Some(1.0)]);
        assert_eq!(floats(""), []);
    }

    #[test]
    fn a_marker_of_staleness_is_not_a_nan() {
        let found = parse_values("stale NaN nan").unwrap();
        let stale: Vec<_> = found.iter().flatten().map(Value::is_stale).collect();
        assert_eq!(stale, [true, false, false]);
    }

    #[test]
    fn labels_may_be_quoted_and_their_values_escaped() {
        for (text, shown) in [
            (r#"up"#, "up"),
            (r#"a:b{}"#, "a:b"),
            (r#"{ job = "a" , }"#, r#"{job="a"}"#),
            (r#"{"a metric", 'a label'='b'}"#, r#"a metric{a label="b"}"#),
            (r#"{__name__="up"}"#, "up"),
            (r#"up{a="\"\\\n\u00e9\x41", b=`\n`}"#, "up{a=\"\\\"\\\\\\néA\",b=\"\\\\n\"}"),
        ] {
            assert_eq!(parse_labels(text).unwrap().to_string(), shown, "{text}");
        }
    }

    #[test]
    fn a_histogram_keeps_only_the_buckets_that_hold_something() {
        let text = "{{schema:1 sum:-0.3 count:3.1 z_bucket:7.1 z_bucket_w:0.05 buckets:[5.1 0 7] \
                    offset:-3 n_buckets:[4.1] n_offset:-5 counter_reset_hint:gauge}}";
        let expected = Histogram {
            schema: 1,
            zero_threshold: 0.05,
            zero_count: 7.1,
            count: 3.1,
            sum: -0.3,
            positive: vec![(-3, 5.1), (-1, 7.0)],
            negative: vec![(-5, 4.1)],
            custom_edges: vec![],
            reset: CounterReset::Gauge,
        };
        assert_eq!(histograms(text), [expected]);
        let custom = &histograms("{{schema:-53 custom_values:[-2 3] buckets:[1 0 2]}}")[0];
        assert_eq!(
            (&custom.custom_edges[..], &custom.positive[..]),
            (&[-2.0, 3.0][..], &[(0, 1.0), (2, 2.0)][..])
        );
    }

    #[test]
    fn histograms_repeat_and_step_as_numbers_do() {
        let sums = |text| histograms(text).iter().map(|h| h.sum).collect::<Vec<_>>();
        assert_eq!(sums("{{sum:1}}x2"), [1.0; 3]);
        assert_eq!(sums("{{sum:1}}+{{sum:2}}x2 {{sum:9}}-{{sum:2}}x1"), [1.0, 3.0, 5.0, 9.0, 7.0]);

        let stepped = histograms("{{buckets:[1 2 1]}}+{{buckets:[1] offset:1}}x2");
        assert_eq!(stepped[2].positive, [(0, 1.0), (1, 4.0), (2, 1.0)]);
        let finer = histograms("{{schema:-1 buckets:[1] offset:1}}+{{buckets:[2 2] offset:1}}x1");
        assert_eq!(finer[1].positive, [(1, 5.0)]);
    }

    #[test]
    fn an_error_says_where_and_what() {
        for (text, message) in [
            ("", r#"column 1: expected a series, found """#),
            ("up{a=1}", r#"column 6: expected a text in quotes, found "1}""#),
            ("up{a=\"b", r#"column 6: expected a text whose quotes are closed, found "\"b""#),
            ("up{a=\"\\q\"}", r#"column 8: expected an escaped character, found "q\"}""#),
            ("up{a=\"\\xff\"}", r#"column 8: expected an escaped character, found "xff\"}""#),
            ("up{é=\"b\"}", "column 4: expected a label or `}`, found \"é=\\\"b\\\"}\""),
            ("up{a=\"é\"} ?", r#"column 11: expected a value, found "?""#),
            ("up 1+2", r#"column 7: expected x, found """#),
            ("up 1x", r#"column 6: expected how often, as a number, found """#),
            ("up 1y", r#"column 5: expected a space, found "y""#),
            ("up _x-1", r#"column 6: expected how often, as a number, found "-1""#),
            (
                "up 1x1000000",
                "column 4: a series has at most 1000000 values, each bucket counted as one",
            ),
            (
                "up _x9 1x99999999999999999999",
                r#"column 10: expected how often, as a number, found "999999999999""#,
            ),
            ("up {{sum:1 sum:2}}", "column 12: \"sum\" comes twice"),
            ("up {{total:1}}", "column 6: a histogram has no \"total\""),
            ("up {{schema:9}}", "column 13: there is no schema 9"),
            (
                "up {{custom_values:[1]}}",
                "column 4: custom_values ascend, and belong to schema -53",
            ),
            (
                "up {{offset:2147483647 buckets:[1 1]}}",
                "column 4: a bucket lies beyond all indexes",
            ),
            ("up {{}}+1x2", "column 4: a number is no step of a histogram"),
            ("up {{schema:1}}+{{}}x2", "column 4: schema 0 cannot be brought to schema 1"),
            ("up {{counter_reset_hint:no}}", "column 25: there is no counter_reset_hint \"no\""),
        ] {
            assert_eq!(parse_series(text).unwrap_err().to_string(), message, "{text}");
        }
    }

    #[test]
    fn buckets_count_towards_the_length_before_any_is_made() {
        let text = format!("{{{{buckets:[{}]}}}}x99999", "1 ".repeat(100));
        assert!(matches!(parse_values(&text), Err(NotationError::TooLong { column: 1, .. })));
        let stepped = "{{}}+{{buckets:[1] offset:-2147483648}}x9";
        assert!(parse_values(stepped).is_ok());
    }
}
