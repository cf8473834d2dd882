//! The facts are those of Prometheus' own test files.

use super::classic::{Bucket as Classic, bucket_fraction, bucket_quantile, nhcb_from_classic};
use super::*;

/// Reads the notation of test files.
fn parse(text: &str) -> Histogram {
    let inner = text.strip_prefix("{{").and_then(|t| t.strip_suffix("}}")).unwrap();
    let mut h = Histogram {
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
    let (mut offset, mut n_offset) = (0, 0);
    let (mut buckets, mut n_buckets) = (Vec::new(), Vec::new());
    let numbers = |list: &str| -> Vec<f64> {
        list.trim_matches(['[', ']']).split_whitespace().map(|n| n.parse().unwrap()).collect()
    };
    let mut rest = inner.trim();
    while let Some((key, after)) = rest.split_once(':') {
        let end = if after.starts_with('[') {
            after.find(']').unwrap() + 1
        } else {
            after.find(' ').unwrap_or(after.len())
        };
        let value = &after[..end];
        match key {
            "schema" => h.schema = value.parse().unwrap(),
            "count" => h.count = value.parse().unwrap(),
            "sum" => h.sum = value.parse().unwrap(),
            "z_bucket" => h.zero_count = value.parse().unwrap(),
            "z_bucket_w" => h.zero_threshold = value.parse().unwrap(),
            "offset" => offset = value.parse().unwrap(),
            "n_offset" => n_offset = value.parse().unwrap(),
            "buckets" => buckets = numbers(value),
            "n_buckets" => n_buckets = numbers(value),
            "custom_values" => h.custom_edges = numbers(value),
            "counter_reset_hint" => {
                h.reset = match value {
                    "gauge" => CounterReset::Gauge,
                    "reset" => CounterReset::Reset,
                    "not_reset" => CounterReset::NotReset,
                    _ => CounterReset::Unknown,
                }
            }
            _ => panic!("{key} in {text}"),
        }
        rest = after[end..].trim_start();
    }
    h.positive = (offset..).zip(buckets).collect();
    h.negative = (n_offset..).zip(n_buckets).collect();
    compact(&mut h);
    h
}

fn near(a: f64, b: f64) -> bool {
    a.to_bits() == b.to_bits()
        || a == b
        || (a.is_nan() && b.is_nan())
        || (a - b).abs() <= 1e-9 * a.abs().max(b.abs())
}

#[track_caller]
fn assert_near(found: f64, expected: f64) {
    assert!(near(found, expected), "{found}, not {expected}");
}

/// What is known about resets is compared where the expectation says it.
#[track_caller]
fn assert_like(found: &Histogram, expected: &str) {
    let e = parse(expected);
    let sides = |a: &[(i32, f64)], b: &[(i32, f64)]| {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0 == b.0 && near(a.1, b.1))
    };
    let same = found.schema == e.schema
        && found.zero_threshold == e.zero_threshold
        && near(found.zero_count, e.zero_count)
        && near(found.count, e.count)
        && near(found.sum, e.sum)
        && sides(&found.positive, &e.positive)
        && sides(&found.negative, &e.negative)
        && found.custom_edges == e.custom_edges
        && (e.reset == CounterReset::Unknown || e.reset == found.reset);
    assert!(same, "{}, not {expected}", to_test_expression(found));
}

fn classic<const N: usize>(buckets: [(f64, f64); N]) -> Vec<Classic> {
    buckets.map(|(upper, count)| Classic { upper, count }).to_vec()
}

const INF: f64 = f64::INFINITY;

mod addition {
    use super::*;

    #[test]
    fn keeps_the_coarser_schema_and_adds_bucket_by_bucket() {
        for (a, b, sum) in [
            (
                "{{schema:0 sum:4 count:4 buckets:[1 2 1]}}",
                "{{sum:2 count:1 buckets:[1] offset:1}}",
                "{{count:5 sum:6 buckets:[1 3 1]}}",
            ),
            (
                "{{schema:-1 sum:4 count:1 buckets:[1] offset:1}}",
                "{{schema:0 sum:4 count:4 buckets:[2 2] offset:1}}",
                "{{schema:-1 count:5 sum:8 offset:1 buckets:[5]}}",
            ),
            (
                "{{schema:0 sum:4 count:4 buckets:[1 2 1]}}",
                "{{schema:0 sum:-4 count:4 n_buckets:[1 2 1]}}",
                "{{count:8 buckets:[1 2 1] n_buckets:[1 2 1]}}",
            ),
            (
                "{{schema:0 count:25 sum:3.1 z_bucket:4 z_bucket_w:0.001 buckets:[1 2 0 1 1] n_buckets:[2 4 0 0 1 9]}}",
                "{{schema:1 count:0 sum:1.3 z_bucket:3 z_bucket_w:0.001 buckets:[2 4 2 3 2 2] n_buckets:[1 2 5 3 8 1 1 1 1 6 3]}}",
                "{{schema:0 count:25 sum:4.4 z_bucket:7 z_bucket_w:0.001 buckets:[3 8 5 3 1] n_buckets:[3 11 11 2 3 18]}}",
            ),
        ] {
            assert_like(&add(&parse(a), &parse(b)).unwrap().histogram, sum);
        }
    }

    #[test]
    fn subtraction_gives_a_gauge() {
        let fine = "{{schema:1 count:11 sum:1234.5 z_bucket:3 z_bucket_w:0.001 buckets:[0 2 1] n_buckets:[0 0 3 2]}}";
        let coarse = "{{schema:0 count:41 sum:2345.6 z_bucket:5 z_bucket_w:0.001 buckets:[1 3 1 2 1 1 1] n_buckets:[0 1 4 2 7 0 0 0 0 5 5 2]}}";
        assert_like(
            &sub(&parse(coarse), &parse(fine)).unwrap().histogram,
            "{{schema:0 count:30 sum:1111.1 z_bucket:2 z_bucket_w:0.001 buckets:[1 0 1 2 1 1 1] n_buckets:[0 -2 2 2 7 0 0 0 0 5 5 2] counter_reset_hint:gauge}}",
        );
        assert_like(
            &sub(&parse(fine), &parse(coarse)).unwrap().histogram,
            "{{schema:0 count:-30 sum:-1111.1 z_bucket:-2 z_bucket_w:0.001 buckets:[-1 0 -1 -2 -1 -1 -1] n_buckets:[0 2 -2 -2 -7 0 0 0 0 -5 -5 -2] counter_reset_hint:gauge}}",
        );
    }

    #[test]
    fn widens_the_bucket_around_zero_to_the_end_of_a_bucket_of_either() {
        let wide = parse("{{z_bucket:1 z_bucket_w:3 count:1}}");
        let narrow = parse(
            "{{z_bucket:2 z_bucket_w:0.5 count:17 offset:1 buckets:[3 4 0 5] n_buckets:[2 1]}}",
        );
        let sum = "{{z_bucket:13 z_bucket_w:4 count:18 offset:4 buckets:[5]}}";
        assert_like(&add(&wide, &narrow).unwrap().histogram, sum);
        assert_like(&add(&narrow, &wide).unwrap().histogram, sum);
    }

    #[test]
    fn of_different_custom_edges_keeps_the_common_ones_and_says_so() {
        let a = parse(
            "{{schema:-53 sum:555 count:450 custom_values:[1 2 3 4 5 6 7 8] buckets:[10 20 30 40 50 60 70 80 90]}}",
        );
        let b = parse("{{schema:-53 sum:55 count:15 custom_values:[2 4 6] buckets:[1 2 5 7]}}");
        let outcome = sub(&a, &b).unwrap();
        assert!(outcome.reconciled_edges);
        assert_like(
            &outcome.histogram,
            "{{schema:-53 sum:500 count:435 custom_values:[2 4 6] buckets:[29 68 105 233]}}",
        );
        let same = parse("{{schema:-53 sum:1 count:1 custom_values:[2 4 6] buckets:[1]}}");
        assert!(!add(&b, &same).unwrap().reconciled_edges);
    }

