//! Columns: the times or the values of a run of samples, compressed at once.

use super::integers::{self, spread};
use super::packed::{pack_floats, unpack};
use super::{ChunkError, check_count};
use crate::varint::{read_u64, write_u64};

/// Tags 0 to 9: integers over ten to the power of the tag.
const POWERS: [f64; 10] = [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];
/// Added to those: some values are none, and stand before the integers.
const WITH_OTHERS: u8 = 16;
/// Floats.
const FLOATS: u8 = 32;
/// The value of all samples, without the zeros it ends in.
const CONSTANT: u8 = 33;

/// Appends a column of values, which will come back bit by bit. None take no bytes.
pub fn encode_values(values: &[f64], into: &mut Vec<u8>) {
    let Some(first) = values.first() else { return };
    if values.iter().all(|value| value.to_bits() == first.to_bits()) {
        // Few bits are set in most of them, and those at the front.
        let bits = first.to_bits();
        let zeros = bits.trailing_zeros() as usize / 8;
        into.push(CONSTANT);
        into.extend_from_slice(&bits.to_be_bytes()[..8 - zeros]);
    } else if let Some(decimals) = Decimals::of(values) {
        decimals.encode(into);
    } else {
        let ordered = |i: usize| ordered(values[i]);
        let before = |i: usize| ordered(i).wrapping_sub(ordered(i.saturating_sub(1)));
        into.push(FLOATS);
        pack_floats(values, spread(values.len(), before) < spread(values.len(), ordered), into);
    }
}

/// Decodes the `count` values of a column and appends them.
///
/// # Errors
///
/// [`ChunkError`]; `into` is as it was.
pub fn decode_values(bytes: &[u8], count: usize, into: &mut Vec<f64>) -> Result<(), ChunkError> {
    const WHAT: &str = "values";
    let Some(bytes) = check(bytes, count, WHAT)? else { return Ok(()) };
    let (tag, mut bytes) = (bytes[0], &bytes[1..]);
    match tag {
        CONSTANT => {
            let mut value = [0; 8];
            let part = value.get_mut(..bytes.len()).ok_or(ChunkError::damaged(WHAT))?;
            part.copy_from_slice(bytes);
            into.resize(into.len() + count, f64::from_be_bytes(value));
        }
        FLOATS => into.append(&mut unpack(bytes, count, WHAT)?),
        _ => {
            let power = POWERS.get(usize::from(tag & !WITH_OTHERS));
            let power = power.ok_or(ChunkError::UnknownEncoding { what: WHAT, tag })?;
            let others =
                if tag < WITH_OTHERS { Some(Vec::new()) } else { read_others(&mut bytes, count) };
            let others = others.ok_or(ChunkError::damaged(WHAT))?;
            let numbers = integers::decode(bytes, count, WHAT)?;
            let start = into.len();
            into.extend(numbers.into_iter().map(|n| n as f64 / power));
            for (i, value) in others {
                into[start + i] = value;
            }
        }
    }
    Ok(())
}

/// Values as integers over a power of ten.
///
/// Few decimals are enough for most of what is measured, and to divide rounds just as to read them
/// as text does.
struct Decimals {
    power: u8,
    /// One for each value; those of `others` repeat the one before.
    numbers: Vec<i64>,
    /// Values that are not finite, such as marks of staleness, and where they are.
    others: Vec<(usize, f64)>,
}

impl Decimals {
    /// Over the least power by which all finite values come back exactly.
    fn of(values: &[f64]) -> Option<Self> {
        let finite = || values.iter().copied().filter(|value| value.is_finite());
        let mut power = 0;
        for value in finite() {
            while decimal(value, POWERS[power]).is_none() {
                power += 1;
                if power == POWERS.len() {
                    return None;
                }
            }
        }
        let mut last = decimal(finite().next()?, POWERS[power])?;
        let mut others = Vec::new();
        let mut numbers = Vec::with_capacity(values.len());
        for (i, &value) in values.iter().enumerate() {
            if value.is_finite() {
                last = decimal(value, POWERS[power])?;
            } else {
                others.push((i, value));
            }
            numbers.push(last);
        }
        // Each of the others takes nine bytes: as floats, many would take less.
        let few = others.len() <= values.len() / 16;
        few.then_some(Self { power: power as u8, numbers, others })
    }

    fn encode(&self, into: &mut Vec<u8>) {
        if self.others.is_empty() {
            into.push(self.power);
        } else {
            into.push(WITH_OTHERS | self.power);
            write_u64(into, self.others.len() as u64);
            let mut next = 0;
            for (i, value) in &self.others {
                write_u64(into, (i - next) as u64);
                into.extend_from_slice(&value.to_le_bytes());
                next = i + 1;
            }
        }
        integers::encode(&self.numbers, into);
    }
}

/// Takes the others of a column of `count` values off the front of `bytes`.
fn read_others(bytes: &mut &[u8], count: usize) -> Option<Vec<(usize, f64)>> {
    let (mut others, mut next) = (Vec::new(), 0_usize);
    for _ in 0..read_u64(bytes)? {
        let i = next.checked_add(usize::try_from(read_u64(bytes)?).ok()?)?;
        if i >= count {
            return None;
        }
        others.push((i, f64::from_le_bytes(*bytes.split_off(..8)?.first_chunk()?)));
        next = i + 1;
    }
    Some(others)
}

/// The integer that is `value` when divided by `power`.
fn decimal(value: f64, power: f64) -> Option<i64> {
    let scaled = value * power;
    // To the nearest, halves away from zero. Whether it was right, the division tells.
    let n = (scaled + 0.5_f64.copysign(scaled)) as i64;
    let exact = n.unsigned_abs() < 1 << 53 && (n as f64 / power).to_bits() == value.to_bits();
    exact.then_some(n)
}

/// The bits of a value as an integer of the same order.
fn ordered(value: f64) -> i64 {
    let bits = value.to_bits() as i64;
    bits ^ ((bits >> 63) & i64::MAX)
}

/// Appends a column of times in milliseconds, strictly ascending. None take no bytes.
pub fn encode_times(times: &[i64], into: &mut Vec<u8>) {
    if !times.is_empty() {
        integers::encode(times, into);
    }
}

/// Decodes the `count` times of a column, strictly ascending, and appends them.
///
/// # Errors
///
/// [`ChunkError`]; `into` is as it was.
pub fn decode_times(bytes: &[u8], count: usize, into: &mut Vec<i64>) -> Result<(), ChunkError> {
    let Some(bytes) = check(bytes, count, "times")? else { return Ok(()) };
    let mut times = integers::decode(bytes, count, "times")?;
    if let Some(i) = times.windows(2).position(|w| w[0] >= w[1]) {
        return Err(ChunkError::OutOfOrder { index: i + 1, at: times[i + 1] });
    }
    into.append(&mut times);
    Ok(())
}

/// The bytes of `count` samples; nothing, if there are no samples and no bytes.
fn check<'a>(
    bytes: &'a [u8],
    count: usize,
    what: &'static str,
) -> Result<Option<&'a [u8]>, ChunkError> {
    check_count(count)?;
    match (bytes, count) {
        ([], 0) => Ok(None),
        ([], _) => Err(ChunkError::Truncated { index: 0, count }),
        (_, 0) => Err(ChunkError::damaged(what)),
        _ => Ok(Some(bytes)),
    }
}
