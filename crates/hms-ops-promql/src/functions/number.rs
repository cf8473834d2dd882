//! Numbers: sums that keep what rounding loses, quantiles, and how numbers are written.

use std::cmp::Ordering;

/// Adds `value` to `sum`; what the rounding loses is added to `lost`.
///
/// Source: A. Neumaier, "Rundungsfehleranalyse einiger Verfahren zur Summation endlicher Summen",
/// 1974, algorithm IV.
pub(crate) fn add(sum: &mut f64, lost: &mut f64, value: f64) {
    let total = *sum + value;
    if total.is_infinite() {
        *lost = 0.0;
    } else if sum.abs() >= value.abs() {
        *lost += (*sum - total) + value;
    } else {
        *lost += (value - total) + *sum;
    }
    *sum = total;
}

/// The `q`-quantile of `values`, which it sorts: between two of them on the line that joins them.
/// NaN without values; below 0 and above 1 it is infinite.
pub(crate) fn quantile(q: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    // NaN is less than every number here.
    values.sort_unstable_by(|a, b| {
        b.is_nan().cmp(&a.is_nan()).then(a.partial_cmp(b).unwrap_or(Ordering::Equal))
    });
    let rank = q * (values.len() - 1) as f64;
    let lower = rank.floor().max(0.0);
    let upper = (lower + 1.0).min((values.len() - 1) as f64);
    let weight = rank - rank.floor();
    values[lower as usize] * (1.0 - weight) + values[upper as usize] * weight
}

/// The least first, NaN last.
pub(crate) fn ascending(a: f64, b: f64) -> Ordering {
    a.is_nan().cmp(&b.is_nan()).then(a.partial_cmp(&b).unwrap_or(Ordering::Equal))
}

/// The greatest first, NaN last.
pub(crate) fn descending(a: f64, b: f64) -> Ordering {
    a.is_nan().cmp(&b.is_nan()).then(b.partial_cmp(&a).unwrap_or(Ordering::Equal))
}

/// As few digits as tell it from every other number, never with an exponent.
pub(crate) fn plain(value: f64) -> String {
    match value {
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        value => value.to_string(),
    }
}

/// As few digits as tell it from every other number; with an exponent from a million on and below a
/// ten thousandth.
pub(crate) fn general(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude == 0.0 || !value.is_finite() || (1e-4..1e6).contains(&magnitude) {
        return plain(value);
    }
    with_exponent(&format!("{value:e}"))
}

/// Two digits that count, with an exponent where these are not enough.
pub(crate) fn rounded(value: f64) -> String {
    let rounded: f64 = format!("{value:.1e}").parse().unwrap_or(value);
    let magnitude = rounded.abs();
    if magnitude == 0.0 || !value.is_finite() || (1e-4..100.0).contains(&magnitude) {
        return plain(rounded);
    }
    with_exponent(&format!("{rounded:e}"))
}

/// An exponent has a sign and two digits at least.
fn with_exponent(text: &str) -> String {
    let Some((digits, exponent)) = text.split_once('e') else { return text.to_owned() };
    let (sign, exponent) = match exponent.strip_prefix('-') {
        Some(exponent) => ('-', exponent),
        None => ('+', exponent),
    };
    format!("{digits}e{sign}{exponent:0>2}")
}

/// As OpenMetrics writes the value of `quantile` and `le`: as [`general`], with a fraction.
pub(crate) fn canonical(value: f64) -> String {
    let mut text = general(value);
    if value.is_finite() && !text.contains(['.', 'e']) {
        text.push_str(".0");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_keeps_what_rounding_loses() {
        let (mut sum, mut lost) = (0.0, 0.0);
        for value in [1.0, 1e100, 1.0, -1e100] {
            add(&mut sum, &mut lost, value);
        }
        assert_eq!(sum + lost, 2.0);
    }

    #[test]
    fn a_quantile_lies_between_its_neighbours() {
        assert_eq!(quantile(0.5, &mut [4.0, 1.0, 3.0, 2.0]), 2.5);
        assert_eq!(quantile(1.0, &mut [4.0, 1.0]), 4.0);
        assert_eq!(quantile(-0.1, &mut [1.0]), f64::NEG_INFINITY);
        assert!(quantile(0.5, &mut []).is_nan());
    }

    #[test]
    fn numbers_are_written_as_prometheus_writes_them() {
        for (value, plainly, generally, canonically) in [
            (0.5, "0.5", "0.5", "0.5"),
            (3.0, "3", "3", "3.0"),
            (-0.0, "-0", "-0", "-0.0"),
            (999_999.5, "999999.5", "999999.5", "999999.5"),
            (1e6, "1000000", "1e+06", "1e+06"),
            (-123_456_789.0, "-123456789", "-1.23456789e+08", "-1.23456789e+08"),
            (1e21, "1000000000000000000000", "1e+21", "1e+21"),
            (0.0001, "0.0001", "0.0001", "0.0001"),
            (1e-7, "0.0000001", "1e-07", "1e-07"),
            (f64::INFINITY, "+Inf", "+Inf", "+Inf"),
            (f64::NAN, "NaN", "NaN", "NaN"),
        ] {
            assert_eq!(plain(value), plainly);
            assert_eq!(general(value), generally);
            assert_eq!(canonical(value), canonically);
        }
    }

    #[test]
    fn a_difference_is_told_with_two_digits() {
        for (value, written) in [
            (10.0, "10"),
            (5.0, "5"),
            (0.0123, "0.012"),
            (99.6, "1e+02"),
            (1.0 / 3e5, "3.3e-06"),
            (f64::INFINITY, "+Inf"),
        ] {
            assert_eq!(rounded(value), written);
        }
    }
}
