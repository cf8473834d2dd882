//! What comes out of chunks is what went in, and damage is survived.

use std::sync::Arc;

use hms_ops_core::sample::{CounterReset, Histogram};
use hms_ops_core::time::{TimeRange, Timestamp};
use hms_ops_tsdb::chunk::{
    ChunkError, MAX_SAMPLES, XorDecoder, XorEncoder, decode_histograms, decode_times,
    decode_values, encode_histograms, encode_times, encode_values,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

proptest! {
    #[test]
    fn a_growing_chunk_holds_every_sample_after_every_push(samples in samples(60)) {
        let mut chunk = XorEncoder::new();
        for (i, &(at, value)) in samples.iter().enumerate() {
            chunk.push(at, value);
            prop_assert_eq!(xor_bits(chunk.bytes(), chunk.len()), Ok(bits(&samples[..=i])));
        }
        prop_assert_eq!(chunk.first_at(), samples.first().map(|(at, _)| *at));
        prop_assert_eq!(chunk.last_at(), samples.last().map(|(at, _)| *at));
        prop_assert_eq!(
            chunk.last_value().map(f64::to_bits),
            samples.last().map(|(_, value)| value.to_bits())
        );
        let (len, bytes) = (chunk.len(), chunk.bytes().to_vec());
        prop_assert_eq!(len, samples.len());
        prop_assert_eq!(chunk.finish().into_vec(), bytes);
    }

    #[test]
    fn a_growing_chunk_that_is_cut_short_yields_its_first_samples_and_one_error(
        samples in samples(60), cut: Index,
    ) {
        let (bytes, len) = xor(&samples);
        prop_assume!(len > 0);
        let decoded: Vec<_> =
            XorDecoder::new(&bytes[..cut.index(bytes.len())], len).unwrap().collect();
        let (last, whole) = decoded.split_last().unwrap();
        prop_assert!(matches!(last, Err(ChunkError::Truncated { .. })), "{:?}", last);
        let whole: Vec<_> = whole.iter().map(|sample| sample.clone().unwrap()).collect();
        prop_assert_eq!(bits(&whole), bits(&samples[..whole.len()]));
    }

    #[test]
    fn a_range_of_a_growing_chunk_has_the_samples_within_it(
        samples in samples(60), a: Index, b: Index,
    ) {
        prop_assume!(!samples.is_empty());
        let (bytes, len) = xor(&samples);
        let at = |index: Index| samples[index.index(len)].0;
        let range = TimeRange::new(Timestamp::from_millis(at(a)), Timestamp::from_millis(at(b)));
        let mut decoded = Vec::new();
        XorDecoder::new(&bytes, len).unwrap().decode_into(range, &mut decoded).unwrap();
        let decoded: Vec<_> = decoded
            .into_iter()
            .map(|sample| (sample.at.as_millis(), sample.value.as_float().unwrap()))
            .collect();
        let within: Vec<_> =
            samples.iter().copied().filter(|(t, _)| (at(a)..=at(b)).contains(t)).collect();
        prop_assert_eq!(bits(&decoded), bits(&within));
    }

    #[test]
    fn a_column_of_values_comes_back_bit_by_bit(values in values(300)) {
        let mut decoded = vec![1.0];
        decode_values(&values_bytes(&values), values.len(), &mut decoded).unwrap();
        prop_assert!(decoded[1..].iter().map(|v| v.to_bits()).eq(values.iter().map(|v| v.to_bits())));
    }

    #[test]
    fn a_column_of_times_comes_back(times in times(300)) {
        let mut decoded = vec![7];
        decode_times(&times_bytes(&times), times.len(), &mut decoded).unwrap();
        prop_assert_eq!(&decoded[1..], times);
    }

    #[test]
    fn a_run_of_histograms_comes_back_field_by_field(run in histograms(20)) {
        let mut bytes = Vec::new();
        encode_histograms(&run, &mut bytes);
        let mut decoded = Vec::new();
        decode_histograms(&bytes, run.len(), &mut decoded).unwrap();
        prop_assert_eq!(decoded, run);
    }

    #[test]
    fn columns_and_runs_that_are_cut_short_are_refused(
        values in values(300), times in times(300), run in histograms(8), cut: Index,
    ) {
        let mut bytes = values_bytes(&values);
        // One value for all samples is cut to another one.
        if bytes.len() > 9 {
            bytes.truncate(cut.index(bytes.len()));
            let decoded = decode_values(&bytes, values.len(), &mut Vec::new());
            prop_assert!(decoded.is_err() || bytes[0] == 33, "{:?}", bytes);
        }
        bytes = times_bytes(&times);
        if !bytes.is_empty() {
            bytes.truncate(cut.index(bytes.len()));
            prop_assert!(decode_times(&bytes, times.len(), &mut Vec::new()).is_err());
        }
        bytes.clear();
        encode_histograms(&run, &mut bytes);
        if !bytes.is_empty() {
            bytes.truncate(cut.index(bytes.len()));
            let mut decoded = Vec::new();
            prop_assert!(decode_histograms(&bytes, run.len(), &mut decoded).is_err());
            prop_assert_eq!(&decoded[..], &run[..decoded.len()]);
        }
    }

    #[test]
    fn damaged_chunks_never_panic(
        samples in samples(300), run in histograms(8), harm in vec(any::<(Index, u8)>(), 1..6),
        count in prop_oneof![Just(None), (0..600_usize).prop_map(Some)],
    ) {
        let (times, values): (Vec<_>, Vec<_>) = samples.iter().copied().unzip();
        let mut columns = [xor(&samples).0, values_bytes(&values), times_bytes(&times), Vec::new()];
        encode_histograms(&run, &mut columns[3]);
        for bytes in &mut columns {
            let len = bytes.len();
            for (at, byte) in harm.iter().filter(|_| len > 0) {
                // What is at the front decides most.
                let at = at.index(if byte % 2 == 0 { len } else { len.min(24) });
                bytes[at] ^= byte | 1;
            }
            decode_all(bytes, count.unwrap_or(samples.len()));
        }
    }

    #[test]
    fn bytes_from_anywhere_never_panic(
        bytes in vec(any::<u8>(), 0..200), tag in 0..40_u8, layout in 0..64_u8,
        count in prop_oneof![0..40_usize, 0..20_000_usize],
    ) {
        decode_all(&bytes, count);
        decode_all(&[&[tag, layout][..], &bytes].concat(), count);
        // With a header that packs numbers, so that the bytes are a page.
        decode_all(&[&[tag, layout, 0, 1][..], &bytes].concat(), count);
        decode_all(&[&[layout, 0, 1][..], &bytes].concat(), count);
    }
}

#[test]
fn scrapes_by_the_clock_of_a_value_that_stays_cost_two_bits() {
    let samples: Vec<_> = (0..240).map(|i| (T0 + 15_000 * i, 1.5)).collect();
    // The first sample is 16 bytes, the first interval 26 bits.
    assert_eq!(xor(&samples).0.len(), 16 + (26 + 238 * 2_usize).div_ceil(8));
}

#[test]
fn a_growing_chunk_is_small_itself() {
    assert!(size_of::<XorEncoder>() <= 56);
}

#[test]
fn jitter_of_milliseconds_costs_a_byte_a_sample() {
    let samples: Vec<_> = (0..240).map(|i| (T0 + 1_000 * i + i * 7 % 5, 1.5)).collect();
    assert!(xor(&samples).0.len() < 16 + 240, "{}", xor(&samples).0.len());
}

#[test]
fn a_column_of_values_takes_little_more_than_what_cannot_be_foretold() {
    let mut noise = Noise(1);
    let mut sum = 0;
    let gauge: Vec<_> = (0..480).map(|_| (50_000 + noise.bits(10)) as f64 / 1000.0).collect();
    let pages: Vec<_> = (0..480).map(|_| (4096 * noise.bits(8)) as f64).collect();
    let counter: Vec<_> = (0..480)
        .map(|_| {
            sum += noise.bits(6);
            sum as f64
        })
        .collect();
    for (values, bits) in [(gauge, 10), (pages, 8), (counter, 6)] {
        let (taken, noise) = (values_bytes(&values).len(), 480 * bits / 8);
        assert!((noise..noise + 30).contains(&taken), "{taken} bytes, {noise} of noise");
    }
}

#[test]
fn a_column_of_one_value_takes_a_byte_and_what_the_value_needs() {
    for (value, bytes) in [(0.0, 1), (1.0, 3), (-0.0, 2), (0.1, 9)] {
        assert_eq!(values_bytes(&[value; 480]).len(), bytes);
    }
}

#[test]
fn a_mark_of_staleness_does_not_spoil_a_column_of_whole_numbers() {
    let mut values: Vec<_> = (0..480).map(f64::from).collect();
    let before = values_bytes(&values).len();
    values[100] = STALE;
    assert!(values_bytes(&values).len() < before + 40, "{}", values_bytes(&values).len());
}

#[test]
fn a_column_of_times_by_the_clock_takes_a_few_bytes() {
    let times: Vec<_> = (0..480).map(|i| T0 + 15_000 * i).collect();
    assert!(times_bytes(&times).len() <= 12, "{}", times_bytes(&times).len());
}

#[test]
fn a_gap_in_a_column_of_times_costs_some_bytes_once() {
    let times: Vec<_> =
        (0..480).map(|i| T0 + 15_000 * i + if i < 200 { 0 } else { 60_000 }).collect();
    assert!(times_bytes(&times).len() <= 40, "{}", times_bytes(&times).len());
}

#[test]
fn a_histogram_whose_counts_grow_a_little_takes_a_byte_for_each() {
    let run: Vec<_> = (0..100)
        .map(|i| {
            let n = f64::from(i);
            let positive = (0..10).map(|bucket| (bucket, n)).collect();
            (
                T0 + 15_000 * i64::from(i),
                Arc::new(Histogram { count: 10.0 * n, sum: n, positive, ..EMPTY }),
            )
        })
        .collect();
    let mut bytes = Vec::new();
    encode_histograms(&run, &mut bytes);
    assert!(bytes.len() < 100 * 14 + 40, "{}", bytes.len());
}

#[test]
fn times_that_do_not_ascend_are_refused() {
    for times in [[1, 1], [2, 1], [i64::MAX, i64::MIN]] {
        let refused = times_bytes(&times);
        let error = decode_times(&refused, 2, &mut Vec::new()).unwrap_err();
        assert_eq!(error, ChunkError::OutOfOrder { index: 1, at: times[1] });
        let (bytes, len) = xor(&times.map(|at| (at, 1.0)));
        assert_eq!(xor_bits(&bytes, len), Err(error));
    }
}

#[test]
fn more_samples_than_a_chunk_may_have_are_refused() {
    let count = MAX_SAMPLES + 1;
    let error = ChunkError::TooLong { count };
    assert_eq!(error.to_string(), "a chunk of 16385 samples, the limit is 16384");
    assert_eq!(XorDecoder::new(&[], count).err(), Some(error.clone()));
    assert_eq!(decode_values(&[33], count, &mut Vec::new()), Err(error.clone()));
    assert_eq!(decode_times(&[0, 0], count, &mut Vec::new()), Err(error.clone()));
    assert_eq!(decode_histograms(&[], count, &mut Vec::new()), Err(error));
}

#[test]
fn a_histogram_of_many_edges_is_written_out_each_time() {
    let custom_edges: Vec<_> = (0..1000).map(f64::from).collect();
    let histogram = Arc::new(Histogram { schema: -53, custom_edges, ..EMPTY });
    let run = [(1, Arc::clone(&histogram)), (2, histogram)];
    let mut bytes = Vec::new();
    encode_histograms(&run, &mut bytes);
    assert!(bytes.len() > 16_000, "{}", bytes.len());
    let mut decoded = Vec::new();
    decode_histograms(&bytes, 2, &mut decoded).unwrap();
    assert_eq!(decoded, run);
}

/// 2026-01-01T00:00:00Z.
const T0: i64 = 1_767_225_600_000;
const STALE: f64 = f64::from_bits(0x7ff0_0000_0000_0002);
const HOSTILE: &[f64] = &[
    0.0,
    -0.0,
    f64::NAN,
    -f64::NAN,
    STALE,
    f64::INFINITY,
    f64::MIN,
    f64::MIN_POSITIVE,
    5e-324,
    9e15,
    1e16,
];
const RESETS: &[CounterReset] =
    &[CounterReset::Unknown, CounterReset::Reset, CounterReset::NotReset, CounterReset::Gauge];
const EMPTY: Histogram = Histogram {
    schema: 0,
    zero_threshold: 0.0,
    zero_count: 0.0,
    count: 0.0,
    sum: 0.0,
    positive: Vec::new(),
    negative: Vec::new(),
    custom_edges: Vec::new(),
    reset: CounterReset::Unknown,
};

/// Numbers without a pattern, the same in every run.
struct Noise(u64);

impl Noise {
    fn bits(&mut self, bits: u32) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        self.0 >> (64 - bits)
    }
}

