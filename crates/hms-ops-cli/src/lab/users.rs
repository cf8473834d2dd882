//! The lab's users: each asks, waits for the answer, waits a little, and asks again.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use hms_ops::core::clock::Stopwatch;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::HOST;
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::service::CLUSTER_HEADER;
use crate::{signals, stdin};

/// How long a user waits for an answer.
const PATIENCE: Duration = Duration::from_secs(15);
/// The longest page.
const MAX_BYTES: usize = 64 << 10;
/// Outcomes that may wait to be counted.
const WAITING: usize = 1024;

/// What the users have met with: in the last second, or in all.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Requests that were begun.
    pub(crate) sent: u64,
    /// Requests that were answered well, whole and in time.
    pub(crate) ok: u64,
    /// All others.
    pub(crate) failed: u64,
    /// Latency of the answers; not in the last report.
    pub(crate) p50_ms: Option<f64>,
    pub(crate) p95_ms: Option<f64>,
    /// Who answered how often.
    pub(crate) clusters: BTreeMap<String, u64>,
    /// Why the first request failed.
    pub(crate) first_failure: Option<String>,
    /// Whether this is the last report, of all that happened.
    pub(crate) last: bool,
}

/// One thing that happened to a user.
#[derive(Debug)]
enum Happened {
    Sent,
    Answered { took: Duration, cluster: Option<String> },
    Failed(String),
}

/// Asks `url` until standard input is closed or a signal comes; then the requests under way end.
/// Prints a [`Report`] each second and one at the end, each as a line of JSON.
pub(crate) async fn run(url: &str, users: u32, rate: u32) -> Result<()> {
    let ended = signals::asked_to_end();
    let orders = stdin::lines();
    let uri: Uri = url.parse().with_context(|| format!("{url:?} is not a URL"))?;
    let authority = uri.authority().with_context(|| format!("{url:?} has no host"))?.to_string();
    let (users, rate) = (users.max(1), rate.max(1));
    let pause = Duration::from_secs(1) * users / rate;
    let (tell, mut told) = mpsc::channel(WAITING);
    let (stop, stopped) = watch::channel(());
    let mut tasks = JoinSet::new();
    for n in 0..users {
        let user =
            User { authority: authority.clone(), pause, connection: None, tell: tell.clone() };
        tasks.spawn(user.live(pause * n / users, stopped.clone()));
    }
    drop((tell, stopped));

    let (mut second, mut total) = (Tally::default(), Tally::default());
    let mut seconds = interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    seconds.tick().await;
    let mut stop = Some(stop);
    let closed = async {
        tokio::select! {
            () = stdin::closed(orders) => {}
            () = ended => {}
        }
    };
    tokio::pin!(closed);
    loop {
        tokio::select! {
            () = &mut closed, if stop.is_some() => stop = None,
            happened = told.recv() => match happened {
                Some(happened) => {
                    second.count(&happened);
                    total.count(&happened);
                    // Only the last second's latencies are told; those of hours would fill memory.
                    total.took.clear();
                }
                None => break,
            },
            _ = seconds.tick() => print(&std::mem::take(&mut second).report(false))?,
        }
    }
    while tasks.join_next().await.is_some() {}
    print(&total.report(true))
}

fn print(report: &Report) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(report)?).context("nobody listens to the users")
}

/// One user, with one connection.
struct User {
    authority: String,
    pause: Duration,
    connection: Option<SendRequest<Empty<Bytes>>>,
    tell: mpsc::Sender<Happened>,
}

impl User {
    async fn live(mut self, first: Duration, mut stopped: watch::Receiver<()>) {
        let mut pauses = interval(self.pause);
        pauses.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tokio::select! {
            () = sleep(first) => pauses.reset_immediately(),
            // It has an error once the sender is dropped, which is how it stops.
            _ = stopped.changed() => return,
        }
        loop {
            tokio::select! {
                _ = pauses.tick() => {}
                _ = stopped.changed() => return,
            }
            let _ = self.tell.send(Happened::Sent).await;
            let watch = Stopwatch::start();
            let happened = match timeout(PATIENCE, self.ask()).await {
                Ok(Ok(cluster)) => Happened::Answered { took: watch.elapsed(), cluster },
                Ok(Err(error)) => Happened::Failed(crate::failure::line(&error)),
                Err(_) => Happened::Failed(format!("no answer in {PATIENCE:?}")),
            };
            if matches!(happened, Happened::Failed(_)) {
                self.connection = None;
            }
            let _ = self.tell.send(happened).await;
        }
    }

