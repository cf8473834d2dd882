//! The split that a request wishes for.

use hms_ops_core::mesh::Split;
use hms_ops_core::name::Cluster;

/// The split in which `to` has `percent` of the traffic and the others share the rest in the
/// proportions they have now; evenly, when they have nothing now. The weights add up to 100.
///
/// `None` when there is no such split: `to` is not part of `now`, `percent` is above 100, or there
/// is no other cluster to take the rest.
pub(crate) fn toward(now: &Split, to: &Cluster, percent: u8) -> Option<Split> {
    let rest = 100u32.checked_sub(u32::from(percent))?;
    let known = now.iter().any(|(cluster, _)| cluster == to);
    if !known || (rest > 0 && now.len() == 1) {
        return None;
    }
    let others: u64 = now.iter().filter(|(c, _)| c != to).map(|(_, w)| u64::from(*w)).sum();
    let weigh = |weight: u32| if others == 0 { 1 } else { u64::from(weight) };
    let sum = if others == 0 { now.len() as u64 - 1 } else { others };
    // What is passed on in order never adds up to more or less than the rest.
    let (mut seen, mut given) = (0u64, 0u64);
    let split = now.iter().map(|(cluster, weight)| {
        if cluster == to {
            return (cluster.clone(), u32::from(percent));
        }
        seen += weigh(*weight);
        let due = (u64::from(rest) * seen + sum / 2) / sum;
        let part = due - given;
        given = due;
        (cluster.clone(), u32::try_from(part).expect("a part of 100"))
    });
    Some(split.collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::split::share;

    fn split(weights: &[u32]) -> Split {
        weights.iter().enumerate().map(|(i, w)| (name(i), *w)).collect()
    }

    fn name(i: usize) -> Cluster {
        Cluster::new(format!("cluster-{i}"))
    }

    #[test]
    fn the_others_keep_their_proportions() {
        assert_eq!(toward(&split(&[100, 0]), &name(1), 100), Some(split(&[0, 100])));
        assert_eq!(toward(&split(&[100, 0]), &name(1), 30), Some(split(&[70, 30])));
        assert_eq!(toward(&split(&[60, 30, 10]), &name(2), 40), Some(split(&[40, 20, 40])));
    }

    #[test]
    fn the_rest_goes_to_all_others_when_none_has_traffic_now() {
        assert_eq!(toward(&split(&[0, 100, 0]), &name(1), 0), Some(split(&[50, 0, 50])));
    }

    #[test]
    fn a_split_that_would_leave_traffic_nowhere_does_not_exist() {
        assert_eq!(toward(&split(&[100]), &name(0), 50), None);
        assert_eq!(toward(&split(&[100, 0]), &name(7), 50), None);
        assert_eq!(toward(&split(&[100, 0]), &name(0), 101), None);
    }

    proptest! {
        #[test]
        fn weights_always_add_up_to_100(
            weights in prop::collection::vec(0u32..=u32::MAX, 2..6),
            to in any::<prop::sample::Index>(),
            percent in 0u8..=100,
        ) {
            let to = name(to.index(weights.len()));
            let split = toward(&split(&weights), &to, percent).unwrap();
            prop_assert_eq!(split.iter().map(|(_, w)| *w).sum::<u32>(), 100);
            prop_assert!((share(&split, &to) - f64::from(percent) / 100.0).abs() < 1e-9);
        }
    }
}
