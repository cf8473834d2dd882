//! The embedded store: history that is small, fast, and still there tomorrow.
//!
//! ```text
//!  Appender ──► batch ──► writer ──record──► WAL        ──► fsync
//!                            │                            │
//!                            └──────apply──────► head ◄───┘ replay, after a restart
//!                                                 │ every 2 h of data
//!                                                 ▼
//!                               blocks ◄──sealed, compacted, dropped by age and size
//! ```
//!
//! - [`Tsdb`] is the store; [`Options`] say what it promises and what it may take.
//! - What is committed is in the write-ahead log first, in one record of a commit, and in the head
//!   next. One thread does both, so the log has the order of the head.
//! - Old samples are sealed into blocks, which never change. A checkpoint then takes the place of
//!   the log before it.
//! - `docs/format/` draws every byte.

mod block;
mod checkpoint;
pub mod chunk;
mod compact;
mod error;
#[doc(hidden)]
pub mod fuzzing;
mod head;
mod maintain;
mod options;
mod postings;
mod record;
mod snapshot;
mod store;
mod tsdb;
mod varint;
mod verify;
mod writer;

pub use self::error::TsdbError;
pub use self::options::{Durability, Options, SeriesLimits};
pub use self::tsdb::Tsdb;
pub use self::verify::Report;
