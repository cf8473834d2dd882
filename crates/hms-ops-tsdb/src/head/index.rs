//! The head's inverted index: symbols, and for each label the series that have it.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError};

use hms_ops_core::labels::Labels;
use hms_ops_core::matcher::Matcher;

use crate::postings::{Postings, matching, union};

/// Answers of regular expressions that are remembered.
const CACHED_PATTERNS: usize = 256;

/// Which series have which label.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// Each text once; label sets share it.
    symbols: HashSet<Arc<str>>,
    names: BTreeMap<Arc<str>, Name>,
    all: Vec<u32>,
    /// Counts changes of the sets of values.
    changes: u64,
    /// A pattern is run over the values of its name once, until another value comes.
    cache: Mutex<HashMap<Pattern, Answer>>,
}

/// One label name.
#[derive(Debug, Default)]
struct Name {
    values: BTreeMap<Arc<str>, Vec<u32>>,
    /// The last change of the set of values.
    version: u64,
}

/// A matcher as it is written, and whether what it accepts is meant.
type Pattern = (String, bool);

/// The values that are meant, as of a version of the name.
type Answer = (u64, Arc<[Arc<str>]>);

impl Index {
    /// The same label set, made of the index's own texts.
    pub(crate) fn intern(&mut self, labels: &Labels) -> Labels {
        let mut symbol = |text: &str| match self.symbols.get(text) {
            Some(known) => known.clone(),
            None => {
                let new: Arc<str> = text.into();
                self.symbols.insert(new.clone());
                new
            }
        };
        Labels::from_pairs(labels.iter().map(|(n, v)| (symbol(n), symbol(v))).collect::<Vec<_>>())
    }

    /// Adds a series; `labels` are interned.
    pub(crate) fn add(&mut self, id: u32, labels: &Labels) {
        insert(&mut self.all, id);
        for (name, value) in labels.iter() {
            if !self.names.contains_key(name) {
                self.names.insert(self.symbol(name), Name::default());
            }
            let symbol = self.symbol(value);
            let name = self.names.get_mut(name).expect("it was just put there");
            let before = name.values.len();
            insert(name.values.entry(symbol).or_default(), id);
            if name.values.len() > before {
                self.changes += 1;
                name.version = self.changes;
            }
        }
    }

    /// Forgets series, and the texts that no other has.
    pub(crate) fn remove(&mut self, gone: &[(u32, Labels)]) {
        let ids: HashSet<u32> = gone.iter().map(|(id, _)| *id).collect();
        self.all.retain(|id| !ids.contains(id));
        let touched: HashSet<(&str, &str)> = gone.iter().flat_map(|(_, l)| l.iter()).collect();
        for (name, value) in touched {
            let Some(values) = self.names.get_mut(name) else { continue };
            if let Some(list) = values.values.get_mut(value) {
                list.retain(|id| !ids.contains(id));
                if list.is_empty() {
                    values.values.remove(value);
                    self.changes += 1;
                    values.version = self.changes;
                }
            }
        }
        self.names.retain(|_, name| !name.values.is_empty());
        let in_use: HashSet<&Arc<str>> =
            self.names.iter().flat_map(|(name, of)| of.values.keys().chain([name])).collect();
        self.symbols.retain(|symbol| in_use.contains(symbol));
    }

    /// How many series have this label.
    pub(crate) fn count(&self, name: &str, value: &str) -> usize {
        self.names.get(name).and_then(|of| of.values.get(value)).map_or(0, Vec::len)
    }

    /// The series that all `matchers` accept.
    pub(crate) fn matching(&self, matchers: &[Matcher]) -> Vec<u32> {
        matching(self, matchers)
    }

    /// About how many bytes one more series with these labels takes here.
    pub(crate) fn cost(&self, labels: &Labels) -> usize {
        let text = |text: &str| if self.symbols.contains(text) { 0 } else { text.len() + 64 };
        labels.iter().map(|(name, value)| 8 + text(name) + text(value)).sum()
    }

    fn symbol(&self, text: &str) -> Arc<str> {
        self.symbols.get(text).cloned().unwrap_or_else(|| text.into())
    }

    /// The values of a label that a matcher accepts, or that it refuses.
    fn values(&self, name: &Name, matcher: &Matcher, accepted: bool) -> Arc<[Arc<str>]> {
        let pattern = (matcher.to_string(), accepted);
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((version, values)) = cache.get(&pattern)
            && *version == name.version
        {
            return values.clone();
        }
        // What a matcher accepts begins with its prefix; what it refuses may begin with anything.
        let prefix = if accepted { matcher.prefix() } else { "" };
        let from = (Bound::Included(prefix), Bound::Unbounded);
        let values = name.values.range::<str, _>(from).map(|(value, _)| value);
        let values = values.take_while(|value| value.starts_with(prefix));
        let values: Arc<[_]> =
            values.filter(|value| matcher.accepts(value) == accepted).cloned().collect();
        if cache.len() >= CACHED_PATTERNS {
            cache.clear();
        }
        cache.insert(pattern, (name.version, values.clone()));
        values
    }
}

impl Postings for Index {
    fn all(&self) -> Cow<'_, [u32]> {
        Cow::Borrowed(&self.all)
    }

    fn with<'a>(&'a self, matcher: &Matcher, accepted: bool) -> Cow<'a, [u32]> {
        let Some(name) = self.names.get(matcher.name()) else { return Cow::Borrowed(&[]) };
        let list = |value: &Arc<str>| name.values.get(value).map(|list| Cow::Borrowed(&**list));
        match matcher.alternatives() {
            Some(values) if accepted => union(values.iter().filter_map(list)),
            _ => union(self.values(name, matcher, accepted).iter().filter_map(list)),
        }
    }
}

fn insert(list: &mut Vec<u32>, id: u32) {
    match list.last() {
        Some(&last) if last >= id => {
            if let Err(place) = list.binary_search(&id) {
                list.insert(place, id);
            }
        }
        _ => list.push(id),
    }
}
