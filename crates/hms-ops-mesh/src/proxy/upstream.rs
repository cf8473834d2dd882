//! Connections to one cluster: opened when needed, kept when idle, closed when old.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hms_ops_core::clock::Stopwatch;
use http::HeaderValue;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::failure::Failure;
use super::{MAX_HEAD_BYTES, RequestBody};
use crate::router::Endpoint;
use crate::tasks::Tasks;

/// Sends requests on one connection.
pub(super) type Sender = SendRequest<RequestBody>;

const MAX_IDLE: usize = 128;
/// Below what servers commonly grant, so that we close first.
const MAX_IDLE_TIME: Duration = Duration::from_secs(15);

/// The connections to one cluster.
#[derive(Debug)]
pub(super) struct Upstream {
    endpoint: Endpoint,
    /// Idle connections, the newest last; `None` once closed.
    idle: Mutex<Option<Vec<(Sender, Stopwatch)>>>,
}

impl Upstream {
    pub(super) fn new(endpoint: Endpoint) -> Self {
        Self { endpoint, idle: Mutex::new(Some(Vec::new())) }
    }

    pub(super) fn authority(&self) -> &HeaderValue {
        &self.endpoint.authority
    }

    /// The idle connection that was used last, if there is one.
    pub(super) fn take(&self) -> Option<Sender> {
        let mut idle = self.idle();
        let kept = idle.as_mut()?;
        kept.retain(|(sender, since)| !sender.is_closed() && since.elapsed() < MAX_IDLE_TIME);
        let ready = kept.iter().rposition(|(sender, _)| sender.is_ready())?;
        Some(kept.remove(ready).0)
    }

    /// Keeps a connection whose answer was read to its end.
    pub(super) fn keep(&self, sender: Sender) {
        if let Some(idle) = &mut *self.idle()
            && idle.len() < MAX_IDLE
            && !sender.is_closed()
        {
            idle.push((sender, Stopwatch::start()));
        }
    }

    /// Opens a connection, driven by a task of `tasks` until both sides are done with it.
    pub(super) async fn connect(
        &self,
        timeout: Duration,
        tasks: &Tasks,
    ) -> Result<Sender, Failure> {
        let connect = TcpStream::connect((&*self.endpoint.host, self.endpoint.port));
        let stream = match tokio::time::timeout(timeout, connect).await {
            Ok(stream) => stream.map_err(Failure::Unreachable)?,
            Err(_) => return Err(Failure::Unreachable(io::ErrorKind::TimedOut.into())),
        };
        let _ = stream.set_nodelay(true);
        let (mut sender, connection) = http1::Builder::new()
            .max_header_size(MAX_HEAD_BYTES)
            .max_buf_size(MAX_HEAD_BYTES)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(Failure::Broken)?;
        // Its error reaches the request that it breaks.
        tasks.spawn(async { drop(connection.await) });
        sender.ready().await.map_err(Failure::Broken)?;
        Ok(sender)
    }

    /// Closes what is idle, and keeps nothing from now on.
    pub(super) fn close(&self) {
        *self.idle() = None;
    }

    fn idle(&self) -> MutexGuard<'_, Option<Vec<(Sender, Stopwatch)>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
