//! Builds the head anew from the log.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use hms_ops_core::labels::Labels;
use hms_ops_core::sample::Value;
use hms_ops_core::time::Timestamp;

use super::series::{Rules, Series, Verdict};
use super::{Head, SAMPLE_BYTES, SHARDS, cost, lock};
use crate::chunk::ChunkError;
use crate::record::{Record, SeriesId, as_batch, decode, decode_batch};

/// Numbers that are collected before they are stored: 12 MiB.
const WAITING: usize = 1 << 19;

/// A head that takes records of the log.
#[derive(Debug)]
pub(crate) struct Replay {
    head: Head,
    places: HashMap<SeriesId, u32, BuildHasherDefault<IdHasher>>,
    written_floor: Timestamp,
    /// Numbers that wait to be stored, in the order of the log.
    waiting: Vec<Waiting>,
    counts: Counts,
}

/// A number on its way to its series.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    place: u32,
    at: Timestamp,
    value: f64,
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
        let written_floor = Timestamp::MIN;
        let (places, waiting, counts) = Default::default();
        Self { head, places, written_floor, waiting, counts }
    }

    /// Takes one record.
    pub(crate) fn take(&mut self, bytes: &[u8]) {
        if let Some(mut batch) = as_batch(bytes) {
            return self.batch(&mut batch);
        }
        let record = decode(bytes);
        if !matches!(record, Some(Record::Series(_))) {
            self.store_waiting();
        }
        match record {
            Some(Record::Series(series)) => {
                series.into_iter().for_each(|(id, labels)| self.define(id, &labels));
            }
            Some(Record::Delete { series, range }) => {
                for id in series {
                    lock(&self.head.exemplars).delete(id, range);
                    let Some(&place) = self.places.get(&id) else { continue };
                    let shard = self.head.shards[place as usize % SHARDS].get_mut();
                    if let Ok(shard) = shard
                        && let Some(series) = shard.at_mut(place)
                    {
                        let gone = series.delete(range) as u64;
                        *self.head.counters.samples.get_mut() -= gone;
                    }
                }
            }
            Some(Record::Floor(floor)) => {
                self.written_floor = self.written_floor.max(floor);
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
                let mut creation = lock(&self.head.creation);
                let mut ring = lock(&self.head.exemplars);
                for (id, labels, exemplar) in exemplars {
                    creation.next = creation.next.max(id.saturating_add(1));
                    ring.take(id, &labels, exemplar);
                }
            }
            Some(Record::Batch { .. }) | None => self.counts.unreadable += 1,
        }
    }

    /// The floor that a record has said.
    pub(crate) fn written_floor(&self) -> Timestamp {
        self.written_floor
    }

    /// The head, and what could not be used.
    pub(crate) fn finish(mut self) -> (Head, Counts) {
        self.store_waiting();
        (self.head, self.counts)
    }

    fn define(&mut self, id: SeriesId, labels: &Labels) {
        if self.places.contains_key(&id) {
            // Each definition is there twice.
            return;
        }
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
        creation.next = creation.next.max(id.saturating_add(1));
    }

    fn batch(&mut self, bytes: &mut &[u8]) {
        let mut histograms = Vec::new();
        let exemplars = decode_batch(bytes, |id, at, value| {
            let Some(&place) = self.places.get(&id) else {
                self.counts.orphans += 1;
                return;
            };
            match value {
                Value::Float(value) => self.waiting.push(Waiting { place, at, value }),
                Value::Histogram(_) => histograms.push((place, at, value)),
            }
        });
        self.counts.unreadable += u64::from(exemplars.is_none());
        if !histograms.is_empty() {
            self.store_waiting();
            for (place, at, value) in histograms {
                self.store_one(place, at, value);
            }
        } else if self.waiting.len() >= WAITING {
            self.store_waiting();
        }
        for (id, exemplar) in exemplars.into_iter().flatten() {
            let Some(&place) = self.places.get(&id) else { continue };
            let Ok(shard) = self.head.shards[place as usize % SHARDS].get_mut() else { continue };
            let Some(series) = shard.at(place) else { continue };
            lock(&self.head.exemplars).take(series.id, &series.labels, exemplar);
        }
    }

    /// Stores what waits, series by series: one at a time stays in the processor's cache.
    fn store_waiting(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        // Sorted by counting, which keeps the order of the log within a series.
        let places = waiting.iter().map(|w| w.place as usize + 1).max().unwrap_or(0);
        let mut ends = vec![0; places];
        waiting.iter().for_each(|w| ends[w.place as usize] += 1);
        let mut end = 0;
        for place in &mut ends {
            (*place, end) = (end, end + *place);
        }
        let mut sorted = vec![(Timestamp::MIN, 0.0); waiting.len()];
        for Waiting { place, at, value } in &waiting {
            let end = &mut ends[*place as usize];
            sorted[*end] = (*at, *value);
            *end += 1;
        }
        let mut start = 0;
        for (place, end) in (0..).zip(ends) {
            let run = &sorted[start..end];
            let bytes = run.len() as u64 * SAMPLE_BYTES;
            if !run.is_empty() {
                self.store(place, bytes, |series, rules| series.take_numbers(run, rules));
            }
            start = end;
        }
        self.waiting = waiting;
        self.waiting.clear();
    }

    fn store_one(&mut self, place: u32, at: Timestamp, value: Value) {
        self.store(place, cost(&value), |series, rules| match series.take(at, value, rules) {
            Verdict::Newer => (1, 0),
            Verdict::Late => (0, 1),
            Verdict::Same | Verdict::Duplicate | Verdict::TooOld(_) => (0, 0),
        });
    }

    /// Stores samples of one series, as [`Head::apply`] does, and counts them.
    fn store(
        &mut self,
        place: u32,
        bytes: u64,
        take: impl FnOnce(&mut Series, Rules) -> (u64, u64),
    ) {
        let head = &mut self.head;
        // What is in the log was within its window when it came, whatever the window is now.
        let rules = Rules { window: Duration::MAX, floor: head.floor() };
        let Ok(shard) = head.shards[place as usize % SHARDS].get_mut() else { return };
        let Some(series) = shard.at_mut(place) else { return };
        let (added, late) = take(series, rules);
        let newest = series.newest().map_or(i64::MIN, |newest| newest.at.as_millis());
        *head.newest.get_mut() = newest.max(*head.newest.get_mut());
        let counters = &mut head.counters;
        *counters.samples.get_mut() += added + late;
        *counters.late.get_mut() += late;
        *counters.bytes.get_mut() += bytes;
        self.counts.samples += added + late;
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