/// Strictly ascending, from regular to anything.
fn times(up_to: usize) -> impl Strategy<Value = Vec<i64>> {
    let anywhere = vec(any::<i64>(), 0..up_to).prop_map(|mut times| {
        times.extend([i64::MIN, i64::MAX].iter().take(times.len() % 3));
        times.sort_unstable();
        times.dedup();
        times
    });
    let steps = (any::<i64>(), 1..100_000_i64, 0..100_i64, vec(any::<u16>(), 0..up_to));
    let regular = steps.prop_map(|(start, step, jitter, steps)| {
        let mut at = start.clamp(-(1 << 60), 1 << 60);
        let next = |noise: u16| {
            at += step + i64::from(noise) % (jitter + 1) + if noise < 99 { 1 << 40 } else { 0 };
            at
        };
        steps.into_iter().map(next).collect()
    });
    prop_oneof![anywhere, regular]
}

/// Of one kind or of several.
fn values(up_to: usize) -> impl Strategy<Value = Vec<f64>> {
    let any_bits = any::<u64>().prop_map(f64::from_bits).boxed();
    let whole = (-300..300_i32).prop_map(f64::from).boxed();
    let large = any::<i64>().prop_map(|n| n as f64).boxed();
    let decimal =
        (any::<i32>(), 0..12).prop_map(|(n, power)| f64::from(n) / 10_f64.powi(power)).boxed();
    let hostile = select(HOSTILE).boxed();
    let mixed = prop_oneof![
        20 => whole.clone(), 5 => decimal.clone(), 1 => any_bits.clone(), 1 => hostile.clone()
    ];
    let mostly_whole = prop_oneof![40 => whole.clone(), 1 => Just(STALE)];
    prop_oneof![
        vec(any_bits.clone(), 0..up_to),
        vec(whole, 0..up_to),
        vec(large, 0..up_to),
        vec(decimal, 0..up_to),
        vec(hostile, 0..up_to),
        vec(mixed, 0..up_to),
        vec(mostly_whole, 0..up_to),
        (any_bits, 0..up_to).prop_map(|(value, count)| vec![value; count]),
    ]
}

