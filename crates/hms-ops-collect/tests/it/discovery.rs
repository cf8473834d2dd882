//! Discovery: targets that come and go.

use std::fs;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use hms_ops_collect::discovery::Discovery;
use hms_ops_collect::scrape::Health;
use hms_ops_collect::scrape_config::ScrapeConfig;
use hms_ops_core::matcher::Matcher;
use hms_ops_core::store::{MemoryStore, Store, StoreExt};
use hms_ops_core::time::TimeRange;
use tokio::sync::watch;

use crate::scrape::clock;
use crate::server::{ok, send, serve, serve_bytes, text};

/// Starts the jobs of `text` and waits until the first targets are in force.
async fn start(store: &Arc<MemoryStore>, text: &str) -> (Discovery, watch::Receiver<u64>) {
    let config = ScrapeConfig::parse("p.yml", text).unwrap();
    let discovery = Discovery::start(&config, store.clone(), clock());
    let mut changes = discovery.changes();
    changes.wait_for(|count| *count > 0).await.unwrap();
    (discovery, changes)
}

/// One job with these keys that only `scrape_now` scrapes.
fn job(keys: &str) -> String {
    let keys = keys.replace('\n', "\n  ");
    format!(
        "scrape_configs:\n- job_name: j\n  scrape_interval: 100y\n  scrape_timeout: 30s\n  {keys}\n"
    )
}

fn urls(discovery: &Discovery) -> Vec<String> {
    let mut urls: Vec<_> = discovery.active().into_iter().map(|target| target.status.url).collect();
    urls.sort();
    urls
}

/// Waits until the targets are at these URLs.
async fn until_at(discovery: &Discovery, changes: &mut watch::Receiver<u64>, wanted: &[&str]) {
    while urls(discovery) != wanted {
        changes.changed().await.unwrap();
    }
}

async fn stored(store: &dyn Store, metric: &str) -> Vec<String> {
    let series = store.collect(&[Matcher::metric(metric)], TimeRange::ALL).await.unwrap();
    let shown = series.iter().flat_map(|(labels, samples)| {
        samples.iter().map(move |sample| {
            let value = sample.value.as_float().filter(|_| !sample.value.is_stale());
            let value = value.map_or("stale".to_owned(), |value| value.to_string());
            format!("{labels} {value}@{}", sample.at.as_millis())
        })
    });
    shown.collect()
}

#[tokio::test]
async fn a_target_has_the_labels_that_prometheus_gives_it() {
    let store = Arc::new(MemoryStore::new());
    let keys = r#"
metrics_path: /m x
params: {'match[]': [a, b], y: [z]}
static_configs:
- targets: ['a:1', 'b:2', 'c:3', 'd:4', '', 'e:5']
  labels: {zone: z, __meta_x: y}
relabel_configs:
- {source_labels: [__meta_x, __scheme__, __metrics_path__, __scrape_timeout__, __param_y], target_label: seen}
- {action: drop, source_labels: [__address__], regex: c:.*}
- {source_labels: [__address__], regex: b:.*, target_label: __param_y, replacement: '1&2'}
- {source_labels: [__address__], regex: b:.*, target_label: __metrics_path__, replacement: /other}
- {source_labels: [__address__], regex: b:.*, target_label: instance, replacement: the-b}
- {source_labels: [__address__], regex: d:.*, target_label: __scrape_timeout__, replacement: 200y}
- {source_labels: [__address__], regex: e:.*, target_label: __address__, replacement: 'a:1'}"#;
    let (discovery, _) = start(&store, &job(keys)).await;

    let active = discovery.active();
    // What relabelling makes the same is one target.
    assert_eq!(active.len(), 2);
    assert_eq!(active[0].status.url, "http://a:1/m%20x?match%5B%5D=a&match%5B%5D=b&y=z");
    assert_eq!(
        active[0].status.labels.to_string(),
        r#"{instance="a:1",job="j",seen="y;http;/m x;30s;z",zone="z"}"#
    );
    assert_eq!(
        active[0].discovered.to_string(),
        r#"{__address__="a:1",__meta_x="y",__metrics_path__="/m x",__param_match[]="a",__param_y="z",__scheme__="http",__scrape_interval__="100y",__scrape_timeout__="30s",job="j",zone="z"}"#
    );
    assert_eq!(active[0].status.health, Health::Unknown);
    assert_eq!(active[0].status.timeout.as_secs(), 30);
    assert_eq!(active[1].status.url, "http://b:2/other?match%5B%5D=a&match%5B%5D=b&y=1%262");
    assert_eq!(active[1].status.labels.get("instance"), Some("the-b"));
    let dropped: Vec<_> = discovery
        .dropped()
        .into_iter()
        .map(|target| (target.discovered.get("__address__").map(str::to_owned), target.reason))
        .collect();
    assert_eq!(
        dropped,
        [
            (Some("c:3".to_owned()), None),
            (
                Some("d:4".to_owned()),
                Some("the timeout of 200y is longer than the interval of 100y".to_owned())
            ),
            (None, Some("there is no address".to_owned())),
        ]
    );
    assert_eq!(discovery.dropped_counts(), [("j".to_owned(), 3)]);
    discovery.shutdown().await;
}

