//! Entries of the ledger as JSON, in which every durable ledger keeps them.

use hms_ops_core::alert::AlertState;
use hms_ops_core::ledger::{Entry, Event, Recorded, Seq};
use hms_ops_testkit::world::{alert, at};
use proptest::prelude::*;

proptest! {
    #[test]
    fn an_entry_that_went_through_json_is_intact(
        value in any::<f64>().prop_filter("JSON has no other numbers", |v| v.is_finite()),
        text in ".{0,20}",
    ) {
        let mut alert = alert(&text, AlertState::Firing { since: at(1) });
        alert.value = Some(value);
        let event = Event::Transition { from: "pending".to_owned(), alert };
        let entry = Entry { at: at(1), actor: text, event };
        let written = Recorded::chain(Seq(1), 1, "0".repeat(64), entry);

        let json = serde_json::to_string(&written).unwrap();
        let read: Recorded = serde_json::from_str(&json).unwrap();
        prop_assert!(read.is_intact(), "{}", json);
        prop_assert_eq!(read, written);
    }
}
