//! Quantiles of a classic histogram.
//!
//! Source: Prometheus documentation, "Query functions", `histogram_quantile`.

/// The `q`-quantile of observations counted in buckets, or `None` where there is none.
///
/// A bucket is its upper edge and how many observations are at or below it; edges ascend, and the
/// last is infinite. Within a bucket observations are taken as spread evenly, and the first bucket
/// as beginning at zero when its edge is positive. A quantile in the last bucket is the highest
/// finite edge. A count below the one before it, as sums over different edges have, is taken as
/// equal to it.
///
/// ```
/// use hms_ops_dashboard::series::quantile;
///
/// let buckets = [(100.0, 2.0), (200.0, 4.0), (f64::INFINITY, 4.0)];
/// assert_eq!(quantile(0.5, &buckets), Some(100.0));
/// assert_eq!(quantile(0.75, &buckets), Some(150.0));
/// ```
pub fn quantile(q: f64, buckets: &[(f64, f64)]) -> Option<f64> {
    let [finite @ .., (f64::INFINITY, _)] = buckets else { return None };
    let (highest, _) = *finite.last()?;
    let mut counts = Vec::with_capacity(buckets.len());
    for (_, count) in buckets {
        counts.push(counts.last().map_or(*count, |before: &f64| before.max(*count)));
    }
    let all = *counts.last()?;
    if all.is_nan() || all <= 0.0 {
        return None;
    }
    let rank = q.clamp(0.0, 1.0) * all;
    let Some(at) = counts[..finite.len()].iter().position(|count| *count >= rank) else {
        return Some(highest);
    };
    let upper = finite[at].0;
    let (lower, below) = match at.checked_sub(1) {
        Some(before) => (finite[before].0, counts[before]),
        None if upper <= 0.0 => return Some(upper),
        None => (0.0, 0.0),
    };
    let inside = counts[at] - below;
    if inside <= 0.0 {
        return Some(lower);
    }
    Some((lower + (upper - lower) * ((rank - below) / inside)).min(upper))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const INF: f64 = f64::INFINITY;

    #[test]
    fn a_quantile_lies_within_its_bucket_by_its_rank() {
        let buckets = [(50.0, 10.0), (100.0, 30.0), (200.0, 38.0), (INF, 40.0)];
        for (q, expected) in [
            (0.125, 25.0), // rank 5 of 10 in (0, 50]
            (0.5, 75.0),   // rank 20: 10 of 20 in (50, 100]
            (0.95, 200.0), // rank 38: the last in (100, 200]
            (0.99, 200.0), // above every finite edge
            (1.0, 200.0),
        ] {
            assert_eq!(quantile(q, &buckets), Some(expected), "{q}");
        }
    }

    #[test]
    fn without_observations_or_an_infinite_bucket_there_is_no_quantile() {
        assert_eq!(quantile(0.5, &[(1.0, 0.0), (INF, 0.0)]), None);
        assert_eq!(quantile(0.5, &[(1.0, 5.0), (2.0, 5.0)]), None);
        assert_eq!(quantile(0.5, &[(INF, 5.0)]), None);
        assert_eq!(quantile(0.5, &[]), None);
    }

    #[test]
    fn a_first_bucket_at_or_below_zero_has_no_width() {
        assert_eq!(quantile(0.5, &[(-1.0, 4.0), (1.0, 4.0), (INF, 4.0)]), Some(-1.0));
    }

    #[test]
    fn a_count_below_the_one_before_it_is_taken_as_equal() {
        let sums = [(100.0, 10.0), (150.0, 4.0), (200.0, 20.0), (INF, 20.0)];
        assert_eq!(quantile(0.75, &sums), Some(175.0));
    }

    proptest! {
        #[test]
        fn quantiles_ascend_and_stay_within_the_edges_around_their_rank(
            edges in prop::collection::btree_set(1_u32..10_000, 1..12),
            counts in prop::collection::vec(0_u32..1000, 13),
            low in 0.0..=1.0_f64,
            high in 0.0..=1.0_f64,
        ) {
            let (low, high) = (low.min(high), low.max(high));
            let mut sum = 0.0;
            let buckets: Vec<(f64, f64)> = edges
                .iter()
                .map(|edge| f64::from(*edge))
                .chain([INF])
                .zip(&counts)
                .map(|(edge, count)| { sum += f64::from(*count); (edge, sum) })
                .collect();
            match (quantile(low, &buckets), quantile(high, &buckets)) {
                (Some(a), Some(b)) => {
                    prop_assert!(a <= b, "{a} > {b}");
                    let rank = high * sum;
                    let holder = buckets.iter().position(|(_, n)| *n >= rank).unwrap();
                    let last = buckets.len() - 2;
                    let lower = if holder == 0 { 0.0 } else { buckets[holder - 1].0 };
                    prop_assert!(b >= lower && b <= buckets[holder.min(last)].0);
                }
                (None, None) => prop_assert_eq!(sum, 0.0),
                other => prop_assert!(false, "{other:?}"),
            }
        }
    }
}