    #[test]
    fn of_exponential_and_custom_buckets_is_refused() {
        let (a, b) =
            (parse("{{count:1 buckets:[1]}}"), parse("{{schema:-53 count:1 buckets:[1]}}"));
        assert_eq!(add(&a, &b), Err(Incompatible));
        let mut sum = Sum::default();
        sum.push(&a).unwrap();
        assert_eq!(sum.push(&b), Err(Incompatible));
        assert_like(&sum.finish().unwrap().histogram, "{{count:1 buckets:[1]}}");
    }

    #[test]
    fn merges_what_is_known_about_resets() {
        use CounterReset::{Gauge, NotReset, Reset, Unknown};
        for (a, b, merged, conflict) in [
            (Gauge, NotReset, Gauge, false),
            (Unknown, Gauge, Gauge, false),
            (NotReset, NotReset, NotReset, false),
            (NotReset, Unknown, Unknown, false),
            (NotReset, Reset, Unknown, true),
        ] {
            let [a, b] =
                [a, b].map(|reset| Histogram { reset, ..parse("{{count:1 buckets:[1]}}") });
            let outcome = add(&a, &b).unwrap();
            assert_eq!((outcome.histogram.reset, outcome.conflicting_resets), (merged, conflict));
            assert_eq!(add(&b, &a).unwrap(), outcome);
        }
    }
}

mod scaling {
    use super::*;

    const H: &str =
        "{{count:30 sum:33 z_bucket:3 z_bucket_w:0.001 buckets:[3 3 3] n_buckets:[6 6 6]}}";

    #[test]
    fn multiplies_every_count() {
        assert_like(
            &scale(&parse(H), 3.0),
            "{{count:90 sum:99 z_bucket:9 z_bucket_w:0.001 buckets:[9 9 9] n_buckets:[18 18 18]}}",
        );
        assert_like(
            &divide(&parse(H), 3.0),
            "{{count:10 sum:11 z_bucket:1 z_bucket_w:0.001 buckets:[1 1 1] n_buckets:[2 2 2]}}",
        );
        assert_like(&scale(&parse(H), 0.0), "{{z_bucket_w:0.001}}");
    }

    #[test]
    fn below_zero_makes_a_gauge() {
        let negative = "{{count:-30 sum:-33 z_bucket:-3 z_bucket_w:0.001 buckets:[-3 -3 -3] n_buckets:[-6 -6 -6] counter_reset_hint:gauge}}";
        assert_like(&negate(&parse(H)), negative);
        assert_like(&divide(&parse(H), -1.0), negative);
    }

    #[test]
    fn by_zero_leaves_no_bucket() {
        assert_like(&divide(&parse(H), 0.0), "{{count:inf sum:inf z_bucket:inf z_bucket_w:0.001}}");
        assert_like(
            &divide(&scale(&parse(H), 0.0), 0.0),
            "{{count:NaN sum:NaN z_bucket:NaN z_bucket_w:0.001}}",
        );
    }
}

mod quantiles {
    use super::*;

    #[test]
    fn interpolate_exponentially_and_linearly_around_zero() {
        let positive =
            "{{schema:0 count:12 sum:100 z_bucket:2 z_bucket_w:0.001 buckets:[2 3 0 1 4]}}";
        let negative =
            "{{schema:0 count:12 sum:100 z_bucket:2 z_bucket_w:0.001 n_buckets:[2 3 0 1 4]}}";
        let both = "{{schema:0 count:24 sum:100 z_bucket:4 z_bucket_w:0.001 buckets:[2 3 0 1 4] n_buckets:[2 3 0 1 4]}}";
        for (h, q, value) in [
            (positive, 1.001, INF),
            (positive, 1.0, 16.0),
            (positive, 0.99, 15.67072476139083),
            (positive, 0.9, 12.99603834169977),
            (positive, 0.6, 4.594793419988138),
            (positive, 0.5, 1.5874010519681994),
            (positive, 0.1, 0.0006),
            (positive, 0.0, 0.0),
            (positive, -1.0, -INF),
            (negative, 1.001, INF),
            (negative, 1.0, 0.0),
            (negative, 0.99, -0.00006),
            (negative, 0.9, -0.0006),
            (negative, 0.5, -1.5874010519681996),
            (negative, 0.1, -12.996038341699768),
            (negative, 0.0, -16.0),
            (negative, -1.0, -INF),
            (both, 0.5416666666666666, 0.0005),
            (both, 0.4583333333333333, -0.0005),
            ("{{schema:0 count:8 buckets:[1 2 1] n_buckets:[1 2 1]}}", 0.5, 0.5),
            ("{{z_bucket:1 z_bucket_w:0.5 sum:0.25 count:1}}", 0.5, 0.0),
            ("{{schema:-1 sum:6 count:5 buckets:[0 5]}}", 0.5, 2.0),
            ("{{schema:1 sum:4 count:5 n_buckets:[0 0 5]}}", 0.5, -1.6817928305074292),
            ("{{schema:-53 sum:5 count:4 custom_values:[5 10] buckets:[1 2 1]}}", 0.5, 7.5),
            ("{{schema:-53 sum:5 count:4 custom_values:[5 10] buckets:[1 2 1]}}", 1.0, 10.0),
            ("{{schema:-53 sum:5 count:4 custom_values:[5 10] buckets:[4]}}", 0.5, 2.5),
            ("{{schema:-53 sum:5 count:4 custom_values:[-5 10] buckets:[4]}}", 0.5, -5.0),
            ("{{}}", 0.5, f64::NAN),
            (positive, f64::NAN, f64::NAN),
        ] {
            assert_near(quantile(q, &parse(h)).0, value);
        }
        // As Prometheus rounds it.
        assert_eq!(
            quantile(0.5, &parse("{{count:14 sum:24 buckets:[1 12 1]}}")).0,
            1.414213562373095
        );
    }

    #[test]
    fn say_when_observations_are_no_number() {
        let all = parse("{{count:3 sum:NaN}}");
        let fifth = parse("{{count:15 sum:NaN buckets:[12]}}");
        let (nan, skewed) = (Some(QuantileNote::ResultIsNan), Some(QuantileNote::SkewedHigher));
        for (h, q, value, note) in [
            (&all, 1.0, f64::NAN, nan),
            (&all, 0.4, f64::NAN, nan),
            (&fifth, 0.81, f64::NAN, nan),
            (&fifth, 0.8, 1.0, skewed),
            (&fifth, 0.4, 0.7071067811865475, skewed),
        ] {
            let found = quantile(q, h);
            assert_near(found.0, value);
            assert_eq!(found.1, note);
        }
        assert_eq!(fraction(-INF, INF, &all), (0.0, true));
        assert_eq!(fraction(-INF, INF, &fifth), (0.8, true));
        let found = fraction(-INF, 0.7071067811865475, &fifth);
        assert_near(found.0, 0.4);
        assert!(found.1);
    }

