//! The router as a mesh backend: what `MeshController` promises.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use hms_ops_core::ledger::Fence;
use hms_ops_core::mesh::{
    Capabilities, Fencing, MeshController, MeshError, Plan, ShiftRequest, Split,
};
use hms_ops_core::name::{Cluster, Service};
use hms_ops_mesh::{Meshes, Router, RouterError};

fn router() -> Router {
    Router::builder("svc")
        .cluster("cluster-a", "http://127.0.0.1:1")
        .cluster("cluster-b", "http://127.0.0.1:2")
        .build()
        .unwrap()
}

fn service() -> Service {
    Service::new("svc")
}

fn wish(to: &str, percent: u8, key: &str) -> ShiftRequest {
    ShiftRequest {
        service: service(),
        to: Cluster::new(to),
        percent,
        key: key.to_owned(),
        cause: "test".to_owned(),
    }
}

fn epoch(epoch: u64) -> Fence {
    Fence { holder: format!("engine-{epoch}"), epoch }
}

fn split(a: u32, b: u32) -> Split {
    vec![(Cluster::new("cluster-a"), a), (Cluster::new("cluster-b"), b)]
}

async fn now(router: &Router) -> (u64, Split) {
    let snapshot = router.snapshot(&service()).await.unwrap();
    (snapshot.revision, snapshot.split())
}

#[tokio::test]
async fn a_plan_changes_nothing_until_it_is_applied() {
    let router = router();
    let plan = router.plan(&wish("cluster-b", 30, "k")).await.unwrap();
    assert_eq!((plan.from.clone(), plan.to.clone()), (split(100, 0), split(70, 30)));
    assert_eq!(now(&router).await, (1, split(100, 0)));
    let applied = router.apply(&plan, &epoch(1)).await.unwrap();
    assert_eq!((applied.revision, applied.again), (2, false));
    assert_eq!(now(&router).await, (2, split(70, 30)));
}

#[tokio::test]
async fn a_plan_for_an_old_revision_is_refused_and_changes_nothing() {
    let router = router();
    let first = router.plan(&wish("cluster-b", 100, "first")).await.unwrap();
    let second = router.plan(&wish("cluster-b", 50, "second")).await.unwrap();
    router.apply(&first, &epoch(1)).await.unwrap();
    let refused = router.apply(&second, &epoch(1)).await;
    assert!(matches!(refused, Err(MeshError::Conflict { planned: 1, found: 2, .. })));
    assert_eq!(now(&router).await, (2, split(0, 100)));
}

#[tokio::test]
async fn a_writer_whose_epoch_is_over_is_refused() {
    let router = router();
    let plan = router.plan(&wish("cluster-b", 100, "new")).await.unwrap();
    router.apply(&plan, &epoch(7)).await.unwrap();
    let late = router.plan(&wish("cluster-a", 100, "late")).await.unwrap();
    let refused = router.apply(&late, &epoch(6)).await;
    assert!(matches!(refused, Err(MeshError::Fenced { epoch: 6, newest: 7 })));
    assert_eq!(now(&router).await, (2, split(0, 100)));
}

#[tokio::test]
async fn a_plan_applied_twice_has_its_effect_once() {
    let router = router();
    let plan = router.plan(&wish("cluster-b", 100, "k")).await.unwrap();
    let first = router.apply(&plan, &epoch(1)).await.unwrap();
    let back = router.plan(&wish("cluster-a", 100, "back")).await.unwrap();
    router.apply(&back, &epoch(1)).await.unwrap();
    let again = router.apply(&plan, &epoch(1)).await.unwrap();
    assert_eq!((again.revision, again.again), (first.revision, true));
    assert_eq!(now(&router).await, (3, split(100, 0)));
}

#[tokio::test]
async fn of_many_writers_at_one_revision_one_wins() {
    let router = router();
    let mut writers = tokio::task::JoinSet::new();
    for i in 0..16 {
        let plan = router.plan(&wish("cluster-b", 100, &format!("k{i}"))).await.unwrap();
        let router = router.clone();
        writers.spawn(async move { router.apply(&plan, &epoch(1)).await.is_ok() });
    }
    let won = writers.join_all().await;
    assert_eq!(won.iter().filter(|won| **won).count(), 1);
    assert_eq!(now(&router).await.0, 2);
}

