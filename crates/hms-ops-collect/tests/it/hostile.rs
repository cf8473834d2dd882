//! Scraping targets that do not behave: each is marked down for the right reason, at a bounded
//! price, and harms nobody else.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use flate2::{Compress, Compression, FlushCompress};
use hms_ops_collect::scrape::{Health, Limits, Scraper, Target};
use hms_ops_core::matcher::Matcher;
use hms_ops_core::sample::Value;
use hms_ops_core::store::{MemoryStore, StoreExt};
use hms_ops_core::time::TimeRange;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::allocations;
use crate::scrape::{clock, target};
use crate::server::{gzip, ok, send, serve, serve_bytes, text, until_closed};

/// Long enough for every target that answers at all, even on a busy machine.
const PATIENT: Duration = Duration::from_secs(60);
const IMPATIENT: Duration = Duration::from_millis(100);

/// Scrapes once with the default limits and says why that failed.
async fn reason(address: SocketAddr, timeout: Duration) -> String {
    reason_within(address, timeout, Limits::default()).await
}

async fn reason_within(address: SocketAddr, timeout: Duration, limits: Limits) -> String {
    let store = Arc::new(MemoryStore::new());
    let target = target(address).timeout(timeout).limits(limits);
    let scraper = Scraper::start(store.clone(), clock(), [target]);
    let status = scraper.scrape_now(|_| true).await.remove(0);
    assert_eq!(status.health, Health::Down);
    let stored = store.collect(&[], TimeRange::ALL).await.unwrap();
    let names: Vec<_> = stored.iter().map(|(labels, _)| labels.name().unwrap()).collect();
    let own = [
        "scrape_duration_seconds",
        "scrape_samples_post_metric_relabeling",
        "scrape_samples_scraped",
        "scrape_series_added",
        "up",
    ];
    assert_eq!(names, own);
    assert_eq!(stored[2].1[0].value, Value::Float(0.0));
    status.last_error.unwrap()
}

async fn hang(stream: TcpStream, _: String) {
    until_closed(stream).await;
}

/// Sends lines for as long as somebody reads them.
async fn stream_without_end(mut stream: TcpStream, _: String) {
    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
    let lines = "m 1\n".repeat(16 << 10);
    while stream.write_all(lines.as_bytes()).await.is_ok() {}
}

/// Sends a byte per millisecond, from the first one of the status line on.
async fn dribble(mut stream: TcpStream, _: String) {
    let mut ticks = tokio::time::interval(Duration::from_millis(1));
    for byte in text(&"m 1\n".repeat(100_000)) {
        ticks.tick().await;
        if stream.write_all(&[byte]).await.is_err() {
            return;
        }
    }
}

/// Sends 512 MiB of comment lines, packed to a thousandth.
async fn gzip_bomb(mut stream: TcpStream, _: String) {
    let head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n\x1f\x8b\x08\0\0\0\0\0\0\xff";
    let _ = stream.write_all(head).await;
    // A full flush ends at a byte and forgets what came before, so that the block may be repeated.
    let mebibyte = "#\n".repeat(1 << 19);
    let mut block = Vec::with_capacity(16 << 10);
    let mut deflate = Compress::new(Compression::fast(), false);
    deflate.compress_vec(mebibyte.as_bytes(), &mut block, FlushCompress::Full).unwrap();
    assert_eq!(deflate.total_in(), 1 << 20);
    for _ in 0..512 {
        if stream.write_all(&block).await.is_err() {
            return;
        }
    }
}

fn a_million_series() -> Vec<u8> {
    let mut body = String::with_capacity(16 << 20);
    for i in 0..1_000_000 {
        body.push_str(&format!("m{{i=\"{i:x}\"}} 1\n"));
    }
    ok("content-encoding: gzip\r\n", &gzip(body.as_bytes()))
}

