//! Requests of both versions, whole and hurt.

use hms_ops_core::sample::{CounterReset, Histogram, Sample};
use hms_ops_core::store::{MemoryStore, StoreExt};
use hms_ops_core::time::TimeRange;
use proptest::prelude::*;

use super::*;
use crate::protobuf::Writer;
use crate::remote::deflate;

type Stored = Vec<(Labels, Vec<Sample>)>;

struct World {
    store: Arc<MemoryStore>,
    metadata: Arc<MetadataStore>,
    writer: Arc<RemoteWriter>,
}

fn world() -> World {
    world_within(MemoryStore::new(), Limits::default())
}

fn world_within(store: MemoryStore, limits: Limits) -> World {
    let (store, metadata) = (Arc::new(store), Arc::new(MetadataStore::new()));
    let writer = Arc::new(RemoteWriter::new(store.clone(), metadata.clone(), limits));
    World { store, metadata, writer }
}

impl World {
    async fn write(&self, version: Version, message: &[u8]) -> Result<Written, WriteError> {
        self.writer.write(version, deflate(message).unwrap().into()).await
    }

    async fn stored(&self) -> Stored {
        self.store.collect(&[], TimeRange::ALL).await.unwrap()
    }
}

fn message(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut message = Vec::new();
    write(&mut Writer::new(&mut message));
    message
}

fn label(writer: &mut Writer<'_>, name: &str, value: &str) {
    writer.message(1, |label| {
        label.bytes(1, name);
        label.bytes(2, value);
    });
}

fn sample(writer: &mut Writer<'_>, at: i64, value: f64) {
    writer.message(2, |sample| {
        sample.double(1, value);
        sample.int(2, at);
    });
}

/// A request of 1.0 with one sample of each of these series.
fn v1(series: &[&[(&str, &str)]]) -> Vec<u8> {
    message(|request| {
        for labels in series {
            request.message(1, |series| {
                labels.iter().for_each(|(name, value)| label(series, name, value));
                sample(series, 1000, 1.0);
            });
        }
    })
}

fn float(at: i64, value: f64) -> Sample {
    Sample { at: Timestamp::from_millis(at), value: value.into() }
}

fn names(stored: &Stored) -> Vec<String> {
    stored.iter().map(|(labels, _)| labels.to_string()).collect()
}

fn histogram(count: f64) -> Sample {
    let histogram = Histogram {
        schema: 0,
        zero_threshold: 0.001,
        zero_count: 1.0,
        count,
        sum: 5.0,
        positive: vec![(-3, count - 1.0)],
        negative: Vec::new(),
        custom_edges: Vec::new(),
        reset: CounterReset::Unknown,
    };
    Sample { at: Timestamp::from_millis(1000), value: Value::Histogram(Arc::new(histogram)) }
}

#[tokio::test]
async fn what_is_encoded_in_either_version_is_stored_as_it_was() {
    let up = Labels::metric("up").with("instance", "a:1");
    let latency = Labels::metric("latency").with("path", "größe \"x\"\n");
    let series = [
        (latency, vec![histogram(4.0)]),
        (up, vec![float(1000, 1.0), float(2000, f64::NAN), float(3000, -0.0)]),
    ];
    let encoded = series.each_ref().map(|(labels, samples)| (labels, &samples[..]));
    let (mut v1, mut v2) = (Vec::new(), Vec::new());
    encode_v1(encoded, &mut v1);
    encode_v2(encoded, &mut v2);
    for (version, message) in [(Version::V1, v1), (Version::V2, v2)] {
        let world = world();
        // The second time, every series is known and every sample is there.
        for _ in 0..2 {
            let written = world.write(version, &message).await.unwrap();
            let all = Written { samples: 3, histograms: 1, ..Written::default() };
            assert_eq!(written, all, "{version:?}");
        }
        assert_eq!(world.stored().await, series, "{version:?}");
    }
}

