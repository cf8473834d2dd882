//! The states of an alert: a pure function of state, condition and time.

use std::time::Duration;

use hms_ops_core::alert::{AlertState, Condition};
use hms_ops_core::time::Timestamp;

/// How long a resolved alert is shown before it counts as inactive, as in Prometheus.
pub const RETAIN_RESOLVED: Duration = Duration::from_secs(15 * 60);

/// The state after `seen` at `at`.
///
/// A breach must last for `hold` before the alert fires, and be over for `recover` before it
/// resolves; both ends count, as in Prometheus: with a hold of 120 s, it is quiet at 119 s and
/// fires at 120 s. A condition that says nothing ([`Condition::Idle`], [`Condition::NoData`],
/// [`Condition::Error`]) keeps the state: missing data is not recovery.
///
/// ```
/// use std::time::Duration;
/// use hms_ops_alert::state::step;
/// use hms_ops_core::{alert::{AlertState, Condition}, time::Timestamp};
///
/// let (hold, recover) = (Duration::from_secs(120), Duration::from_secs(60));
/// let at = |s: i64| Timestamp::from_millis(s * 1000);
/// let pending = step(AlertState::Inactive, &Condition::Breach, at(0), hold, recover);
/// assert_eq!(pending, AlertState::Pending { since: at(0) });
/// let firing = step(pending, &Condition::Breach, at(120), hold, recover);
/// assert_eq!(firing, AlertState::Firing { since: at(120) });
/// ```
pub fn step(
    state: AlertState,
    seen: &Condition,
    at: Timestamp,
    hold: Duration,
    recover: Duration,
) -> AlertState {
    use AlertState::{Firing, Inactive, Pending, Recovering, Resolved};

    if let Resolved { at: resolved, .. } = state
        && at.since(resolved) >= RETAIN_RESOLVED
    {
        return step(Inactive, seen, at, hold, recover);
    }
    match (seen, state) {
        (Condition::Breach, Inactive | Resolved { .. }) if hold.is_zero() => Firing { since: at },
        (Condition::Breach, Inactive | Resolved { .. }) => Pending { since: at },
        (Condition::Breach, Pending { since }) if at.since(since) >= hold => Firing { since: at },
        (Condition::Breach, Recovering { firing_since, .. }) => Firing { since: firing_since },

        (Condition::Ok, Pending { .. }) => Inactive,
        (Condition::Ok, Firing { since }) if recover.is_zero() => {
            Resolved { firing_since: since, at }
        }
        (Condition::Ok, Firing { since }) => Recovering { firing_since: since, since: at },
        (Condition::Ok, Recovering { firing_since, since }) if at.since(since) >= recover => {
            Resolved { firing_since, at }
        }

        (_, state) => state,
    }
}

/// The same state, with the time towards its end beginning anew at `at`: after a stretch in which
/// nothing could be judged, which counts neither as breach nor as recovery.
pub fn begin_again(state: AlertState, at: Timestamp) -> AlertState {
    match state {
        AlertState::Pending { .. } => AlertState::Pending { since: at },
        AlertState::Recovering { firing_since, .. } => {
            AlertState::Recovering { firing_since, since: at }
        }
        state => state,
    }
}

#[cfg(test)]
mod tests {
    use AlertState::{Firing, Inactive, Pending, Recovering, Resolved};
    use Condition::{Breach, Idle, NoData, Ok};
    use proptest::prelude::*;

    use super::*;

    const HOLD: Duration = Duration::from_secs(60);
    const RECOVER: Duration = Duration::from_secs(30);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn after(state: AlertState, seen: Condition, seconds: i64) -> AlertState {
        step(state, &seen, at(seconds), HOLD, RECOVER)
    }

    #[test]
    fn an_alert_fires_only_after_holding_for_its_whole_duration() {
        let pending = after(Inactive, Breach, 0);
        assert_eq!(pending, Pending { since: at(0) });
        assert_eq!(after(pending, Breach, 59), pending);
        assert_eq!(after(pending, Breach, 60), Firing { since: at(60) });
    }

    #[test]
    fn a_breach_that_ends_before_its_hold_leaves_nothing_behind() {
        assert_eq!(after(Pending { since: at(0) }, Ok, 59), Inactive);
    }

    #[test]
    fn a_firing_alert_resolves_only_after_recovering_for_its_whole_duration() {
        let recovering = after(Firing { since: at(60) }, Ok, 100);
        assert_eq!(recovering, Recovering { firing_since: at(60), since: at(100) });
        assert_eq!(after(recovering, Ok, 129), recovering);
        assert_eq!(after(recovering, Ok, 130), Resolved { firing_since: at(60), at: at(130) });
    }

    #[test]
    fn a_breach_while_recovering_is_the_same_incident() {
        let recovering = Recovering { firing_since: at(60), since: at(100) };
        assert_eq!(after(recovering, Breach, 110), Firing { since: at(60) });
    }

    #[test]
    fn a_breach_after_resolving_is_another_incident() {
        let resolved = Resolved { firing_since: at(60), at: at(130) };
        assert_eq!(after(resolved, Breach, 140), Pending { since: at(140) });
        assert_eq!(after(resolved, Ok, 130 + 899), resolved);
        assert_eq!(after(resolved, Ok, 130 + 900), Inactive);
    }

    #[test]
    fn missing_data_and_a_quiet_night_change_nothing() {
        for state in [
            Inactive,
            Pending { since: at(0) },
            Firing { since: at(60) },
            Recovering { firing_since: at(60), since: at(100) },
        ] {
            for seen in [NoData, Idle, Condition::Error("x".into())] {
                assert_eq!(after(state, seen, 10_000), state);
            }
        }
    }

    #[test]
    fn a_clock_that_steps_back_neither_fires_nor_resolves() {
        assert_eq!(after(Pending { since: at(100) }, Breach, 50), Pending { since: at(100) });
        let recovering = Recovering { firing_since: at(60), since: at(100) };
        assert_eq!(after(recovering, Ok, 50), recovering);
    }

    proptest! {
        #[test]
        fn an_alert_never_fires_on_less_than_its_hold_of_unbroken_breach(
            seen in prop::collection::vec(0u8..4, 1..300)
        ) {
            let mut state = Inactive;
            let mut breach_since = None;
            for (second, seen) in seen.iter().enumerate() {
                let second = second as i64;
                let seen = match seen { 0 => Ok, 1 | 2 => Breach, _ => Idle };
                match seen {
                    Breach => breach_since = breach_since.or(Some(second)),
                    Ok => breach_since = None,
                    _ => {}
                }
                let before = state;
                state = after(state, seen, second);
                if matches!(state, Firing { .. }) && !before.is_active() {
                    prop_assert!(second - breach_since.unwrap() >= 60);
                }
            }
        }
    }
}
