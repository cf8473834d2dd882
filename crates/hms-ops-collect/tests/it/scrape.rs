//! Scraping targets that behave.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use hms_ops_collect::scrape::{Health, Scraper, Target};
use hms_ops_core::clock::ManualClock;
use hms_ops_core::labels::Labels;
use hms_ops_core::matcher::Matcher;
use hms_ops_core::metadata::{MetadataStore, MetricType};
use hms_ops_core::sample::{Exemplar, Value};
use hms_ops_core::store::{
    Appender, MemoryStore, SelectHint, SeriesRef, SeriesSet, Store, StoreError, StoreExt,
    StoreStats,
};
use hms_ops_core::time::{TimeRange, Timestamp};
use tokio::sync::{Notify, mpsc};

use crate::server::{gzip, ok, send, serve, serve_bytes, text};

/// So long that only `scrape_now` scrapes.
const NEVER: Duration = Duration::from_secs(1_000_000_000);

pub(crate) fn target(address: SocketAddr) -> Target {
    Target::new(&format!("http://{address}/metrics"))
        .unwrap()
        .label("instance", "i")
        .interval(NEVER)
        .timeout(Duration::from_secs(30))
}

pub(crate) fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(Timestamp::from_millis(1_000)))
}

/// All samples in the order of their series, as `series value@millis`, without those about the
/// scrape itself.
async fn stored(store: &dyn Store) -> Vec<String> {
    let series = store.collect(&[], TimeRange::ALL).await.unwrap();
    let exposed = series
        .iter()
        .filter(|(labels, _)| !labels.name().is_some_and(|name| name.starts_with("scrape_")));
    let samples = exposed.flat_map(|(labels, samples)| {
        samples.iter().map(move |sample| {
            let value = if sample.value.is_stale() {
                "stale".to_owned()
            } else {
                sample.value.as_float().unwrap().to_string()
            };
            format!("{labels} {value}@{}", sample.at.as_millis())
        })
    });
    samples.collect()
}

/// A target whose answer can be changed.
async fn serve_changing(answer: &Arc<Mutex<Vec<u8>>>) -> SocketAddr {
    let answer = answer.clone();
    serve(move |stream, _| send(stream, answer.lock().unwrap().clone())).await
}

#[tokio::test]
async fn a_scrape_stores_what_was_exposed_with_the_targets_labels_at_its_start() {
    let body = "m{instance=\"x\"} 1 77\nn 2\nn 3\n";
    let store = Arc::new(MemoryStore::new());
    let target = target(serve_bytes(text(body)).await).label("cluster", "a");
    let scraper = Scraper::start(store.clone(), clock(), [target]);

    assert_eq!(scraper.targets()[0].health, Health::Unknown);
    let status = scraper.scrape_now(|_| true).await.remove(0);

    assert_eq!((status.health, status.last_error), (Health::Up, None));
    assert_eq!((status.samples, status.refused_samples), (3, 1));
    assert_eq!(status.last_scrape, Some(Timestamp::from_millis(1_000)));
    assert_eq!(
        stored(&store).await,
        [
            r#"m{cluster="a",exported_instance="x",instance="i"} 1@1000"#,
            r#"n{cluster="a",instance="i"} 2@1000"#,
            r#"up{cluster="a",instance="i"} 1@1000"#,
        ]
    );
    let named = |name: &str| [Matcher::equal("__name__", name)];
    let count = store.collect(&named("scrape_samples_scraped"), TimeRange::ALL).await.unwrap();
    assert_eq!(count[0].1[0].value, Value::Float(3.0));
    let duration = store.collect(&named("scrape_duration_seconds"), TimeRange::ALL).await.unwrap();
    assert!(duration[0].1[0].value.as_float().unwrap() > 0.0);
}

#[tokio::test]
async fn what_a_target_says_about_its_metrics_is_kept_as_it_changes() {
    let body =
        |help: &str| text(&format!("# TYPE m counter\n# HELP m {help}\nm 1\n# TYPE n gauge\n"));
    let answer = Arc::new(Mutex::new(body("a\\\\b")));
    let target = target(serve_changing(&answer).await);
    let (store, metadata) = (Arc::new(MemoryStore::new()), Arc::new(MetadataStore::new()));
    let scraper = Scraper::start_with_metadata(store, clock(), metadata.clone(), [target]);
    for (help, meant) in [("a\\\\b", "a\\b"), ("c", "c")] {
        *answer.lock().unwrap() = body(help);
        scraper.scrape_now(|_| true).await;
        let said = metadata.get("m").unwrap();
        assert_eq!((said.metric_type, &*said.help), (MetricType::Counter, meant));
    }
    assert_eq!(metadata.get("n").unwrap().metric_type, MetricType::Gauge);
    // Of a body that is refused nothing is kept.
    *answer.lock().unwrap() = text("# TYPE m gauge\nm x\n");
    scraper.scrape_now(|_| true).await;
    assert_eq!(metadata.get("m").unwrap().metric_type, MetricType::Counter);
}

