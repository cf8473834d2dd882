//! A mesh of a few lines, whole and with flaws.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use hms_ops_core::ledger::Fence;
use hms_ops_core::mesh::{
    Applied, Capabilities, ClusterSnapshot, ClusterTraffic, Fencing, Health, MeshController,
    MeshError, Plan, Served, ShiftReport, ShiftRequest, ShiftState, Snapshot, TrafficControl,
    TrafficEvidence,
};
use hms_ops_core::name::{Cluster, Service};
use hms_ops_core::random::below;
use hms_ops_testkit::mesh::evidence::EvidenceUnderTest;
use hms_ops_testkit::mesh::{A, B, MeshUnderTest, SERVICE, evidence};
use hms_ops_testkit::{evidence_suite, mesh_suite, traffic_control_suite};

use super::fails;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Flaw {
    None,
    PlanSwaps,
    NoCompare,
    NoFence,
    ForgetsKeys,
    BurnsKeys,
    SplitIsIgnored,
    ObservesTheSplit,
    CountsNoErrors,
    HalfTheShare,
}

#[derive(Debug)]
struct Tiny {
    flaw: Flaw,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    weights: [u32; 2],
    revision: u64,
    epoch: u64,
    keys: BTreeMap<String, u64>,
    failing: [bool; 2],
    received: [u64; 2],
    errors: [u64; 2],
}

