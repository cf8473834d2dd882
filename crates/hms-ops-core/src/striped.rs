//! Counters that many threads write at once without waiting for each other.
//!
//! Each thread owns a slot while it lives, and only the owner writes that slot, so adding is a
//! plain load and store without a locked instruction. Threads beyond [`SLOTS`] share one cell and
//! pay for an atomic addition. A slot goes back when its thread ends; the next owner counts on.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

/// How many threads at a time have a slot of their own.
pub const SLOTS: usize = 32;

static FREE: Mutex<Vec<usize>> = Mutex::new(Vec::new());
static HIGHEST: Mutex<usize> = Mutex::new(0);

thread_local! {
    static OWNED: Slot = Slot::take();
}

/// A slot of this thread; `None` beyond the last.
struct Slot(Option<usize>);

impl Slot {
    // The locks order the last write of a slot's old owner before the first of its new one.
    fn take() -> Self {
        if let Some(free) = FREE.lock().unwrap_or_else(PoisonError::into_inner).pop() {
            return Self(Some(free));
        }
        let mut highest = HIGHEST.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = (*highest < SLOTS).then_some(*highest);
        *highest += usize::from(slot.is_some());
        Self(slot)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(slot) = self.0 {
            FREE.lock().unwrap_or_else(PoisonError::into_inner).push(slot);
        }
    }
}

/// One `T` per writing thread, made at the thread's first write.
pub struct Striped<T> {
    own: [OnceLock<Box<Aligned<T>>>; SLOTS],
    shared: OnceLock<Box<Aligned<T>>>,
}

/// Two cache lines, since the prefetcher of x86 fetches them in pairs.
#[repr(align(128))]
struct Aligned<T>(T);

/// How this thread must write the cell it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// No other thread writes it: load and store.
    Exclusive,
    /// Others may: an atomic addition.
    Shared,
}

impl<T: Default> Striped<T> {
    /// Without any cell yet.
    pub const fn new() -> Self {
        Self { own: [const { OnceLock::new() }; SLOTS], shared: OnceLock::new() }
    }

    /// The cell that this thread writes, and how.
    #[inline]
    pub fn cell(&self) -> (&T, Access) {
        // A thread that is ending has given its slot back already.
        match OWNED.try_with(|slot| slot.0) {
            Ok(Some(slot)) => (&self.own[slot].get_or_init(Default::default).0, Access::Exclusive),
            _ => (&self.shared.get_or_init(Default::default).0, Access::Shared),
        }
    }

    /// All cells written so far.
    pub fn cells(&self) -> impl Iterator<Item = &T> {
        self.own.iter().chain([&self.shared]).filter_map(|c| c.get().map(|boxed| &boxed.0))
    }
}

impl<T: Default> Default for Aligned<T> {
    fn default() -> Self {
        Self(T::default())
    }
}

impl<T: Default> Default for Striped<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: fmt::Debug + Default> fmt::Debug for Striped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.cells()).finish()
    }
}

/// Adds to a cell of whole numbers.
#[inline]
pub fn add_u64(cell: &AtomicU64, access: Access, by: u64) {
    match access {
        // Release, so that a reader that sees this count also sees what was written before it.
        Access::Exclusive => {
            cell.store(cell.load(Ordering::Relaxed).wrapping_add(by), Ordering::Release);
        }
        Access::Shared => {
            cell.fetch_add(by, Ordering::Release);
        }
    }
}

/// Adds to a cell that holds the bits of an `f64`.
#[inline]
pub fn add_f64(cell: &AtomicU64, access: Access, by: f64) {
    let sum = |bits: u64| (f64::from_bits(bits) + by).to_bits();
    match access {
        Access::Exclusive => cell.store(sum(cell.load(Ordering::Relaxed)), Ordering::Relaxed),
        Access::Shared => {
            cell.update(Ordering::Relaxed, Ordering::Relaxed, sum);
        }
    }
}

/// A counter of whole numbers.
///
/// ```
/// let counter = hms_ops_core::striped::Count::default();
/// counter.add(2);
/// assert_eq!(counter.get(), 2);
/// ```
#[derive(Debug, Default)]
pub struct Count(Striped<AtomicU64>);

impl Count {
    /// At zero.
    pub const fn new() -> Self {
        Self(Striped::new())
    }

    /// Adds `by`; wraps at 2^64.
    #[inline]
    pub fn add(&self, by: u64) {
        let (cell, access) = self.0.cell();
        add_u64(cell, access, by);
    }

    /// The sum over all threads.
    pub fn get(&self) -> u64 {
        self.0.cells().fold(0, |sum, cell| sum.wrapping_add(cell.load(Ordering::Acquire)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_with_more_threads_than_slots_that_come_and_go() {
        static COUNT: Count = Count::new();
        for _ in 0..3 {
            std::thread::scope(|scope| {
                for _ in 0..SLOTS * 2 {
                    scope.spawn(|| (0..1000).for_each(|_| COUNT.add(1)));
                }
            });
        }
        assert_eq!(COUNT.get(), 3 * 2 * SLOTS as u64 * 1000);
    }

    #[test]
    fn a_slot_is_used_again_by_the_next_thread() {
        let count = Count::new();
        for _ in 0..SLOTS * 4 {
            std::thread::scope(|scope| {
                scope.spawn(|| count.add(1));
            });
        }
        assert!(count.0.cells().count() <= SLOTS + 1);
        assert_eq!(count.get(), SLOTS as u64 * 4);
    }
}
