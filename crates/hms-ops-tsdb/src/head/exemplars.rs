//! The exemplars of the head: the newest of all series, a bounded number.

use std::collections::{HashMap, VecDeque};

use hms_ops_core::labels::Labels;
use hms_ops_core::matcher::Matcher;
use hms_ops_core::sample::Exemplar;
use hms_ops_core::time::{TimeRange, Timestamp};

use crate::record::SeriesId;

/// A ring of exemplars.
#[derive(Debug)]
pub(crate) struct Exemplars {
    limit: usize,
    ring: VecDeque<(SeriesId, Labels, Exemplar)>,
    newest: HashMap<SeriesId, Exemplar>,
}

impl Exemplars {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, ring: VecDeque::new(), newest: HashMap::new() }
    }

    /// The newest of a series.
    pub(crate) fn newest(&self, series: SeriesId) -> Option<&Exemplar> {
        self.newest.get(&series)
    }

    /// Adds one, unless its series has it or a newer one; the oldest makes room.
    pub(crate) fn take(&mut self, series: SeriesId, labels: &Labels, exemplar: Exemplar) {
        if self.limit == 0 || !follows(self.newest(series), &exemplar) {
            return;
        }
        if self.ring.len() >= self.limit
            && let Some((gone, _, oldest)) = self.ring.pop_front()
            && self.newest.get(&gone) == Some(&oldest)
        {
            self.newest.remove(&gone);
        }
        self.newest.insert(series, exemplar.clone());
        self.ring.push_back((series, labels.clone(), exemplar));
    }

    /// Drops those of a series in a range.
    pub(crate) fn delete(&mut self, series: SeriesId, range: TimeRange) {
        self.ring.retain(|(of, _, exemplar)| *of != series || !range.contains(exemplar.at));
        let newest = self.ring.iter().rfind(|(of, ..)| *of == series);
        match newest.map(|(.., exemplar)| exemplar.clone()) {
            Some(newest) => self.newest.insert(series, newest),
            None => self.newest.remove(&series),
        };
    }

    /// The series that all `matchers` accept; each once for each exemplar.
    pub(crate) fn ids(&self, matchers: &[Matcher]) -> impl Iterator<Item = SeriesId> {
        let wanted = |(_, labels, _): &&(_, _, _)| Matcher::all(matchers, labels);
        self.ring.iter().filter(wanted).map(|(series, ..)| *series)
    }

    pub(crate) fn all(&self) -> Vec<(SeriesId, Labels, Exemplar)> {
        self.ring.iter().cloned().collect()
    }

    /// Those in `range` of the series that all `matchers` accept: by labels, then by time.
    pub(crate) fn select(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Vec<(Labels, Vec<Exemplar>)> {
        let wanted = self.ring.iter().filter(|(_, labels, exemplar)| {
            range.contains(exemplar.at) && Matcher::all(matchers, labels)
        });
        let mut wanted: Vec<_> = wanted.collect();
        let order = |e: &&(SeriesId, Labels, Exemplar)| (e.1.clone(), e.2.at);
        wanted.sort_by_key(order);
        let mut found: Vec<(Labels, Vec<Exemplar>)> = Vec::new();
        for (_, labels, exemplar) in wanted {
            match found.last_mut() {
                Some((last, all)) if last == labels => all.push(exemplar.clone()),
                _ => found.push((labels.clone(), vec![exemplar.clone()])),
            }
        }
        found
    }
}

/// Whether `exemplar` is another and not older than `newest`.
pub(crate) fn follows(newest: Option<&Exemplar>, exemplar: &Exemplar) -> bool {
    newest.is_none_or(|newest| newest != exemplar && newest.at <= exemplar.at)
}

/// Whether `exemplar` is older than `newest`, and what that one's time is.
pub(crate) fn is_older(newest: Option<&Exemplar>, exemplar: &Exemplar) -> Option<Timestamp> {
    newest.filter(|newest| newest.at > exemplar.at).map(|newest| newest.at)
}
