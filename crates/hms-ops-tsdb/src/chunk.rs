//! Chunks: runs of samples of one series, compressed.
//!
//! The head keeps chunks that grow a sample at a time: [`XorEncoder`]. Blocks keep columns of times
//! and of values, compressed at once: [`encode_times`], [`encode_values`]; and native histograms in
//! runs: [`encode_histograms`]. None says how many samples it has, and none checks itself: whoever
//! keeps the bytes keeps the count and a checksum. `docs/format/chunk.md` draws the layouts.
//!
//! Bytes may be damaged, or made to do harm. They are refused, or decode to something; decoding
//! never panics, and never takes more memory than [`MAX_SAMPLES`] samples need.
//!
//! ```
//! use hms_ops_tsdb::chunk::{decode_values, encode_values};
//!
//! let (mut bytes, mut values) = (Vec::new(), Vec::new());
//! encode_values(&[0.25, 0.5, 0.75], &mut bytes);
//! decode_values(&bytes, 3, &mut values)?;
//! assert_eq!(values, [0.25, 0.5, 0.75]);
//! # Ok::<(), hms_ops_tsdb::chunk::ChunkError>(())
//! ```

mod column;
mod histogram;
mod integers;
mod packed;
mod xor;

pub use self::column::{decode_times, decode_values, encode_times, encode_values};
pub use self::histogram::{decode_histograms, encode_histograms};
pub use self::xor::{XorDecoder, XorEncoder};

/// Samples of the longest chunk that is decoded; it is for those who encode to keep within.
pub const MAX_SAMPLES: usize = 16_384;

/// Why a chunk cannot be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each message explains its fields")]
pub enum ChunkError {
    /// More samples than a chunk may have.
    #[error("a chunk of {count} samples, the limit is {MAX_SAMPLES}")]
    TooLong { count: usize },

    /// The bytes end too early.
    #[error("the chunk ends within sample {index} of {count}")]
    Truncated { index: usize, count: usize },

    /// A time that is not after the one before it.
    #[error("sample {index}, at {at} ms, is not after the one before it")]
    OutOfOrder { index: usize, at: i64 },

    /// Written by a release that this one does not know.
    #[error("unknown encoding {tag} of {what}")]
    UnknownEncoding { what: &'static str, tag: u8 },

    /// Bytes that no encoder writes.
    #[error("damaged {what}")]
    Damaged { what: &'static str, source: Option<pco::errors::PcoError> },
}

impl ChunkError {
    fn damaged(what: &'static str) -> Self {
        Self::Damaged { what, source: None }
    }
}

/// Refuses a count that no encoder writes.
fn check_count(count: usize) -> Result<(), ChunkError> {
    if count > MAX_SAMPLES {
        return Err(ChunkError::TooLong { count });
    }
    Ok(())
}
