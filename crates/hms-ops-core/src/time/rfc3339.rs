//! Reads RFC 3339.

use std::str::FromStr;

use super::Timestamp;

/// A text that is not of the form `2026-01-31T12:00:00.5+01:00`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not RFC 3339, such as 2026-01-31T12:00:00Z")]
pub struct NotRfc3339(String);

/// Reads RFC 3339, section 5.6; below a millisecond is rounded.
impl FromStr for Timestamp {
    type Err = NotRfc3339;

    fn from_str(text: &str) -> Result<Self, NotRfc3339> {
        read(text).ok_or_else(|| NotRfc3339(text.chars().take(40).collect()))
    }
}

fn read(text: &str) -> Option<Timestamp> {
    let number = |at: usize| digits(text.get(at..at + 2)?);
    let is = |at: usize, any: &str| text.get(at..=at).is_some_and(|found| any.contains(found));
    let separated = is(4, "-") && is(7, "-") && is(10, "Tt ") && is(13, ":") && is(16, ":");
    let (hour, minute, second) = (number(11)?, number(14)?, number(17)?);
    // The 60th second is a leap second.
    if !separated || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let midnight = day(digits(text.get(..4)?)?, number(5)?, number(8)?)? * 86_400_000;
    // Only a day that exists prints as it was written.
    if Timestamp::from_millis(midnight).to_string().get(..10) != text.get(..10) {
        return None;
    }
    let rest = text.get(19..)?;
    let (millis, zone) = match rest.strip_prefix('.') {
        None => (0, rest),
        Some(fraction) => {
            let end = fraction.find(|c: char| !c.is_ascii_digit())?;
            let (fraction, zone) = fraction.split_at(end);
            let thousandths = format!("0.{fraction}").parse::<f64>().ok()? * 1000.0;
            #[allow(clippy::cast_possible_truncation, reason = "it is between 0 and 1000")]
            (fraction.bytes().next().map(|_| thousandths.round() as i64)?, zone)
        }
    };
    let in_day = ((hour * 60 + minute) * 60 + second) * 1000 + millis;
    Some(Timestamp::from_millis(midnight + in_day - offset(zone)? * 60_000))
}

/// Minutes that a zone is ahead of UTC.
fn offset(zone: &str) -> Option<i64> {
    if zone.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let (hours, minutes) = zone.get(1..)?.split_once(':')?;
    let (hours, minutes) = (digits(hours)?, digits(minutes)?);
    let valid = zone.len() == 6 && hours < 24 && minutes < 60;
    let ahead = match zone.as_bytes()[0] {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    valid.then_some(ahead * (hours * 60 + minutes))
}

/// Days from the epoch to a day of the proleptic Gregorian calendar; months count from 1.
fn day(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let lengths = [31, 28 + i64::from(leap), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let before = lengths.get(..usize::try_from(month - 1).ok()?)?;
    let years = year - 1;
    // 719,162 days lie between the first day of the year 1 and the epoch.
    let first = years * 365 + years.div_euclid(4) - years.div_euclid(100) + years.div_euclid(400);
    Some(first - 719_162 + before.iter().sum::<i64>() + day - 1)
}

fn digits(text: &str) -> Option<i64> {
    let all = text.bytes().all(|byte| byte.is_ascii_digit());
    all.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_zone_and_may_have_a_fraction() {
        for (text, millis) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2026-01-31T12:00:00.5+01:00", 1_769_857_200_500),
            ("2026-01-31t11:00:00.500z", 1_769_857_200_500),
            ("2000-02-29 00:00:00-23:59", 951_868_740_000),
            ("2016-12-31T23:59:60Z", 1_483_228_800_000),
            ("0000-03-01T00:00:00Z", -62_162_035_200_000),
        ] {
            assert_eq!(text.parse(), Ok(Timestamp::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn every_day_reads_as_it_prints() {
        for days in (-700_000..2_900_000).step_by(97) {
            let at = Timestamp::from_millis(days * 86_400_000 + 86_399_999);
            assert_eq!(at.to_string().parse(), Ok(at));
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "yesterday",
            "2026-01-31",
            "2026-01-31T12:00:00",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-01-00T00:00:00Z",
            "2026-01-31T24:00:00Z",
            "2026-01-31T12:00:00.Z",
            "2026-01-31T12:00:00.5",
            "2026-01-31T12:00:00+1:00",
            "2026-01-31T12:00:00é01:00",
            "2026-01-31T12:00:0é",
            "+026-01-31T12:00:00Z",
        ] {
            assert!(text.parse::<Timestamp>().is_err(), "{text}");
        }
    }
}
