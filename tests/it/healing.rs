//! The whole loop: a slow cluster, a broken budget, a runbook in its process, a confirmed shift.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router as Routes;
use axum::routing::get;
use hms_ops::collect::scrape::Target;
use hms_ops::core::exposition::{Format, encode};
use hms_ops::core::ledger::{Event, Ledger, Seq};
use hms_ops::core::mesh::MeshController;
use hms_ops::core::registry::Registry;
use hms_ops::prelude::*;
use tokio::net::TcpListener;

use crate::embedded;

const SECOND: Duration = Duration::from_secs(1);

#[runbook(on_alert = "eligibility.latency_ms", timeout = "30s")]
async fn rollover(ctx: &mut RunbookContext) -> RunbookResult {
    ctx.mesh().shift("eligibility-svc", "cluster-b").await?;
    ctx.note(format!("traffic shifted to cluster-b by process {}", std::process::id())).await
}

/// Asks again, without a pause but the asking's own, until the answer is yes.
pub(crate) async fn until(mut met: impl AsyncFnMut() -> bool) {
    let met = async {
        while !met().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SECOND * 60, met).await.expect("within a minute");
}

/// A cluster whose latency, as it reports it, can be set; requests are answered at once.
async fn cluster(latency_ms: Arc<AtomicU64>) -> String {
    let registry = Registry::new();
    let latency = registry.metric("eligibility.latency_ms").budget(300.0);
    let answer = get(async move || latency.record(latency_ms.load(Ordering::Relaxed) as f64));
    let metrics = get(async move || encode(&registry.snapshot(), Format::Text));
    let routes = Routes::new()
        .route("/", answer)
        .route("/health", get(async || "well"))
        .route("/metrics", metrics);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await });
    url
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_cluster_is_left_for_the_standby_before_anybody_is_called() {
    let (slow, fast) = (Arc::new(AtomicU64::new(20)), Arc::new(AtomicU64::new(20)));
    let (a, b) = (cluster(slow.clone()).await, cluster(fast).await);
    let router =
        Router::builder("eligibility-svc").cluster("cluster-a", &a).cluster("cluster-b", &b);
    let router = router.build().unwrap();
    let serving = router.serve(TcpListener::bind("127.0.0.1:0").await.unwrap()).unwrap();
    let target = |url: &str, cluster: &str| {
        let target = Target::new(&format!("{url}/metrics")).unwrap().interval(SECOND / 4);
        target.label("service", "eligibility-svc").label("cluster", cluster)
    };
    let policy = "[runbook.rollover]\n\
                  mesh.shift = { services = [\"eligibility-svc\"], to = [\"cluster-b\"] }\n";
    let budget = Budget::new(300.0).mean_over(SECOND).hold(SECOND).recover(SECOND);
    let ops = Ops::builder()
        .registry(Registry::new())
        .mesh(router.clone())
        .policy(Policy::parse("ops.toml", policy).unwrap())
        .target(target(&a, "cluster-a"))
        .target(target(&b, "cluster-b"))
        .budget("eligibility.latency_ms", budget, Some("eligibility-svc"))
        .start()
        .await
        .unwrap();

    let address = serving.address();
    let failed = Arc::new(AtomicU64::new(0));
    let users = tokio::spawn({
        let failed = failed.clone();
        async move {
            loop {
                let answer = embedded::get(address, "GET / HTTP/1.1\r\nhost: x").await;
                failed.fetch_add(u64::from(!answer.starts_with("HTTP/1.1 200")), Ordering::Relaxed);
            }
        }
    });
    slow.store(900, Ordering::Relaxed);
    let story = story_until(ops.ledger(), "eligibility.latency_ms resolved").await;
    users.abort();

    let told: Vec<_> = story.iter().map(String::as_str).collect();
    let expected = [
        "eligibility.latency_ms pending",
        "eligibility.latency_ms firing",
        "claimed rollover",
        "started",
        "call mesh.shift",
        "planned",
        "accepted",
        "applied",
        "observed",
        "answered",
        "noted",
        "completed",
        "eligibility.latency_ms recovering",
        "eligibility.latency_ms resolved",
    ];
    let mut rest = told.iter();
    for state in expected {
        assert!(rest.any(|told| *told == state), "{state} is missing or out of order in {told:#?}");
    }
    assert_eq!(failed.load(Ordering::Relaxed), 0, "requests were lost");
    let split = router.snapshot(&"eligibility-svc".into()).await.unwrap().split();
    let weights: Vec<_> =
        split.iter().map(|(cluster, weight)| (cluster.as_str(), *weight)).collect();
    assert_eq!((weights[0].1, weights[1].1 > 0), (0, true), "{weights:?}");
    ops.ledger().verify().await.unwrap();
    ops.shutdown(SECOND).await.unwrap();
    serving.shutdown().await;
}

async fn story_until(ledger: &Arc<dyn Ledger>, last: &str) -> Vec<String> {
    let (mut story, mut seen) = (Vec::<String>::new(), Seq(0));
    let read = async {
        while !story.iter().any(|told| told == last) {
            ledger.changed(seen).await.unwrap();
            for recorded in ledger.read(seen.next(), 100).await.unwrap() {
                seen = recorded.seq;
                story.push(match &recorded.entry.event {
                    Event::Transition { alert, .. } => {
                        format!("{} {}", alert.name, alert.state.word())
                    }
                    Event::RunClaimed { runbook, .. } => format!("claimed {runbook}"),
                    Event::RunStarted { .. } => "started".into(),
                    Event::CallIntent { capability, .. } => format!("call {capability}"),
                    Event::CallResult { result: Ok(_), .. } => "answered".into(),
                    Event::Note { text, .. } => {
                        assert!(!text.ends_with(&format!(" {}", std::process::id())), "{text}");
                        "noted".into()
                    }
                    Event::RunFinished { outcome, .. } => outcome.to_string(),
                    Event::ShiftPlanned { .. } => "planned".into(),
                    Event::ShiftReached { report, .. } => report.state.word().into(),
                    other => format!("{other:?}"),
                });
            }
        }
    };
    let in_time = tokio::time::timeout(SECOND * 60, read).await;
    assert!(in_time.is_ok(), "{last} is missing in {story:#?}");
    story
}
