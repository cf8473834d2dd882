//! The in-memory implementations pass the suites that every backend passes.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod memory_store {
    use hms_ops_core::store::MemoryStore;

    hms_ops_testkit::store_suite! {
        MemoryStore::new(),
        out_of_order: std::time::Duration::from_secs(300),
        two_series: MemoryStore::with_limits(2, 100)
    }
}

mod memory_store_without_a_window {
    use hms_ops_core::store::MemoryStore;

    hms_ops_testkit::store_suite!(MemoryStore::new().out_of_order_window(Default::default()));
}

mod memory_ledger {
    use hms_ops_core::ledger::MemoryLedger;

    hms_ops_testkit::ledger_suite!(|clock| MemoryLedger::new(clock));
}

mod memory_span_store {
    use hms_ops_core::span_store::MemorySpanStore;

    hms_ops_testkit::span_store_suite! {
        MemorySpanStore::new(),
        ten_spans: MemorySpanStore::with_limits(10, 10)
    }
}

mod selector_engine {
    use hms_ops_core::query::SelectorEngine;

    hms_ops_testkit::query_suite!(|store| SelectorEngine::new(store));
}

mod manual_clock {
    use hms_ops_core::clock::ManualClock;

    hms_ops_testkit::clock_suite!(ManualClock::default());
}

mod entry;
mod registry;
