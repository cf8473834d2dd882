//! A kind of receiver that this build lacks.

use hms_ops_alert::Receiver;

use super::Reading;
use crate::config::ConfigError;

pub(super) fn make(reading: &Reading<'_>) -> Result<Receiver, ConfigError> {
    let kind = reading.table.kind.get_ref();
    Err(reading.wrong(format!("a receiver of kind {kind:?} needs the feature `notify-{kind}`")))
}
