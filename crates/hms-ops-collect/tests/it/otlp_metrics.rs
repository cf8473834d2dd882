//! Metrics over OTLP: which series a point becomes, in both encodings, and what is refused.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use hms_ops_collect::otlp::{Encoding, MAX_SAMPLES, MetricsError, MetricsReceiver, Refused};
use hms_ops_core::metadata::{MetadataStore, MetricType};
use hms_ops_core::sample::Value;
use hms_ops_core::store::{MemoryStore, Store, StoreExt};
use hms_ops_core::time::TimeRange;
use serde_json::{Value as Json, json};

use self::protobuf::to_protobuf;
use crate::scrape::Watched;

#[cfg(feature = "http")]
mod peer;
mod protobuf;
#[cfg(feature = "http")]
mod routes;

/// When the points are, in nanoseconds, and as they are stored, in milliseconds.
const NANOS: &str = "1767225600123456789";
const MILLIS: i64 = 1_767_225_600_123;

/// An export of these metrics by one service.
pub(crate) fn export(metrics: &Json) -> Json {
    json!({"resourceMetrics": [{
        "resource": {"attributes": [
            {"key": "service.namespace", "value": {"stringValue": "shop"}},
            {"key": "service.name", "value": {"stringValue": "claims"}},
            {"key": "service.instance.id", "value": {"stringValue": "i-1"}},
        ]},
        "scopeMetrics": [{"scope": {"name": "my.library"}, "metrics": metrics}],
        "schemaUrl": "https://example.test/1",
    }]})
}

/// A metric with points, each at [`NANOS`] unless it says otherwise; cumulative and monotonic.
pub(crate) fn metric(name: &str, unit: &str, kind: &str, points: Json) -> Json {
    let Json::Array(mut points) = points else { panic!("{points}") };
    for point in &mut points {
        point.as_object_mut().unwrap().entry("timeUnixNano").or_insert(NANOS.into());
    }
    let mut data = json!({"dataPoints": points});
    if !matches!(kind, "gauge" | "summary") {
        data["aggregationTemporality"] = 2.into();
    }
    if kind == "sum" {
        data["isMonotonic"] = true.into();
    }
    json!({"name": name, "unit": unit, kind: data})
}

fn attribute(key: &str, value: &str) -> Json {
    json!({"key": key, "value": {"stringValue": value}})
}

fn receiver(store: Arc<dyn Store>) -> Arc<MetricsReceiver> {
    Arc::new(MetricsReceiver::new(store, Arc::new(MetadataStore::new())))
}

/// What is in a store, a line a sample: labels, value, and how many milliseconds after [`MILLIS`].
pub(crate) async fn stored(store: &MemoryStore) -> Vec<String> {
    let mut lines = Vec::new();
    for (labels, samples) in store.collect(&[], TimeRange::ALL).await.unwrap() {
        for sample in samples {
            let value = match &sample.value {
                value if value.is_stale() => "stale".to_owned(),
                Value::Float(value) => value.to_string(),
                Value::Histogram(h) => format!(
                    "[{} zero {:?}:{} n {} sum {} +{:?} -{:?}]",
                    h.schema,
                    h.zero_threshold,
                    h.zero_count,
                    h.count,
                    h.sum,
                    h.positive,
                    h.negative
                ),
            };
            let at = match sample.at.as_millis() - MILLIS {
                0 => String::new(),
                after => format!(" @{after}"),
            };
            lines.push(format!("{labels} {value}{at}"));
        }
    }
    for (labels, exemplars) in store.exemplars(&[], TimeRange::ALL).await.unwrap() {
        for exemplar in exemplars {
            let at = exemplar.at.as_millis() - MILLIS;
            lines.push(format!("{labels} # {} {} @{at}", exemplar.labels, exemplar.value));
        }
    }
    lines
}

