//! Moves the spans of this process into the engine's span store.

use std::sync::Arc;

use super::Draining;
use crate::core::span_store::SpanStore;

#[derive(Debug)]
pub(crate) struct Collecting(Draining);

impl Collecting {
    pub(crate) fn start(service: Option<&str>, store: Arc<dyn SpanStore>) -> Self {
        Self(Draining::start(service, move |spans| {
            let store = store.clone();
            async move {
                if let Err(error) = store.append(spans).await {
                    tracing::error!(%error, "spans could not be stored");
                }
            }
        }))
    }

    pub(crate) async fn shutdown(self) {
        self.0.shutdown().await;
    }
}
