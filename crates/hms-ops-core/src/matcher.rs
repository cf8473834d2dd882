//! Matchers: which series are meant.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use regex::Regex;

use crate::labels::{Escaped, Labels, NAME};
use crate::name::stored_name;

/// One condition on one label. A label that is absent has the empty value.
#[derive(Clone, Debug)]
pub struct Matcher {
    name: Arc<str>,
    value: Arc<str>,
    op: Op,
}

#[derive(Clone, Debug)]
enum Op {
    Equal,
    NotEqual,
    Regex(Regex),
    NotRegex(Regex),
}

/// A pattern that is not a regular expression.
#[derive(Debug, thiserror::Error)]
#[error("label {name:?}: {pattern:?} is not a regular expression")]
pub struct PatternError {
    name: String,
    pattern: String,
    source: regex::Error,
}

impl Matcher {
    /// The label has this value.
    pub fn equal(name: &str, value: &str) -> Self {
        Self { name: name.into(), value: value.into(), op: Op::Equal }
    }

    /// The metric has this name, in either spelling.
    pub fn metric(name: &str) -> Self {
        Self::equal(NAME, &stored_name(name))
    }

    /// The label has another value than this.
    pub fn not_equal(name: &str, value: &str) -> Self {
        Self { name: name.into(), value: value.into(), op: Op::NotEqual }
    }

    /// The whole value fits this pattern.
    ///
    /// # Errors
    ///
    /// [`PatternError`] when the pattern is not a regular expression.
    pub fn regex(name: &str, pattern: &str) -> Result<Self, PatternError> {
        let op = Op::Regex(anchored(name, pattern)?);
        Ok(Self { name: name.into(), value: pattern.into(), op })
    }

    /// The whole value does not fit this pattern.
    ///
    /// # Errors
    ///
    /// [`PatternError`] when the pattern is not a regular expression.
    pub fn not_regex(name: &str, pattern: &str) -> Result<Self, PatternError> {
        let op = Op::NotRegex(anchored(name, pattern)?);
        Ok(Self { name: name.into(), value: pattern.into(), op })
    }

    /// The label it speaks of.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value that the label must have, if this asks for exactly one that is not empty.
    pub fn literal(&self) -> Option<&str> {
        (matches!(self.op, Op::Equal) && !self.value.is_empty()).then_some(&*self.value)
    }

    /// Whether a label with this value is meant.
    pub fn accepts(&self, value: &str) -> bool {
        match &self.op {
            Op::Equal => *self.value == *value,
            Op::NotEqual => *self.value != *value,
            Op::Regex(pattern) => pattern.is_match(value),
            Op::NotRegex(pattern) => !pattern.is_match(value),
        }
    }

    /// Whether all of `matchers` accept `labels`.
    pub fn all(matchers: &[Self], labels: &Labels) -> bool {
        matchers.iter().all(|m| m.accepts(labels.get(&m.name).unwrap_or_default()))
    }
}

fn anchored(name: &str, pattern: &str) -> Result<Regex, PatternError> {
    Regex::new(&format!("^(?s:{pattern})$")).map_err(|source| PatternError {
        name: name.to_owned(),
        pattern: pattern.to_owned(),
        source,
    })
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let op = match self.op {
            Op::Equal => "=",
            Op::NotEqual => "!=",
            Op::Regex(_) => "=~",
            Op::NotRegex(_) => "!~",
        };
        write!(f, "{}{op}\"{}\"", self.name, Escaped(&self.value))
    }
}

/// A series selector as in PromQL: `name{label="value", other=~"a|b"}`. The name may have dots.
///
/// ```
/// use hms_ops_core::{labels::Labels, matcher::Selector};
///
/// let selector: Selector = r#"eligibility.latency_ms_count{cluster=~"cluster-.*"}"#.parse()?;
/// let series = Labels::metric("eligibility_latency_ms_count").with("cluster", "cluster-a");
/// assert!(selector.accepts(&series));
/// # Ok::<(), hms_ops_core::matcher::SelectorError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Selector {
    matchers: Vec<Matcher>,
}

