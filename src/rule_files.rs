//! Rule files of Prometheus, from disk.

use std::path::Path;
use std::{fs, io};

pub use hms_ops_alert::rule_file::{Complaint, FileError, Group, Kind, Rule, RuleFile};

/// Bytes of one file.
pub(crate) const MAX_FILE_BYTES: u64 = 16 << 20;

/// Why a rule file, or a file of tests, cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each message explains its fields")]
pub enum RuleFileError {
    /// It says what it may not say.
    #[error(transparent)]
    Malformed(#[from] FileError),

    /// It cannot be read.
    #[error("cannot read {file}")]
    Io { file: String, source: io::Error },
}

/// Reads a rule file, the syntax of its queries and templates included.
///
/// # Errors
///
/// [`RuleFileError`] at the first mistake, with file, line and key.
pub fn load(path: impl AsRef<Path>) -> Result<RuleFile, RuleFileError> {
    let (name, text) = read(path.as_ref())?;
    let check = |query: &str| match hms_ops_promql::parse(query) {
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    };
    Ok(RuleFile::parse(&name, &text, &check)?)
}

/// The name of a file, for messages, and its text.
pub(crate) fn read(path: &Path) -> Result<(String, String), RuleFileError> {
    let file = path.display().to_string();
    let read = || {
        let text = io::read_to_string(io::Read::take(fs::File::open(path)?, MAX_FILE_BYTES + 1))?;
        match text.len() as u64 > MAX_FILE_BYTES {
            true => Err(io::Error::other(format!("it is larger than {MAX_FILE_BYTES} bytes"))),
            false => Ok(text),
        }
    };
    match read() {
        Ok(text) => Ok((file, text)),
        Err(source) => Err(RuleFileError::Io { file, source }),
    }
}