#[tokio::test]
async fn a_target_that_hangs_or_dribbles_is_down_at_the_deadline() {
    let late = "no complete answer within 100ms";
    assert_eq!(reason(serve(hang).await, IMPATIENT).await, late);
    assert_eq!(reason(serve(dribble).await, IMPATIENT).await, late);
    // Accepted by the kernel and never looked at.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    assert_eq!(reason(silent.local_addr().unwrap(), IMPATIENT).await, late);
}

#[tokio::test]
async fn a_target_that_sends_too_much_is_down_at_the_limit() {
    let long = "the body has more than 16777216 bytes";
    assert_eq!(reason(serve(stream_without_end).await, PATIENT).await, long);
    assert_eq!(reason(serve(gzip_bomb).await, PATIENT).await, long);
    assert_eq!(
        reason(serve_bytes(a_million_series()).await, PATIENT).await,
        "line 50001: more than 50000 samples"
    );
    let metadata = "# TYPE m gauge\n".repeat(50_001);
    assert_eq!(
        reason(serve_bytes(text(&metadata)).await, PATIENT).await,
        "line 50001: more than 50000 lines of metadata"
    );
    let labels: String = (0..65).map(|i| format!("l{i}=\"\",")).collect();
    assert_eq!(
        reason(serve_bytes(text(&format!("m{{{labels}}} 1\n"))).await, PATIENT).await,
        "line 1: more than 64 labels"
    );
    assert_eq!(
        reason(
            serve_bytes(text(&format!("a 1\nm{{l=\"{}\"}} 1\n", "x".repeat(4097)))).await,
            PATIENT
        )
        .await,
        format!("line 2: label value \"{}\"... has more than 4096 bytes", "x".repeat(48))
    );
    assert_eq!(
        reason(serve_bytes(text(&format!("{} 1\n", "m".repeat(257)))).await, PATIENT).await,
        format!("line 1: metric name \"{}\"... has more than 256 bytes", "m".repeat(48))
    );
}

