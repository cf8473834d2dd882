//! Real programs of Prometheus, 2.42 or newer, against an engine whose admin listener wants a token.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hms_ops::core::registry::Registry;
use hms_ops::{Config, Ops};
use serde_json::{Value, json};

use crate::embedded::get;
use crate::healing::until;

const TOKEN: &str = "correct-horse-battery";

/// Whether a program is there; that it is not is said out loud, and an error where peers are required.
fn is_there(program: &str) -> bool {
    let there = Command::new(program).arg("--version").output().is_ok();
    if !there {
        let required = std::env::var("HMS_OPS_REQUIRE_PEERS").is_ok_and(|set| set == "1");
        assert!(!required, "{program} is absent and required");
        println!("skipped: {program} is absent");
    }
    there
}

/// A Prometheus that ends with the test.
struct Prometheus {
    process: Child,
    address: SocketAddr,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Prometheus {
    /// One that scrapes itself each second, and writes what it has to the engine at `engine`.
    fn start(folder: &Path, engine: SocketAddr) -> Self {
        // Free a moment ago; nobody else is given it so soon.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let config = format!(
            "global: {{ scrape_interval: 1s, external_labels: {{ replica: a }} }}\n\
             scrape_configs:\n\
             - {{ job_name: peer, static_configs: [{{ targets: ['{address}'] }}] }}\n\
             remote_write:\n\
             - url: http://{engine}/api/v1/write\n  \
               basic_auth: {{ username: peer, password: {TOKEN} }}\n  \
               queue_config: {{ batch_send_deadline: 100ms }}\n"
        );
        std::fs::write(folder.join("prometheus.yml"), config).unwrap();
        let process = Command::new("prometheus")
            .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { process, address }
    }

    /// What it answers, once it does.
    async fn ask(&self, path: &str) -> Value {
        let mut data = Value::Null;
        until(async || {
            if tokio::net::TcpStream::connect(self.address).await.is_err() {
                return false;
            }
            let head = format!("GET {path} HTTP/1.0\r\nhost: {}", self.address);
            let answer = get(self.address, &head).await;
            let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
            let body: Value = serde_json::from_str(body).unwrap_or_default();
            data = body["data"].clone();
            body["status"] == "success"
        })
        .await;
        data
    }
}

async fn ask(engine: SocketAddr, path: &str) -> Value {
    let head = format!("host: {engine}\r\nauthorization: Bearer {TOKEN}");
    let answer = get(engine, &format!("GET {path} HTTP/1.0\r\n{head}")).await;
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    let mut body: Value = serde_json::from_str(body).unwrap_or_else(|e| panic!("{e}: {answer}"));
    assert_eq!(body["status"], "success", "{path}: {body}");
    body["data"].take()
}

/// An engine, and a Prometheus whose samples have begun to arrive there.
async fn both(folder: &Path) -> (Ops, SocketAddr, Prometheus) {
    let token = folder.join("admin.token");
    std::fs::write(&token, TOKEN).unwrap();
    let ops = Ops::builder().registry(Registry::new()).admin("127.0.0.1:0");
    let ops = ops.admin_token_file(token).start().await.unwrap();
    let engine = ops.admin_address().unwrap();
    let prometheus = Prometheus::start(folder, engine);
    let up = "/api/v1/query?query=up%7Bjob=%22peer%22%7D";
    until(async || ask(engine, up).await["result"] != json!([])).await;
    (ops, engine, prometheus)
}

