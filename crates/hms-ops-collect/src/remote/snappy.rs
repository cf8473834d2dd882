//! Snappy's block format, around the body of every request and answer.

use snap::raw::{Decoder, Encoder, decompress_len};

/// How many times as long a body can become: three bytes may say to copy 64.
const MAX_RATIO: usize = 22;

/// Why a body cannot be inflated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each message explains its fields")]
pub enum SnappyError {
    /// It would become too long.
    #[error("the body declares {declared} bytes, the limit is {limit}")]
    TooLong { declared: usize, limit: usize },

    /// No body of its length can become so long.
    #[error("the body declares {declared} bytes, which its {length} bytes cannot hold")]
    Declared { declared: usize, length: usize },

    /// It is not Snappy's block format, or damaged.
    #[error("the body is not in Snappy's block format: {0}")]
    Damaged(#[from] snap::Error),
}

/// How many bytes `body` says that it becomes, unless it cannot or may not.
///
/// # Errors
///
/// [`SnappyError`].
pub(crate) fn declared(body: &[u8], limit: usize) -> Result<usize, SnappyError> {
    let declared = decompress_len(body)?;
    if declared > limit {
        return Err(SnappyError::TooLong { declared, limit });
    }
    if declared / MAX_RATIO > body.len() {
        return Err(SnappyError::Declared { declared, length: body.len() });
    }
    Ok(declared)
}

/// Inflates `body` into `buffer`, which only grows, and returns what it has become. The declared
/// length is checked before anything is allocated.
///
/// # Errors
///
/// [`SnappyError`].
pub(crate) fn inflate<'b>(
    body: &[u8],
    limit: usize,
    buffer: &'b mut Vec<u8>,
) -> Result<&'b [u8], SnappyError> {
    let declared = declared(body, limit)?;
    if buffer.len() < declared {
        buffer.resize(declared, 0);
    }
    let length = Decoder::new().decompress(body, buffer)?;
    Ok(&buffer[..length])
}

/// Compresses a message for the wire.
///
/// # Errors
///
/// [`SnappyError`] when it has 4 GiB or more.
pub fn deflate(message: &[u8]) -> Result<Vec<u8>, SnappyError> {
    Ok(Encoder::new().compress_vec(message)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 64 << 20;

    #[test]
    fn what_is_deflated_inflates_to_the_same_whatever_the_buffer_held() {
        let mut buffer = vec![7; 100];
        for message in [&b""[..], b"x", &[b'a'; 10_000]] {
            let body = deflate(message).unwrap();
            assert_eq!(inflate(&body, LIMIT, &mut buffer).unwrap(), message);
        }
    }

    #[test]
    fn ten_bytes_that_declare_gibibytes_are_refused_before_anything_is_allocated() {
        for (body, message) in [
            (
                [0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0, 0, 0],
                "the body declares 4294967295 bytes, the limit is 67108864",
            ),
            (
                [0x80, 0x80, 0x80, 0x20, 0, 0, 0, 0, 0, 0],
                "the body declares 67108864 bytes, which its 10 bytes cannot hold",
            ),
        ] {
            let mut buffer = Vec::new();
            let error = inflate(&body, LIMIT, &mut buffer).unwrap_err();
            assert_eq!(error.to_string(), message);
            assert_eq!(buffer.capacity(), 0);
        }
    }

    #[test]
    fn what_is_damaged_or_not_snappy_is_refused() {
        let body = deflate(&[b'a'; 1000]).unwrap();
        let mut buffer = Vec::new();
        for end in 0..body.len() {
            assert!(inflate(&body[..end], LIMIT, &mut buffer).is_err(), "{end}");
        }
        assert!(inflate(b"{\"plain\": \"text\"}", LIMIT, &mut buffer).is_err());
    }
}
