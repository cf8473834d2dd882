//! Why a request was not answered by a cluster, and what the client is told.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use hms_ops_core::name::Service;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::Full;

/// A request without an answer. The messages name no address: clients read them.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("{1}")]
    Refused(StatusCode, &'static str),
    #[error("cannot be reached")]
    Unreachable(#[source] io::Error),
    #[error("broke off before its answer")]
    Broken(#[source] hyper::Error),
    #[error("did not answer within {0:?}")]
    Late(Duration),
}

impl Failure {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Refused(status, _) => *status,
            Self::Unreachable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Broken(_) => StatusCode::BAD_GATEWAY,
            Self::Late(_) => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    pub(super) fn response(&self, service: &Service) -> Response<Full<Bytes>> {
        let line = match self {
            Self::Refused(..) => format!("{self}\n"),
            _ => format!("{service} {self}\n"),
        };
        let mut response = Response::new(Full::from(line));
        *response.status_mut() = self.status();
        let plain = HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, plain);
        response
    }
}