/// Sends the export in both encodings, twice each so that the second time handles are known, and
/// expects these lines and what is refused.
#[track_caller]
fn expect(export: &Json, lines: &[&str], refused: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for (encoding, body) in [
        (Encoding::Json, export.to_string().into_bytes()),
        (Encoding::Protobuf, to_protobuf("Export", export)),
    ] {
        let store = Arc::new(MemoryStore::new());
        let receiver = receiver(store.clone());
        for _ in 0..2 {
            let got = runtime.block_on(receiver.receive(body.clone().into(), encoding)).unwrap();
            assert_eq!(got.to_string(), refused, "{encoding:?}");
            assert_eq!(runtime.block_on(stored(&store)), lines, "{encoding:?}");
        }
    }
}

/// As [`expect`], of one metric.
#[track_caller]
fn expect_one(metric: Json, lines: &[&str], refused: &str) {
    expect(&export(&json!([metric])), lines, refused);
}

#[test]
fn a_gauge_is_a_series_of_each_set_of_attributes() {
    expect_one(
        metric(
            "queue.fill",
            "1",
            "gauge",
            json!([
                {"asDouble": 0.5, "attributes": [attribute("queue.name", "a")]},
                {"asInt": "-3", "attributes": [
                    {"key": "n", "value": {"intValue": "7"}},
                    {"key": "b", "value": {"boolValue": true}},
                    {"key": "d", "value": {"doubleValue": 1.5}},
                    {"key": "raw", "value": {"bytesValue": "Zm8="}},
                    {"key": "list", "value": {"arrayValue": {"values": [{"intValue": "1"}, {"stringValue": "x"}]}}},
                    {"key": "map", "value": {"kvlistValue": {"values": [attribute("k", "v")]}}},
                    {"key": "empty", "value": {"stringValue": ""}},
                ]},
            ]),
        ),
        &[
            r#"queue_fill_ratio{b="true",d="1.5",instance="i-1",job="shop/claims",list="[1,\"x\"]",map="{\"k\":\"v\"}",n="7",raw="Zm8="} -3"#,
            r#"queue_fill_ratio{instance="i-1",job="shop/claims",queue_name="a"} 0.5"#,
        ],
        "",
    );
}

#[test]
fn a_cumulative_sum_is_a_counter_when_it_is_monotonic() {
    let mut sizes = metric("pool.size", "{connections}", "sum", json!([{"asInt": "4"}]));
    sizes["sum"]["isMonotonic"] = false.into();
    let paid = metric(
        "claims.paid",
        "By",
        "sum",
        json!([{"asInt": "12"}, {
            "asInt": "13",
            "timeUnixNano": "1767225601123456789",
            "exemplars": [{
                "asDouble": 2.5, "timeUnixNano": "1767225600999000000",
                "traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174",
                "filteredAttributes": [attribute("user.id", "u")],
            }],
        }]),
    );
    expect(
        &export(&json!([sizes, paid])),
        &[
            r#"claims_paid_bytes_total{instance="i-1",job="shop/claims"} 12"#,
            r#"claims_paid_bytes_total{instance="i-1",job="shop/claims"} 13 @1000"#,
            r#"pool_size{instance="i-1",job="shop/claims"} 4"#,
            r#"claims_paid_bytes_total{instance="i-1",job="shop/claims"} # {span_id="eee19b7ec3c1b174",trace_id="5b8efff798038103d269b633813fc60c",user_id="u"} 2.5 @876"#,
        ],
        "",
    );
}

