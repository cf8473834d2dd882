//! The series that senders have named before, by the very bytes with which they named them.

use std::collections::HashMap;

use hms_ops_core::store::SeriesRef;

/// Bytes of an entry beside its key, about.
const ENTRY_BYTES: usize = 56;

/// Leads from encoded labels to a series, within a number of bytes.
///
/// There are two generations. When the younger one has half of the bytes it becomes the older one,
/// and what was in that is forgotten: so a series that is written stays, and one that is gone goes.
#[derive(Debug)]
pub(crate) struct SeriesCache {
    limit: usize,
    young: HashMap<Box<[u8]>, SeriesRef>,
    young_bytes: usize,
    old: HashMap<Box<[u8]>, SeriesRef>,
}

/// A series that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) series: SeriesRef,
    /// Whether it is about to be forgotten, unless it is added again.
    pub(crate) is_old: bool,
}

impl SeriesCache {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, young: HashMap::new(), young_bytes: 0, old: HashMap::new() }
    }

    #[inline]
    pub(crate) fn get(&self, key: &[u8]) -> Option<Found> {
        if let Some(&series) = self.young.get(key) {
            return Some(Found { series, is_old: false });
        }
        self.old.get(key).map(|&series| Found { series, is_old: true })
    }

    /// Adds a series, or says that its handle is another now.
    pub(crate) fn add(&mut self, key: Box<[u8]>, series: SeriesRef) {
        let bytes = key.len() + ENTRY_BYTES;
        if self.young_bytes + bytes > self.limit / 2 {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        if bytes <= self.limit / 2 && self.young.insert(key, series).is_none() {
            self.young_bytes += bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(id: u64) -> SeriesRef {
        SeriesRef { id, generation: 0 }
    }

    fn key(id: u64) -> Box<[u8]> {
        id.to_le_bytes().into()
    }

    #[test]
    fn a_series_that_is_written_stays_and_one_that_is_gone_goes() {
        let mut cache = SeriesCache::new(20 * (8 + ENTRY_BYTES));
        for id in 1..100 {
            cache.add(key(id), series(id));
            match cache.get(&key(0)) {
                Some(found) if found.is_old => cache.add(key(0), series(0)),
                Some(_) => {}
                None => {
                    assert_eq!(id, 1, "it was forgotten");
                    cache.add(key(0), series(0));
                }
            }
            assert!(cache.young.len() <= 10 && cache.old.len() <= 10);
        }
        assert_eq!(cache.get(&key(0)).map(|found| found.series), Some(series(0)));
        assert_eq!(cache.get(&key(1)), None);
    }

    #[test]
    fn the_last_handle_of_a_series_counts() {
        let mut cache = SeriesCache::new(1 << 10);
        cache.add(key(1), series(1));
        cache.add(key(1), series(2));
        assert_eq!(cache.get(&key(1)), Some(Found { series: series(2), is_old: false }));
    }

    #[test]
    fn a_key_that_would_fill_it_is_not_kept() {
        let mut cache = SeriesCache::new(1 << 10);
        cache.add(vec![0; 1 << 10].into(), series(1));
        assert_eq!(cache.get(&[0; 1 << 10]), None);
    }
}
