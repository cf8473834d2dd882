//! The suite of [`MeshController`], and of what stands above and beside it: [`evidence`] and
//! [`control`].
//!
//! A mesh is judged by the traffic that arrives, so its author says how to send some:
//!
//! ```no_run
//! use hms_ops_core::mesh::MeshController;
//! use hms_ops_testkit::mesh::{A, B, MeshUnderTest, SERVICE};
//! # #[derive(Debug)]
//! # struct Router;
//! # impl Router {
//! #     async fn start(_: &str, _: &[(&str, u32)]) -> Self { Router }
//! #     async fn get(&self, _: &str) {}
//! #     fn server(&self, _: &str) -> Server { Server }
//! #     fn controller(&self) -> &dyn MeshController { todo!() }
//! # }
//! # struct Server;
//! # impl Server { fn requests(&self) -> u64 { 0 } fn answer(&self, _: u16) {} }
//!
//! struct Routed(Router);
//!
//! #[async_trait::async_trait]
//! impl MeshUnderTest for Routed {
//!     fn controller(&self) -> &dyn MeshController {
//!         self.0.controller()
//!     }
//!
//!     async fn send(&self, requests: u64) {
//!         for _ in 0..requests {
//!             self.0.get(SERVICE).await;
//!         }
//!     }
//!
//!     async fn received(&self, cluster: &str) -> u64 {
//!         self.0.server(cluster).requests()
//!     }
//!
//!     async fn fail(&self, cluster: &str, failing: bool) {
//!         self.0.server(cluster).answer(if failing { 500 } else { 200 });
//!     }
//! }
//!
//! hms_ops_testkit::mesh_suite!(Routed(Router::start(SERVICE, &[(A, 100), (B, 0)]).await));
//! ```

use async_trait::async_trait;
use hms_ops_core::ledger::Fence;
use hms_ops_core::mesh::{
    Applied, ClusterTraffic, Fencing, MeshController, MeshError, Plan, ShiftRequest, Snapshot,
    Split,
};
use hms_ops_core::name::{Cluster, Service};

use crate::eventually;

pub mod control;
pub mod evidence;

/// The service whose traffic the suites move.
pub const SERVICE: &str = "eligibility-svc";
/// The cluster that has all of the traffic at first.
pub const A: &str = "cluster-a";
/// The cluster that has none of it at first.
pub const B: &str = "cluster-b";

/// A mesh that controls [`SERVICE`] with the healthy clusters [`A`] and [`B`], all traffic on [`A`],
/// and a way to send requests through it. Nobody else sends any.
#[async_trait]
pub trait MeshUnderTest: Send + Sync {
    /// The backend.
    fn controller(&self) -> &dyn MeshController;

    /// Sends requests through the mesh, one at a time or several, and waits for every answer.
    async fn send(&self, requests: u64);

    /// How many requests the servers of a cluster have received so far, by their own count.
    async fn received(&self, cluster: &str) -> u64;

    /// Makes the servers of a cluster answer every request with 500, or well again. Their health
    /// checks go on to succeed.
    async fn fail(&self, cluster: &str, failing: bool);
}

/// One test for each promise of [`MeshController`]; see [`mesh`](crate::mesh).
#[macro_export]
macro_rules! mesh_suite {
    ($mesh:expr) => {
        $crate::cases! { $mesh;
            services_and_clusters_are_sorted
            an_unknown_service_is_refused
            an_unknown_cluster_is_refused
            a_share_above_100_percent_is_refused
            a_plan_tells_the_split_before_and_after
            snapshot_and_plan_change_nothing
            apply_sets_the_split_of_the_plan_and_grows_the_revision
            requests_go_where_the_applied_split_sends_them
            weights_split_requests_in_their_proportion
            a_plan_for_an_older_revision_is_refused
            of_two_plans_for_one_revision_only_one_is_applied
            the_same_key_again_does_nothing
            the_same_key_at_once_is_applied_once
            a_key_that_was_refused_may_be_used_again
            an_older_epoch_is_refused_where_fencing_is_native
            observe_counts_what_every_cluster_received
            observe_counts_failed_requests
            ; mesh
        }
    };
}

/// [`MeshController::services`] and [`Snapshot::clusters`] are in order, and complete.
pub async fn services_and_clusters_are_sorted(mesh: impl MeshUnderTest) {
    let services = mesh.controller().services();
    assert!(services.is_sorted(), "{services:?}");
    assert!(services.contains(&service()), "{services:?}");

    let snapshot = snapshot(&mesh).await;
    assert_eq!(snapshot.service, service());
    let names: Vec<_> = snapshot.clusters.iter().map(|c| c.cluster.as_str()).collect();
    assert_eq!(names, [A, B]);
    assert_eq!((share(&snapshot.split(), A), share(&snapshot.split(), B)), (1.0, 0.0));
}

