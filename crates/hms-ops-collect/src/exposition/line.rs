//! The grammar of one line, in both formats.

use memchr::memchr2;

use super::{Escaped, Event, Exemplar, Fault, Format, MetricType, Pairs, Sample, excerpt};

/// Up to this many labels are compared with each other; more are sorted first.
const FEW_LABELS: usize = 16;
/// The specification's limit for names and values of one exemplar together, in characters.
const EXEMPLAR_CHARS: usize = 128;
/// Up to this many digits, an integer is exact in an `f64`.
const EXACT_DIGITS: usize = 15;

/// One label as written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Label<'a> {
    pub(super) name: &'a str,
    pub(super) value: Escaped<'a>,
}

/// A place in one line; never inside a character.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    text: &'a str,
    at: usize,
    strict: bool,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str, format: Format) -> Self {
        Self { text, at: 0, strict: format == Format::OpenMetrics }
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    pub(super) fn skip_blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t')) {
            self.at += 1;
        }
    }

    /// `# HELP` and `# TYPE` of text 0.0.4; every other comment says nothing.
    pub(super) fn comment(mut self) -> Result<Option<Event<'a>>, Fault> {
        self.at += 1;
        self.skip_blanks();
        let keyword = self.token();
        if keyword != "HELP" && keyword != "TYPE" {
            return Ok(None);
        }
        self.skip_blanks();
        let family = self.name()?;
        if !matches!(self.peek(), None | Some(b' ' | b'\t')) {
            return Err(self.fault("a blank", "after the metric name"));
        }
        self.skip_blanks();
        if keyword == "HELP" {
            return Ok(Some(Event::Help { family, text: Escaped(self.rest()) }));
        }
        let at = self.at;
        let metric_type = match self.rest().trim_end_matches([' ', '\t']) {
            "untyped" | "unknown" => MetricType::Unknown,
            "counter" => MetricType::Counter,
            "gauge" => MetricType::Gauge,
            "histogram" => MetricType::Histogram,
            "summary" => MetricType::Summary,
            other => return Err(unknown_type(other, at)),
        };
        Ok(Some(Event::Type { family, metric_type }))
    }

    /// `# HELP`, `# TYPE` and `# UNIT` of OpenMetrics, which has no other comments.
    pub(super) fn metadata(mut self) -> Result<Event<'a>, Fault> {
        let Some((keyword, after)) = ["HELP", "TYPE", "UNIT"].into_iter().find_map(|keyword| {
            let after = self.text.strip_prefix("# ")?.strip_prefix(keyword)?.strip_prefix(' ')?;
            Some((keyword, self.text.len() - after.len()))
        }) else {
            return Err(Fault::line(format!(
                "{} is neither HELP, TYPE, UNIT nor EOF",
                excerpt(self.text)
            )));
        };
        self.at = after;
        let family = self.name()?;
        self.expect(b' ', "after the metric name")?;
        let at = self.at;
        let rest = self.rest();
        Ok(match keyword {
            "HELP" => Event::Help { family, text: Escaped(rest) },
            "UNIT" => Event::Unit { family, unit: rest },
            _ => Event::Type {
                family,
                metric_type: openmetrics_type(rest).ok_or_else(|| unknown_type(rest, at))?,
            },
        })
    }

    /// A sample; `labels` is scratch space and holds the sample's labels afterwards.
    pub(super) fn sample(mut self, labels: &mut Vec<Label<'a>>) -> Result<Sample<'a>, Fault> {
        let start = self.at;
        let name = self.name()?;
        let mut end = self.at;
        self.skip_lenient_blanks();
        labels.clear();
        let mut pairs = Pairs::default();
        if self.eat(b'{') {
            pairs = self.labels(labels)?;
            end = self.at;
            self.skip_lenient_blanks();
        } else if self.at == end && !self.strict {
            return Err(self.fault("a blank or {", "after the metric name"));
        }
        if self.strict {
            self.expect(b' ', "before the value")?;
        }
        let value = self.value()?;
        let mut sample = Sample {
            series: &self.text[start..end],
            name,
            labels: pairs,
            value,
            timestamp: None,
            exemplar: None,
        };
        if self.strict {
            self.openmetrics_tail(&mut sample)?;
        } else {
            self.skip_blanks();
            if self.peek().is_some() {
                sample.timestamp = Some(self.milliseconds()?);
                self.skip_blanks();
                if self.peek().is_some() {
                    return Err(self.fault("the end of the line", "after the timestamp"));
                }
            }
        }
        Ok(sample)
    }

    fn openmetrics_tail(&mut self, sample: &mut Sample<'a>) -> Result<(), Fault> {
        if self.peek().is_none() {
            return Ok(());
        }
        self.expect(b' ', "after the value")?;
        if self.peek() != Some(b'#') {
            sample.timestamp = Some(self.seconds()?);
            if self.peek().is_none() {
                return Ok(());
            }
            self.expect(b' ', "after the timestamp")?;
        }
        sample.exemplar = Some(self.exemplar()?);
        Ok(())
    }

    fn exemplar(&mut self) -> Result<Exemplar<'a>, Fault> {
        for (byte, place) in
            [(b'#', "before an exemplar"), (b' ', "after #"), (b'{', "before an exemplar's labels")]
        {
            self.expect(byte, place)?;
        }
        let start = self.at;
        // A vector of its own: the sample's labels are still needed. Exemplars are rare.
        let mut labels = Vec::new();
        let pairs = self.labels(&mut labels)?;
        let length: usize =
            pairs.iter().map(|(name, value)| name.chars().count() + value.chars().count()).sum();
        if length > EXEMPLAR_CHARS {
            let reason = format!(
                "an exemplar's labels have {length} characters, the limit is {EXEMPLAR_CHARS}"
            );
            return Err(Fault { line: None, offset: Some(start), reason });
        }
        self.expect(b' ', "before an exemplar's value")?;
        let value = self.value()?;
        let mut timestamp = None;
        if self.peek().is_some() {
            self.expect(b' ', "after an exemplar's value")?;
            timestamp = Some(self.seconds()?);
            if self.peek().is_some() {
                return Err(self.fault("the end of the line", "after an exemplar's timestamp"));
            }
        }
        Ok(Exemplar { labels: pairs, value, timestamp })
    }

    /// Labels up to and with the closing brace.
    fn labels(&mut self, labels: &mut Vec<Label<'a>>) -> Result<Pairs<'a>, Fault> {
        let start = self.at;
        loop {
            self.skip_lenient_blanks();
            // Text 0.0.4 allows a comma before the brace.
            if self.peek() == Some(b'}') && (labels.is_empty() || !self.strict) {
                break;
            }
            let at = self.at;
            let name = self.label_name()?;
            if name == "__name__" {
                let reason = "label \"__name__\" is the metric name's own".to_owned();
                return Err(Fault { line: None, offset: Some(at), reason });
            }
            self.skip_lenient_blanks();
            self.expect(b'=', "after a label name")?;
            self.skip_lenient_blanks();
            self.expect(b'"', "before a label value")?;
            labels.push(Label { name, value: self.quoted()? });
            self.skip_lenient_blanks();
            if !self.eat(b',') {
                break;
            }
        }
        let pairs = Pairs(&self.text[start..self.at]);
        self.expect(b'}', "after the labels")?;
        match duplicate(labels) {
            None => Ok(pairs),
            Some(name) => {
                let reason = format!("label {} is given twice", excerpt(name));
                Err(Fault { line: None, offset: Some(start), reason })
            }
        }
    }

    /// A label value up to and with the closing quote.
    fn quoted(&mut self) -> Result<Escaped<'a>, Fault> {
        let start = self.at;
        match closing_quote(self.rest()) {
            Some(length) => {
                self.at += length + 1;
                Ok(Escaped(&self.text[start..start + length]))
            }
            None => {
                let reason = format!("label value {} has no closing quote", excerpt(self.rest()));
                Err(Fault { line: None, offset: Some(start), reason })
            }
        }
    }

    fn name(&mut self) -> Result<&'a str, Fault> {
        let length = name_length(self.rest(), b':');
        if length == 0 {
            return Err(self.fault("a metric name", ""));
        }
        Ok(self.take(length))
    }

    fn label_name(&mut self) -> Result<&'a str, Fault> {
        let length = name_length(self.rest(), b'_');
        if length == 0 {
            return Err(self.fault("a label name", ""));
        }
        Ok(self.take(length))
    }

    fn value(&mut self) -> Result<f64, Fault> {
        let at = self.at;
        let token = self.token();
        if token.is_empty() {
            return Err(self.fault("a value", ""));
        }
        number(token).ok_or_else(|| refused("value", token, at))
    }

    /// A timestamp of text 0.0.4.
    fn milliseconds(&mut self) -> Result<i64, Fault> {
        let at = self.at;
        let token = self.token();
        token.parse().map_err(|_| refused("timestamp", token, at))
    }

    /// A timestamp of OpenMetrics, in milliseconds.
    fn seconds(&mut self) -> Result<i64, Fault> {
        let at = self.at;
        let token = self.token();
        let milliseconds = number(token).map(|seconds| (seconds * 1000.0).round());
        match milliseconds {
            #[allow(clippy::cast_possible_truncation, reason = "the guard leaves only what fits")]
            Some(ms) if ms.abs() < 9.0e18 => Ok(ms as i64),
            _ => Err(refused("timestamp", token, at)),
        }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn take(&mut self, length: usize) -> &'a str {
        let start = self.at;
        self.at += length;
        &self.text[start..self.at]
    }

    /// Everything up to the next blank.
    fn token(&mut self) -> &'a str {
        let rest = self.rest();
        let length =
            rest.bytes().position(|byte| byte == b' ' || byte == b'\t').unwrap_or(rest.len());
        self.take(length)
    }

    fn skip_lenient_blanks(&mut self) {
        if !self.strict {
            self.skip_blanks();
        }
    }

    fn eat(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn expect(&mut self, byte: u8, place: &str) -> Result<(), Fault> {
        if self.eat(byte) {
            return Ok(());
        }
        Err(self.fault(
            if byte == b' ' { "one space".to_owned() } else { char::from(byte).to_string() },
            place,
        ))
    }

    /// What was expected here, and what is here instead.
    #[cold]
    fn fault(&self, expected: impl Into<String>, place: &str) -> Fault {
        let mut reason = format!("expected {}", expected.into());
        if !place.is_empty() {
            reason = format!("{reason} {place}");
        }
        let rest = self.rest();
        let found = if rest.is_empty() {
            "the line ends".to_owned()
        } else {
            format!("found {}", excerpt(rest))
        };
        Fault { line: None, offset: Some(self.at), reason: format!("{reason}, {found}") }
    }
}

