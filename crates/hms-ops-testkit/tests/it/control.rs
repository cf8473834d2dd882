//! A control of a few lines, whole and with flaws.

use std::sync::Arc;

use async_trait::async_trait;
use hms_ops_core::clock::ManualClock;
use hms_ops_core::control::{Command, Control, ControlError};
use hms_ops_core::ledger::{Event, Journal, Ledger, MemoryLedger, Seq};
use hms_ops_testkit::control::{self, ControlUnderTest};
use hms_ops_testkit::control_suite;
use hms_ops_testkit::world::secs;

use super::fails;

#[derive(Debug)]
struct Desk {
    journal: Journal,
    forgets_the_person: bool,
}

impl Desk {
    async fn open(forgets_the_person: bool) -> Self {
        let clock = Arc::new(ManualClock::default());
        let ledger = Arc::new(MemoryLedger::new(clock.clone()));
        let journal = Journal::open(ledger, clock, "desk", secs(60)).await.unwrap().unwrap();
        Self { journal, forgets_the_person }
    }
}

#[async_trait]
impl Control for Desk {
    async fn execute(&self, person: &str, command: Command) -> Result<Seq, ControlError> {
        let event = match command {
            Command::Hold { reason } => Event::Held { held: true, reason },
            Command::Release => Event::Held { held: false, reason: String::new() },
            _ => return Err(ControlError::Refused { reason: "no mesh here".to_owned() }),
        };
        let person = if self.forgets_the_person { "somebody" } else { person };
        let written = self.journal.write(&format!("person/{person}"), event).await;
        written.map_err(|e| ControlError::Failed(Box::new(e)))
    }
}

impl ControlUnderTest for Desk {
    fn control(&self) -> &dyn Control {
        self
    }

    fn ledger(&self) -> &dyn Ledger {
        &**self.journal.ledger()
    }
}

mod a_whole_one {
    use super::*;

    control_suite!(Desk::open(false).await);
}

#[test]
fn a_control_that_forgets_the_person_is_found() {
    let case = async {
        let desk = Desk::open(true).await;
        control::a_hold_is_in_the_ledger_with_its_person_and_reason(desk).await;
    };
    assert!(fails(case));
}
