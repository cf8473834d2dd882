//! A build without TLS.

use std::path::PathBuf;

use tokio::net::TcpStream;

pub(super) const SUPPORTED: bool = false;

/// No URL asks for this: [`Endpoint::new`](super::Endpoint::new) has refused it.
pub(super) async fn connect(
    _ca_file: Option<PathBuf>,
    _host: &str,
    _stream: TcpStream,
) -> Result<TcpStream, String> {
    Err("this build has no TLS".to_owned())
}