#[tokio::test]
async fn a_target_that_talks_nonsense_is_down_with_what_is_wrong() {
    let gzipped = "content-encoding: gzip\r\n";
    let packed = gzip(b"m 1\n");
    let mut corrupt = packed.clone();
    *corrupt.last_mut().unwrap() ^= 1;
    let flood = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(1000));
    let endless_header = format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(1 << 20));
    for (answer, expected) in [
        (text("a 1\nm{x=\"\u{1}\"} x\n"), r#"line 2, column 10: value "x" is not a number"#),
        (ok("", b"m{x=\"\xff\"} 1\n"), "line 1, column 6: byte 0xff is not UTF-8"),
        (text("m{a=\"1\",a=\"2\"} 1\n"), r#"line 1, column 3: label "a" is given twice"#),
        (text("<html>"), r#"line 1, column 1: expected a metric name, found "<html>""#),
        (
            ok("content-type: application/openmetrics-text\r\n", b"m 1\n"),
            "line 1: the body ends without # EOF",
        ),
        (flood.into_bytes(), "the exchange broke off: message head is too large"),
        (endless_header.into_bytes(), "the exchange broke off: message head is too large"),
        (ok(gzipped, &packed[..packed.len() - 9]), "the body is not valid gzip: "),
        (ok(gzipped, &corrupt), "the body is not valid gzip: "),
        (ok(gzipped, b"m 1\n"), "the body is not valid gzip: "),
        (ok("content-encoding: br\r\n", b"m 1\n"), r#"content encoding "br" was not asked for"#),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nm 1\n".to_vec(),
            "the exchange broke off: ",
        ),
        (b"".to_vec(), "the exchange broke off: connection closed before message completed"),
        (
            b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(),
            "the exchange broke off: invalid HTTP version parsed",
        ),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n".to_vec(), "answered 503 Service Unavailable"),
        (
            b"HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\n\r\n".to_vec(),
            "answered 302 Found, redirects are not followed",
        ),
    ] {
        let reason = reason(serve_bytes(answer).await, PATIENT).await;
        println!("{reason}");
        assert!(reason.starts_with(expected), "{reason} instead of {expected}");
    }
}

#[tokio::test]
async fn a_target_that_resets_or_refuses_the_connection_is_down() {
    let reset = serve(|stream, _| async move {
        stream.set_zero_linger().unwrap();
        drop(stream);
    });
    let reason_of_reset = reason(reset.await, PATIENT).await;
    println!("{reason_of_reset}");
    assert!(
        reason_of_reset.starts_with("the exchange broke off: connection error: "),
        "{reason_of_reset}"
    );

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let reason_of_refusal = reason(address, PATIENT).await;
    assert!(
        reason_of_refusal.starts_with(&format!("cannot connect to {address}: Connection refused"))
    );
}

#[tokio::test]
async fn hostile_targets_cost_bounded_memory() {
    let million = a_million_series();
    let addresses =
        [serve(gzip_bomb).await, serve(stream_without_end).await, serve_bytes(million).await];
    let targets = addresses.map(|address| target(address).timeout(PATIENT));
    let before = allocations::held();
    let store = Arc::new(MemoryStore::new());
    let scraper = Scraper::start(store, clock(), targets);

    let statuses = scraper.scrape_now(|_| true).await;

    let cost = allocations::peak() - before;
    println!("{} KiB", cost >> 10);
    assert!(statuses.iter().all(|status| status.health == Health::Down));
    assert!(cost < 60 << 20, "three targets cost {cost} bytes, each may hold a body of 16 MiB");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_good_target_beside_hostile_ones_loses_no_scrape() {
    const SCRAPES: usize = 10;
    let (arrived, mut arrivals) = mpsc::channel(SCRAPES);
    let good = serve(move |stream, _| {
        let arrived = arrived.clone();
        async move {
            let _ = arrived.send(()).await;
            send(stream, text("good 1\n")).await;
        }
    });
    let often = |target: Target| target.interval(Duration::from_millis(150));
    let small = Limits { body_bytes: 1 << 20, samples: 1_000, ..Limits::default() };
    let mut targets = vec![often(target(good.await)).interval(Duration::from_millis(200))];
    for address in [
        serve(hang).await,
        serve(dribble).await,
        serve(stream_without_end).await,
        serve(gzip_bomb).await,
        serve_bytes(text(&"m 1\n".repeat(100_000))).await,
        serve_bytes(ok("", b"\xff")).await,
    ] {
        targets.push(
            often(target(address)).label("instance", &address.to_string()).limits(small.clone()),
        );
    }
    let store = Arc::new(MemoryStore::new());
    let scraper =
        Scraper::start(store.clone(), Arc::new(hms_ops_core::clock::SystemClock), targets);

    for _ in 0..SCRAPES {
        arrivals.recv().await.unwrap();
    }

    // The last scrape has begun; another one follows when it is over.
    let good =
        scraper.scrape_now(|target| target.labels().get("instance") == Some("i")).await.remove(0);
    assert_eq!((good.health, good.skipped_scrapes), (Health::Up, 0));
    let named = |name: &str| [Matcher::equal("__name__", name), Matcher::equal("instance", "i")];
    let values = async |name: &str| {
        let series = store.collect(&named(name), TimeRange::ALL).await.unwrap();
        series[0].1.iter().map(|sample| sample.value.clone()).collect::<Vec<_>>()
    };
    assert_eq!(values("up").await, vec![Value::Float(1.0); good.scrapes as usize]);
    assert_eq!(values("good").await, vec![Value::Float(1.0); good.scrapes as usize]);
    for status in
        scraper.targets().iter().filter(|status| status.labels.get("instance") != Some("i"))
    {
        assert_ne!(status.health, Health::Up, "{status:?}");
    }
    scraper.shutdown().await;
}
