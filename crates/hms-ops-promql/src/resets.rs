//! Resets that no sample tells of, found where only the counts and sums of histograms are looked at.

use std::sync::Arc;

use hms_ops_core::labels::Labels;
use hms_ops_core::sample::{CounterReset, Histogram, Sample, Value};
use hms_ops_core::store::{SeriesSet, StoreError};

use crate::histogram::is_reset;

/// Series whose histograms say of themselves whether a reset came before them; the first of each
/// says it only if it is known.
///
/// As Prometheus 3.14 has it, this is so below `histogram_count`, `histogram_sum` and
/// `histogram_avg`, and shows in what an aggregation says of conflicting resets.
pub(crate) struct FindsResets(pub(crate) Box<dyn SeriesSet>);

impl SeriesSet for FindsResets {
    fn advance(&mut self) -> Result<bool, StoreError> {
        self.0.advance()
    }

    fn labels(&self) -> &Labels {
        self.0.labels()
    }

    fn read(&mut self, into: &mut Vec<Sample>) -> Result<(), StoreError> {
        let first = into.len();
        self.0.read(into)?;
        let mut before: Option<Arc<Histogram>> = None;
        for sample in &mut into[first..] {
            let Value::Histogram(h) = &mut sample.value else { continue };
            let previous = before.replace(h.clone());
            if let (CounterReset::Unknown, Some(previous)) = (h.reset, previous) {
                let found = is_reset(h, &previous);
                let found = if found { CounterReset::Reset } else { CounterReset::NotReset };
                Arc::make_mut(h).reset = found;
            }
        }
        Ok(())
    }
}
