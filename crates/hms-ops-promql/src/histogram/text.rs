//! Histograms as text.

use std::fmt::Write as _;

use hms_ops_core::sample::{CounterReset, Histogram};

use super::CUSTOM;
use super::buckets::{Bounds, Bucket, Slot, whole_bucket};
use crate::functions::number::general as number;

/// How many empty buckets a test expression has between two others; past that it breaks off.
const MOST_EMPTY: i64 = 10_000;

/// The notation of test files: `{{schema:1 count:3 sum:4.5 buckets:[1 2]}}`.
pub fn to_test_expression(h: &Histogram) -> String {
    let mut parts = Vec::new();
    if h.schema != 0 {
        parts.push(format!("schema:{}", h.schema));
    }
    for (name, n) in [
        ("count", h.count),
        ("sum", h.sum),
        ("z_bucket", h.zero_count),
        ("z_bucket_w", h.zero_threshold),
    ] {
        if n != 0.0 {
            parts.push(format!("{name}:{}", number(n)));
        }
    }
    if h.schema == CUSTOM {
        let edges: Vec<_> = h.custom_edges.iter().map(|&e| number(e)).collect();
        parts.push(format!("custom_values:[{}]", edges.join(" ")));
    }
    match h.reset {
        CounterReset::Unknown => {}
        CounterReset::Reset => parts.push("counter_reset_hint:reset".to_owned()),
        CounterReset::NotReset => parts.push("counter_reset_hint:not_reset".to_owned()),
        CounterReset::Gauge => parts.push("counter_reset_hint:gauge".to_owned()),
    }
    for (name, offset, side) in
        [("buckets", "offset", &h.positive), ("n_buckets", "n_offset", &h.negative)]
    {
        let Some(&(first, _)) = side.first() else { continue };
        if first != 0 {
            parts.push(format!("{offset}:{first}"));
        }
        parts.push(format!("{name}:[{}]", side_by_side(side).join(" ")));
    }
    format!("{{{{{}}}}}", parts.join(" "))
}

/// The counts of buckets, with a zero for each that is empty.
fn side_by_side(side: &[(i32, f64)]) -> Vec<String> {
    let mut counts = Vec::with_capacity(side.len());
    let mut next = side.first().map_or(0, |b| i64::from(b.0));
    for &(i, n) in side {
        let empty = i64::from(i) - next;
        if empty > MOST_EMPTY {
            counts.push("…".to_owned());
            break;
        }
        counts.extend((0..empty).map(|_| "0".to_owned()));
        counts.push(number(n));
        next = i64::from(i) + 1;
    }
    counts
}

/// The notation of `count_values`: `{count:3, sum:4.5, (0.5,1]:1, (1,2]:2}`.
pub fn to_text(h: &Histogram) -> String {
    let zero = (h.zero_count != 0.0 && h.schema != CUSTOM).then_some((Slot::Zero, h.zero_count));
    let negative = h.negative.iter().rev().map(|&(i, n)| (Slot::Negative(i), n));
    let positive = h.positive.iter().map(|&(i, n)| (Slot::Positive(i), n));
    let mut text = format!("{{count:{}, sum:{}", number(h.count), number(h.sum));
    for (slot, n) in negative.chain(zero).chain(positive).filter(|&(_, n)| n != 0.0) {
        let Bucket { lower, upper, count, bounds } = whole_bucket(h, slot, n);
        let open = if matches!(bounds, Bounds::OpenLeft | Bounds::Open) { '(' } else { '[' };
        let close = if matches!(bounds, Bounds::OpenRight | Bounds::Open) { ')' } else { ']' };
        let [lower, upper, count] = [lower, upper, count].map(number);
        write!(text, ", {open}{lower},{upper}{close}:{count}").expect("a string takes all text");
    }
    text.push('}');
    text
}
