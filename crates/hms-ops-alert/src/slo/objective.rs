//! Objectives and burn rates as decimals, and the comparison that loses nothing.

use std::fmt;
use std::str::FromStr;

/// Digits after the point of an objective in percent, and so of its parts.
const OBJECTIVE_DIGITS: u32 = 9;
/// A whole, in the parts that objectives are counted in.
const WHOLE: u64 = 100 * 10u64.pow(OBJECTIVE_DIGITS);
/// Digits after the point of a burn rate.
const BURN_DIGITS: u32 = 3;

/// How many of the events shall be good, in percent: a decimal between 0 and 100, both left out, of up
/// to nine digits after the point.
///
/// ```
/// use hms_ops_alert::slo::Objective;
///
/// let objective: Objective = "99.999".parse()?;
/// assert_eq!(objective.error_ratio(), 0.00001);
/// assert_eq!(objective.to_string(), "99.999");
/// assert!("100".parse::<Objective>().is_err());
/// # Ok::<(), hms_ops_alert::slo::NotDecimal>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Objective(u64);

/// How fast an error budget is spent: at 1 it lasts exactly one period. A decimal of up to three digits
/// after the point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BurnRate(u64);

/// Why a text is not the decimal that is wanted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {wanted}")]
pub struct NotDecimal {
    text: String,
    wanted: &'static str,
}

impl Objective {
    /// The part of the events that may be bad.
    pub fn error_ratio(self) -> f64 {
        self.error_parts() as f64 / WHOLE as f64
    }

    /// The highest burn rate there is, at which every event is bad.
    pub fn highest_burn(self) -> f64 {
        WHOLE as f64 / self.error_parts() as f64
    }

    /// Whether so many bad events of so many spend the budget faster than `burn`. Exact.
    ///
    /// ```
    /// use hms_ops_alert::slo::{BurnRate, Objective};
    ///
    /// let (objective, burn): (Objective, BurnRate) = ("99.9".parse()?, "14.4".parse()?);
    /// // 14.4 × 0.1 % is 1.44 %; in floats, 14.4 × (1 − 0.999) is more.
    /// assert!(!objective.burns_above(burn, 144, 10_000));
    /// assert!(objective.burns_above(burn, 145, 10_000));
    /// # Ok::<(), hms_ops_alert::slo::NotDecimal>(())
    /// ```
    pub fn burns_above(self, burn: BurnRate, bad: u64, total: u64) -> bool {
        let scale = u128::from(WHOLE) * u128::from(10u64.pow(BURN_DIGITS));
        // 64 bits times 47: the left side fits. The right side may not, and then it is the greater one.
        let allowed = u128::from(burn.0) * u128::from(self.error_parts());
        let allowed = allowed.checked_mul(u128::from(total));
        allowed.is_some_and(|allowed| u128::from(bad) * scale > allowed)
    }

    /// Whether any share of bad events spends the budget faster than `burn`.
    pub fn can_exceed(self, burn: BurnRate) -> bool {
        self.burns_above(burn, 1, 1)
    }

    fn error_parts(self) -> u64 {
        WHOLE - self.0
    }
}

impl BurnRate {
    /// As a number, dimensionless.
    pub fn get(self) -> f64 {
        self.0 as f64 / 10u64.pow(BURN_DIGITS) as f64
    }
}

impl FromStr for Objective {
    type Err = NotDecimal;

    fn from_str(text: &str) -> Result<Self, NotDecimal> {
        let wanted = "an objective in percent such as 99.9, between 0 and 100";
        let parts = decimal(text, OBJECTIVE_DIGITS).filter(|parts| (1..WHOLE).contains(parts));
        parts.map(Self).ok_or_else(|| NotDecimal { text: text.to_owned(), wanted })
    }
}

impl FromStr for BurnRate {
    type Err = NotDecimal;

    fn from_str(text: &str) -> Result<Self, NotDecimal> {
        let wanted = "a burn rate such as 14.4, above 0";
        let parts = decimal(text, BURN_DIGITS).filter(|parts| *parts > 0);
        parts.map(Self).ok_or_else(|| NotDecimal { text: text.to_owned(), wanted })
    }
}

impl fmt::Display for Objective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_decimal(f, self.0, OBJECTIVE_DIGITS)
    }
}

impl fmt::Display for BurnRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_decimal(f, self.0, BURN_DIGITS)
    }
}

/// `99.95` with so many digits after the point, as a whole number of the smallest part.
fn decimal(text: &str, digits: u32) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let all_digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    if !all_digits(whole) || !all_digits(part) || part.len() > digits as usize {
        return None;
    }
    let part = part.parse::<u64>().ok()?.checked_mul(10u64.pow(digits - part.len() as u32))?;
    whole.parse::<u64>().ok()?.checked_mul(10u64.pow(digits))?.checked_add(part)
}

fn write_decimal(f: &mut fmt::Formatter<'_>, value: u64, digits: u32) -> fmt::Result {
    let unit = 10u64.pow(digits);
    let part = format!("{:0width$}", value % unit, width = digits as usize);
    match part.trim_end_matches('0') {
        "" => write!(f, "{}", value / unit),
        part => write!(f, "{}.{part}", value / unit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_objective_is_what_was_written_and_nothing_rounded() {
        for (text, ratio) in [("99.9", 0.001), ("99.999", 0.000_01), ("90", 0.1), ("0.5", 0.995)] {
            let objective: Objective = text.parse().unwrap();
            assert_eq!((objective.error_ratio(), objective.to_string()), (ratio, text.to_owned()));
        }
        assert_eq!("99.990".parse::<Objective>(), "99.99".parse());
    }

    #[test]
    fn what_is_no_objective_is_refused_with_what_would_be() {
        for text in
            ["100", "0", "100.1", "-1", "", ".", "99.", ".9", "99,9", "9e1", "99.9999999999"]
        {
            let refused = text.parse::<Objective>().unwrap_err().to_string();
            assert!(refused.starts_with(&format!("{text:?} is not an objective")), "{refused}");
        }
        assert!("0".parse::<BurnRate>().is_err());
    }

    #[test]
    fn no_burn_is_above_the_one_of_a_full_outage() {
        let objective: Objective = "90".parse().unwrap();
        assert!(objective.can_exceed("9.999".parse().unwrap()));
        assert!(!objective.can_exceed("10".parse().unwrap()));
        assert_eq!(objective.highest_burn(), 10.0);
    }

    #[test]
    fn the_largest_counts_are_compared_and_do_not_overflow() {
        let objective: Objective = "99.9".parse().unwrap();
        assert!(objective.burns_above("1".parse().unwrap(), u64::MAX, u64::MAX));
        assert!(!objective.burns_above(BurnRate(u64::MAX), u64::MAX, u64::MAX));
    }
}
