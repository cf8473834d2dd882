//! A build with nothing to serve to people.

use std::net::SocketAddr;

use crate::Error;
use crate::config::{Config, ConfigError};
use crate::ops::Shown;

/// What was said about the listener.
#[derive(Debug, Default)]
pub(crate) struct Options {
    asked: bool,
}

impl Options {
    pub(crate) fn configure(mut self, config: &Config) -> Result<Self, ConfigError> {
        self.asked |= config.file.listen.admin.is_some();
        Ok(self)
    }

    pub(crate) fn may_reload(&self) -> bool {
        false
    }

    pub(crate) async fn start(self, _shown: Shown) -> Result<Admin, Error> {
        if self.asked {
            let needs = "an admin listener needs the feature `dashboard` or `api-prometheus`";
            return Err(Error::setup(needs));
        }
        Ok(Admin)
    }
}

/// No listener.
#[derive(Debug, Default)]
pub(crate) struct Admin;

impl Admin {
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        None
    }

    pub(crate) async fn shutdown(self) {}
}
