//! The head: every series that takes samples, in memory.
//!
//! Samples change in one place only, [`Head::apply`], which the store's writer calls for what is in
//! the log, in the order of the log; so a replay gives the same head. Readers and appenders come
//! from any thread.
//!
//! Locks are taken in this order, and never one of an earlier line while one of a later is held:
//! `creation`; `lookup`; `index`; `shards`, by number.

use std::array;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use hms_ops_core::labels::{INSTANCE, Labels, NAME};
use hms_ops_core::matcher::Matcher;
use hms_ops_core::sample::{Exemplar, Sample, Value};
use hms_ops_core::store::{SeriesLimit, SeriesRef, StoreError};
use hms_ops_core::time::{TimeRange, Timestamp};

use crate::error::TsdbError;
use crate::options::Options;
use crate::record::SeriesId;

pub(crate) mod exemplars;
mod index;
mod replay;
pub(crate) mod series;

use self::exemplars::{Exemplars, follows, is_older};
use self::index::Index;
pub(crate) use self::replay::Replay;
use self::series::{Rules, Runs, Series, Verdict};

/// Locks that share the series; a power of two.
const SHARDS: usize = 16;
/// Bytes of the labels of a series, or of an exemplar, at most.
const LABEL_BYTES: usize = 1 << 20;
/// Bytes of a number in an open chunk, at a guess.
const SAMPLE_BYTES: u64 = 4;

/// Every series that takes samples.
#[derive(Debug)]
pub(crate) struct Head {
    options: Options,
    hasher: RandomState,
    creation: Mutex<Creation>,
    lookup: [RwLock<HashMap<Labels, u32>>; SHARDS],
    index: RwLock<Index>,
    shards: [RwLock<Shard>; SHARDS],
    exemplars: Mutex<Exemplars>,
    /// What is older is in blocks.
    floor: AtomicI64,
    /// The newest sample of all.
    newest: AtomicI64,
    batches: AtomicU32,
    pub(crate) counters: Counters,
}

/// What has happened, and how full it is.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) series: AtomicU64,
    pub(crate) samples: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) late: AtomicU64,
    pub(crate) dropped: AtomicU64,
    pub(crate) refused_series: AtomicU64,
}

/// What making a series needs.
#[derive(Debug)]
struct Creation {
    next: SeriesId,
    /// Places that are free again.
    free: Vec<u32>,
    places: u32,
    /// Made, and not yet defined in the log.
    undefined: Vec<(SeriesId, Labels)>,
}

#[derive(Debug, Default)]
struct Shard {
    slots: Vec<Slot>,
}

/// A place for a series.
#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    series: Option<Box<Series>>,
}

/// A sample on its way to a place. While it is under way, the series stays.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    pub(crate) place: u32,
    pub(crate) id: SeriesId,
    pub(crate) at: Timestamp,
    pub(crate) value: Value,
}

/// An exemplar and the series that it is of.
pub(crate) type OfSeries = (SeriesId, Labels, Exemplar);

/// What the head has of a series that was selected.
#[derive(Debug)]
pub(crate) enum Selected {
    /// The newest sample, where only that was wanted and it is in the range.
    Newest(Sample),
    Runs(Runs),
}

impl Head {
    pub(crate) fn new(options: &Options) -> Self {
        let creation = Creation { next: 1, free: Vec::new(), places: 0, undefined: Vec::new() };
        Self {
            options: options.clone(),
            hasher: RandomState::new(),
            creation: Mutex::new(creation),
            lookup: array::from_fn(|_| RwLock::default()),
            index: RwLock::default(),
            shards: array::from_fn(|_| RwLock::default()),
            exemplars: Mutex::new(Exemplars::new(options.exemplars)),
            floor: AtomicI64::new(i64::MIN),
            newest: AtomicI64::new(i64::MIN),
            batches: AtomicU32::new(0),
            counters: Counters::default(),
        }
    }

    /// What is older is in blocks.
    pub(crate) fn floor(&self) -> Timestamp {
        Timestamp::from_millis(self.floor.load(Relaxed))
    }

    /// From now on, what is older is refused.
    pub(crate) fn raise_floor(&self, floor: Timestamp) {
        // With the locks, so that no sample is judged by the old floor and stored after this.
        let _all = self.write_all();
        self.floor.fetch_max(floor.as_millis(), Relaxed);
    }

    /// The newest sample of all, if there ever was one.
    pub(crate) fn newest(&self) -> Option<Timestamp> {
        let newest = self.newest.load(Relaxed);
        (newest != i64::MIN).then_some(Timestamp::from_millis(newest))
    }

