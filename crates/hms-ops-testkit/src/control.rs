//! The suite of [`Control`].
//!
//! ```no_run
//! # type Started = Box<dyn hms_ops_testkit::control::ControlUnderTest>;
//! # async fn started() -> Started { todo!() }
//! hms_ops_testkit::control_suite!(started().await);
//! ```

use std::sync::Arc;

use hms_ops_core::control::{Command, Control};
use hms_ops_core::ledger::{Event, History, Ledger, Recorded, Seq};

use crate::mesh::{B, to};
use crate::within;

/// A control, and the ledger that it writes.
pub trait ControlUnderTest: Send + Sync {
    /// The backend.
    fn control(&self) -> &dyn Control;

    /// Where it writes down what was asked.
    fn ledger(&self) -> &dyn Ledger;
}

impl<T: ControlUnderTest + ?Sized> ControlUnderTest for Box<T> {
    fn control(&self) -> &dyn Control {
        (**self).control()
    }

    fn ledger(&self) -> &dyn Ledger {
        (**self).ledger()
    }
}

/// One test for each promise of [`Control`](hms_ops_core::control::Control); see
/// [`control`](crate::control).
#[macro_export]
macro_rules! control_suite {
    ($control:expr) => {
        $crate::cases! { $control;
            a_hold_is_in_the_ledger_with_its_person_and_reason
            a_release_ends_the_hold
            hold_and_release_may_be_repeated
            a_shift_of_an_unknown_service_is_refused
            ; control
        }
    };
}

/// The returned entry says who stopped automatic action, and why.
pub async fn a_hold_is_in_the_ledger_with_its_person_and_reason(control: impl ControlUnderTest) {
    let recorded = execute(&control, "ana", hold("maintenance")).await;
    assert_eq!(recorded.entry.actor, "person/ana");
    let expected = Event::Held { held: true, reason: "maintenance".to_owned() };
    assert_eq!(recorded.entry.event, expected);
    assert_eq!(held(&control).await.as_deref(), Some("maintenance"));
}

/// By whoever releases it.
pub async fn a_release_ends_the_hold(control: impl ControlUnderTest) {
    execute(&control, "ana", hold("maintenance")).await;
    let recorded = execute(&control, "ben", Command::Release).await;
    assert_eq!(recorded.entry.actor, "person/ben");
    assert!(matches!(recorded.entry.event, Event::Held { held: false, .. }), "{recorded:?}");
    assert_eq!(held(&control).await, None);
}

/// Asking again is no error and one release ends any number of holds.
pub async fn hold_and_release_may_be_repeated(control: impl ControlUnderTest) {
    execute(&control, "ana", Command::Release).await;
    assert_eq!(held(&control).await, None);
    for _ in 0..3 {
        execute(&control, "ana", hold("maintenance")).await;
        assert_eq!(held(&control).await.as_deref(), Some("maintenance"));
    }
    for _ in 0..2 {
        execute(&control, "ana", Command::Release).await;
        assert_eq!(held(&control).await, None);
    }
}

/// And leaves what automatic action may do as it was.
pub async fn a_shift_of_an_unknown_service_is_refused(control: impl ControlUnderTest) {
    let mut wish = to(B, 100, "k");
    wish.service = "no-such-svc".into();
    let asked = control.control().execute("ana", Command::Shift(wish));
    let asked = within("the end of a shift", asked).await;
    assert!(asked.is_err(), "{asked:?}");
    assert_eq!(held(&control).await, None);
}

fn hold(reason: &str) -> Command {
    Command::Hold { reason: reason.to_owned() }
}

/// Carries out a command; the entry that recorded it.
async fn execute(control: &impl ControlUnderTest, person: &str, command: Command) -> Arc<Recorded> {
    let done = control.control().execute(person, command);
    let Seq(seq) = within("a command", done).await.unwrap();
    let page = control.ledger().read(Seq(seq), 1).await.unwrap();
    let recorded = page.into_iter().next().expect("the entry is in the ledger");
    assert_eq!(recorded.seq, Seq(seq));
    recorded
}

async fn held(control: &impl ControlUnderTest) -> Option<String> {
    History::read(control.ledger()).await.unwrap().held
}