    #[test]
    fn have_fractions_as_their_inverse() {
        let positive = "{{count:12 sum:100 z_bucket:2 z_bucket_w:0.001 buckets:[2 3 0 1 4]}}";
        let negative = "{{count:12 sum:100 z_bucket:2 z_bucket_w:0.001 n_buckets:[2 3 0 1 4]}}";
        let both = "{{count:24 sum:100 z_bucket:4 z_bucket_w:0.001 buckets:[2 3 0 1 4] n_buckets:[2 3 0 1 4]}}";
        for (h, lower, upper, expected) in [
            (positive, 0.0, INF, 1.0),
            (positive, -INF, 0.0, 0.0),
            (positive, -0.001, 0.0, 0.0),
            (positive, 0.0, 0.001, 0.16666666666666666),
            (positive, 0.001, INF, 0.8333333333333334),
            (positive, 0.0, 0.0005, 0.08333333333333333),
            (positive, 1.0, 2.0, 0.25),
            (positive, 0.0, 1.5, 0.4795739585136224),
            (positive, 1.5, 6.0, 0.15250624987980724),
            (positive, -8.0, -1.0, 0.0),
            (positive, 42.0, 3.1415, 0.0),
            (positive, 42.0, 42.0, 0.0),
            (positive, f64::NAN, 42.0, f64::NAN),
            (negative, 0.0, INF, 0.0),
            (negative, -INF, 0.0, 1.0),
            (negative, -0.0005, 0.0, 0.08333333333333333),
            (negative, -INF, -0.0005, 0.9166666666666666),
            (negative, -2.0, -1.5, 0.10375937481971091),
            (negative, -INF, -6.0, 0.36791979160657035),
            (both, -0.0005, 0.0005, 0.08333333333333333),
            (both, 0.001, INF, 0.4166666666666667),
            (both, -2.0, -1.5, 0.051879687409855456),
            (both, 1.5, 6.0, 0.07625312493990366),
            ("{{}}", 3.0, 4.0, f64::NAN),
            ("{{schema:-53 sum:5 count:4 custom_values:[5 10] buckets:[1 2 1]}}", 5.0, 10.0, 0.5),
        ] {
            assert_near(fraction(lower, upper, &parse(h)).0, expected);
        }
    }

    #[test]
    fn deviate_from_the_mean_by_the_middles_of_buckets() {
        for (h, deviation) in [
            ("{{schema:2 count:4 sum:10 buckets:[1 0 0 0 1 0 0 1 1]}}", 1.0787993180043811),
            ("{{schema:8 count:10 sum:10 buckets:[1 2 3 4]}}", 0.0048960313898237465),
            (
                "{{schema:0 count:10 sum:-112946 n_buckets:[0 0 1 1 1 0 1 1 0 0 3 0 0 0 1 0 0 1]}}",
                27556.344499842,
            ),
            (
                "{{schema:-53 count:110 sum:330 custom_values:[0 0.1 0.2 1] offset:1 buckets:[50 20 40]}}",
                2.7435461458749795,
            ),
        ] {
            let h = parse(h);
            assert!((stddev(&h) - deviation).abs() < 1e-9 * deviation, "{}", stddev(&h));
            assert_near(stdvar(&h), stddev(&h).powi(2));
        }
        assert_near(average(&parse("{{count:14 sum:24 buckets:[1 12 1]}}")), 1.7142857142857142);
        assert!(average(&parse("{{}}")).is_nan());
    }
}

mod classic_buckets {
    use super::*;

    #[test]
    fn are_interpolated_linearly_from_zero() {
        let positive = [(0.1, 50.0), (0.2, 70.0), (1.0, 110.0), (INF, 120.0)];
        let negative = [(-0.2, 10.0), (-0.1, 20.0), (0.3, 20.0), (INF, 30.0)];
        for (buckets, q, value) in [
            (positive, 0.0, 0.0),
            (negative, 0.0, -0.2),
            (positive, 1.0, 1.0),
            (negative, 1.0, 0.3),
            (positive, 0.2, 0.048),
            (negative, 0.2, -0.2),
            (positive, 0.5, 0.15),
            (negative, 0.5, -0.15),
            (positive, 0.8, 0.72),
            (negative, 0.8, 0.3),
            (positive, -0.1, -INF),
            (positive, 1.01, INF),
            (positive, f64::NAN, f64::NAN),
            ([(1.0, 0.0), (2.0, 0.0), (3.0, 0.0), (INF, 0.0)], 0.5, f64::NAN),
            ([(0.0, 1.0), (1.0, 2.0), (2.0, 3.0), (3.0, 4.0)], 0.5, f64::NAN),
        ] {
            assert_near(bucket_quantile(q, &mut classic(buckets)).0, value);
        }
        let nan = [(1.0, f64::NAN), (2.0, f64::NAN), (INF, f64::NAN)];
        assert_eq!(bucket_quantile(0.5, &mut classic(nan)).0, 2.0);
        assert!(bucket_quantile(0.5, &mut Vec::new()).0.is_nan());
        assert!(bucket_quantile(0.5, &mut classic([(INF, 5.0)])).0.is_nan());
    }

    #[test]
    fn are_sorted_and_merged_first() {
        let buckets = [(INF, 4.0), (0.2, 1.0), (0.1, 1.0), (0.2, 1.0), (0.2, 1.0)];
        let mut buckets = classic(buckets);
        assert_near(bucket_quantile(0.5, &mut buckets).0, 0.15);
        assert_eq!(buckets, classic([(0.1, 1.0), (0.2, 3.0), (INF, 4.0)]));
    }

    #[test]
    fn that_fall_are_raised_and_reported() {
        let falling =
            [(0.1, 20.0), (1.0, 10.0), (10.0, 50.0), (100.0, 40.0), (1000.0, 90.0), (INF, 80.0)];
        for (q, value) in [(0.01, 0.0045), (0.5, 8.5), (0.99, 979.75)] {
            let (found, monotonicity) = bucket_quantile(q, &mut classic(falling));
            assert_near(found, value);
            assert!(monotonicity.forced);
            assert_eq!((monotonicity.lowest, monotonicity.highest), (1.0, INF));
            assert_eq!(monotonicity.largest, 10.0);
        }
    }

    #[test]
    fn that_fall_by_rounding_only_are_levelled_and_not_reported() {
        let mut buckets = classic([(1.0, 1.0 + 1e-14), (2.0, 1.0), (3.0, 2.0), (INF, 2.0 - 1e-13)]);
        assert!(!bucket_quantile(0.5, &mut buckets).1.forced);
        assert_eq!(buckets[1].count, 1.0 + 1e-14);
        assert_eq!(buckets[3].count, 2.0);
    }

    #[test]
    fn have_fractions() {
        let positive = [(1.0, 1.0), (2.0, 3.0), (3.0, 6.0), (INF, 100.0)];
        let negative = [(-3.0, 10.0), (-2.0, 12.0), (-1.0, 15.0), (INF, 100.0)];
        for (buckets, lower, upper, expected) in [
            (positive, 0.0, 1.5, 0.02),
            (negative, -4.0, -2.0, 0.02),
            (negative, -INF, -1.5, 0.135),
            (positive, -INF, INF, 1.0),
            (negative, -INF, INF, 1.0),
            (positive, 4.0, 5.0, 0.0),
            (negative, 0.0, 1.0, 0.0),
            (positive, 2.0, 5.0, 0.03),
            (positive, 400.0, INF, 0.94),
            (positive, 2.0, 2.0, 0.0),
            (positive, 3.0, 2.0, 0.0),
            (positive, 0.5, 2.0, 0.025),
            (positive, 1.0, 3.0, 0.05),
            (positive, -10.0, -5.0, 0.0),
            (positive, f64::NAN, 1.0, f64::NAN),
        ] {
            assert_near(bucket_fraction(lower, upper, &mut classic(buckets)), expected);
            // As the native histogram of the same buckets has them.
            let native = nhcb_from_classic(&mut classic(buckets), None, None).unwrap();
            assert_near(fraction(lower, upper, &native).0, expected);
        }
        assert_near(bucket_fraction(0.0, 1.0, &mut classic([(INF, 100.0)])), 0.0);
        let zero = [(-2.0, 5.0), (-1.0, 10.0), (0.0, 15.0), (1.0, 20.0), (INF, 100.0)];
        assert_near(bucket_fraction(-1.0, 1.0, &mut classic(zero)), 0.1);
    }

