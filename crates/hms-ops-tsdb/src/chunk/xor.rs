//! XOR chunks: samples of a number, a few bits each, one at a time.
//!
//! Source: Pelkonen et al., *Gorilla: A Fast, Scalable, In-Memory Time Series Database*, VLDB 2015,
//! section 4.1, with other widths, and with a new window whenever the old one would cost more.

use hms_ops_core::sample::{Sample, Value};
use hms_ops_core::time::{TimeRange, Timestamp};

use super::{ChunkError, check_count};

/// How many bits a change of the interval has, by the number of ones that lead its code.
///
/// Chosen by sums over intervals with ±1 to ±500 ms of jitter and with gaps. A change that fits
/// none follows five ones and has 64.
const TIME_BITS: [u32; 4] = [5, 9, 12, 20];

/// Bits that say where a window lies: 5 for the zeros before it, 6 for its length.
const WINDOW_BITS: u32 = 11;
/// The most zeros before a window that 5 bits can say.
const MAX_LEADING: u32 = 31;

/// A chunk that grows.
///
/// ```
/// use hms_ops_tsdb::chunk::{XorDecoder, XorEncoder};
///
/// let mut chunk = XorEncoder::new();
/// chunk.push(15_000, 1.5);
/// chunk.push(30_000, 1.5);
/// let samples: Result<Vec<_>, _> = XorDecoder::new(chunk.bytes(), chunk.len())?.collect();
/// assert_eq!(samples?, [(15_000, 1.5), (30_000, 1.5)]);
/// # Ok::<(), hms_ops_tsdb::chunk::ChunkError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct XorEncoder {
    bytes: Vec<u8>,
    at: i64,
    interval: i64,
    value: u64,
    count: u32,
    window: Window,
    /// Bits of the last byte that are not used.
    free: u8,
}

/// Which bits of a value differed from the one before it, when some last did.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    /// Zeros before them.
    leading: u8,
    /// How many they are; zero before the first.
    bits: u8,
}

impl Window {
    /// The shortest around the ones of `xor`, which has some.
    fn around(xor: u64) -> Self {
        let leading = xor.leading_zeros().min(MAX_LEADING);
        let bits = 64 - leading - xor.trailing_zeros();
        Self { leading: leading as u8, bits: bits as u8 }
    }

    /// Zeros after it.
    fn trailing(self) -> u32 {
        64 - u32::from(self.leading) - u32::from(self.bits)
    }

    fn covers(self, other: Self) -> bool {
        self.leading <= other.leading && self.trailing() <= other.trailing()
    }
}

impl XorEncoder {
    /// A chunk without samples, which holds no memory.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a sample.
    ///
    /// It is for the caller to see that `at`, in milliseconds, is later than in the last one, and
    /// that there are no more than [`MAX_SAMPLES`](super::MAX_SAMPLES): the chunk could not be
    /// decoded.
    pub fn push(&mut self, at: i64, value: f64) {
        let value = value.to_bits();
        if self.is_empty() {
            self.bytes.extend_from_slice(&at.to_be_bytes());
            self.bytes.extend_from_slice(&value.to_be_bytes());
        } else {
            let interval = at.wrapping_sub(self.at);
            self.put_change(interval.wrapping_sub(self.interval), value ^ self.value);
            self.interval = interval;
        }
        (self.at, self.value) = (at, value);
        self.count += 1;
    }

    /// How many samples there are.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// When the first sample was, in milliseconds.
    pub fn first_at(&self) -> Option<i64> {
        self.bytes.first_chunk().map(|at| i64::from_be_bytes(*at))
    }

    /// When the last sample was, in milliseconds.
    pub fn last_at(&self) -> Option<i64> {
        (!self.is_empty()).then_some(self.at)
    }

    /// What the last sample was.
    pub fn last_value(&self) -> Option<f64> {
        (!self.is_empty()).then_some(f64::from_bits(self.value))
    }

    /// What [`XorDecoder`] reads, together with [`len`](Self::len). Complete after each push.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes on the heap, used or not.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Forgets all samples, and keeps the memory for the next.
    pub fn clear(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        *self = Self { bytes, ..Self::default() };
    }

    /// The bytes, without room for more.
    pub fn finish(self) -> Box<[u8]> {
        self.bytes.into_boxed_slice()
    }

