//! The timeline of the ledger as lines on a terminal.

use std::time::Duration;

use hms_ops::core::ledger::Recorded;
use hms_ops::core::time::Timestamp;
use hms_ops::dashboard::timeline::{Item, Tone, describe};

use crate::screen::{Paint, plain};

/// How wide the column of titles is.
const TITLE: usize = 44;

/// `14:03:22.123Z  firing: eligibility.latency_ms    mean over …`, by the clock of UTC.
pub(crate) fn by_clock(recorded: &Recorded, paint: Paint) -> String {
    let at = recorded.entry.at.to_string();
    let clock = at.get(11..).unwrap_or(&at);
    format!("  {}  {}", paint.dim(clock), what(&describe(recorded), paint))
}

/// `9.412 s  firing: eligibility.latency_ms    mean over …`, by the time since `start`.
pub(crate) fn since(start: Timestamp, recorded: &Recorded, paint: Paint) -> String {
    let passed = seconds(recorded.entry.at.since(start));
    format!("  {}  {}", paint.dim(&format!("{passed:>9}")), what(&describe(recorded), paint))
}

fn what(item: &Item, paint: Paint) -> String {
    let (title, detail) = (plain(&item.title), plain(&item.detail));
    let title = if detail.is_empty() { title } else { format!("{title:<TITLE$}") };
    let title = match item.tone {
        Tone::Bad => paint.red(&title),
        Tone::Good => paint.green(&title),
        Tone::Neutral => title,
    };
    if detail.is_empty() { title } else { format!("{title}  {}", paint.dim(&detail)) }
}

/// `9.412 s`.
pub(crate) fn seconds(duration: Duration) -> String {
    format!("{}.{:03} s", duration.as_secs(), duration.subsec_millis())
}

#[cfg(test)]
mod tests {
    use hms_ops::core::ledger::{Entry, Event, Seq};

    use super::*;

    #[test]
    fn a_line_says_when_and_what_and_why() {
        let at = Timestamp::from_millis(1_767_225_609_412);
        let event = Event::Held { held: true, reason: "release\x1bday".into() };
        let entry = Entry { at, actor: "person/ana".into(), event };
        let recorded = Recorded::chain(Seq(1), 1, "0".repeat(64), entry);
        assert_eq!(
            by_clock(&recorded, Paint::NONE),
            "  00:00:09.412Z  automatic action stopped                      \
             by person/ana: release\u{fffd}day"
        );
        let start = at - Duration::from_millis(9412);
        assert!(since(start, &recorded, Paint::NONE).starts_with("    9.412 s  automatic"));
    }
}
