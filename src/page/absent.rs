//! A build without a page.

use std::sync::Arc;

use axum::Router;

use crate::ops::Shown;

/// No page.
#[derive(Debug)]
pub(crate) struct Page;

impl Page {
    pub(crate) fn start(_shown: &Arc<Shown>) -> Self {
        Self
    }

    pub(crate) fn router(&self) -> Router {
        Router::new()
    }

    pub(crate) async fn shutdown(self) {}
}
