//! The suite of the testkit, for every capability that a host has by itself.

use std::sync::Arc;

use hms_ops_core::clock::SystemClock;
use hms_ops_core::query::SelectorEngine;
use hms_ops_core::store::MemoryStore;
use hms_ops_runbook::capability::{
    MAX_NOTE, NoteCapability, QueryCapability, ShiftCapability, SnapshotCapability,
};
use hms_ops_testkit::capability_suite;
use hms_ops_testkit::runbook::CapabilityUnderTest;
use serde_json::json;

use crate::world::Obedient;

mod mesh_shift {
    use super::*;

    capability_suite!(CapabilityUnderTest {
        capability: Box::new(ShiftCapability::new(Arc::new(Obedient))),
        grant: json!({ "services": ["claims"], "to": ["cluster-b"], "max_percent": 50 }),
        allowed: vec![
            json!({ "service": "claims", "to": "cluster-b", "percent": 50 }),
            json!({ "service": "claims", "to": "cluster-b", "percent": 0 }),
        ],
        denied: vec![
            json!({ "service": "members", "to": "cluster-b", "percent": 50 }),
            json!({ "service": "claims", "to": "cluster-a", "percent": 50 }),
            json!({ "service": "claims", "to": "cluster-b", "percent": 51 }),
            json!({ "service": "claims", "to": "cluster-b", "percent": -1 }),
            json!({ "service": "claims", "to": "cluster-b", "percent": 50, "force": true }),
            json!({ "service": "claims", "to": "cluster-b" }),
            json!({}),
            json!(null),
        ],
    });
}

mod mesh_snapshot {
    use super::*;

    capability_suite!(CapabilityUnderTest {
        capability: Box::new(SnapshotCapability::new(Arc::new(Obedient))),
        grant: json!({ "services": ["claims"] }),
        allowed: vec![json!({ "service": "claims" })],
        denied: vec![json!({ "service": "members" }), json!({ "service": "" }), json!({})],
    });
}

mod metrics_query {
    use super::*;

    capability_suite!(CapabilityUnderTest {
        capability: Box::new(QueryCapability::new(
            Arc::new(SelectorEngine::new(Arc::new(MemoryStore::new()))),
            Arc::new(SystemClock),
        )),
        grant: json!({ "series": ["eligibility.*", "up"] }),
        allowed: vec![
            json!({ "query": "up" }),
            json!({ "query": "eligibility.latency_ms_count{cluster=\"cluster-b\"}" }),
            json!({ "query": "{__name__=\"eligibility_errors_total\"}" }),
        ],
        denied: vec![
            json!({ "query": "claims.latency_ms_count" }),
            json!({ "query": "upper" }),
            json!({ "query": "{cluster=\"cluster-b\"}" }),
            json!({ "query": "{__name__=~\"up|claims_latency_ms_count\"}" }),
            json!({ "query": "{__name__!=\"up\"}" }),
            json!({ "query": "up{" }),
            json!({}),
        ],
    });
}

mod note {
    use super::*;

    capability_suite!(CapabilityUnderTest {
        capability: Box::new(NoteCapability),
        grant: json!(null),
        allowed: vec![json!({ "text": "shifted" }), json!({ "text": "x".repeat(MAX_NOTE) })],
        denied: vec![json!({ "text": "x".repeat(MAX_NOTE + 1) }), json!({ "text": 1 }), json!({})],
    });
}
