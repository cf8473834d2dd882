//! Why HMS-OPS could not start, or not stop well.

use std::fmt;
use std::net::SocketAddr;

/// Why HMS-OPS could not start, or not stop well.
///
/// Once it runs, nothing in it is fatal to the service around it: what fails then is logged and
/// counted.
#[derive(thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each message explains its fields")]
pub enum Error {
    /// The address cannot be listened on.
    #[error("cannot listen on {address} for {listener}: {source}")]
    Listen { listener: &'static str, address: String, source: std::io::Error },

    /// The page and its actions would be open to the network.
    #[error(
        "{address} would open the page, its actions and the API to the network: [listen] needs \
         {missing} too, or `admin` an address of loopback, such as 127.0.0.1:9110"
    )]
    Exposed { address: SocketAddr, missing: &'static str },

    /// A part could not be set up.
    #[error("{0}")]
    Setup(#[source] Box<dyn std::error::Error + Send + Sync>),

    /// Another process holds the ledger's lease.
    #[error("another engine writes this ledger")]
    NotTheWriter,

    /// The process of a runbook went on as a service.
    #[error("this is the process of a runbook: `hms_ops::enter();` must be the first line of main")]
    NotEntered,
}

impl Error {
    /// Wraps the error of a part.
    pub(crate) fn setup(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Setup(error.into())
    }
}

/// As `Display`: it is what a `main` that returns this error prints.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