/// Of a service that the mesh does not control nothing is told and nothing planned.
pub async fn an_unknown_service_is_refused(mesh: impl MeshUnderTest) {
    let nobody = Service::from("no-such-svc");
    let wish = ShiftRequest { service: nobody.clone(), ..to(B, 100, "k") };
    let mesh = mesh.controller();
    for error in [
        mesh.snapshot(&nobody).await.err(),
        mesh.plan(&wish).await.err(),
        mesh.observe(&nobody).await.err(),
    ] {
        let told =
            matches!(&error, Some(MeshError::UnknownService { service }) if *service == nobody);
        assert!(told, "expected an unknown service, got {error:?}");
    }
}

/// A plan never sends traffic to where the service does not run.
pub async fn an_unknown_cluster_is_refused(mesh: impl MeshUnderTest) {
    let error = mesh.controller().plan(&to("no-such-cluster", 100, "k")).await.unwrap_err();
    let told = matches!(
        &error,
        MeshError::UnknownCluster { cluster, .. } if cluster.as_str() == "no-such-cluster"
    );
    assert!(told, "expected an unknown cluster, got {error:?}");
}

/// More than all of the traffic is no share.
pub async fn a_share_above_100_percent_is_refused(mesh: impl MeshUnderTest) {
    let error = mesh.controller().plan(&to(B, 101, "k")).await.unwrap_err();
    assert!(matches!(error, MeshError::BadShare { percent: 101 }), "{error:?}");
}

/// A plan is made for the revision it saw, and holds the split before and after.
pub async fn a_plan_tells_the_split_before_and_after(mesh: impl MeshUnderTest) {
    let before = snapshot(&mesh).await;
    let plan = plan(&mesh, 100, "k").await;
    assert_eq!((&plan.service, &*plan.key), (&service(), "k"));
    assert_eq!((plan.revision, &plan.from), (before.revision, &before.split()));
    assert!(plan.to.is_sorted_by_key(|(cluster, _)| cluster.clone()), "{:?}", plan.to);
    assert_eq!((share(&plan.to, A), share(&plan.to, B)), (0.0, 1.0));
}

/// Looking is not touching: neither the split nor the revision nor the traffic changes.
pub async fn snapshot_and_plan_change_nothing(mesh: impl MeshUnderTest) {
    let before = snapshot(&mesh).await;
    plan(&mesh, 100, "k").await;
    let after = snapshot(&mesh).await;
    assert_eq!((after.revision, after.split()), (before.revision, before.split()));
    assert_eq!(sent(&mesh, 20).await, [20, 0]);
}

/// After `apply` the mesh tells the split of the plan, at the revision that was returned.
pub async fn apply_sets_the_split_of_the_plan_and_grows_the_revision(mesh: impl MeshUnderTest) {
    let plan = plan(&mesh, 100, "k").await;
    let applied = apply(&mesh, &plan).await.unwrap();
    assert!(!applied.again);
    assert!(applied.revision > plan.revision, "{applied:?} of {plan:?}");
    let after = snapshot(&mesh).await;
    assert_eq!((after.revision, after.split()), (applied.revision, plan.to));
}

/// The traffic follows, soon: all of it to the one cluster, and all of it back.
pub async fn requests_go_where_the_applied_split_sends_them(mesh: impl MeshUnderTest) {
    for (i, expected) in [(0, [0, 20]), (1, [20, 0]), (2, [0, 20])] {
        let cluster = if expected[0] == 0 { B } else { A };
        let wish = to(cluster, 100, &format!("k{i}"));
        let plan = mesh.controller().plan(&wish).await.unwrap();
        apply(&mesh, &plan).await.unwrap();
        eventually(async || {
            let sent = sent(&mesh, 20).await;
            if sent == expected { Ok(()) } else { Err(format!("{sent:?}, not {expected:?}")) }
        })
        .await;
    }
}