    #[test]
    fn make_a_native_histogram_with_custom_edges() {
        let buckets = [(0.0, 9.0), (1.0, 9.0), (2.0, 10.0), (4.0, 18.0)];
        let native = nhcb_from_classic(&mut classic(buckets), None, None).unwrap();
        let expected = "{{schema:-53 count:18 custom_values:[0 1 2 4] buckets:[9 0 1 8]}}";
        assert_like(&native, expected);
        let equal = [(0.1, 1.0), (0.2, 1.0), (0.2, 1.0), (0.2, 1.0), (INF, 4.0)];
        let native = nhcb_from_classic(&mut classic(equal), Some(3.5), Some(4.0)).unwrap();
        let expected = "{{schema:-53 count:4 sum:3.5 custom_values:[0.1 0.2] buckets:[1 0 3]}}";
        assert_like(&native, expected);
        for (buckets, count) in
            [([(1.0, 2.0), (2.0, 1.0)], None), ([(1.0, 2.0), (INF, 3.0)], Some(4.0))]
        {
            assert!(nhcb_from_classic(&mut classic(buckets), None, count).is_err());
        }
    }
}

mod sums_and_means {
    use super::*;

    fn sum_of(histograms: &[&str]) -> Outcome {
        let mut sum = Sum::default();
        histograms.iter().for_each(|h| sum.push(&parse(h)).unwrap());
        sum.finish().unwrap()
    }

    fn mean_of(histograms: &[&str]) -> Outcome {
        let mut mean = Mean::default();
        histograms.iter().for_each(|h| mean.push(&parse(h)).unwrap());
        mean.finish().unwrap()
    }

    #[test]
    fn of_nothing_are_nothing() {
        assert!(Sum::default().finish().is_none() && Mean::default().finish().is_none());
    }

    #[test]
    fn lose_nothing_to_rounding() {
        let huge = [
            "{{count:1 sum:5.3}}",
            "{{count:2 sum:1e100}}",
            "{{count:3 sum:1}}",
            "{{count:4 sum:-1e100}}",
            "{{count:5 sum:2}}",
            "{{count:6 sum:1e50}}",
            "{{count:7 sum:-1e50}}",
        ];
        assert_like(&sum_of(&huge).histogram, "{{count:28 sum:8.3}}");
        assert_like(&mean_of(&huge).histogram, "{{count:4 sum:1.1857142857142857}}");
        let four = [
            "{{schema:0 count:25 sum:3.1 z_bucket:4 z_bucket_w:0.001 buckets:[1 2 0 1 1] n_buckets:[2 4 0 0 1 9]}}",
            "{{schema:0 count:41 sum:1e100 z_bucket:5 z_bucket_w:0.001 buckets:[1 3 1 2 1 1 1] n_buckets:[0 1 4 2 7 0 0 0 0 5 5 2]}}",
            "{{schema:0 count:41 sum:-1e100 z_bucket:5 z_bucket_w:0.001 buckets:[1 3 1 2 1 1 1] n_buckets:[0 1 4 2 7 0 0 0 0 5 5 2]}}",
            "{{schema:1 count:0 sum:1.3 z_bucket:3 z_bucket_w:0.001 buckets:[2 4 2 3 2 2] n_buckets:[1 2 5 3 8 1 1 1 1 6 3]}}",
        ];
        assert_like(
            &sum_of(&four).histogram,
            "{{schema:0 count:107 sum:4.4 z_bucket:17 z_bucket_w:0.001 buckets:[5 14 7 7 3 2 2] n_buckets:[3 13 19 6 17 18 0 0 0 10 10 4]}}",
        );
        assert_like(
            &mean_of(&four).histogram,
            "{{schema:0 count:26.75 sum:1.1 z_bucket:4.25 z_bucket_w:0.001 buckets:[1.25 3.5 1.75 1.75 0.75 0.5 0.5] n_buckets:[0.75 3.25 4.75 1.5 4.25 4.5 0 0 0 2.5 2.5 1]}}",
        );
    }

    #[test]
    fn only_a_sum_becomes_infinite_when_numbers_end() {
        let large = |sums: &[&str]| -> Vec<String> {
            let counts =
                ["1.7976931348623157e+308", "1e308"].into_iter().chain(std::iter::repeat("1e-6"));
            counts
                .zip(sums)
                .map(|(count, sum)| format!("{{{{count:{count} sum:{sum}}}}}"))
                .collect()
        };
        for (sums, sum, mean) in [
            (
                &["5.3", "1e100", "1", "-1e100", "2", "0", "0"][..],
                "{{count:inf sum:8.3}}",
                "{{count:3.9967044783747367e+307 sum:1.1857142857142857}}",
            ),
            (
                &["5.3", "1e100", "-1e100", "1", "1e50", "-1e50", "0"],
                "{{count:inf sum:6.3}}",
                "{{count:3.9967044783747367e+307 sum:0.9}}",
            ),
            (
                &["1", "1e100", "1", "-1e100"],
                "{{count:inf sum:2}}",
                "{{count:6.99423283715579e+307 sum:0.5}}",
            ),
        ] {
            let histograms = large(sums);
            let histograms: Vec<_> = histograms.iter().map(String::as_str).collect();
            assert_like(&sum_of(&histograms).histogram, sum);
            assert_like(&mean_of(&histograms).histogram, mean);
        }
    }

    #[test]
    fn of_one_are_that_one() {
        for h in [
            "{{schema:3 sum:5 count:4 buckets:[1 2 1]}}",
            "{{schema:-53 sum:1 count:5 custom_values:[5 10] buckets:[1 4]}}",
        ] {
            assert_eq!(mean_of(&[h]).histogram, parse(h));
            assert_eq!(sum_of(&[h]).histogram, parse(h));
        }
    }

    #[test]
    fn reconcile_custom_edges_and_report_conflicts() {
        let three = [
            "{{schema:-53 sum:1 count:1 custom_values:[5] buckets:[1]}}",
            "{{schema:-53 sum:1 count:1 custom_values:[5] buckets:[1] counter_reset_hint:reset}}",
            "{{schema:-53 sum:1 count:1 custom_values:[5 10] buckets:[1] counter_reset_hint:not_reset}}",
        ];
        let sum = sum_of(&three);
        assert_like(&sum.histogram, "{{schema:-53 count:3 sum:3 custom_values:[5] buckets:[3]}}");
        assert!(sum.reconciled_edges && sum.conflicting_resets);
        let mean = mean_of(&three);
        assert_like(&mean.histogram, "{{schema:-53 count:1 sum:1 custom_values:[5] buckets:[1]}}");
        assert!(mean.reconciled_edges && mean.conflicting_resets);
    }
}

mod rates {
    use super::*;

    fn rate(samples: &[&str], is_counter: bool) -> Result<Option<Rate>, Incompatible> {
        let samples: Vec<_> = samples.iter().map(|h| parse(h)).collect();
        rate_of(&samples, is_counter)
    }

    #[test]
    fn add_what_a_reset_took() {
        let reset = [
            "{{count:4 sum:5 buckets:[1 2 1]}}",
            "{{count:5 sum:6 buckets:[1 1 3]}}",
            "{{count:6 sum:7 buckets:[1 2 3]}}",
        ];
        let found = rate(&reset, true).unwrap().unwrap();
        assert_like(&found.histogram, "{{count:6 sum:7 buckets:[1 2 3] counter_reset_hint:gauge}}");
        assert!(!found.not_a_counter && !found.not_a_gauge);
        let later = [reset[0], reset[0], reset[1], reset[2]];
        assert_like(
            &rate(&later, true).unwrap().unwrap().histogram,
            "{{count:6 sum:7 buckets:[1 2 3]}}",
        );
        assert_like(
            &rate(&later, false).unwrap().unwrap().histogram,
            "{{count:2 sum:2 offset:2 buckets:[2]}}",
        );
        let custom = [
            "{{schema:-53 count:10 sum:36 custom_values:[1 2 4 8] buckets:[1 2 5 2]}}",
            "{{schema:-53 count:6 sum:16 custom_values:[1 2 4 8] buckets:[3 0 2 1]}}",
            "{{schema:-53 count:18 sum:61 custom_values:[1 2 4 8] buckets:[9 0 3 6]}}",
        ];
        assert_like(
            &rate(&custom, true).unwrap().unwrap().histogram,
            "{{schema:-53 count:18 sum:61 custom_values:[1 2 4 8] buckets:[9 0 3 6]}}",
        );
        assert_eq!(rate(&reset[..1], true), Ok(None));
    }

