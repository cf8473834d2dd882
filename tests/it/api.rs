//! Prometheus' API of an engine, over a real socket: what Grafana asks first, and promtool.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use hms_ops::Config;
use hms_ops::core::labels::Labels;
use hms_ops::core::registry::Registry;
use hms_ops::core::sample::Sample;
use hms_ops::core::store::StoreExt;
use hms_ops::core::time::Timestamp;
use hms_ops::prelude::*;
use hms_ops_collect::remote::{deflate, encode_v1};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::embedded::get;

const CONFIG: &str = r#"
[[target]]
url = "http://127.0.0.1:1/metrics"
service = "claims"

[[budget]]
metric = "claims.latency_ms"
service = "claims"
limit = 300
"#;

/// An engine with a dead target, a budget, and one sample of its past.
async fn engine(now: Timestamp) -> (Ops, SocketAddr) {
    let config = Config::parse("ops.toml", CONFIG).unwrap();
    let ops = Ops::builder().service("claims").registry(Registry::new()).config(&config).unwrap();
    let ops = ops.dashboard("127.0.0.1:0").start().await.unwrap();
    ops.store().append_one(&Labels::metric("load").with("zone", "a"), now, 0.5).await.unwrap();
    let address = ops.dashboard_address().unwrap();
    (ops, address)
}

async fn ask(address: SocketAddr, path: &str) -> Value {
    let answer = get(address, &format!("GET {path} HTTP/1.1\r\nhost: {address}")).await;
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    let mut json: Value = serde_json::from_str(body).unwrap_or_else(|e| panic!("{e}: {answer}"));
    assert_eq!(json["status"], "success", "{answer}");
    json["data"].take()
}

#[tokio::test]
async fn grafana_takes_an_engine_for_a_prometheus() {
    let now = hms_ops::core::clock::Clock::now(&hms_ops::core::clock::SystemClock);
    let (ops, address) = engine(now).await;

    let build = ask(address, "/api/v1/status/buildinfo").await;
    assert_eq!(build["version"], "3.14.0");
    assert!(build["application"].as_str().unwrap().starts_with("hms-ops "));
    let sum = ask(address, "/api/v1/query?query=1%2B1&time=4").await;
    assert_eq!(sum, json!({"resultType": "scalar", "result": [4, "2"]}));
    let seconds = now.as_millis() / 1000 + 1;
    let range = format!("query=load*2&start={seconds}&end={seconds}&step=15");
    let matrix = ask(address, &format!("/api/v1/query_range?{range}")).await;
    assert_eq!(matrix["result"], json!([{"metric": {"zone": "a"}, "values": [[seconds, "1"]]}]));
    let names = ask(address, "/api/v1/label/__name__/values").await;
    assert!(names.as_array().unwrap().contains(&"load".into()), "{names}");
    assert_eq!(ask(address, "/api/v1/metadata").await, json!({}));

    // Rules are known after the first tick.
    let rules = loop {
        let data = ask(address, "/api/v1/rules?type=alert").await;
        if data["groups"] != json!([]) {
            break data;
        }
        tokio::task::yield_now().await;
    };
    let rule = &rules["groups"][0]["rules"][0];
    assert_eq!(
        (&rules["groups"][0]["name"], &rule["name"]),
        (&"claims".into(), &"claims.latency_ms".into())
    );
    assert_eq!((&rule["type"], &rule["state"]), (&"alerting".into(), &"inactive".into()));
    assert_eq!(ask(address, "/api/v1/rules?rule_name[]=other").await, json!({"groups": []}));
    assert_eq!(ask(address, "/api/v1/alerts").await, json!({"alerts": []}));

    let targets = ask(address, "/api/v1/targets?state=active").await;
    let target = &targets["activeTargets"][0];
    assert_eq!(target["scrapeUrl"], "http://127.0.0.1:1/metrics");
    assert_eq!(target["labels"]["service"], "claims");
    let config = ask(address, "/api/v1/status/config").await;
    assert!(config["yaml"].as_str().unwrap().contains("claims.latency_ms"), "{config}");
    let series = ask(address, "/api/v1/status/tsdb?limit=1").await;
    assert_eq!(series["seriesCountByMetricName"].as_array().unwrap().len(), 1);
    assert!(ask(address, "/api/v1/status/runtimeinfo").await["startTime"].is_string());
    assert!(ask(address, "/api/v1/status/flags").await.is_object());

    let metrics = get(address, &format!("GET /metrics HTTP/1.1\r\nhost: {address}")).await;
    assert!(metrics.contains("\nhms_ops_"), "{metrics}");
    let page = get(address, &format!("GET / HTTP/1.1\r\nhost: {address}")).await;
    assert!(page.contains("text/html"), "{page}");
    ops.shutdown(Duration::ZERO).await.unwrap();
}

#[tokio::test]
async fn a_page_of_another_origin_asks_in_vain() {
    let (ops, address) = engine(Timestamp::from_millis(0)).await;
    for head in
        ["host: evil.test".to_owned(), format!("host: {address}\r\norigin: http://evil.test")]
    {
        let query = format!("GET /api/v1/query?query=1 HTTP/1.1\r\n{head}");
        assert!(get(address, &query).await.starts_with("HTTP/1.1 403 "), "{head}");
    }
    ops.shutdown(Duration::ZERO).await.unwrap();
}