fn samples(up_to: usize) -> impl Strategy<Value = Vec<(i64, f64)>> {
    (times(up_to), values(up_to))
        .prop_map(|(times, values)| times.into_iter().zip(values).collect())
}

/// Schema, bits of the zero threshold, buckets above and below zero, bits of edges.
type Layout = (i8, u64, Vec<i32>, Vec<i32>, Vec<u64>);

/// Runs in which some histograms have the buckets of the one before.
fn histograms(up_to: usize) -> impl Strategy<Value = Vec<(i64, Arc<Histogram>)>> {
    let number = || prop_oneof![4 => (0..1000_u32).prop_map(f64::from), 1 => any::<u64>().prop_map(f64::from_bits)];
    let layout = (
        any::<i8>(),
        any::<u64>(),
        vec(any::<i32>(), 0..4),
        vec(-9..9_i32, 0..4),
        vec(any::<u64>(), 0..4),
    );
    let one = (layout, any::<bool>(), select(RESETS), vec(number(), 11));
    (times(up_to), vec(one, up_to)).prop_map(|(times, all)| {
        let mut last: Option<Layout> = None;
        let histogram = |(at, (layout, same, reset, numbers)): (i64, _)| {
            let layout = last.take().filter(|_| same).unwrap_or(layout);
            let (schema, zero, positive, negative, edges) = last.insert(layout).clone();
            let mut numbers: std::vec::IntoIter<f64> = Vec::into_iter(numbers);
            let mut next = || numbers.next().unwrap_or(0.0);
            let histogram = Histogram {
                schema,
                zero_threshold: f64::from_bits(zero),
                zero_count: next(),
                count: next(),
                sum: next(),
                positive: positive.into_iter().map(|i| (i, next())).collect(),
                negative: negative.into_iter().map(|i| (i, next())).collect(),
                custom_edges: edges.into_iter().map(f64::from_bits).collect(),
                reset,
            };
            (at, Arc::new(histogram))
        };
        times.into_iter().zip(all).map(histogram).collect()
    })
}