    /// A number for a batch; never 0.
    pub(crate) fn next_batch(&self) -> u32 {
        self.batches.fetch_add(1, Relaxed) % (u32::MAX - 1) + 1
    }

    /// The handle of a series, which is made if it is new.
    pub(crate) fn series(&self, labels: &Labels) -> Result<SeriesRef, StoreError> {
        match self.find(labels) {
            Some(found) => Ok(found),
            None => {
                check_length(labels)?;
                self.create(labels)
            }
        }
    }

    /// Whether a sample would be taken, given the newest that its batch has for the series;
    /// `Ok(None)` when it is there already.
    pub(crate) fn append(
        &self,
        series: SeriesRef,
        at: Timestamp,
        value: &Value,
        batch: &BatchView<'_>,
    ) -> Result<Option<Pending>, StoreError> {
        let unknown = StoreError::UnknownSeries { series };
        let Ok(place) = u32::try_from(series.id) else { return Err(unknown) };
        let shard = read(&self.shards[place as usize % SHARDS]);
        let Some(of) = shard.get(place, series.generation) else { return Err(unknown) };
        let refused = |verdict| match verdict {
            Verdict::TooOld(newest) => {
                Err(StoreError::OutOfOrder { labels: of.labels.clone(), at, newest })
            }
            Verdict::Duplicate => Err(StoreError::Duplicate { labels: of.labels.clone(), at }),
            Verdict::Same => Ok(None),
            Verdict::Newer | Verdict::Late => {
                of.in_flight.fetch_add(1, Relaxed);
                let mark = u64::from(batch.number) << 32 | batch.pending.len() as u64;
                if verdict == Verdict::Newer {
                    of.mark.store(mark, Relaxed);
                }
                let value = value.clone();
                Ok(Some(Pending { place, id: of.id, at, value }))
            }
        };
        let mark = of.mark.load(Relaxed);
        let in_batch = if mark >> 32 == u64::from(batch.number) {
            let marked = batch.pending.get((mark & u64::from(u32::MAX)) as usize);
            marked.filter(|pending| pending.place == place)
        } else {
            None
        };
        if at > batch.latest {
            let (labels, latest) = (of.labels.clone(), batch.latest);
            return Err(StoreError::TooFarAhead { labels, at, latest });
        }
        let rules = self.rules();
        match in_batch {
            Some(newest) if at == newest.at && *value == newest.value => refused(Verdict::Same),
            Some(newest) if at == newest.at => refused(Verdict::Duplicate),
            Some(newest) if at < newest.at => {
                if newest.at.since(at) > rules.window {
                    return refused(Verdict::TooOld(newest.at));
                }
                match batch.at(place, at) {
                    Some(other) if other == value => refused(Verdict::Same),
                    Some(_) => refused(Verdict::Duplicate),
                    // Behind the batch's newest, wherever it is among what is stored.
                    None => match of.judge(at, value, rules) {
                        Verdict::Newer => refused(Verdict::Late),
                        verdict => refused(verdict),
                    },
                }
            }
            Some(_) => refused(if at < rules.floor {
                Verdict::TooOld(rules.floor)
            } else {
                Verdict::Newer
            }),
            None => match of.judge(at, value, rules) {
                // The batch may have a late one already, which has left no mark.
                Verdict::Late => match batch.at(place, at) {
                    Some(other) if other == value => refused(Verdict::Same),
                    Some(_) => refused(Verdict::Duplicate),
                    None => refused(Verdict::Late),
                },
                verdict => refused(verdict),
            },
        }
    }

    /// Whether an exemplar would be taken; `Ok(None)` when it is there already.
    pub(crate) fn exemplar(
        &self,
        series: SeriesRef,
        exemplar: &Exemplar,
        batch: &HashMap<SeriesId, Exemplar>,
    ) -> Result<Option<(SeriesId, Labels)>, StoreError> {
        let unknown = StoreError::UnknownSeries { series };
        let Ok(place) = u32::try_from(series.id) else { return Err(unknown) };
        let shard = read(&self.shards[place as usize % SHARDS]);
        let Some(of) = shard.get(place, series.generation) else { return Err(unknown) };
        check_length(&exemplar.labels)?;
        let exemplars = lock(&self.exemplars);
        let newest = batch.get(&of.id).or(exemplars.newest(of.id));
        if let Some(newest) = is_older(newest, exemplar) {
            let labels = of.labels.clone();
            return Err(StoreError::OutOfOrder { labels, at: exemplar.at, newest });
        }
        Ok(follows(newest, exemplar).then(|| (of.id, of.labels.clone())))
    }