/// What `promtool` prints; `None`, said out loud, where it is absent or does not know the command.
async fn promtool(args: Vec<String>) -> Option<String> {
    let done = tokio::task::spawn_blocking(move || Command::new("promtool").args(args).output());
    let why = match done.await.unwrap() {
        Ok(done) if done.status.success() => return Some(String::from_utf8(done.stdout).unwrap()),
        Ok(done) => {
            let said = String::from_utf8_lossy(&done.stderr).into_owned();
            // Releases before 2.44 check no server.
            assert!(said.contains("expected command"), "promtool: {said}");
            println!("skipped: {said}");
            return None;
        }
        Err(error) => format!("promtool cannot be run: {error}"),
    };
    let required = std::env::var("HMS_OPS_REQUIRE_PEERS").is_ok_and(|set| set == "1");
    assert!(!required, "{why}");
    println!("skipped: {why}");
    None
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promtool_finds_an_engine_healthy_and_ready_and_asks_it() {
    let now = hms_ops::core::clock::Clock::now(&hms_ops::core::clock::SystemClock);
    let (ops, address) = engine(now).await;
    let url = format!("http://{address}");
    for what in ["healthy", "ready"] {
        let args = ["check", what, "--url", &url].map(str::to_owned).to_vec();
        if let Some(said) = promtool(args).await {
            assert!(said.contains("SUCCESS"), "{said}");
        }
    }
    let args = ["query", "instant", &url, "sum by (zone) (load) * 2"].map(str::to_owned).to_vec();
    if let Some(said) = promtool(args).await {
        assert!(said.starts_with("{zone=\"a\"} => 1 @["), "{said}");
    }
    ops.shutdown(Duration::ZERO).await.unwrap();
}

/// Sends a body, and gives back the whole answer.
async fn post(address: SocketAddr, path: &str, headers: &str, body: &[u8]) -> String {
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{headers}content-length: \
         {length}\r\n\r\n"
    );
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn what_an_agent_writes_is_queried_where_it_was_written() {
    let now = hms_ops::core::clock::Clock::now(&hms_ops::core::clock::SystemClock);
    let (ops, address) = engine(now).await;
    let headers = "content-encoding: snappy\r\ncontent-type: application/x-protobuf\r\n";
    let labels = Labels::metric("claims_total").with("zone", "b");
    let samples = [Sample { at: now, value: 7.0.into() }];
    let mut message = Vec::new();
    encode_v1([(&labels, &samples[..])], &mut message);
    let written = post(address, "/api/v1/write", headers, &deflate(&message).unwrap()).await;
    assert!(written.starts_with("HTTP/1.1 204 "), "{written}");

    let at = now.as_millis() / 1000 + 1;
    let answer = ask(address, &format!("/api/v1/query?query=claims_total&time={at}")).await;
    let metric = json!({"__name__": "claims_total", "zone": "b"});
    assert_eq!(answer["result"], json!([{"metric": metric, "value": [at, "7"]}]));

    for (body, status) in [(&b"\xff\xff\xff\xff\x0f\x00"[..], "413"), (b"no snappy", "400")] {
        let refused = post(address, "/api/v1/write", headers, body).await;
        assert!(refused.starts_with(&format!("HTTP/1.1 {status} ")), "{refused}");
    }
    ops.shutdown(Duration::ZERO).await.unwrap();
}

#[cfg(feature = "prometheus-config")]
#[tokio::test]
async fn targets_that_a_job_has_found_are_told_with_those_that_are_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let jobs = r#"
scrape_configs:
  - job_name: claims
    static_configs: [{ targets: ["127.0.0.1:1", "127.0.0.1:2"] }]
    relabel_configs:
      - { source_labels: [__address__], regex: ".*:2", action: drop }
"#;
    std::fs::write(folder.path().join("prometheus.yml"), jobs).unwrap();
    let name = folder.path().join("ops.toml");
    let text = "scrape_config_files = [\"prometheus.yml\"]";
    let config = Config::parse(name.to_str().unwrap(), text).unwrap();
    let ops = Ops::builder().registry(Registry::new()).config(&config).unwrap();
    let ops = ops.dashboard("127.0.0.1:0").start().await.unwrap();
    let address = ops.dashboard_address().unwrap();

    let targets = ask(address, "/api/v1/targets").await;
    let active = targets["activeTargets"].as_array().unwrap();
    assert_eq!(active.len(), 1, "{targets}");
    assert_eq!(active[0]["scrapePool"], "claims");
    assert_eq!(active[0]["labels"], json!({"instance": "127.0.0.1:1", "job": "claims"}));
    assert_eq!(active[0]["discoveredLabels"]["__address__"], "127.0.0.1:1");
    assert_eq!(targets["droppedTargets"][0]["discoveredLabels"]["__address__"], "127.0.0.1:2");
    assert_eq!(targets["droppedTargetCounts"], json!({"claims": 1}));
    let others = ask(address, "/api/v1/targets?scrapePool=other").await;
    assert_eq!(others["activeTargets"], json!([]));
    assert_eq!(ask(address, "/api/v1/scrape_pools").await["scrapePools"], json!(["claims"]));
    ops.shutdown(Duration::ZERO).await.unwrap();
}