#[tokio::test]
async fn what_is_unknown_or_no_share_is_refused_by_name() {
    let router = router();
    let unknown = router.plan(&wish("cluster-z", 100, "k")).await.unwrap_err();
    assert_eq!(unknown.to_string(), "unknown cluster cluster-z of svc");
    let bad = router.plan(&wish("cluster-b", 101, "k")).await.unwrap_err();
    assert_eq!(bad.to_string(), "101 % is not a share of traffic");
    let other = Service::new("other");
    for error in [
        router.snapshot(&other).await.map(drop).unwrap_err(),
        router.observe(&other).await.map(drop).unwrap_err(),
    ] {
        assert_eq!(error.to_string(), "unknown service other");
    }
}

#[tokio::test]
async fn a_split_without_weight_or_with_an_unknown_cluster_is_never_applied() {
    let router = router();
    let plan = |to: Split| Plan {
        service: service(),
        revision: 1,
        from: split(100, 0),
        to,
        key: "k".to_owned(),
    };
    assert!(router.apply(&plan(split(0, 0)), &epoch(1)).await.is_err());
    let strange = vec![(Cluster::new("cluster-z"), 100)];
    assert!(router.apply(&plan(strange), &epoch(1)).await.is_err());
    assert_eq!(now(&router).await, (1, split(100, 0)));
}

#[test]
fn a_router_that_could_not_route_is_not_built() {
    let a = || Router::builder("svc").cluster("a", "http://127.0.0.1:1");
    let error = |built: Result<Router, RouterError>| built.unwrap_err().to_string();
    assert_eq!(error(Router::builder("svc").build()), "svc has no cluster with weight");
    assert_eq!(error(a().weight(0).build()), "svc has no cluster with weight");
    assert_eq!(error(a().cluster("a", "http://x").build()), "a of svc is named twice");
    assert_eq!(
        error(a().cluster("b", "https://x:1").build()),
        "\"https://x:1\" of b is not of the form http://host:port"
    );
    assert_eq!(
        error(Router::builder("svc").weight(1).build()),
        "a weight of svc stands before its first cluster"
    );
    assert_eq!(
        error(a().health_path("health").build()),
        "health path \"health\" does not begin with / or has characters that no path has"
    );
}

#[tokio::test]
async fn what_is_under_way_is_active_and_what_has_failed_is_an_error() {
    let router = router();
    let first = router.begin();
    let mut second = router.begin();
    assert_eq!(first.picked().cluster.as_str(), "cluster-a");
    let traffic = async || router.observe(&service()).await.unwrap().swap_remove(0);
    let seen = traffic().await;
    assert_eq!((seen.requests, seen.errors, seen.active), (2, 0, 2));
    second.fail();
    drop((first, second));
    let seen = traffic().await;
    assert_eq!((seen.requests, seen.errors, seen.active), (2, 1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_shift_returns_no_pick_goes_to_the_old_cluster() {
    let router = router();
    let (over, strays) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let noise = {
        let (router, over) = (router.clone(), over.clone());
        std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                router.pick();
            }
        })
    };
    for flip in 0..200 {
        let to = if flip % 2 == 0 { "cluster-b" } else { "cluster-a" };
        let plan = router.plan(&wish(to, 100, &format!("flip {flip}"))).await.unwrap();
        router.apply(&plan, &epoch(1)).await.unwrap();
        let stray = (0..50).filter(|_| router.pick().cluster.as_str() != to).count();
        strays.fetch_add(stray, Ordering::Relaxed);
    }
    over.store(true, Ordering::Relaxed);
    noise.join().unwrap();
    assert_eq!(strays.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn several_meshes_act_as_one() {
    let other = Router::builder("other").cluster("c", "http://127.0.0.1:3").build().unwrap();
    let both = Meshes::new([Arc::new(router()) as _, Arc::new(other) as _]);
    assert_eq!(both.services(), [Service::new("other"), service()]);
    assert_eq!(both.capabilities(), Capabilities { weights: true, fencing: Fencing::Native });
    let plan = both.plan(&wish("cluster-b", 100, "k")).await.unwrap();
    both.apply(&plan, &epoch(1)).await.unwrap();
    assert_eq!(both.snapshot(&service()).await.unwrap().split(), split(0, 100));
    let unknown = both.snapshot(&Service::new("nobody")).await.unwrap_err();
    assert_eq!(unknown.to_string(), "unknown service nobody");
}
