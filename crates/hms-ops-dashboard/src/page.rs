//! The built page; where it was not built, one that says how to.

use axum::body::Body;
use axum::extract::OriginalUri;
use axum::http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, IF_NONE_MATCH, LOCATION,
    VARY,
};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};

use crate::api::ApiError;

/// One file of the built page.
#[derive(Debug)]
struct File {
    /// Relative to the page, with `/` between the parts.
    path: &'static str,
    content_type: &'static str,
    /// Hash of the content.
    etag: &'static str,
    plain: &'static [u8],
    gzip: Option<&'static [u8]>,
}

static FILES: &[File] = include!(concat!(env!("OUT_DIR"), "/files.rs"));

const NOT_BUILT: &str = "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
    <title>HMS-OPS</title></head><body><p>The page is not part of this build: run \
    <code>cargo xtask ui</code> and build again to get it. The API works, for instance \
    <a href=\"api/services\">api/services</a>.</p></body></html>\n";

/// Answers every path that is not of the API.
pub(crate) async fn serve(
    method: Method,
    uri: Uri,
    OriginalUri(original): OriginalUri,
    headers: HeaderMap,
) -> Response {
    if method != Method::GET && method != Method::HEAD {
        return ApiError::MethodNotAllowed.into_response();
    }
    let path = uri.path().trim_start_matches('/');
    if path.is_empty() && !original.path().ends_with('/') {
        return to_folder(&original);
    }
    let path = if path.is_empty() { "index.html" } else { path };
    match FILES.iter().find(|file| file.path == path) {
        Some(file) => file.answer(&headers),
        None if path == "index.html" => {
            ([(CONTENT_TYPE, "text/html; charset=utf-8")], NOT_BUILT).into_response()
        }
        None => ApiError::NoSuchPath { path: uri.path().to_owned() }.into_response(),
    }
}

/// Relative URLs need a page that is a folder: from `…/dashboard` to `…/dashboard/`.
fn to_folder(original: &Uri) -> Response {
    let last = original.path().rsplit('/').next().unwrap_or_default();
    let query = original.query().map(|query| format!("?{query}")).unwrap_or_default();
    (StatusCode::PERMANENT_REDIRECT, [(LOCATION, format!("./{last}/{query}"))]).into_response()
}

impl File {
    fn answer(&self, headers: &HeaderMap) -> Response {
        let gzip = self.gzip.filter(|_| accepts_gzip(headers));
        let etag = format!("\"{}{}\"", self.etag, if gzip.is_some() { "-gz" } else { "" });
        // Files with a hash in their name never change under it.
        let keep = match self.path.starts_with("assets/") {
            true => "public, max-age=31536000, immutable",
            false => "no-cache",
        };
        let about = [(ETAG, etag.as_str()), (CACHE_CONTROL, keep), (VARY, "accept-encoding")];
        if is_known(headers, &etag) {
            return (StatusCode::NOT_MODIFIED, about).into_response();
        }
        let kind = [(CONTENT_TYPE, self.content_type)];
        match gzip {
            Some(gzip) => {
                (about, kind, [(CONTENT_ENCODING, "gzip")], Body::from(gzip)).into_response()
            }
            None => (about, kind, Body::from(self.plain)).into_response(),
        }
    }
}

/// Whether `gzip` is named, and not with a quality of zero.
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|coding| {
        let (name, quality) = coding.split_once(';').unwrap_or((coding, "q=1"));
        let quality = quality.trim().strip_prefix("q=").and_then(|q| q.parse::<f32>().ok());
        name.trim().eq_ignore_ascii_case("gzip") && quality.is_some_and(|q| q > 0.0)
    })
}

/// Whether the client has this version. Source: RFC 9110, section 13.1.2.
fn is_known(headers: &HeaderMap, etag: &str) -> bool {
    let known = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    known.flat_map(|value| value.split(',')).any(|known| {
        let known = known.trim();
        known == "*" || known.strip_prefix("W/").unwrap_or(known) == etag
    })
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderName;

    use super::*;

    const SCRIPT: File = File {
        path: "assets/index-Dx1.js",
        content_type: "text/javascript; charset=utf-8",
        etag: "0123",
        plain: b"plain",
        gzip: Some(b"packed"),
    };

    #[test]
    fn a_file_is_sent_compressed_where_the_client_takes_that() {
        for (accepted, encoding, etag) in [
            ("gzip, deflate, br", Some("gzip"), "\"0123-gz\""),
            ("br;q=1.0, GZIP;q=0.5", Some("gzip"), "\"0123-gz\""),
            ("gzip;q=0", None, "\"0123\""),
            ("identity", None, "\"0123\""),
        ] {
            let response = SCRIPT.answer(&headers(ACCEPT_ENCODING, accepted));
            let header = |name| response.headers().get(name).map(|value| value.to_str().unwrap());
            assert_eq!(header(CONTENT_ENCODING), encoding, "{accepted}");
            assert_eq!(header(ETAG), Some(etag), "{accepted}");
            assert_eq!(header(VARY), Some("accept-encoding"));
            assert_eq!(header(CONTENT_TYPE), Some("text/javascript; charset=utf-8"));
        }
        let never_packed = File { gzip: None, ..SCRIPT };
        let response = never_packed.answer(&headers(ACCEPT_ENCODING, "gzip"));
        assert_eq!(response.headers().get(CONTENT_ENCODING), None);
    }

    #[test]
    fn a_file_that_the_client_has_is_not_sent_again() {
        for (known, status) in [
            ("\"0123\"", StatusCode::NOT_MODIFIED),
            ("\"other\", W/\"0123\"", StatusCode::NOT_MODIFIED),
            ("*", StatusCode::NOT_MODIFIED),
            ("\"0123-gz\"", StatusCode::OK),
            ("\"012\"", StatusCode::OK),
        ] {
            assert_eq!(SCRIPT.answer(&headers(IF_NONE_MATCH, known)).status(), status, "{known}");
        }
    }

    #[test]
    fn only_a_file_with_a_hash_in_its_name_is_kept_for_good() {
        let index = File { path: "index.html", ..SCRIPT };
        let keep = |file: &File| file.answer(&HeaderMap::new()).headers()[CACHE_CONTROL].clone();
        assert_eq!(keep(&SCRIPT), "public, max-age=31536000, immutable");
        assert_eq!(keep(&index), "no-cache");
    }

    fn headers(name: HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }
}
