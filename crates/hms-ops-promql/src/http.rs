//! The query API of Prometheus, as routes.
//!
//! Source: <https://prometheus.io/docs/prometheus/latest/querying/api/> and
//! `prometheus/prometheus` 3.x, `web/api/v1/api.go`.

use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRequest, Request};
use axum::response::Response;
use axum::routing::get;
use hms_ops_core::clock::{Clock, SystemClock};
use hms_ops_core::matcher::Matcher;
use hms_ops_core::metadata::MetadataStore;
use hms_ops_core::query::QueryEngine;
use hms_ops_core::store::Store;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

mod answer;
mod document;
mod failure;
mod federate;
mod form;
mod json;
mod look_up;
mod query;
mod syntax;

pub use failure::{Failure, Kind};
pub use form::Form;

use document::{Document, accepts_gzip};

use crate::ast::{Node, VectorSelector};

/// How many requests may be answered at once.
const MAX_REQUESTS: usize = 128;
/// How many MiB the answers may have together that are being sent.
const MAX_SENT: usize = 1024;
/// What answers are counted in.
const MEBIBYTE: usize = 1 << 20;

/// The query API of Prometheus over one engine and its store.
///
/// | route | |
/// |---|---|
/// | `/api/v1/query`, `/api/v1/query_range` | what a query evaluates to |
/// | `/api/v1/series`, `/api/v1/labels`, `/api/v1/label/NAME/values` | what there is |
/// | `/api/v1/query_exemplars` | single observations behind the series of a query |
/// | `/api/v1/metadata` | what metrics are |
/// | `/api/v1/format_query` | a query, well set |
/// | `/api/v1/parse_query` | its syntax tree |
/// | `/federate` | the newest sample of each series, for another Prometheus |
///
/// Who may ask is the business of the listener. Forms have at most 1 MiB; more than
/// [`Api::max_requests`] at once are answered with 503, and so is a query whose answer has no room beside
/// those that others are slow to read ([`Api::max_sent`]).
///
/// ```
/// use std::sync::Arc;
///
/// use hms_ops_core::store::{MemoryStore, Store};
/// use hms_ops_promql::{Engine, http::Api};
///
/// let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
/// let engine = Arc::new(Engine::new(store.clone()));
/// let app: axum::Router = Api::new(engine, store).router();
/// # drop(app);
/// ```
#[derive(Debug)]
pub struct Api {
    engine: Arc<dyn QueryEngine>,
    store: Arc<dyn Store>,
    metadata: Arc<MetadataStore>,
    clock: Arc<dyn Clock>,
    max_requests: usize,
    max_sent: usize,
}

impl Api {
    /// Answers with what `engine` evaluates and `store` has.
    pub fn new(engine: Arc<dyn QueryEngine>, store: Arc<dyn Store>) -> Self {
        Self {
            engine,
            store,
            metadata: Arc::default(),
            clock: Arc::new(SystemClock),
            max_requests: MAX_REQUESTS,
            max_sent: MAX_SENT,
        }
    }

    /// What is known about metrics. Default: nothing.
    #[must_use]
    pub fn metadata(mut self, metadata: Arc<MetadataStore>) -> Self {
        self.metadata = metadata;
        self
    }

    /// The clock that says when now is. Default: the system's.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// How many requests may be answered at once. Default 128.
    #[must_use]
    pub fn max_requests(mut self, max: usize) -> Self {
        self.max_requests = max.min(Semaphore::MAX_PERMITS);
        self
    }

    /// How many MiB the answers to queries may have together that are evaluated and not yet sent.
    /// Default 1024.
    #[must_use]
    pub fn max_sent(mut self, mebibytes: usize) -> Self {
        self.max_sent = mebibytes.min(Semaphore::MAX_PERMITS);
        self
    }

    /// The routes.
    pub fn router(self) -> Router {
        let Self { engine, store, metadata, clock, max_requests, max_sent } = self;
        let [room, memory] = [max_requests, max_sent].map(|max| Arc::new(Semaphore::new(max)));
        let shared = Arc::new(Shared {
            engine,
            store,
            metadata,
            clock,
            max_requests,
            room,
            max_sent,
            memory,
        });
        Router::new()
            .route("/api/v1/query", get(query::instant).post(query::instant))
            .route("/api/v1/query_range", get(query::range).post(query::range))
            .route("/api/v1/query_exemplars", get(look_up::exemplars).post(look_up::exemplars))
            .route("/api/v1/series", get(look_up::series).post(look_up::series))
            .route("/api/v1/labels", get(look_up::label_names).post(look_up::label_names))
            .route("/api/v1/label/{name}/values", get(look_up::label_values))
            .route("/api/v1/metadata", get(look_up::metadata))
            .route("/api/v1/format_query", get(query::format).post(query::format))
            .route("/api/v1/parse_query", get(syntax::parse_query).post(syntax::parse_query))
            .route("/federate", get(federate::federate))
            .with_state(shared)
    }
}

/// What the routes share.
#[derive(Debug)]
struct Shared {
    engine: Arc<dyn QueryEngine>,
    store: Arc<dyn Store>,
    metadata: Arc<MetadataStore>,
    clock: Arc<dyn Clock>,
    max_requests: usize,
    /// One permit for each request that is being answered.
    room: Arc<Semaphore>,
    max_sent: usize,
    /// One permit for each MiB of an answer that is being sent.
    memory: Arc<Semaphore>,
}

/// A request with a place among those that are answered at once.
struct Asked {
    form: Form,
    gzip: bool,
    place: Place,
}

/// What a request takes from others until its answer is sent.
#[derive(Debug)]
struct Place {
    _request: OwnedSemaphorePermit,
    memory: Option<OwnedSemaphorePermit>,
}

impl FromRequest<Arc<Shared>> for Asked {
    type Rejection = Failure;

    async fn from_request(request: Request, shared: &Arc<Shared>) -> Result<Self, Failure> {
        let place = shared.room.clone().try_acquire_owned().map_err(|_| {
            let max = shared.max_requests;
            let why = format!("{max} requests are being answered already; ask again later");
            Failure::new(Kind::Unavailable, why)
        })?;
        let place = Place { _request: place, memory: None };
        let gzip = accepts_gzip(request.headers());
        Ok(Self { form: Form::from_request(request, shared).await?, gzip, place })
    }
}

impl Asked {
    /// Takes room for an answer of so many bytes until it is sent.
    fn keep(&mut self, bytes: usize, shared: &Shared) -> Result<(), Failure> {
        let mebibytes = u32::try_from(bytes / MEBIBYTE).unwrap_or(u32::MAX);
        let memory = shared.memory.clone().try_acquire_many_owned(mebibytes).map_err(|_| {
            let max = shared.max_sent;
            let why = format!("answers of {max} MiB are being sent already; ask again later");
            Failure::new(Kind::Unavailable, why)
        })?;
        self.place.memory = Some(memory);
        Ok(())
    }

    fn answer(self, document: Document) -> Response {
        document.into_response(self.gzip, self.place)
    }
}

/// The conditions of a selector.
fn selector(text: &str) -> Result<Vec<Matcher>, String> {
    let parsed = crate::parse(text).map_err(|error| error.to_string())?;
    match parsed.node {
        Node::Vector(VectorSelector { matchers, offset: None, at: None, edges: None, .. }) => {
            Ok(matchers)
        }
        _ => Err(format!("{text:?} is not a series selector, such as up{{job=\"a\"}}")),
    }
}
