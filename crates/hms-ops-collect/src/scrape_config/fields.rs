//! Reads a YAML mapping key by key: what nobody asks for is an error that names its line.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Complaint, ScrapeConfigError};
use crate::yaml::{self, Node, Value};

/// A file that is being read.
#[derive(Debug)]
pub(super) struct Source {
    file: String,
    warnings: RefCell<Vec<Complaint>>,
}

/// A mapping of which each key must be asked for.
pub(super) struct Fields<'a> {
    source: &'a Source,
    pairs: Vec<Field<'a>>,
}

/// A key and its value.
#[derive(Clone)]
pub(super) struct Field<'a> {
    source: &'a Source,
    pub(super) key: &'a str,
    key_line: usize,
    node: &'a Node,
}

type Result<T> = std::result::Result<T, ScrapeConfigError>;

impl Source {
    pub(super) fn new(file: &str) -> Self {
        Self { file: file.to_owned(), warnings: RefCell::default() }
    }

    pub(super) fn parse(&self, text: &str) -> Result<Node> {
        yaml::parse(text).map_err(|fault| {
            let (file, line) = (self.file.clone(), fault.line);
            ScrapeConfigError::Yaml { file, line, reason: fault.reason }
        })
    }

    /// The whole document under a name for messages.
    pub(super) fn root<'a>(&'a self, node: &'a Node, name: &'a str) -> Field<'a> {
        Field { source: self, key: name, key_line: node.line, node }
    }

    pub(super) fn into_warnings(self) -> Vec<Complaint> {
        self.warnings.into_inner()
    }

    /// A path in the file, which is relative to the file.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        Path::new(&self.file).parent().map_or_else(|| path.into(), |folder| folder.join(path))
    }
}

impl<'a> Fields<'a> {
    /// Takes a key out; `None` when it is not there, or says nothing.
    pub(super) fn get(&mut self, key: &str) -> Option<Field<'a>> {
        let at = self.pairs.iter().position(|field| field.key == key)?;
        let field = self.pairs.swap_remove(at);
        (!matches!(field.node.value, Value::Null)).then_some(field)
    }

    pub(super) fn duration(&mut self, key: &str) -> Result<Option<Duration>> {
        self.get(key).map(|field| field.duration()).transpose()
    }

    pub(super) fn flag(&mut self, key: &str, default: bool) -> Result<bool> {
        self.get(key).map_or(Ok(default), |field| field.flag())
    }

    /// A limit, of which 0 is none.
    pub(super) fn limit(&mut self, key: &str) -> Result<Option<usize>> {
        let limit = self.get(key).map(|field| field.number::<usize>()).transpose()?;
        Ok(limit.filter(|limit| *limit > 0))
    }

    pub(super) fn text(&mut self, key: &str) -> Result<Option<&'a str>> {
        self.get(key).map(|field| field.text()).transpose()
    }

    pub(super) fn path(&mut self, key: &str) -> Result<Option<PathBuf>> {
        let source = self.source;
        Ok(self.text(key)?.map(|path| source.path(path)))
    }

    pub(super) fn items(&mut self, key: &str) -> Result<Vec<Field<'a>>> {
        self.get(key).map_or_else(|| Ok(Vec::new()), |field| field.items())
    }

    /// Warns about keys that change nothing here.
    pub(super) fn pass_over(&mut self, keys: &[(&str, &str)]) {
        for (key, reason) in keys {
            if let Some(field) = self.get(key) {
                field.warn(reason);
            }
        }
    }

    /// Refuses these keys, unless they only say what is so anyway.
    pub(super) fn refuse(&mut self, keys: &[(&str, &str)]) -> Result<()> {
        for (key, usual) in keys {
            if let Some(field) = self.get(key) {
                let says_usual =
                    matches!(&field.node.value, Value::Scalar(text) if &**text == *usual);
                if !says_usual {
                    return Err(field.at_key("is not supported"));
                }
            }
        }
        Ok(())
    }

    /// Everything must have been asked for.
    pub(super) fn end(mut self) -> Result<()> {
        self.pairs.sort_by_key(|field| field.key_line);
        match self.pairs.first() {
            None => Ok(()),
            Some(field) if field.key.ends_with("_sd_configs") => {
                Err(field.at_key("is not supported; file, http, dns and static are"))
            }
            Some(field) => Err(field.at_key("is not a key that is known here")),
        }
    }
}

impl<'a> Field<'a> {
    pub(super) fn error(&self, reason: impl Into<String>) -> ScrapeConfigError {
        ScrapeConfigError::Malformed(self.complaint(self.node.line, reason.into()))
    }

    fn at_key(&self, reason: &str) -> ScrapeConfigError {
        ScrapeConfigError::Malformed(self.complaint(self.key_line, reason.to_owned()))
    }

    pub(super) fn warn(&self, reason: &str) {
        let complaint = self.complaint(self.key_line, reason.to_owned());
        self.source.warnings.borrow_mut().push(complaint);
    }

    fn complaint(&self, line: usize, reason: String) -> Complaint {
        Complaint { file: self.source.file.clone(), line, key: self.key.to_owned(), reason }
    }

