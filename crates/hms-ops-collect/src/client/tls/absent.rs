//! A build without TLS.

use std::io;

use tokio::net::TcpStream;

use super::{ClientError, TlsOptions};

pub(super) const SUPPORTED: bool = false;

/// Connects to nobody.
#[derive(Debug, Default)]
pub(super) struct Connector {}

impl Connector {
    /// No URL asks for this: [`Endpoint`](super::Endpoint) has refused it.
    pub(super) async fn connect(
        &self,
        _options: &TlsOptions,
        host: &str,
        _stream: TcpStream,
    ) -> Result<TcpStream, ClientError> {
        let source = io::ErrorKind::Unsupported.into();
        Err(ClientError::Handshake { host: host.to_owned(), source })
    }
}
