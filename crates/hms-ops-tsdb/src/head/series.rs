//! One series of the head: sealed chunks, the open one, and what came late.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::Duration;

use hms_ops_core::labels::Labels;
use hms_ops_core::sample::{Histogram, Sample, Value};
use hms_ops_core::time::{TimeRange, Timestamp};

use crate::chunk::{ChunkError, XorDecoder, XorEncoder, decode_histograms, encode_histograms};
use crate::record::SeriesId;

/// Numbers in a full chunk. Longer ones compress little better, and cost more to read in part.
const NUMBERS: usize = 120;
/// Histograms in a full chunk.
const HISTOGRAMS: usize = 60;
/// Buckets of a full chunk of histograms, which must fit into a record.
const BUCKETS: usize = 100_000;
/// Late samples that wait beside the chunks before they are put in their place.
const LATE: usize = 32;

/// A series that takes samples.
#[derive(Debug)]
pub(crate) struct Series {
    /// Its number in the log.
    pub(crate) id: SeriesId,
    pub(crate) labels: Labels,
    /// Samples in batches that are neither stored nor given up. While there is one, the series stays.
    pub(crate) in_flight: AtomicU32,
    /// The last batch that appended to it, and the place of its newest sample there.
    pub(crate) mark: AtomicU64,
    newest: Option<Sample>,
    /// In order of time, without overlap.
    sealed: Vec<Chunk>,
    /// Newer than what is sealed.
    open: Open,
    /// Sorted; elsewhere than in the chunks.
    late: Vec<Sample>,
}

/// A run of samples, compressed. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    pub(crate) start: Timestamp,
    pub(crate) end: Timestamp,
    pub(crate) count: u32,
    pub(crate) histograms: bool,
    pub(crate) bytes: Arc<[u8]>,
}

#[derive(Debug)]
enum Open {
    Numbers(XorEncoder),
    Histograms(Vec<(i64, Arc<Histogram>)>),
}

/// What decides whether a sample is taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// How much older than the newest of its series a sample may be.
    pub(crate) window: Duration,
    /// What is older is in blocks, and done.
    pub(crate) floor: Timestamp,
}

/// Where a sample belongs. A pure function of what is stored, so that a replay of the log decides as
/// the store did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// At the end.
    Newer,
    /// Between others.
    Late,
    /// It is there.
    Same,
    /// Another value is there.
    Duplicate,
    /// Nowhere: it comes later after this one than it may.
    TooOld(Timestamp),
}

/// Samples of one series as they were at an instant, still compressed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Runs {
    pub(crate) chunks: Vec<Chunk>,
    pub(crate) late: Vec<Sample>,
}

impl Series {
    pub(crate) fn new(id: SeriesId, labels: Labels) -> Self {
        Self {
            id,
            labels,
            in_flight: AtomicU32::new(0),
            mark: AtomicU64::new(0),
            newest: None,
            sealed: Vec::new(),
            open: Open::Numbers(XorEncoder::new()),
            late: Vec::new(),
        }
    }

    /// The newest sample that it ever took and still remembers.
    pub(crate) fn newest(&self) -> Option<&Sample> {
        self.newest.as_ref()
    }

    /// Where a sample belongs.
    pub(crate) fn judge(&self, at: Timestamp, value: &Value, rules: Rules) -> Verdict {
        let same =
            |stored: &Value| if stored == value { Verdict::Same } else { Verdict::Duplicate };
        match &self.newest {
            Some(newest) if at == newest.at => same(&newest.value),
            _ if at < rules.floor => Verdict::TooOld(rules.floor),
            Some(newest) if at < newest.at => {
                if newest.at.since(at) > rules.window {
                    return Verdict::TooOld(newest.at);
                }
                self.find(at).as_ref().map_or(Verdict::Late, same)
            }
            _ => Verdict::Newer,
        }
    }