/// Of 1,000 requests each cluster receives its share, within six standard deviations. A backend
/// without weights refuses the plan instead.
pub async fn weights_split_requests_in_their_proportion(mesh: impl MeshUnderTest) {
    for percent in [30, 80, 1] {
        let wish = to(B, percent, &format!("{percent} %"));
        let planned = mesh.controller().plan(&wish).await;
        if !mesh.controller().capabilities().weights {
            assert!(planned.is_err(), "a share was planned without weights: {planned:?}");
            return;
        }
        let plan = planned.unwrap();
        let p = f64::from(percent) / 100.0;
        assert!((share(&plan.to, B) - p).abs() <= 0.005, "{percent} % became {:?}", plan.to);
        apply(&mesh, &plan).await.unwrap();

        let n = 1000.0_f64;
        let bound = 6.0 * (n * p * (1.0 - p)).sqrt();
        eventually(async || {
            let [a, b] = sent(&mesh, 1000).await;
            let near = (b as f64 - n * p).abs() <= bound && a + b == 1000;
            if near { Ok(()) } else { Err(format!("{percent} % of 1000 became {b}, beside {a}")) }
        })
        .await;
    }
}

/// A plan that was made before somebody else's change is refused, and changes nothing.
pub async fn a_plan_for_an_older_revision_is_refused(mesh: impl MeshUnderTest) {
    let (first, late) = (plan(&mesh, 100, "first").await, plan(&mesh, 100, "late").await);
    let applied = apply(&mesh, &first).await.unwrap();
    let error = apply(&mesh, &late).await.unwrap_err();
    let told = matches!(
        &error,
        MeshError::Conflict { service, planned, found }
            if service.as_str() == SERVICE && *planned == late.revision && *found == applied.revision
    );
    assert!(told, "expected a conflict with {applied:?}, got {error:?}");
    let after = snapshot(&mesh).await;
    assert_eq!((after.revision, after.split()), (applied.revision, first.to));
}

/// Compare and swap holds when both come at once.
pub async fn of_two_plans_for_one_revision_only_one_is_applied(mesh: impl MeshUnderTest) {
    let (one, other) = (plan(&mesh, 100, "one").await, plan(&mesh, 100, "other").await);
    match tokio::join!(apply(&mesh, &one), apply(&mesh, &other)) {
        (Ok(_), Err(MeshError::Conflict { .. })) | (Err(MeshError::Conflict { .. }), Ok(_)) => {}
        both => panic!("expected one conflict, got {both:?}"),
    }
}

/// What was applied under a key stays applied once, also when the split has moved on since.
pub async fn the_same_key_again_does_nothing(mesh: impl MeshUnderTest) {
    let there = plan(&mesh, 100, "there").await;
    let first = apply(&mesh, &there).await.unwrap();
    let again = apply(&mesh, &there).await.unwrap();
    assert_eq!(again, Applied { revision: first.revision, again: true });

    let back = mesh.controller().plan(&to(A, 100, "back")).await.unwrap();
    let applied = apply(&mesh, &back).await.unwrap();
    assert!(apply(&mesh, &there).await.unwrap().again);
    let after = snapshot(&mesh).await;
    assert_eq!((after.revision, after.split()), (applied.revision, back.to));
}

/// Two tries of one plan that cross each other are one change.
pub async fn the_same_key_at_once_is_applied_once(mesh: impl MeshUnderTest) {
    let plan = plan(&mesh, 100, "k").await;
    let (one, other) = tokio::join!(apply(&mesh, &plan), apply(&mesh, &plan));
    let (one, other) = (one.unwrap(), other.unwrap());
    assert_ne!(one.again, other.again, "{one:?} and {other:?}");
    assert_eq!(one.revision, other.revision);
}

/// A refused plan leaves no trace of its key: planned anew, the same wish is carried out.
pub async fn a_key_that_was_refused_may_be_used_again(mesh: impl MeshUnderTest) {
    let (first, late) = (plan(&mesh, 100, "first").await, plan(&mesh, 100, "late").await);
    apply(&mesh, &first).await.unwrap();
    apply(&mesh, &late).await.unwrap_err();
    let anew = mesh.controller().plan(&to(A, 100, "late")).await.unwrap();
    assert!(!apply(&mesh, &anew).await.unwrap().again);
    assert_eq!(share(&snapshot(&mesh).await.split(), A), 1.0);
}

/// With [`Fencing::Native`] a writer whose epoch is over changes nothing; the newest writer, and a
/// newer one, do.
pub async fn an_older_epoch_is_refused_where_fencing_is_native(mesh: impl MeshUnderTest) {
    if mesh.controller().capabilities().fencing == Fencing::Advisory {
        return;
    }
    let apply = async |cluster: &str, key: &str, epoch: u64| {
        let plan = mesh.controller().plan(&to(cluster, 100, key)).await.unwrap();
        mesh.controller().apply(&plan, &fence(epoch)).await
    };
    apply(B, "by 5", 5).await.unwrap();
    let before = snapshot(&mesh).await;
    let error = apply(A, "by 4", 4).await.unwrap_err();
    assert!(matches!(error, MeshError::Fenced { epoch: 4, newest: 5 }), "{error:?}");
    let after = snapshot(&mesh).await;
    assert_eq!((after.revision, after.split()), (before.revision, before.split()));

    apply(A, "by 5 again", 5).await.unwrap();
    apply(B, "by 6", 6).await.unwrap();
    let error = apply(A, "by 5 too late", 5).await.unwrap_err();
    assert!(matches!(error, MeshError::Fenced { epoch: 5, newest: 6 }), "{error:?}");
    assert_eq!(share(&snapshot(&mesh).await.split(), B), 1.0);
}

