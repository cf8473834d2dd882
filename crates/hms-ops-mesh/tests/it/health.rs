//! Active health checks against real sockets.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use hms_ops_core::clock::ManualClock;
use hms_ops_core::ledger::Fence;
use hms_ops_core::mesh::{Health, MeshController, ShiftRequest};
use hms_ops_core::name::{Cluster, Service};
use hms_ops_core::time::Timestamp;
use hms_ops_mesh::Router;
use http::StatusCode;
use tokio::sync::watch;

use crate::backend::{Backend, nowhere, text, until};

async fn health(router: &Router, cluster: &str) -> Health {
    let snapshot = router.snapshot(router.service()).await.unwrap();
    snapshot.cluster(&Cluster::new(cluster)).unwrap().health.clone()
}

fn unhealthy(reason: &str) -> Health {
    Health::Unhealthy { reason: reason.to_owned() }
}

#[tokio::test]
async fn a_cluster_is_unknown_until_it_was_checked() {
    let a = Backend::start(|request| async move {
        assert_eq!(request.uri().path(), "/ready");
        assert!(request.headers().contains_key("host"));
        Ok(text(StatusCode::NO_CONTENT, ""))
    })
    .await;
    let router =
        Router::builder("svc").cluster("a", a.url()).health_path("/ready").build().unwrap();
    assert_eq!(health(&router, "a").await, Health::Unknown);
    router.check_now().await;
    assert_eq!(health(&router, "a").await, Health::Healthy);
}

#[tokio::test]
async fn a_cluster_that_fails_twice_is_unhealthy_and_the_reason_is_told() {
    let (status, answered) = watch::channel(StatusCode::OK);
    let a = Backend::start(move |_| {
        let status = *answered.borrow();
        async move { Ok(text(status, "")) }
    })
    .await;
    let router = Router::builder("svc").cluster("a", a.url()).cluster("dead", nowhere().await);
    let router = router.build().unwrap();
    router.check_now().await;
    status.send_replace(StatusCode::SERVICE_UNAVAILABLE);
    router.check_now().await;
    assert_eq!(health(&router, "a").await, Health::Healthy);
    router.check_now().await;
    assert_eq!(health(&router, "a").await, unhealthy("answered 503"));
    let Health::Unhealthy { reason } = health(&router, "dead").await else { panic!() };
    assert!(reason.starts_with("cannot connect"), "{reason}");
    status.send_replace(StatusCode::OK);
    router.check_now().await;
    assert_eq!(health(&router, "a").await, Health::Healthy);
}

#[tokio::test]
async fn health_is_unknown_again_when_checks_have_stopped() {
    let clock = Arc::new(ManualClock::at(Timestamp::from_millis(0)));
    let a = Backend::named("a").await;
    let router = Router::builder("svc").cluster("a", a.url()).clock(clock.clone()).build().unwrap();
    router.check_now().await;
    clock.advance(Duration::from_secs(3));
    assert_eq!(health(&router, "a").await, Health::Healthy);
    clock.advance(Duration::from_millis(1));
    assert_eq!(health(&router, "a").await, Health::Unknown);
}

#[tokio::test]
async fn a_cluster_that_hangs_delays_the_check_of_no_other() {
    let hung = Backend::start(|_| pending()).await;
    let fine = Backend::named("fine").await;
    let router = Router::builder("svc")
        .cluster("fine", fine.url())
        .cluster("hung", hung.url())
        .health_interval(Duration::from_millis(1))
        .health_timeout(Duration::from_secs(3600))
        .build()
        .unwrap();
    let checks = router.start_health_checks();
    until(async || fine.served() >= 3).await;
    checks.shutdown().await;
    let asked = fine.served();
    tokio::task::yield_now().await;
    assert_eq!(fine.served(), asked, "no check is left behind");
}

#[tokio::test]
async fn a_check_that_takes_too_long_has_failed() {
    let hung = Backend::start(|_| pending()).await;
    let router = Router::builder("svc")
        .cluster("hung", hung.url())
        .health_timeout(Duration::from_millis(5))
        .health_thresholds(1, 1)
        .build()
        .unwrap();
    router.check_now().await;
    assert_eq!(health(&router, "hung").await, unhealthy("no answer within 5ms"));
}

#[tokio::test]
async fn picks_avoid_an_unhealthy_cluster_while_a_healthy_one_has_weight() {
    let (a, dead) = (Backend::named("a").await, nowhere().await);
    let router = Router::builder("svc")
        .cluster("a", a.url())
        .weight(1)
        .cluster("dead", dead)
        .weight(99)
        .health_thresholds(1, 1)
        .build()
        .unwrap();
    router.check_now().await;
    assert!((0..100).all(|_| router.pick().cluster.as_str() == "a"));

    let service = Service::new("svc");
    let request = ShiftRequest {
        service,
        to: Cluster::new("dead"),
        percent: 100,
        key: "k".to_owned(),
        cause: "test".to_owned(),
    };
    let plan = router.plan(&request).await.unwrap();
    router.apply(&plan, &Fence { holder: "test".to_owned(), epoch: 1 }).await.unwrap();
    assert_eq!(router.pick().cluster.as_str(), "dead", "no other has weight");
}
