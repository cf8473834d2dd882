//! Matchers: which series are meant.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::labels::{Escaped, Labels, NAME};
use crate::name::stored_name;

mod pattern;

use pattern::Pattern;

/// One condition on one label. A label that is absent has the empty value.
#[derive(Clone, Debug)]
pub struct Matcher {
    name: Arc<str>,
    value: Arc<str>,
    negative: bool,
    /// The regular expression that `value` is, unless it is meant literally.
    pattern: Option<Arc<Pattern>>,
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
        Self { name: name.into(), value: value.into(), negative: false, pattern: None }
    }

    /// The metric has this name, in either spelling.
    pub fn metric(name: &str) -> Self {
        Self::equal(NAME, &stored_name(name))
    }

    /// The label has another value than this.
    pub fn not_equal(name: &str, value: &str) -> Self {
        Self { negative: true, ..Self::equal(name, value) }
    }

    /// The whole value fits this pattern.
    ///
    /// # Errors
    ///
    /// [`PatternError`] when the pattern is not a regular expression.
    pub fn regex(name: &str, pattern: &str) -> Result<Self, PatternError> {
        match Pattern::new(pattern) {
            Ok(parsed) => {
                Ok(Self { pattern: Some(Arc::new(parsed)), ..Self::equal(name, pattern) })
            }
            Err(source) => {
                Err(PatternError { name: name.to_owned(), pattern: pattern.to_owned(), source })
            }
        }
    }

    /// The whole value does not fit this pattern.
    ///
    /// # Errors
    ///
    /// [`PatternError`] when the pattern is not a regular expression.
    pub fn not_regex(name: &str, pattern: &str) -> Result<Self, PatternError> {
        Ok(Self { negative: true, ..Self::regex(name, pattern)? })
    }

    /// The label it speaks of.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value that the label must have, if this asks for exactly one that is not empty.
    pub fn literal(&self) -> Option<&str> {
        let literal = self.pattern.is_none() && !self.negative && !self.value.is_empty();
        literal.then_some(&*self.value)
    }

    /// Whether it is `!=` or `!~`.
    pub fn is_negative(&self) -> bool {
        self.negative
    }

    /// Whether a series without the label is meant.
    pub fn matches_empty(&self) -> bool {
        self.accepts("")
    }

    /// The values that are accepted, sorted, if it is known that these are all: one for `=`, up to
    /// 128 for patterns such as `a|b` and `50[0-4]`. `None` for `!=` and `!~`.
    ///
    /// ```
    /// use hms_ops_core::matcher::Matcher;
    ///
    /// let codes = Matcher::regex("code", "50[34]|429")?;
    /// assert!(codes.alternatives().unwrap().iter().map(|v| &**v).eq(["429", "503", "504"]));
    /// assert!(Matcher::regex("code", "5..")?.alternatives().is_none());
    /// # Ok::<(), hms_ops_core::matcher::PatternError>(())
    /// ```
    pub fn alternatives(&self) -> Option<&[Arc<str>]> {
        match &self.pattern {
            _ if self.negative => None,
            None => Some(std::slice::from_ref(&self.value)),
            Some(pattern) => pattern.alternatives(),
        }
    }

    /// With what every accepted value begins, as far as that is known: `cluster-` for
    /// `cluster-.*`. Empty for `!=` and `!~`.
    pub fn prefix(&self) -> &str {
        match &self.pattern {
            _ if self.negative => "",
            None => &self.value,
            Some(pattern) => pattern.prefix(),
        }
    }

    /// Whether a label with this value is meant.
    pub fn accepts(&self, value: &str) -> bool {
        let fits = match &self.pattern {
            None => *self.value == *value,
            Some(pattern) => pattern.fits(value),
        };
        fits != self.negative
    }

    /// Whether all of `matchers` accept `labels`.
    pub fn all(matchers: &[Self], labels: &Labels) -> bool {
        matchers.iter().all(|m| m.accepts(labels.get(&m.name).unwrap_or_default()))
    }

    /// Operator, label and value or pattern: what a cache can know it by.
    pub fn key(&self) -> (&'static str, Arc<str>, Arc<str>) {
        (self.operator(), self.name.clone(), self.value.clone())
    }

    fn operator(&self) -> &'static str {
        match (self.negative, self.pattern.is_some()) {
            (false, false) => "=",
            (true, false) => "!=",
            (false, true) => "=~",
            (true, true) => "!~",
        }
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}\"{}\"", self.name, self.operator(), Escaped(&self.value))
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
        if matchers.iter().all(Matcher::matches_empty) {
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
    fn only_a_positive_matcher_says_what_it_asks_for() {
        let [equal, not_equal] = [Matcher::equal("a", "x"), Matcher::not_equal("a", "x")];
        let regex = Matcher::regex("a", "x|y").unwrap();
        let not_regex = Matcher::not_regex("a", "x|y").unwrap();
        assert_eq!(equal.alternatives(), Some(&["x".into()][..]));
        assert_eq!(regex.alternatives(), Some(&["x".into(), "y".into()][..]));
        assert_eq!((equal.prefix(), Matcher::regex("a", "x.*").unwrap().prefix()), ("x", "x"));
        assert!(!equal.is_negative() && !regex.is_negative() && !regex.matches_empty());
        for negative in [not_equal, not_regex] {
            assert!(negative.is_negative() && negative.matches_empty());
            assert_eq!((negative.alternatives(), negative.prefix()), (None, ""));
            assert!(negative.accepts("z") && !negative.accepts("x"));
        }
    }

    #[test]
    fn matchers_have_the_same_key_when_they_are_written_alike() {
        let all = || {
            [
                Matcher::equal("a", "x"),
                Matcher::not_equal("a", "x"),
                Matcher::regex("a", "x").unwrap(),
                Matcher::not_regex("a", "x").unwrap(),
                Matcher::equal("b", "x"),
                Matcher::equal("a", "y"),
            ]
        };
        let distinct: std::collections::HashSet<_> =
            all().into_iter().chain(all()).map(|m| m.key()).collect();
        assert_eq!(distinct.len(), 6);
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
