//! The period that an error budget is for.

use std::time::Duration;

use hms_ops_core::time::Timestamp;
use serde::{Serialize, Serializer};

use super::ring::Ring;

const DAY: Duration = Duration::from_secs(86_400);
/// 1970-01-05, a Monday.
const A_MONDAY: i64 = 4 * 86_400_000;
const WEEK_MS: i64 = 7 * 86_400_000;

/// The period that an error budget is for. Calendar periods are in UTC.
///
/// ```
/// use hms_ops_alert::slo::Period;
/// use hms_ops_core::time::Timestamp;
///
/// let at: Timestamp = "2028-02-29T12:00:00Z".parse()?;
/// assert_eq!(Period::Month.start(at), "2028-02-01T00:00:00Z".parse()?);
/// assert_eq!(Period::Week.start(at), "2028-02-28T00:00:00Z".parse()?);
/// # Ok::<(), hms_ops_core::time::NotRfc3339>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Period {
    /// The time of this length that ends now.
    Rolling(#[serde(serialize_with = "as_seconds")] Duration),
    /// From Monday on.
    Week,
    /// From the first of the month on.
    Month,
}

impl Period {
    /// 30 days that end now.
    pub const DEFAULT: Self = Self::Rolling(Duration::from_secs(30 * 86_400));

    /// How long it is; of months, the longest.
    pub fn length(self) -> Duration {
        match self {
            Self::Rolling(length) => length,
            Self::Week => 7 * DAY,
            Self::Month => 31 * DAY,
        }
    }

    /// When the period that `at` lies in began.
    pub fn start(self, at: Timestamp) -> Timestamp {
        match self {
            Self::Rolling(length) => at - length,
            Self::Week => {
                let into = (at.as_millis().saturating_sub(A_MONDAY)).rem_euclid(WEEK_MS);
                at - Duration::from_millis(into.unsigned_abs())
            }
            // Beyond the four-digit years there are no months, and no services.
            Self::Month => at
                .to_string()
                .get(..8)
                .and_then(|month| format!("{month}01T00:00:00Z").parse().ok())
                .unwrap_or(at),
        }
    }

    /// When it ends; a rolling one never does.
    pub fn end(self, at: Timestamp) -> Timestamp {
        match self {
            Self::Rolling(_) => Timestamp::MAX,
            Self::Week => self.start(at) + 7 * DAY,
            Self::Month => self.start(self.start(at) + 31 * DAY).max(at + Duration::from_millis(1)),
        }
    }
}

/// Writes a length of time as whole seconds.
pub(crate) fn as_seconds<S: Serializer>(length: &Duration, into: S) -> Result<S::Ok, S::Error> {
    into.serialize_u64(length.as_secs())
}

/// What happened in the period so far.
#[derive(Debug)]
pub(crate) enum Spent {
    Rolling(Ring<u64>),
    Calendar { period: Period, start: Timestamp, end: Timestamp, sums: (u64, u64) },
}

impl Spent {
    pub(crate) fn new(period: Period) -> Self {
        match period {
            Period::Rolling(length) => Self::Rolling(Ring::new(length.as_millis() as i64)),
            Period::Week | Period::Month => {
                let (start, end) = (Timestamp::MIN, Timestamp::MIN);
                Self::Calendar { period, start, end, sums: (0, 0) }
            }
        }
    }

    pub(crate) fn sums(&self) -> (u64, u64) {
        match self {
            Self::Rolling(ring) => ring.sums(),
            Self::Calendar { sums, .. } => *sums,
        }
    }

    pub(crate) fn advance(&mut self, now: Timestamp) {
        match self {
            Self::Rolling(ring) => ring.advance(now.as_millis()),
            Self::Calendar { period, start, end, sums } if now >= *end => {
                (*start, *end, *sums) = (period.start(now), period.end(now), (0, 0));
            }
            Self::Calendar { .. } => {}
        }
    }

    /// Adds what happened at `at`; nothing if that is before the period.
    pub(crate) fn add(&mut self, at: Timestamp, all: u64, part: u64) {
        if let Self::Calendar { .. } = self {
            self.advance(at);
        }
        match self {
            Self::Rolling(ring) => ring.add(at.as_millis(), all, part),
            Self::Calendar { start, sums, .. } if at >= *start => {
                *sums = (sums.0.saturating_add(all), sums.1.saturating_add(part));
            }
            Self::Calendar { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn months_begin_on_the_first_and_weeks_on_monday_in_utc() {
        for (period, now, start, end) in [
            (Period::Month, "2026-11-25T14:12:00Z", "2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z"),
            (Period::Month, "2026-12-31T23:59:59Z", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"),
            (Period::Month, "2028-02-29T00:00:00Z", "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z"),
            (Period::Month, "2027-02-01T00:00:00Z", "2027-02-01T00:00:00Z", "2027-03-01T00:00:00Z"),
            (Period::Week, "2026-11-29T23:59:59Z", "2026-11-23T00:00:00Z", "2026-11-30T00:00:00Z"),
            (Period::Week, "1969-12-31T00:00:00Z", "1969-12-29T00:00:00Z", "1970-01-05T00:00:00Z"),
        ] {
            let now = at(now);
            assert_eq!((period.start(now), period.end(now)), (at(start), at(end)), "{now}");
        }
    }

    #[test]
    fn a_calendar_budget_is_whole_again_when_its_period_begins_and_late_events_are_not_of_it() {
        let mut spent = Spent::new(Period::Month);
        spent.add(at("2026-11-30T23:59:59Z"), 100, 7);
        assert_eq!(spent.sums(), (100, 7));
        spent.add(at("2026-12-01T00:00:00Z"), 10, 1);
        spent.add(at("2026-11-30T23:59:59Z"), 100, 7);
        assert_eq!(spent.sums(), (10, 1));
        spent.advance(at("2027-01-01T00:00:00Z"));
        assert_eq!(spent.sums(), (0, 0));
    }
}