#[tokio::test]
async fn a_scrape_honors_and_relabels_as_the_job_says() {
    let body = "a{job=\"own\",x=\"1\"} 1 500\nb{pod=\"p\"} 2\nc 3\n";
    let address = serve_bytes(text(body)).await;
    let store = Arc::new(MemoryStore::new());
    let keys = format!(
        "honor_labels: true\nstatic_configs: [{{targets: ['{address}'], labels: {{instance: i}}}}]\n\
         metric_relabel_configs:\n- {{action: drop, source_labels: [__name__], regex: c}}\n\
         - {{action: labeldrop, regex: pod}}"
    );
    let (discovery, _) = start(&store, &job(&keys)).await;
    for _ in 0..2 {
        let status = discovery.scraper().scrape_now(|_| true).await.remove(0);
        assert_eq!(status.last_error, None);
        assert_eq!(status.samples, 3);
    }
    discovery.shutdown().await;

    // It says when, so the same sample again is no other, and it has no end.
    assert_eq!(stored(&*store, "a").await, [r#"a{instance="i",job="own",x="1"} 1@500"#]);
    let b = r#"b{instance="i",job="j"}"#;
    let expected = [format!("{b} 2@1000"), format!("{b} 2@1001"), format!("{b} stale@1002")];
    assert_eq!(stored(&*store, "b").await, expected);
    assert!(stored(&*store, "c").await.is_empty());
    let kept = stored(&*store, "scrape_samples_post_metric_relabeling").await;
    assert!(kept[0].ends_with(" 2@1000") && kept[1].ends_with(" 2@1001"), "{kept:?}");
    let added = stored(&*store, "scrape_series_added").await;
    assert!(added[0].ends_with(" 2@1000") && added[1].ends_with(" 0@1001"), "{added:?}");
}

#[tokio::test]
async fn limits_are_those_of_prometheus_after_relabelling() {
    let address = serve_bytes(text("aa{b=\"ccccccccccccccccccc\"} 1\nx 2\ny 3\n")).await;
    for (keys, error) in [
        ("sample_limit: 3", None),
        ("sample_limit: 2", Some("line 3: more than 2 samples after relabelling")),
        (
            "sample_limit: 2\nmetric_relabel_configs: [{action: drop, source_labels: [__name__], regex: x}]",
            None,
        ),
        ("label_limit: 4", None),
        ("label_limit: 3", Some("line 1: more than 3 labels after relabelling")),
        (
            "label_name_length_limit: 7",
            Some("line 1: label name \"__name__\" has more than 7 bytes"),
        ),
        (
            "label_value_length_limit: 18",
            Some("line 1: label value \"ccccccccccccccccccc\" has more than 18 bytes"),
        ),
        ("body_size_limit: 5B", Some("the body has more than 5 bytes")),
        ("target_limit: 1", None),
        (
            "metric_relabel_configs: [{action: labeldrop, regex: __name__}]",
            Some("line 1: relabelling left \"aa{b=\\\"ccccccccccccccccccc\\\"}\" without a name"),
        ),
    ] {
        let store = Arc::new(MemoryStore::new());
        let keys = format!(
            "{keys}\nstatic_configs: [{{targets: ['{address}'], labels: {{instance: i}}}}]"
        );
        let (discovery, _) = start(&store, &job(&keys)).await;
        let status = discovery.scraper().scrape_now(|_| true).await.remove(0);
        assert_eq!(status.last_error.as_deref(), error, "{keys}");
    }
}

#[tokio::test]
async fn a_job_may_have_a_prober_ask_for_urls() {
    let store = Arc::new(MemoryStore::new());
    let keys = r#"
metrics_path: /probe
params: {module: [http_2xx]}
static_configs:
- targets: ['https://a.example/health?x=1', 'b:1']
relabel_configs:
- {source_labels: [__address__], target_label: __param_target}
- {source_labels: [__param_target], target_label: instance}
- {source_labels: [__address__], regex: 'https:.*', target_label: __address__, replacement: 'prober:9115'}"#;
    let (discovery, _) = start(&store, &job(keys)).await;
    let urls = [
        "http://b:1/probe?module=http_2xx&target=b%3A1",
        "http://prober:9115/probe?module=http_2xx&target=https%3A%2F%2Fa.example%2Fhealth%3Fx%3D1",
    ];
    assert_eq!(self::urls(&discovery), urls);
    let instances: Vec<_> = discovery
        .active()
        .iter()
        .map(|target| target.status.labels.get("instance").unwrap().to_owned())
        .collect();
    assert_eq!(instances, ["https://a.example/health?x=1", "b:1"]);
    discovery.shutdown().await;
}

#[tokio::test]
async fn a_list_that_asks_for_what_cannot_be_costs_only_those_targets() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.yml");
    let list = "- targets: ['http://a/b', 'c:1']\n\
                - {targets: ['d:1'], labels: {__scrape_interval__: 500000000y}}\n\
                - {targets: ['e:1'], labels: {__scheme__: gopher}}\n";
    fs::write(&path, list).unwrap();
    let keys = format!("file_sd_configs: [{{files: ['{}']}}]", path.display());
    let (discovery, mut changes) = start(&Arc::new(MemoryStore::new()), &job(&keys)).await;
    until_at(&discovery, &mut changes, &["http://c:1/metrics"]).await;
    let reasons: Vec<_> = discovery.dropped().into_iter().filter_map(|t| t.reason).collect();
    assert_eq!(
        reasons,
        [
            "\"http://a/b\" is not host:port",
            "__scrape_interval__: \"500000000y\" is not a duration of more than nothing",
            "\"gopher://e:1/metrics\" is not of the form http://host:port/path",
        ]
    );
    discovery.shutdown().await;
}

#[tokio::test]
async fn a_target_that_knows_more_than_bare_names_is_asked_for_those() {
    let address = serve(|stream, head| {
        // As client libraries do that can quote a name.
        let quotes = head.contains("escaping=allow-utf-8");
        let body = if quotes { "{\"a.b\",c=\"d\"} 1\n" } else { "a_b{c=\"d\"} 1\n" };
        send(stream, text(body))
    });
    let store = Arc::new(MemoryStore::new());
    let keys = format!("static_configs: [{{targets: ['{}']}}]", address.await);
    let (discovery, _) = start(&store, &job(&keys)).await;
    let statuses = discovery.scraper().scrape_now(|_| true).await;
    assert_eq!(statuses[0].last_error, None);
    assert_eq!(stored(&*store, "a_b").await.len(), 1);
    discovery.shutdown().await;
}

#[tokio::test]
async fn a_target_is_told_how_long_it_is_waited_for() {
    let heads = Arc::new(Mutex::new(Vec::new()));
    let address = {
        let heads = heads.clone();
        serve(move |stream, head| {
            heads.lock().unwrap().push(head);
            send(stream, text("m 1\n"))
        })
    };
    let keys = format!("static_configs: [{{targets: ['{}']}}]", address.await);
    let (discovery, _) = start(&Arc::new(MemoryStore::new()), &job(&keys)).await;
    discovery.scraper().scrape_now(|_| true).await;
    let head = heads.lock().unwrap().remove(0);
    assert!(head.contains("x-prometheus-scrape-timeout-seconds: 30\r\n"), "{head}");
    discovery.shutdown().await;
}

#[tokio::test]
async fn beyond_its_limit_of_targets_a_job_scrapes_none() {
    let store = Arc::new(MemoryStore::new());
    let keys = "target_limit: 1\nstatic_configs: [{targets: ['a:1', 'b:2']}]";
    let (discovery, _) = start(&store, &job(keys)).await;
    let statuses = discovery.scraper().scrape_now(|_| true).await;
    let error = "the job has 2 targets, its target_limit is 1";
    assert!(statuses.iter().all(|status| status.last_error.as_deref() == Some(error)));
    assert_eq!(stored(&*store, "up").await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn files_are_read_again_when_they_change_and_keep_what_was_good() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("a.json"), r#"[{"targets": ["a:1"], "labels": {"x": "y"}}]"#).unwrap();
    let store = Arc::new(MemoryStore::new());
    let keys = format!(
        "file_sd_configs: [{{files: ['{}/*.json', '{}']}}]",
        folder.path().display(),
        path("b.yml").display()
    );
    let (discovery, mut changes) = start(&store, &job(&keys)).await;
    until_at(&discovery, &mut changes, &["http://a:1/metrics"]).await;
    let target = &discovery.active()[0];
    assert_eq!(target.status.labels.get("x"), Some("y"));
    let file = path("a.json").display().to_string();
    assert_eq!(target.discovered.get("__meta_filepath"), Some(&*file));

    fs::write(path("b.yml"), "- targets: ['b:1', 'b:2']\n").unwrap();
    until_at(
        &discovery,
        &mut changes,
        &["http://a:1/metrics", "http://b:1/metrics", "http://b:2/metrics"],
    )
    .await;

    fs::write(path("a.json"), r#"[{"targets": 5}]"#).unwrap();
    fs::write(path("b.yml"), "- targets: ['b:3']\n").unwrap();
    until_at(&discovery, &mut changes, &["http://a:1/metrics", "http://b:3/metrics"]).await;
    let source = &discovery.sources()[0];
    assert_eq!((source.kind, source.targets, source.failures), ("file", 2, 1));
    assert_eq!(source.last_error, Some(format!("{file}:1: targets: should be a list")));

    fs::remove_file(path("a.json")).unwrap();
    until_at(&discovery, &mut changes, &["http://b:3/metrics"]).await;
    assert_eq!(discovery.sources()[0].last_error, None);
    discovery.shutdown().await;
}

#[tokio::test]
async fn a_server_lists_targets_and_when_it_fails_they_stay() {
    let metrics: SocketAddr = serve_bytes(text("m 1\n")).await;
    let list = format!(r#"[{{"targets": ["{metrics}"], "labels": {{"instance": "i"}}}}]"#);
    let answers = [
        ok("content-type: application/json; charset=utf-8\r\n", list.as_bytes()),
        b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n".to_vec(),
        ok("content-type: text/html\r\n", b"<p>"),
        ok("content-type: application/json\r\n", b"[{\"target\": []}]"),
        ok("content-type: application/json\r\n", b"[]"),
    ];
    let (asked, heads) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
    let lists = {
        let heads = heads.clone();
        serve(move |stream, head| {
            heads.lock().unwrap().push(head);
            let at = asked.fetch_add(1, SeqCst).min(answers.len() - 1);
            send(stream, answers[at].clone())
        })
    };
    let url = format!("http://{}/list", lists.await);
    let store = Arc::new(MemoryStore::new());
    let keys =
        format!("http_sd_configs: [{{url: '{url}', refresh_interval: 5ms, bearer_token: t}}]");
    let (discovery, mut changes) = start(&store, &job(&keys)).await;
    let mut errors = Vec::new();
    loop {
        let source = discovery.sources().remove(0);
        if source.failures > 0 && source.targets == 0 {
            break;
        }
        if let Some(error) = source.last_error {
            assert_eq!(source.targets, 1, "what was good stays");
            errors.push(error.replace(&url, "URL"));
        } else if source.targets == 1 {
            let statuses = discovery.scraper().scrape_now(|_| true).await;
            assert!(statuses.iter().all(|status| status.health == Health::Up), "{statuses:?}");
        }
        changes.changed().await.unwrap();
    }
    errors.dedup();
    let known = [
        "URL: answered 500 Internal Server Error",
        "URL: \"text/html\" is not application/json",
        "URL:1: target: is not a key that is known here",
    ];
    assert!(!errors.is_empty() && errors.iter().all(|e| known.contains(&&**e)), "{errors:?}");
    until_at(&discovery, &mut changes, &[]).await;
    let head = heads.lock().unwrap()[0].clone();
    assert!(head.contains("authorization: Bearer t\r\n"), "{head}");
    assert!(head.contains("x-prometheus-refresh-interval-seconds: 0.005\r\n"), "{head}");
    // The target is gone, and so its series have ended.
    let samples = stored(&*store, "m").await;
    assert!(samples.last().is_some_and(|sample| sample.contains(" stale@")), "{samples:?}");
    discovery.shutdown().await;
}

#[tokio::test]
async fn a_name_is_resolved_to_the_addresses_of_its_family() {
    let store = Arc::new(MemoryStore::new());
    let keys = "dns_sd_configs: [{names: [localhost], type: A, port: 7}]";
    let (discovery, mut changes) = start(&store, &job(keys)).await;
    until_at(&discovery, &mut changes, &["http://127.0.0.1:7/metrics"]).await;
    assert_eq!(discovery.active()[0].discovered.get("__meta_dns_name"), Some("localhost"));
    discovery.shutdown().await;
}

#[tokio::test]
async fn redirects_are_followed_without_credentials_to_elsewhere() {
    let heads = Arc::new(Mutex::new(Vec::new()));
    let there = {
        let heads = heads.clone();
        serve(move |stream, head| {
            heads.lock().unwrap().push(head);
            send(stream, text("m 1\n"))
        })
    };
    let there = there.await;
    let here = {
        let heads = heads.clone();
        serve(move |stream, head| {
            let location = match head.contains("GET /metrics ") {
                true => "/next?x=1".to_owned(),
                false => format!("http://{there}/else"),
            };
            heads.lock().unwrap().push(head);
            let answer =
                format!("HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n");
            send(stream, answer.into_bytes())
        })
    };
    let here = here.await;
    for (follow, error) in
        [(true, None), (false, Some("answered 302 Found, redirects are not followed"))]
    {
        let store = Arc::new(MemoryStore::new());
        let keys = format!(
            "follow_redirects: {follow}\nbasic_auth: {{username: u, password: p}}\nstatic_configs: [{{targets: ['{here}']}}]"
        );
        let (discovery, _) = start(&store, &job(&keys)).await;
        let status = discovery.scraper().scrape_now(|_| true).await.remove(0);
        assert_eq!(status.last_error.as_deref(), error);
    }
    let heads = heads.lock().unwrap();
    let seen: Vec<_> = heads
        .iter()
        .map(|head| (head.split(' ').nth(1).unwrap(), head.contains("authorization: Basic dTpw")))
        .collect();
    let expected = [("/metrics", true), ("/next?x=1", true), ("/else", false), ("/metrics", true)];
    assert_eq!(seen, expected);
}