#[test]
fn a_histogram_is_its_buckets_its_sum_and_its_count() {
    let exemplar = |value: f64, secs: u32| {
        let time = format!("17672256{secs:02}000000000");
        json!({"asDouble": value, "timeUnixNano": time, "traceId": format!("{secs:032x}")})
    };
    expect_one(
        metric(
            "latency",
            "ms",
            "histogram",
            json!([
                {
                    "count": "6", "sum": 1234.5, "bucketCounts": ["1", "2", "3"],
                    "explicitBounds": [0.25, 10],
                    "exemplars": [exemplar(99.0, 3), exemplar(0.1, 0), exemplar(3.0, 0), exemplar(99.0, 0)],
                },
                {"count": "2", "attributes": [attribute("le", "mine")]},
            ]),
        ),
        &[
            r#"latency_milliseconds_bucket{instance="i-1",job="shop/claims",le="+Inf"} 6"#,
            r#"latency_milliseconds_bucket{instance="i-1",job="shop/claims",le="0.25"} 1"#,
            r#"latency_milliseconds_bucket{instance="i-1",job="shop/claims",le="10"} 3"#,
            r#"latency_milliseconds_count{instance="i-1",job="shop/claims"} 6"#,
            r#"latency_milliseconds_count{instance="i-1",job="shop/claims",le="mine"} 2"#,
            r#"latency_milliseconds_sum{instance="i-1",job="shop/claims"} 1234.5"#,
            r#"latency_milliseconds_bucket{instance="i-1",job="shop/claims",le="+Inf"} # {} 99 @-123"#,
            r#"latency_milliseconds_bucket{instance="i-1",job="shop/claims",le="+Inf"} # {trace_id="00000000000000000000000000000003"} 99 @0"#,
            r#"latency_milliseconds_bucket{instance="i-1",job="shop/claims",le="0.25"} # {} 0.1 @-123"#,
            r#"latency_milliseconds_bucket{instance="i-1",job="shop/claims",le="10"} # {} 3 @-123"#,
        ],
        // The second point's `le` is lost to the bucket's, where the first has a value already.
        r#""latency": 1 data point: sample of latency_milliseconds_bucket{instance="i-1",job="shop/claims",le="+Inf"} at 2026-01-01T00:00:00.123Z has another value than the one stored"#,
    );
}

#[test]
fn an_exponential_histogram_is_a_native_one_of_a_scale_that_there_is() {
    let buckets = |offset: i32, counts: &[u32]| {
        let counts: Vec<_> = counts.iter().map(ToString::to_string).collect();
        json!({"offset": offset, "bucketCounts": counts})
    };
    let at = |kind: &str, point: Json| {
        let mut point = point;
        point["attributes"] = json!([attribute("kind", kind)]);
        point
    };
    expect_one(
        metric(
            "latency",
            "s",
            "exponentialHistogram",
            json!([
                at(
                    "plain",
                    json!({
                        "count": "11", "sum": 7.5, "scale": 3, "zeroCount": "1", "zeroThreshold": 0.01,
                        "positive": buckets(-2, &[1, 0, 2, 3]), "negative": buckets(4, &[4]),
                    })
                ),
                // Of each four buckets one is made, whose number is above theirs.
                at(
                    "too fine",
                    json!({
                        "count": "21", "sum": 1, "scale": 10, "positive": buckets(-6, &[1, 2, 3, 4, 5, 6]),
                    })
                ),
                at(
                    "far too fine",
                    json!({
                        "count": "3", "scale": i32::MAX, "positive": buckets(-1, &[1, 2]),
                    })
                ),
                at("empty", json!({"count": "0", "scale": 8})),
                at("too coarse", json!({"count": "0", "scale": -5})),
                at("wrong", json!({"count": "5", "scale": 0, "positive": buckets(0, &[4])})),
            ]),
        ),
        &[
            r#"latency_seconds{instance="i-1",job="shop/claims",kind="empty"} [8 zero 1e-128:0 n 0 sum 0 +[] -[]]"#,
            r#"latency_seconds{instance="i-1",job="shop/claims",kind="far too fine"} [8 zero 1e-128:0 n 3 sum 0 +[(0, 1.0), (1, 2.0)] -[]]"#,
            r#"latency_seconds{instance="i-1",job="shop/claims",kind="plain"} [3 zero 0.01:1 n 11 sum 7.5 +[(-1, 1.0), (1, 2.0), (2, 3.0)] -[(5, 4.0)]]"#,
            r#"latency_seconds{instance="i-1",job="shop/claims",kind="too fine"} [8 zero 1e-128:0 n 21 sum 1 +[(-1, 3.0), (0, 18.0)] -[]]"#,
        ],
        r#""latency": 2 data points: the scale -5 is below -4"#,
    );
}

