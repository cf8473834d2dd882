//! The guard for low traffic: so many bad events must be no accident.

/// How sure it must be: an accident of less than one in a hundred.
const SIGNIFICANCE: f64 = 0.01;
/// The value that a normal distribution exceeds with that probability.
const QUANTILE: f64 = 2.326_347_874;
/// Up to this mean the distribution is summed up; above it, that would take longer than a tick may.
const SUMMED_UP_TO: f64 = 50.0;

/// Whether `bad` or more events would be an accident of less than 1 %, if `expected` came on average.
///
/// Poisson's distribution; for large means by its expansion after Cornish and Fisher, whose error is
/// below one event from there on.
pub(crate) fn is_significant(bad: u64, expected: f64) -> bool {
    let bad = bad as f64;
    if bad <= expected {
        return false;
    }
    if expected > SUMMED_UP_TO {
        let skewed = (QUANTILE * QUANTILE - 1.0) / 6.0;
        return bad - 0.5 > expected + QUANTILE * expected.sqrt() + skewed;
    }
    // Where nothing else is left within floating point.
    if bad > expected + 10.0 * expected.sqrt() + 20.0 {
        return true;
    }
    let (mut term, mut fewer, mut k) = ((-expected).exp(), 0.0, 0.0);
    while k < bad {
        fewer += term;
        k += 1.0;
        term *= expected / k;
    }
    1.0 - fewer < SIGNIFICANCE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fewest_bad_events_of_an_hour_that_are_no_accident() {
        // At 99.999 % and a burn rate of 14.4.
        for (per_second, fewest) in [(0.1, 2), (1.0, 4), (10.0, 12), (100.0, 70), (1000.0, 573)] {
            let expected = per_second * 3600.0 * 14.4 * 0.000_01;
            assert!(is_significant(fewest, expected), "{per_second}/s: {fewest}");
            assert!(!is_significant(fewest - 1, expected), "{per_second}/s: {}", fewest - 1);
        }
    }

    #[test]
    fn the_sum_and_the_expansion_meet() {
        let fewest = |mean: f64| (0..).find(|bad| is_significant(*bad, mean)).unwrap();
        let (summed, expanded) = (fewest(SUMMED_UP_TO), fewest(SUMMED_UP_TO + 1e-6));
        assert!(expanded.abs_diff(summed) <= 1, "{summed} {expanded}");
    }

    #[test]
    fn one_bad_event_alone_is_an_accident_where_one_in_a_hundred_would_be_expected() {
        assert!(!is_significant(1, 0.0101));
        assert!(is_significant(1, 0.01));
        assert!(!is_significant(0, 0.0));
    }
}
