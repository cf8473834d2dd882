//! The page, and the routes of its API.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use hms_ops_dashboard::Dashboard;

use crate::Ops;
use crate::builder::OpsBuilder;
use crate::ops::Shown;

/// The page, and what watches the engine for it.
#[derive(Debug)]
pub(crate) struct Page(Dashboard);

impl Page {
    pub(crate) fn start(shown: &Arc<Shown>) -> Self {
        let [budgets, alerts, services] = [shown; 3].map(Arc::clone);
        let mut dashboard = Dashboard::builder(shown.store.clone(), shown.ledger.clone())
            .spans(shown.spans.clone())
            .clock(shown.clock.clone())
            .budgets(move || (budgets.budgets)())
            .alerts(move || alerts.alerts.borrow().clone())
            .services(move || services.services.clone())
            .version(env!("CARGO_PKG_VERSION"));
        if let Some(traffic) = &shown.traffic {
            dashboard = dashboard.traffic(traffic.clone());
        }
        Self(dashboard.start())
    }

    pub(crate) fn router(&self) -> Router {
        self.0.router()
    }

    pub(crate) async fn shutdown(self) {
        self.0.shutdown().await;
    }
}

impl OpsBuilder {
    /// Serves the page at this address, beside the APIs of this build: another name of
    /// [`OpsBuilder::admin`].
    #[must_use]
    pub fn dashboard(self, address: &str) -> Self {
        self.admin(address)
    }
}

impl Ops {
    /// Where the page is, if it is served.
    pub fn dashboard_address(&self) -> Option<SocketAddr> {
        self.admin_address()
    }
}