#[test]
fn a_summary_is_its_quantiles_its_sum_and_its_count() {
    expect_one(
        metric(
            "latency",
            "s",
            "summary",
            json!([{
                "count": "4", "sum": 2.5,
                "quantileValues": [{"quantile": 0.5, "value": 0.25}, {"quantile": 1, "value": 2}],
            }]),
        ),
        &[
            r#"latency_seconds{instance="i-1",job="shop/claims",quantile="0.5"} 0.25"#,
            r#"latency_seconds{instance="i-1",job="shop/claims",quantile="1"} 2"#,
            r#"latency_seconds_count{instance="i-1",job="shop/claims"} 4"#,
            r#"latency_seconds_sum{instance="i-1",job="shop/claims"} 2.5"#,
        ],
        "",
    );
}

#[test]
fn a_point_without_a_recorded_value_ends_its_series() {
    let ended = |kind: &str| metric(kind, "", kind, json!([{"flags": 1}]));
    expect(
        &export(&json!([
            ended("gauge"),
            ended("sum"),
            ended("histogram"),
            ended("exponentialHistogram"),
            ended("summary"),
        ])),
        &[
            r#"exponentialHistogram{instance="i-1",job="shop/claims"} stale"#,
            r#"gauge{instance="i-1",job="shop/claims"} stale"#,
            r#"histogram_bucket{instance="i-1",job="shop/claims",le="+Inf"} stale"#,
            r#"histogram_count{instance="i-1",job="shop/claims"} stale"#,
            r#"histogram_sum{instance="i-1",job="shop/claims"} stale"#,
            r#"sum_total{instance="i-1",job="shop/claims"} stale"#,
            r#"summary_count{instance="i-1",job="shop/claims"} stale"#,
            r#"summary_sum{instance="i-1",job="shop/claims"} stale"#,
        ],
        "",
    );
}