    /// Gives up samples that will not be stored.
    pub(crate) fn give_up(&self, pending: &[Pending]) {
        for sample in pending {
            let shard = read(&self.shards[sample.place as usize % SHARDS]);
            if let Some(series) = shard.at(sample.place) {
                series.in_flight.fetch_sub(1, Relaxed);
            }
        }
    }

    /// Stores what is in the log. All of it becomes visible at once.
    pub(crate) fn apply(&self, batches: impl Iterator<Item = (Vec<Pending>, Vec<OfSeries>)>) {
        let mut shards = self.write_all();
        // Not before: the floor rises under these locks.
        let rules = self.rules();
        let (mut added, mut late, mut dropped, mut bytes) = (0, 0, 0, 0);
        let mut newest = self.newest.load(Relaxed);
        let mut exemplars = lock(&self.exemplars);
        for (pending, batch_exemplars) in batches {
            for Pending { place, at, value, .. } in pending {
                let Some(series) = shards[place as usize % SHARDS].at_mut(place) else { continue };
                *series.in_flight.get_mut() -= 1;
                bytes += cost(&value);
                match series.take(at, value, rules) {
                    Verdict::Newer => added += 1,
                    Verdict::Late => late += 1,
                    Verdict::Same => {}
                    Verdict::Duplicate | Verdict::TooOld(_) => dropped += 1,
                }
                newest = newest.max(at.as_millis());
            }
            for (id, labels, exemplar) in batch_exemplars {
                exemplars.take(id, &labels, exemplar);
            }
        }
        self.newest.store(newest, Relaxed);
        let counters = &self.counters;
        counters.samples.fetch_add(added + late, Relaxed);
        counters.late.fetch_add(late, Relaxed);
        counters.dropped.fetch_add(dropped, Relaxed);
        counters.bytes.fetch_add(bytes, Relaxed);
    }

    /// The series that all `matchers` accept and that have something in `range`, with what
    /// `besides` gives of the same instant. In no order.
    pub(crate) fn select<T>(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        only_last: bool,
        besides: impl FnOnce() -> T,
    ) -> (Vec<(Labels, Selected)>, T) {
        let index = read(&self.index);
        let ids = index.matching(matchers);
        let shards = self.read_all();
        let found = ids.into_iter().filter_map(|id| {
            let series = shards[id as usize % SHARDS].at(id)?;
            let newest = series.newest()?;
            if newest.at < range.start {
                return None;
            }
            if only_last && range.contains(newest.at) && newest.at >= self.floor() {
                return Some((series.labels.clone(), Selected::Newest(newest.clone())));
            }
            let runs = series.runs(range);
            let some = !runs.chunks.is_empty() || !runs.late.is_empty();
            some.then(|| (series.labels.clone(), Selected::Runs(runs)))
        });
        let found: Vec<_> = found.collect();
        (found, besides())
    }

