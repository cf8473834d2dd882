//! The figures of a drill: how fast each part of the recovery was.

use std::time::Duration;

use hms_ops::core::alert::EventDelta;
use hms_ops::core::metric::Budget;
use hms_ops::core::time::Timestamp;
use serde::Serialize;

use super::judge::{Step, Story};

/// One figure: a goal, and what was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Figure {
    pub(crate) what: &'static str,
    pub(crate) goal_ms: u64,
    /// `None` where a step is missing.
    pub(crate) measured_ms: Option<u64>,
}

impl Figure {
    pub(crate) fn is_met(&self) -> bool {
        self.measured_ms.is_some_and(|measured| measured <= self.goal_ms)
    }
}

/// The figures of a story; `crossing` is when the budget was first broken by the data itself.
pub(crate) fn figures(story: &Story, crossing: Option<Timestamp>, hold: Duration) -> Vec<Figure> {
    let between = |from: Option<Timestamp>, to: Step| {
        let millis = story.at(to)?.since(from?).as_millis();
        u64::try_from(millis).ok()
    };
    let held = crossing.map(|crossing| crossing + hold);
    let figure = |what, goal_ms, measured_ms| Figure { what, goal_ms, measured_ms };
    vec![
        figure(
            "end of the hold after the rule's crossing → firing",
            1100,
            between(held, Step::Firing),
        ),
        figure(
            "firing → shift applied, with the start of the runbook",
            150,
            between(story.at(Step::Firing), Step::ShiftApplied),
        ),
        figure(
            "shift applied → confirmed by traffic",
            2000,
            between(story.at(Step::ShiftApplied), Step::ShiftObserved),
        ),
    ]
}

/// When the mean of all events in the window was first above the limit: the time of a report of
/// `deltas`, which need not be in order.
pub(crate) fn crossing(deltas: &[EventDelta], budget: &Budget) -> Option<Timestamp> {
    let mut times: Vec<_> = deltas.iter().map(|delta| delta.at).collect();
    times.sort();
    times.into_iter().find(|now| {
        let in_window =
            |delta: &&EventDelta| *now - budget.mean_over < delta.at && delta.at <= *now;
        let window = deltas.iter().filter(in_window);
        let (count, sum) =
            window.fold((0.0, 0.0), |(c, s), delta| (c + delta.count, s + delta.sum));
        count > 0.0 && sum / count > budget.limit
    })
}

#[cfg(test)]
mod tests {
    use super::super::judge::tests::{good_story, story};
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    #[test]
    fn a_crossing_is_the_first_report_whose_window_breaks_the_budget() {
        let budget = Budget::new(300.0).mean_over(Duration::from_secs(5));
        let delta = |t, mean: f64| EventDelta { at: at(t), count: 10.0, sum: 10.0 * mean };
        let mut deltas: Vec<_> = (1..=5).map(|t| delta(t, 30.0)).collect();
        assert_eq!(crossing(&deltas, &budget), None);
        deltas.extend((6..=9).map(|t| delta(t, 530.0)));
        // Three of five: (3 · 530 + 2 · 30) / 5 = 330.
        assert_eq!(crossing(&deltas, &budget), Some(at(8)));
        deltas.reverse();
        assert_eq!(crossing(&deltas, &budget), Some(at(8)));
    }

    #[test]
    fn a_figure_is_met_at_its_goal_and_missed_beyond_it_or_without_a_measure() {
        let figure = |measured_ms| Figure { what: "", goal_ms: 150, measured_ms };
        assert!(figure(Some(150)).is_met());
        assert!(!figure(Some(151)).is_met() && !figure(None).is_met());
    }

    #[test]
    fn figures_are_the_times_between_steps() {
        // Pending at 1 s, firing at 2 s, applied at 9 s, observed at 10 s.
        let of = |story: &Story, crossing| -> Vec<_> {
            let figures = figures(story, crossing, Duration::from_millis(1500));
            figures.into_iter().map(|figure| figure.measured_ms).collect()
        };
        assert_eq!(of(&good_story(), Some(at(0))), [Some(500), Some(7000), Some(1000)]);
        assert_eq!(of(&story(vec![]), None), [None, None, None]);
    }
}
