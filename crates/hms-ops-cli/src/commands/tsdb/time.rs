//! Points in time as people and scripts write them.

use std::time::Duration;

use hms_ops::core::clock::{Clock, SystemClock};
use hms_ops::core::time::Timestamp;

/// Reads RFC 3339, seconds since the epoch, or how long ago; below a millisecond is rounded.
pub(crate) fn parse(text: &str) -> Result<Timestamp, &'static str> {
    seconds(text)
        .or_else(|| text.parse().ok())
        .or_else(|| ago(text, SystemClock.now()))
        .ok_or("neither RFC 3339, such as 2026-01-31T12:00:00Z, nor seconds since 1970, nor -90m")
}

/// `-90m`: so many seconds, minutes, hours, days or weeks before now.
fn ago(text: &str, now: Timestamp) -> Option<Timestamp> {
    const UNITS: [(char, u64); 5] =
        [('s', 1), ('m', 60), ('h', 3600), ('d', 86_400), ('w', 7 * 86_400)];
    let text = text.strip_prefix('-')?;
    let (unit, seconds) = UNITS.into_iter().find(|(unit, _)| text.ends_with(*unit))?;
    let number: u32 = text.strip_suffix(unit)?.parse().ok()?;
    Some(now - Duration::from_secs(u64::from(number) * seconds))
}

fn seconds(text: &str) -> Option<Timestamp> {
    let millis = (text.parse::<f64>().ok()? * 1000.0).round();
    // Up to here every millisecond is a number of its own; neither infinity nor NaN is.
    #[allow(clippy::cast_possible_truncation, reason = "it is a whole number that fits")]
    (millis.abs() <= 9e15).then(|| Timestamp::from_millis(millis as i64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_rfc_3339_or_seconds_since_the_epoch() {
        for (text, millis) in [
            ("0", 0),
            ("1767225600.0004", 1_767_225_600_000),
            ("-1.5", -1500),
            ("1970-01-01T00:00:00Z", 0),
            ("2026-01-31T12:00:00.5+01:00", 1_769_857_200_500),
        ] {
            assert_eq!(parse(text), Ok(Timestamp::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn a_time_may_be_said_by_how_long_ago_it_was() {
        let now = Timestamp::from_millis(1_767_225_600_000);
        for (text, seconds) in [("-90m", 5400), ("-1h", 3600), ("-2d", 172_800), ("-1w", 604_800)] {
            assert_eq!(ago(text, now), Some(now - Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(ago("-0s", now), Some(now));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "1h",
            "-h",
            "-1h30",
            "--1h",
            "-1M",
            "yesterday",
            "inf",
            "NaN",
            "1e17",
            "2026-01-31",
            "2026-02-29T00:00:00Z",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
