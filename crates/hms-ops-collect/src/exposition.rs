//! The exposition formats that targets serve: Prometheus text 0.0.4 and OpenMetrics 1.0.
//!
//! One parser reads both without copying. Text 0.0.4 is read as leniently as Prometheus reads it;
//! OpenMetrics is held to its specification, families included.
//!
//! Sources: *Prometheus text-based format 0.0.4*; *OpenMetrics 1.0* (the ABNF, and "Overall
//! Structure" for the rules that the ABNF cannot say).

use std::borrow::Cow;

pub use hms_ops_core::exposition::Format;
pub use hms_ops_core::metadata::MetricType;
use memchr::memchr;

use self::family::Families;
use self::line::{Cursor, Label};

mod family;
mod line;

/// The format that a response's `Content-Type` names; everything that is not OpenMetrics is text.
///
/// ```
/// use hms_ops_collect::exposition::{Format, format_of};
///
/// let openmetrics = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// assert_eq!(format_of(openmetrics), Format::OpenMetrics);
/// assert_eq!(format_of("text/plain; version=0.0.4"), Format::Text);
/// ```
pub fn format_of(content_type: &str) -> Format {
    known_format(content_type).unwrap_or(Format::Text)
}

/// The format of a body with this content type, if it is one that names its format.
pub(crate) fn known_format(content_type: &str) -> Option<Format> {
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    if media_type.eq_ignore_ascii_case("application/openmetrics-text") {
        Some(Format::OpenMetrics)
    } else {
        media_type.eq_ignore_ascii_case("text/plain").then_some(Format::Text)
    }
}

/// One line that says something.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event<'a> {
    /// `# HELP`: what a family means.
    Help {
        /// The family.
        family: &'a str,
        /// The text.
        text: Escaped<'a>,
    },
    /// `# TYPE`: the type of a family.
    Type {
        /// The family.
        family: &'a str,
        /// Its type.
        metric_type: MetricType,
    },
    /// `# UNIT`: the unit of a family, OpenMetrics only.
    Unit {
        /// The family.
        family: &'a str,
        /// Its unit; empty when the family has none.
        unit: &'a str,
    },
    /// A sample of one series.
    Sample(Sample<'a>),
}

/// One sample as a target exposes it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample<'a> {
    /// Name and labels as written: equal text is the same series, whatever the labels mean.
    pub series: &'a str,
    /// The metric name.
    pub name: &'a str,
    /// The labels beside the name; no name occurs twice.
    pub labels: Pairs<'a>,
    /// The value; a NaN is never a staleness marker.
    pub value: f64,
    /// Milliseconds since the epoch, where the target says when.
    pub timestamp: Option<i64>,
    /// An example behind the value, OpenMetrics only.
    pub exemplar: Option<Exemplar<'a>>,
}

/// One observation that stands for many, usually with its trace id.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exemplar<'a> {
    /// The labels; no name occurs twice, all together at most 128 characters.
    pub labels: Pairs<'a>,
    /// The observed value.
    pub value: f64,
    /// Milliseconds since the epoch.
    pub timestamp: Option<i64>,
}

/// Labels in the order in which they were written, decoded when they are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Pairs<'a>(&'a str);

impl<'a> Pairs<'a> {
    /// Takes apart the text of a series, as in [`Sample::series`], into its name and labels.
    pub(crate) fn of_series(series: &'a str) -> (&'a str, Self) {
        match series.split_once('{') {
            Some((name, rest)) => {
                (name.trim_end_matches([' ', '\t']), Self(rest.strip_suffix('}').unwrap_or(rest)))
            }
            None => (series, Self::default()),
        }
    }

    /// Names and values.
    pub fn iter(self) -> impl Iterator<Item = (&'a str, Cow<'a, str>)> {
        line::pairs(self.0).map(|label| (label.name, label.value.decode()))
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.iter().next().is_none()
    }
}

/// Text in which `\\`, `\n` and `\"` stand for a backslash, a line feed and a quote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Escaped<'a>(&'a str);