    #[test]
    fn have_the_coarsest_schema_between() {
        let schemas = [
            "{{schema:1 count:2 buckets:[1 1]}}",
            "{{schema:-1 count:3 buckets:[1 2]}}",
            "{{schema:-1 count:5 buckets:[1 4]}}",
        ];
        assert_like(
            &rate(&schemas, true).unwrap().unwrap().histogram,
            "{{schema:-1 count:3 offset:1 buckets:[3]}}",
        );
    }

    #[test]
    fn say_who_is_no_counter_and_who_no_gauge() {
        let gauge = "{{count:1 buckets:[1] counter_reset_hint:gauge}}";
        let counter = "{{count:1 buckets:[1]}}";
        let flags = |samples: &[&str], is_counter| {
            let rate = rate(samples, is_counter).unwrap().unwrap();
            (rate.not_a_counter, rate.not_a_gauge)
        };
        assert_eq!(flags(&[counter, gauge, counter], true), (true, false));
        assert_eq!(flags(&[counter, counter, gauge], true), (true, false));
        assert_eq!(flags(&[gauge, counter, gauge], false), (false, false));
        assert_eq!(flags(&[gauge, gauge, counter], false), (false, true));
        let instant = instant_rate_of(&parse(gauge), &parse(counter), true).unwrap();
        assert!(instant.not_a_counter && !instant.not_a_gauge);
        assert!(instant_rate_of(&parse(gauge), &parse(counter), false).unwrap().not_a_gauge);
    }

    #[test]
    fn of_different_custom_edges_say_so() {
        let a = "{{schema:-53 sum:1 count:1 custom_values:[5] buckets:[1]}}";
        let b = "{{schema:-53 sum:1 count:1 custom_values:[5 10] buckets:[1]}}";
        for samples in [[a, a, b], [a, b, b]] {
            let found = rate(&samples, true).unwrap().unwrap();
            assert_like(&found.histogram, "{{schema:-53 custom_values:[5]}}");
            assert!(found.reconciled_in_subtraction && !found.reconciled_in_addition);
        }
        let exponential = "{{count:1 buckets:[1]}}";
        assert_eq!(rate(&[a, exponential, a], true), Err(Incompatible));
        assert_eq!(rate(&[exponential, a], true).unwrap().unwrap().histogram.count, 1.0);
        assert_eq!(rate(&[exponential, a], false), Err(Incompatible));
    }

    #[test]
    fn of_two_samples_are_their_difference_or_the_last_after_a_reset() {
        for (previous, last, difference, reconciled) in [
            (
                "{{schema:-53 sum:55 count:15 custom_values:[2 4 6] buckets:[1 2 5 7]}}",
                "{{schema:-53 sum:555 count:450 custom_values:[1 2 3 4 5 6 7 8] buckets:[10 20 30 40 50 60 70 80 90]}}",
                "{{schema:-53 sum:500 count:435 custom_values:[2 4 6] buckets:[29 68 105 233]}}",
                true,
            ),
            (
                "{{schema:-53 sum:55 count:15 custom_values:[2 4 6] buckets:[1 2 5 7]}}",
                "{{schema:-53 sum:56 count:15 custom_values:[2 3 4 6] buckets:[1 0 1 5 8]}}",
                "{{schema:-53 sum:56 count:15 custom_values:[2 3 4 6] buckets:[1 0 1 5 8] counter_reset_hint:gauge}}",
                false,
            ),
        ] {
            let rate = instant_rate_of(&parse(previous), &parse(last), true).unwrap();
            assert_like(&rate.histogram, difference);
            assert_eq!(rate.reconciled_in_subtraction, reconciled);
        }
    }

    #[test]
    fn find_resets() {
        let base = "{{count:9 z_bucket:1 z_bucket_w:0.5 offset:1 buckets:[3 4] n_buckets:[1]}}";
        for (current, reset) in [
            (base, false),
            ("{{count:8 z_bucket:1 z_bucket_w:0.5 offset:1 buckets:[3 4] n_buckets:[1]}}", true),
            ("{{count:9 z_bucket:0 z_bucket_w:0.5 offset:1 buckets:[3 4] n_buckets:[1]}}", true),
            ("{{count:9 z_bucket:1 z_bucket_w:0.1 offset:1 buckets:[3 4] n_buckets:[1]}}", true),
            ("{{count:9 z_bucket:2 z_bucket_w:1 offset:1 buckets:[3 4]}}", false),
            ("{{count:9 z_bucket:9 z_bucket_w:4}}", false),
            ("{{count:9 z_bucket:9 z_bucket_w:3}}", true),
            ("{{count:9 z_bucket:1 z_bucket_w:0.5 offset:1 buckets:[2 5] n_buckets:[1]}}", true),
            ("{{count:9 z_bucket:1 z_bucket_w:0.5 offset:2 buckets:[4] n_buckets:[1]}}", true),
            ("{{count:9 z_bucket:1 z_bucket_w:0.5 offset:1 buckets:[3 4]}}", true),
            (
                "{{schema:1 count:9 z_bucket:1 z_bucket_w:0.5 offset:1 buckets:[0 3 0 4] n_buckets:[1]}}",
                true,
            ),
            (
                "{{schema:-1 count:9 z_bucket:1 z_bucket_w:0.5 offset:1 buckets:[7] n_buckets:[1]}}",
                false,
            ),
            (
                "{{schema:-1 count:9 z_bucket:1 z_bucket_w:0.5 offset:1 buckets:[6] n_buckets:[1]}}",
                true,
            ),
            ("{{count:20 counter_reset_hint:not_reset}}", false),
            (
                "{{count:20 z_bucket:1 z_bucket_w:0.5 offset:1 buckets:[3 4] n_buckets:[1] counter_reset_hint:reset}}",
                true,
            ),
            ("{{schema:-53 count:20 buckets:[20]}}", true),
        ] {
            assert_eq!(is_reset(&parse(current), &parse(base)), reset, "{current}");
        }
        let custom =
            parse("{{schema:-53 sum:55 count:15 custom_values:[2 4 6] buckets:[1 2 5 7]}}");
        let split =
            parse("{{schema:-53 sum:56 count:16 custom_values:[2 3 4 6] buckets:[1 1 1 5 8]}}");
        let fewer =
            parse("{{schema:-53 sum:56 count:15 custom_values:[2 3 4 6] buckets:[1 0 1 5 8]}}");
        assert!(!is_reset(&split, &custom) && is_reset(&fewer, &custom));
    }
}

mod trimming {
    use super::*;

