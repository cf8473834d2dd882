//! Builds the head anew from the log.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::Ordering::Relaxed;

use hms_ops_core::labels::Labels;
use hms_ops_core::time::Timestamp;

use super::series::{Rules, Verdict};
use super::{Head, SAMPLE_BYTES, SHARDS, lock};
use crate::chunk::ChunkError;
use crate::record::{Record, SeriesId, as_batch, decode, decode_batch};

/// A head that takes records of the log.
#[derive(Debug)]
pub(crate) struct Replay {
    head: Head,
    places: HashMap<SeriesId, u32, BuildHasherDefault<IdHasher>>,
    counts: Counts,
}

/// What the log had that could not be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Samples taken.
    pub(crate) samples: u64,
    /// Samples whose series is not defined: the record that defined it is lost.
    pub(crate) orphans: u64,
    /// Records that are none, though their checksum holds.
    pub(crate) unreadable: u64,
}

impl Replay {
    pub(crate) fn new(head: Head) -> Self {
        Self { head, places: HashMap::default(), counts: Counts::default() }
    }

    /// Takes one record.
    pub(crate) fn take(&mut self, bytes: &[u8]) {
        if let Some(mut batch) = as_batch(bytes) {
            return self.batch(&mut batch);
        }
        match decode(bytes) {
            Some(Record::Series(series)) => {
                series.into_iter().for_each(|(id, labels)| self.define(id, &labels));
            }
            Some(Record::Delete { series, range }) => {
                let places: Vec<_> = series.iter().filter_map(|id| self.places.get(id)).collect();
                for place in places {
                    let shard = self.head.shards[*place as usize % SHARDS].get_mut();
                    if let Ok(shard) = shard
                        && let Some(series) = shard.at_mut(*place)
                    {
                        let gone = series.delete(range) as u64;
                        self.head.counters.samples.fetch_sub(gone, Relaxed);
                        lock(&self.head.exemplars).delete(series.id, range);
                    }
                }
            }
            Some(Record::Floor(floor)) => {
                self.head.floor.fetch_max(floor.as_millis(), Relaxed);
            }
            Some(Record::Chunk { series, histograms, count, bytes }) => {
                match self.chunk(series, histograms, count, &bytes) {
                    Some(Ok(())) => {}
                    Some(Err(_)) => self.counts.unreadable += 1,
                    None => self.counts.orphans += u64::from(count),
                }
            }
            Some(Record::Exemplars(exemplars)) => {
                let mut ring = lock(&self.head.exemplars);
                for (id, labels, exemplar) in exemplars {
                    ring.take(id, &labels, exemplar);
                }
            }
            Some(Record::Batch { .. }) | None => self.counts.unreadable += 1,
        }
    }

    /// The head, and what could not be used.
    pub(crate) fn finish(self) -> (Head, Counts) {
        (self.head, self.counts)
    }

    fn define(&mut self, id: SeriesId, labels: &Labels) {
        let place = match self.head.find(labels) {
            // It went and came back under another number; both mean the same labels.
            Some(known) => u32::try_from(known.id).ok(),
            None => {
                let mut creation = lock(&self.head.creation);
                self.head.make(&mut creation, labels, Some(id)).ok().map(|(place, _)| place)
            }
        };
        if let Some(place) = place {
            self.places.insert(id, place);
        }
        let mut creation = lock(&self.head.creation);
        creation.next = creation.next.max(id + 1);
    }

    fn batch(&mut self, bytes: &mut &[u8]) {
        let Self { head, places, counts } = self;
        let window = head.options.out_of_order_window;
        let rules = Rules { window, floor: head.floor() };
        let (mut added, mut late) = (0, 0);
        let mut newest = head.newest.load(Relaxed);
        let exemplars = decode_batch(bytes, |id, at, value| {
            let place = places.get(&id).copied();
            let shard = place.map(|place| (place, head.shards[place as usize % SHARDS].get_mut()));
            let Some((place, Ok(shard))) = shard else {
                counts.orphans += 1;
                return;
            };
            let Some(series) = shard.at_mut(place) else { return };
            match series.take(at, value, rules) {
                Verdict::Newer => added += 1,
                Verdict::Late => late += 1,
                Verdict::Same | Verdict::Duplicate | Verdict::TooOld(_) => {}
            }
            newest = newest.max(at.as_millis());
        });
        head.newest.store(newest, Relaxed);
        counts.samples += added + late;
        counts.unreadable += u64::from(exemplars.is_none());
        head.counters.samples.fetch_add(added + late, Relaxed);
        head.counters.late.fetch_add(late, Relaxed);
        head.counters.bytes.fetch_add((added + late) * SAMPLE_BYTES, Relaxed);
        for (id, exemplar) in exemplars.into_iter().flatten() {
            let Some(&place) = places.get(&id) else { continue };
            let Ok(shard) = head.shards[place as usize % SHARDS].get_mut() else { continue };
            let Some(series) = shard.at(place) else { continue };
            lock(&head.exemplars).take(series.id, &series.labels, exemplar);
        }
    }

    fn chunk(
        &mut self,
        id: SeriesId,
        histograms: bool,
        count: u32,
        bytes: &[u8],
    ) -> Option<Result<(), ChunkError>> {
        let place = *self.places.get(&id)?;
        let shard = self.head.shards[place as usize % SHARDS].get_mut().ok()?;
        let series = shard.at_mut(place)?;
        let taken = series.take_chunk(histograms, count, bytes);
        if taken.is_ok() {
            let newest = series.newest().map_or(i64::MIN, |newest| newest.at.as_millis());
            self.head.newest.fetch_max(newest, Relaxed);
            self.head.counters.samples.fetch_add(count.into(), Relaxed);
            self.head.counters.bytes.fetch_add(bytes.len() as u64, Relaxed);
            self.counts.samples += u64::from(count);
        }
        Some(taken)
    }
}

impl Head {
    /// What is older is in blocks; before the log is replayed.
    pub(crate) fn set_floor(&mut self, floor: Timestamp) {
        *self.floor.get_mut() = floor.as_millis().max(*self.floor.get_mut());
    }
}

/// Spreads numbers that count up.
#[derive(Debug, Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u64(byte.into()));
    }

    fn write_u64(&mut self, n: u64) {
        // 2^64 over the golden ratio.
        self.0 = (self.0 ^ n).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 ^= self.0 >> 32;
    }
}