    /// Appends what has changed: the interval, in milliseconds, and bits of the value.
    #[inline]
    fn put_change(&mut self, interval: i64, xor: u64) {
        // What is short goes out as one code.
        let (mut code, mut bits) = match TIME_BITS.iter().position(|&bits| fits(interval, bits)) {
            _ if interval == 0 => (0, 1),
            Some(ones) => {
                let bits = TIME_BITS[ones];
                let prefix = (2_u64 << (ones + 1)) - 2;
                (prefix << bits | interval as u64 & ((1 << bits) - 1), ones as u32 + 2 + bits)
            }
            None => {
                self.put(0b11111, 5);
                self.put(interval as u64, 64);
                (0, 0)
            }
        };
        if xor == 0 {
            return self.put(code << 1, bits + 1);
        }
        let (new, old) = (Window::around(xor), self.window);
        if old.covers(new) && u32::from(old.bits - new.bits) <= WINDOW_BITS {
            (code, bits) = (code << 2 | 0b10, bits + 2);
        } else {
            self.window = new;
            let place = u64::from(new.leading) << 6 | u64::from(new.bits - 1);
            (code, bits) = ((code << 2 | 0b11) << WINDOW_BITS | place, bits + 2 + WINDOW_BITS);
        }
        let (xor, more) = (xor >> self.window.trailing(), u32::from(self.window.bits));
        if bits + more <= 64 {
            self.put(code << more | xor, bits + more);
        } else {
            self.put(code, bits);
            self.put(xor, more);
        }
    }

    /// Appends the low `bits` of `code`, 1 to 64; the others are zero.
    #[inline]
    fn put(&mut self, code: u64, bits: u32) {
        let word = code << (64 - bits);
        let free = u32::from(self.free);
        if let Some(last) = self.bytes.last_mut() {
            *last |= (word >> 56 >> (8 - free)) as u8;
        }
        if bits <= free {
            self.free -= bits as u8;
            return;
        }
        let more = (bits - free).div_ceil(8);
        let len = self.bytes.len() + more as usize;
        // Eight bytes of which some are cut off: a copy of known length is faster.
        self.bytes.extend_from_slice(&(word << free).to_be_bytes());
        self.bytes.truncate(len);
        self.free = (more * 8 - (bits - free)) as u8;
    }
}

/// Whether `n` can be written in `bits`, as two's complement.
fn fits(n: i64, bits: u32) -> bool {
    let half = 1 << (bits - 1);
    (-half..half).contains(&n)
}

/// The samples of a chunk, times in milliseconds, in order. Ends after the first error.
#[derive(Clone, Debug)]
pub struct XorDecoder<'a> {
    bits: Bits<'a>,
    index: usize,
    count: usize,
    at: i64,
    interval: i64,
    value: u64,
    window: Window,
}

/// Why the next sample cannot be decoded.
enum Fault {
    Truncated,
    Window,
    OutOfOrder(i64),
}

impl<'a> XorDecoder<'a> {
    /// Reads the `count` samples in `bytes`.
    ///
    /// # Errors
    ///
    /// [`ChunkError::TooLong`].
    pub fn new(bytes: &'a [u8], count: usize) -> Result<Self, ChunkError> {
        check_count(count)?;
        Ok(Self {
            bits: Bits { rest: bytes, word: 0, held: 0 },
            index: 0,
            count,
            at: 0,
            interval: 0,
            value: 0,
            window: Window::default(),
        })
    }

    /// Appends the samples that lie in `range`, and decodes none after them.
    ///
    /// # Errors
    ///
    /// [`ChunkError`]; `into` holds what was decoded before.
    pub fn decode_into(
        mut self,
        range: TimeRange,
        into: &mut Vec<Sample>,
    ) -> Result<(), ChunkError> {
        while self.index < self.count {
            self.step().map_err(|fault| self.error(fault))?;
            let at = Timestamp::from_millis(self.at);
            if at > range.end {
                break;
            }
            if at >= range.start {
                into.push(Sample { at, value: Value::Float(f64::from_bits(self.value)) });
            }
        }
        Ok(())
    }