    pub(crate) fn select_exemplars(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Vec<(Labels, Vec<Exemplar>)> {
        lock(&self.exemplars).select(matchers, range)
    }

    /// Takes what has been made and is not yet defined in the log.
    pub(crate) fn take_undefined(&self) -> Vec<(SeriesId, Labels)> {
        std::mem::take(&mut lock(&self.creation).undefined)
    }

    /// Puts it back, for the next try.
    pub(crate) fn put_back_undefined(&self, undefined: Vec<(SeriesId, Labels)>) {
        lock(&self.creation).undefined.extend(undefined);
    }

    /// The earliest sample that the head holds.
    pub(crate) fn start(&self) -> Option<Timestamp> {
        let of_shard = |shard: &RwLock<Shard>| read(shard).iter().filter_map(Series::start).min();
        self.shards.iter().filter_map(of_shard).min()
    }

    /// All series with what they hold in `range`, a lock's share at a time, in no order. A share is
    /// as it was at one instant.
    pub(crate) fn shares(
        &self,
        range: TimeRange,
    ) -> impl Iterator<Item = Vec<(SeriesId, Labels, Runs)>> {
        self.shards.iter().map(move |shard| {
            let all = read(shard);
            all.iter()
                .map(|series| (series.id, series.labels.clone(), series.runs(range)))
                .collect()
        })
    }

    pub(crate) fn exemplars(&self) -> Vec<OfSeries> {
        lock(&self.exemplars).all()
    }

    /// Drops what is older than `floor`, and the series that nothing is left of; `besides` happens at
    /// the same instant, for readers.
    pub(crate) fn truncate(&self, floor: Timestamp, besides: impl FnOnce()) {
        let mut creation = lock(&self.creation);
        let mut lookup: [_; SHARDS] = array::from_fn(|i| write(&self.lookup[i]));
        let mut index = write(&self.index);
        let mut shards = self.write_all();
        besides();
        self.floor.fetch_max(floor.as_millis(), Relaxed);
        let (mut gone, mut samples, mut bytes) = (Vec::new(), 0, 0);
        for (number, shard) in shards.iter_mut().enumerate() {
            for (place, slot) in shard.slots.iter_mut().enumerate() {
                let Some(series) = &mut slot.series else { continue };
                series.truncate(floor);
                if series.is_empty() && *series.in_flight.get_mut() == 0 {
                    let place = (place * SHARDS + number) as u32;
                    gone.push((place, series.labels.clone()));
                    slot.series = None;
                    slot.generation += 1;
                } else {
                    samples += series.len() as u64;
                    bytes += (series.bytes() + series_cost(&series.labels)) as u64;
                }
            }
        }
        for (place, labels) in &gone {
            lookup[self.lookup_shard(labels)].remove(labels);
            creation.free.push(*place);
        }
        if !gone.is_empty() {
            index.remove(&gone);
        }
        self.counters.series.fetch_sub(gone.len() as u64, Relaxed);
        self.counters.samples.store(samples, Relaxed);
        self.counters.bytes.store(bytes, Relaxed);
    }

    /// The numbers, in the log, of the series and exemplars that all `matchers` accept.
    pub(crate) fn ids(&self, matchers: &[Matcher]) -> Vec<SeriesId> {
        let index = read(&self.index);
        let shards = self.read_all();
        let places = index.matching(matchers).into_iter();
        let of_place = |place: u32| Some(shards[place as usize % SHARDS].at(place)?.id);
        // Series that are gone may have left exemplars.
        let exemplars = lock(&self.exemplars);
        let mut ids: Vec<_> = places.filter_map(of_place).chain(exemplars.ids(matchers)).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// Drops the samples of these series that lie in `range`.
    pub(crate) fn delete(&self, ids: &[SeriesId], range: TimeRange) -> u64 {
        let ids: std::collections::HashSet<_> = ids.iter().collect();
        let mut gone = 0;
        for shard in &mut self.write_all() {
            for series in shard.slots.iter_mut().filter_map(|slot| slot.series.as_mut()) {
                if ids.contains(&series.id) {
                    gone += series.delete(range) as u64;
                }
            }
        }
        let mut exemplars = lock(&self.exemplars);
        ids.iter().for_each(|id| exemplars.delete(**id, range));
        self.counters.samples.fetch_sub(gone, Relaxed);
        gone
    }

    fn rules(&self) -> Rules {
        Rules { window: self.options.out_of_order_window, floor: self.floor() }
    }

    fn lookup_shard(&self, labels: &Labels) -> usize {
        self.hasher.hash_one(labels) as usize % SHARDS
    }

    fn find(&self, labels: &Labels) -> Option<SeriesRef> {
        let place = *read(&self.lookup[self.lookup_shard(labels)]).get(labels)?;
        let shard = read(&self.shards[place as usize % SHARDS]);
        let slot = shard.slots.get(place as usize / SHARDS)?;
        // Between the two locks the series may have gone, and another come.
        slot.series.as_ref().filter(|series| series.labels == *labels)?;
        Some(SeriesRef { id: place.into(), generation: slot.generation })
    }

    fn create(&self, labels: &Labels) -> Result<SeriesRef, StoreError> {
        let mut creation = lock(&self.creation);
        if let Some(found) = self.find(labels) {
            return Ok(found);
        }
        let (place, generation) = self.make(&mut creation, labels, None)?;
        Ok(SeriesRef { id: place.into(), generation })
    }

    /// Makes a series, within the limits; or, with an id, as the log says, whatever the limits are.
    fn make(
        &self,
        creation: &mut Creation,
        labels: &Labels,
        id: Option<SeriesId>,
    ) -> Result<(u32, u32), StoreError> {
        let mut lookup = write(&self.lookup[self.lookup_shard(labels)]);
        let mut index = write(&self.index);
        let cost = index.cost(labels) + series_cost(labels) + size_of::<Series>();
        if id.is_none()
            && let Some(limit) = self.limit(&index, labels, cost as u64)
        {
            self.counters.refused_series.fetch_add(1, Relaxed);
            return Err(StoreError::TooManySeries { labels: labels.clone(), limit });
        }
        let place = creation.free.pop().unwrap_or_else(|| {
            creation.places += 1;
            creation.places - 1
        });
        let labels = index.intern(labels);
        index.add(place, &labels);
        lookup.insert(labels.clone(), place);
        let given = id.unwrap_or(creation.next);
        creation.next = creation.next.max(given.saturating_add(1));
        if id.is_none() {
            creation.undefined.push((given, labels.clone()));
        }
        let mut shard = write(&self.shards[place as usize % SHARDS]);
        let slot = shard.slot_mut(place);
        slot.series = Some(Box::new(Series::new(given, labels)));
        self.counters.series.fetch_add(1, Relaxed);
        self.counters.bytes.fetch_add(cost as u64, Relaxed);
        Ok((place, slot.generation))
    }

    /// The limit that one more series would pass.
    fn limit(&self, index: &Index, labels: &Labels, cost: u64) -> Option<SeriesLimit> {
        let limits = self.options.series;
        let with = |name| labels.get(name).map_or(0, |value| index.count(name, value));
        if self.counters.series.load(Relaxed) >= limits.store as u64 {
            Some(SeriesLimit::Store(limits.store))
        } else if with(NAME) >= limits.metric {
            Some(SeriesLimit::Metric(limits.metric))
        } else if with(INSTANCE) >= limits.target {
            Some(SeriesLimit::Target(limits.target))
        } else if self.counters.bytes.load(Relaxed) + cost > self.options.memory {
            Some(SeriesLimit::Memory(self.options.memory))
        } else {
            None
        }
    }

    fn read_all(&self) -> [RwLockReadGuard<'_, Shard>; SHARDS] {
        array::from_fn(|i| read(&self.shards[i]))
    }

    fn write_all(&self) -> [RwLockWriteGuard<'_, Shard>; SHARDS] {
        array::from_fn(|i| write(&self.shards[i]))
    }
}

/// What a batch has so far, for the judgement of its next sample.
pub(crate) struct BatchView<'a> {
    pub(crate) number: u32,
    /// No sample may be later.
    pub(crate) latest: Timestamp,
    pub(crate) pending: &'a [Pending],
    /// Finds a sample of the batch by place and time; made when it is needed first.
    pub(crate) by_time: &'a std::cell::OnceCell<HashMap<(u32, Timestamp), usize>>,
}

impl BatchView<'_> {
    fn at(&self, place: u32, at: Timestamp) -> Option<&Value> {
        let by_time = self.by_time.get_or_init(|| {
            let all = self.pending.iter().enumerate();
            all.map(|(i, pending)| ((pending.place, pending.at), i)).collect()
        });
        by_time.get(&(place, at)).map(|&i| &self.pending[i].value)
    }
}

