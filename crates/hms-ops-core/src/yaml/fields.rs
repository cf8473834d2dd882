//! Reads a YAML mapping key by key: what nobody asks for is an error that names its line.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Node, Value};

/// Something about one key of a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {key}: {reason}")]
pub struct Complaint {
    /// The file, as it was named.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The key.
    pub key: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Why a file says nothing that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each message explains its fields")]
pub enum FileError {
    /// A key says what it may not say, or is not known.
    #[error(transparent)]
    Malformed(#[from] Complaint),

    /// The file is not YAML.
    #[error("{file}:{line}: {reason}")]
    Yaml { file: String, line: usize, reason: String },
}

/// A file that is being read.
#[derive(Debug)]
pub struct Source {
    file: String,
    warnings: RefCell<Vec<Complaint>>,
}

/// A mapping of which each key must be asked for.
#[derive(Debug)]
pub struct Fields<'a> {
    source: &'a Source,
    pairs: Vec<Field<'a>>,
}

/// A key and its value.
#[derive(Clone, Debug)]
pub struct Field<'a> {
    source: &'a Source,
    /// The key.
    pub key: &'a str,
    key_line: usize,
    node: &'a Node,
}

type Result<T> = std::result::Result<T, FileError>;

impl Source {
    /// A file of this name, which is for messages and for the folder of its paths.
    pub fn new(file: &str) -> Self {
        Self { file: file.to_owned(), warnings: RefCell::default() }
    }

    /// Reads what the file contains.
    ///
    /// # Errors
    ///
    /// [`FileError::Yaml`] when it is no document.
    pub fn parse(&self, text: &str) -> Result<Node> {
        super::parse(text).map_err(|fault| {
            let (file, line) = (self.file.clone(), fault.line);
            FileError::Yaml { file, line, reason: fault.reason }
        })
    }

    /// The whole document under a name for messages.
    pub fn root<'a>(&'a self, node: &'a Node, name: &'a str) -> Field<'a> {
        Field { source: self, key: name, key_line: node.line, node }
    }

    /// What was warned about.
    pub fn into_warnings(self) -> Vec<Complaint> {
        self.warnings.into_inner()
    }

    /// A path in the file, which is relative to the file.
    pub fn path(&self, path: &str) -> PathBuf {
        Path::new(&self.file).parent().map_or_else(|| path.into(), |folder| folder.join(path))
    }
}

impl<'a> Fields<'a> {
    /// Takes a key out; `None` when it is not there, or says nothing.
    pub fn get(&mut self, key: &str) -> Option<Field<'a>> {
        let at = self.pairs.iter().position(|field| field.key == key)?;
        let field = self.pairs.swap_remove(at);
        (!matches!(field.node.value, Value::Null)).then_some(field)
    }

    /// A duration, where one is said.
    ///
    /// # Errors
    ///
    /// [`FileError`] when it is none.
    pub fn duration(&mut self, key: &str) -> Result<Option<Duration>> {
        self.get(key).map(|field| field.duration()).transpose()
    }

    /// A truth value.
    ///
    /// # Errors
    ///
    /// [`FileError`] when it is none.
    pub fn flag(&mut self, key: &str, default: bool) -> Result<bool> {
        self.get(key).map_or(Ok(default), |field| field.flag())
    }

    /// A limit, of which 0 is none.
    ///
    /// # Errors
    ///
    /// [`FileError`] when it is not that.
    pub fn limit(&mut self, key: &str) -> Result<Option<usize>> {
        let limit = self.get(key).map(|field| field.number::<usize>()).transpose()?;
        Ok(limit.filter(|limit| *limit > 0))
    }

    /// A text, where one is said.
    ///
    /// # Errors
    ///
    /// [`FileError`] when it is none.
    pub fn text(&mut self, key: &str) -> Result<Option<&'a str>> {
        self.get(key).map(|field| field.text()).transpose()
    }

    /// A path, where one is said.
    ///
    /// # Errors
    ///
    /// [`FileError`] when it is no text.
    pub fn path(&mut self, key: &str) -> Result<Option<PathBuf>> {
        let source = self.source;
        Ok(self.text(key)?.map(|path| source.path(path)))
    }

    /// The items of a list; none where nothing is said.
    ///
    /// # Errors
    ///
    /// [`FileError`] when it is none.
    pub fn items(&mut self, key: &str) -> Result<Vec<Field<'a>>> {
        self.get(key).map_or_else(|| Ok(Vec::new()), |field| field.items())
    }

    /// Warns about keys that change nothing here.
    pub fn pass_over(&mut self, keys: &[(&str, &str)]) {
        for (key, reason) in keys {
            if let Some(field) = self.get(key) {
                field.warn(reason);
            }
        }
    }

    /// Refuses these keys, unless they only say what is so anyway.
    ///
    /// # Errors
    ///
    /// [`FileError`] when it is not that.
    pub fn refuse(&mut self, keys: &[(&str, &str)]) -> Result<()> {
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

    /// Refuses all keys that end so, with the reason.
    ///
    /// # Errors
    ///
    /// [`FileError`] at the first of them.
    pub fn refuse_ending(&self, ending: &str, reason: &str) -> Result<()> {
        let refused = self.pairs.iter().filter(|field| field.key.ends_with(ending));
        match refused.min_by_key(|field| field.key_line) {
            None => Ok(()),
            Some(field) => Err(field.at_key(reason)),
        }
    }

    /// Everything must have been asked for.
    ///
    /// # Errors
    ///
    /// [`FileError`] when it is not that.
    pub fn end(mut self) -> Result<()> {
        self.pairs.sort_by_key(|field| field.key_line);
        match self.pairs.first() {
            None => Ok(()),
            Some(field) => Err(field.at_key("is not a key that is known here")),
        }
    }
}