    #[inline]
    fn step(&mut self) -> Result<(), Fault> {
        let (at, value) = if self.index == 0 {
            let first = self.bits.rest.split_first_chunk::<16>();
            let (first, rest) = first.ok_or(Fault::Truncated)?;
            self.bits.rest = rest;
            let first = u128::from_be_bytes(*first);
            ((first >> 64) as i64, first as u64)
        } else {
            self.interval = self.interval.wrapping_add(self.bits.interval()?);
            let at = self.at.wrapping_add(self.interval);
            if at <= self.at {
                return Err(Fault::OutOfOrder(at));
            }
            (at, self.value ^ self.bits.xor(&mut self.window)?)
        };
        (self.at, self.value) = (at, value);
        self.index += 1;
        Ok(())
    }

    #[cold]
    fn error(&self, fault: Fault) -> ChunkError {
        match fault {
            Fault::Truncated => ChunkError::Truncated { index: self.index, count: self.count },
            Fault::OutOfOrder(at) => ChunkError::OutOfOrder { index: self.index, at },
            Fault::Window => ChunkError::damaged("window of a value"),
        }
    }
}

impl Iterator for XorDecoder<'_> {
    type Item = Result<(i64, f64), ChunkError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.index >= self.count {
            return None;
        }
        let step = self.step();
        Some(match step {
            Ok(()) => Ok((self.at, f64::from_bits(self.value))),
            Err(fault) => {
                let error = self.error(fault);
                self.index = self.count;
                Err(error)
            }
        })
    }
}

/// Bits, taken from the top of each byte.
#[derive(Clone, Debug)]
struct Bits<'a> {
    rest: &'a [u8],
    /// The next bits, from the top. Below the first `held`, bits of `rest` or zeros.
    word: u64,
    held: u32,
}

impl Bits<'_> {
    /// Holds at least 56 bits, or all there are.
    #[inline]
    fn refill(&mut self) {
        if let Some(next) = self.rest.first_chunk() {
            let taken = (63 - self.held) / 8;
            self.word |= u64::from_be_bytes(*next) >> self.held;
            self.held += taken * 8;
            self.rest = &self.rest[taken as usize..];
        } else {
            self.refill_at_end();
        }
    }

    fn refill_at_end(&mut self) {
        while let ([byte, rest @ ..], 0..=55) = (self.rest, self.held) {
            self.word |= u64::from(*byte) << (56 - self.held);
            self.held += 8;
            self.rest = rest;
        }
    }

    /// Lets go of `bits`, at most 63, that were looked at.
    #[inline]
    fn skip(&mut self, bits: u32) -> Result<(), Fault> {
        self.held = self.held.checked_sub(bits).ok_or(Fault::Truncated)?;
        self.word <<= bits;
        Ok(())
    }

    /// Takes 1 to 64 bits.
    #[inline]
    fn take(&mut self, bits: u32) -> Result<u64, Fault> {
        if bits > 56 {
            let high = self.take(32)?;
            return Ok(high << (bits - 32) | self.take(bits - 32)?);
        }
        if bits > self.held {
            self.refill();
        }
        let taken = self.word >> (64 - bits);
        self.skip(bits)?;
        Ok(taken)
    }

    /// How much longer the interval is than the last.
    #[inline]
    fn interval(&mut self) -> Result<i64, Fault> {
        // As many as the longest code of a time and what says where a value's bits lie.
        if self.held < 38 {
            self.refill();
        }
        let ones = self.word.leading_ones();
        if ones == 0 {
            self.skip(1)?;
            return Ok(0);
        }
        let Some(&bits) = TIME_BITS.get(ones as usize - 1) else {
            self.skip(5)?;
            let change = self.take(64)? as i64;
            self.refill();
            return Ok(change);
        };
        let change = (self.word << (ones + 1)) as i64 >> (64 - bits);
        self.skip(ones + 1 + bits)?;
        Ok(change)
    }

    /// The bits in which the value differs from the last.
    #[inline]
    fn xor(&mut self, window: &mut Window) -> Result<u64, Fault> {
        match self.word >> 62 {
            0b00 | 0b01 => {
                self.skip(1)?;
                return Ok(0);
            }
            0b10 => self.skip(2)?,
            _ => {
                let place = self.word << 2 >> (64 - WINDOW_BITS);
                self.skip(2 + WINDOW_BITS)?;
                *window = Window { leading: (place >> 6) as u8, bits: (place & 63) as u8 + 1 };
            }
        }
        if window.bits == 0 || window.leading + window.bits > 64 {
            return Err(Fault::Window);
        }
        Ok(self.take(u32::from(window.bits))? << window.trailing())
    }
}
