//! The routes of Prometheus' remote protocols.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use hms_ops_collect::fuzzing;
use hms_ops_collect::remote::{Limits, RemoteWriter, deflate, encode_v1, encode_v2, router};
use hms_ops_core::labels::Labels;
use hms_ops_core::metadata::MetadataStore;
use hms_ops_core::sample::{CounterReset, Histogram, Sample, Value};
use hms_ops_core::store::{MemoryStore, Store, StoreExt};
use hms_ops_core::time::{TimeRange, Timestamp};
use tower::ServiceExt;

use crate::allocations;
use crate::broken_store::BrokenStore;

const V1: (&str, &str) = ("content-type", "application/x-protobuf;proto=prometheus.WriteRequest");
const V2: (&str, &str) =
    ("content-type", "application/x-protobuf; proto=io.prometheus.write.v2.Request");
const SNAPPY: (&str, &str) = ("content-encoding", "snappy");

fn routes(store: Arc<dyn Store>, limits: Limits) -> Router {
    let metadata = Arc::new(MetadataStore::new());
    let writer = Arc::new(RemoteWriter::new(store.clone(), metadata, limits));
    router(store, writer)
}

fn up(at: i64, value: f64) -> (Labels, [Sample; 1]) {
    (Labels::metric("up"), [Sample { at: Timestamp::from_millis(at), value: value.into() }])
}

fn body(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut message = Vec::new();
    encode(&mut message);
    deflate(&message).unwrap()
}

fn v1(at: i64, value: f64) -> Vec<u8> {
    let (labels, samples) = up(at, value);
    body(|message| encode_v1([(&labels, &samples[..])], message))
}

fn v2(at: i64, value: f64) -> Vec<u8> {
    let (labels, samples) = up(at, value);
    body(|message| encode_v2([(&labels, &samples[..])], message))
}

