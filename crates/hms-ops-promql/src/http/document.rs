//! A body that is written piece by piece while it is sent, so that an answer is never in memory
//! twice.

use std::convert::Infallible;
use std::io::Write;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body::Frame;

use super::{Place, json};

/// How much is written before it is sent.
pub(crate) const PIECE: usize = 64 << 10;
/// What is shorter is sent as it is.
const WORTH_COMPRESSING: usize = 1 << 10;

/// Writes a little more and says whether there may be more to come; stops early when there are
/// [`PIECE`] bytes.
type Rest = Box<dyn FnMut(&mut Vec<u8>) -> bool + Send>;

/// A body in the making.
pub(crate) struct Document {
    content_type: &'static str,
    rest: Rest,
}

/// What is said beside an answer.
#[derive(Debug, Default)]
pub(crate) struct Notices {
    pub(crate) warnings: Vec<String>,
    pub(crate) infos: Vec<String>,
}

impl Notices {
    /// That there is more than was asked for.
    pub(crate) fn truncated(&mut self) {
        self.warnings.push("results truncated due to limit".to_owned());
    }
}

impl Document {
    /// `{"status":"success","data":…}`: `before`, then what `rest` writes until it is done, then
    /// `after`.
    pub(crate) fn success(
        before: &[u8],
        mut rest: impl FnMut(&mut Vec<u8>) -> bool + Send + 'static,
        after: &[u8],
        notices: &Notices,
    ) -> Self {
        let mut head = Some([br#"{"status":"success","data":"#, before].concat());
        let mut tail = after.to_vec();
        for (name, all) in [("warnings", &notices.warnings), ("infos", &notices.infos)] {
            if !all.is_empty() {
                tail.push(b',');
                json::text(&mut tail, name);
                tail.push(b':');
                json::list(&mut tail, all, |out, notice| json::text(out, notice));
            }
        }
        tail.push(b'}');
        Self::text("application/json", move |out| {
            if let Some(head) = head.take() {
                out.extend_from_slice(&head);
            }
            let more = rest(out);
            if !more {
                out.extend_from_slice(&tail);
            }
            more
        })
    }

    /// [`Document::success`] with a list.
    pub(crate) fn list<T>(
        before: &[u8],
        items: impl Iterator<Item = T> + Send + 'static,
        mut write: impl FnMut(&mut Vec<u8>, T) + Send + 'static,
        after: &[u8],
        notices: &Notices,
    ) -> Self {
        let (mut items, mut first) = (items, true);
        let rest = move |out: &mut Vec<u8>| match items.next() {
            None => false,
            Some(item) => {
                if !std::mem::take(&mut first) {
                    out.push(b',');
                }
                write(out, item);
                true
            }
        };
        Self::success(&[before, b"["].concat(), rest, &[b"]", after].concat(), notices)
    }

    /// What `rest` writes until it is done.
    pub(crate) fn text(
        content_type: &'static str,
        rest: impl FnMut(&mut Vec<u8>) -> bool + Send + 'static,
    ) -> Self {
        Self { content_type, rest: Box::new(rest) }
    }

    /// Fills a piece; `false` when it was the last.
    fn fill(&mut self, piece: &mut Vec<u8>) -> bool {
        while piece.len() < PIECE {
            if !(self.rest)(piece) {
                return false;
            }
        }
        true
    }

    /// A response whose body is short and whole, or goes on being written until it is sent; the
    /// request keeps its place until then.
    pub(crate) fn into_response(mut self, gzip: bool, place: Place) -> Response {
        let content_type = self.content_type;
        let mut first = Vec::with_capacity(1024);
        let more = self.fill(&mut first);
        let gzip = gzip && (more || first.len() > WORTH_COMPRESSING);
        let encoder = gzip.then(|| GzEncoder::new(Vec::new(), Compression::fast()));
        let mut pieces = Pieces { document: self, encoder, more, _place: place };
        let first = pieces.seal(first);
        let body = match more {
            false => Body::from(first),
            true => Body::new(Started { first: Some(first.into()), pieces }),
        };
        let mut response = Response::new(body);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
        if gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response
    }
}

/// The pieces of a document, compressed if that was asked for.
struct Pieces {
    document: Document,
    encoder: Option<GzEncoder<Vec<u8>>>,
    more: bool,
    _place: Place,
}

impl Pieces {
    /// Makes a piece ready to be sent; compressed, it may be empty.
    fn seal(&mut self, piece: Vec<u8>) -> Vec<u8> {
        const MEMORY: &str = "memory takes every write";
        let Some(encoder) = &mut self.encoder else { return piece };
        encoder.write_all(&piece).expect(MEMORY);
        if self.more {
            return std::mem::take(encoder.get_mut());
        }
        self.encoder.take().map(|encoder| encoder.finish().expect(MEMORY)).unwrap_or_default()
    }
}

/// A body whose first piece is written.
struct Started {
    first: Option<Bytes>,
    pieces: Pieces,
}

impl http_body::Body for Started {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frame = |piece| Poll::Ready(Some(Ok(Frame::data(piece))));
        if let Some(first) = self.first.take().filter(|first| !first.is_empty()) {
            return frame(first);
        }
        let pieces = &mut self.pieces;
        while pieces.more {
            let mut piece = Vec::with_capacity(PIECE + 512);
            pieces.more = pieces.document.fill(&mut piece);
            let piece = pieces.seal(piece);
            if !piece.is_empty() {
                return frame(piece.into());
            }
        }
        Poll::Ready(None)
    }
}

/// Whether a client takes gzip (RFC 9110, section 12.5.3).
pub(crate) fn accepts_gzip(headers: &HeaderMap) -> bool {
    let listed = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|v| v.to_str().ok());
    listed.flat_map(|list| list.split(',')).any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        let weight = parts.find_map(|part| part.strip_prefix("q=")?.parse::<f32>().ok());
        named && weight != Some(0.0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_for_those_who_name_it() {
        for (value, accepted) in [
            ("gzip", true),
            ("br, GZIP;q=0.5", true),
            ("gzip;q=0", false),
            ("gzip; q=0.0, deflate", false),
            ("deflate", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(ACCEPT_ENCODING, value.parse().unwrap())]);
            assert_eq!(accepts_gzip(&headers), accepted, "{value}");
        }
    }
}
