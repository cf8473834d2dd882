//! One answer out of two: the backend's, and that of memory.

use std::collections::BTreeMap;

use hms_ops_core::labels::Labels;
use hms_ops_core::sample::{Exemplar, Sample};
use hms_ops_core::store::{SeriesSet, StoreError};
use hms_ops_core::time::{TimeRange, Timestamp};

/// What a series has at an instant.
pub(super) trait Timed {
    fn at(&self) -> Timestamp;

    /// Whether a series cannot have both.
    fn excludes(&self, other: &Self) -> bool;
}

impl Timed for Sample {
    fn at(&self) -> Timestamp {
        self.at
    }

    fn excludes(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Timed for Exemplar {
    fn at(&self) -> Timestamp {
        self.at
    }

    fn excludes(&self, other: &Self) -> bool {
        self == other
    }
}

/// Both, in `range`, sorted by labels and time; of two that exclude each other that of `recent`, which
/// is sorted by time. Series with nothing are left out.
pub(super) fn merge<T: Timed>(
    remote: impl Iterator<Item = (Labels, Vec<T>)>,
    recent: Vec<(Labels, Vec<T>)>,
    range: TimeRange,
) -> Vec<(Labels, Vec<T>)> {
    let mut all: BTreeMap<Labels, Vec<T>> = recent.into_iter().collect();
    for (labels, mut found) in remote {
        let known = all.entry(labels).or_default();
        found.retain(|one| {
            let start = known.partition_point(|known| known.at() < one.at());
            let mut same_time = known[start..].iter().take_while(|known| known.at() == one.at());
            range.contains(one.at()) && !same_time.any(|known| known.excludes(one))
        });
        known.append(&mut found);
        known.sort_by_key(Timed::at);
        // VictoriaMetrics may answer with both when a sample was sent twice.
        known.dedup_by(|later, earlier| later.excludes(earlier));
    }
    all.retain(|_, found| !found.is_empty());
    all.into_iter().collect()
}

/// Series that are all in memory.
pub(super) struct Merged {
    rest: std::vec::IntoIter<(Labels, Vec<Sample>)>,
    current: (Labels, Vec<Sample>),
}

impl Merged {
    pub(super) fn of(all: Vec<(Labels, Vec<Sample>)>) -> Self {
        Self { rest: all.into_iter(), current: (Labels::empty(), Vec::new()) }
    }
}

impl SeriesSet for Merged {
    fn advance(&mut self) -> Result<bool, StoreError> {
        match self.rest.next() {
            Some(next) => self.current = next,
            None => return Ok(false),
        }
        Ok(true)
    }

    fn labels(&self) -> &Labels {
        &self.current.0
    }

    fn read(&mut self, into: &mut Vec<Sample>) -> Result<(), StoreError> {
        into.append(&mut self.current.1);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_has_one_sample_though_the_backend_has_it_twice_and_the_newest_is_ours() {
        let sample =
            |at: i64, value: f64| Sample { at: Timestamp::from_millis(at), value: value.into() };
        let all = |samples: Vec<Sample>| vec![(Labels::metric("up"), samples)];
        let remote = all(vec![sample(1, 1.0), sample(2, 2.0), sample(1, 1.0), sample(2, 2.0)]);
        let recent = all(vec![sample(2, 2.5), sample(3, 3.0)]);
        let merged = merge(remote.into_iter(), recent, TimeRange::ALL);
        assert_eq!(merged, all(vec![sample(1, 1.0), sample(2, 2.5), sample(3, 3.0)]));
    }
}
