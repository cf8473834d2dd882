//! Files that can be trusted: the disk behind a trait, and checksummed logs of segment files on it.
//!
//! Store, ledger and queues all write through these two, so one fault disk tests them all.
//!
//! - [`disk::Disk`] is what the operating system does for us, small enough to be imitated.
//! - [`log::Log`] is a sequence of records in checksummed segment files: a torn tail is cut, a
//!   damaged frame in the middle is set aside and skipped, and nothing else is lost.

pub mod disk;
#[doc(hidden)]
pub mod fuzzing;
pub mod log;