impl Shard {
    fn get(&self, place: u32, generation: u32) -> Option<&Series> {
        let slot = self.slots.get(place as usize / SHARDS)?;
        slot.series.as_deref().filter(|_| slot.generation == generation)
    }

    fn at(&self, place: u32) -> Option<&Series> {
        self.slots.get(place as usize / SHARDS)?.series.as_deref()
    }

    fn at_mut(&mut self, place: u32) -> Option<&mut Series> {
        self.slots.get_mut(place as usize / SHARDS)?.series.as_deref_mut()
    }

    fn slot_mut(&mut self, place: u32) -> &mut Slot {
        let slot = place as usize / SHARDS;
        if self.slots.len() <= slot {
            self.slots.resize_with(slot + 1, Slot::default);
        }
        &mut self.slots[slot]
    }

    fn iter(&self) -> impl Iterator<Item = &Series> {
        self.slots.iter().filter_map(|slot| slot.series.as_deref())
    }
}

/// Refuses labels that no record could hold.
fn check_length(labels: &Labels) -> Result<(), TsdbError> {
    let bytes = labels.iter().map(|(name, value)| name.len() + value.len() + 8).sum();
    if bytes <= LABEL_BYTES {
        return Ok(());
    }
    let start = labels.to_string().chars().take(80).collect();
    Err(TsdbError::LabelsTooLong { bytes, limit: LABEL_BYTES, start })
}

/// About how many bytes a sample takes in an open chunk; measured when the head is sealed.
fn cost(value: &Value) -> u64 {
    match value {
        Value::Float(_) => SAMPLE_BYTES,
        Value::Histogram(h) => {
            let buckets = h.positive.len() + h.negative.len() + h.custom_edges.len();
            size_of_val(&**h) as u64 + 16 * buckets as u64
        }
    }
}

/// About how many bytes the labels of a series and its entries in tables take; texts not counted.
fn series_cost(labels: &Labels) -> usize {
    128 + labels.len() * 40
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
