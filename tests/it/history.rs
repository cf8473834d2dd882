//! An engine that keeps its history on disk.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hms_ops::core::matcher::Matcher;
use hms_ops::core::registry::Registry;
use hms_ops::core::store::StoreExt;
use hms_ops::core::time::TimeRange;
use hms_ops::prelude::*;
use hms_ops::tsdb::{Options, Tsdb};
use hms_ops_testkit::fault_disk::FaultDisk;

use crate::embedded::get;
use crate::healing::until;

const SECOND: Duration = Duration::from_secs(1);

async fn start(folder: &Path) -> Ops {
    let ops = Ops::builder().service("claims").registry(Registry::new()).data(folder);
    ops.start().await.unwrap()
}

#[tokio::test]
async fn what_an_engine_measured_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let only = [Matcher::metric("claims.latency_ms_count")];
    let ops = start(folder.path()).await;
    ops.metric("claims.latency_ms").record(20.0);
    let read = async |ops: &Ops| ops.store().collect(&only, TimeRange::ALL).await.unwrap();
    until(async || !read(&ops).await.is_empty()).await;
    let measured = read(&ops).await;
    ops.shutdown(SECOND).await.unwrap();

    let ops = start(folder.path()).await;
    let found = read(&ops).await;
    assert_eq!(found[0].0, measured[0].0);
    assert!(found[0].1.starts_with(&measured[0].1), "{found:?}");
    ops.shutdown(SECOND).await.unwrap();
}

#[tokio::test]
async fn a_folder_that_another_engine_has_is_named_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let ops = start(folder.path()).await;
    let second = Ops::builder().registry(Registry::new()).data(folder.path()).start().await;
    let said = second.unwrap_err().to_string();
    assert!(said.starts_with(&folder.path().display().to_string()), "{said}");
    assert!(said.contains("in use by another process"), "{said}");
    ops.shutdown(SECOND).await.unwrap();
}

#[tokio::test]
async fn a_full_disk_turns_ready_red_until_there_is_room_and_stops_nothing_else() {
    let disk = FaultDisk::new();
    let store = Tsdb::open_on(Arc::new(disk.clone()), "/history", Options::default()).unwrap();
    let ops = Ops::builder().service("claims").registry(Registry::new()).store(store);
    let ops = ops.dashboard("127.0.0.1:0").start().await.unwrap();
    let page = ops.dashboard_address().unwrap();
    let ask = async |path: &str| get(page, &format!("GET {path} HTTP/1.1\r\nhost: {page}")).await;
    let ready = async |status: &str| {
        let line = format!("HTTP/1.1 {status}");
        until(async || ask("/-/ready").await.starts_with(&line)).await;
    };
    ready("200").await;
    disk.set_capacity(Some(0));
    ready("503").await;
    let answer = ask("/-/ready").await;
    assert!(answer.contains("/history/wal/"), "{answer}");
    assert!(ask("/-/healthy").await.starts_with("HTTP/1.1 200"));
    assert!(ask("/api/services").await.contains("claims"));
    disk.set_capacity(None);
    ready("200").await;
    ops.shutdown(SECOND).await.unwrap();
}
