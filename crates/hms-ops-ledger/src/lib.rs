//! The durable ledger: one hash-chained log in the files of one folder.
//!
//! [`FileLedger`] keeps what was decided and done through the end of the process and the loss of
//! power. Appends that come together share one write and one sync; each segment of the log begins
//! with a snapshot, so that a restart reads one segment and old ones can be dropped. The bytes are
//! drawn in `docs/format.md`.

mod book;
mod error;
mod file;
mod files;
mod options;
mod record;
mod writer;

pub use error::FileLedgerError;
pub use file::FileLedger;
pub use options::FileLedgerOptions;
