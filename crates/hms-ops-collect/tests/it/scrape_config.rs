//! Prometheus' YAML: what is read, what is refused, and with which words.

use std::fs;
use std::io::ErrorKind;
use std::process::Command;
use std::time::Duration;

use hms_ops_collect::scrape_config::ScrapeConfig;

fn parse(text: &str) -> ScrapeConfig {
    ScrapeConfig::parse("p.yml", text).unwrap()
}

fn error(text: &str) -> String {
    ScrapeConfig::parse("p.yml", text).unwrap_err().to_string()
}

/// One job with these keys.
fn job(keys: &str) -> String {
    format!("scrape_configs:\n- job_name: j\n  {}\n", keys.replace('\n', "\n  "))
}

/// Everything that is supported.
const EVERYTHING: &str = r#"
global:
  scrape_interval: 30s
  scrape_timeout: 5s
  external_labels: {region: eu}
  body_size_limit: 10MB
  sample_limit: 1000
scrape_configs:
- job_name: everything
  scrape_interval: 1m
  scrape_timeout: 20s
  metrics_path: /m
  scheme: http
  params: {'match[]': ['a', 'b'], x: [y]}
  honor_labels: true
  honor_timestamps: false
  follow_redirects: no
  body_size_limit: 1MB
  sample_limit: 5
  label_limit: 6
  label_name_length_limit: 7
  label_value_length_limit: 8
  target_limit: 9
  basic_auth: {username: u, password: p}
  tls_config: {ca_file: ca.pem, cert_file: c.pem, key_file: k.pem, server_name: s, insecure_skip_verify: true}
  static_configs:
  - targets: ['a:1', 'b:2']
    labels: {zone: z}
  file_sd_configs:
  - files: ['targets/*.json', 'more.yml']
    refresh_interval: 1m
  http_sd_configs:
  - url: http://127.0.0.1:1/targets
    authorization: {type: Bearer, credentials: t}
  dns_sd_configs:
  - names: [localhost]
    type: A
    port: 80
  - names: [_metrics._tcp.example.org]
  relabel_configs:
  - source_labels: [__address__]
    regex: (.*):\d+
    target_label: host
  - {action: keep, source_labels: [host], regex: a|b}
  - {action: hashmod, source_labels: [host], modulus: 2, target_label: __tmp_shard}
  - {action: labelmap, regex: __meta_(.+)}
  metric_relabel_configs:
  - {action: labeldrop, regex: pod}
- job_name: 5
  bearer_token_file: token
"#;

#[test]
fn all_that_is_supported_is_read_without_a_word() {
    let config = parse(EVERYTHING);
    assert_eq!(config.warnings(), []);
    let jobs =
        config.jobs().iter().map(|j| (j.name(), j.interval().as_secs(), j.timeout().as_secs()));
    assert_eq!(jobs.collect::<Vec<_>>(), [("everything", 60, 20), ("5", 30, 5)]);
    assert_eq!(config.external_labels()["region"], "eu");
    assert!(!format!("{config:?}").contains("\"p\""), "a password is never printed");
}

#[test]
fn intervals_and_timeouts_have_the_defaults_of_prometheus() {
    let config = parse("scrape_configs:\n- job_name: a\n- job_name: b\n  scrape_interval: 5s\n");
    let times: Vec<_> = config.jobs().iter().map(|job| (job.interval(), job.timeout())).collect();
    let seconds = Duration::from_secs;
    assert_eq!(times, [(seconds(60), seconds(10)), (seconds(5), seconds(5))]);
}

