//! Postings: which series have a label, and which series a list of matchers selects.
//!
//! A posting list is sorted and holds each number once. What the numbers mean is the index's
//! business: handles in the head, places in a block.

use std::borrow::Cow;

use hms_ops_core::matcher::Matcher;

/// What an index knows about labels.
pub(crate) trait Postings {
    /// Every series.
    fn all(&self) -> Cow<'_, [u32]>;

    /// The series that have the matcher's label, with a value that it accepts; or, when `accepted`
    /// is false, with one that it refuses.
    fn with<'a>(&'a self, matcher: &Matcher, accepted: bool) -> Cow<'a, [u32]>;
}

/// The series that all `matchers` accept. A label that a series lacks has the empty value.
pub(crate) fn matching(index: &impl Postings, matchers: &[Matcher]) -> Vec<u32> {
    // A matcher that refuses the empty value selects series; one that accepts it only drops some.
    let (drops, mut selects): (Vec<_>, Vec<_>) = matchers.iter().partition(|m| m.accepts(""));
    // Equality first: it is the cheapest, and most often the shortest list.
    selects.sort_by_key(|m| m.literal().is_none());
    let mut found: Option<Cow<'_, [u32]>> = None;
    for matcher in selects {
        let list = index.with(matcher, true);
        found = Some(match found {
            None => list,
            Some(found) => Cow::Owned(intersection(&found, &list)),
        });
        if found.as_ref().is_some_and(|found| found.is_empty()) {
            return Vec::new();
        }
    }
    let mut found = found.unwrap_or_else(|| index.all()).into_owned();
    for matcher in drops {
        subtract(&mut found, &index.with(matcher, false));
    }
    found
}

/// All that is in `lists`: those of the values of one label, of which no two share a number, unless
/// an index lies.
pub(crate) fn union<'a>(mut lists: impl Iterator<Item = Cow<'a, [u32]>>) -> Cow<'a, [u32]> {
    let Some(first) = lists.next() else { return Cow::Borrowed(&[]) };
    let Some(second) = lists.next() else { return first };
    let mut all = first.into_owned();
    all.extend_from_slice(&second);
    lists.for_each(|list| all.extend_from_slice(&list));
    all.sort_unstable();
    all.dedup();
    Cow::Owned(all)
}

/// What is in both lists.
fn intersection(a: &[u32], b: &[u32]) -> Vec<u32> {
    let (short, long) = if a.len() < b.len() { (a, b) } else { (b, a) };
    let mut rest = long;
    let mut both = Vec::with_capacity(short.len());
    for &id in short {
        rest = skip_below(rest, id);
        match rest.first() {
            None => break,
            Some(&next) if next == id => both.push(id),
            Some(_) => {}
        }
    }
    both
}

/// Takes what is in `unwanted` out of `list`.
fn subtract(list: &mut Vec<u32>, unwanted: &[u32]) {
    let mut rest = unwanted;
    list.retain(|&id| {
        rest = skip_below(rest, id);
        rest.first() != Some(&id)
    });
}

/// The rest of a sorted list from `id` on: by steps that double, so that a long list costs little.
fn skip_below(list: &[u32], id: u32) -> &[u32] {
    let mut step = 1;
    while step < list.len() && list[step] < id {
        step *= 2;
    }
    let (from, to) = (step / 2, list.len().min(step + 1));
    &list[from + list[from..to].partition_point(|&other| other < id)..]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sorted() -> impl Strategy<Value = Vec<u32>> {
        prop::collection::btree_set(0..500u32, 0..120).prop_map(|set| set.into_iter().collect())
    }

    proptest! {
        #[test]
        fn lists_meet_and_part_as_sets_do(a in sorted(), b in sorted()) {
            let both: Vec<_> = a.iter().filter(|id| b.contains(id)).copied().collect();
            prop_assert_eq!(intersection(&a, &b), both);
            let mut rest = a.clone();
            subtract(&mut rest, &b);
            let only: Vec<_> = a.iter().filter(|id| !b.contains(id)).copied().collect();
            prop_assert_eq!(rest, only);
        }

        #[test]
        fn nothing_is_skipped_that_is_not_below(a in sorted(), id in 0..600u32) {
            let rest: Vec<_> = a.iter().copied().filter(|&other| other >= id).collect();
            prop_assert_eq!(skip_below(&a, id), rest);
        }
    }
}