fn xor(samples: &[(i64, f64)]) -> (Vec<u8>, usize) {
    let mut chunk = XorEncoder::new();
    samples.iter().for_each(|(at, value)| chunk.push(*at, *value));
    (chunk.bytes().to_vec(), chunk.len())
}

fn xor_bits(bytes: &[u8], len: usize) -> Result<Vec<(i64, u64)>, ChunkError> {
    let decoded: Result<Vec<_>, _> = XorDecoder::new(bytes, len)?.collect();
    decoded.map(|samples| bits(&samples))
}

fn bits(samples: &[(i64, f64)]) -> Vec<(i64, u64)> {
    samples.iter().map(|(at, value)| (*at, value.to_bits())).collect()
}

fn values_bytes(values: &[f64]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_values(values, &mut bytes);
    bytes
}

fn times_bytes(times: &[i64]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_times(times, &mut bytes);
    bytes
}

/// Decodes as everything; what is decoded has as many samples as were asked for.
fn decode_all(bytes: &[u8], count: usize) {
    if let Ok(chunk) = XorDecoder::new(bytes, count) {
        assert!(chunk.count() <= count);
    }
    let (mut values, mut times, mut run) = (Vec::new(), Vec::new(), Vec::new());
    match decode_values(bytes, count, &mut values) {
        Ok(()) => assert_eq!(values.len(), count),
        Err(_) => assert!(values.is_empty()),
    }
    match decode_times(bytes, count, &mut times) {
        Ok(()) => assert!(times.len() == count && times.is_sorted()),
        Err(_) => assert!(times.is_empty()),
    }
    if decode_histograms(bytes, count, &mut run).is_ok() {
        assert_eq!(run.len(), count);
    }
}
