//! An engine inside a service.

use std::time::Duration;

use hms_ops::core::control::Command;
use hms_ops::core::ledger::{Event, Seq};
use hms_ops::core::registry::Registry;
use hms_ops::core::time::TimeRange;
use hms_ops::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::healing::until;

const SECOND: Duration = Duration::from_secs(1);

fn tight() -> Budget {
    Budget::new(300.0).mean_over(SECOND * 2).hold(SECOND).recover(SECOND)
}

/// Status line and body of a GET.
pub(crate) async fn get(address: impl tokio::net::ToSocketAddrs, head: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("{head}\r\nconnection: close\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_metric_that_breaks_its_budget_fires_and_resolves_without_any_other_set_up() {
    let ops = Ops::builder().service("claims").registry(Registry::new()).start().await.unwrap();
    let latency = ops.metric("claims.latency_ms").budget(tight());
    let (mut slow, mut states) = (true, Vec::new());
    let mut seen = Seq(0);
    while states.last() != Some(&"resolved".to_owned()) {
        latency.record(if slow { 900.0 } else { 20.0 });
        let entries = tokio::select! {
            _ = ops.ledger().changed(seen) => ops.ledger().read(seen.next(), 100).await.unwrap(),
            () = tokio::task::yield_now() => continue,
        };
        for recorded in entries {
            seen = recorded.seq;
            if let Event::Transition { alert, .. } = &recorded.entry.event {
                assert_eq!(alert.service.as_ref().unwrap().as_str(), "claims");
                states.push(alert.state.word().to_owned());
                slow = !alert.state.is_active();
            }
        }
    }
    assert_eq!(states, ["pending", "firing", "recovering", "resolved"]);
    ops.shutdown(SECOND).await.unwrap();
}

#[tokio::test]
async fn an_slo_pages_when_its_error_budget_is_spent_too_fast() {
    // No ladder of buckets has an edge at 321 ms.
    let slo = Slo::new("disaster-claims").latency("claims.latency_ms", 321.0).objective("99.999");
    let ops = Ops::builder().service("claims").registry(Registry::new()).slo(slo.build().unwrap());
    let ops = ops.start().await.unwrap();
    let latency = ops.metric("claims.latency_ms");
    until(async || {
        latency.record(322.0);
        ops.alerts().iter().any(|alert| {
            assert_eq!(alert.name, "disaster-claims");
            alert.labels.get("severity") == Some("page") && alert.state.is_active()
        })
    })
    .await;
    let page = ops.alerts().remove(0);
    assert_eq!((page.value.map(f64::round), page.threshold), (Some(100_000.0), Some(14.4)));
    let budget = ops.slos().remove(0);
    assert_eq!((budget.total, budget.service.as_str()), (budget.bad, "claims"));
    assert!(budget.budget_left < -90_000.0, "{budget:?}");
    ops.shutdown(SECOND).await.unwrap();
}

#[tokio::test]
async fn two_slos_of_one_name_are_refused() {
    let slo = || Slo::new("up").availability("up").objective("99.9").build().unwrap();
    let twice = Ops::builder().registry(Registry::new()).slo(slo()).slo(slo()).start().await;
    assert_eq!(twice.unwrap_err().to_string(), "an SLO is called up, and so is another alert");
}

#[tokio::test]
async fn two_engines_live_in_one_process_and_share_nothing() {
    let start = async |service: &str| {
        let ops = Ops::builder().service(service).registry(Registry::new());
        ops.metrics("127.0.0.1:0").start().await.unwrap()
    };
    let (a, b) = (start("a").await, start("b").await);
    a.counter("claims_total").increment(1);
    let metrics = async |ops: &Ops| {
        get(ops.metrics_address().unwrap(), "GET /metrics HTTP/1.1\r\nhost: x").await
    };
    assert!(metrics(&a).await.contains("claims_total 1\n"));
    assert!(!metrics(&b).await.contains("claims_total"));
    a.shutdown(SECOND).await.unwrap();
    b.shutdown(SECOND).await.unwrap();
}

#[tokio::test]
async fn a_busy_port_costs_the_page_and_not_the_service() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let builder = || Ops::builder().registry(Registry::new()).dashboard(&address).metrics(&address);
    let ops = builder().start().await.unwrap();
    assert_eq!((ops.dashboard_address(), ops.metrics_address()), (None, None));
    ops.shutdown(SECOND).await.unwrap();
    let error = builder().require_listeners().start().await.unwrap_err().to_string();
    assert!(
        error.starts_with(&format!("cannot listen on {address} for the admin listener: ")),
        "{error}"
    );
}

