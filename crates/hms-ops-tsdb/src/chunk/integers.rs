//! Columns of integers: what can be foretold is taken out, the rest is packed as narrow as it gets.
//!
//! A number is `first + unit × n`, and a model foretells `n` from its place and the `n` before it.
//! All arithmetic wraps around, in both directions alike.

use super::ChunkError;
use super::packed::{pack, unpack};
use crate::varint::{read_i64, read_u64, write_i64, write_u64};

/// What stands before the packed numbers, of which there is one for each but the first.
struct Header {
    first: i64,
    /// Zero when all are as the first; then nothing follows.
    unit: u64,
    model: Model,
    /// The least of what the model leaves. What it leaves above that is packed.
    low: i64,
    width: Width,
}

/// What is foretold of `n`, which is zero for the first number.
#[derive(Clone, Copy)]
enum Model {
    /// That it stays around a level.
    Level,
    /// That it is near the one before: walks, counters.
    Before,
    /// That it is near a line of this slope: scrapes that keep to a schedule.
    Line(i64),
}

/// Bits of a number before it is packed.
#[derive(Clone, Copy)]
enum Width {
    /// All are zero, and none is packed.
    None,
    Bits16,
    Bits32,
    Bits64,
}

/// Appends a column of numbers, at least one.
pub(super) fn encode(numbers: &[i64], into: &mut Vec<u8>) {
    let first = numbers[0];
    let apart = numbers.iter().map(|n| n.wrapping_sub(first));
    let unit = apart.clone().map(i64::unsigned_abs).fold(0, common_divisor);
    let n: Vec<i64> = match unit {
        0 | 1 => apart.collect(),
        _ => apart.map(|apart| apart / unit as i64).collect(),
    };
    let model = Model::of(&n);
    let left: Vec<i64> = (1..n.len()).map(|i| model.leaves(&n, i)).collect();
    let low = left.iter().copied().min().unwrap_or(0);
    let above = left.iter().map(|left| left.wrapping_sub(low) as u64);
    let width = match above.clone().max().unwrap_or(0) {
        0 => Width::None,
        1..=0xffff => Width::Bits16,
        0x1_0000..=0xffff_ffff => Width::Bits32,
        _ => Width::Bits64,
    };
    Header { first, unit, model, low, width }.write(into);
    match width {
        Width::None => {}
        Width::Bits16 => pack(&above.map(|n| n as u16).collect::<Vec<_>>(), into),
        Width::Bits32 => pack(&above.map(|n| n as u32).collect::<Vec<_>>(), into),
        Width::Bits64 => pack(&above.collect::<Vec<_>>(), into),
    }
}

/// Decodes a column of `count` numbers, at least one.
///
/// # Errors
///
/// [`ChunkError::Damaged`].
pub(super) fn decode(
    mut bytes: &[u8],
    count: usize,
    what: &'static str,
) -> Result<Vec<i64>, ChunkError> {
    let damaged = || ChunkError::damaged(what);
    let header = Header::read(&mut bytes).ok_or_else(damaged)?;
    let packed = count - 1;
    let mut n = Vec::with_capacity(count);
    n.push(0);
    let above = |above: u64| header.low.wrapping_add(above as i64);
    match header.width {
        Width::None if bytes.is_empty() => n.resize(count, header.low),
        Width::None => return Err(damaged()),
        Width::Bits16 => {
            n.extend(unpack::<u16>(bytes, packed, what)?.into_iter().map(|n| above(n.into())));
        }
        Width::Bits32 => {
            n.extend(unpack::<u32>(bytes, packed, what)?.into_iter().map(|n| above(n.into())));
        }
        Width::Bits64 => n.extend(unpack(bytes, packed, what)?.into_iter().map(above)),
    }
    header.model.put_back(&mut n);
    let unit = header.unit as i64;
    for n in &mut n {
        *n = header.first.wrapping_add(n.wrapping_mul(unit));
    }
    Ok(n)
}

impl Header {
    fn write(&self, into: &mut Vec<u8>) {
        let (model, slope) = match self.model {
            Model::Level => (0, None),
            Model::Before => (1, None),
            Model::Line(slope) => (2, Some(slope)),
        };
        into.push(model << 4 | self.width as u8);
        write_i64(into, self.first);
        write_u64(into, self.unit);
        if self.unit > 0 {
            write_i64(into, self.low);
            slope.into_iter().for_each(|slope| write_i64(into, slope));
        }
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        let tag = *bytes.split_off_first()?;
        let (first, unit) = (read_i64(bytes)?, read_u64(bytes)?);
        let low = if unit > 0 { read_i64(bytes)? } else { 0 };
        let model = match tag >> 4 {
            0 => Model::Level,
            1 => Model::Before,
            2 => Model::Line(read_i64(bytes)?),
            _ => return None,
        };
        let width = match tag & 0xf {
            0 => Width::None,
            1 => Width::Bits16,
            2 => Width::Bits32,
            3 => Width::Bits64,
            _ => return None,
        };
        Some(Self { first, unit, model, low, width })
    }
}

impl Model {
    /// The one that leaves least of numbers of which the first is zero.
    fn of(n: &[i64]) -> Self {
        let last = n.len() - 1;
        let slope = (n[last] as f64 / last.max(1) as f64).round() as i64;
        let spread = |model: Self| spread(n.len(), |i| model.leaves(n, i));
        let level = spread(Self::Level);
        let before = spread(Self::Before);
        let line = spread(Self::Line(slope));
        // A line through noise comes out a little ahead as often as not: it has to save a bit each.
        if line < before && line + n.len() as u32 / 2 < level {
            Self::Line(slope)
        } else if before < level {
            Self::Before
        } else {
            Self::Level
        }
    }

    fn leaves(self, n: &[i64], i: usize) -> i64 {
        match self {
            Self::Level => n[i],
            Self::Before => n[i].wrapping_sub(n[i.saturating_sub(1)]),
            Self::Line(slope) => n[i].wrapping_sub(slope.wrapping_mul(i as i64)),
        }
    }

    /// Undoes [`leaves`](Self::leaves) for all.
    fn put_back(self, n: &mut [i64]) {
        let mut sum = 0_i64;
        for (i, n) in n.iter_mut().enumerate() {
            match self {
                Self::Level => {}
                Self::Before => {
                    sum = sum.wrapping_add(*n);
                    *n = sum;
                }
                Self::Line(slope) => *n = n.wrapping_add(slope.wrapping_mul(i as i64)),
            }
        }
    }
}

/// How far numbers lie from those half a column away: the sum of the bits of the differences.
///
/// Unlike a distance from the mean, it does not change much when a few lie far out.
pub(super) fn spread(count: usize, number: impl Fn(usize) -> i64) -> u32 {
    let half = count / 2;
    let apart = |i| number(i).wrapping_sub(number(i + half)).unsigned_abs();
    (0..half).map(|i| u64::BITS - apart(i).leading_zeros()).sum()
}

/// Euclid's; zero is divided by every number.
fn common_divisor(mut a: u64, mut b: u64) -> u64 {
    while a != 1 && b > 0 {
        (a, b) = (b, a % b);
    }
    a
}
