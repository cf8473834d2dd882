//! Label sets: what tells one series from another.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The label that holds the metric's stored name.
pub const NAME: &str = "__name__";
/// The label that holds the service.
pub const SERVICE: &str = "service";
/// The label that holds the cluster.
pub const CLUSTER: &str = "cluster";
/// The label that holds the instance.
pub const INSTANCE: &str = "instance";

/// One name and its value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Label {
    /// The name, of the form `[a-zA-Z_][a-zA-Z0-9_]*`.
    pub name: Arc<str>,
    /// The value: any UTF-8, never empty in a set.
    pub value: Arc<str>,
}

/// A set of labels, sorted by name, each name once, no empty value. Cheap to clone.
///
/// ```
/// use hms_ops_core::labels::Labels;
///
/// let labels = Labels::metric("up").with("cluster", "cluster-a");
/// assert_eq!(labels.get("cluster"), Some("cluster-a"));
/// assert_eq!(labels.to_string(), r#"up{cluster="cluster-a"}"#);
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "Vec<(String, String)>", into = "Vec<(String, String)>")]
pub struct Labels(Arc<[Label]>);

impl Labels {
    /// The empty set.
    pub fn empty() -> Self {
        Self(Arc::from([]))
    }

    /// The set with only the name of a metric, brought to its stored form.
    pub fn metric(name: &str) -> Self {
        Self::empty().with(NAME, &crate::name::stored_name(name))
    }

    /// The set of these pairs. Of a name that comes twice the later value counts; an empty value
    /// removes the name.
    pub fn from_pairs<N: Into<Arc<str>>, V: Into<Arc<str>>>(
        pairs: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let mut all: Vec<Label> = pairs
            .into_iter()
            .map(|(name, value)| Label { name: name.into(), value: value.into() })
            .collect();
        // The sort is stable, so the last of equal names is the one given last.
        all.sort_by(|a, b| a.name.cmp(&b.name));
        let mut kept: Vec<Label> = Vec::with_capacity(all.len());
        for label in all {
            if kept.last().is_some_and(|last| last.name == label.name) {
                kept.pop();
            }
            kept.push(label);
        }
        kept.retain(|label| !label.value.is_empty());
        Self(kept.into())
    }

    /// This set with one label more, or with another value for it; an empty value removes it.
    #[must_use]
    pub fn with(&self, name: &str, value: &str) -> Self {
        let added = Label { name: name.into(), value: value.into() };
        Self::from_pairs(
            self.0.iter().cloned().chain([added]).map(|label| (label.name, label.value)),
        )
    }

    /// This set without these names.
    #[must_use]
    pub fn without(&self, names: &[&str]) -> Self {
        Self(self.0.iter().filter(|l| !names.contains(&&*l.name)).cloned().collect())
    }

    /// This set with only these names.
    #[must_use]
    pub fn only(&self, names: &[&str]) -> Self {
        Self(self.0.iter().filter(|l| names.contains(&&*l.name)).cloned().collect())
    }

    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.binary_search_by(|label| (*label.name).cmp(name)).ok()?;
        Some(&self.0[found].value)
    }

    /// The metric's stored name, if the set has one.
    pub fn name(&self) -> Option<&str> {
        self.get(NAME)
    }

    /// All labels, sorted by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|label| (&*label.name, &*label.value))
    }

    /// How many labels there are, the metric's name included.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no label at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The label names of these series, sorted.
pub fn names(series: &[Labels]) -> Vec<String> {
    let names: BTreeSet<&str> = series.iter().flat_map(|l| l.iter().map(|(n, _)| n)).collect();
    names.into_iter().map(str::to_owned).collect()
}

/// The values that the label `name` has in these series, sorted.
pub fn values(name: &str, series: &[Labels]) -> Vec<String> {
    let values: BTreeSet<&str> = series.iter().filter_map(|l| l.get(name)).collect();
    values.into_iter().map(str::to_owned).collect()
}

impl Default for Labels {
    fn default() -> Self {
        Self::empty()
    }
}

impl From<Vec<(String, String)>> for Labels {
    fn from(pairs: Vec<(String, String)>) -> Self {
        Self::from_pairs(pairs)
    }
}

impl From<Labels> for Vec<(String, String)> {
    fn from(labels: Labels) -> Self {
        labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// As in PromQL: `name{a="b"}`, with `\`, `"` and line feeds escaped.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name().unwrap_or_default())?;
        let mut rest = self.iter().filter(|(name, _)| *name != NAME).peekable();
        if rest.peek().is_none() {
            return if self.name().is_none() { f.write_str("{}") } else { Ok(()) };
        }
        let mut open = '{';
        for (name, value) in rest {
            write!(f, "{open}{name}=\"{}\"", Escaped(value))?;
            open = ',';
        }
        f.write_str("}")
    }
}

/// A label value as it stands between quotes in exposition and PromQL.
#[derive(Debug)]
pub struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some(at) = rest.find(['\\', '"', '\n']) {
            f.write_str(&rest[..at])?;
            f.write_str(match rest.as_bytes()[at] {
                b'\\' => "\\\\",
                b'"' => "\\\"",
                _ => "\\n",
            })?;
            rest = &rest[at + 1..];
        }
        f.write_str(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_sorted_and_holds_each_name_once_with_its_last_value() {
        let labels = Labels::from_pairs([("b", "1"), ("a", "2"), ("b", "3"), ("c", "")]);
        assert_eq!(labels.iter().collect::<Vec<_>>(), [("a", "2"), ("b", "3")]);
    }

    #[test]
    fn an_empty_value_removes_a_label() {
        assert!(Labels::from_pairs([("a", "1")]).with("a", "").is_empty());
    }

    #[test]
    fn a_set_prints_as_promql_with_hostile_values_escaped() {
        let labels = Labels::metric("up").with("path", "C:\\\"x\"\n");
        assert_eq!(labels.to_string(), r#"up{path="C:\\\"x\"\n"}"#);
        assert_eq!(Labels::empty().to_string(), "{}");
        assert_eq!(Labels::metric("up").to_string(), "up");
    }
}