#[test]
fn what_cannot_be_stored_is_refused_by_name_and_the_rest_is_taken() {
    let mut delta = metric("claims", "", "sum", json!([{"asInt": "1"}, {"asInt": "2"}]));
    delta["sum"]["aggregationTemporality"] = 1.into();
    let mut unspecified = metric("sizes", "", "histogram", json!([{"count": "1"}]));
    unspecified["histogram"]["aggregationTemporality"] = 0.into();
    let attributes: Vec<_> = (0..65).map(|i| attribute(&format!("k{i}"), "v")).collect();
    let long = "x".repeat(5000);
    expect(
        &export(&json!([
            delta,
            unspecified,
            metric("timeless", "", "gauge", json!([{"asInt": "1", "timeUnixNano": "0"}])),
            metric("void", "", "gauge", json!([{}])),
            metric("..", "", "gauge", json!([{"asInt": "1"}])),
            metric("many", "", "gauge", json!([{"asInt": "1", "attributes": attributes}])),
            metric("long", "", "gauge", json!([{"asInt": "1", "attributes": [attribute("k", &long)]}])),
            metric("odd", "", "gauge", json!([{"asInt": "1", "attributes": [attribute("", "v")]}])),
            metric("good", "", "gauge", json!([{"asInt": "1"}])),
            {"name": "nothing"},
        ])),
        &[r#"good{instance="i-1",job="shop/claims"} 1"#],
        "\"..\": 1 data point: the name has no letter and no digit; \
         \"claims\": 2 data points: delta temporality is not taken; \
         \"long\": 1 data point: k has more than 4096 bytes; \
         \"many\": 1 data point: more than 64 attributes; \
         \"odd\": 1 data point: \"\" cannot name a label; \
         \"sizes\": 1 data point: no aggregation temporality is given; \
         \"timeless\": 1 data point: it has no time; \
         \"void\": 1 data point: it has no value",
    );
}

#[test]
fn attributes_of_the_resource_are_told_by_target_info_while_its_points_last() {
    let mut export = export(&json!([metric(
        "up",
        "",
        "gauge",
        json!([{"asInt": "1"}, {"asInt": "1", "timeUnixNano": "1767225800123456789"}]),
    )]));
    let resource = &mut export["resourceMetrics"][0]["resource"]["attributes"];
    let more = [attribute("host.name", "h"), attribute("host_name", "i")];
    resource.as_array_mut().unwrap().extend(more);
    expect(
        &export,
        &[
            r#"target_info{host_name="h;i",instance="i-1",job="shop/claims"} 1"#,
            r#"target_info{host_name="h;i",instance="i-1",job="shop/claims"} 1 @150000"#,
            r#"target_info{host_name="h;i",instance="i-1",job="shop/claims"} 1 @200000"#,
            r#"up{instance="i-1",job="shop/claims"} 1"#,
            r#"up{instance="i-1",job="shop/claims"} 1 @200000"#,
        ],
        "",
    );
}

#[test]
fn without_an_identity_there_is_no_job_no_instance_and_no_target_info() {
    let metrics = json!([metric("up", "", "gauge", json!([{"asInt": "1"}]))]);
    let resource = json!({"attributes": [attribute("host.name", "h")]});
    let export = json!({"resourceMetrics": [
        {"resource": resource, "scopeMetrics": [{"metrics": metrics}]}, {}, {"resource": null},
    ]});
    expect(&export, &["up 1"], "");
}

#[tokio::test]
async fn target_info_of_points_that_are_years_apart_is_bounded() {
    let store = Arc::new(MemoryStore::new());
    let points = json!([{"asInt": "1"}, {"asInt": "1", "timeUnixNano": "1000000", "attributes": [attribute("a", "b")]}]);
    let mut export = export(&json!([metric("up", "", "gauge", points)]));
    let resource = &mut export["resourceMetrics"][0]["resource"]["attributes"];
    resource.as_array_mut().unwrap().push(attribute("host.name", "h"));
    let receiver = receiver(store.clone());
    receiver.receive(export.to_string().into(), Encoding::Json).await.unwrap();
    assert_eq!(store.stats().await.samples, 2 + 64);
}

#[test]
fn points_that_come_too_late_are_of_a_time_in_which_the_resource_was_there() {
    let point = |nanos: &str, code: &str| json!({"asInt": "1", "timeUnixNano": nanos, "attributes": [attribute("code", code)]});
    let points = json!([point("1767224000123000000", "1"), point(NANOS, "1"), point(NANOS, "2")]);
    let mut export = export(&json!([metric("up", "", "gauge", points)]));
    let resource = &mut export["resourceMetrics"][0]["resource"]["attributes"];
    resource.as_array_mut().unwrap().push(attribute("host.name", "h"));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let store = Arc::new(MemoryStore::new());
    let receiver = receiver(store.clone());
    let send = || {
        let body = export.to_string().into();
        let refused = runtime.block_on(receiver.receive(body, Encoding::Json)).unwrap();
        (refused.points(), runtime.block_on(stored(&store)))
    };
    let (refused, once) = send();
    assert_eq!((refused, once.len()), (0, 3 + 12));
    // The first point is too late now.
    assert_eq!(send(), (1, once));
}

#[tokio::test]
async fn a_long_export_is_stored_like_any_other() {
    let points = (0..20_000)
        .map(|n| json!({"asInt": "1", "attributes": [attribute("n", &(n % 5_000).to_string())]}));
    let export = export(&json!([metric("up", "", "gauge", points.collect())]));
    let body = export.to_string();
    assert!(body.len() > 1 << 20);
    let store = Arc::new(MemoryStore::new());
    let refused = receiver(store.clone()).receive(body.into(), Encoding::Json).await.unwrap();
    assert!(refused.is_empty(), "{refused}");
    assert_eq!(store.stats().await.samples, 5_000);
}

#[tokio::test]
async fn of_more_samples_than_one_request_may_bring_the_rest_is_refused() {
    let point = protobuf::nested(1, b"\x19\0\0\0\0\x01\0\0\0\x31\x01\0\0\0\0\0\0\0");
    let gauge = protobuf::nested(5, &point.repeat(MAX_SAMPLES + 7));
    let metric = [&b"\x0a\x02up"[..], &gauge].concat();
    let body = protobuf::nested(1, &protobuf::nested(2, &protobuf::nested(2, &metric)));
    let receiver = receiver(Arc::new(MemoryStore::new()));
    let refused = receiver.receive(body.into(), Encoding::Protobuf).await.unwrap();
    assert_eq!(refused.points(), 7);
    let reason = r#""up": 7 data points: more than 250000 samples in one request"#;
    assert_eq!(refused.to_string(), reason);
}

#[tokio::test]
async fn a_full_store_refuses_new_series_and_takes_the_others() {
    let store = Arc::new(MemoryStore::with_limits(1, 10));
    let receiver = receiver(store.clone());
    let metrics =
        (0..40).map(|i| metric(&format!("m{i:02}"), "", "gauge", json!([{"asInt": "1"}])));
    let export = export(&metrics.collect());
    let refused = receiver.receive(export.to_string().into(), Encoding::Json).await.unwrap();
    assert_eq!(refused.points(), 39);
    let message = refused.to_string();
    let first = r#""m01": 1 data point: series m01{instance="i-1",job="shop/claims"} is new and"#;
    assert!(message.starts_with(first), "{message}");
    assert!(message.ends_with("; 23 data points of other metrics"), "{message}");
    assert_eq!(stored(&store).await, [r#"m00{instance="i-1",job="shop/claims"} 1"#]);
}

#[tokio::test]
async fn a_series_is_looked_up_once_and_again_when_its_handle_has_expired() {
    let store = Arc::new(Watched::default());
    let receiver = receiver(store.clone());
    let body = to_protobuf("Export", &everything());
    let mut looked_up = 0;
    for (expired, expected) in [(false, 10), (false, 0), (true, 10), (false, 0)] {
        store.expired.store(expired, SeqCst);
        let refused = receiver.receive(body.clone().into(), Encoding::Protobuf).await.unwrap();
        assert!(refused.is_empty(), "{refused}");
        let now = store.looked_up.load(SeqCst);
        assert_eq!(now - looked_up, expected);
        looked_up = now;
    }
}

#[tokio::test]
async fn what_a_metric_says_about_itself_is_kept_under_its_stored_name() {
    let mut sizes = metric("pool.size", "By/s", "sum", json!([{"asInt": "4"}]));
    sizes["sum"]["isMonotonic"] = false.into();
    let mut paid = metric("claims.paid", "{claim}", "sum", json!([{"asInt": "4"}]));
    paid["description"] = "Claims paid.".into();
    let export = export(&json!([
        sizes,
        paid,
        metric("latency", "s", "exponentialHistogram", json!([])),
        metric("lag", "ms", "summary", json!([])),
    ]));
    for (encoding, body) in [
        (Encoding::Json, export.to_string().into_bytes()),
        (Encoding::Protobuf, to_protobuf("Export", &export)),
    ] {
        let metadata = Arc::new(MetadataStore::new());
        let receiver = MetricsReceiver::new(Arc::new(MemoryStore::new()), metadata.clone());
        Arc::new(receiver).receive(body.into(), encoding).await.unwrap();
        let said = metadata.snapshot();
        let said = said.iter().map(|(name, m)| (&**name, m.metric_type, &*m.help, &*m.unit));
        assert_eq!(
            said.collect::<Vec<_>>(),
            [
                ("claims_paid_total", MetricType::Counter, "Claims paid.", ""),
                ("lag_milliseconds", MetricType::Summary, "", "milliseconds"),
                ("latency_seconds", MetricType::Histogram, "", "seconds"),
                ("pool_size_bytes_per_second", MetricType::Gauge, "", "bytes_per_second"),
            ]
        );
    }
}

async fn receive(body: &[u8], encoding: Encoding) -> Result<Refused, MetricsError> {
    receiver(Arc::new(MemoryStore::new())).receive(body.to_vec().into(), encoding).await
}

/// An export with a point of every kind.
pub(crate) fn everything() -> Json {
    let exemplar = json!({"asInt": "1", "timeUnixNano": NANOS, "spanId": "eee19b7ec3c1b174"});
    let attributes = json!([attribute("a", "b"), {"key": "l", "value": {"arrayValue": {"values": [{"boolValue": true}]}}}]);
    let point = |mut point: Json| {
        point["attributes"] = attributes.clone();
        point["exemplars"] = json!([exemplar.clone()]);
        json!([point])
    };
    let buckets = json!({"offset": -1, "bucketCounts": ["1"]});
    export(&json!([
        metric("g", "1", "gauge", point(json!({"asDouble": 1.5}))),
        metric("s", "By/s", "sum", point(json!({"asInt": "2"}))),
        metric(
            "h",
            "s",
            "histogram",
            point(json!({
                "count": "3", "sum": 1, "bucketCounts": ["1", "2"], "explicitBounds": [1],
            }))
        ),
        metric(
            "e",
            "",
            "exponentialHistogram",
            point(json!({
                "count": "3", "sum": 1, "scale": 2, "zeroCount": "1", "positive": buckets, "negative": buckets,
            }))
        ),
        metric(
            "q",
            "",
            "summary",
            json!([{
                "count": "1", "sum": 2, "attributes": attributes,
                "quantileValues": [{"quantile": 0.5, "value": 1}],
            }])
        ),
    ]))
}

#[tokio::test]
async fn an_export_that_breaks_off_anywhere_is_refused() {
    let json = everything().to_string().into_bytes();
    assert!(receive(&json, Encoding::Json).await.unwrap().is_empty());
    for end in 0..json.len() {
        assert!(receive(&json[..end], Encoding::Json).await.is_err(), "{end}");
    }
    let protobuf = to_protobuf("Export", &everything());
    assert!(receive(&protobuf, Encoding::Protobuf).await.unwrap().is_empty());
    for end in 1..protobuf.len() {
        // The one outermost message is told to be longer.
        let error = receive(&protobuf[..end], Encoding::Protobuf).await.unwrap_err();
        assert!(error.to_string().contains("the message breaks off"), "{end}: {error}");
    }
}

#[tokio::test]
async fn an_export_with_any_bit_flipped_is_taken_or_refused() {
    let (json, protobuf) = (everything().to_string(), to_protobuf("Export", &everything()));
    for (mut body, encoding) in
        [(json.into_bytes(), Encoding::Json), (protobuf, Encoding::Protobuf)]
    {
        let mut refused = 0;
        for bit in 0..body.len() * 8 {
            body[bit / 8] ^= 1 << (bit % 8);
            refused += usize::from(receive(&body, encoding).await.is_err());
            body[bit / 8] ^= 1 << (bit % 8);
        }
        assert!(refused > 0 && refused < body.len() * 8, "{refused}");
    }
}

#[tokio::test]
async fn a_value_that_is_nested_without_end_is_refused() {
    let mut json = r#"{"stringValue":"x"}"#.to_owned();
    let mut value = b"\x0a\x01x".to_vec();
    for _ in 0..5_000 {
        json = format!(r#"{{"arrayValue":{{"values":[{json}]}}}}"#);
        value = protobuf::nested(5, &protobuf::nested(1, &value));
    }
    let body = format!(
        r#"{{"resourceMetrics":[{{"resource":{{"attributes":[{{"key":"k","value":{json}}}]}}}}]}}"#
    );
    let error = receive(body.as_bytes(), Encoding::Json).await.unwrap_err();
    assert!(error.to_string().contains("recursion limit"), "{error}");
    let resource = protobuf::nested(1, &protobuf::nested(2, &value));
    let body = protobuf::nested(1, &protobuf::nested(1, &resource));
    let error = receive(&body, Encoding::Protobuf).await.unwrap_err();
    assert_eq!(error.to_string(), "the value of an attribute is nested too deep");
}

#[tokio::test]
async fn a_million_attributes_are_one_refused_point_or_one_refused_body() {
    for (count, expected) in [
        (400_000, Ok(r#""up": 1 data point: more than 64 attributes"#)),
        (1_100_000, Err("the body has more than 1000000 messages")),
    ] {
        let point =
            [&b"\x19\x01\0\0\0\0\0\0\0\x31\x01\0\0\0\0\0\0\0"[..], &b"\x3a\0".repeat(count)];
        let gauge = protobuf::nested(5, &protobuf::nested(1, &point.concat()));
        let metric = [&b"\x0a\x02up"[..], &gauge].concat();
        let scope = protobuf::nested(2, &protobuf::nested(2, &metric));
        let refused = receive(&protobuf::nested(1, &scope), Encoding::Protobuf).await;
        let got = refused.map(|r| r.to_string()).map_err(|e| e.to_string());
        assert_eq!(got, expected.map(str::to_owned).map_err(str::to_owned));
    }
    // Points take more memory than attributes, and fewer of them are too many.
    let histogram = protobuf::nested(10, &b"\x0a\0".repeat(400_000));
    let scope = protobuf::nested(2, &protobuf::nested(2, &histogram));
    let error = receive(&protobuf::nested(1, &scope), Encoding::Protobuf).await.unwrap_err();
    assert_eq!(error.to_string(), "the body has more than 1000000 messages");
    let body = format!(r#"{{"resourceMetrics":[{}{{}}]}}"#, "{},".repeat(1_000_000));
    let error = receive(body.as_bytes(), Encoding::Json).await.unwrap_err();
    assert_eq!(error.to_string(), "the body has more than 1000000 messages");
}

#[tokio::test]
async fn what_is_no_export_is_refused_with_the_reason() {
    for (encoding, body, reason) in [
        (Encoding::Json, &b"7"[..], "invalid type: integer"),
        (Encoding::Json, br#"{"resourceMetrics":{}}"#, "invalid type: map"),
        (Encoding::Protobuf, b"{}", "wire type 3"),
        (Encoding::Protobuf, b"\x08\x01", "resource_metrics is a varint where length-delimited"),
        (Encoding::Protobuf, b"\x0a\x03\x0a\x01\xff", "breaks off"),
    ] {
        let error = receive(body, encoding).await.unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
    // Strings are UTF-8, ids have their length.
    let name = protobuf::nested(1, &protobuf::nested(2, &protobuf::nested(2, b"\x0a\x01\xff")));
    let error = receive(&name, Encoding::Protobuf).await.unwrap_err();
    assert_eq!(error.to_string(), "the body is no export of metrics: name is not valid UTF-8");
    let mut point = b"\x2a\x04\x22\x02ab".to_vec();
    for field in [1, 5, 2, 2, 1] {
        point = protobuf::nested(field, &point);
    }
    let error = receive(&point, Encoding::Protobuf).await.unwrap_err();
    assert_eq!(error.to_string(), "span_id has 2 bytes, not 8");
}