#[test]
fn every_mistake_names_file_line_and_key() {
    for (text, message) in [
        (
            "global: {scrape_interval: soon}",
            "p.yml:1: scrape_interval: \"soon\" is not a duration such as 15s or 1h30m",
        ),
        (
            "global:\n  scrape_interval: 5s\n  scrape_timeout: 10s",
            "p.yml:3: scrape_timeout: 10s is longer than the interval of 5s",
        ),
        (
            "global:\n  external_labels:\n    a: ${HOME}",
            "p.yml:3: a: variables of the environment are not filled in",
        ),
        ("globl: {}", "p.yml:1: globl: is not a key that is known here"),
        ("a: 1\nglobal: {}\nb: 2", "p.yml:1: a: is not a key that is known here"),
        (
            "remote_write:\n- url: http://x/",
            "p.yml:1: remote_write: is not a key that is known here",
        ),
        ("scrape_configs: 5", "p.yml:1: scrape_configs: should be a list"),
        ("scrape_configs:\n- 5", "p.yml:2: scrape_configs: should be keys and values"),
        ("scrape_configs:\n- scheme: http", "p.yml:2: scrape_configs: a job without job_name"),
        ("scrape_configs:\n- job_name: ''", "p.yml:2: job_name: is empty"),
        (
            "scrape_configs:\n- job_name: a\n- job_name: a",
            "p.yml:3: job_name: another job is called \"a\" already",
        ),
        ("a: [", "p.yml:2: not YAML: while parsing a node, did not find expected node content"),
        ("a: 1\na: 2", "p.yml:2: a stands on line 1 already"),
    ] {
        assert_eq!(error(text), message, "{text}");
    }
    for (keys, message) in [
        ("scheme: ftp", "p.yml:3: scheme: \"ftp\" is not http or https"),
        ("honor_labels: maybe", "p.yml:3: honor_labels: \"maybe\" is not true or false"),
        ("sample_limit: -1", "p.yml:3: sample_limit: \"-1\" is not a number of a sensible size"),
        (
            "body_size_limit: 5",
            "p.yml:3: body_size_limit: \"5\" is not a size such as 512KB or 10MB",
        ),
        ("scrape_timeout: 2m", "p.yml:3: scrape_timeout: 2m is longer than the interval of 1m"),
        (
            "kubernetes_sd_configs:\n- role: pod",
            "p.yml:3: kubernetes_sd_configs: is not supported; file, http, dns and static are",
        ),
        ("proxy_url: http://p/", "p.yml:3: proxy_url: is not supported"),
        ("scrape_native_histograms: true", "p.yml:3: scrape_native_histograms: is not supported"),
        ("scrape_protocols: [PrometheusProto]", "p.yml:3: scrape_protocols: none of them is read"),
        (
            "metric_name_escaping_scheme: dots",
            "p.yml:3: metric_name_escaping_scheme: \"dots\" is not supported, underscores are",
        ),
        (
            "metric_name_validation_scheme: any",
            "p.yml:3: metric_name_validation_scheme: \"any\" is not utf8 or legacy",
        ),
        ("scrape_protocols: [Carrier]", "p.yml:3: scrape_protocols: \"Carrier\" is not a protocol"),
        (
            "basic_auth: {username: u, pasword: p}",
            "p.yml:3: pasword: is not a key that is known here",
        ),
        (
            "basic_auth: {username: u}\nbearer_token: t",
            "p.yml:4: bearer_token: only one kind of credentials can be shown",
        ),
        (
            "basic_auth:\n  password: p\n  password_file: f",
            "p.yml:4: basic_auth: password and password_file say the same twice",
        ),
        (
            "tls_config: {cert_file: c}",
            "p.yml:3: tls_config: cert_file and key_file need each other",
        ),
        ("tls_config: {min_version: TLS13}", "p.yml:3: min_version: is not supported"),
        (
            "static_configs:\n- targets: ['http://a:1/']",
            "p.yml:4: targets: \"http://a:1/\" is not host:port",
        ),
        (
            "static_configs:\n- targets: ['http://a:1/']\nmetric_relabel_configs:\n- {action: labeldrop, regex: a}",
            "p.yml:4: targets: \"http://a:1/\" is not host:port",
        ),
        (
            "scrape_interval: 293y",
            "p.yml:3: scrape_interval: \"293y\" is not a duration such as 15s or 1h30m",
        ),
        (
            "relabel_configs:\n- {action: lowercase, source_labels: [a], target_label: b, replacement: c}",
            "p.yml:4: relabel_configs: lowercase has no use for replacement",
        ),
        ("static_configs:\n- target: [a]", "p.yml:4: target: is not a key that is known here"),
        (
            "file_sd_configs:\n- files: [a.txt]",
            "p.yml:4: files: \"a.txt\" is not a path with at most its last part a pattern with *",
        ),
        (
            "file_sd_configs:\n- files: ['*/a.yml']",
            "p.yml:4: files: \"*/a.yml\" is not a path with at most its last part a pattern with *",
        ),
        (
            "http_sd_configs:\n- url: ftp://a/",
            "p.yml:4: url: \"ftp://a/\" is not of the form http://host:port/path",
        ),
        ("dns_sd_configs:\n- {names: [a], type: A}", "p.yml:4: dns_sd_configs: port is missing"),
        (
            "dns_sd_configs:\n- names: [a]\n  type: MX",
            "p.yml:5: type: MX is not supported; A, AAAA and SRV are",
        ),
        (
            "relabel_configs:\n- action: rename",
            "p.yml:4: action: \"rename\" is not an action of relabelling",
        ),
        (
            "relabel_configs:\n- action: keep\n\n  target: x",
            "p.yml:6: target: is not a key that is known here",
        ),
        (
            "relabel_configs:\n- action: hashmod\n  target_label: x",
            "p.yml:4: relabel_configs: hashmod needs modulus",
        ),
    ] {
        assert_eq!(error(&job(keys)), message, "{keys}");
    }
    let error = error(&job("relabel_configs:\n- regex: '('"));
    assert!(error.starts_with("p.yml:4: regex: \"(\" is not a regular expression: "), "{error}");
}