    #[test]
    fn cuts_the_bucket_at_the_value_and_estimates_the_sum() {
        let h = "{{schema:0 sum:123.75 count:34 z_bucket:1 z_bucket_w:0.001 buckets:[2 4 8 16] n_buckets:[1 2]}}";
        let fine = "{{schema:2 sum:12.8286080906 count:28 z_bucket:1 z_bucket_w:0.001 buckets:[1 2 4 7 3] n_buckets:[1 5 3 1]}}";
        let positive =
            "{{schema:0 sum:8.0210678118654755 count:12 z_bucket:2 z_bucket_w:0.5 buckets:[10]}}";
        let negative = "{{schema:0 sum:-8.0210678118654755 count:12 z_bucket:2 z_bucket_w:0.5 n_buckets:[10]}}";
        let zero = "{{schema:0 count:5 sum:0 z_bucket:5 z_bucket_w:0.1}}";
        let custom =
            "{{schema:-53 sum:172.5 count:15 custom_values:[5 10 15 20] buckets:[1 6 4 3 1]}}";
        let below_zero = "{{schema:-53 sum:172.5 count:15 custom_values:[-10 5 10 15 20] buckets:[2 1 6 4 3 1]}}";
        let one = "{{schema:-53 sum:100 count:100 buckets:[100]}}";
        let at_zero = "{{schema:-53 sum:33 count:100 custom_values:[0] buckets:[1 100]}}";
        let at_five = "{{schema:-53 sum:33 count:101 custom_values:[5] buckets:[1 100]}}";
        let at_minus_five = "{{schema:-53 sum:33 count:101 custom_values:[-5] buckets:[1 100]}}";
        for (h, operator, at, trimmed) in [
            (h, ">/", -INF, h),
            (h, "</", INF, h),
            (h, ">/", INF, "{{z_bucket_w:0.001}}"),
            (h, "</", -INF, "{{z_bucket_w:0.001}}"),
            (
                h,
                ">/",
                0.0,
                "{{sum:120.20840280171308 count:30.5 z_bucket:0.5 z_bucket_w:0.001 buckets:[2 4 8 16]}}",
            ),
            (
                h,
                "</",
                0.0,
                "{{sum:-3.53578390593273768 count:3.5 z_bucket:0.5 z_bucket_w:0.001 n_buckets:[1 2]}}",
            ),
            (
                h,
                "</",
                2f64.sqrt(),
                "{{count:8 sum:0.2570938865989847 z_bucket:1 z_bucket_w:0.001 buckets:[2 2] n_buckets:[1 2]}}",
            ),
            (
                h,
                ">/",
                2f64.sqrt(),
                "{{count:26 sum:116.50067065070982 z_bucket_w:0.001 buckets:[0 2 8 16]}}",
            ),
            (
                h,
                "</",
                2.0,
                "{{count:10 sum:3.5355339059327373 z_bucket:1 z_bucket_w:0.001 buckets:[2 4] n_buckets:[1 2]}}",
            ),
            (
                h,
                ">/",
                2.0,
                "{{count:24 sum:113.13708498984761 z_bucket_w:0.001 offset:2 buckets:[8 16]}}",
            ),
            (
                h,
                ">/",
                -1.0,
                "{{count:32 sum:119.50104602052653 z_bucket:1 z_bucket_w:0.001 buckets:[2 4 8 16] n_buckets:[1]}}",
            ),
            (
                h,
                "</",
                -1.0,
                "{{count:2 sum:-2.8284271247461903 z_bucket_w:0.001 n_offset:1 n_buckets:[2]}}",
            ),
            (
                fine,
                "</",
                1.13,
                "{{schema:2 count:13.410582181123704 sum:-9.385798726068233 z_bucket:1 z_bucket_w:0.001 buckets:[1 1.410582181123704] n_buckets:[1 5 3 1]}}",
            ),
            (
                fine,
                ">/",
                1.13,
                "{{schema:2 count:14.589417818876296 sum:22.168126492693734 z_bucket_w:0.001 offset:1 buckets:[0.589417818876296 4 7 3]}}",
            ),
            (
                fine,
                ">/",
                -1.3,
                "{{schema:2 count:25.54213947904476 sum:16.29588491217537 z_bucket:1 z_bucket_w:0.001 buckets:[1 2 4 7 3] n_buckets:[1 5 1.54213947904476]}}",
            ),
            (
                fine,
                "</",
                -1.3,
                "{{schema:2 count:2.45786052095524 sum:-3.5189307983595066 z_bucket_w:0.001 n_offset:2 n_buckets:[1.45786052095524 1]}}",
            ),
            (
                positive,
                ">/",
                0.5,
                "{{count:10 sum:7.0710678118654755 z_bucket_w:0.5 buckets:[10]}}",
            ),
            (
                positive,
                ">/",
                0.1,
                "{{count:11.6 sum:7.551067811865476 z_bucket:1.6 z_bucket_w:0.5 buckets:[10]}}",
            ),
            (positive, ">/", 0.0, positive),
            (positive, "</", 0.5, "{{count:2 sum:0.5 z_bucket:2 z_bucket_w:0.5}}"),
            (positive, "</", 0.1, "{{count:0.4 sum:0.02 z_bucket:0.4 z_bucket_w:0.5}}"),
            (positive, "</", 0.0, "{{z_bucket_w:0.5}}"),
            (
                negative,
                "</",
                -0.1,
                "{{count:11.6 sum:-7.551067811865476 z_bucket:1.6 z_bucket_w:0.5 n_buckets:[10]}}",
            ),
            (negative, "</", 0.0, negative),
            (negative, ">/", -0.1, "{{count:0.4 sum:-0.02 z_bucket:0.4 z_bucket_w:0.5}}"),
            (zero, ">/", 0.1, "{{z_bucket_w:0.1}}"),
            (zero, "</", 0.1, zero),
            (zero, ">/", 0.05, "{{count:1.25 sum:0.09375 z_bucket:1.25 z_bucket_w:0.1}}"),
            (zero, "</", 0.05, "{{count:3.75 sum:-0.09375 z_bucket:3.75 z_bucket_w:0.1}}"),
            (zero, "</", 0.0, "{{count:2.5 sum:-0.125 z_bucket:2.5 z_bucket_w:0.1}}"),
            (zero, "</", -0.1, "{{z_bucket_w:0.1}}"),
            (zero, ">/", -0.1, zero),
            (
                custom,
                "</",
                15.0,
                "{{schema:-53 count:11 sum:97.5 custom_values:[5 10 15 20] buckets:[1 6 4]}}",
            ),
            (
                custom,
                ">/",
                15.0,
                "{{schema:-53 count:4 sum:72.5 custom_values:[5 10 15 20] offset:3 buckets:[3 1]}}",
            ),
            (
                custom,
                "</",
                13.0,
                "{{schema:-53 count:9.4 sum:75.1 custom_values:[5 10 15 20] buckets:[1 6 2.4]}}",
            ),
            (
                custom,
                ">/",
                13.0,
                "{{schema:-53 count:5.6 sum:94.9 custom_values:[5 10 15 20] offset:2 buckets:[1.6 3 1]}}",
            ),
            (
                custom,
                "</",
                7.5,
                "{{schema:-53 count:4 sum:21.25 custom_values:[5 10 15 20] buckets:[1 3]}}",
            ),
            (
                custom,
                "</",
                50.0,
                "{{schema:-53 count:14 sum:150.0 custom_values:[5 10 15 20] buckets:[1 6 4 3]}}",
            ),
            (custom, "</", -INF, "{{schema:-53 custom_values:[5 10 15 20]}}"),
            (custom, ">/", INF, "{{schema:-53 custom_values:[5 10 15 20]}}"),
            (custom, "</", INF, custom),
            (custom, ">/", 0.0, custom),
            (
                below_zero,
                "</",
                2.0,
                "{{schema:-53 count:2.8 sum:-23.2 custom_values:[-10 5 10 15 20] buckets:[2 0.8]}}",
            ),
            (
                below_zero,
                "</",
                -4.0,
                "{{schema:-53 count:2.4 sum:-22.8 custom_values:[-10 5 10 15 20] buckets:[2 0.4]}}",
            ),
            (
                below_zero,
                "</",
                -15.0,
                "{{schema:-53 count:2 sum:-30 custom_values:[-10 5 10 15 20] buckets:[2]}}",
            ),
            (one, "</", 10.0, "{{schema:-53}}"),
            (one, ">/", 10.0, "{{schema:-53}}"),
            (one, "</", INF, one),
            (one, ">/", INF, "{{schema:-53}}"),
            (one, ">/", -INF, one),
            (one, "</", -INF, "{{schema:-53}}"),
            (at_zero, "</", 10.0, "{{schema:-53 count:1 custom_values:[0] buckets:[1]}}"),
            (at_zero, "</", -10.0, "{{schema:-53 sum:-10 count:1 custom_values:[0] buckets:[1]}}"),
            (at_zero, ">/", -10.0, "{{schema:-53 count:100 custom_values:[0] buckets:[0 100]}}"),
            (
                at_zero,
                ">/",
                10.0,
                "{{schema:-53 sum:1000 count:100 custom_values:[0] buckets:[0 100]}}",
            ),
            (at_five, "</", 10.0, "{{schema:-53 sum:2.5 count:1 custom_values:[5] buckets:[1]}}"),
            (
                at_five,
                "</",
                2.0,
                "{{schema:-53 sum:0.4 count:0.4 custom_values:[5] buckets:[0.4]}}",
            ),
            (at_five, "</", -10.0, "{{schema:-53 custom_values:[5]}}"),
            (at_five, ">/", 0.0, at_five),
            (
                at_five,
                ">/",
                2.0,
                "{{schema:-53 sum:502.1 count:100.6 custom_values:[5] buckets:[0.6 100]}}",
            ),
            (
                at_minus_five,
                "</",
                0.0,
                "{{schema:-53 sum:-5 count:1 custom_values:[-5] buckets:[1]}}",
            ),
            (
                at_minus_five,
                "</",
                -10.0,
                "{{schema:-53 sum:-10 count:1 custom_values:[-5] buckets:[1]}}",
            ),
            (
                at_minus_five,
                ">/",
                -2.0,
                "{{schema:-53 sum:-200 count:100 custom_values:[-5] buckets:[0 100]}}",
            ),
            ("{{}}", "</", 5.0, "{{}}"),
        ] {
            let trim = if operator == "</" { trim_upper } else { trim_lower };
            let found = trim(&parse(h), at);
            assert_like(&found, trimmed);
        }
    }