#[tokio::test]
async fn openmetrics_and_gzip_are_asked_for_and_understood() {
    let (heads, mut seen) = mpsc::channel(1);
    let body = gzip(b"# TYPE a counter\na_total 1\n# EOF\n");
    let headers =
        "content-type: application/openmetrics-text; version=1.0.0\r\ncontent-encoding: gzip\r\n";
    let answer = ok(headers, &body);
    let address = serve(move |stream, head| {
        let (heads, answer) = (heads.clone(), answer.clone());
        async move {
            heads.send(head).await.unwrap();
            send(stream, answer).await;
        }
    });
    let store = Arc::new(MemoryStore::new());
    let scraper = Scraper::start(store.clone(), clock(), [target(address.await)]);

    let status = scraper.scrape_now(|_| true).await.remove(0);

    assert_eq!(status.last_error, None);
    assert_eq!(stored(&store).await[0], r#"a_total{instance="i"} 1@1000"#);
    let head = seen.recv().await.unwrap();
    assert!(head.starts_with("GET /metrics HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("accept-encoding: gzip\r\n"), "{head}");
    assert!(head.contains("application/openmetrics-text;version=1.0.0;q=0.8,text/plain"), "{head}");
}

#[tokio::test]
async fn what_core_exposes_is_understood_in_both_formats() {
    use hms_ops_core::exposition::{Format, encode};
    use hms_ops_core::registry::Registry;

    let registry = Registry::new();
    registry.metric("latency.ms").label("path", "a\"\\\n").budget(1000.0).record(10.0);
    registry.counter("claims_total").increment(2);
    registry.counter("paid").increment(2);
    for format in [Format::Text, Format::OpenMetrics] {
        let body = encode(&registry.snapshot(), format);
        let answer = ok(&format!("content-type: {}\r\n", format.content_type()), body.as_bytes());
        let store = Arc::new(MemoryStore::new());
        let target = target(serve_bytes(answer).await);
        let scraper = Scraper::start(store.clone(), clock(), [target]);
        assert_eq!(scraper.scrape_now(|_| true).await[0].last_error, None, "{body}");
        let edge = r#"latency_ms_bucket{instance="i",le="1000",path="a\"\\\n"} 1@1000"#;
        assert!(stored(&store).await.iter().any(|sample| sample == edge), "{body}");
    }
}

#[tokio::test]
async fn a_series_ends_when_it_is_gone_and_all_do_when_the_target_is_down() {
    let answer = Arc::new(Mutex::new(text("a 1\nb 1\n")));
    let (store, clock) = (Arc::new(MemoryStore::new()), clock());
    let target = target(serve_changing(&answer).await);
    let scraper = Scraper::start(store.clone(), clock.clone(), [target]);
    for (second, body) in
        [(2, text("a 2\n")), (3, b"HTTP/1.1 500 No\r\n\r\n".to_vec()), (4, text("a 4\n"))]
    {
        scraper.scrape_now(|_| true).await;
        clock.set(Timestamp::from_millis(second * 1_000));
        *answer.lock().unwrap() = body;
    }
    scraper.scrape_now(|_| true).await;
    clock.set(Timestamp::from_millis(5_000));
    scraper.shutdown().await;

    let a = [1, 2].map(|s| format!("a{{instance=\"i\"}} {s}@{s}000"));
    assert_eq!(
        stored(&store).await,
        [
            a[0].as_str(),
            a[1].as_str(),
            r#"a{instance="i"} stale@3000"#,
            r#"a{instance="i"} 4@4000"#,
            r#"a{instance="i"} stale@5000"#,
            r#"b{instance="i"} 1@1000"#,
            r#"b{instance="i"} stale@2000"#,
            r#"up{instance="i"} 1@1000"#,
            r#"up{instance="i"} 1@2000"#,
            r#"up{instance="i"} 0@3000"#,
            r#"up{instance="i"} 1@4000"#,
            r#"up{instance="i"} stale@5000"#,
        ]
    );
}

#[tokio::test]
async fn two_scrapes_in_one_millisecond_have_two_timestamps() {
    let store = Arc::new(MemoryStore::new());
    let target = target(serve_bytes(text("a 1\n")).await);
    let scraper = Scraper::start(store.clone(), clock(), [target]);
    scraper.scrape_now(|_| true).await;
    scraper.scrape_now(|_| true).await;
    assert_eq!(
        stored(&store).await[..2],
        [r#"a{instance="i"} 1@1000"#, r#"a{instance="i"} 1@1001"#]
    );
}

#[tokio::test]
async fn targets_that_are_removed_end_and_those_that_stay_go_on() {
    let store = Arc::new(MemoryStore::new());
    let address = serve_bytes(text("a 1\n")).await;
    let [stays, goes] = ["stays", "goes"].map(|name| target(address).label("instance", name));
    let scraper = Scraper::start(store.clone(), clock(), [stays.clone(), goes]);
    scraper.scrape_now(|_| true).await;

    scraper.set_targets([stays]).await;

    assert_eq!(
        stored(&store).await,
        [
            r#"a{instance="goes"} 1@1000"#,
            r#"a{instance="goes"} stale@1001"#,
            r#"a{instance="stays"} 1@1000"#,
            r#"up{instance="goes"} 1@1000"#,
            r#"up{instance="goes"} stale@1001"#,
            r#"up{instance="stays"} 1@1000"#,
        ]
    );
    let statuses = scraper.targets();
    assert_eq!((statuses.len(), statuses[0].scrapes), (1, 1));
    assert_eq!(scraper.scrape_now(|target| target.url().contains("elsewhere")).await, []);
}

#[tokio::test]
async fn a_nudge_waits_for_the_running_scrape_and_never_overlaps_it() {
    let gate = Arc::new(Notify::new());
    let (arrived, mut arrivals) = mpsc::channel(8);
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let address = {
        let (gate, most) = (gate.clone(), most.clone());
        serve(move |stream, _| {
            let (gate, arrived) = (gate.clone(), arrived.clone());
            let (running, most) = (running.clone(), most.clone());
            async move {
                most.fetch_max(running.fetch_add(1, SeqCst) + 1, SeqCst);
                arrived.send(()).await.unwrap();
                gate.notified().await;
                running.fetch_sub(1, SeqCst);
                send(stream, text("a 1\n")).await;
            }
        })
        .await
    };
    let store = Arc::new(MemoryStore::new());
    let scraper = Arc::new(Scraper::start(store, clock(), [target(address)]));
    let nudge = || {
        let scraper = scraper.clone();
        tokio::spawn(async move { scraper.scrape_now(|_| true).await.remove(0).scrapes })
    };

    let first = nudge();
    arrivals.recv().await.unwrap();
    let later = [nudge(), nudge()];
    tokio::task::yield_now().await;
    gate.notify_one();
    assert_eq!(first.await.unwrap(), 1);
    arrivals.recv().await.unwrap();
    gate.notify_one();
    for nudge in later {
        assert_eq!(nudge.await.unwrap(), 2, "both wait for one new scrape");
    }
    assert_eq!(most.load(SeqCst), 1);
}

#[tokio::test]
async fn a_target_is_scraped_at_its_interval_without_being_asked() {
    let (arrived, mut arrivals) = mpsc::channel(8);
    let address = serve(move |stream, _| {
        let arrived = arrived.clone();
        async move {
            let _ = arrived.send(()).await;
            send(stream, text("a 1\n")).await;
        }
    });
    let target = target(address.await).interval(Duration::from_millis(5));
    let scraper = Scraper::start(Arc::new(MemoryStore::new()), clock(), [target]);
    for _ in 0..5 {
        arrivals.recv().await.unwrap();
    }
    scraper.shutdown().await;
}

#[tokio::test]
async fn shutdown_does_not_wait_for_a_target_that_hangs() {
    let (arrived, mut arrivals) = mpsc::channel(1);
    let address = serve(move |stream, _| {
        let arrived = arrived.clone();
        async move {
            arrived.send(()).await.unwrap();
            crate::server::until_closed(stream).await;
        }
    });
    let store = Arc::new(MemoryStore::new());
    let target = target(address.await).interval(Duration::from_millis(1)).timeout(NEVER);
    let scraper =
        Scraper::start(store.clone(), clock(), [target.interval(Duration::from_secs(60))]);
    let nudge = scraper.scrape_now(|_| true);
    tokio::select! {
        _ = nudge => panic!("the target has answered"),
        arrived = arrivals.recv() => arrived.unwrap(),
    }
    scraper.shutdown().await;
    assert_eq!(stored(&store).await, [""; 0]);
}

#[tokio::test]
async fn a_full_store_refuses_new_series_and_the_target_stays_up() {
    let store = Arc::new(MemoryStore::with_limits(4, 10));
    let answer = Arc::new(Mutex::new(text("a 1\n")));
    let target = target(serve_changing(&answer).await);
    let scraper = Scraper::start(store.clone(), clock(), [target]);
    scraper.scrape_now(|_| true).await;
    *answer.lock().unwrap() = text("a 2\nb 2\n");

    let status = scraper.scrape_now(|_| true).await.remove(0);

    assert_eq!((status.health, status.samples, status.refused_samples), (Health::Up, 2, 1));
    assert!(stored(&store).await.contains(&r#"a{instance="i"} 2@1001"#.to_owned()));
}

#[tokio::test]
async fn a_steady_scrape_does_no_label_work() {
    let store = Arc::new(Watched::default());
    let target = target(serve_bytes(text("a 1\nb{c=\"d\"} 2\n")).await);
    let scraper = Scraper::start(store.clone(), clock(), [target]);
    scraper.scrape_now(|_| true).await;
    assert_eq!(store.looked_up.swap(0, SeqCst), 7);

    scraper.scrape_now(|_| true).await;
    assert_eq!(store.looked_up.swap(0, SeqCst), 0);

    store.expired.store(true, SeqCst);
    let status = scraper.scrape_now(|_| true).await.remove(0);
    assert_eq!(status.refused_samples, 0);
    assert_eq!(store.looked_up.load(SeqCst), 7, "expired handles are asked for again");
}

#[tokio::test]
async fn a_store_that_fails_takes_the_target_down_with_the_reason() {
    let store = Arc::new(Watched::default());
    store.fails.store(true, SeqCst);
    let target = target(serve_bytes(text("a 1\n")).await);
    let scraper = Scraper::start(store.clone(), clock(), [target]);
    let status = scraper.scrape_now(|_| true).await.remove(0);
    assert_eq!(status.health, Health::Down);
    assert_eq!(
        status.last_error.unwrap(),
        "the samples could not be stored: the store failed: no space: no space"
    );
}

/// A store that counts how often a series is looked up, and fails on demand.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    inner: MemoryStore,
    pub(crate) looked_up: AtomicUsize,
    pub(crate) expired: AtomicBool,
    pub(crate) fails: AtomicBool,
}

struct WatchedAppender<'a> {
    store: &'a Watched,
    inner: Box<dyn Appender + 'a>,
    fresh: Vec<SeriesRef>,
}

impl Appender for WatchedAppender<'_> {
    fn series(&mut self, labels: &Labels) -> Result<SeriesRef, StoreError> {
        self.store.looked_up.fetch_add(1, SeqCst);
        let series = self.inner.series(labels)?;
        self.fresh.push(series);
        Ok(series)
    }

    fn append(&mut self, series: SeriesRef, at: Timestamp, value: Value) -> Result<(), StoreError> {
        if self.store.expired.load(SeqCst) && !self.fresh.contains(&series) {
            return Err(StoreError::UnknownSeries { series });
        }
        self.inner.append(series, at, value)
    }

    fn exemplar(&mut self, series: SeriesRef, exemplar: Exemplar) -> Result<(), StoreError> {
        self.inner.exemplar(series, exemplar)
    }

    fn commit(self: Box<Self>) -> Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send>> {
        if self.store.fails.load(SeqCst) {
            return Box::pin(async { Err(StoreError::Backend("no space".into())) });
        }
        self.inner.commit()
    }
}

#[async_trait]
impl Store for Watched {
    fn appender(&self) -> Box<dyn Appender + '_> {
        Box::new(WatchedAppender { store: self, inner: self.inner.appender(), fresh: Vec::new() })
    }

    async fn select(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        hint: &SelectHint,
    ) -> Result<Box<dyn SeriesSet>, StoreError> {
        self.inner.select(matchers, range, hint).await
    }

    async fn series(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Vec<Labels>, StoreError> {
        self.inner.series(matchers, range).await
    }

    async fn label_names(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Vec<String>, StoreError> {
        self.inner.label_names(matchers, range).await
    }

    async fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Vec<String>, StoreError> {
        self.inner.label_values(name, matchers, range).await
    }

    async fn exemplars(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Vec<(Labels, Vec<Exemplar>)>, StoreError> {
        self.inner.exemplars(matchers, range).await
    }

    async fn ready(&self) -> Result<(), StoreError> {
        self.inner.ready().await
    }

    async fn stats(&self) -> StoreStats {
        self.inner.stats().await
    }
}