    /// One request and its whole answer; says which cluster gave it.
    async fn ask(&mut self) -> Result<Option<String>> {
        let mut connection = match self.connection.take().filter(|kept| !kept.is_closed()) {
            Some(kept) => kept,
            None => self.connect().await?,
        };
        connection.ready().await.context("the connection broke")?;
        let request = Request::get("/").header(HOST, &self.authority).body(Empty::new())?;
        let response = connection.send_request(request).await.context("no answer")?;
        let status = response.status();
        anyhow::ensure!(status.is_success(), "answered {status}");
        let cluster = response.headers().get(CLUSTER_HEADER);
        let cluster = cluster.and_then(|value| value.to_str().ok()).map(str::to_owned);
        let body = Limited::new(response.into_body(), MAX_BYTES).collect().await;
        body.map_err(|e| anyhow::anyhow!(e)).context("the answer broke off")?;
        self.connection = Some(connection);
        Ok(cluster)
    }

    async fn connect(&self) -> Result<SendRequest<Empty<Bytes>>> {
        let stream = TcpStream::connect(&self.authority).await.context("cannot connect")?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Its error reaches the request that it breaks.
        tokio::spawn(async { drop(connection.await) });
        Ok(sender)
    }
}

/// Counts what happens.
#[derive(Debug, Default)]
struct Tally {
    report: Report,
    took: Vec<Duration>,
}

impl Tally {
    fn count(&mut self, happened: &Happened) {
        let report = &mut self.report;
        match happened {
            Happened::Sent => report.sent += 1,
            Happened::Answered { took, cluster } => {
                report.ok += 1;
                self.took.push(*took);
                let cluster = cluster.clone().unwrap_or_else(|| "unknown".to_owned());
                *report.clusters.entry(cluster).or_default() += 1;
            }
            Happened::Failed(reason) => {
                report.failed += 1;
                report.first_failure.get_or_insert_with(|| reason.clone());
            }
        }
    }

    fn report(mut self, last: bool) -> Report {
        self.took.sort();
        let ms =
            |q| percentile(&self.took, q).map(|took| (took.as_secs_f64() * 1e4).round() / 10.0);
        Report { p50_ms: ms(0.5), p95_ms: ms(0.95), last, ..self.report }
    }
}

/// The smallest value that at least a share `q` of them does not exceed (nearest rank); `sorted`
/// ascends, `q` is above 0 and at most 1.
fn percentile(sorted: &[Duration], q: f64) -> Option<Duration> {
    let rank = (q * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let values: Vec<_> = (1..=20).map(ms).collect();
        assert_eq!(percentile(&values, 0.5), Some(ms(10)));
        assert_eq!(percentile(&values, 0.95), Some(ms(19)));
        assert_eq!(percentile(&values, 1.0), Some(ms(20)));
        assert_eq!(percentile(&values[..1], 0.5), Some(ms(1)));
        assert_eq!(percentile(&[], 0.5), None);
    }

    #[test]
    fn a_request_counts_when_it_is_sent_and_when_it_ends() {
        let mut tally = Tally::default();
        let answered = |took| Happened::Answered { took: ms(took), cluster: Some("a".to_owned()) };
        for happened in [
            Happened::Sent,
            answered(30),
            Happened::Sent,
            Happened::Failed("answered 503".to_owned()),
            Happened::Sent,
            Happened::Failed("no answer".to_owned()),
            Happened::Sent,
        ] {
            tally.count(&happened);
        }
        let report = tally.report(false);
        assert_eq!((report.sent, report.ok, report.failed), (4, 1, 2));
        assert_eq!((report.p50_ms, report.clusters["a"]), (Some(30.0), 1));
        assert_eq!(report.first_failure.as_deref(), Some("answered 503"));
    }
}
