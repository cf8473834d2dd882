//! The config file read again, while the engine runs.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use hms_ops::core::exposition::{Format, encode};
use hms_ops::core::registry::Registry;
use hms_ops::{Config, Ops};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::embedded::get;
use crate::healing::until;

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).unwrap();
}

fn jobs(name: &str) -> String {
    let target = "static_configs: [{ targets: ['127.0.0.1:1'] }]";
    format!("scrape_configs:\n- {{ job_name: {name}, {target} }}\n")
}

async fn engine(folder: &Path, config: &str, registry: &Registry) -> (Ops, SocketAddr) {
    write(folder, "ops.toml", config);
    let config = Config::from_file(folder.join("ops.toml")).unwrap();
    let ops = Ops::builder().registry(registry.clone()).config(&config).unwrap();
    let ops = ops.admin("127.0.0.1:0").start().await.unwrap();
    let address = ops.admin_address().unwrap();
    (ops, address)
}

/// The jobs whose targets are scraped; there are some soon.
async fn pools(ops: &Ops) -> Vec<String> {
    until(async || !ops.active_targets().is_empty()).await;
    ops.active_targets().into_iter().map(|target| target.pool).collect()
}

fn gauge(registry: &Registry, name: &str) -> f64 {
    let text = encode(&registry.snapshot(), Format::accepted(""));
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name} in {text}")).parse().unwrap()
}

#[tokio::test]
async fn a_config_that_is_read_again_takes_effect_as_a_whole_or_not_at_all() {
    let (folder, registry) = (tempfile::tempdir().unwrap(), Registry::new());
    let folder = folder.path();
    let config = "scrape_config_files = [\"a.yml\"]\n";
    write(folder, "a.yml", &jobs("first"));
    let (ops, address) = engine(folder, config, &registry).await;
    assert_eq!(pools(&ops).await, ["first"]);
    let well = "hms_ops_config_last_reload_successful";
    assert!((gauge(&registry, well) - 1.0).abs() < f64::EPSILON);

    // One file is better, the other is broken: nothing changes, and the error says where.
    write(folder, "a.yml", &jobs("second"));
    write(folder, "b.yml", "\nscrape_cfgs: []\n");
    write(folder, "ops.toml", "scrape_config_files = [\"a.yml\",\n\"b.yml\"]\n");
    let error = ops.reload().await.unwrap_err().to_string();
    let (ours, theirs) = (folder.join("ops.toml"), folder.join("b.yml"));
    let place = format!("{}:2: {}:2: scrape_cfgs: ", ours.display(), theirs.display());
    assert!(error.starts_with(&place), "{error}");
    assert_eq!(pools(&ops).await, ["first"]);
    assert!(gauge(&registry, well).abs() < f64::EPSILON);
    assert!((gauge(&registry, "hms_ops_config_reload_failures_total") - 1.0).abs() < f64::EPSILON);
    let ask =
        async |what: &str| get(address, &format!("GET {what} HTTP/1.0\r\nhost: {address}")).await;
    assert!(ask("/api/v1/status/runtimeinfo").await.contains(r#""reloadConfigSuccess":false"#));

    write(folder, "b.yml", &jobs("third"));
    ops.reload().await.unwrap();
    until(async || ops.active_targets().len() == 2).await;
    let mut pools = pools(&ops).await;
    pools.sort();
    assert_eq!(pools, ["second", "third"]);
    assert!((gauge(&registry, well) - 1.0).abs() < f64::EPSILON);
    assert!(ask("/api/v1/status/config").await.contains("b.yml"));
    ops.shutdown(Duration::ZERO).await.unwrap();
}

async fn post(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("POST /-/reload HTTP/1.0\r\nhost: {address}\r\ncontent-length: 0\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_request_has_the_config_read_again_only_where_the_config_says_so() {
    let (folder, registry) = (tempfile::tempdir().unwrap(), Registry::new());
    let folder = folder.path();
    let (ops, address) = engine(folder, "", &registry).await;
    let refused = post(address).await;
    assert!(refused.starts_with("HTTP/1.0 403 ") && refused.contains("admin_reload"), "{refused}");
    ops.shutdown(Duration::ZERO).await.unwrap();

    let allowed = "[listen]\nadmin_reload = true\n";
    let (ops, address) = engine(folder, allowed, &registry).await;
    write(folder, "a.yml", &jobs("first"));
    write(folder, "ops.toml", &format!("scrape_config_files = [\"a.yml\"]\n{allowed}"));
    let done = post(address).await;
    assert!(done.starts_with("HTTP/1.0 200 "), "{done}");
    assert_eq!(pools(&ops).await, ["first"]);
    write(folder, "ops.toml", "nonsense");
    let failed = post(address).await;
    assert!(failed.starts_with("HTTP/1.0 500 "), "{failed}");
    assert!(failed.contains("failed to reload config: "), "{failed}");
    ops.shutdown(Duration::ZERO).await.unwrap();
}
