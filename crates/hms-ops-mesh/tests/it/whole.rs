//! Everything at once: users, proxy, health checks, shift engine, and clusters that count.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use hms_ops_core::clock::SystemClock;
use hms_ops_core::ledger::{Journal, MemoryLedger};
use hms_ops_core::mesh::{Served, ShiftRequest, TrafficControl, TrafficEvidence};
use hms_ops_core::name::{Cluster, Service};
use hms_ops_mesh::{Router, ShiftEngine, ShiftRules};
use http::StatusCode;
use http_body_util::{BodyExt, Full};
use tokio::net::TcpListener;

use crate::backend::{Backend, connect, nowhere, request, soon, text};

/// What the clusters themselves have counted; not their health checks.
#[derive(Debug, Default)]
struct Counted {
    a: AtomicU64,
    b: AtomicU64,
}

#[async_trait]
impl TrafficEvidence for Counted {
    async fn served(&self, _: &Service, cluster: &Cluster) -> Result<Served, String> {
        let count = match cluster.as_str() {
            "cluster-a" => &self.a,
            "cluster-b" => &self.b,
            _ => return Err("connection refused".to_owned()),
        };
        Ok(Served { requests: count.load(Ordering::SeqCst) as f64, errors: 0.0 })
    }
}

async fn counting(counted: &Arc<Counted>, count: fn(&Counted) -> &AtomicU64) -> Backend {
    let counted = counted.clone();
    Backend::start(move |request| {
        if request.uri().path() != "/health" {
            count(&counted).fetch_add(1, Ordering::SeqCst);
        }
        async { Ok(text(StatusCode::OK, "ok")) }
    })
    .await
}

#[tokio::test]
async fn a_shift_is_confirmed_by_the_clusters_and_one_to_a_dead_cluster_changes_nothing() {
    let counted = Arc::new(Counted::default());
    let (a, b) = (counting(&counted, |c| &c.a).await, counting(&counted, |c| &c.b).await);
    let router = Router::builder("svc")
        .cluster("cluster-a", a.url())
        .cluster("cluster-b", b.url())
        .cluster("cluster-dead", nowhere().await)
        .health_interval(Duration::from_millis(100))
        .build()
        .unwrap();
    let checks = router.start_health_checks();
    router.check_now().await;
    router.check_now().await;
    let serving = router.serve(TcpListener::bind("127.0.0.1:0").await.unwrap()).unwrap();
    let address = serving.address();
    let users = tokio::spawn(async move {
        let mut connection = connect(address).await;
        loop {
            let asked = request("GET", "/").body(Full::<Bytes>::default()).unwrap();
            let answer = connection.send_request(asked).await.unwrap();
            assert_eq!(answer.status(), StatusCode::OK);
            answer.into_body().collect().await.unwrap();
        }
    });

    let clock = Arc::new(SystemClock);
    let ledger = Arc::new(MemoryLedger::new(clock.clone()));
    let hour = Duration::from_secs(3600);
    let journal = Journal::open(ledger, clock, "test", hour).await.unwrap().unwrap();
    let rules = ShiftRules {
        poll: Duration::from_millis(5),
        quiet: Duration::from_millis(30),
        bake: Duration::ZERO,
        ..ShiftRules::default()
    };
    let engine = ShiftEngine::new(Arc::new(router.clone()), counted, Arc::new(journal), rules);
    let shift = async |to: &str| {
        let (service, to) = (router.service().clone(), Cluster::new(to));
        let (key, cause) = (format!("to {to}"), "test".to_owned());
        soon(engine.shift(ShiftRequest { service, to, percent: 100, key, cause })).await.unwrap()
    };

    let refused = shift("cluster-dead").await.state;
    assert_eq!(refused.word(), "refused");
    let said = refused.detail();
    assert!(said.starts_with("cluster-dead is unhealthy: cannot connect"), "{said}");
    assert_eq!(router.pick().cluster.as_str(), "cluster-a");

    let observed = shift("cluster-b").await.state;
    assert_eq!(observed.word(), "observed", "{observed:?}");
    assert_eq!(router.pick().cluster.as_str(), "cluster-b");

    engine.shutdown().await;
    checks.shutdown().await;
    assert!(!users.is_finished(), "no request was lost");
    users.abort();
    serving.shutdown().await;
}
