//! Remote read: series of the store, sample by sample, to whoever queries elsewhere.

use std::sync::Arc;

use hms_ops_core::matcher::{Matcher, PatternError};
use hms_ops_core::sample::Sample;
use hms_ops_core::store::{SelectHint, SeriesSet, Store, StoreError};
use hms_ops_core::time::{TimeRange, Timestamp};

use super::write::write_series;
use super::{Limits, SnappyError, histogram, snappy};
use crate::protobuf::{ProtobufError, Reader, Writer};

/// Matchers of all queries together: each may be a regular expression that takes megabytes.
const MAX_MATCHERS: usize = 128;

/// Why a read is not answered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each message explains its fields")]
pub enum ReadError {
    /// The body cannot be inflated.
    #[error(transparent)]
    Snappy(#[from] SnappyError),

    /// The message is none.
    #[error("the message is damaged: {0}")]
    Damaged(String),

    /// A matcher has none of the four types.
    #[error("the matcher of label {name:?} has type {kind}, which is none")]
    Matcher { name: String, kind: u64 },

    /// A matcher's pattern is not a regular expression.
    #[error(transparent)]
    Pattern(#[from] PatternError),

    /// The reader understands only answers that are not given here.
    #[error("none of the accepted response types is SAMPLES, which is the one there is")]
    ResponseType,

    /// More was asked for than is given at once.
    #[error("more than {limit} {what}: ask for fewer series or less time")]
    TooMuch { what: &'static str, limit: usize },

    /// The store could not be read.
    #[error("the store could not be read: {0}")]
    Store(#[from] StoreError),
}

impl From<ProtobufError> for ReadError {
    fn from(error: ProtobufError) -> Self {
        Self::Damaged(error.to_string())
    }
}

#[derive(Debug)]
struct Query {
    range: TimeRange,
    matchers: Vec<Matcher>,
}

/// Answers the read that `body` asks for, with a body.
///
/// Cancel safe.
///
/// # Errors
///
/// [`ReadError`].
pub async fn read(
    store: &Arc<dyn Store>,
    limits: &Limits,
    body: &[u8],
) -> Result<Vec<u8>, ReadError> {
    let mut answer = Answer { message: Vec::new(), samples: 0, limits: limits.clone() };
    // Patterns take long to be read.
    let (body, limits) = (body.to_vec(), limits.clone());
    let queries = off_executor(move || {
        let mut buffer = Vec::new();
        decode(snappy::inflate(&body, limits.message_bytes, &mut buffer)?, &limits)
    });
    for query in queries.await? {
        let hint = SelectHint::default();
        let set = store.select(&query.matchers, query.range, &hint).await?;
        // The series are read from disk, one by one.
        answer = off_executor(move || answer.add(set).map(|()| answer)).await?;
    }
    off_executor(move || Ok(snappy::deflate(&answer.message)?)).await
}

async fn off_executor<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ReadError> + Send + 'static,
) -> Result<T, ReadError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|failed| StoreError::Backend(Box::new(failed)))?
}

/// Reads the queries; `hints` tell of nothing that would save work here.
fn decode(message: &[u8], limits: &Limits) -> Result<Vec<Query>, ReadError> {
    let (mut queries, mut matchers) = (Vec::new(), 0);
    let (mut any_type, mut samples) = (false, false);
    let mut reader = Reader::new(message);
    while let Some((number, field)) = reader.next()? {
        match number {
            1 if queries.len() == limits.queries => {
                return Err(ReadError::TooMuch { what: "queries", limit: limits.queries });
            }
            1 => queries.push(query(field.bytes("queries")?, &mut matchers)?),
            2 => {
                for response_type in field.uints("accepted_response_types")? {
                    any_type = true;
                    samples |= response_type? == 0;
                }
            }
            _ => {}
        }
    }
    if any_type && !samples {
        return Err(ReadError::ResponseType);
    }
    Ok(queries)
}

fn query(message: &[u8], so_far: &mut usize) -> Result<Query, ReadError> {
    let (mut start, mut end, mut matchers) = (0, 0, Vec::new());
    let mut reader = Reader::new(message);
    while let Some((number, field)) = reader.next()? {
        match number {
            1 => start = field.int("start_timestamp_ms")?,
            2 => end = field.int("end_timestamp_ms")?,
            3 if *so_far == MAX_MATCHERS => {
                return Err(ReadError::TooMuch { what: "matchers", limit: MAX_MATCHERS });
            }
            3 => {
                *so_far += 1;
                matchers.push(matcher(field.bytes("matchers")?)?);
            }
            _ => {}
        }
    }
    let range = TimeRange::new(Timestamp::from_millis(start), Timestamp::from_millis(end));
    Ok(Query { range, matchers })
}

fn matcher(message: &[u8]) -> Result<Matcher, ReadError> {
    let (mut kind, mut name, mut value) = (0, "", "");
    let mut reader = Reader::new(message);
    while let Some((number, field)) = reader.next()? {
        match number {
            1 => kind = field.uint("type")?,
            2 => name = field.text("name")?,
            3 => value = field.text("value")?,
            _ => {}
        }
    }
    Ok(match kind {
        0 => Matcher::equal(name, value),
        1 => Matcher::not_equal(name, value),
        2 => Matcher::regex(name, value)?,
        3 => Matcher::not_regex(name, value)?,
        kind => return Err(ReadError::Matcher { name: name.to_owned(), kind }),
    })
}

/// The answer, as far as it has been written.
struct Answer {
    message: Vec<u8>,
    samples: usize,
    limits: Limits,
}

impl Answer {
    /// Adds the result of the next query.
    fn add(&mut self, mut set: Box<dyn SeriesSet>) -> Result<(), ReadError> {
        let (mut result, mut samples) = (Vec::new(), Vec::<Sample>::new());
        while set.advance()? {
            samples.clear();
            set.read(&mut samples)?;
            self.samples += samples.iter().map(|s| histogram::weight(&s.value)).sum::<usize>();
            if self.samples > self.limits.read_samples {
                let limit = self.limits.read_samples;
                return Err(ReadError::TooMuch { what: "samples", limit });
            }
            Writer::new(&mut result)
                .message(1, |writer| write_series(set.labels(), &samples, writer));
            let limit = self.limits.message_bytes;
            if self.message.len() + result.len() > limit {
                return Err(ReadError::TooMuch { what: "bytes", limit });
            }
        }
        Writer::new(&mut self.message).bytes(1, &result);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