async fn post(
    routes: &Router,
    path: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> (StatusCode, HeaderMap, Vec<u8>) {
    let mut request = Request::post(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::from(body)).unwrap();
    let (head, body) = routes.clone().oneshot(request).await.unwrap().into_parts();
    (head.status, head.headers, to_bytes(body, 1 << 20).await.unwrap().to_vec())
}

async fn write(routes: &Router, headers: &[(&str, &str)], body: Vec<u8>) -> (StatusCode, String) {
    let (status, _, body) = post(routes, "/api/v1/write", headers, body).await;
    (status, String::from_utf8(body).unwrap())
}

#[tokio::test]
async fn the_content_type_says_which_version_a_write_is_and_none_is_the_first() {
    let store = Arc::new(MemoryStore::new());
    let routes = routes(store.clone(), Limits::default());
    for (headers, body) in [
        (&[V1, SNAPPY][..], v1(1000, 1.0)),
        (&[V2, SNAPPY], v2(2000, 1.0)),
        (&[("content-type", "application/x-protobuf"), SNAPPY], v1(3000, 1.0)),
        (&[], v1(4000, 1.0)),
    ] {
        assert_eq!(write(&routes, headers, body).await, (StatusCode::NO_CONTENT, String::new()));
    }
    let stored = store.collect(&[], TimeRange::ALL).await.unwrap();
    assert_eq!(stored[0].1.len(), 4);
}

#[tokio::test]
async fn another_type_or_encoding_is_not_supported() {
    let routes = routes(Arc::new(MemoryStore::new()), Limits::default());
    for (headers, reason) in [
        (
            [("content-type", "application/json"), SNAPPY],
            "content type \"application/json\" is not application/x-protobuf",
        ),
        (
            [("content-type", "application/x-protobuf;proto=a.B"), SNAPPY],
            "message \"a.B\" is none of prometheus.WriteRequest and io.prometheus.write.v2.Request",
        ),
        ([V1, ("content-encoding", "zstd")], "content encoding \"zstd\" is not snappy"),
    ] {
        let refused = (StatusCode::UNSUPPORTED_MEDIA_TYPE, reason.to_owned());
        assert_eq!(write(&routes, &headers, v1(1000, 1.0)).await, refused);
    }
}

#[tokio::test]
async fn version_2_is_told_what_was_written_also_when_something_was_not() {
    let routes = routes(Arc::new(MemoryStore::new()), Limits::default());
    let counts = |headers: &HeaderMap| {
        ["samples", "histograms", "exemplars"].map(|what| {
            headers[format!("x-prometheus-remote-write-{what}-written")]
                .to_str()
                .unwrap()
                .to_owned()
        })
    };
    let (status, headers, _) = post(&routes, "/api/v1/write", &[V2, SNAPPY], v2(1000, 1.0)).await;
    assert_eq!(
        (status, counts(&headers)),
        (StatusCode::NO_CONTENT, ["1", "0", "0"].map(str::to_owned))
    );
    let (status, headers, reason) =
        post(&routes, "/api/v1/write", &[V2, SNAPPY], v2(1000, 2.0)).await;
    assert_eq!((status, counts(&headers)), (StatusCode::BAD_REQUEST, ["0"; 3].map(str::to_owned)));
    assert!(String::from_utf8_lossy(&reason).starts_with("refused 1 samples and 0 exemplars: "));
    let (status, headers, _) = post(&routes, "/api/v1/write", &[V2, SNAPPY], vec![7]).await;
    assert_eq!((status, counts(&headers)), (StatusCode::BAD_REQUEST, ["0"; 3].map(str::to_owned)));
}

#[tokio::test]
async fn a_body_that_is_or_would_become_too_long_is_refused_at_a_bounded_price() {
    let limits = Limits { body_bytes: 1000, ..Limits::default() };
    let routes = routes(Arc::new(MemoryStore::new()), limits);
    let before = allocations::held();
    for (body, reason) in [
        (vec![0; 1001], "the body has more than 1000 bytes"),
        (
            vec![0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0, 0, 0],
            "the body declares 4294967295 bytes, the limit is 67108864",
        ),
    ] {
        let refused = (StatusCode::PAYLOAD_TOO_LARGE, reason.to_owned());
        assert_eq!(write(&routes, &[V1, SNAPPY], body).await, refused);
    }
    assert!(allocations::peak() - before < 4 << 20);
}

#[tokio::test]
async fn labels_without_end_are_not_kept() {
    const MANY: usize = 4 << 20;
    let empty = |number: u8| [number << 3 | 2, 0].repeat(MANY / 2);
    let sample = [2 << 3 | 2, 0];
    let v1_labels = field(1, &[&empty(1)[..], &sample].concat());
    let v1_exemplar = field(1, &field(3, &empty(1)));
    let v2_labels = field(5, &[&field(1, &[0; MANY])[..], &sample].concat());
    let exemplar = field(4, &field(1, &[0; MANY]));
    let v2_exemplar = field(5, &[&sample[..], &exemplar].concat());
    for (version, message, expected) in [
        (V1, v1_labels, StatusCode::BAD_REQUEST),
        (V1, v1_exemplar, StatusCode::NO_CONTENT),
        (V2, v2_labels, StatusCode::BAD_REQUEST),
        (V2, v2_exemplar, StatusCode::BAD_REQUEST),
    ] {
        let routes = routes(Arc::new(MemoryStore::new()), Limits::default());
        let body = deflate(&message).unwrap();
        let before = allocations::held();
        let (status, reason) = write(&routes, &[version, SNAPPY], body).await;
        assert_eq!(status, expected, "{reason}");
        let peak = allocations::peak() - before;
        assert!(peak < MANY + (1 << 20), "{peak} bytes: {reason}");
    }
}

#[tokio::test]
async fn a_write_of_1_0_does_not_fail_for_its_exemplars() {
    let store = Arc::new(MemoryStore::new());
    let routes = routes(store.clone(), Limits::default());
    let labels = [field(1, b"__name__"), field(2, b"up")].concat();
    let exemplar = field(1, &field(2, &[b'x'; 129]));
    let series = [field(1, &labels), field(2, &[]), field(3, &exemplar)].concat();
    let message = field(1, &series);
    let request = deflate(&message).unwrap();
    assert_eq!(write(&routes, &[V1, SNAPPY], request).await.0, StatusCode::NO_CONTENT);
    assert_eq!(store.collect(&[], TimeRange::ALL).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_store_that_fails_is_a_reason_to_send_again() {
    let routes = routes(Arc::new(BrokenStore), Limits::default());
    let (status, reason) = write(&routes, &[V1, SNAPPY], v1(1000, 1.0)).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(reason, "the samples could not be stored: the store failed: out of disk");
    let (status, ..) = post(&routes, "/api/v1/read", &[SNAPPY], read_of("up")).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
}

/// A field that has a length, by hand.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let (mut length, mut field) = (bytes.len(), vec![number << 3 | 2]);
    while length >= 0x80 {
        field.push(length as u8 | 0x80);
        length >>= 7;
    }
    field.push(length as u8);
    [&field[..], bytes].concat()
}

/// A read of all samples of a metric, by hand.
fn read_of(metric: &str) -> Vec<u8> {
    let matcher = [field(2, b"__name__"), field(3, metric.as_bytes())].concat();
    let query = [&[2 << 3, 0xff, 0x7f][..], &field(3, &matcher)].concat();
    deflate(&field(1, &query)).unwrap()
}

#[tokio::test]
async fn what_was_written_can_be_read() {
    let routes = routes(Arc::new(MemoryStore::new()), Limits::default());
    write(&routes, &[V1, SNAPPY], v1(1000, 1.5)).await;
    let (status, headers, answer) = post(&routes, "/api/v1/read", &[SNAPPY], read_of("up")).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        (&headers["content-type"], &headers["content-encoding"]),
        (&"application/x-protobuf".parse().unwrap(), &"snappy".parse().unwrap())
    );
    // A result in an answer has the shape of a write in a field.
    let (labels, samples) = up(1000, 1.5);
    let mut result = Vec::new();
    encode_v1([(&labels, &samples[..])], &mut result);
    let message = [&[1 << 3 | 2, result.len() as u8], &result[..]].concat();
    assert_eq!(answer, deflate(&message).unwrap());

    let (status, _, reason) = post(&routes, "/api/v1/read", &[SNAPPY], vec![9]).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{}", String::from_utf8_lossy(&reason));
}

#[tokio::test]
async fn a_steady_sender_costs_no_allocation_that_grows_with_its_series() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let metadata = Arc::new(MetadataStore::new());
    let writer = Arc::new(RemoteWriter::new(store, metadata, Limits::default()));
    let series: Vec<_> = (0..2000)
        .map(|n| Labels::metric("m").with("instance", &"x".repeat(500)).with("n", &n.to_string()))
        .collect();
    let request = |at: i64| {
        let sample = [Sample { at: Timestamp::from_millis(at), value: Value::Float(1.0) }];
        body(|message| encode_v1(series.iter().map(|labels| (labels, &sample[..])), message))
    };
    let version = hms_ops_collect::remote::Version::V1;
    for at in [1000, 2000] {
        writer.write(version, request(at).into()).await.unwrap();
    }
    let third = request(3000).into();
    let before = allocations::held();
    writer.write(version, third).await.unwrap();
    // A megabyte of labels came in; what the store itself needs for a sample is all that is held.
    let peak = allocations::peak() - before;
    assert!(peak < 2000 * 250, "{peak} bytes");
}

