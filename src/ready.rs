//! Whether the engine lives, and whether it can do its work: what load balancers and people ask; and
//! `POST /-/reload`.

use std::error::Error;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};

use crate::core::store::Store;
use crate::ops::Shown;

/// `/-/healthy`, `/-/ready` and `/-/reload`, as Prometheus has them. Not ready is 503, with the reason.
pub(crate) fn router(shown: &Arc<Shown>) -> Router {
    Router::new()
        .route("/-/healthy", get(async || "healthy\n"))
        .route("/-/ready", get(ready))
        .with_state(shown.store.clone())
        .route("/-/reload", post(reload).put(reload))
        .with_state(shown.clone())
}

async fn reload(State(shown): State<Arc<Shown>>) -> (StatusCode, String) {
    if !shown.may_reload {
        let why = "reloading by a request needs `admin_reload = true` under [listen]\n";
        return (StatusCode::FORBIDDEN, why.to_owned());
    }
    match shown.reloader.reload().await {
        Ok(()) => (StatusCode::OK, String::new()),
        Err(error) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("failed to reload config: {}\n", sentence(&error)),
        ),
    }
}

async fn ready(State(store): State<Arc<dyn Store>>) -> (StatusCode, String) {
    match store.ready().await {
        Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", sentence(&error))),
    }
}

/// An error with its causes, in one line.
fn sentence(error: &dyn Error) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        // A wrapper says what it wraps.
        if !said.ends_with(&next) {
            said = format!("{said}: {next}");
        }
        cause = error.source();
    }
    said
}
