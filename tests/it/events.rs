//! What happens, told to programs as CloudEvents.

use std::time::Duration;

use hms_ops::core::control::Command;
use hms_ops::core::registry::Registry;
use hms_ops::prelude::*;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines, ReadHalf};
use tokio::net::TcpStream;

use crate::embedded::get;

async fn engine() -> (Ops, String) {
    let ops = Ops::builder().service("claims").registry(Registry::new()).admin("127.0.0.1:0");
    let ops = ops.start().await.unwrap();
    let address = ops.admin_address().unwrap().to_string();
    (ops, address)
}

async fn write(ops: &Ops, reason: &str) {
    let hold = Command::Hold { reason: reason.to_owned() };
    ops.control().execute("ana", hold).await.unwrap();
}

async fn batch(address: &str, query: &str) -> Vec<Value> {
    let head = format!("GET /api/v1/events{query} HTTP/1.0\r\nhost: {address}");
    let answer = get(address, &head).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("content-type: application/cloudevents-batch+json"), "{head}");
    serde_json::from_str(body).unwrap()
}

type Stream = (Lines<BufReader<ReadHalf<TcpStream>>>, tokio::io::WriteHalf<TcpStream>);

async fn listen(address: &str, header: &str) -> Stream {
    let (read, mut write) = tokio::io::split(TcpStream::connect(address).await.unwrap());
    let head = format!(
        "GET /api/v1/events HTTP/1.1\r\nhost: {address}\r\naccept: text/event-stream\r\n{header}\r\n"
    );
    write.write_all(head.as_bytes()).await.unwrap();
    (BufReader::new(read).lines(), write)
}

/// The next event of a stream.
async fn heard((lines, _): &mut Stream) -> Value {
    loop {
        let line = lines.next_line().await.unwrap().expect("the stream goes on");
        if let Some(data) = line.strip_prefix("data: ") {
            return serde_json::from_str(data).unwrap();
        }
    }
}

#[tokio::test]
async fn every_entry_of_the_ledger_is_a_cloud_event_and_pages_follow_each_other() {
    let (ops, address) = engine().await;
    let before = batch(&address, "").await.len();
    write(&ops, "one").await;
    write(&ops, "two").await;
    let all = batch(&address, &format!("?after={before}")).await;
    let reasons: Vec<_> = all.iter().map(|event| event["data"]["reason"].as_str()).collect();
    assert_eq!(reasons, [Some("one"), Some("two")]);
    let event = &all[0];
    assert_eq!(event["specversion"], "1.0");
    assert_eq!(event["type"], "hms_ops.held");
    assert_eq!(event["source"], "/hms-ops/ledger");
    assert_eq!(event["id"], (before + 1).to_string());
    assert!(event["time"].as_str().unwrap().ends_with('Z'), "{event}");
    let next = batch(&address, &format!("?after={}&limit=1", before + 1)).await;
    assert_eq!(next.len(), 1);
    assert_eq!(next[0]["data"]["previous"], event["data"]["hash"]);
    ops.shutdown(Duration::from_secs(1)).await.unwrap();
}

#[tokio::test]
async fn a_stream_tells_what_happens_goes_on_where_it_broke_off_and_ends_with_the_engine() {
    let (ops, address) = engine().await;
    write(&ops, "one").await;
    let mut stream = listen(&address, "").await;
    let mut event = heard(&mut stream).await;
    while event["data"]["reason"] != "one" {
        event = heard(&mut stream).await;
    }
    write(&ops, "two").await;
    assert_eq!(heard(&mut stream).await["data"]["reason"], "two");
    drop(stream);
    let last = event["id"].as_str().unwrap();
    let mut stream = listen(&address, &format!("last-event-id: {last}\r\n")).await;
    assert_eq!(heard(&mut stream).await["data"]["reason"], "two");
    ops.shutdown(Duration::from_secs(5)).await.unwrap();
    while let Ok(Some(_)) = stream.0.next_line().await {}
}