#[test]
fn what_changes_nothing_about_scraping_is_a_warning() {
    let text = "global:\n  evaluation_interval: 5s\nrule_files: [a.yml]\nalerting:\n  alertmanagers: []\n\
                scrape_configs:\n- job_name: j\n  enable_http2: true\n  metric_name_validation_scheme: legacy\n\
                \x20 metric_name_escaping_scheme: allow-utf-8\n  scrape_protocols: [PrometheusProto, PrometheusText0.0.4]\n";
    let config = parse(text);
    let warnings: Vec<_> = config.warnings().iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "p.yml:2: evaluation_interval: rules are not read from here",
            "p.yml:11: scrape_protocols: PrometheusProto is not read; the text formats are asked for",
            "p.yml:8: enable_http2: HTTP/1.1 is spoken",
            "p.yml:10: metric_name_escaping_scheme: names are asked for with underscores",
            "p.yml:4: alerting: alerts are not sent to an Alertmanager",
            "p.yml:3: rule_files: rules are not read from here",
        ]
    );
}

#[test]
fn jobs_stand_in_other_files_too_and_paths_are_relative_to_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("jobs")).unwrap();
    fs::write(
        path("p.yml"),
        "scrape_config_files: ['jobs/*.yml']\nscrape_configs: [{job_name: a}]",
    )
    .unwrap();
    fs::write(path("jobs/2.yml"), "scrape_configs: [{job_name: c}]").unwrap();
    fs::write(path("jobs/1.yml"), "scrape_configs: [{job_name: b}]").unwrap();
    let config = ScrapeConfig::from_file(path("p.yml")).unwrap();
    let names: Vec<_> = config.jobs().iter().map(|job| job.name()).collect();
    assert_eq!(names, ["a", "b", "c"]);

    let error = || ScrapeConfig::from_file(path("p.yml")).unwrap_err().to_string();
    let file = path("jobs/2.yml").display().to_string();
    fs::write(&file, "scrape_configs:\n- job_name: a").unwrap();
    assert_eq!(error(), format!("{file}:2: job_name: another job is called \"a\" already"));
    fs::write(&file, "global: {}").unwrap();
    assert_eq!(error(), format!("{file}:1: global: is not a key that is known here"));
    fs::remove_file(path("p.yml")).unwrap();
    assert_eq!(error(), format!("cannot read {}", path("p.yml").display()));
}