impl Tiny {
    fn new(flaw: Flaw) -> Self {
        let state = State {
            weights: [100, 0],
            revision: 1,
            epoch: 0,
            keys: BTreeMap::new(),
            failing: [false; 2],
            received: [0; 2],
            errors: [0; 2],
        };
        Self { flaw, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn receive(&self, i: usize) {
        let mut state = self.state();
        state.received[i] += 1;
        state.errors[i] += u64::from(state.failing[i]);
    }
}

fn known(service: &Service) -> Result<(), MeshError> {
    if service.as_str() == SERVICE {
        return Ok(());
    }
    Err(MeshError::UnknownService { service: service.clone() })
}

fn index(cluster: &str) -> Option<usize> {
    [A, B].iter().position(|name| *name == cluster)
}

fn split(weights: [u32; 2]) -> Vec<(Cluster, u32)> {
    vec![(A.into(), weights[0]), (B.into(), weights[1])]
}

#[async_trait]
impl MeshController for Tiny {
    fn capabilities(&self) -> Capabilities {
        Capabilities { weights: true, fencing: Fencing::Native }
    }

    fn services(&self) -> Vec<Service> {
        vec![SERVICE.into()]
    }

    async fn snapshot(&self, service: &Service) -> Result<Snapshot, MeshError> {
        known(service)?;
        let state = self.state();
        let clusters = split(state.weights).into_iter().map(|(cluster, weight)| ClusterSnapshot {
            cluster,
            endpoint: None,
            weight,
            health: Health::Healthy,
            active: 0,
        });
        let clusters = clusters.collect();
        Ok(Snapshot { service: service.clone(), revision: state.revision, clusters })
    }

    async fn plan(&self, request: &ShiftRequest) -> Result<Plan, MeshError> {
        known(&request.service)?;
        let Some(i) = index(request.to.as_str()) else {
            let (service, cluster) = (request.service.clone(), request.to.clone());
            return Err(MeshError::UnknownCluster { service, cluster });
        };
        let percent = request.percent;
        if percent > 100 {
            return Err(MeshError::BadShare { percent });
        }
        let mut state = self.state();
        let from = state.weights;
        let mut to = [100 - u32::from(percent); 2];
        to[i] = u32::from(percent);
        if self.flaw == Flaw::PlanSwaps {
            state.weights = to;
        }
        Ok(Plan {
            service: request.service.clone(),
            revision: state.revision,
            from: split(from),
            to: split(to),
            key: request.key.clone(),
        })
    }

    async fn apply(&self, plan: &Plan, fence: &Fence) -> Result<Applied, MeshError> {
        let mut state = self.state();
        if fence.epoch < state.epoch && self.flaw != Flaw::NoFence {
            return Err(MeshError::Fenced { epoch: fence.epoch, newest: state.epoch });
        }
        state.epoch = fence.epoch;
        if let Some(&revision) = state.keys.get(&plan.key) {
            return Ok(Applied { revision, again: true });
        }
        let next = state.revision + 1;
        if self.flaw == Flaw::BurnsKeys {
            state.keys.insert(plan.key.clone(), next);
        }
        if plan.revision != state.revision && self.flaw != Flaw::NoCompare {
            let (planned, found) = (plan.revision, state.revision);
            return Err(MeshError::Conflict { service: plan.service.clone(), planned, found });
        }
        state.revision = next;
        state.weights = [plan.to[0].1, plan.to[1].1];
        if self.flaw != Flaw::ForgetsKeys {
            state.keys.insert(plan.key.clone(), next);
        }
        Ok(Applied { revision: next, again: false })
    }

    async fn observe(&self, service: &Service) -> Result<Vec<ClusterTraffic>, MeshError> {
        known(service)?;
        let state = self.state();
        let total: u64 = state.received.iter().sum();
        let counted = [0, 1].map(|i| match self.flaw {
            Flaw::ObservesTheSplit => total * u64::from(state.weights[i]) / 100,
            _ => state.received[i],
        });
        let errors = if self.flaw == Flaw::CountsNoErrors { [0; 2] } else { state.errors };
        let of = |i: usize, name: &str| ClusterTraffic {
            cluster: name.into(),
            requests: counted[i],
            errors: errors[i],
            active: 0,
        };
        Ok(vec![of(0, A), of(1, B)])
    }
}

#[async_trait]
impl MeshUnderTest for Tiny {
    fn controller(&self) -> &dyn MeshController {
        self
    }

    async fn send(&self, requests: u64) {
        for _ in 0..requests {
            let b = u64::from(self.state().weights[1]);
            let b = if self.flaw == Flaw::HalfTheShare { b / 2 } else { b };
            let to_b = below(100) < b && self.flaw != Flaw::SplitIsIgnored;
            self.receive(usize::from(to_b));
        }
    }

    async fn received(&self, cluster: &str) -> u64 {
        self.state().received[index(cluster).unwrap()]
    }

    async fn fail(&self, cluster: &str, failing: bool) {
        self.state().failing[index(cluster).unwrap()] = failing;
    }
}

mod a_whole_one {
    use super::*;

    mesh_suite!(Tiny::new(Flaw::None));
}

#[test]
fn every_flaw_is_found() {
    use hms_ops_testkit::mesh::*;

    let tiny = Tiny::new;
    assert!(fails(snapshot_and_plan_change_nothing(tiny(Flaw::PlanSwaps))));
    assert!(fails(a_plan_for_an_older_revision_is_refused(tiny(Flaw::NoCompare))));
    assert!(fails(of_two_plans_for_one_revision_only_one_is_applied(tiny(Flaw::NoCompare))));
    assert!(fails(an_older_epoch_is_refused_where_fencing_is_native(tiny(Flaw::NoFence))));
    assert!(fails(the_same_key_again_does_nothing(tiny(Flaw::ForgetsKeys))));
    assert!(fails(the_same_key_at_once_is_applied_once(tiny(Flaw::ForgetsKeys))));
    assert!(fails(a_key_that_was_refused_may_be_used_again(tiny(Flaw::BurnsKeys))));
    assert!(fails(requests_go_where_the_applied_split_sends_them(tiny(Flaw::SplitIsIgnored))));
    assert!(fails(weights_split_requests_in_their_proportion(tiny(Flaw::HalfTheShare))));
    assert!(fails(observe_counts_what_every_cluster_received(tiny(Flaw::ObservesTheSplit))));
    assert!(fails(observe_counts_failed_requests(tiny(Flaw::CountsNoErrors))));
}

#[async_trait]
impl TrafficEvidence for Tiny {
    async fn served(&self, service: &Service, cluster: &Cluster) -> Result<Served, String> {
        known(service).map_err(|e| e.to_string())?;
        let i = index(cluster.as_str()).ok_or_else(|| format!("no cluster {cluster}"))?;
        let state = self.state();
        let errors = if self.flaw == Flaw::CountsNoErrors { 0 } else { state.errors[i] };
        Ok(Served { requests: state.received[i] as f64, errors: errors as f64 })
    }
}

#[async_trait]
impl EvidenceUnderTest for Tiny {
    fn evidence(&self) -> &dyn TrafficEvidence {
        self
    }

    async fn send(&self, cluster: &str, requests: u64, failing: bool) {
        self.fail(cluster, failing).await;
        (0..requests).for_each(|_| self.receive(index(cluster).unwrap()));
    }
}

mod its_evidence {
    use super::*;

    evidence_suite!(Tiny::new(Flaw::None));
}

#[test]
fn evidence_without_errors_is_found() {
    assert!(fails(evidence::failed_requests_are_errors(Tiny::new(Flaw::CountsNoErrors))));
}

/// Shifts in one step and believes what the mesh says, which is enough for the suite.
#[async_trait]
impl TrafficControl for Tiny {
    async fn snapshot(&self, service: &Service) -> Result<Snapshot, MeshError> {
        MeshController::snapshot(self, service).await
    }

    async fn shift(&self, request: ShiftRequest) -> Result<ShiftReport, MeshError> {
        let plan = self.plan(&request).await?;
        let fence = Fence { holder: "tiny".to_owned(), epoch: 1 };
        self.apply(&plan, &fence).await?;
        let state = ShiftState::Settled { evidence: "the mesh says so".to_owned() };
        Ok(ShiftReport { service: plan.service, from: plan.from, to: plan.to, state })
    }
}

mod its_control {
    use super::*;

    traffic_control_suite!(Arc::new(Tiny::new(Flaw::None)));
}