/// The mesh's counters agree with those of the clusters, wherever the requests went.
pub async fn observe_counts_what_every_cluster_received(mesh: impl MeshUnderTest) {
    let percent = if mesh.controller().capabilities().weights { 30 } else { 100 };
    for key in ["before", "after"] {
        let before = observe(&mesh).await;
        let sent = sent(&mesh, 40).await;
        assert_eq!(sent.iter().sum::<u64>(), 40);
        eventually(async || {
            let now = observe(&mesh).await;
            let counted = [0, 1].map(|i| now[i].requests - before[i].requests);
            let done = now.iter().all(|traffic| traffic.active == 0 && traffic.errors == 0);
            let agree = counted == sent && done;
            if agree { Ok(()) } else { Err(format!("{sent:?} were sent, {now:?} observed")) }
        })
        .await;
        // Another split alone has sent nothing.
        let before = observe(&mesh).await;
        apply(&mesh, &plan(&mesh, percent, key).await).await.unwrap();
        assert_eq!(observe(&mesh).await.map(|t| t.requests), before.map(|t| t.requests));
    }
}

/// An answer of 5xx is an error of the cluster that gave it, and of no other.
pub async fn observe_counts_failed_requests(mesh: impl MeshUnderTest) {
    let before = observe(&mesh).await;
    mesh.fail(A, true).await;
    let [received, _] = sent(&mesh, 10).await;
    assert!(received > 0);
    eventually(async || {
        let now = observe(&mesh).await;
        let errors = [0, 1].map(|i| now[i].errors - before[i].errors);
        let agree = errors == [received, 0];
        if agree { Ok(()) } else { Err(format!("{received} failed, {errors:?} observed")) }
    })
    .await;

    mesh.fail(A, false).await;
    let before = observe(&mesh).await;
    sent(&mesh, 10).await;
    let now = observe(&mesh).await;
    assert_eq!([now[0].errors, now[1].errors], [before[0].errors, before[1].errors]);
}

fn service() -> Service {
    SERVICE.into()
}

/// The wish to give a cluster this share of the traffic.
pub(crate) fn to(cluster: &str, percent: u8, key: &str) -> ShiftRequest {
    ShiftRequest {
        service: service(),
        to: Cluster::from(cluster),
        percent,
        key: key.to_owned(),
        cause: "the conformance suite".to_owned(),
    }
}

fn fence(epoch: u64) -> Fence {
    Fence { holder: format!("engine-{epoch}"), epoch }
}

/// The share of the traffic that a cluster has by its weight.
pub(crate) fn share(split: &Split, cluster: &str) -> f64 {
    let total: u32 = split.iter().map(|(_, weight)| weight).sum();
    let own = split.iter().find(|(name, _)| name.as_str() == cluster).map(|(_, weight)| *weight);
    f64::from(own.unwrap_or(0)) / f64::from(total)
}

async fn snapshot(mesh: &impl MeshUnderTest) -> Snapshot {
    mesh.controller().snapshot(&service()).await.unwrap()
}

/// A plan that sends this share to [`B`].
async fn plan(mesh: &impl MeshUnderTest, percent: u8, key: &str) -> Plan {
    mesh.controller().plan(&to(B, percent, key)).await.unwrap()
}

async fn apply(mesh: &impl MeshUnderTest, plan: &Plan) -> Result<Applied, MeshError> {
    mesh.controller().apply(plan, &fence(1)).await
}

/// What the mesh says that it has sent to [`A`] and [`B`].
async fn observe(mesh: &impl MeshUnderTest) -> [ClusterTraffic; 2] {
    let traffic = mesh.controller().observe(&service()).await.unwrap();
    [A, B].map(|name| traffic.iter().find(|t| t.cluster.as_str() == name).unwrap().clone())
}

/// Sends requests; how many of them [`A`] and [`B`] received.
async fn sent(mesh: &impl MeshUnderTest, requests: u64) -> [u64; 2] {
    let before = [mesh.received(A).await, mesh.received(B).await];
    mesh.send(requests).await;
    [mesh.received(A).await - before[0], mesh.received(B).await - before[1]]
}
