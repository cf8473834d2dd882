//! The admin listener: the page, its API, that of Prometheus, and the routes that take spans and samples.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use hms_ops_collect::otlp;
use hms_ops_collect::remote::{self, RemoteWriter};
use hms_ops_dashboard::Dashboard;
use hyper_util::service::TowerToHyperService;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::builder::OpsBuilder;
use crate::listen::Limits;
use crate::ops::Shown;
use crate::{Error, api, listen, ready};

/// What browsers and agents are allowed. A page holds its stream for as long as it is open.
const LIMITS: Limits = Limits { connections: 256, lifetime: Duration::from_secs(24 * 3600) };

/// What the builder was told about the page.
#[derive(Debug, Default)]
pub(crate) struct Options {
    address: Option<String>,
}

impl Options {
    pub(crate) fn listen(&mut self, address: &str) {
        self.address = Some(address.to_owned());
    }

    /// Starts the page, if it was asked for.
    pub(crate) async fn start(self, shown: Shown) -> Result<Page, Error> {
        let Some(address) = self.address else { return Ok(Page { running: None }) };
        let listener = listen::bind("the dashboard", &address).await?;
        let bound = listen::local_address("the dashboard", &address, &listener)?;
        if !bound.ip().is_loopback() {
            return Err(Error::Exposed { address: bound });
        }
        let shown = Arc::new(shown);
        let [budgets, alerts, services] = [&shown, &shown, &shown].map(Arc::clone);
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
        let dashboard = dashboard.start();
        let (stop, stopped) = watch::channel(false);
        let (store, metadata) = (shown.store.clone(), shown.metadata.clone());
        let writer = RemoteWriter::new(store.clone(), metadata.clone(), remote::Limits::default());
        let routes = Router::new()
            .merge(otlp::router(shown.spans.clone()))
            .merge(otlp::metrics_router(store.clone(), metadata))
            .merge(remote::router(store, Arc::new(writer)))
            .merge(dashboard.router())
            .merge(ready::router(shown.store.clone()))
            .merge(api::router(&shown))
            .layer(from_fn_with_state(bound, only_from_here));
        let service = TowerToHyperService::new(routes);
        let task = tokio::spawn(listen::serve(listener, LIMITS, service, stopped));
        Ok(Page { running: Some(Running { address: bound, dashboard, stop, task }) })
    }
}

/// The page, if it is served.
#[derive(Debug, Default)]
pub(crate) struct Page {
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    address: SocketAddr,
    dashboard: Dashboard,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Page {
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.running.as_ref().map(|running| running.address)
    }

    pub(crate) async fn shutdown(self) {
        let Some(running) = self.running else { return };
        running.dashboard.shutdown().await;
        running.stop.send_replace(true);
        let _ = running.task.await;
    }
}

/// Refuses requests that a page of another origin, or a name that was made to point here, sends
/// through somebody's browser.
async fn only_from_here(State(bound): State<SocketAddr>, request: Request, next: Next) -> Response {
    match refusal(bound, request.headers()) {
        None => next.run(request).await,
        Some(reason) => (StatusCode::FORBIDDEN, reason).into_response(),
    }
}

fn refusal(bound: SocketAddr, headers: &HeaderMap) -> Option<&'static str> {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or("not text"));
    let host = text(HOST).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, port)| {
        if port.bytes().all(|b| b.is_ascii_digit()) { name } else { host }
    });
    let address = name.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    let own = name.eq_ignore_ascii_case("localhost")
        || address.is_ok_and(|ip| ip.is_loopback() || ip == bound.ip());
    if !own {
        return Some("this dashboard answers to localhost and its address only\n");
    }
    // Browsers send an origin with every request that is not a plain GET of their own.
    match text(ORIGIN) {
        Some(origin) if origin.strip_prefix("http://") != Some(host) => {
            Some("requests of other origins are refused\n")
        }
        _ => None,
    }
}

impl OpsBuilder {
    /// Serves the page at this address, as `127.0.0.1:9110`; port 0 takes a free one. It must be a
    /// loopback address in this release. A busy port is an error only with
    /// [`OpsBuilder::require_listeners`].
    #[must_use]
    pub fn dashboard(mut self, address: &str) -> Self {
        self.page.listen(address);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_was_made_to_point_here_and_a_foreign_origin_are_refused() {
        let bound: SocketAddr = "127.0.0.1:9110".parse().unwrap();
        let allowed = |host: &str, origin: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, host.parse().unwrap());
            if let Some(origin) = origin {
                headers.insert(ORIGIN, origin.parse().unwrap());
            }
            refusal(bound, &headers).is_none()
        };
        for host in ["127.0.0.1:9110", "localhost:9110", "LOCALHOST", "[::1]:9110", "127.9.9.9"] {
            assert!(allowed(host, None), "{host}");
        }
        for host in ["evil.test", "evil.test:9110", "127.0.0.1.evil.test:9110", "10.0.0.1", ""] {
            assert!(!allowed(host, None), "{host}");
        }
        assert!(allowed("127.0.0.1:9110", Some("http://127.0.0.1:9110")));
        for origin in ["http://evil.test", "null", "https://127.0.0.1:9110", "http://localhost:1"] {
            assert!(!allowed("127.0.0.1:9110", Some(origin)), "{origin}");
        }
    }
}
