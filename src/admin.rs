//! The admin listener: the page, its API, that of Prometheus, and the routes that take spans and samples.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use hms_ops_collect::otlp;
use hms_ops_collect::remote::{self, RemoteWriter};
use hyper_util::service::TowerToHyperService;
use tokio::sync::watch;
use tokio::task::JoinHandle;

mod access;
mod events;

use access::{Access, Token};

use crate::builder::OpsBuilder;
use crate::config::{Config, ConfigError};
use crate::listen::Limits;
use crate::ops::Shown;
use crate::page::Page;
use crate::{Error, api, listen, ready};

/// What browsers and agents are allowed. A page holds its stream for as long as it is open.
const LIMITS: Limits = Limits { connections: 256, lifetime: Duration::from_secs(24 * 3600) };

/// What was said about the listener.
#[derive(Debug, Default)]
pub(crate) struct Options {
    address: Option<String>,
    token_file: Option<PathBuf>,
    behind_tls: bool,
    hosts: Vec<String>,
    may_reload: bool,
}

impl Options {
    /// Whether a request may have the config read again.
    pub(crate) fn may_reload(&self) -> bool {
        self.may_reload
    }

    pub(crate) fn configure(mut self, config: &Config) -> Result<Self, ConfigError> {
        let said = &config.file.listen;
        self.address = said.admin.clone().or(self.address);
        if let Some(file) = &said.admin_token_file {
            let path = config.path(file.get_ref());
            Token::read(&path)
                .map_err(|error| config.malformed(file.span().start, error.to_string()))?;
            self.token_file = Some(path);
        }
        if let Some(tls) = &said.admin_tls {
            if tls.get_ref() != "terminated-upstream" {
                let reason =
                    format!("admin_tls is \"terminated-upstream\", not {:?}", tls.get_ref());
                return Err(config.malformed(tls.span().start, reason));
            }
            self.behind_tls = true;
        }
        self.may_reload |= said.admin_reload;
        self.hosts.extend(said.admin_hosts.iter().cloned());
        Ok(self)
    }

    /// Starts the listener, if it was asked for.
    pub(crate) async fn start(self, shown: Shown) -> Result<Admin, Error> {
        let Some(address) = self.address else { return Ok(Admin::default()) };
        let token =
            self.token_file.as_deref().map(Token::read).transpose().map_err(Error::setup)?;
        let listener = listen::bind("the admin listener", &address).await?;
        let bound = listen::local_address("the admin listener", &address, &listener)?;
        if !bound.ip().is_loopback() {
            let missing = match (&token, self.behind_tls) {
                (None, false) => "admin_token_file and admin_tls = \"terminated-upstream\"",
                (None, true) => "admin_token_file",
                (Some(_), false) => "admin_tls = \"terminated-upstream\"",
                (Some(_), true) => "",
            };
            if !missing.is_empty() {
                return Err(Error::Exposed { address: bound, missing });
            }
        }
        let access = Access { bound, token, behind_tls: self.behind_tls, hosts: self.hosts };
        let shown = Arc::new(shown);
        let page = Page::start(&shown);
        let (stop, stopped) = watch::channel(false);
        let (store, metadata) = (shown.store.clone(), shown.metadata.clone());
        let writer = RemoteWriter::new(store.clone(), metadata.clone(), remote::Limits::default());
        let routes = Router::new()
            .merge(otlp::router(shown.spans.clone()))
            .merge(otlp::metrics_router(store.clone(), metadata))
            .merge(remote::router(store, Arc::new(writer)))
            .merge(page.router())
            .merge(ready::router(&shown))
            .merge(events::router(&shown, stopped.clone()))
            .merge(api::router(&shown))
            .layer(from_fn_with_state(Arc::new(access), access::check));
        let service = TowerToHyperService::new(routes);
        let task = tokio::spawn(listen::serve(listener, LIMITS, service, stopped));
        Ok(Admin { running: Some(Running { address: bound, page, stop, task }) })
    }
}

/// The listener, if there is one.
#[derive(Debug, Default)]
pub(crate) struct Admin {
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    address: SocketAddr,
    page: Page,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Admin {
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.running.as_ref().map(|running| running.address)
    }

    pub(crate) async fn shutdown(self) {
        let Some(running) = self.running else { return };
        running.page.shutdown().await;
        running.stop.send_replace(true);
        let _ = running.task.await;
    }
}

impl OpsBuilder {
    /// Serves the page and the APIs of this build at this address, as `127.0.0.1:9110`; port 0 takes a
    /// free one. Off loopback it needs [`OpsBuilder::admin_token_file`] and
    /// [`OpsBuilder::admin_behind_tls`]. A busy port is an error only with
    /// [`OpsBuilder::require_listeners`].
    #[must_use]
    pub fn admin(mut self, address: &str) -> Self {
        self.admin.address = Some(address.to_owned());
        self
    }

    /// Answers only those who send the token in this file, as `Authorization: Bearer` or as the
    /// password of basic authentication, whoever the user is.
    #[must_use]
    pub fn admin_token_file(mut self, path: impl AsRef<Path>) -> Self {
        self.admin.token_file = Some(path.as_ref().to_owned());
        self
    }

    /// Declares that a proxy before the admin listener ends TLS: nothing is encrypted here.
    #[must_use]
    pub fn admin_behind_tls(mut self) -> Self {
        self.admin.behind_tls = true;
        self
    }

    /// Answers to this host name too, besides `localhost` and the listener's address.
    #[must_use]
    pub fn admin_host(mut self, name: &str) -> Self {
        self.admin.hosts.push(name.to_owned());
        self
    }
}
