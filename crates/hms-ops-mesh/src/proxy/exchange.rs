//! One request through the proxy: where it goes, how it ends, and its span.

use std::sync::Arc;
use std::time::Duration;

use hms_ops_core::clock::SystemClock;
use hms_ops_core::span::{
    AttributeValue, SpanContext, SpanKind, SpanRecord, SpanStatus, TRACE_ID_HEADER, TRACEPARENT,
};
use http::{Request, StatusCode};

use super::Proxy;
use super::failure::Failure;
use super::stream::Watch;
use super::upstream::Sender;
use crate::router::InFlight;

/// A request under way. Dropped, it has ended: it is counted and its span recorded.
pub(super) struct Exchange {
    proxy: Arc<Proxy>,
    context: SpanContext,
    span: Option<Box<SpanRecord>>,
    in_flight: Option<InFlight>,
    retried: bool,
    connection: Option<Sender>,
}

impl Exchange {
    pub(super) fn begin<B>(proxy: Arc<Proxy>, request: &Request<B>) -> Self {
        let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
        let parent = header(TRACEPARENT).and_then(SpanContext::from_traceparent);
        let context = SpanContext::from_headers(header(TRACEPARENT), header(TRACE_ID_HEADER))
            .map_or_else(SpanContext::root, |parent| parent.child());
        let recorded = context.sampled && proxy.router.options().spans.is_some();
        let span = recorded.then(|| {
            let (method, path) = (request.method().as_str(), request.uri().path());
            Box::new(SpanRecord {
                trace_id: context.trace_id,
                span_id: context.span_id,
                // A span that only the trace id stands for was never recorded.
                parent_id: parent.map(|parent| parent.span_id),
                service: "router".into(),
                name: format!("{method} {path}").into(),
                kind: SpanKind::Server,
                start_ns: SystemClock::unix_nanos(),
                duration: Duration::ZERO,
                status: SpanStatus::Unset,
                attributes: vec![
                    ("http.request.method".into(), text(method.to_owned())),
                    ("url.path".into(), text(path.to_owned())),
                ],
            })
        });
        Self { proxy, context, span, in_flight: None, retried: false, connection: None }
    }

    /// What the request carries on.
    pub(super) fn context(&self) -> SpanContext {
        self.context
    }

    /// Picks a cluster for the first or the second attempt; returns its position.
    pub(super) fn begin_attempt(&mut self) -> usize {
        let next = match &mut self.in_flight {
            None => self.proxy.router.begin(),
            Some(first) => {
                first.fail();
                self.retried = true;
                self.proxy.router.begin_again(first)
            }
        };
        let index = next.index();
        self.in_flight = Some(next);
        index
    }

    pub(super) fn is_retried(&self) -> bool {
        self.retried
    }

    /// The connection to keep for others once the answer was read to its end.
    pub(super) fn keep(&mut self, connection: Sender) {
        self.connection = Some(connection);
    }

    /// The head of an answer has come.
    pub(super) fn answered(&mut self, status: StatusCode) {
        self.set("http.response.status_code", AttributeValue::Int(i64::from(status.as_u16())));
        if status.is_server_error() {
            self.fail(format!("answered {}", status.as_u16()));
        }
    }

    /// There is no answer but the router's own.
    pub(super) fn failed(&mut self, failure: &Failure) {
        let status = failure.status();
        self.set("http.response.status_code", AttributeValue::Int(i64::from(status.as_u16())));
        if status.is_server_error() {
            self.fail(sentence(failure));
        }
    }

    fn fail(&mut self, why: String) {
        self.in_flight.iter_mut().for_each(InFlight::fail);
        if let Some(span) = &mut self.span {
            span.status = SpanStatus::Error(why.into());
        }
    }

    fn set(&mut self, name: &'static str, value: AttributeValue) {
        if let Some(span) = &mut self.span {
            span.attributes.push((name.into(), value));
        }
    }
}

impl Watch for Exchange {
    fn ended(mut self) {
        if let (Some(connection), Some(in_flight)) = (self.connection.take(), &self.in_flight) {
            self.proxy.upstreams[in_flight.index()].keep(connection);
        }
    }

    fn broke(&mut self, why: &Box<dyn std::error::Error + Send + Sync>) {
        self.fail(format!("the answer broke off: {why}"));
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let cluster = self.in_flight.as_ref().map(|f| f.picked().cluster.to_string());
        let (Some(mut span), Some(sink)) = (self.span.take(), &self.proxy.router.options().spans)
        else {
            return;
        };
        span.attributes.extend(cluster.map(|cluster| ("hms.cluster".into(), text(cluster))));
        let took = SystemClock::unix_nanos().saturating_sub(span.start_ns);
        span.duration = Duration::from_nanos(took);
        sink.record(*span);
    }
}

impl std::fmt::Debug for Exchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exchange").field("in_flight", &self.in_flight).finish_non_exhaustive()
    }
}

/// The failure and its causes in one line.
fn sentence(failure: &Failure) -> String {
    let mut line = failure.to_string();
    let mut cause = std::error::Error::source(failure);
    while let Some(error) = cause {
        line = format!("{line}: {error}");
        cause = error.source();
    }
    line
}

fn text(value: String) -> AttributeValue {
    AttributeValue::Text(value.into())
}