#[test]
fn a_body_that_may_not_become_so_long_is_refused_where_it_comes_in() {
    // It declares four gibibytes, and there is no runtime that could wait for them.
    assert!(!fuzzing::remote_write(&[0xfb, 0xf5, 0xdd, 0xf5, 0x0e]));
}

/// The seeds of the fuzz target. They are not part of a published crate.
fn seeds() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/remote_write")
}

#[test]
fn writes_of_the_corpus_are_refused_or_can_be_sent_again_in_either_version() {
    let Ok(files) = fs::read_dir(seeds()) else {
        eprintln!("no seeds: there is no {}", seeds().display());
        return;
    };
    for path in files.map(|file| file.unwrap().path()) {
        let seed = fs::read(&path).unwrap();
        assert!(fuzzing::remote_write(&seed), "{} is not what it was", path.display());
        for at in 0..seed.len() {
            let mut flipped = seed.clone();
            flipped[at] ^= 1 << (at % 8);
            fuzzing::remote_write(&flipped);
            fuzzing::remote_write(&seed[..at]);
        }
    }
}

#[test]
#[ignore = "writes seeds; for a format that is new"]
fn seeds_of_today() {
    let latency = Labels::metric("latency").with("path", "größe");
    let histogram = |schema, positive: &[(i32, f64)], custom_edges: &[f64]| Sample {
        at: Timestamp::from_millis(1_767_225_600_000),
        value: Value::Histogram(Arc::new(Histogram {
            schema,
            zero_threshold: 0.0,
            zero_count: 0.0,
            count: 7.0,
            sum: 12.5,
            positive: positive.to_vec(),
            negative: Vec::new(),
            custom_edges: custom_edges.to_vec(),
            reset: CounterReset::NotReset,
        })),
    };
    let (up, samples) = up(1_767_225_600_000, 1.0);
    let exponential = [histogram(3, &[(-2, 3.0), (-1, 2.0), (4, 2.0)], &[])];
    let custom = [histogram(-53, &[(0, 2.0), (2, 5.0)], &[0.5, 2.0])];
    let float = [histogram(-4, &[(0, 2.5)], &[])];
    let series = [
        (&up, &samples[..]),
        (&latency, &exponential[..]),
        (&Labels::metric("custom"), &custom[..]),
        (&Labels::metric("float"), &float[..]),
    ];
    let (mut v1, mut v2) = (vec![0], vec![1]);
    encode_v1(series, &mut v1);
    encode_v2(series, &mut v2);
    let deflated = [vec![2], deflate(&v1[1..]).unwrap()].concat();
    fs::create_dir_all(seeds()).unwrap();
    for (name, seed) in [("v1", v1), ("v2", v2), ("deflated", deflated)] {
        fs::write(seeds().join(name), seed).unwrap();
    }
}
