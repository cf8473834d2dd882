//! The table that every pick reads.

use hms_ops_core::random;

/// Weights by position of the cluster. Never changed: a shift swaps the whole table.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) revision: u64,
    pub(super) weights: Box<[u32]>,
    total: u64,
}

impl Table {
    /// `None` when no cluster has weight: such a table has nothing to pick.
    pub(super) fn new(revision: u64, weights: Box<[u32]>) -> Option<Self> {
        let total = weights.iter().map(|weight| u64::from(*weight)).sum();
        (total > 0).then_some(Self { revision, weights, total })
    }

    #[inline]
    pub(super) fn pick(&self) -> usize {
        let mut at = random::below(self.total);
        for (i, weight) in self.weights.iter().enumerate() {
            match at.checked_sub(u64::from(*weight)) {
                Some(left) => at = left,
                None => return i,
            }
        }
        unreachable!("the number is below the sum of the weights")
    }

    /// Picks among those that fit; `None` when none of them has weight.
    pub(super) fn pick_where(&self, fits: impl Fn(usize) -> bool) -> Option<usize> {
        let weigh = |(i, weight): (usize, &u32)| if fits(i) { *weight } else { 0 };
        let weights = self.weights.iter().enumerate().map(weigh).collect();
        Self::new(self.revision, weights).map(|table| table.pick())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn picks_follow_the_weights() {
        let table = Table::new(1, Box::new([70, 0, 30])).unwrap();
        let mut seen = [0; 3];
        for _ in 0..10_000 {
            seen[table.pick()] += 1;
        }
        assert_eq!(seen[1], 0);
        assert!((2600..3400).contains(&seen[2]), "{seen:?}");
    }

    #[test]
    fn a_table_without_weight_does_not_exist() {
        assert!(Table::new(1, Box::new([0, 0])).is_none());
        assert_eq!(Table::new(1, Box::new([0, 5])).unwrap().pick_where(|i| i == 0), None);
    }
}