#[tokio::test]
async fn the_page_answers_on_loopback_only_and_to_its_own_name_only() {
    let builder = Ops::builder().registry(Registry::new());
    let error = builder.dashboard("0.0.0.0:0").start().await.unwrap_err().to_string();
    assert!(
        error.contains("would open the page, its actions and the API to the network"),
        "{error}"
    );

    let ops = Ops::builder().registry(Registry::new()).service("claims").dashboard("127.0.0.1:0");
    let ops = ops.start().await.unwrap();
    let page = ops.dashboard_address().unwrap();
    let ask =
        async |host: &str| get(page, &format!("GET /api/services HTTP/1.1\r\nhost: {host}")).await;
    let answer = ask("127.0.0.1").await;
    assert!(answer.contains(r#""name":"claims""#), "{answer}");
    assert!(answer.contains("content-security-policy: default-src 'none'"), "{answer}");
    assert!(ask("evil.test").await.starts_with("HTTP/1.1 403"));
    ops.shutdown(SECOND).await.unwrap();
}

#[tokio::test]
async fn a_client_that_stops_half_way_does_not_hold_up_the_end() {
    let ops = Ops::builder().registry(Registry::new()).dashboard("127.0.0.1:0");
    let ops = ops.metrics("127.0.0.1:0").start().await.unwrap();
    let mut stuck = Vec::new();
    for address in [ops.dashboard_address().unwrap(), ops.metrics_address().unwrap()] {
        for _ in 0..40 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"POST /v1/traces HTTP/1.1\r\nhost: local").await.unwrap();
            stuck.push(stream);
        }
    }
    let ended = tokio::time::timeout(SECOND * 30, ops.shutdown(SECOND)).await;
    ended.expect("it ends").unwrap();
}

#[tokio::test]
async fn a_budget_that_is_declared_again_replaces_the_first() {
    let ops = Ops::builder().service("claims").registry(Registry::new()).start().await.unwrap();
    let latency = ops.metric("claims.latency_ms").budget(tight());
    until(async || {
        latency.record(400.0);
        ops.alerts().iter().any(|alert| alert.threshold == Some(300.0))
    })
    .await;
    let latency = latency.budget(500.0);
    until(async || {
        latency.record(400.0);
        let alerts = ops.alerts();
        alerts.len() == 1 && alerts[0].threshold == Some(500.0)
    })
    .await;
    ops.shutdown(SECOND).await.unwrap();
}

#[tokio::test]
async fn what_is_given_twice_is_an_error_that_names_it() {
    let start = async |builder: hms_ops::OpsBuilder| {
        builder.registry(Registry::new()).start().await.unwrap_err().to_string()
    };
    let twice = Ops::builder().budget("a.ms", tight(), None).budget("a_ms", tight(), Some("b"));
    assert_eq!(start(twice).await, "two budgets of a_ms hold for b");
    let twice = Ops::builder().notifier(hms_ops::alert::notify::LogNotifier);
    assert_eq!(start(twice).await, "two receivers are called log");
}

#[tokio::test]
async fn what_a_person_does_is_written_down() {
    let ops = Ops::builder().registry(Registry::new()).start().await.unwrap();
    let hold = Command::Hold { reason: "storm drill".into() };
    ops.control().execute("ana", hold).await.unwrap();
    ops.control().execute("ana", Command::Release).await.unwrap();
    let entries = ops.ledger().read(Seq(1), 10).await.unwrap();
    let told: Vec<_> = entries
        .iter()
        .map(|recorded| match &recorded.entry.event {
            Event::Held { held, reason } => format!("{} {held} {reason}", recorded.entry.actor),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(told, ["person/ana true storm drill", "person/ana false "]);
    ops.shutdown(SECOND).await.unwrap();
}

#[tokio::test]
async fn spans_of_the_process_and_spans_sent_to_it_are_kept() {
    #[hms_ops::trace]
    fn pay_claim() {}

    let ops = Ops::builder().registry(Registry::new()).service("claims").dashboard("127.0.0.1:0");
    let ops = ops.start().await.unwrap();
    let page = ops.dashboard_address().unwrap();
    pay_claim();
    let body = r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":
        {"stringValue":"payments"}}]},"scopeSpans":[{"spans":[{"traceId":
        "4bf92f3577b34da6a3ce929d0e0e4736","spanId":"00f067aa0ba902b7","name":"settle","kind":2,
        "startTimeUnixNano":"1700000000000000000","endTimeUnixNano":"1700000000005000000"}]}]}]}"#;
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let answer = get(page, &head).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    until(async || {
        let traces = get(page, "GET /api/traces HTTP/1.1\r\nhost: localhost").await;
        traces.contains("pay_claim") && traces.contains("settle")
    })
    .await;
    ops.shutdown(SECOND).await.unwrap();
}

#[tokio::test]
async fn the_series_of_the_process_carry_its_service() {
    let ops = Ops::builder().registry(Registry::new()).service("claims").cluster("cluster-a");
    let ops = ops.start().await.unwrap();
    ops.counter("claims_total").increment(3);
    until(async || {
        let series = ops.store().series(&[], TimeRange::ALL).await.unwrap();
        let series: Vec<_> = series.iter().map(ToString::to_string).collect();
        series.contains(&r#"claims_total{cluster="cluster-a",service="claims"}"#.to_owned())
    })
    .await;
    ops.shutdown(SECOND).await.unwrap();
}
