//! Messages between host and runbook process: length-prefixed JSON over one socket.
//!
//! A frame is a length of four bytes, most significant first, and that many bytes of JSON. Both
//! sides bound what they take, because the other side may be hostile.

use hms_ops_core::runbook::{Call, Execution, Outcome, RunbookError};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The longest frame.
pub const MAX_FRAME: usize = 64 * 1024;
/// The longest result of a call: what a frame has room for besides its own words.
pub const MAX_ANSWER: usize = MAX_FRAME - 64;
/// The most bytes that one run may send.
pub const MAX_TOTAL: usize = 1024 * 1024;

/// What the host says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub enum HostFrame {
    /// Run this.
    Start {
        /// What.
        execution: Box<Execution>,
    },
    /// The answer to a call.
    Answer {
        /// Number of the call, as the runbook process gave it.
        id: u64,
        /// What came of it.
        result: Result<Json, RunbookError>,
    },
}

/// What the runbook process says.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub enum RunbookFrame {
    /// It has started, and waits for [`HostFrame::Start`].
    Ready,
    /// It calls a capability.
    Call {
        /// Number by which it will know the answer.
        id: u64,
        /// The call.
        call: Call,
    },
    /// The runbook has ended.
    End {
        /// How.
        outcome: Outcome,
    },
}

/// Why no frame could be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each message explains its fields")]
pub enum FrameError {
    /// The other side is gone; `partial` bytes of a frame had come.
    #[error("the socket was closed")]
    Closed { partial: usize },

    /// A frame is too long.
    #[error("a message of {length} bytes, the limit is {MAX_FRAME}")]
    TooLong { length: usize },

    /// Too much was sent altogether.
    #[error("more than {MAX_TOTAL} bytes of messages")]
    TooMuch,

    /// A frame is not what it should be.
    #[error("a message that cannot be read: {0}")]
    Malformed(#[from] serde_json::Error),

    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Reads frames.
#[derive(Debug)]
pub struct FrameReader<R> {
    from: R,
    buffer: Vec<u8>,
    total: usize,
    max_total: usize,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Reads from `from`, at most `max_total` bytes altogether.
    pub fn new(from: R, max_total: usize) -> Self {
        Self { from, buffer: Vec::new(), total: 0, max_total }
    }

    /// Reads the next frame.
    ///
    /// Cancel safe: bytes that have come are kept for the next call.
    ///
    /// # Errors
    ///
    /// [`FrameError`]; nothing can be read after it.
    pub async fn next<T: DeserializeOwned>(&mut self) -> Result<T, FrameError> {
        loop {
            if let Some((head, rest)) = self.buffer.split_first_chunk::<4>() {
                let length = u32::from_be_bytes(*head) as usize;
                if length > MAX_FRAME {
                    return Err(FrameError::TooLong { length });
                }
                if let Some(body) = rest.get(..length) {
                    let frame = serde_json::from_slice(body)?;
                    self.buffer.drain(..4 + length);
                    return Ok(frame);
                }
            }
            let read = self.from.read_buf(&mut self.buffer).await?;
            if read == 0 {
                return Err(FrameError::Closed { partial: self.buffer.len() });
            }
            self.total += read;
            if self.total > self.max_total {
                return Err(FrameError::TooMuch);
            }
        }
    }
}

/// The result of a call as it can be sent: where it is too long, the error that says so.
pub fn sendable(result: Result<Json, RunbookError>) -> Result<Json, RunbookError> {
    let reason = match serde_json::to_vec(&result).map(|bytes| bytes.len()) {
        Ok(..=MAX_ANSWER) => return result,
        Ok(length) => {
            format!("the answer of {length} bytes is too long, the limit is {MAX_ANSWER}")
        }
        Err(error) => format!("the answer cannot be written: {error}"),
    };
    Err(RunbookError::Failed { reason })
}

/// Writes one frame.
///
/// Not cancel safe: a dropped call may have written a part.
///
/// # Errors
///
/// [`FrameError::TooLong`] before anything is written, or the operating system's.
pub async fn write<T: Serialize>(
    to: &mut (impl AsyncWrite + Unpin),
    frame: &T,
) -> Result<(), FrameError> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, frame)?;
    let length = bytes.len() - 4;
    if length > MAX_FRAME {
        return Err(FrameError::TooLong { length });
    }
    bytes[..4].copy_from_slice(&(length as u32).to_be_bytes());
    Ok(to.write_all(&bytes).await?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    #[test]
    fn a_frame_survives_the_way_in_pieces() {
        block_on(async {
            let call = Call { capability: "note".into(), args: serde_json::json!({"text": "ü"}) };
            let frame = RunbookFrame::Call { id: 7, call };
            let (mut near, far) = tokio::io::duplex(3);
            let mut reader = FrameReader::new(far, MAX_TOTAL);
            let (written, read) =
                tokio::join!(write(&mut near, &frame), reader.next::<RunbookFrame>());
            written.unwrap();
            assert_eq!(read.unwrap(), frame);
        });
    }

    #[test]
    fn the_longest_result_of_a_call_fits_in_a_frame() {
        let text = |length: usize| Ok(Json::String("x".repeat(length - r#"{"Ok":""}"#.len())));
        let result = sendable(text(MAX_ANSWER));
        assert_eq!(result, text(MAX_ANSWER));
        let answer = HostFrame::Answer { id: u64::MAX, result };
        block_on(write(&mut Vec::new(), &answer)).unwrap();
        assert_eq!(
            sendable(text(MAX_ANSWER + 1)).unwrap_err().to_string(),
            "the answer of 65473 bytes is too long, the limit is 65472"
        );
    }

    #[test]
    fn limits_are_kept_before_the_bytes_are() {
        block_on(async {
            let long = u32::MAX.to_be_bytes();
            let error = FrameReader::new(&long[..], MAX_TOTAL).next::<RunbookFrame>().await;
            assert_eq!(
                error.unwrap_err().to_string(),
                "a message of 4294967295 bytes, the limit is 65536"
            );
            let flood = [0u8; 100];
            let error = FrameReader::new(&flood[..], 99).next::<RunbookFrame>().await;
            assert!(matches!(error, Err(FrameError::TooMuch | FrameError::Malformed(_))));
        });
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            block_on(async {
                let mut reader = FrameReader::new(&bytes[..], MAX_TOTAL);
                while reader.next::<RunbookFrame>().await.is_ok() {}
            });
        }
    }
}