impl<'a> Escaped<'a> {
    /// The text as written.
    pub fn raw(self) -> &'a str {
        self.0
    }

    /// The text as meant; a backslash before any other character stands for itself.
    pub fn decode(self) -> Cow<'a, str> {
        let Some(first) = memchr(b'\\', self.0.as_bytes()) else { return Cow::Borrowed(self.0) };
        let (plain, escaped) = self.0.split_at(first);
        let mut text = String::with_capacity(self.0.len());
        text.push_str(plain);
        let mut chars = escaped.chars();
        while let Some(c) = chars.next() {
            let meant = match (c, chars.as_str().as_bytes().first()) {
                ('\\', Some(b'n')) => Some('\n'),
                ('\\', Some(b'"')) => Some('"'),
                ('\\', Some(b'\\')) => Some('\\'),
                _ => None,
            };
            if meant.is_some() {
                chars.next();
            }
            text.push(meant.unwrap_or(c));
        }
        Cow::Owned(text)
    }
}

/// Why a body is not an exposition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}{}: {reason}", column.map(|column| format!(", column {column}")).unwrap_or_default())]
pub struct ExpositionError {
    /// The line, from 1.
    pub line: usize,
    /// The character in that line, from 1, where one character is to blame.
    pub column: Option<usize>,
    /// What is wrong, naming the value at fault.
    pub reason: String,
}

/// The events of one body, in order; after an error there are no more.
///
/// ```
/// use hms_ops_collect::exposition::{Event, Exposition, Format};
///
/// let body = b"# TYPE up gauge\nup{service=\"claims\"} 1\n";
/// let events: Vec<_> = Exposition::new(body, Format::Text)?.collect::<Result<_, _>>()?;
/// let Event::Sample(sample) = events[1] else { panic!("not a sample") };
/// assert_eq!((sample.series, sample.value), (r#"up{service="claims"}"#, 1.0));
/// # Ok::<(), hms_ops_collect::exposition::ExpositionError>(())
/// ```
#[derive(Debug)]
pub struct Exposition<'a> {
    rest: &'a str,
    format: Format,
    line: usize,
    labels: Vec<Label<'a>>,
    families: Families<'a>,
    finished: bool,
}

impl<'a> Exposition<'a> {
    /// Begins to read `body`.
    ///
    /// # Errors
    ///
    /// When `body` is not UTF-8.
    pub fn new(body: &'a [u8], format: Format) -> Result<Self, ExpositionError> {
        let rest = str::from_utf8(body).map_err(|error| {
            let valid = &body[..error.valid_up_to()];
            let start = memchr::memrchr(b'\n', valid).map_or(0, |newline| newline + 1);
            ExpositionError {
                line: 1 + memchr::memchr_iter(b'\n', valid).count(),
                column: Some(1 + String::from_utf8_lossy(&valid[start..]).chars().count()),
                reason: format!("byte {:#04x} is not UTF-8", body[error.valid_up_to()]),
            }
        })?;
        Ok(Self {
            rest,
            format,
            line: 0,
            labels: Vec::new(),
            families: Families::new(),
            finished: false,
        })
    }

    /// The line of the last event, from 1.
    pub fn line(&self) -> usize {
        self.line
    }