    /// Takes a sample, if it belongs somewhere.
    pub(crate) fn take(&mut self, at: Timestamp, value: Value, rules: Rules) -> Verdict {
        let verdict = self.judge(at, &value, rules);
        match verdict {
            Verdict::Newer => {
                self.push(at, &value);
                self.newest = Some(Sample { at, value });
            }
            Verdict::Late => {
                let place = self.late.partition_point(|late| late.at < at);
                self.late.insert(place, Sample { at, value });
                if self.late.len() >= LATE {
                    self.fold();
                }
            }
            Verdict::Same | Verdict::Duplicate | Verdict::TooOld(_) => {}
        }
        verdict
    }

    /// Takes numbers one after the other, as [`Series::take`] does; says how many it added at the end,
    /// and how many between others.
    pub(crate) fn take_numbers(&mut self, run: &[(Timestamp, f64)], rules: Rules) -> (u64, u64) {
        let (mut added, mut late) = (0, 0);
        for &(at, number) in run {
            let is_newer = self.newest.as_ref().is_none_or(|newest| newest.at < at);
            if is_newer && at >= rules.floor {
                // Nearly always; the judgement would say the same.
                self.push_number(at, number);
                self.newest = Some(Sample { at, value: Value::Float(number) });
                added += 1;
                continue;
            }
            match self.take(at, Value::Float(number), rules) {
                Verdict::Newer => added += 1,
                Verdict::Late => late += 1,
                Verdict::Same | Verdict::Duplicate | Verdict::TooOld(_) => {}
            }
        }
        (added, late)
    }

    /// Takes a whole chunk, newer than all there is; from a checkpoint.
    ///
    /// # Errors
    ///
    /// [`ChunkError`] when it is none; then nothing is taken.
    pub(crate) fn take_chunk(
        &mut self,
        histograms: bool,
        count: u32,
        bytes: &[u8],
    ) -> Result<(), ChunkError> {
        let mut samples = Vec::new();
        decode(histograms, count, bytes, TimeRange::ALL, &mut samples)?;
        let (Some(first), Some(last)) = (samples.first(), samples.last()) else { return Ok(()) };
        if self.newest.as_ref().is_some_and(|newest| newest.at >= first.at) {
            return Err(ChunkError::OutOfOrder { index: 0, at: first.at.as_millis() });
        }
        let full = if histograms { HISTOGRAMS } else { NUMBERS };
        if samples.len() >= full {
            self.seal();
            let (start, end) = (first.at, last.at);
            self.sealed.push(Chunk { start, end, count, histograms, bytes: bytes.into() });
        } else {
            samples.iter().for_each(|sample| self.push(sample.at, &sample.value));
        }
        self.newest = samples.pop();
        Ok(())
    }

    /// Whether it holds no sample.
    pub(crate) fn is_empty(&self) -> bool {
        self.sealed.is_empty() && self.open.len() == 0 && self.late.is_empty()
    }

    /// How many samples it holds.
    pub(crate) fn len(&self) -> usize {
        let sealed: usize = self.sealed.iter().map(|chunk| chunk.count as usize).sum();
        sealed + self.open.len() + self.late.len()
    }

    /// The earliest sample it holds.
    pub(crate) fn start(&self) -> Option<Timestamp> {
        let late = self.late.first().map(|late| late.at);
        let sealed = self.sealed.first().map(|chunk| chunk.start);
        [late, sealed.or(self.open.start())].into_iter().flatten().min()
    }

    /// About how many bytes it takes.
    pub(crate) fn bytes(&self) -> usize {
        let sealed: usize = self.sealed.iter().map(|chunk| chunk.bytes.len() + 32).sum();
        size_of::<Self>()
            + sealed
            + self.sealed.capacity() * size_of::<Chunk>()
            + self.open.bytes()
            + self.late.capacity() * size_of::<Sample>()
    }

