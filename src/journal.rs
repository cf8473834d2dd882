//! Where what was decided and done is written down: beside the samples, or in memory.

use std::path::Path;
use std::sync::Arc;

use hms_ops_ledger::{FileLedger, FileLedgerOptions};

use crate::Error;
use crate::core::clock::Clock;
use crate::core::ledger::{Ledger, MemoryLedger};

/// Opens the ledger: `own`, if there is one.
pub(crate) fn open(
    own: Option<Arc<dyn Ledger>>,
    data: Option<&Path>,
    clock: &Arc<dyn Clock>,
) -> Result<Arc<dyn Ledger>, Error> {
    let clock = clock.clone();
    match (own, data) {
        (Some(own), _) => Ok(own),
        (None, Some(data)) => {
            let options = FileLedgerOptions { clock, ..FileLedgerOptions::default() };
            Ok(Arc::new(FileLedger::open(data.join("ledger"), options).map_err(Error::setup)?))
        }
        (None, None) => Ok(Arc::new(MemoryLedger::new(clock))),
    }
}
