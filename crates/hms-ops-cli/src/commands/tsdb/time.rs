//! Points in time as people and scripts write them.

use hms_ops::core::time::Timestamp;

/// Reads RFC 3339, or seconds since the epoch; below a millisecond is rounded.
pub(crate) fn parse(text: &str) -> Result<Timestamp, &'static str> {
    seconds(text)
        .or_else(|| text.parse().ok())
        .ok_or("neither RFC 3339, such as 2026-01-31T12:00:00Z, nor seconds since 1970")
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
    fn what_is_no_time_is_refused() {
        for text in ["", "yesterday", "inf", "NaN", "1e17", "2026-01-31", "2026-02-29T00:00:00Z"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
