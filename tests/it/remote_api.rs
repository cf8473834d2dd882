//! A service whose history is in a real Prometheus, asked over our own API.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hms_ops::core::registry::Registry;
use hms_ops::{Config, Ops};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::embedded::get;

const PATIENCE: Duration = Duration::from_secs(30);

/// A Prometheus in a folder of its own, killed with it.
struct Prometheus {
    process: Child,
    address: String,
    _folder: TempDir,
}

impl Prometheus {
    /// Starts one; `None`, said out loud, where there is none.
    fn start() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("prometheus.yml"), "scrape_configs: []\n").unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let mut command = Command::new("prometheus");
        command.arg("--web.enable-remote-write-receiver").current_dir(folder.path());
        command.arg(format!("--web.listen-address={address}"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        match command.spawn() {
            Ok(process) => Some(Self { process, address, _folder: folder }),
            Err(why) => {
                let required = std::env::var("HMS_OPS_REQUIRE_PEERS").is_ok_and(|set| set == "1");
                assert!(!required, "prometheus is required: {why}");
                println!("skipped: prometheus: {why}");
                None
            }
        }
    }
}

impl Prometheus {
    async fn is_ready(&self) {
        let request = format!("GET /-/ready HTTP/1.1\r\nhost: {}", self.address);
        let ready = async {
            while TcpStream::connect(&self.address).await.is_err()
                || !get(&self.address, &request).await.starts_with("HTTP/1.1 200")
            {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, ready).await.unwrap();
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn what_a_metric_recorded_comes_back_by_our_api_from_the_prometheus_that_keeps_it() {
    let Some(peer) = Prometheus::start() else { return };
    peer.is_ready().await;
    let folder = tempfile::tempdir().unwrap();
    let text =
        format!("[store]\nremote = {{ url = \"http://{}\", queue = \"queue\" }}\n", peer.address);
    let config = Config::parse(folder.path().join("ops.toml").to_str().unwrap(), &text).unwrap();
    let builder = Ops::builder().service("claims").registry(Registry::new());
    let builder = builder.config(&config).unwrap().dashboard("127.0.0.1:0").metrics("127.0.0.1:0");
    let ops = builder.start().await.unwrap();
    let (api, metrics) = (ops.dashboard_address().unwrap(), ops.metrics_address().unwrap());
    for _ in 0..7 {
        ops.metric("claims.latency_ms").record(12.0);
    }

    let ask = async |path: &str| -> Value {
        let answer = get(api, &format!("GET {path} HTTP/1.1\r\nhost: {api}")).await;
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    };
    let text = async |address: &str| {
        get(address, &format!("GET /metrics HTTP/1.1\r\nhost: {address}")).await
    };
    let sum = "/api/v1/query?query=sum%20by%20(service)%20(claims_latency_ms_count)";
    let found = async {
        loop {
            let answer = ask(sum).await;
            let result = &answer["data"]["result"];
            // The samples of the next tick may not have come yet.
            if result[0]["value"][1] == "7" {
                return (answer["warnings"].clone(), result[0]["metric"].clone());
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    let found = timeout(PATIENCE, found).await.unwrap();
    assert_eq!(found, (Value::Null, json!({"service": "claims"})));
    let range = "/api/v1/query_range?query=up%20or%20claims_latency_ms_count&start=0&end=1&step=1";
    assert_eq!(ask(range).await["data"]["result"], json!([]));

    // It was the Prometheus that answered.
    let theirs = text(&peer.address).await;
    for route in ["query", "query_range"] {
        let counted =
            format!("prometheus_http_requests_total{{code=\"200\",handler=\"/api/v1/{route}\"}} ");
        let line = theirs.lines().find(|line| line.starts_with(&counted));
        assert!(line.is_some_and(|line| !line.ends_with(" 0")), "{route}: {line:?}");
    }
    // What it cannot read, we can: this function came with Prometheus 3.
    let later = ask(
        "/api/v1/query?query=double_exponential_smoothing(claims_latency_ms_count[1m],0.5,0.5)",
    );
    assert_eq!(later.await["status"], "success");

    let sent = "\nhms_ops_remote_sent_samples_total ";
    while !text(&metrics.to_string()).await.contains(sent) {
        sleep(Duration::from_millis(50)).await;
    }
    let ours = text(&metrics.to_string()).await;
    for name in ["queue_bytes", "lag_seconds", "dropped_samples_total", "retries_total"] {
        assert!(ours.contains(&format!("\nhms_ops_remote_{name} ")), "{name}: {ours}");
    }
    ops.shutdown(Duration::from_secs(5)).await.unwrap();
}