/// Labels of a text that the parser has accepted.
pub(super) fn pairs(text: &str) -> impl Iterator<Item = Label<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let label = rest.trim_start_matches([' ', '\t', ',']);
        let (name, value) = label.split_once('=')?;
        let value = value.trim_start_matches([' ', '\t']).strip_prefix('"')?;
        let length = closing_quote(value)?;
        rest = &value[length + 1..];
        Some(Label { name: name.trim_end_matches([' ', '\t']), value: Escaped(&value[..length]) })
    })
}

/// A value as both formats write it.
pub(super) fn number(token: &str) -> Option<f64> {
    let bytes = token.as_bytes();
    if !bytes.is_empty() && bytes.len() <= EXACT_DIGITS && bytes.iter().all(u8::is_ascii_digit) {
        let integer = bytes.iter().fold(0_u64, |sum, digit| sum * 10 + u64::from(digit - b'0'));
        #[allow(clippy::cast_precision_loss, reason = "at most fifteen digits")]
        return Some(integer as f64);
    }
    token.parse().ok()
}

fn closing_quote(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 0;
    loop {
        at += memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes[at] == b'"' {
            return Some(at);
        }
        at += 2;
    }
}

/// The length of the name that `text` begins with; `also` is allowed beside letters, digits and
/// underscores.
fn name_length(text: &str, also: u8) -> usize {
    let bytes = text.as_bytes();
    if bytes.first().is_none_or(u8::is_ascii_digit) {
        return 0;
    }
    let inside = |byte: u8| IN_NAME[usize::from(byte)] || byte == also;
    bytes.iter().position(|byte| !inside(*byte)).unwrap_or(bytes.len())
}

