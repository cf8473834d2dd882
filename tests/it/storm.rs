//! Queries never delay the alert tick.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use hms_ops::Ops;
use hms_ops::core::exposition::{Format, encode};
use hms_ops::core::labels::Labels;
use hms_ops::core::registry::Registry;
use hms_ops::core::store::Store;
use hms_ops::core::time::Timestamp;
use hms_ops::promql::EngineOptions;
use serde_json::Value;

const SERIES: usize = 4000;
/// Of each series, a minute apart.
const SAMPLES: i64 = 30;
/// What one query may hold, and how many may at once.
const BUDGET: (u64, usize) = (8 << 20, 2);
/// How many wait, besides.
const WAITING: usize = 16;
/// Requests that arrive together, and ticks that must pass meanwhile.
const AT_ONCE: usize = 50;
const TICKS: u64 = 3;

async fn fill(store: &dyn Store, end: Timestamp) {
    let mut appender = store.appender();
    for series in 0..SERIES {
        let labels = Labels::metric("load").with("instance", &format!("host-{series}"));
        let series = appender.series(&labels).unwrap();
        for ago in (0..SAMPLES).rev() {
            let at = end - Duration::from_secs(60) * ago.try_into().unwrap();
            appender.append(series, at, (ago as f64).into()).unwrap();
        }
    }
    appender.commit().await.unwrap();
}

fn counter(registry: &Registry, name: &str) -> u64 {
    let text = encode(&registry.snapshot(), Format::accepted(""));
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0, |value| value.parse::<f64>().unwrap() as u64)
}

/// The most memory that this process has had, in bytes; `None` where the system does not tell.
fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib << 10)
}

/// A heavy query, instant or range; its answer is what Prometheus' clients understand. On a thread of
/// its own, as a client in another process is, and without keeping the answer.
fn ask(address: SocketAddr, number: usize, end: Timestamp) -> u16 {
    let every = "%7B__name__%3D~%22.%2B%22%7D";
    let end = end.as_millis() / 1000;
    let query = match number % 2 {
        0 => format!("query?query={every}&time={end}"),
        _ => format!("query_range?query={every}&start={}&end={end}&step=60", end - 1740),
    };
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET /api/v1/{query} HTTP/1.0\r\nhost: {address}\r\n\r\n").unwrap();
    let (mut start, mut length, mut buffer) = (Vec::new(), 0, [0; 65_536]);
    loop {
        match stream.read(&mut buffer).unwrap() {
            0 => break,
            read if start.len() < 4096 => start.extend_from_slice(&buffer[..read]),
            read => length += read,
        }
    }
    let answer = String::from_utf8_lossy(&start);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    match status {
        200 => {
            assert!(body.starts_with("{\"status\":\"success\""), "{answer}");
            assert!(start.len() + length > SERIES * 50, "{} bytes", start.len() + length);
        }
        503 => {
            let body: Value = serde_json::from_str(body).unwrap();
            assert_eq!(body["status"], "error");
            let kind = body["errorType"].as_str().unwrap();
            assert!(["unavailable", "timeout"].contains(&kind), "{body}");
            assert!(body["error"].is_string(), "{body}");
        }
        other => panic!("{other}: {body}"),
    }
    status
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_heavy_queries_at_once_are_answered_or_refused_and_no_tick_is_late() {
    let now = hms_ops::core::clock::Clock::now(&hms_ops::core::clock::SystemClock);
    let registry = Registry::new();
    let (bytes, at_once) = BUDGET;
    let limits = EngineOptions { bytes, at_once, waiting: WAITING, ..EngineOptions::default() };
    let ops = Ops::builder().service("claims").registry(registry.clone()).query_limits(limits);
    let ops = ops.admin("127.0.0.1:0").start().await.unwrap();
    let address = ops.admin_address().unwrap();
    fill(&**ops.store(), now).await;

    let (before, first) = (peak(), counter(&registry, "hms_ops_ticks_total"));
    let mut answered = [0; 2];
    // A wave at least, and as many as it takes to have one under way at each of the ticks.
    while answered[0] == 0 || counter(&registry, "hms_ops_ticks_total") < first + TICKS {
        let wave: Vec<_> = (0..AT_ONCE)
            .map(|n| tokio::task::spawn_blocking(move || ask(address, n, now)))
            .collect();
        for request in wave {
            let status = request.await.unwrap();
            answered[usize::from(status != 200)] += 1;
        }
    }
    println!("{} answered, {} refused", answered[0], answered[1]);
    // Two run and sixteen wait: of fifty that come together, some must hear that it is too much.
    assert!(answered[1] > 0, "nobody was refused");

    assert_eq!(counter(&registry, "hms_ops_skipped_ticks_total"), 0);
    assert_eq!(counter(&registry, "hms_ops_tick_failures_total"), 0);
    if let (Some(before), Some(after)) = (before, peak()) {
        let (grown, budget) = (after - before, bytes * (at_once + WAITING) as u64);
        println!("the peak grew by {} MiB, the budget is {} MiB", grown >> 20, budget >> 20);
        assert!(grown < budget, "{grown} bytes of {budget}");
    }
    ops.shutdown(Duration::ZERO).await.unwrap();
}
