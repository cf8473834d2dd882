//! What becomes of the head of a request and of an answer on the way through.

use std::net::IpAddr;

use hms_ops_core::span::{SpanContext, TRACE_ID_HEADER, TRACEPARENT, TraceId};
use http::header::{
    CONNECTION, EXPECT, Entry, HOST, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHORIZATION, TE,
    TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::uri::PathAndQuery;
use http::{Method, Request, StatusCode, Uri, Version, request};

use super::failure::Failure;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// What RFC 9110, section 7.6.1, names beside the options of `connection`, and what is meant for
/// the first proxy only (section 11.7.2).
const HOP_BY_HOP: [HeaderName; 7] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHORIZATION,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// The head of a request as a cluster gets it.
#[derive(Debug)]
pub(super) struct Head {
    method: Method,
    target: Uri,
    headers: HeaderMap,
}

impl Head {
    /// # Errors
    ///
    /// [`Failure::Refused`] when the request names no host or two, or asks for a tunnel.
    pub(super) fn new(
        parts: request::Parts,
        peer: IpAddr,
        trace: SpanContext,
    ) -> Result<Self, Failure> {
        let request::Parts { method, uri, version, mut headers, .. } = parts;
        let websocket = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"websocket");
        if method == Method::CONNECT || headers.get(UPGRADE).is_some_and(websocket) {
            let why =
                "this router passes requests and answers, no tunnels: not CONNECT or WebSocket";
            return Err(Failure::Refused(StatusCode::NOT_IMPLEMENTED, why));
        }
        let hosts = headers.get_all(HOST).iter().count();
        if hosts > 1 || (hosts == 0 && version == Version::HTTP_11) {
            let why = "a request names exactly one host";
            return Err(Failure::Refused(StatusCode::BAD_REQUEST, why));
        }
        strip(&mut headers);
        // The proxy itself tells the client to go on, by reading the body.
        headers.remove(EXPECT);
        // RFC 9112, section 3.2.2: the host of an absolute target wins over the header.
        if let Some(host) = uri.authority().and_then(|a| HeaderValue::from_str(a.as_str()).ok()) {
            headers.insert(HOST, host);
        }
        append(&mut headers, FORWARDED_FOR, &peer.to_canonical().to_string());
        if let (Some(host), Entry::Vacant(entry)) =
            (headers.get(HOST).cloned(), headers.entry(FORWARDED_HOST))
        {
            entry.insert(host);
        }
        headers.entry(FORWARDED_PROTO).or_insert(HeaderValue::from_static("http"));
        append(&mut headers, VIA, via(version));
        mark_trace(&mut headers, trace);
        let target = uri.path_and_query().cloned();
        let target = target.unwrap_or_else(|| PathAndQuery::from_static("/")).into();
        Ok(Self { method, target, headers })
    }

    /// Whether doing it twice has the effect of doing it once (RFC 9110, section 9.2.2).
    pub(super) fn is_idempotent(&self) -> bool {
        self.method.is_idempotent()
    }

    /// The request for a cluster; `authority` stands in where a client of HTTP/1.0 named no host.
    pub(super) fn request<B>(&self, body: B, authority: &HeaderValue) -> Request<B> {
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.target.clone();
        let mut headers = self.headers.clone();
        headers.entry(HOST).or_insert_with(|| authority.clone());
        *request.headers_mut() = headers;
        request
    }
}

/// Makes an answer fit for the client.
pub(super) fn finish_answer(headers: &mut HeaderMap, trace_id: TraceId) {
    strip(headers);
    append(headers, VIA, via(Version::HTTP_11));
    insert(headers, HeaderName::from_static(TRACE_ID_HEADER), &trace_id.to_string());
}

fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

fn mark_trace(headers: &mut HeaderMap, trace: SpanContext) {
    let goes_on = headers
        .get(TRACEPARENT)
        .and_then(|value| SpanContext::from_traceparent(value.to_str().ok()?))
        .is_some();
    if !goes_on {
        // The state belongs to the parent that nobody named.
        headers.remove(TRACESTATE);
    }
    insert(headers, HeaderName::from_static(TRACEPARENT), &trace.to_traceparent());
    insert(headers, HeaderName::from_static(TRACE_ID_HEADER), &trace.trace_id.to_string());
}

/// Adds to a header that is a list.
fn append(headers: &mut HeaderMap, name: HeaderName, item: &str) {
    let before = headers.get_all(&name).iter().map(HeaderValue::as_bytes);
    let mut list = before.collect::<Vec<_>>().join(&b", "[..]);
    if !list.is_empty() {
        list.extend_from_slice(b", ");
    }
    list.extend_from_slice(item.as_bytes());
    if let Ok(value) = HeaderValue::from_bytes(&list) {
        headers.insert(name, value);
    }
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    let value = HeaderValue::from_str(value).expect("ids are hexadecimal digits");
    headers.insert(name, value);
}

fn via(version: Version) -> &'static str {
    if version == Version::HTTP_10 { "1.0 hms-ops" } else { "1.1 hms-ops" }
}
