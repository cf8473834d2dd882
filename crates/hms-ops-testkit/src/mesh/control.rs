//! The suite of [`TrafficControl`]: a shift is confirmed or refused, and has one effect.
//!
//! ```no_run
//! # async fn started() -> std::sync::Arc<dyn hms_ops_core::mesh::TrafficControl> { todo!() }
//! // Steps and bake must be short, and requests must flow all the time.
//! hms_ops_testkit::traffic_control_suite!(started().await);
//! ```

use std::pin::pin;
use std::sync::Arc;

use hms_ops_core::mesh::{MeshError, ShiftReport, ShiftState, Snapshot, TrafficControl};

use super::{A, B, SERVICE, service, share, to};
use crate::{eventually, within};

/// One test for each promise of [`TrafficControl`](hms_ops_core::mesh::TrafficControl); see
/// [`mesh::control`](crate::mesh::control).
///
/// The expression makes an `Arc` of a control of [`SERVICE`](crate::mesh::SERVICE) with the healthy
/// clusters [`A`](crate::mesh::A) and [`B`](crate::mesh::B), all traffic on the first. So much of it
/// must flow, and the guards must be such, that a shift is confirmed within
/// [`PATIENCE`](crate::PATIENCE).
#[macro_export]
macro_rules! traffic_control_suite {
    ($control:expr) => {
        $crate::cases! { $control;
            a_shift_is_reported_once_it_is_confirmed
            an_unknown_service_is_refused
            the_same_key_twice_has_one_effect
            of_concurrent_shifts_all_but_one_are_refused
            a_dropped_call_does_not_stop_the_shift
            ; mesh::control
        }
    };
}

/// With healthy clusters and traffic it is, by numbers, and the split is the one wished for. Whether
/// the report waits for the bake is not asked.
pub async fn a_shift_is_reported_once_it_is_confirmed(control: Arc<dyn TrafficControl>) {
    let before = snapshot(&control).await;
    let report = shift(&control, B, "k").await.unwrap();
    assert_eq!((&report.service, &report.from), (&service(), &before.split()));
    assert_eq!(share(&report.to, B), 1.0, "{report:?}");
    assert!(report.state.is_confirmed(), "{report:?}");
    assert!(!report.state.detail().is_empty(), "the numbers are missing: {report:?}");
    assert_eq!(share(&snapshot(&control).await.split(), B), 1.0);
}

/// There is nothing to look at, and a shift is refused: as an error, or as the end that it is.
pub async fn an_unknown_service_is_refused(control: Arc<dyn TrafficControl>) {
    let nobody = "no-such-svc".into();
    let error = control.snapshot(&nobody).await.unwrap_err();
    assert!(matches!(error, MeshError::UnknownService { .. }), "{error:?}");
    let mut wish = to(B, 100, "k");
    wish.service = nobody;
    match within("a shift of no-such-svc", control.shift(wish)).await {
        Err(MeshError::UnknownService { .. }) => {}
        Ok(ShiftReport { state: ShiftState::Refused { reason }, .. }) if !reason.is_empty() => {}
        other => panic!("expected a refusal, got {other:?}"),
    }
}

/// A wish that was carried out is not carried out again, also when the traffic has moved on since.
pub async fn the_same_key_twice_has_one_effect(control: Arc<dyn TrafficControl>) {
    shift(&control, B, "there").await.unwrap();
    let settled = snapshot(&control).await.revision;
    // Whether the second call tells the first one's end or refuses is not promised.
    let _ = shift(&control, B, "there").await;
    assert_eq!(snapshot(&control).await.revision, settled);

    // The shift before may be in its bake still, which refuses a key for good.
    let mut tries = 0;
    eventually(async || {
        tries += 1;
        let report = shift(&control, A, &format!("back {tries}")).await.unwrap();
        if report.state.is_confirmed() { Ok(()) } else { Err(format!("{report:?}")) }
    })
    .await;
    let _ = shift(&control, B, "there").await;
    assert_eq!(share(&snapshot(&control).await.split(), A), 1.0);
}

/// Two shifts of one service never mix: each is confirmed, or refused and without effect.
pub async fn of_concurrent_shifts_all_but_one_are_refused(control: Arc<dyn TrafficControl>) {
    let (one, other) = tokio::join!(shift(&control, B, "one"), shift(&control, B, "other"));
    let states = [one.unwrap().state, other.unwrap().state];
    for state in &states {
        let clean = state.is_confirmed() || matches!(state, ShiftState::Refused { .. });
        assert!(clean, "{states:?}");
    }
    assert!(states.iter().any(ShiftState::is_confirmed), "{states:?}");
    assert_eq!(share(&snapshot(&control).await.split(), B), 1.0);
}

/// Once traffic moves, the shift comes to its end whether or not somebody waits for it.
pub async fn a_dropped_call_does_not_stop_the_shift(control: Arc<dyn TrafficControl>) {
    let on_b = async || share(&snapshot(&control).await.split(), B);
    {
        let call = pin!(shift(&control, B, "k"));
        let under_way = eventually(async || match on_b().await {
            0.0 => Err(format!("{B} has nothing of {SERVICE}")),
            _ => Ok(()),
        });
        tokio::select! {
            _ = call => {}
            () = under_way => {}
        }
    }
    eventually(async || match on_b().await {
        1.0 => Ok(()),
        part => Err(format!("{B} has {part} of {SERVICE} only")),
    })
    .await;
}

async fn snapshot(control: &Arc<dyn TrafficControl>) -> Snapshot {
    control.snapshot(&service()).await.unwrap()
}

async fn shift(
    control: &Arc<dyn TrafficControl>,
    cluster: &str,
    key: &str,
) -> Result<ShiftReport, MeshError> {
    within("the end of a shift", control.shift(to(cluster, 100, key))).await
}