    /// What it holds in `range`.
    pub(crate) fn runs(&self, range: TimeRange) -> Runs {
        let overlap = |chunk: &&Chunk| chunk.start <= range.end && chunk.end >= range.start;
        let mut chunks: Vec<_> = self.sealed.iter().filter(overlap).cloned().collect();
        chunks.extend(self.open.as_chunk().filter(|open| overlap(&open)));
        let late = self.late.iter().filter(|late| range.contains(late.at)).cloned().collect();
        Runs { chunks, late }
    }

    /// Drops what is older than `floor`.
    pub(crate) fn truncate(&mut self, floor: Timestamp) {
        self.late.retain(|late| late.at >= floor);
        let gone = self.sealed.partition_point(|chunk| chunk.end < floor);
        let open_starts = self.open.start();
        if self.sealed.get(gone).is_none_or(|chunk| chunk.start >= floor)
            && open_starts.is_none_or(|start| start >= floor)
        {
            self.sealed.drain(..gone);
            self.sealed.shrink_to_fit();
            return;
        }
        // One chunk reaches over the edge: the samples of all that is left are few.
        self.rebuild(gone, |sample| sample.at >= floor);
    }

    /// Drops what lies in `range`; says how many samples that were.
    pub(crate) fn delete(&mut self, range: TimeRange) -> usize {
        let before = self.len();
        self.late.retain(|late| !range.contains(late.at));
        self.rebuild(0, |sample| !range.contains(sample.at));
        // Or what is deleted would be served as the newest, and refused when it comes again.
        if self.newest.as_ref().is_some_and(|newest| range.contains(newest.at)) {
            let mut left = Vec::new();
            let _ = self.runs(TimeRange::ALL).read(TimeRange::ALL, &mut left);
            self.newest = left.pop();
        }
        before - self.len()
    }

    /// Puts the late samples in their places.
    fn fold(&mut self) {
        let Some(first) = self.late.first().map(|late| late.at) else { return };
        let from = self.sealed.partition_point(|chunk| chunk.end < first);
        let late = mem::take(&mut self.late);
        let mut runs = Runs { chunks: self.sealed.split_off(from), late };
        runs.chunks.extend(self.open.as_chunk());
        self.refill(&runs, |_| true);
    }

    /// Drops the first `gone` chunks, and of the others the samples that are not to be kept.
    fn rebuild(&mut self, gone: usize, keep: impl Fn(&Sample) -> bool) {
        let mut chunks = self.sealed.split_off(gone);
        self.sealed.clear();
        chunks.extend(self.open.as_chunk());
        self.refill(&Runs { chunks, late: Vec::new() }, keep);
    }

    fn refill(&mut self, runs: &Runs, keep: impl Fn(&Sample) -> bool) {
        let mut samples = Vec::new();
        // What the head made itself is well-formed; were it not, what can be read is kept.
        let _ = runs.read(TimeRange::ALL, &mut samples);
        self.open = Open::Numbers(XorEncoder::new());
        for sample in samples.iter().filter(|sample| keep(sample)) {
            self.push(sample.at, &sample.value);
        }
    }

    fn find(&self, at: Timestamp) -> Option<Value> {
        if let Ok(place) = self.late.binary_search_by_key(&at, |late| late.at) {
            return Some(self.late[place].value.clone());
        }
        let place = self.sealed.partition_point(|chunk| chunk.end < at);
        let chunk = match self.sealed.get(place) {
            Some(chunk) => chunk.clone(),
            None => self.open.as_chunk()?,
        };
        let mut found = Vec::new();
        let _ = chunk.read(TimeRange::new(at, at), &mut found);
        found.pop().map(|sample| sample.value)
    }

    /// Adds a sample to the open chunk.
    fn push(&mut self, at: Timestamp, value: &Value) {
        match value {
            Value::Float(number) => self.push_number(at, *number),
            Value::Histogram(histogram) => {
                if !self.open.has_room_for_a_histogram() {
                    self.seal();
                    self.open = Open::Histograms(Vec::new());
                }
                if let Open::Histograms(open) = &mut self.open {
                    open.push((at.as_millis(), histogram.clone()));
                }
            }
        }
    }

