//! `GET api/services`: the services that have a page, and how many of their alerts are active.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value as Json, json};

use super::{ApiError, answer};
use crate::dashboard::Shared;

pub(crate) async fn list(State(shared): State<Arc<Shared>>) -> Result<Response, ApiError> {
    let services = shared.sources.services().await?;
    shared.feed.caught_up().await;
    let services: Vec<Json> = shared.feed.read(|board| {
        let entry = |service| json!({ "name": service, "firing": board.firing(service) });
        services.iter().map(entry).collect()
    });
    Ok(answer(StatusCode::OK, &json!({ "services": services })))
}
