//! What speaks against a shift before anything is changed.

use hms_ops_core::mesh::{ClusterSnapshot, Health, Plan, ShiftRequest, Snapshot};

use crate::split::share;

/// Why the plan must not be carried out, if so: every cluster that would gain traffic, and the one
/// that is asked for, must be known to be healthy.
pub(super) fn refusal(snapshot: &Snapshot, plan: &Plan, request: &ShiftRequest) -> Option<String> {
    let receives = |cluster: &&ClusterSnapshot| {
        let name = &cluster.cluster;
        share(&plan.to, name) > share(&plan.from, name)
            || (*name == request.to && request.percent > 0)
    };
    snapshot.clusters.iter().filter(receives).find_map(unfit)
}

/// Why the old split must not come back, if so: a cluster that it gives traffic to is known to be
/// unhealthy.
pub(super) fn no_way_back(snapshot: &Snapshot, plan: &Plan) -> Option<String> {
    let regains = |cluster: &&ClusterSnapshot| {
        share(&plan.from, &cluster.cluster) > share(&plan.to, &cluster.cluster)
    };
    let mut old = snapshot.clusters.iter().filter(regains);
    old.find(|cluster| matches!(cluster.health, Health::Unhealthy { .. })).and_then(unfit)
}

fn unfit(cluster: &ClusterSnapshot) -> Option<String> {
    let name = &cluster.cluster;
    match &cluster.health {
        Health::Healthy => None,
        Health::Unhealthy { reason } => Some(format!("{name} is unhealthy: {reason}")),
        Health::Unknown => Some(format!("the health of {name} is unknown: no check of late")),
    }
}