/// Letters, digits and underscores.
const IN_NAME: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        table[byte as usize] = byte.is_ascii_alphanumeric() || byte == b'_';
        byte += 1;
    }
    table
};

fn duplicate<'a>(labels: &[Label<'a>]) -> Option<&'a str> {
    if labels.len() <= FEW_LABELS {
        let mut earlier = labels.iter().enumerate();
        return earlier
            .find(|(index, label)| labels[..*index].iter().any(|other| other.name == label.name))
            .map(|(_, label)| label.name);
    }
    let mut names: Vec<_> = labels.iter().map(|label| label.name).collect();
    names.sort_unstable();
    names.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
}

fn openmetrics_type(text: &str) -> Option<MetricType> {
    Some(match text {
        "unknown" => MetricType::Unknown,
        "counter" => MetricType::Counter,
        "gauge" => MetricType::Gauge,
        "histogram" => MetricType::Histogram,
        "gaugehistogram" => MetricType::GaugeHistogram,
        "summary" => MetricType::Summary,
        "info" => MetricType::Info,
        "stateset" => MetricType::StateSet,
        _ => return None,
    })
}

fn unknown_type(text: &str, at: usize) -> Fault {
    Fault {
        line: None,
        offset: Some(at),
        reason: format!("{} is not a metric type", excerpt(text)),
    }
}

#[cold]
fn refused(what: &str, token: &str, at: usize) -> Fault {
    Fault {
        line: None,
        offset: Some(at),
        reason: format!("{what} {} is not a number", excerpt(token)),
    }
}
