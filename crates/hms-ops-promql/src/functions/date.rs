//! Functions of dates, in UTC and the proleptic Gregorian calendar.

use crate::function::Function;

const DAY: i64 = 86_400;

/// What a function of dates says of an instant, in seconds since the Unix epoch.
pub(super) fn of(function: Function, seconds: f64) -> f64 {
    // As Prometheus, which cuts the fraction off.
    let seconds = seconds as i64;
    let (days, in_day) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
    let (year, month, day) = civil(days);
    let number = match function {
        Function::Minute => in_day / 60 % 60,
        Function::Hour => in_day / 3600,
        // The epoch was a Thursday.
        Function::DayOfWeek => (days + 4).rem_euclid(7),
        Function::DayOfMonth => day,
        Function::DayOfYear => days - days_before(year, 1) + 1,
        Function::DaysInMonth => {
            let next = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
            days_before(next.0, next.1) - days_before(year, month)
        }
        Function::Month => month,
        _ => year,
    };
    number as f64
}

/// Year, month and day of a count of days since the epoch. Eras of 400 years begin on 1 March, so
/// that the leap day is the last of them.
fn civil(days: i64) -> (i64, i64, i64) {
    // Beyond this, no clock has ever been; and nothing overflows before it.
    let days = days.clamp(-100_000_000_000, 100_000_000_000) + 719_468;
    let (era, in_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (in_era - in_era / 1460 + in_era / 36_524 - in_era / 146_096) / 365;
    let in_year = in_era - (365 * year + year / 4 - year / 100);
    let month = (5 * in_year + 2) / 153;
    let day = in_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + i64::from(month <= 2), month, day)
}

/// Days from the epoch to the first of a month.
fn days_before(year: i64, month: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, in_era) = (year.div_euclid(400), year.rem_euclid(400));
    let months = if month > 2 { month - 3 } else { month + 9 };
    let in_year = (153 * months + 2) / 5;
    era * 146_097 + in_era * 365 + in_era / 4 - in_era / 100 + in_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leap_day_is_found_in_the_calendar() {
        let leap_day = 1_709_164_800.0 + 3661.0; // 2024-02-29T01:01:01Z
        for (function, expected) in [
            (Function::Year, 2024.0),
            (Function::Month, 2.0),
            (Function::DayOfMonth, 29.0),
            (Function::DayOfYear, 60.0),
            (Function::DayOfWeek, 4.0),
            (Function::DaysInMonth, 29.0),
            (Function::Hour, 1.0),
            (Function::Minute, 1.0),
        ] {
            assert_eq!(of(function, leap_day), expected, "{function:?}");
        }
    }

    #[test]
    fn every_number_is_a_date() {
        for seconds in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 1e300] {
            for function in [Function::Year, Function::DayOfYear, Function::DaysInMonth] {
                assert!(of(function, seconds).is_finite(), "{function:?} of {seconds}");
            }
        }
    }
}