    #[test]
    fn leaves_what_the_fraction_says() {
        let h = parse(
            "{{schema:2 sum:12.8 count:28 z_bucket:1 z_bucket_w:0.001 buckets:[1 2 4 7 3] n_buckets:[1 5 3 1]}}",
        );
        for at in [1.13, -1.3, 0.0, 0.0005, 2.0] {
            assert_near(trim_upper(&h, at).count, fraction(-INF, at, &h).0 * h.count);
            assert_near(trim_lower(&h, at).count, fraction(at, INF, &h).0 * h.count);
        }
    }
}

mod text {
    use super::*;

    #[test]
    fn of_test_files_reads_back() {
        for h in [
            "{{}}",
            "{{schema:1 count:1.5e+06 sum:-0.25 z_bucket:1 z_bucket_w:1e-05 counter_reset_hint:gauge offset:-3 buckets:[1 0 0 2.5] n_offset:2 n_buckets:[100000]}}",
            "{{schema:-53 count:3 sum:NaN custom_values:[-2 0.5 3] buckets:[1 2]}}",
            "{{count:+Inf sum:-Inf}}",
        ] {
            assert_eq!(to_test_expression(&parse(h)), h);
        }
        let far = Histogram { positive: vec![(i32::MIN, 1.0), (i32::MAX, 2.0)], ..parse("{{}}") };
        assert_eq!(to_test_expression(&far), "{{offset:-2147483648 buckets:[1 …]}}");
    }

    #[test]
    fn of_values_has_the_ends_of_buckets() {
        let h =
            parse("{{count:20 sum:10 z_bucket_w:0.001 z_bucket:2 buckets:[1 2] n_buckets:[3 4]}}");
        let text =
            "{count:20, sum:10, [-2,-1):4, [-1,-0.5):3, [-0.001,0.001]:2, (0.5,1]:1, (1,2]:2}";
        assert_eq!(to_text(&h), text);
        let custom = parse("{{schema:-53 count:3 sum:1.5 custom_values:[-2 3] buckets:[1 0 2]}}");
        assert_eq!(to_text(&custom), "{count:3, sum:1.5, [-Inf,-2]:1, (3,+Inf]:2}");
    }

    #[test]
    fn buckets_are_those_of_the_api() {
        let h = parse("{{z_bucket_w:0.75 z_bucket:2 buckets:[1 0 2] n_buckets:[3]}}");
        let found: Vec<_> =
            buckets(&h).map(|b| (b.bounds as u8, b.lower, b.upper, b.count)).collect();
        assert_eq!(
            found,
            [(1, -1.0, -0.75, 3.0), (3, -0.75, 0.75, 2.0), (0, 0.75, 1.0, 1.0), (0, 2.0, 4.0, 2.0)]
        );
    }
}

mod edges {
    use super::buckets::exponential_edge;
    use super::*;

    #[test]
    fn are_those_of_prometheus_to_the_last_bit() {
        let eighths = [
            0.5452538663326288,
            0.5946035575013605,
            0.6484197773255048,
            0.7071067811865475,
            0.7711054127039704,
            0.8408964152537144,
            0.9170040432046711,
        ];
        for (i, edge) in (1..).zip(eighths) {
            assert_eq!(exponential_edge(3, i - 8), edge);
            assert_eq!(exponential_edge(8, 32 * i), 2.0 * edge);
        }
        let sixteenths =
            [0.5221368912137069, 0.5693943173783458, 0.620928906036742, 0.6771277734684463];
        for (i, edge) in (0..).zip(sixteenths) {
            assert_eq!(exponential_edge(4, 2 * i + 1 - 16), edge);
        }
    }

    #[test]
    fn end_at_the_largest_number_and_then_at_infinity() {
        for schema in 0..=8 {
            let last = 1024_i64 << schema;
            assert_eq!(exponential_edge(schema, last), f64::MAX);
            assert_eq!(exponential_edge(schema, last + 1), INF);
            assert!(exponential_edge(schema, last - 1) < f64::MAX);
            assert_eq!(exponential_edge(schema, -1074 << schema), 5e-324);
        }
        assert_eq!(exponential_edge(-4, 64), f64::MAX);
        assert_eq!(exponential_edge(-4, 65), INF);
        assert_eq!(exponential_edge(-2, -1), 0.0625);
        for i in [i64::from(i32::MIN) - 1, i64::from(i32::MAX)] {
            for schema in i8::MIN..=i8::MAX {
                assert!([0.0, INF].contains(&exponential_edge(schema, i)));
            }
        }
    }
}

mod properties {
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;

    use super::*;

    /// Counts whose sums are exact.
    fn side() -> impl Strategy<Value = Vec<(i32, f64)>> {
        btree_map(-20..20, 1_u32..1000, 0..12)
            .prop_map(|side| side.into_iter().map(|(i, n)| (i, f64::from(n))).collect())
    }

    fn exponential() -> impl Strategy<Value = Histogram> {
        let zero = (0_u32..100, prop_oneof![Just(0.0), Just(0.001), Just(0.5), Just(3.0)]);
        (-4_i8..=8, side(), side(), zero).prop_map(|(schema, positive, negative, zero)| {
            let mut h = Histogram { schema, positive, negative, ..parse("{{}}") };
            h.zero_threshold = zero.1;
            // What is around zero is not beside it.
            h.positive = buckets::outside_zero(&h, &h.positive);
            h.negative = buckets::outside_zero(&h, &h.negative);
            h.zero_count = f64::from(zero.0);
            let side = |s: &[(i32, f64)]| s.iter().map(|b| b.1).sum::<f64>();
            h.count = h.zero_count + side(&h.positive) + side(&h.negative);
            h.sum = (h.count * 0.75).round();
            h
        })
    }

    fn custom() -> impl Strategy<Value = Histogram> {
        let edges = proptest::collection::btree_set(-20..20, 0..8);
        (edges, vec(0_u32..100, 9)).prop_map(|(edges, counts)| {
            let positive = (0..).zip(counts).take(edges.len() + 1);
            let mut h = Histogram {
                schema: CUSTOM,
                positive: positive.map(|(i, n)| (i, f64::from(n))).collect(),
                custom_edges: edges.into_iter().map(f64::from).collect(),
                ..parse("{{}}")
            };
            compact(&mut h);
            h.count = h.positive.iter().map(|b| b.1).sum();
            h
        })
    }

    mod buckets {
        use super::super::sum::outside;
        use super::*;

        pub(super) fn outside_zero(h: &Histogram, side: &[(i32, f64)]) -> Vec<(i32, f64)> {
            // One more, as the next may begin within.
            let outside = outside(side, h.schema, h.zero_threshold);
            outside.iter().copied().skip(usize::from(h.zero_threshold > 0.0)).collect()
        }
    }