#[tokio::test]
async fn labels_are_sorted_and_one_without_a_value_is_none() {
    let world = world();
    let request = v1(&[&[("z", "1"), ("__name__", "up"), ("b", ""), ("a", "2")]]);
    assert_eq!(world.write(Version::V1, &request).await.unwrap().samples, 1);
    assert_eq!(names(&world.stored().await), [r#"up{a="2",z="1"}"#]);
}

#[tokio::test]
async fn labels_that_stand_behind_samples_name_the_series_all_the_same() {
    let world = world();
    let request = message(|request| {
        request.message(1, |series| {
            label(series, "__name__", "up");
            sample(series, 1000, 1.0);
            label(series, "a", "1");
            sample(series, 2000, 1.0);
        });
    });
    assert_eq!(world.write(Version::V1, &request).await.unwrap().samples, 2);
    assert_eq!(world.write(Version::V1, &request).await.unwrap().refused, None);
    assert_eq!(names(&world.stored().await), [r#"up{a="1"}"#]);
}

#[tokio::test]
async fn a_series_that_cannot_be_is_refused_with_the_reason_and_the_others_are_stored() {
    let good: &[_] = &[("__name__", "good")];
    let long = "x".repeat(1025);
    let bad: &[(&[(&str, &str)], &str)] = &[
        (&[("a", "1")], r#"series {a="1"} has no name"#),
        (&[("__name__", ""), ("a", "1")], r#"series {a="1"} has no name"#),
        (&[("__name__", "m"), ("", "1")], r#"series m{="1"} has a label without a name"#),
        (
            &[("__name__", "m"), ("a", "1"), ("a", "1")],
            r#"series m{a="1"} has the label "a" twice"#,
        ),
        (
            &[("__name__", "m"), (&long, "1")],
            &format!("a label name of 1025 bytes, the limit is 1024: {:?}…", "x".repeat(80)),
        ),
    ];
    for (labels, reason) in bad {
        let world = world();
        let written = world.write(Version::V1, &v1(&[labels, good])).await.unwrap();
        let refused = written.refused.unwrap();
        assert_eq!(refused.to_string(), format!("refused 1 samples and 0 exemplars: {reason}"));
        assert_eq!(names(&world.stored().await), ["good"]);
        let stats = world.writer.stats();
        assert_eq!((stats.requests, stats.samples, stats.refused_samples), (1, 1, 1));
    }
}

#[tokio::test]
async fn what_is_not_utf_8_is_refused() {
    let world = world();
    let request = message(|request| {
        request.message(1, |series| {
            label(series, "__name__", "up");
            series.message(1, |label| {
                label.bytes(1, "a");
                label.bytes(2, b"\xff");
            });
            sample(series, 1000, 1.0);
        });
    });
    let refused = world.write(Version::V1, &request).await.unwrap().refused.unwrap();
    assert_eq!(refused.first, ["a label is damaged: the value is not valid UTF-8"]);
}

#[tokio::test]
async fn samples_that_the_store_refuses_are_told_once_and_the_good_ones_are_stored() {
    let world = world();
    world.write(Version::V1, &v1(&[&[("__name__", "up")]])).await.unwrap();
    let request = message(|request| {
        request.message(1, |series| {
            label(series, "__name__", "up");
            sample(series, 1000, 2.0);
            sample(series, -1_000_000, 1.0);
            sample(series, 2000, 1.0);
            sample(series, 2000, 3.0);
            sample(series, 2000, 4.0);
        });
    });
    let written = world.write(Version::V1, &request).await.unwrap();
    assert_eq!(
        written.refused.unwrap().to_string(),
        "refused 4 samples and 0 exemplars: \
         sample of up at 1970-01-01T00:00:01.000Z has another value than the one stored; \
         sample of up at 1969-12-31T23:43:20.000Z comes too late, \
         the newest is at 1970-01-01T00:00:01.000Z; \
         sample of up at 1970-01-01T00:00:02.000Z has another value than the one stored; \
         and 1 more"
    );
    assert_eq!(world.stored().await[0].1, [float(1000, 1.0), float(2000, 1.0)]);
}

#[tokio::test]
async fn a_full_store_refuses_new_series_only() {
    let world = world_within(MemoryStore::with_limits(1, 10), Limits::default());
    let request = v1(&[&[("__name__", "a")], &[("__name__", "b")], &[("__name__", "c")]]);
    for _ in 0..2 {
        let written = world.write(Version::V1, &request).await.unwrap();
        let refused = written.refused.unwrap();
        assert_eq!((written.samples, refused.samples, refused.reasons), (1, 2, 2));
        assert_eq!(refused.first[0], "series b is new and the limit of 1 series is reached");
    }
}

#[tokio::test]
async fn exemplars_have_the_time_they_say_or_that_of_their_sample() {
    let world = world();
    let trace = |series: &mut Writer<'_>, id: &str, at| {
        series.message(3, |exemplar| {
            label(exemplar, "trace_id", id);
            exemplar.double(2, 0.5);
            exemplar.int(3, at);
        });
    };
    let request = message(|request| {
        request.message(1, |series| {
            label(series, "__name__", "up");
            sample(series, 1000, 1.0);
            trace(series, "a", 0);
            trace(series, "b", 1500);
            trace(series, "late", 10);
            trace(series, &"x".repeat(129), 2000);
        });
    });
    let written = world.write(Version::V1, &request).await.unwrap();
    assert_eq!((written.samples, written.exemplars), (1, 2));
    let refused = written.refused.unwrap();
    assert_eq!((refused.samples, refused.exemplars, refused.reasons), (0, 2, 2));
    let found = world.store.exemplars(&[], TimeRange::ALL).await.unwrap().remove(0).1;
    let found: Vec<_> = found.iter().map(|e| (e.labels.to_string(), e.at.as_millis())).collect();
    let is = |id: &str, at| (format!("{{trace_id=\"{id}\"}}"), at);
    assert_eq!(found, [is("a", 1000), is("b", 1500)]);
}

#[tokio::test]
async fn a_histogram_that_cannot_be_is_refused_alone() {
    let world = world();
    let request = message(|request| {
        request.message(1, |series| {
            label(series, "__name__", "up");
            series.message(4, |histogram| histogram.sint(4, 77));
            sample(series, 1000, 1.0);
        });
    });
    let written = world.write(Version::V1, &request).await.unwrap();
    assert_eq!((written.samples, written.histograms), (1, 0));
    assert_eq!(
        written.refused.unwrap().first,
        ["the histogram of up at 1970-01-01T00:00:00.000Z is none: \
          schema 77 is none of -53 and -4 to 8"]
    );
}

/// A request of 2.0: symbols, and one series of one sample for each list of references.
fn v2(symbols: &[&str], series: &[&[u64]]) -> Vec<u8> {
    message(|request| {
        // Behind what refers to them, which is allowed.
        for references in series {
            request.message(5, |series| {
                series.uints(1, references.iter().copied());
                sample(series, 1000, 1.0);
                series.message(5, |metadata| {
                    metadata.uint(1, 3);
                    metadata.uint(3, 1);
                });
            });
        }
        symbols.iter().for_each(|symbol| request.bytes(4, symbol));
    })
}

#[tokio::test]
async fn symbols_name_series_whatever_their_numbers() {
    let world = world();
    let first = v2(&["", "How long.", "__name__", "m_bucket", "a", "1"], &[&[2, 3, 4, 5]]);
    let second = v2(&["a", "How long.", "1", "m_bucket", "__name__"], &[&[4, 3, 0, 2]]);
    for request in [first, second] {
        assert_eq!(world.write(Version::V2, &request).await.unwrap().samples, 1);
    }
    assert_eq!(names(&world.stored().await), [r#"m_bucket{a="1"}"#]);
    assert_eq!(world.writer.v2.read().unwrap().get(b"").map(|_| ()), None);
    let said = world.metadata.get("m").unwrap();
    assert_eq!((said.metric_type, &*said.help), (MetricType::Histogram, "How long."));
}

#[tokio::test]
async fn references_that_lead_nowhere_are_refused_alone() {
    for (references, reason) in [
        (&[2, 9][..], "label references point to symbol 9, of 4"),
        (&[2, u64::MAX], "label references point to symbol 18446744073709551615, of 4"),
        (&[2, 3, 1], "a label reference without its value: there are 3 of them"),
        (&[], "series {} has no name"),
    ] {
        let world = world();
        let request = v2(&["", "help", "__name__", "m"], &[references, &[2, 3]]);
        let written = world.write(Version::V2, &request).await.unwrap();
        assert_eq!(written.samples, 1);
        assert_eq!(written.refused.unwrap().first, [reason]);
    }
}

#[tokio::test]
async fn a_series_of_2_0_without_a_sample_is_refused() {
    let world = world();
    let request = message(|request| {
        request.message(5, |series| {
            series.uints(1, [0, 1]);
            series.message(4, |exemplar| exemplar.double(2, 0.5));
        });
        ["__name__", "m"].iter().for_each(|symbol| request.bytes(4, symbol));
    });
    let refused = world.write(Version::V2, &request).await.unwrap().refused.unwrap();
    assert_eq!(refused.first, ["series m has neither a sample nor a histogram"]);
}

#[tokio::test]
async fn metadata_of_1_0_is_kept() {
    let before = MetadataStore::new();
    before.set("a", MetricType::StateSet, "What.", "bytes");
    before.set("b", MetricType::Summary, "", "");
    let mut request = Vec::new();
    encode_metadata_v1(&before.snapshot(), &mut request);
    let world = world();
    assert_eq!(world.write(Version::V1, &request).await.unwrap(), Written::default());
    assert_eq!(world.metadata.snapshot(), before.snapshot());
}

#[tokio::test]
async fn a_message_cut_at_any_byte_is_damaged_or_shorter_and_never_worse() {
    let up = Labels::metric("up").with("a", "1");
    let samples = [float(1000, 1.0), histogram(3.0)];
    let series = [(&up, &samples[..])];
    let (mut v1, mut v2) = (Vec::new(), Vec::new());
    encode_v1(series, &mut v1);
    encode_v2(series, &mut v2);
    for (version, message) in [(Version::V1, v1), (Version::V2, v2)] {
        for end in 0..message.len() {
            let world = world();
            let whole = match world.write(version, &message[..end]).await {
                Ok(Written { samples, histograms, refused: None, .. }) => samples + histograms,
                Ok(written) => panic!("{written:?}"),
                Err(error) => {
                    assert!(matches!(error, WriteError::Damaged(_)), "{error}");
                    assert_eq!(world.writer.stats().bad_requests, 1);
                    0
                }
            };
            let stored: usize = world.stored().await.iter().map(|(_, samples)| samples.len()).sum();
            assert_eq!(stored as u64, whole);
            assert!(whole < 2);
        }
    }
}

#[tokio::test]
async fn a_message_with_too_many_samples_or_symbols_is_refused_as_a_whole() {
    let limits = Limits { samples: 2, ..Limits::default() };
    let world = world_within(MemoryStore::new(), limits);
    let request = message(|request| {
        request.message(1, |series| {
            label(series, "__name__", "a");
            (1..4).for_each(|at| sample(series, at, 1.0));
        });
    });
    let error = world.write(Version::V1, &request).await.unwrap_err();
    assert_eq!(error.to_string(), "the message has more than 2 samples");
    assert!(world.stored().await.is_empty());
    let symbols = message(|request| (0..=1 << 20).for_each(|_| request.bytes(4, "")));
    let error = world.write(Version::V2, &symbols).await.unwrap_err();
    assert_eq!(error.to_string(), "the message has more than 1048576 symbols");
}

#[tokio::test]
async fn series_and_metadata_count_also_when_they_bring_no_sample() {
    let limits = Limits { samples: 2, ..Limits::default() };
    for (version, field) in [(Version::V1, 1), (Version::V1, 3), (Version::V2, 5)] {
        let world = world_within(MemoryStore::new(), limits.clone());
        let request = |many| message(|request| (0..many).for_each(|_| request.bytes(field, "")));
        assert!(world.write(version, &request(2)).await.is_ok(), "{version:?} {field}");
        let error = world.write(version, &request(3)).await.unwrap_err();
        assert_eq!(error.to_string(), "the message has more than 2 series");
    }
}

#[tokio::test]
async fn a_series_of_1_0_without_anything_leaves_no_trace() {
    let world = world_within(MemoryStore::with_limits(1, 10), Limits::default());
    let labels_alone = message(|request| {
        request.message(1, |series| label(series, "__name__", "nothing"));
    });
    assert_eq!(world.write(Version::V1, &labels_alone).await.unwrap(), Written::default());
    let written = world.write(Version::V1, &v1(&[&[("__name__", "up")]])).await.unwrap();
    assert_eq!((written.samples, written.refused), (1, None), "the one place is free");
}

#[tokio::test]
async fn a_label_too_many_is_told_whatever_names_the_series() {
    let many = |name| {
        let mut labels = vec![("__name__", "m"); 1];
        labels.resize(129, (name, "x"));
        v1(&[&labels[..]])
    };
    let world = world();
    let refused = world.write(Version::V1, &many("a")).await.unwrap().refused.unwrap();
    assert_eq!(refused.first, ["series m has more than 128 labels"]);
    let references = [&[2, 3][..], &[0, 1].repeat(128)].concat();
    let request = v2(&["", "x", "__name__", "m"], &[&references]);
    let refused = world.write(Version::V2, &request).await.unwrap().refused.unwrap();
    assert_eq!(refused.first, ["series m has more than 128 labels"]);
}

#[tokio::test]
async fn handles_that_have_expired_are_asked_for_again() {
    let world = world();
    let request = v1(&[&[("__name__", "up")]]);
    world.write(Version::V1, &request).await.unwrap();
    // As if the store had dropped the series and given its place away.
    let labels = message(|series| label(series, "__name__", "up"));
    let expired = SeriesRef { id: 0, generation: 9 };
    world.writer.v1.write().unwrap().add(labels.clone().into(), expired);
    let written = world.write(Version::V1, &request).await.unwrap();
    assert_eq!((written.samples, written.refused), (1, None));
    let found = world.writer.v1.read().unwrap().get(&labels).unwrap();
    assert_eq!(found.series, SeriesRef { id: 0, generation: 0 });
}

#[tokio::test]
async fn a_long_body_is_stored_like_any_other() {
    let world = world();
    let mut state = 1_u64;
    let values = (0..120_000).map(|at| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        float(at, f64::from_bits(state >> 2))
    });
    let (labels, samples) = (Labels::metric("noise"), values.collect::<Vec<_>>());
    let mut request = Vec::new();
    encode_v1([(&labels, &samples[..])], &mut request);
    assert!(deflate(&request).unwrap().len() > LONG_BYTES);
    assert_eq!(world.write(Version::V1, &request).await.unwrap().samples, 120_000);
}

proptest! {
    #[test]
    fn any_series_survives_the_way_in_either_version(
        series in prop::collection::btree_map(
            "[a-z_:]{1,8}",
            (
                prop::collection::btree_map("[a-zäß.]{1,5}", "\\PC{1,10}", 0..5),
                prop::collection::btree_map(0..100_000_i64, any::<f64>(), 1..5),
            ),
            0..8,
        )
    ) {
        let series: Stored = series.into_iter().map(|(name, (labels, samples))| {
            let labels = labels.into_iter().chain([(NAME.to_owned(), name)]);
            let samples = samples.into_iter().map(|(at, value)| float(at, value)).collect();
            (Labels::from_pairs(labels), samples)
        }).collect();
        let encoded = series.iter().map(|(labels, samples)| (labels, &samples[..]));
        let (mut v1, mut v2) = (Vec::new(), Vec::new());
        encode_v1(encoded.clone(), &mut v1);
        encode_v2(encoded, &mut v2);
        let mut sorted = series.clone();
        sorted.sort_by(|a, b| a.0.cmp(&b.0));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for (version, message) in [(Version::V1, v1), (Version::V2, v2)] {
            let world = world();
            let written = runtime.block_on(world.write(version, &message)).unwrap();
            prop_assert_eq!(written.refused, None);
            prop_assert_eq!(runtime.block_on(world.stored()), sorted.clone());
        }
    }
}
