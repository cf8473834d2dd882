//! Exponential histograms as native histograms.
//!
//! Source: *OpenTelemetry Specification*, "Prometheus and OpenMetrics Compatibility", "Exponential
//! Histograms".

use hms_ops_core::sample::{CounterReset, Histogram};

use super::model::{Buckets, ExponentialPoint};

/// The finest and the coarsest resolution that a native histogram has.
const MAX_SCHEMA: i32 = 8;
const MIN_SCHEMA: i32 = -4;
/// The width of the bucket around zero of a point that does not say it, as in Prometheus.
const ZERO_THRESHOLD: f64 = 1e-128;
/// Buckets of one histogram; what SDKs keep is 160 or 320.
pub(super) const MAX_BUCKETS: usize = 10_000;

impl ExponentialPoint<'_> {
    /// The same observations in a native histogram, of a coarser scale where it knows none as fine.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub(super) fn native(&self) -> Result<Histogram, String> {
        let scale = self.scale.0;
        if scale < MIN_SCHEMA {
            return Err(format!("the scale {scale} is below {MIN_SCHEMA}"));
        }
        let schema = scale.min(MAX_SCHEMA);
        // More than 63 would be no shift; from 32 on, every index is 0 or -1 anyway.
        let merged = (i64::from(scale) - i64::from(schema)).min(63) as u32;
        let (positive, negative) = (self.positive.native(merged)?, self.negative.native(merged)?);
        let sum = self.sum.map_or(0.0, |sum| sum.0);
        let held: f64 = positive.iter().chain(&negative).map(|(_, count)| count).sum();
        let (held, count) = (held + self.zero_count.0 as f64, self.count.0 as f64);
        // Observations that are no number are in the count alone.
        if held > count || (held < count && !sum.is_nan()) {
            return Err(format!("its buckets hold {held} observations, its count is {count}"));
        }
        let zero_threshold = self.zero_threshold.0;
        Ok(Histogram {
            schema: schema as i8,
            zero_threshold: if zero_threshold > 0.0 { zero_threshold } else { ZERO_THRESHOLD },
            zero_count: self.zero_count.0 as f64,
            count,
            sum,
            positive,
            negative,
            custom_edges: Vec::new(),
            reset: CounterReset::Unknown,
        })
    }
}

impl Buckets {
    /// The buckets that are not empty, `2^merged` of them in one. A native bucket is told by its upper
    /// edge, one of OTLP by its lower.
    fn native(&self, merged: u32) -> Result<Vec<(i32, f64)>, String> {
        if self.bucket_counts.0.len() > MAX_BUCKETS {
            return Err(format!("more than {MAX_BUCKETS} buckets"));
        }
        let mut native: Vec<(i32, f64)> = Vec::new();
        for (place, count) in self.bucket_counts.0.iter().enumerate() {
            if count.0 == 0 {
                continue;
            }
            let index = ((i64::from(self.offset.0) + place as i64) >> merged) + 1;
            let index = i32::try_from(index).map_err(|_| format!("a bucket has number {index}"))?;
            match native.last_mut() {
                Some((last, total)) if *last == index => *total += count.0 as f64,
                _ => native.push((index, count.0 as f64)),
            }
        }
        Ok(native)
    }
}