/// What `promtool check config` accepts; `None` without promtool.
fn promtool_accepts(text: &str) -> Option<bool> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.yml");
    fs::write(&path, text).unwrap();
    for name in ["token", "ca.pem"] {
        fs::write(folder.path().join(name), "").unwrap();
    }
    match Command::new("promtool").args(["check", "config", "--syntax-only"]).arg(&path).output() {
        Ok(output) => Some(output.status.success()),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let required = std::env::var("HMS_OPS_REQUIRE_PEERS").is_ok_and(|set| set == "1");
            assert!(!required, "promtool is missing and required");
            None
        }
        Err(error) => panic!("promtool: {error}"),
    }
}

#[test]
fn promtool_agrees_on_what_is_a_config() {
    let mut texts = vec![
        // Limits for all jobs are younger than the promtool of some systems.
        EVERYTHING.replacen("  body_size_limit: 10MB\n  sample_limit: 1000\n", "", 1),
        String::new(),
        "globl: {}".to_owned(),
        "global: {scrape_interval: 1s5m}".to_owned(),
        "global:\n  scrape_interval: 5s\n  scrape_timeout: 10s".to_owned(),
        "scrape_configs:\n- job_name: a\n- job_name: a".to_owned(),
        "scrape_configs:\n- scheme: http".to_owned(),
    ];
    // The config that Debian ships, and others may have.
    texts.extend(fs::read_to_string("/etc/prometheus/prometheus.yml"));
    texts.extend(
        [
            "honor_labels: yes",
            "sample_limit: -1",
            "relabel_configs:\n- {source_labels: [a], target_label: b}",
            "relabel_configs:\n- {action: replace}",
            "relabel_configs:\n- {action: hashmod, target_label: b}",
            "relabel_configs:\n- {action: labeldrop, regex: a, target_label: b}",
            "relabel_configs:\n- {action: KEEP, regex: 'a(.*', source_labels: [b]}",
            "relabel_configs:\n- {action: Lowercase, source_labels: [b], target_label: c}",
            "basic_auth: {username: a, password: b, password_file: c}",
            "basic_auth: {username: a}\nbearer_token: b",
            "authorization: {type: basic, credentials: b}",
            "static_configs:\n- targets: ['http://a/b']",
            "static_configs:\n- targets: ['http://a/b']\n\
             relabel_configs:\n- {source_labels: [__address__], target_label: __param_target}\n\
             - {target_label: __address__, replacement: 'a:9115'}",
            "static_configs:\n- targets: ['http://a/b']\n\
             metric_relabel_configs:\n- {action: labeldrop, regex: a}",
            "relabel_configs:\n\
             - {action: labeldrop, regex: a, separator: ;, replacement: $1}\n\
             - {action: keepequal, source_labels: [a], target_label: b, separator: ;, replacement: $1}",
            "relabel_configs:\n- {action: labelkeep, regex: a, separator: '-'}",
            "relabel_configs:\n- {action: dropequal, source_labels: [a], target_label: b, regex: .+}",
            "relabel_configs:\n- {action: lowercase, source_labels: [a], target_label: b, replacement: c}",
            "relabel_configs:\n- {action: uppercase, source_labels: [a], target_label: b, replacement: $1}",
            "scrape_interval: 292y",
            "scrape_interval: 293y",
            "static_configs:\n- targets: [a, 'b:1', '[::1]:2']\n  labels: {x: y}",
            "file_sd_configs:\n- files: [a.txt]",
            "file_sd_configs:\n- files: ['a/*.yml', b.json]",
            "http_sd_configs:\n- url: nonsense",
            "dns_sd_configs:\n- {names: [a], type: A}",
            "dns_sd_configs:\n- {names: [a], type: AAAA, port: 1}",
            "scrape_interval: 1d2h3m4s5ms\nscrape_timeout: 2m",
            "scrape_timeout: 2m",
            "body_size_limit: 5MB",
            "params: {a: [b, c]}",
            "params: {a: b}",
        ]
        .map(job),
    );
    for text in texts {
        let ours = ScrapeConfig::parse("p.yml", &text);
        match promtool_accepts(&text) {
            Some(accepts) => assert_eq!(ours.is_ok(), accepts, "{text}\n{ours:?}"),
            None => return,
        }
    }
}
