//! Why the store refused or failed.

use std::io;
use std::path::{Path, PathBuf};

use hms_ops_core::labels::Labels;
use hms_ops_core::store::StoreError;
use hms_ops_core::time::Timestamp;
use hms_ops_wal::log::LogError;

/// Why the store refused or failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each message explains its fields")]
pub enum TsdbError {
    /// Another process has the folder open.
    #[error("{} is in use by another process; a folder has one writer", folder.display())]
    InUse { folder: PathBuf },

    /// Written by a release that this one does not know.
    #[error("{} has format version {found}, this release reads version {known}", path.display())]
    UnknownFormat { path: PathBuf, found: u16, known: u16 },

    /// A file is not what it should be.
    #[error("{} is damaged: {what}", path.display())]
    Damaged { path: PathBuf, what: &'static str },

    /// A batch that no record can hold.
    #[error("a batch of {bytes} bytes is more than the {limit} that a record may have")]
    BatchTooLarge { bytes: usize, limit: usize },

    /// A label set that no series can have.
    #[error("labels of {bytes} bytes, the limit is {limit}: {start}…")]
    LabelsTooLong { bytes: usize, limit: usize, start: String },

    /// Imported history that has not happened yet.
    #[error("the sample of {labels} at {at} lies ahead of the clock")]
    TooFarAhead { labels: Labels, at: Timestamp },

    /// The write-ahead log failed.
    #[error(transparent)]
    Log(#[from] LogError),

    /// The operating system refused.
    #[error("cannot {action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },

    /// As another commit of the same group.
    #[error(transparent)]
    Shared(std::sync::Arc<TsdbError>),

    /// The store is closed, or its writer has failed for good.
    #[error("the store is closed")]
    Closed,
}

impl TsdbError {
    /// What to do with an error of the operating system: `.map_err(TsdbError::io("read", path))`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

impl From<TsdbError> for StoreError {
    fn from(error: TsdbError) -> Self {
        Self::Backend(Box::new(error))
    }
}