impl<'a> Field<'a> {
    /// Says what is wrong with the value.
    pub fn error(&self, reason: impl Into<String>) -> FileError {
        FileError::Malformed(self.complaint(self.node.line, reason.into()))
    }

    /// Says what is wrong with the key.
    pub fn at_key(&self, reason: &str) -> FileError {
        FileError::Malformed(self.complaint(self.key_line, reason.to_owned()))
    }

    /// Warns about the key.
    pub fn warn(&self, reason: &str) {
        let complaint = self.complaint(self.key_line, reason.to_owned());
        self.source.warnings.borrow_mut().push(complaint);
    }

    fn complaint(&self, line: usize, reason: String) -> Complaint {
        Complaint { file: self.source.file.clone(), line, key: self.key.to_owned(), reason }
    }

    /// The line on which the value begins, from 1.
    pub fn line(&self) -> usize {
        self.node.line
    }

    /// The file.
    pub fn source(&self) -> &'a Source {
        self.source
    }

    /// The value as text; nothing is the empty text.
    ///
    /// # Errors
    ///
    /// [`FileError`] when it is a list or a mapping.
    pub fn text(&self) -> Result<&'a str> {
        match &self.node.value {
            Value::Null => Ok(""),
            Value::Scalar(text) => Ok(text),
            _ => Err(self.error("should be text")),
        }
    }

    /// As YAML 1.1 writes it, which Prometheus reads.
    ///
    /// # Errors
    ///
    /// [`FileError`] when it is not that.
    pub fn flag(&self) -> Result<bool> {
        let text = self.text()?;
        match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "y" => Ok(true),
            "false" | "no" | "off" | "n" => Ok(false),
            _ => Err(self.error(format!("{text:?} is not true or false"))),
        }
    }

    /// The value as a number.
    ///
    /// # Errors
    ///
    /// [`FileError`] when it is none.
    pub fn number<N: std::str::FromStr>(&self) -> Result<N> {
        let text = self.text()?;
        text.parse().map_err(|_| self.error(format!("{text:?} is not a number of a sensible size")))
    }

    /// The value as a duration.
    ///
    /// # Errors
    ///
    /// [`FileError`] when it is none.
    pub fn duration(&self) -> Result<Duration> {
        let text = self.text()?;
        let duration = parse_duration(text);
        duration
            .ok_or_else(|| self.error(format!("{text:?} is not a duration such as 15s or 1h30m")))
    }

    /// A size, of which 0 is none.
    ///
    /// # Errors
    ///
    /// [`FileError`] when it is not that.
    pub fn bytes(&self) -> Result<Option<usize>> {
        let text = self.text()?;
        match parse_bytes(text) {
            Some(bytes) => Ok(Some(bytes).filter(|bytes| *bytes > 0)),
            None => Err(self.error(format!("{text:?} is not a size such as 512KB or 10MB"))),
        }
    }

    /// The items of a list.
    ///
    /// # Errors
    ///
    /// [`FileError`] when it is none.
    pub fn items(&self) -> Result<Vec<Self>> {
        match &self.node.value {
            Value::Null => Ok(Vec::new()),
            Value::Sequence(items) => {
                let field = |node: &'a Node| Self { key_line: node.line, node, ..self.clone() };
                Ok(items.iter().map(field).collect())
            }
            _ => Err(self.error("should be a list")),
        }
    }

    /// The items of a list of texts.
    ///
    /// # Errors
    ///
    /// [`FileError`] when it is none.
    pub fn texts(&self) -> Result<Vec<String>> {
        self.items()?.iter().map(|item| Ok(item.text()?.to_owned())).collect()
    }

    /// The keys of a mapping.
    ///
    /// # Errors
    ///
    /// [`FileError`] when it is none.
    pub fn fields(&self) -> Result<Fields<'a>> {
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
    ///
    /// # Errors
    ///
    /// [`FileError`] when it is not that.
    pub fn map(&self) -> Result<BTreeMap<String, Self>> {
        let fields = self.fields()?;
        Ok(fields.pairs.into_iter().map(|field| (field.key.to_owned(), field)).collect())
    }

    /// Labels that the file chooses.
    ///
    /// # Errors
    ///
    /// [`FileError`] when it is not that.
    pub fn labels(&self) -> Result<BTreeMap<String, String>> {
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
pub fn parse_duration(text: &str) -> Option<Duration> {
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
pub fn show_duration(duration: Duration) -> String {
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