    fn push_number(&mut self, at: Timestamp, number: f64) {
        if !matches!(&self.open, Open::Numbers(open) if open.len() < NUMBERS) {
            self.seal();
        }
        if let Open::Numbers(open) = &mut self.open {
            open.push(at.as_millis(), number);
        }
    }

    /// Ends the open chunk, and begins one of numbers.
    fn seal(&mut self) {
        self.sealed.extend(self.open.as_chunk());
        match &mut self.open {
            Open::Numbers(open) => open.clear(),
            Open::Histograms(_) => self.open = Open::Numbers(XorEncoder::new()),
        }
    }
}

impl Open {
    fn has_room_for_a_histogram(&self) -> bool {
        let Self::Histograms(open) = self else { return false };
        let buckets: usize = open.iter().map(|(_, h)| h.positive.len() + h.negative.len()).sum();
        open.len() < HISTOGRAMS && buckets < BUCKETS
    }

    fn len(&self) -> usize {
        match self {
            Self::Numbers(open) => open.len(),
            Self::Histograms(open) => open.len(),
        }
    }

    fn start(&self) -> Option<Timestamp> {
        let start = match self {
            Self::Numbers(open) => open.first_at(),
            Self::Histograms(open) => open.first().map(|(at, _)| *at),
        };
        start.map(Timestamp::from_millis)
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Numbers(open) => open.capacity(),
            // The buckets of one like it, at a guess.
            Self::Histograms(open) => open.len() * (size_of::<Histogram>() + 256),
        }
    }

    /// The chunk as it is now, if there is a sample in it.
    fn as_chunk(&self) -> Option<Chunk> {
        let start = self.start()?;
        let count = u32::try_from(self.len()).ok()?;
        let (end, histograms, bytes): (_, _, Arc<[u8]>) = match self {
            Self::Numbers(open) => (open.last_at()?, false, open.bytes().into()),
            Self::Histograms(open) => {
                let mut bytes = Vec::new();
                encode_histograms(open, &mut bytes);
                (open.last()?.0, true, bytes.into())
            }
        };
        Some(Chunk { start, end: Timestamp::from_millis(end), count, histograms, bytes })
    }
}

impl Chunk {
    /// Appends the samples in `range` to `into`.
    pub(crate) fn read(&self, range: TimeRange, into: &mut Vec<Sample>) -> Result<(), ChunkError> {
        decode(self.histograms, self.count, &self.bytes, range, into)
    }
}

impl Runs {
    /// Appends the samples in `range` to `into`, in the order of their time.
    pub(crate) fn read(&self, range: TimeRange, into: &mut Vec<Sample>) -> Result<(), ChunkError> {
        let from = into.len();
        for chunk in &self.chunks {
            chunk.read(range, into)?;
        }
        let late = self.late.iter().filter(|late| range.contains(late.at));
        let before = into.len();
        into.extend(late.cloned());
        if into.len() > before {
            into[from..].sort_by_key(|sample| sample.at);
        }
        Ok(())
    }

    /// The same samples, in chunks alone.
    pub(crate) fn in_order(&self) -> Self {
        let mut series = Series::new(0, Labels::empty());
        series.refill(self, |_| true);
        series.runs(TimeRange::ALL)
    }
}

/// Appends the samples of a chunk that lie in `range` to `into`.
pub(crate) fn decode(
    histograms: bool,
    count: u32,
    bytes: &[u8],
    range: TimeRange,
    into: &mut Vec<Sample>,
) -> Result<(), ChunkError> {
    if !histograms {
        return XorDecoder::new(bytes, count as usize)?.decode_into(range, into);
    }
    let mut read = Vec::new();
    decode_histograms(bytes, count as usize, &mut read)?;
    let samples = read.into_iter().map(|(at, histogram)| Sample {
        at: Timestamp::from_millis(at),
        value: Value::Histogram(histogram),
    });
    into.extend(samples.filter(|sample| range.contains(sample.at)));
    Ok(())
}
