//! A build without a page.

use std::net::SocketAddr;

use crate::Error;
use crate::ops::Shown;

/// What the builder was told about the page.
#[derive(Debug, Default)]
pub(crate) struct Options {
    address: Option<String>,
}

impl Options {
    pub(crate) fn listen(&mut self, address: &str) {
        self.address = Some(address.to_owned());
    }

    pub(crate) async fn start(self, _shown: Shown) -> Result<Page, Error> {
        match self.address {
            Some(_) => Err(Error::setup("a dashboard needs the feature `dashboard`")),
            None => Ok(Page),
        }
    }
}

/// No page.
#[derive(Debug, Default)]
pub(crate) struct Page;

impl Page {
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        None
    }

    pub(crate) async fn shutdown(self) {}
}
