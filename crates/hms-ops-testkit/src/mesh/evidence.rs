//! The suite of [`TrafficEvidence`]: what clusters say is what they served.

use async_trait::async_trait;
use hms_ops_core::mesh::{Served, TrafficEvidence};
use hms_ops_core::name::Cluster;

use super::{A, B, SERVICE, service};

/// Evidence of the clusters [`A`] and [`B`] of [`SERVICE`], and a way to send them requests. Nobody
/// else sends any.
#[async_trait]
pub trait EvidenceUnderTest: Send + Sync {
    /// The backend.
    fn evidence(&self) -> &dyn TrafficEvidence;

    /// Sends requests to one cluster and waits for every answer: well, or each with 500.
    async fn send(&self, cluster: &str, requests: u64, failing: bool);
}

/// One test for each promise of [`TrafficEvidence`](hms_ops_core::mesh::TrafficEvidence); see
/// [`mesh::evidence`](crate::mesh::evidence).
#[macro_export]
macro_rules! evidence_suite {
    ($evidence:expr) => {
        $crate::cases! { $evidence;
            served_grows_by_what_was_sent
            failed_requests_are_errors
            what_is_unknown_has_no_evidence
            ; mesh::evidence
        }
    };
}

/// Read now: what a cluster has answered is counted when it is asked, and only there.
pub async fn served_grows_by_what_was_sent(evidence: impl EvidenceUnderTest) {
    let before = [served(&evidence, A).await, served(&evidence, B).await];
    for (requests, so_far) in [(3, 3.0), (0, 3.0), (20, 23.0)] {
        evidence.send(B, requests, false).await;
        let now = [served(&evidence, A).await, served(&evidence, B).await];
        assert_eq!(now[0], before[0]);
        assert_eq!(now[1].requests - before[1].requests, so_far);
        assert_eq!(now[1].errors, before[1].errors);
    }
}

/// A failed request is served, and an error.
pub async fn failed_requests_are_errors(evidence: impl EvidenceUnderTest) {
    let before = served(&evidence, A).await;
    evidence.send(A, 5, true).await;
    evidence.send(A, 7, false).await;
    let now = served(&evidence, A).await;
    assert_eq!((now.requests - before.requests, now.errors - before.errors), (12.0, 5.0));
}

/// Nothing known is not zero served.
pub async fn what_is_unknown_has_no_evidence(evidence: impl EvidenceUnderTest) {
    for (service, cluster) in [(SERVICE, "no-such-cluster"), ("no-such-svc", A)] {
        let asked = evidence.evidence().served(&service.into(), &cluster.into()).await;
        let reason = asked.expect_err("evidence of what nobody knows");
        assert!(!reason.is_empty(), "{service} in {cluster} needs a reason");
    }
}

async fn served(evidence: &impl EvidenceUnderTest, cluster: &str) -> Served {
    evidence.evidence().served(&service(), &Cluster::from(cluster)).await.unwrap()
}
