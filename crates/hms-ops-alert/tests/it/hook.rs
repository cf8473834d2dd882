//! A stand-in for receivers: takes what is posted to it on loopback, and answers as it is told.

use std::sync::{Arc, Mutex};

use hms_ops_core::alert::{AlertState, AlertStatus};
use hms_ops_core::clock::ManualClock;
use hms_ops_core::ledger::{Journal, Ledger, MemoryLedger};
use hms_ops_core::notify::Notification;
use hms_ops_core::time::Timestamp;
use hms_ops_testkit::world::{self, at, secs};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;

pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

pub(crate) struct Hook {
    address: std::net::SocketAddr,
    answer: Arc<Mutex<String>>,
    taken: watch::Receiver<Vec<String>>,
}

impl Hook {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answer = Arc::new(Mutex::new("204 No Content".to_owned()));
        let (add, taken) = watch::channel(Vec::new());
        let said = answer.clone();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let request = read_request(&mut stream).await;
                let answer = said.lock().unwrap().clone();
                if answer.starts_with('2') {
                    add.send_modify(|taken: &mut Vec<String>| taken.push(request));
                }
                let answer = format!("HTTP/1.1 {answer}\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        Self { address, answer, taken }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// A status, and headers if they matter.
    pub(crate) fn answer(&self, answer: &str) {
        *self.answer.lock().unwrap() = answer.to_owned();
    }

    /// Head and body of what was accepted.
    pub(crate) fn taken(&self) -> Vec<String> {
        self.taken.borrow().clone()
    }

    /// Waits until so many were accepted, and returns the last.
    #[cfg_attr(not(feature = "tls"), allow(dead_code, reason = "for receivers of every kind"))]
    pub(crate) async fn wait_for(&mut self, count: usize) -> String {
        let taken = self.taken.wait_for(|taken| taken.len() >= count).await.unwrap();
        taken[count - 1].clone()
    }
}

/// Head and body of the next request.
pub(crate) async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut request = Vec::new();
    loop {
        assert!(stream.read_buf(&mut request).await.unwrap() > 0);
        let Some(end) = request.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
            continue;
        };
        let head = str::from_utf8(&request[..end]).unwrap();
        let length: usize = header(head, "content-length").parse().unwrap();
        if request.len() >= end + 4 + length {
            return String::from_utf8(request).unwrap();
        }
    }
}

pub(crate) fn header<'a>(request: &'a str, name: &str) -> &'a str {
    let line = request.lines().find(|l| l.to_lowercase().starts_with(&format!("{name}:")));
    line.unwrap_or_else(|| panic!("no {name} in {request}")).split_once(':').unwrap().1.trim()
}

pub(crate) fn body(request: &str) -> &str {
    request.split_once("\r\n\r\n").unwrap().1
}

pub(crate) fn firing() -> AlertStatus {
    world::alert("eligibility.latency_ms", AlertState::Firing { since: at(60) })
}

pub(crate) fn resolved() -> AlertStatus {
    let over = AlertState::Resolved { firing_since: at(60), at: at(300) };
    world::alert("eligibility.latency_ms", over)
}

pub(crate) fn about(alert: AlertStatus) -> Notification {
    let key = format!("{}/{}", alert.fingerprint, alert.state.word());
    Notification { key, at: at(300), alert }
}

pub(crate) async fn journal() -> Arc<Journal> {
    let clock = Arc::new(ManualClock::at(Timestamp::from_millis(0)));
    let ledger: Arc<dyn Ledger> = Arc::new(MemoryLedger::new(clock.clone()));
    let journal = Journal::open(ledger, clock, "test", secs(60)).await;
    Arc::new(journal.unwrap().unwrap())
}
