//! Limits that only the moment of a call can tell.

use std::sync::Arc;

use async_trait::async_trait;
use hms_ops_core::mesh::{
    ClusterSnapshot, Health, MeshError, ShiftReport, ShiftRequest, ShiftState, Snapshot,
    TrafficControl,
};
use hms_ops_core::name::Service;
use hms_ops_core::runbook::{Capability, Execution, ExecutionId, Invocation};
use hms_ops_core::time::Timestamp;
use hms_ops_runbook::capability::ShiftCapability;
use serde_json::json;

use crate::world::alert;

/// A mesh with this split, which shifts whatever it is told.
#[derive(Debug)]
struct Split(&'static [(&'static str, u32)]);

#[async_trait]
impl TrafficControl for Split {
    async fn snapshot(&self, service: &Service) -> Result<Snapshot, MeshError> {
        let clusters = self.0.iter().map(|&(cluster, weight)| ClusterSnapshot {
            cluster: cluster.into(),
            endpoint: None,
            weight,
            health: Health::Healthy,
            active: 0,
        });
        Ok(Snapshot { service: service.clone(), revision: 1, clusters: clusters.collect() })
    }

    async fn shift(&self, request: ShiftRequest) -> Result<ShiftReport, MeshError> {
        let state = ShiftState::Observed { evidence: "20 of 20".into() };
        Ok(ShiftReport { service: request.service, from: vec![], to: vec![], state })
    }
}

/// Shifts `percent` to `b` where `to` is granted.
async fn shift(split: &'static [(&str, u32)], to: &[&str], percent: u8) -> Result<(), String> {
    let alert = alert();
    let execution = Execution {
        id: ExecutionId::of("rollover", &alert.fingerprint, Timestamp::from_millis(5000)),
        runbook: "rollover".into(),
        alert,
        params: json!(null),
        journal: vec![],
    };
    let capability = ShiftCapability::new(Arc::new(Split(split)));
    let grant = json!({ "services": ["claims"], "to": to });
    let args = json!({ "service": "claims", "to": "b", "percent": percent });
    capability.check(&grant, &args).unwrap();
    let invocation = Invocation { execution: &execution, call: 1, grant: &grant };
    capability.invoke(&invocation, args).await.map(|_| ())
}

#[tokio::test]
async fn taking_traffic_from_a_target_must_not_send_it_where_none_is_granted() {
    let denied = |cluster| Err(format!("target {cluster:?} is not granted (granted: [\"b\"])"));
    assert_eq!(shift(&[("a", 0), ("b", 100)], &["b"], 0).await, denied("a"));
    assert_eq!(shift(&[("a", 2), ("b", 1)], &["b"], 33).await, denied("a"));
    assert_eq!(shift(&[("a", 0), ("b", 50), ("c", 50)], &["b"], 49).await, denied("c"));
}

#[tokio::test]
async fn traffic_moves_between_targets_that_are_granted() {
    assert_eq!(shift(&[("a", 70), ("b", 30)], &["b"], 30).await, Ok(()));
    assert_eq!(shift(&[("a", 100), ("b", 0)], &["b"], 100).await, Ok(()));
    assert_eq!(shift(&[("a", 0), ("b", 100)], &["a", "b"], 0).await, Ok(()));
    // Where others have traffic, one that has none gains none.
    assert_eq!(shift(&[("a", 0), ("b", 50), ("c", 50)], &["b", "c"], 0).await, Ok(()));
}