    pub(super) fn source(&self) -> &'a Source {
        self.source
    }

    pub(super) fn text(&self) -> Result<&'a str> {
        match &self.node.value {
            Value::Null => Ok(""),
            Value::Scalar(text) => Ok(text),
            _ => Err(self.error("should be text")),
        }
    }

    /// As YAML 1.1 writes it, which Prometheus reads.
    pub(super) fn flag(&self) -> Result<bool> {
        let text = self.text()?;
        match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "y" => Ok(true),
            "false" | "no" | "off" | "n" => Ok(false),
            _ => Err(self.error(format!("{text:?} is not true or false"))),
        }
    }

    pub(super) fn number<N: std::str::FromStr>(&self) -> Result<N> {
        let text = self.text()?;
        text.parse().map_err(|_| self.error(format!("{text:?} is not a number of a sensible size")))
    }

    pub(super) fn duration(&self) -> Result<Duration> {
        let text = self.text()?;
        let duration = parse_duration(text);
        duration
            .ok_or_else(|| self.error(format!("{text:?} is not a duration such as 15s or 1h30m")))
    }

    /// A size, of which 0 is none.
    pub(super) fn bytes(&self) -> Result<Option<usize>> {
        let text = self.text()?;
        match parse_bytes(text) {
            Some(bytes) => Ok(Some(bytes).filter(|bytes| *bytes > 0)),
            None => Err(self.error(format!("{text:?} is not a size such as 512KB or 10MB"))),
        }
    }

    pub(super) fn items(&self) -> Result<Vec<Self>> {
        match &self.node.value {
            Value::Null => Ok(Vec::new()),
            Value::Sequence(items) => {
                let field = |node: &'a Node| Self { key_line: node.line, node, ..self.clone() };
                Ok(items.iter().map(field).collect())
            }
            _ => Err(self.error("should be a list")),
        }
    }

    pub(super) fn texts(&self) -> Result<Vec<String>> {
        self.items()?.iter().map(|item| Ok(item.text()?.to_owned())).collect()
    }

    pub(super) fn fields(&self) -> Result<Fields<'a>> {
        let source = self.source;
        let pairs = match &self.node.value {
            Value::Null => Vec::new(),
            Value::Mapping(pairs) => pairs
                .iter()
                .map(|(key, node)| Field { source, key: &key.text, key_line: key.line, node })
                .collect(),
            _ => return Err(self.error("should be keys and values")),
        };
        Ok(Fields { source, pairs })
    }

    /// Keys that the file chooses.
    pub(super) fn map(&self) -> Result<BTreeMap<String, Self>> {
        let fields = self.fields()?;
        Ok(fields.pairs.into_iter().map(|field| (field.key.to_owned(), field)).collect())
    }

    /// Labels that the file chooses.
    pub(super) fn labels(&self) -> Result<BTreeMap<String, String>> {
        let labels = self.map()?.into_iter().map(|(name, value)| {
            if name.is_empty() {
                return Err(value.error("a label needs a name"));
            }
            Ok((name, value.text()?.to_owned()))
        });
        labels.collect()
    }
}

const UNITS: [(&str, u64); 7] = [
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

/// The longest duration: 2^63 nanoseconds, about 292 years.
const MAX_MILLIS: u64 = i64::MAX as u64 / 1_000_000;

/// `15s`, `1h30m`, `0`: each unit once, the large ones first.
pub(super) fn parse_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut units = UNITS.iter();
    let (mut rest, mut millis) = (text, 0_u64);
    loop {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let (_, unit) = units.find(|(name, _)| *name == &rest[..letters])?;
        millis = millis.checked_add(number.checked_mul(*unit)?)?;
        rest = &rest[letters..];
        if rest.is_empty() {
            return (millis <= MAX_MILLIS).then(|| Duration::from_millis(millis));
        }
    }
}

/// As Prometheus writes it, in `__scrape_interval__`.
pub(super) fn show_duration(duration: Duration) -> String {
    let mut millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if millis == 0 {
        return "0s".to_owned();
    }
    let mut shown = String::new();
    for (name, unit) in UNITS {
        // 90d is easier to read than 12w6d.
        let only_if_whole = matches!(name, "y" | "w");
        if millis >= unit && (!only_if_whole || millis.is_multiple_of(unit)) {
            shown += &format!("{}{name}", millis / unit);
            millis %= unit;
        }
    }
    shown
}

/// `10MB`, `512KiB`, `0`; every unit is a power of 1024.
fn parse_bytes(text: &str) -> Option<usize> {
    if text == "0" {
        return Some(0);
    }
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let number: usize = text[..digits].parse().ok()?;
    let shift = match &text[digits..] {
        "B" => 0,
        "KB" | "KiB" => 10,
        "MB" | "MiB" => 20,
        "GB" | "GiB" => 30,
        _ => return None,
    };
    number.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_shown_as_prometheus_does() {
        for (text, millis) in [
            ("0", 0),
            ("15s", 15_000),
            ("1h30m", 5_400_000),
            ("1y1w1d1h1m1s1ms", 32_230_861_001),
            ("90d", 90 * 86_400_000),
        ] {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in
            ["", "5", "s", "-1s", "1.5s", "1m1h", "1s1s", "5 s", "293y", "99999999999999999999y"]
        {
            assert_eq!(parse_duration(text), None, "{text}");
        }
        for (millis, text) in [
            (0, "0s"),
            (60_000, "1m"),
            (90_500, "1m30s500ms"),
            (14 * 86_400_000, "2w"),
            (90 * 86_400_000, "90d"),
        ] {
            assert_eq!(show_duration(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        assert_eq!(parse_bytes("2KB"), Some(2048));
        assert_eq!(parse_bytes("1MiB"), Some(1 << 20));
        for text in ["", "5", "MB", "-1KB", "1XB", "99999999999999999999GB"] {
            assert_eq!(parse_bytes(text), None, "{text}");
        }
    }
}