    fn total(h: &Histogram) -> f64 {
        h.zero_count + h.positive.iter().chain(&h.negative).map(|b| b.1).sum::<f64>()
    }

    proptest! {
        #[test]
        fn a_sum_less_one_of_its_terms_is_the_other(a in exponential(), b in exponential()) {
            let sum = add(&a, &b).unwrap().histogram;
            prop_assert_eq!(total(&sum), sum.count);
            prop_assert!(equal(&sum, &add(&b, &a).unwrap().histogram));
            let rest = sub(&sum, &b).unwrap().histogram;
            prop_assert_eq!(total(&rest), a.count);
            let same_zero = a.zero_threshold == sum.zero_threshold;
            if same_zero && sum.schema == a.schema && b.zero_threshold == sum.zero_threshold {
                prop_assert!(equal(&rest, &a));
            }
        }

        #[test]
        fn reduction_commutes_with_addition(a in exponential(), b in exponential(), schema in -4_i8..=8) {
            // With different buckets around zero, the finer buckets decide where the wider one ends.
            let mut b = Histogram { zero_threshold: a.zero_threshold, ..b };
            b.positive = buckets::outside_zero(&b, &b.positive);
            b.negative = buckets::outside_zero(&b, &b.negative);
            let schema = schema.min(a.schema).min(b.schema);
            let one = reduce(&add(&a, &b).unwrap().histogram, schema);
            let other = add(&reduce(&a, schema), &reduce(&b, schema)).unwrap().histogram;
            prop_assert_eq!(total(&one), total(&other));
            if a.zero_threshold == 0.0 {
                prop_assert!(equal(&one, &other));
            }
        }

        #[test]
        fn sums_of_many_are_sums_of_two_at_a_time(all in vec(exponential(), 1..6)) {
            let (mut sum, mut mean) = (Sum::default(), Mean::default());
            let mut plain = all[0].clone();
            for (i, h) in all.iter().enumerate() {
                sum.push(h).unwrap();
                mean.push(h).unwrap();
                if i > 0 {
                    plain = add(&plain, h).unwrap().histogram;
                }
            }
            prop_assert!(equal(&sum.finish().unwrap().histogram, &plain));
            let n = all.len() as f64;
            prop_assert!(equal(&mean.finish().unwrap().histogram, &divide(&plain, n)));
        }

        #[test]
        fn custom_sums_lose_no_observation(a in custom(), b in custom()) {
            let outcome = add(&a, &b).unwrap();
            prop_assert_eq!(total(&outcome.histogram), outcome.histogram.count);
            prop_assert_eq!(outcome.reconciled_edges, a.custom_edges != b.custom_edges);
            prop_assert!(!is_reset(&outcome.histogram, &a) && !is_reset(&outcome.histogram, &b));
        }

        #[test]
        fn what_only_grew_was_not_reset(a in exponential(), b in exponential()) {
            let sum = add(&a, &b).unwrap().histogram;
            prop_assert!(!is_reset(&sum, &a) && !is_reset(&sum, &b));
            prop_assert!(b.count == 0.0 || is_reset(&a, &sum));
            let rate = rate_of(&[&a, &sum], true).unwrap().unwrap().histogram;
            prop_assert_eq!(total(&rate), b.count);
        }

        #[test]
        fn quantiles_rise_and_fractions_invert_them(h in prop_oneof![exponential(), custom()], qs in vec(0.0_f64..=1.0, 2..10)) {
            prop_assume!(h.count > 0.0 && (h.schema != CUSTOM || !h.custom_edges.is_empty()));
            let mut qs = qs;
            qs.sort_by(f64::total_cmp);
            let mut last = f64::NEG_INFINITY;
            for q in qs {
                let value = quantile(q, &h).0;
                prop_assert!(value >= last - 1e-9 * last.abs(), "{} after {}", value, last);
                last = value;
                // Below zero itself are none of those that are zero.
                if h.schema != CUSTOM && value != 0.0 {
                    let found = fraction(f64::NEG_INFINITY, value, &h).0;
                    prop_assert!((found - q).abs() < 1e-6, "{} at {}, not {}", found, value, q);
                }
            }
        }

        #[test]
        fn trimming_parts_the_observations(h in prop_oneof![exponential(), custom()], at in -100.0_f64..100.0) {
            let (below, above) = (trim_upper(&h, at), trim_lower(&h, at));
            if h.schema != CUSTOM {
                prop_assert!((below.count + above.count - h.count).abs() < 1e-6 * (h.count + 1.0));
            }
                    }
    }
}

mod hostile {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn any_number() -> impl Strategy<Value = f64> {
        prop_oneof![
            any::<f64>(),
            Just(f64::NAN),
            Just(INF),
            Just(-INF),
            Just(f64::MAX),
            Just(5e-324),
            Just(0.0),
            Just(-0.0),
            -5.0..5.0
        ]
    }

    fn any_index() -> impl Strategy<Value = i32> {
        prop_oneof![any::<i32>(), Just(i32::MIN), Just(i32::MAX), -5..5, -300_000..300_000]
    }

    fn anything() -> impl Strategy<Value = Histogram> {
        let side = || vec((any_index(), any_number()), 0..6);
        let schema = prop_oneof![any::<i8>(), -4_i8..=8, Just(CUSTOM), Just(CUSTOM)];
        let zero = (any_number(), any_number());
        (schema, side(), side(), vec(any_number(), 0..5), zero, any_number(), any_number())
            .prop_map(|(schema, positive, negative, custom_edges, zero, count, sum)| Histogram {
                schema,
                zero_threshold: zero.0,
                zero_count: zero.1,
                count,
                sum,
                positive,
                negative,
                custom_edges,
                reset: CounterReset::Unknown,
            })
    }

    fn everything(a: &Histogram, b: &Histogram, x: f64, y: f64) {
        let _ = (add(a, b), sub(a, b), reduce(a, b.schema), is_reset(a, b), equal(a, b));
        let (mut sum, mut mean) = (Sum::default(), Mean::default());
        for h in [a, b, a] {
            let _ = (sum.push(h), mean.push(h));
        }
        let _ =
            (sum.finish(), mean.finish(), rate_of(&[a, b, a, b], true), rate_of(&[a, b], false));
        let _ = (instant_rate_of(a, b, true), quantile(x, a), quantile(x.abs().fract(), a));
        let _ = (fraction(x, y, a), average(a), stddev(a), scale(a, x), divide(a, x));
        let _ = (trim_upper(a, x), trim_lower(a, x), to_test_expression(a), to_text(a));
        let _ = (buckets(a).count(), buckets(a).rev().count());
    }

    proptest! {
        #[test]
        fn histograms_end_every_function(a in anything(), b in anything(), x in any_number(), y in any_number()) {
            everything(&a, &b, x, y);
        }

        #[test]
        fn classic_buckets_end_every_function(buckets in vec((any_number(), any_number()), 0..8), x in any_number(), y in any_number()) {
            let buckets: Vec<_> = buckets.into_iter().map(|(upper, count)| Classic { upper, count }).collect();
            let _ = bucket_quantile(x, &mut buckets.clone());
            let _ = bucket_quantile(x.abs().fract(), &mut buckets.clone());
            let _ = bucket_fraction(x, y, &mut buckets.clone());
            let _ = nhcb_from_classic(&mut buckets.clone(), Some(x), Some(y));
        }
    }

    #[test]
    fn many_buckets_are_no_burden() {
        let many = |from: i32, step: usize| Histogram {
            schema: 8,
            count: 2e4,
            zero_threshold: 1e-300 * step as f64,
            positive: (from..).step_by(step).take(20_000).map(|i| (i, 1.0)).collect(),
            negative: (from..).step_by(step).take(20_000).map(|i| (i, 1.0)).collect(),
            ..parse("{{}}")
        };
        everything(&many(-10_000, 1), &many(-60_000, 3), 0.5, 2.0);
        everything(&many(-60_000, 3), &many(-10_000, 1), 0.5, 2.0);
    }
}
