//! The store on real backends, which are killed under it.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use hms_ops_collect::remote_store::{RemoteOptions, RemoteStore};
use hms_ops_core::clock::{Clock, SystemClock};
use hms_ops_core::labels::Labels;
use hms_ops_core::matcher::Matcher;
use hms_ops_core::query::{QueryEngine, QueryOptions, SelectorEngine};
use hms_ops_core::sample::{CounterReset, Exemplar, Histogram, Sample, Value};
use hms_ops_core::store::{Store, StoreExt};
use hms_ops_core::time::{TimeRange, Timestamp};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

const PATIENCE: Duration = Duration::from_secs(15);
const MINUTE: Duration = Duration::from_secs(60);

#[derive(Clone, Copy)]
enum Kind {
    Prometheus,
    VictoriaMetrics,
}
use Kind::{Prometheus, VictoriaMetrics};

/// A backend in a folder of its own, killed with it.
struct Peer {
    kind: Kind,
    program: PathBuf,
    folder: TempDir,
    port: u16,
    process: Child,
}

impl Peer {
    /// Starts one; `None`, said out loud, where there is none.
    async fn start(kind: Kind) -> Option<Self> {
        let names: &[_] = match kind {
            Prometheus => &["prometheus"],
            VictoriaMetrics => &["victoria-metrics", "victoria-metrics-prod"],
        };
        let path = std::env::var_os("PATH").unwrap_or_default();
        let places: Vec<_> = std::env::split_paths(&path).collect();
        let mut programs = names.iter().flat_map(|name| places.iter().map(move |p| p.join(name)));
        let Some(program) = programs.find(|program| program.is_file()) else {
            let required = std::env::var("HMS_OPS_REQUIRE_PEERS").is_ok_and(|set| set == "1");
            assert!(!required, "{} is absent and required", names[0]);
            println!("skipped: {} is absent", names[0]);
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("prometheus.yml"), "scrape_configs: []\n").unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = spawn(kind, &program, folder.path(), port);
        let peer = Self { kind, program, folder, port, process };
        peer.is_ready().await;
        Some(peer)
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    fn restart(&mut self) {
        self.process = spawn(self.kind, &self.program, self.folder.path(), self.port);
    }

    async fn is_ready(&self) {
        let store = self.reader();
        until("the backend is ready", async || store.backend_ready().await.is_ok().then_some(()))
            .await;
    }

    /// A store that has written nothing, so that it tells what the backend has.
    fn reader(&self) -> RemoteStore {
        let folder = hms_ops_testkit::keep(tempfile::tempdir().unwrap());
        RemoteStore::open(&self.url(), folder.path(), RemoteOptions::default()).unwrap()
    }

    /// Waits until the backend has exactly these.
    async fn has(&self, expected: &[(Labels, Vec<Sample>)]) {
        let (reader, anything) = (self.reader(), [Matcher::not_equal("zone", "")]);
        let mut last = Vec::new();
        let seen = timeout(PATIENCE, async {
            loop {
                if let Ok(found) = reader.collect(&anything, TimeRange::ALL).await {
                    if found == expected {
                        return;
                    }
                    last = found;
                }
                sleep(Duration::from_millis(100)).await;
            }
        });
        if seen.await.is_err() {
            let count = |all: &[(Labels, Vec<Sample>)]| {
                all.iter().map(|(_, s)| s.len()).collect::<Vec<_>>()
            };
            let differs = last.iter().zip(expected).find(|(found, expected)| found != expected);
            panic!("{:?} of {:?}, {differs:?}", count(&last), count(expected));
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn spawn(kind: Kind, program: &Path, folder: &Path, port: u16) -> Child {
    let data = folder.join("data").display().to_string();
    let address = format!("127.0.0.1:{port}");
    let arguments = match kind {
        Prometheus => vec![
            format!("--config.file={}", folder.join("prometheus.yml").display()),
            format!("--storage.tsdb.path={data}"),
            "--storage.tsdb.retention.time=100y".into(),
            format!("--web.listen-address={address}"),
            "--web.enable-remote-write-receiver".into(),
            "--enable-feature=native-histograms,exemplar-storage".into(),
        ],
        VictoriaMetrics => vec![
            format!("-storageDataPath={data}"),
            "-retentionPeriod=100y".into(),
            format!("-httpListenAddr={address}"),
        ],
    };
    let mut command = Command::new(program);
    let command = command.args(arguments).current_dir(folder).stdin(Stdio::null());
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let met = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, met).await.unwrap_or_else(|_| panic!("never: {what}"))
}

fn up(zone: usize) -> Labels {
    Labels::metric("up").with("zone", &format!("z{zone:03} \"größe\"\n"))
}

/// An hour ago, in whole seconds.
fn base() -> Timestamp {
    let now = SystemClock.now().as_millis();
    Timestamp::from_millis(now - now % 1000 - 3_600_000)
}

async fn write(store: &RemoteStore, samples: impl IntoIterator<Item = (Labels, Sample)>) {
    let commit = {
        let mut batch = store.appender();
        for (labels, Sample { at, value }) in samples {
            let series = batch.series(&labels).unwrap();
            batch.append(series, at, value).unwrap();
        }
        batch.commit()
    };
    commit.await.unwrap();
}

fn samples(base: Timestamp, values: impl IntoIterator<Item = Value>) -> Vec<Sample> {
    let at = |i| base + Duration::from_secs(i);
    (0..).map(at).zip(values).map(|(at, value)| Sample { at, value }).collect()
}

/// Writes `expected` to the peer, and reads it back once memory has let go of it.
async fn arrives_equal(peer: &Peer, expected: Vec<(Labels, Vec<Sample>)>) {
    let folder = tempfile::tempdir().unwrap();
    let options = RemoteOptions { keep: Duration::ZERO, ..RemoteOptions::default() };
    let store = RemoteStore::open(&peer.url(), folder.path(), options).unwrap();
    for (labels, samples) in &expected {
        write(&store, samples.iter().map(|sample| (labels.clone(), sample.clone()))).await;
    }
    store.flush().await;
    peer.has(&expected).await;
    assert_eq!(store.metrics().refused_samples, 0, "{:?}", store.metrics());
    until("memory is empty", async || (store.stats().await.samples == 0).then_some(())).await;

    let (first, _) = &expected[0];
    let only = [Matcher::equal("zone", first.get("zone").unwrap())];
    let found = store.collect(&only, TimeRange::ALL).await.unwrap();
    assert_eq!(found, expected[..1]);
    let half = expected[0].1.len() / 2;
    let range = TimeRange::new(expected[0].1[1].at, expected[0].1[half].at);
    let found = store.collect(&only, range).await.unwrap();
    assert_eq!(found, [(first.clone(), expected[0].1[1..=half].to_vec())]);

    let all: Vec<_> = expected.iter().map(|(labels, _)| labels.clone()).collect();
    let here = [Matcher::metric("up")];
    let range = TimeRange::new(range.start, Timestamp::MAX);
    assert_eq!(store.series(&here, range).await.unwrap(), all);
    let names = store.label_names(&here, range).await.unwrap();
    assert_eq!(names, ["__name__", "zone"]);
    let values = store.label_values("zone", &here, range).await.unwrap();
    let zones: Vec<_> = all.iter().map(|labels| labels.get("zone").unwrap()).collect();
    assert_eq!(values, zones);
    store.close(PATIENCE).await;
}

#[test]
fn numbers_arrive_at_prometheus_bit_for_bit() {
    hms_ops_testkit::block_on(async {
        let Some(peer) = Peer::start(Prometheus).await else { return };
        // Prometheus leaves out a zero when it answers, and so its sign.
        let numbers = [1.0, 0.0, f64::INFINITY, f64::MIN_POSITIVE, 0.1 + 0.2, 1e300, f64::NAN];
        let numbers = numbers.map(Value::from).into_iter().chain([Value::STALE, 2.0.into()]);
        let base = base();
        let expected = vec![
            (up(1), samples(base, numbers)),
            (up(2), samples(base, (0..5000).map(|i| Value::from(f64::from(i))))),
        ];
        arrives_equal(&peer, expected).await;
    });
}

#[test]
fn numbers_and_the_staleness_marker_arrive_at_victoria_metrics() {
    hms_ops_testkit::block_on(async {
        let Some(peer) = Peer::start(VictoriaMetrics).await else { return };
        let numbers = [1.0, 0.5, -3.0, 1e6].map(Value::from);
        let numbers = numbers.into_iter().chain([Value::STALE, 2.0.into()]);
        let base = base();
        let expected = vec![
            (up(1), samples(base, numbers)),
            (up(2), samples(base, (0..5000).map(|i| Value::from(f64::from(i))))),
        ];
        arrives_equal(&peer, expected).await;
    });
}

/// They are queried, since Prometheus before 2.44 leaves them out when it is read remotely.
#[test]
fn histograms_of_whole_numbers_and_of_others_arrive_at_prometheus() {
    hms_ops_testkit::block_on(async {
        let Some(peer) = Peer::start(Prometheus).await else { return };
        let folder = tempfile::tempdir().unwrap();
        let store = RemoteStore::open(&peer.url(), folder.path(), RemoteOptions::default());
        let store = store.unwrap();
        let histogram = |count: f64| {
            Value::Histogram(Arc::new(Histogram {
                schema: 3,
                zero_threshold: 1e-128,
                zero_count: 2.0,
                count,
                sum: -17.25,
                positive: vec![(-3, 1.0), (0, 2.0), (1, count - 8.0)],
                negative: vec![(-2, 1.0), (7, 2.0)],
                custom_edges: Vec::new(),
                reset: CounterReset::Unknown,
            }))
        };
        let at = base();
        for (zone, count) in [(1, 12.0), (2, 12.5)] {
            write(&store, [(up(zone), Sample { at, value: histogram(count) })]).await;
        }
        store.flush().await;
        let engine = store.query_engine();
        for (query, expected) in
            [("histogram_count(up)", [12.0, 12.5]), ("histogram_sum(up)", [-17.25, -17.25])]
        {
            let found = engine.instant(query, at, &QueryOptions::default()).await.unwrap();
            let found: Vec<_> =
                found.into_values().iter().map(|(_, value)| value.as_float().unwrap()).collect();
            assert_eq!(found, expected, "{query}");
        }
        let found = engine.instant("up", at, &QueryOptions::default()).await.unwrap();
        assert_eq!(found.warnings, ["the answer has native histograms, which are left out"]);
    });
}

#[test]
fn victoria_metrics_answers_whole_queries_also_about_this_moment() {
    hms_ops_testkit::block_on(async {
        let Some(peer) = Peer::start(VictoriaMetrics).await else { return };
        let store = peer.reader();
        let (past, now) = (base(), SystemClock.now());
        for (zone, value) in [(1, 2.0), (2, 3.0)] {
            let sample = |at| Sample { at, value: Value::from(value) };
            write(&store, [(up(zone), sample(past)), (up(zone), sample(now))]).await;
        }
        store.flush().await;
        let (engine, options) = (store.query_engine(), QueryOptions::default());
        let sum = until("the backend has them", async || {
            let found = engine.instant("sum(up)", now, &options).await.unwrap().into_values();
            (found == [(Labels::empty(), 5.0.into())]).then_some(found)
        });
        sum.await;
        let (range, step) = (TimeRange::new(past, past + MINUTE), MINUTE);
        let found = engine.range("sum(up)", range, step, &options).await.unwrap().into_matrix();
        let points = [past, past + MINUTE].map(|at| Sample { at, value: 5.0.into() });
        assert_eq!(found, [(Labels::empty(), points.to_vec())]);
        let error = engine.instant("sum(", now, &options).await.unwrap_err().to_string();
        assert!(error.contains("sum("), "{error}");
    });
}

/// What the suite's store has, in a Prometheus. Left out is what Prometheus 2 means otherwise.
mod query_engine_on_prometheus {
    use super::*;

    hms_ops_testkit::cases! { async |store| on_prometheus(store).await;
        an_instant_sees_the_newest_sample
        a_staleness_marker_hides_a_series_until_it_reports_again
        a_range_has_a_point_for_each_step
        instants_without_a_value_are_left_out
        series_come_in_the_order_of_their_labels
        matchers_of_all_four_kinds_select
        what_nobody_recorded_is_an_empty_answer
        a_malformed_query_is_refused_with_the_reason
        a_range_without_length_or_step_is_refused
        an_answer_of_too_many_points_is_refused
        ; query
    }
}

/// An engine over a Prometheus with what `store` has, or over `store` where there is none.
async fn on_prometheus(store: Arc<dyn Store>) -> Box<dyn QueryEngine> {
    let Some(peer) = Peer::start(Prometheus).await else {
        return Box::new(SelectorEngine::new(store));
    };
    let peer = hms_ops_testkit::keep(peer);
    let remote = peer.reader();
    for (labels, samples) in store.collect(&[], TimeRange::ALL).await.unwrap() {
        write(&remote, samples.into_iter().map(|sample| (labels.clone(), sample))).await;
    }
    remote.flush().await;
    Box::new(remote.query_engine())
}

#[test]
fn exemplars_arrive_at_prometheus() {
    hms_ops_testkit::block_on(async {
        let Some(peer) = Peer::start(Prometheus).await else { return };
        let folder = tempfile::tempdir().unwrap();
        let options = RemoteOptions { keep: Duration::ZERO, ..RemoteOptions::default() };
        let store = RemoteStore::open(&peer.url(), folder.path(), options).unwrap();
        let at = base();
        let labels = Labels::from_pairs([("trace_id", "4bf92f3577b34da6")]);
        let exemplar = Exemplar { labels, value: 0.25, at };
        let commit = {
            let mut batch = store.appender();
            let series = batch.series(&up(1)).unwrap();
            batch.append(series, at, 1.0.into()).unwrap();
            batch.exemplar(series, exemplar.clone()).unwrap();
            batch.commit()
        };
        commit.await.unwrap();
        store.flush().await;
        let range = TimeRange::new(at, at);
        let found = peer.reader().exemplars(&[Matcher::metric("up")], range).await.unwrap();
        assert_eq!(found, [(up(1), vec![exemplar])]);
    });
}

/// Kills the backend again and again while it is written to; in the end nothing is missing.
async fn survives_kills(kind: Kind) {
    const SERIES: usize = 20;
    let Some(mut peer) = Peer::start(kind).await else { return };
    let folder = tempfile::tempdir().unwrap();
    let longest_pause = Duration::from_millis(500);
    let options = RemoteOptions { longest_pause, ..RemoteOptions::default() };
    let store = Arc::new(RemoteStore::open(&peer.url(), folder.path(), options).unwrap());
    let base = base();
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let load = tokio::spawn({
        let store = store.clone();
        async move {
            let mut written = 0;
            while stopped.try_recv().is_err() {
                let at = base + Duration::from_millis(written * 100);
                let sample = Sample { at, value: (written as f64).into() };
                write(&store, (0..SERIES).map(|zone| (up(zone), sample.clone()))).await;
                written += 1;
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            written
        }
    });
    for kill in 1..=3 {
        let before = store.metrics();
        until("more is taken", async || {
            let now = store.metrics();
            (now.sent_samples > before.sent_samples + 5000).then_some(())
        })
        .await;
        peer.kill();
        until("it is missed", async || {
            let now = store.metrics();
            (now.rewinds >= kill && now.queued_samples > 500).then_some(())
        })
        .await;
        peer.restart();
    }
    until("it is found again", async || store.metrics().reachable.then_some(())).await;
    stop.send(()).unwrap();
    let written = load.await.unwrap();
    store.flush().await;
    let metrics = store.metrics();
    assert_eq!((metrics.refused_samples, metrics.overflowed_samples), (0, 0), "{metrics:?}");
    println!("{written} instants of {SERIES} series: {metrics:?}");
    let all = (0..written)
        .map(|i| Sample { at: base + Duration::from_millis(i * 100), value: (i as f64).into() });
    let all: Vec<_> = all.collect();
    let expected: Vec<_> = (0..SERIES).map(|zone| (up(zone), all.clone())).collect();
    peer.has(&expected).await;
}

#[test]
fn no_sample_is_missing_after_prometheus_was_killed_under_load() {
    hms_ops_testkit::block_on(survives_kills(Prometheus));
}

#[test]
fn no_sample_is_missing_after_victoria_metrics_was_killed_under_load() {
    hms_ops_testkit::block_on(survives_kills(VictoriaMetrics));
}

#[test]
fn samples_that_prometheus_refuses_are_counted_and_cost_no_others() {
    hms_ops_testkit::block_on(async {
        let Some(peer) = Peer::start(Prometheus).await else { return };
        let [old, new] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let open = |folder: &TempDir| {
            RemoteStore::open(&peer.url(), folder.path(), RemoteOptions::default()).unwrap()
        };
        let at = base();
        let first = Sample { at, value: 1.0.into() };
        let store = open(&old);
        write(&store, (0..10).map(|zone| (up(zone), first.clone()))).await;
        store.flush().await;
        // Another engine, which does not know what is there.
        let store = open(&new);
        let other = Sample { at, value: 2.0.into() };
        let late = Sample { at: at - Duration::from_secs(60), value: 2.0.into() };
        let more = [(up(3), other), (up(7), late)];
        write(&store, more.into_iter().chain((20..30).map(|zone| (up(zone), first.clone())))).await;
        store.flush().await;
        let metrics = store.metrics();
        assert_eq!((metrics.refused_samples, metrics.sent_samples), (2, 10), "{metrics:?}");
        let said = metrics.last_error.unwrap();
        assert!(said.contains("answered 400") && said.contains("out of order"), "{said}");
        let zones = (0..10).chain(20..30);
        let expected: Vec<_> = zones.map(|zone| (up(zone), vec![first.clone()])).collect();
        peer.has(&expected).await;
    });
}
