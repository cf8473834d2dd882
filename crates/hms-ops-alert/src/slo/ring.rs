//! A sliding window of counts, in slots with running sums.

/// Slots of a ring: an event counts for up to a sixtieth of the window less than the window says.
pub(crate) const SLOTS: usize = 60;

/// How many events there were in a window, and how many of them are in the counted part.
///
/// Adding is free of order, within the window. `T` is what a slot can hold: more than that of events
/// in one slot is left out of both counts' sums alike.
#[derive(Debug)]
pub(crate) struct Ring<T> {
    slot_ms: i64,
    /// When the newest slot begins, and which it is.
    newest: i64,
    place: usize,
    sums: (u64, u64),
    slots: Box<[(T, T); SLOTS]>,
}

impl<T: Copy + Default + Into<u64> + TryFrom<u64>> Ring<T> {
    /// An empty window of this length.
    pub(crate) fn new(window_ms: i64) -> Self {
        Self {
            slot_ms: (window_ms / SLOTS as i64).max(1),
            newest: i64::MIN,
            place: 0,
            sums: (0, 0),
            slots: Box::new([(T::default(), T::default()); SLOTS]),
        }
    }

    /// The counts of the window: all, and the part.
    pub(crate) fn sums(&self) -> (u64, u64) {
        self.sums
    }

    /// Lets the window end at `now`. After a clock that was set back by more than the window, it begins
    /// anew.
    pub(crate) fn advance(&mut self, now: i64) {
        let ahead = now.saturating_sub(self.newest);
        if (0..self.slot_ms).contains(&ahead) {
            return;
        }
        let begins = now.div_euclid(self.slot_ms).saturating_mul(self.slot_ms);
        // Slots begin at multiples of their length, save where those end.
        let steps = begins.saturating_sub(self.newest) / self.slot_ms;
        if steps.unsigned_abs() >= SLOTS as u64 {
            self.slots.fill(Default::default());
            (self.sums, self.place, self.newest) = ((0, 0), 0, begins);
        } else if steps > 0 {
            for _ in 0..steps {
                self.place = (self.place + 1) % SLOTS;
                let (all, part) = std::mem::take(&mut self.slots[self.place]);
                self.sums.0 -= all.into();
                self.sums.1 -= part.into();
            }
            self.newest = begins;
        }
    }

    /// Adds what happened at `at`; nothing if that is before the window.
    pub(crate) fn add(&mut self, at: i64, all: u64, part: u64) {
        let behind = if at >= self.newest {
            self.advance(at);
            0
        } else {
            (self.newest.saturating_sub(at).saturating_sub(1) / self.slot_ms).saturating_add(1)
        };
        if behind >= SLOTS as i64 {
            return;
        }
        let slot = &mut self.slots[(self.place + SLOTS - behind as usize) % SLOTS];
        self.sums.0 += put(&mut slot.0, all);
        self.sums.1 += put(&mut slot.1, part);
    }
}

/// Adds as much as there is room for; returns how much that was.
fn put<T: Copy + Into<u64> + TryFrom<u64>>(into: &mut T, more: u64) -> u64 {
    let before: u64 = (*into).into();
    match T::try_from(before.saturating_add(more)) {
        Ok(sum) => {
            *into = sum;
            sum.into() - before
        }
        Err(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Keeps every event and counts them again each time.
    struct Naive(i64, Vec<(i64, u64, u64)>);

    impl Naive {
        fn sums(&self, now: i64) -> (u64, u64) {
            let number = |at: i64| at.div_euclid(self.0);
            let kept = self.1.iter().filter(|(at, ..)| number(now) - number(*at) < SLOTS as i64);
            kept.fold((0, 0), |sums, (_, all, part)| (sums.0 + all, sums.1 + part))
        }
    }

    proptest! {
        #[test]
        fn a_ring_counts_what_a_list_of_all_events_counts(
            window in 60i64..100_000,
            start in -1_000_000i64..1_000_000,
            steps in prop::collection::vec((0i64..5000, 0i64..8000, 0u64..1000, 0u64..1000), 1..200),
        ) {
            let mut ring = Ring::<u32>::new(window);
            let mut naive = Naive(window / SLOTS as i64, Vec::new());
            let mut now = start;
            for (passed, late, all, part) in steps {
                now += passed;
                ring.advance(now);
                ring.add(now - late, all, part);
                naive.1.push((now - late, all, part));
                prop_assert_eq!(ring.sums(), naive.sums(now));
            }
        }
    }

    #[test]
    fn a_clock_that_is_set_far_back_begins_a_new_window() {
        let mut ring = Ring::<u32>::new(60_000);
        ring.advance(1_000_000);
        ring.add(1_000_000, 5, 1);
        ring.advance(999_000);
        assert_eq!(ring.sums(), (5, 1));
        ring.advance(0);
        assert_eq!(ring.sums(), (0, 0));
        ring.add(0, 1, 1);
        assert_eq!(ring.sums(), (1, 1));
    }

    #[test]
    fn a_slot_that_is_full_takes_no_more_and_forgets_no_less() {
        let mut ring = Ring::<u32>::new(60_000);
        ring.advance(0);
        ring.add(0, u64::from(u32::MAX), 3);
        ring.add(0, 7, 4);
        assert_eq!(ring.sums(), (u64::from(u32::MAX), 7));
        ring.advance(60_000);
        assert_eq!(ring.sums(), (0, 0));
    }
}
