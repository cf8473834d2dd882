//! Lengths of time in a query, which may be arithmetic: `[5m]`, `[step() * 2]`.

use std::fmt;

use crate::ast::BinaryOp;
use crate::format::Float;
use crate::text::Quoted;

/// A length of time.
#[derive(Clone, Debug, PartialEq)]
pub enum Length {
    /// Seconds; `is_duration` says that it was written as one, `5m`, and not as a number.
    Literal {
        /// Seconds.
        seconds: f64,
        /// Whether it was written as a duration.
        is_duration: bool,
    },
    /// `step()`: how far apart the query's instants are.
    Step,
    /// `range()`: from the first of the query's instants to the last.
    Range,
    /// The shorter of two.
    Min(Box<Length>, Box<Length>),
    /// The longer of two.
    Max(Box<Length>, Box<Length>),
    /// A sign before it.
    Signed {
        /// Whether the sign is a minus.
        negative: bool,
        /// What it is before.
        of: Box<Length>,
    },
    /// Arithmetic.
    Binary {
        /// One of `+ - * / % ^`.
        op: BinaryOp,
        /// What is before the operator.
        left: Box<Length>,
        /// What is after it.
        right: Box<Length>,
    },
    /// In parentheses.
    Paren(Box<Length>),
}

/// Why a length of time has no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LengthError {
    /// It divides by zero.
    #[error("division by zero")]
    Division,
    /// It takes a remainder by zero.
    #[error("modulo by zero")]
    Modulo,
    /// Milliseconds cannot count it.
    #[error("duration is out of range")]
    Range,
}

impl Length {
    /// Milliseconds, cut off towards zero; it may be zero or less.
    ///
    /// `step_ms` and `range_ms` are what `step()` and `range()` stand for.
    ///
    /// # Errors
    ///
    /// [`LengthError`] when it cannot be computed.
    pub fn millis(&self, step_ms: i64, range_ms: i64) -> Result<i64, LengthError> {
        let millis = match *self {
            // Rounded to nanoseconds first, as Prometheus does for a literal and for nothing else.
            Self::Literal { seconds, .. } => (seconds * 1e9).round() / 1e6,
            _ => self.seconds(step_ms as f64 / 1e3, range_ms as f64 / 1e3)? * 1e3,
        };
        // The bound is exact in an f64, and not a number is not below it.
        if millis.abs() < 2_f64.powi(63) { Ok(millis as i64) } else { Err(LengthError::Range) }
    }

    fn seconds(&self, step: f64, range: f64) -> Result<f64, LengthError> {
        let of = |length: &Self| length.seconds(step, range);
        Ok(match self {
            Self::Literal { seconds, .. } => *seconds,
            Self::Step => step,
            Self::Range => range,
            Self::Min(a, b) => of(a)?.min(of(b)?),
            Self::Max(a, b) => of(a)?.max(of(b)?),
            Self::Signed { negative: true, of: signed } => -of(signed)?,
            Self::Signed { of: inner, .. } | Self::Paren(inner) => of(inner)?,
            Self::Binary { op, left, right } => {
                let (left, right) = (of(left)?, of(right)?);
                match op {
                    BinaryOp::Add => left + right,
                    BinaryOp::Sub => left - right,
                    BinaryOp::Mul => left * right,
                    BinaryOp::Div if right == 0.0 => return Err(LengthError::Division),
                    BinaryOp::Div => left / right,
                    BinaryOp::Mod if right == 0.0 => return Err(LengthError::Modulo),
                    BinaryOp::Mod => left % right,
                    BinaryOp::Pow => left.powf(right),
                    _ => f64::NAN,
                }
            }
        })
    }

    /// Whether it is a literal zero, which is as if nothing was said.
    pub(crate) fn is_zero(&self) -> bool {
        matches!(self, Self::Literal { seconds, .. } if *seconds == 0.0)
    }
}

/// As a duration where it is a literal, as it would be written where it is not.
impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Literal { seconds, .. } => write!(f, "{}", Span(seconds)),
            _ => self.write(f),
        }
    }
}

impl Length {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal { seconds, is_duration: true } => write!(f, "{}", Span(*seconds)),
            Self::Literal { seconds, .. } => write!(f, "{}", Float(*seconds)),
            Self::Step => f.write_str("step()"),
            Self::Range => f.write_str("range()"),
            Self::Min(a, b) => write!(f, "min_of({}, {})", Inner(a), Inner(b)),
            Self::Max(a, b) => write!(f, "max_of({}, {})", Inner(a), Inner(b)),
            Self::Signed { negative, of } => {
                write!(f, "{}{}", if *negative { "-" } else { "" }, Inner(of))
            }
            Self::Binary { op, left, right } => {
                write!(f, "{} {op} {}", Inner(left), Inner(right))
            }
            Self::Paren(inner) => write!(f, "({})", Inner(inner)),
        }
    }
}

/// A part of a length, where a number stays a number.
struct Inner<'a>(&'a Length);

impl fmt::Display for Inner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.write(f)
    }
}

/// Seconds, written as a duration: `1h30m`. Below a millisecond is cut off.
pub(crate) struct Span(pub(crate) f64);

const UNITS: [(&str, u64); 7] = [
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut millis = ((self.0.abs() * 1e9).round() / 1e6) as u64;
        if millis == 0 {
            return f.write_str("0s");
        }
        if self.0 < 0.0 {
            f.write_str("-")?;
        }
        for (unit, size) in UNITS {
            // Weeks and years only where nothing is left over: `8d`, not `1w1d`.
            if millis >= size && (!matches!(unit, "y" | "w") || millis.is_multiple_of(size)) {
                write!(f, "{}{unit}", millis / size)?;
                millis %= size;
            }
        }
        Ok(())
    }
}

/// The seconds of a duration as it is written: `1h30m`.
///
/// # Errors
///
/// What is wrong with it.
pub(crate) fn seconds_of(text: &str) -> Result<f64, String> {
    let invalid = || format!("not a valid duration string: {}", Quoted(text));
    let is_digit = |c: char| c.is_ascii_digit();
    let mut units = UNITS.iter();
    let mut millis = Some(0_u64);
    let mut rest = text;
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|c| !is_digit(c)).unwrap_or(rest.len()));
        let (unit, after) = after.split_at(after.find(is_digit).unwrap_or(after.len()));
        if !unit.is_empty() && UNITS.iter().all(|(known, _)| *known != unit) {
            return Err(format!("unknown unit {} in duration {}", Quoted(unit), Quoted(text)));
        }
        // Each at most once, the longest first.
        let Some(&(_, size)) = units.find(|(known, _)| *known == unit && !number.is_empty()) else {
            return Err(invalid());
        };
        let part = number.parse().ok().and_then(|number: u64| number.checked_mul(size));
        millis = millis.zip(part).and_then(|(sum, part)| sum.checked_add(part));
        rest = after;
    }
    // What Prometheus can count: nanoseconds in 63 bits.
    match millis {
        Some(millis) if millis <= (i64::MAX / 1_000_000) as u64 => Ok(millis as f64 / 1e3),
        _ => Err("duration out of range".to_owned()),
    }
}