    fn advance(&mut self) -> Result<Option<Event<'a>>, ExpositionError> {
        loop {
            if self.rest.is_empty() {
                return self.end();
            }
            let text = self.take_line();
            self.line += 1;
            let event = match self.format {
                Format::Text => self.text_line(text),
                Format::OpenMetrics if text == "# EOF" => return self.eof(),
                Format::OpenMetrics => self.openmetrics_line(text).map(Some),
            };
            match event {
                Ok(None) => {}
                Ok(event) => return Ok(event),
                Err(fault) => return Err(fault.at(self.line, text)),
            }
        }
    }

    fn take_line(&mut self) -> &'a str {
        let newline = memchr(b'\n', self.rest.as_bytes());
        let (line, rest) = match newline {
            Some(at) => (&self.rest[..at], &self.rest[at + 1..]),
            None => (self.rest, ""),
        };
        self.rest = rest;
        line
    }

    fn text_line(&mut self, text: &'a str) -> Result<Option<Event<'a>>, Fault> {
        let mut cursor = Cursor::new(text, Format::Text);
        cursor.skip_blanks();
        match cursor.peek() {
            None => Ok(None),
            Some(b'#') => cursor.comment(),
            Some(_) => cursor.sample(&mut self.labels).map(|sample| Some(Event::Sample(sample))),
        }
    }

    fn openmetrics_line(&mut self, text: &'a str) -> Result<Event<'a>, Fault> {
        let cursor = Cursor::new(text, Format::OpenMetrics);
        let event = if text.starts_with('#') {
            cursor.metadata()?
        } else {
            Event::Sample(cursor.sample(&mut self.labels)?)
        };
        self.families.see(&event, &self.labels, self.line)?;
        Ok(event)
    }

    fn eof(&mut self) -> Result<Option<Event<'a>>, ExpositionError> {
        if !self.rest.is_empty() {
            return Err(Fault::line("text after # EOF").at(self.line + 1, ""));
        }
        self.families.finish().map_err(|fault| fault.at(self.line, ""))?;
        Ok(None)
    }

    fn end(&mut self) -> Result<Option<Event<'a>>, ExpositionError> {
        match self.format {
            Format::Text => Ok(None),
            Format::OpenMetrics => {
                Err(Fault::line("the body ends without # EOF").at(self.line.max(1), ""))
            }
        }
    }
}

/// Reads one line of OpenMetrics by itself: its grammar, without what the format asks of families.
/// `None` when it is `# EOF`. For bodies that are too long to be held; an error is on line 1.
///
/// ```
/// use hms_ops_collect::exposition::{Event, openmetrics_line};
///
/// let Some(Event::Sample(up)) = openmetrics_line("up{service=\"claims\"} 1 1767225600.5")? else {
///     panic!("not a sample")
/// };
/// assert_eq!(up.timestamp, Some(1_767_225_600_500));
/// assert_eq!(openmetrics_line("# EOF")?, None);
/// # Ok::<(), hms_ops_collect::exposition::ExpositionError>(())
/// ```
///
/// # Errors
///
/// When it is not such a line.
pub fn openmetrics_line(line: &str) -> Result<Option<Event<'_>>, ExpositionError> {
    if line == "# EOF" {
        return Ok(None);
    }
    let cursor = Cursor::new(line, Format::OpenMetrics);
    let event = if line.starts_with('#') {
        cursor.metadata()
    } else {
        cursor.sample(&mut Vec::new()).map(Event::Sample)
    };
    event.map(Some).map_err(|fault| fault.at(1, line))
}

impl<'a> Iterator for Exposition<'a> {
    type Item = Result<Event<'a>, ExpositionError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.finished {
            return None;
        }
        let event = self.advance().transpose();
        self.finished = !matches!(event, Some(Ok(_)));
        event
    }
}

/// What is wrong, before its place is known.
#[derive(Debug)]
struct Fault {
    line: Option<usize>,
    offset: Option<usize>,
    reason: String,
}

impl Fault {
    /// The whole line is at fault.
    fn line(reason: impl Into<String>) -> Self {
        Self { line: None, offset: None, reason: reason.into() }
    }

    /// Places a fault that was found on `line`, unless it knows that an earlier one is to blame.
    fn at(self, line: usize, text: &str) -> ExpositionError {
        let column = self.offset.map(|offset| 1 + text[..offset].chars().count());
        ExpositionError { line: self.line.unwrap_or(line), column, reason: self.reason }
    }
}

/// Hostile text as a message may show it: short, quoted, control characters escaped.
pub(crate) fn excerpt(text: &str) -> String {
    const LONGEST: usize = 48;
    match text.char_indices().nth(LONGEST) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}...", &text[..end]),
    }
}

#[cfg(test)]
mod tests;