/// What `promtool` prints when it asks the engine.
async fn promtool(engine: SocketAddr, kind: &str, args: &[&str]) -> String {
    let url = format!("http://anybody:{TOKEN}@{engine}");
    let mut command = Command::new("promtool");
    command.args(["query", kind]);
    match kind {
        // These two take their selector as an option, before the server.
        "series" => command.args(args).arg(url),
        _ => command.arg(url).args(args),
    };
    let done = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    assert!(done.status.success(), "{kind}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_real_prometheus_writes_is_queried_by_a_real_promtool() {
    if !is_there("prometheus") || !is_there("promtool") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (ops, engine, prometheus) = both(folder.path()).await;
    let instance = prometheus.address.to_string();
    let up = ask(engine, "/api/v1/query?query=up%7Bjob=%22peer%22%7D").await;
    let labels = json!({
        "__name__": "up", "instance": instance, "job": "peer", "replica": "a",
    });
    assert_eq!(up["result"][0]["metric"], labels);

    let said = promtool(engine, "instant", &["count(up{job=\"peer\"})"]).await;
    assert!(said.starts_with("{} => 1 @["), "{said}");
    let said = promtool(engine, "range", &["--step=1s", "max by (job) (up{job=\"peer\"})"]).await;
    assert!(said.starts_with("{job=\"peer\"} =>\n1 @["), "{said}");
    let said = promtool(engine, "series", &["--match=up{job=\"peer\"}"]).await;
    assert!(said.contains(&format!("instance=\"{instance}\"")), "{said}");
    let said = promtool(engine, "labels", &["replica"]).await;
    assert_eq!(said, "a\n");
    ops.shutdown(Duration::ZERO).await.unwrap();
}

/// The keys of an object and, with their path, of the objects below it; of lists, those of the first.
fn keys(value: &Value, path: &str, into: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                let path = format!("{path}.{key}");
                keys(value, &path, into);
                into.push(path);
            }
        }
        Value::Array(items) => {
            if let Some(first) = items.first() {
                keys(first, &format!("{path}[]"), into);
            }
        }
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_engine_says_of_itself_has_the_keys_that_a_real_prometheus_gives() {
    if !is_there("prometheus") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (ops, engine, prometheus) = both(folder.path()).await;
    // What there is no truth for here is left out: a runtime with goroutines and a collector, and
    // chunks, of which other stores have none.
    let absent = [".goroutineCount", ".GOGC", ".GODEBUG", ".headStats.chunkCount"];
    for path in ["status/runtimeinfo", "status/config", "status/tsdb", "status/buildinfo"] {
        let path = format!("/api/v1/{path}");
        let (mut theirs, mut ours) = (Vec::new(), Vec::new());
        keys(&prometheus.ask(&path).await, "", &mut theirs);
        keys(&ask(engine, &path).await, "", &mut ours);
        for key in theirs.iter().filter(|key| !absent.contains(&key.as_str())) {
            assert!(ours.contains(key), "{path} lacks {key}: {ours:?}");
        }
    }
    let metadata = "/api/v1/targets/metadata?limit=1";
    let (mut theirs, mut ours) = (Vec::new(), Vec::new());
    keys(&prometheus.ask(metadata).await[0], "", &mut theirs);
    // Of targets that are scraped here; this process is none, so it takes one that is.
    let of_target = targets(folder.path(), prometheus.address).await;
    keys(&of_target["metadata"], "", &mut ours);
    theirs.sort();
    ours.sort();
    assert_eq!(ours, theirs);
    assert_eq!(of_target["one"], json!(["help", "target", "type", "unit"]));
    // A flag of ours that Prometheus has too means the same there.
    let (theirs, ours) =
        (prometheus.ask("/api/v1/status/flags").await, ask(engine, "/api/v1/status/flags").await);
    for (flag, value) in ours.as_object().unwrap() {
        assert!(value.is_string() && theirs[flag].is_string(), "{flag}: {value}");
    }
    ops.shutdown(Duration::ZERO).await.unwrap();
}

/// What an engine that scrapes `target` knows about its metrics.
async fn targets(folder: &Path, target: SocketAddr) -> Value {
    let text = format!("[[target]]\nurl = \"http://{target}/metrics\"\nservice = \"peer\"\n");
    let config = Config::parse(folder.join("ops.toml").to_str().unwrap(), &text).unwrap();
    let token = folder.join("admin.token");
    let ops = Ops::builder().registry(Registry::new()).config(&config).unwrap();
    let ops = ops.admin("127.0.0.1:0").admin_token_file(token).start().await.unwrap();
    let engine = ops.admin_address().unwrap();
    until(async || ops.targets()[0].samples > 0).await;
    let path = "/api/v1/targets/metadata?match_target=%7Bservice=%22peer%22%7D";
    let metadata = ask(engine, &format!("{path}&limit=1")).await;
    let one = ask(engine, &format!("{path}&metric=prometheus_build_info")).await;
    let one: Vec<_> = one[0].as_object().unwrap().keys().cloned().collect();
    ops.shutdown(Duration::ZERO).await.unwrap();
    // Their target is known by an instance and a job, this one by its service.
    let target = json!({ "instance": "", "job": "" });
    let mut metadata = metadata[0].clone();
    assert_eq!(metadata["target"]["service"], "peer");
    metadata["target"] = target;
    json!({ "metadata": metadata, "one": one })
}
