//! A real Alertmanager: it takes our alerts, and what it tells a webhook is what we tell one.

use std::path::PathBuf;
use std::process::Stdio;

use hms_ops_alert::notify::{AlertmanagerNotifier, Endpoint, Secret, WebhookNotifier};
use hms_ops_core::alert::AlertState;
use hms_ops_core::clock::{Clock, SystemClock};
use hms_ops_core::notify::Notifier;
use hms_ops_testkit::world::{alert, secs};
use serde_json::Value as Json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::hook::{Hook, SECRET, about, body};

#[tokio::test]
async fn an_alertmanager_tells_a_webhook_what_we_tell_one() {
    let Some(program) = program() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (mut theirs, ours) = (Hook::start().await, Hook::start().await);
    let (_running, address) = start(&program, folder.path(), &theirs.url("/")).await;
    let endpoint = Endpoint::new(&format!("http://{address}")).unwrap();
    let to_them = AlertmanagerNotifier::new("am", endpoint).unwrap();
    let endpoint = Endpoint::new(&ours.url("/")).unwrap();
    let to_us = WebhookNotifier::new("on-call", endpoint, Secret::parse(SECRET).unwrap());

    let now = SystemClock.now();
    let fired = AlertState::Firing { since: now - secs(60) };
    let over = AlertState::Resolved { firing_since: now - secs(60), at: now };
    for (step, state) in [(1, fired), (2, over)] {
        let mut alert = alert("eligibility.latency_ms", state);
        alert.labels = alert.labels.with("path", "a \"quoted\" \\ größe").with("http.route", "/x");
        let n = about(alert);
        to_us.send(&n).await.unwrap();
        to_them.send(&n).await.unwrap();
        let told = timeout(secs(30), theirs.wait_for(step)).await.unwrap();
        assert_eq!(payload(&told), payload(&ours.taken()[step - 1]));
        let known = get(&address, "/api/v2/alerts").await;
        let known: Vec<_> = known.as_array().unwrap().iter().map(|a| &a["labels"]).collect();
        match step {
            1 => assert_eq!(known, [&payload(&told)["commonLabels"]]),
            _ => assert!(known.is_empty(), "{known:?}"),
        }
    }
}

/// Without times and addresses.
fn payload(request: &str) -> Json {
    let mut payload: Json = serde_json::from_str(body(request)).unwrap();
    let ends = payload["alerts"][0]["endsAt"].as_str().unwrap();
    let is_open = ends.starts_with("0001");
    assert_eq!(is_open, payload["status"] == "firing", "{ends}");
    payload["externalURL"].take();
    for key in ["startsAt", "endsAt", "generatorURL"] {
        payload["alerts"][0][key].take();
    }
    payload
}

/// The program; `None`, said out loud, where it is absent.
fn program() -> Option<PathBuf> {
    let names = ["prometheus-alertmanager", "alertmanager"];
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .flat_map(|folder| names.map(|name| folder.join(name)))
        .find(|program| program.is_file());
    if found.is_none() {
        let required = std::env::var("HMS_OPS_REQUIRE_PEERS").is_ok_and(|set| set == "1");
        assert!(!required, "alertmanager is absent and required");
        println!("skipped: alertmanager is absent");
    }
    found
}

/// Runs until dropped. Every alert is a group of its own, and told at once.
async fn start(program: &PathBuf, folder: &std::path::Path, hook: &str) -> (Child, String) {
    let config = format!(
        "route: {{ receiver: on-call, group_by: ['...'], group_wait: 0s, group_interval: 1s }}\n\
         receivers:\n- name: on-call\n  webhook_configs: [{{ url: '{hook}' }}]\n"
    );
    std::fs::write(folder.join("alertmanager.yml"), config).unwrap();
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    let mut running = Command::new(program)
        .arg(format!("--config.file={}", folder.join("alertmanager.yml").display()))
        .arg(format!("--storage.path={}", folder.join("data").display()))
        .arg(format!("--web.listen-address={address}"))
        .arg("--cluster.listen-address=")
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut log = BufReader::new(running.stderr.take().unwrap()).lines();
    let listening = async {
        loop {
            let line = log.next_line().await.unwrap().expect("it runs");
            if line.contains("Listening on") {
                return;
            }
        }
    };
    timeout(secs(30), listening).await.unwrap();
    // Its log is read on, or it would wait for a reader.
    tokio::spawn(async move { while let Ok(Some(_)) = log.next_line().await {} });
    (running, address)
}

async fn get(address: &str, path: &str) -> Json {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.0\r\nhost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    serde_json::from_str(body(&answer)).unwrap()
}