/// Why a text is not a selector.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each message explains its fields")]
pub enum SelectorError {
    /// The text breaks off or goes on where it must not.
    #[error("column {column}: expected {expected}, found {found:?}")]
    Syntax { column: usize, expected: &'static str, found: String },

    /// A pattern is not a regular expression.
    #[error(transparent)]
    Pattern(#[from] PatternError),

    /// It would select every series there is.
    #[error("a selector needs a name or a label that must not be empty")]
    Everything,
}

impl Selector {
    /// The conditions, all of which must hold.
    pub fn matchers(&self) -> &[Matcher] {
        &self.matchers
    }

    /// Whether the series with these labels is meant.
    pub fn accepts(&self, labels: &Labels) -> bool {
        Matcher::all(&self.matchers, labels)
    }
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut p = Parser { text, at: 0 };
        let mut matchers = Vec::new();
        p.space();
        let name = p.word(|c| c.is_ascii_alphanumeric() || "_:.".contains(c));
        if !name.is_empty() {
            matchers.push(Matcher::metric(name));
        }
        if p.eat("{") {
            while !p.eat("}") {
                matchers.push(p.matcher()?);
                if !p.eat(",") && !p.rest().starts_with('}') {
                    return Err(p.expected("`,` or `}`"));
                }
            }
        }
        if !p.rest().is_empty() {
            return Err(p.expected("the end of the selector"));
        }
        if matchers.iter().all(|m| m.accepts("")) {
            return Err(SelectorError::Everything);
        }
        Ok(Self { matchers })
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn space(&mut self) {
        self.word(char::is_whitespace);
    }

    fn word(&mut self, fits: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c| !fits(c)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    fn eat(&mut self, token: &str) -> bool {
        self.space();
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
            self.space();
        }
        found
    }

    fn expected(&self, expected: &'static str) -> SelectorError {
        let found = self.rest().chars().take(10).collect();
        SelectorError::Syntax { column: self.at + 1, expected, found }
    }

    fn matcher(&mut self) -> Result<Matcher, SelectorError> {
        let name = self.word(|c| c.is_ascii_alphanumeric() || c == '_');
        if name.is_empty() {
            return Err(self.expected("a label name"));
        }
        self.space();
        let op = ["=~", "!~", "!=", "="].into_iter().find(|op| self.rest().starts_with(op));
        let Some(op) = op else { return Err(self.expected("one of = != =~ !~")) };
        self.eat(op);
        let value = self.quoted()?;
        Ok(match op {
            "=" => Matcher::equal(name, &value),
            "!=" => Matcher::not_equal(name, &value),
            "=~" => Matcher::regex(name, &value)?,
            _ => Matcher::not_regex(name, &value)?,
        })
    }

    fn quoted(&mut self) -> Result<String, SelectorError> {
        let Some(quote @ ('"' | '\'')) = self.rest().chars().next() else {
            return Err(self.expected("a quoted value"));
        };
        self.at += 1;
        let mut value = String::new();
        loop {
            let mut chars = self.rest().chars();
            let Some(c) = chars.next() else { return Err(self.expected("a closing quote")) };
            let escaped = if c == '\\' { chars.next() } else { None };
            self.at += c.len_utf8() + escaped.map_or(0, char::len_utf8);
            match (c, escaped) {
                (c, None) if c == quote => break,
                ('\\', Some('n')) => value.push('\n'),
                ('\\', Some(e @ ('\\' | '"' | '\''))) => value.push(e),
                // Any other escape belongs to the regular expression.
                ('\\', Some(e)) => value.extend(['\\', e]),
                (c, _) => value.push(c),
            }
        }
        self.space();
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_label_matches_as_the_empty_value() {
        let labels = Labels::metric("up");
        assert!(Matcher::all(&[Matcher::equal("cluster", "")], &labels));
        assert!(Matcher::all(&[Matcher::not_equal("cluster", "a")], &labels));
        assert!(!Matcher::all(&[Matcher::not_equal("cluster", "")], &labels));
    }

    #[test]
    fn a_pattern_must_fit_the_whole_value() {
        let m = Matcher::regex("code", "5..|429").unwrap();
        assert!(m.accepts("503") && m.accepts("429"));
        assert!(!m.accepts("5030") && !m.accepts("x429"));
    }

    #[test]
    fn a_selector_reads_names_labels_and_escapes() {
        let s: Selector = r#" a.b { x = "1" , y!~'q\.\\"' , } "#.parse().unwrap();
        let printed: Vec<_> = s.matchers().iter().map(ToString::to_string).collect();
        assert_eq!(printed, [r#"__name__="a_b""#, r#"x="1""#, r#"y!~"q\\.\\\"""#]);
    }

    #[test]
    fn a_broken_selector_names_the_column() {
        for (text, message) in [
            ("up{a}", "column 5: expected one of = != =~ !~, found \"}\""),
            ("up{a=\"1}", "column 9: expected a closing quote, found \"\""),
            ("up{a=\"1\"} x", "column 11: expected the end of the selector, found \"x\""),
            ("up{a=\"1\" b=\"2\"}", "column 10: expected `,` or `}`, found \"b=\\\"2\\\"}\""),
            ("", "a selector needs a name or a label that must not be empty"),
            ("up{a=~\"(\"}", "label \"a\": \"(\" is not a regular expression"),
        ] {
            assert_eq!(text.parse::<Selector>().unwrap_err().to_string(), message, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,40}") {
            let _ = text.parse::<Selector>();
        }
    }
}
