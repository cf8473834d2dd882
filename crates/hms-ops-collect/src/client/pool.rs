//! Connections that are kept for the next request to the same server.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hms_ops_core::clock::Stopwatch;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONNECTION};
use hyper::{Request, Response};

use super::{Access, ClientError, Connection, Endpoint, Reply};

/// Idle connections that are kept; of more the oldest is closed.
const KEPT: usize = 8;
/// How long one may have been idle to be used again. Servers, and what stands between, wait a minute or
/// more before they close it.
const IDLE: Duration = Duration::from_secs(30);

/// A way to servers that keeps its connections.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    access: Access,
    /// The one that was used last is at the end.
    idle: Mutex<Vec<Idle>>,
    opened: AtomicU64,
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    to: Endpoint,
    since: Stopwatch,
}

impl Pool {
    pub(crate) fn new(access: Access) -> Self {
        Self { access, ..Self::default() }
    }

    /// Connections that were tried to open.
    pub(crate) fn opened(&self) -> u64 {
        self.opened.load(Relaxed)
    }

    /// Sends `request` with the credentials and reads the answer, whatever its status, of which at most
    /// `limit` bytes are held. A body in Snappy's format stays as it is.
    ///
    /// When a connection that was kept breaks before the answer has begun, `request` is sent once more
    /// over a new one: so it has to be one that may be done twice.
    ///
    /// Cancel safe: dropped, it closes the connection. It has no deadline of its own.
    pub(crate) async fn round(
        &self,
        endpoint: &Endpoint,
        mut request: Request<Full<Bytes>>,
        limit: usize,
    ) -> Result<Reply, ClientError> {
        let headers = request.headers_mut();
        headers.remove(CONNECTION);
        headers.extend(self.access.authorization().await?.map(|value| (AUTHORIZATION, value)));
        if let Some(mut kept) = self.take(endpoint)
            && let Ok(response) = kept.send(request.clone()).await
        {
            return self.read(endpoint, kept, response, limit).await;
        }
        self.opened.fetch_add(1, Relaxed);
        let mut connection = self.access.connect(endpoint).await?;
        let response = connection.send(request).await?;
        self.read(endpoint, connection, response, limit).await
    }

    async fn read(
        &self,
        endpoint: &Endpoint,
        mut connection: Connection,
        response: Response<Incoming>,
        limit: usize,
    ) -> Result<Reply, ClientError> {
        let reply = connection.read(response, limit).await?;
        if connection.is_free().await {
            let idle = Idle { connection, to: endpoint.clone(), since: Stopwatch::start() };
            let mut all = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            if all.len() == KEPT {
                all.remove(0);
            }
            all.push(idle);
        }
        Ok(reply)
    }

    fn take(&self, endpoint: &Endpoint) -> Option<Connection> {
        let mut all = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|idle| idle.since.elapsed() < IDLE);
        let place = all.iter().rposition(|idle| idle.to.is_at(endpoint))?;
        Some(all.remove(place).connection)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    const ANSWER: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";

    /// Reads one request without a body; whether there was one.
    async fn heard(stream: &mut TcpStream) -> bool {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return false,
            }
        }
        true
    }

    /// Answers so many requests of each connection, and counts those.
    async fn server(answer: &'static str, each: usize) -> (Endpoint, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
        let counted = Arc::<AtomicUsize>::default();
        let counter = counted.clone();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                counter.fetch_add(1, Relaxed);
                tokio::spawn(async move {
                    for _ in 0..each {
                        if !heard(&mut stream).await {
                            return;
                        }
                        stream.write_all(answer.as_bytes()).await.unwrap();
                    }
                    // The last request is heard and not answered.
                    heard(&mut stream).await;
                });
            }
        });
        (endpoint, counted)
    }

    async fn ask(pool: &Pool, endpoint: &Endpoint) -> Result<Vec<u8>, ClientError> {
        let reply = pool.round(endpoint, endpoint.request(Bytes::new()), 10).await;
        reply.map(|reply| reply.body)
    }

    #[tokio::test]
    async fn requests_one_after_the_other_share_a_connection() {
        let (endpoint, connections) = server(ANSWER, 1000).await;
        let pool = Pool::default();
        for _ in 0..10 {
            assert_eq!(ask(&pool, &endpoint).await.unwrap(), b"hi");
        }
        assert_eq!((connections.load(Relaxed), pool.opened()), (1, 1));
    }

    #[tokio::test]
    async fn a_kept_connection_that_breaks_before_an_answer_costs_a_second_try() {
        let (endpoint, connections) = server(ANSWER, 1).await;
        let pool = Pool::default();
        for tries in 1..5 {
            assert_eq!(ask(&pool, &endpoint).await.unwrap(), b"hi");
            assert_eq!(connections.load(Relaxed), tries);
        }
    }

    #[tokio::test]
    async fn a_new_connection_that_breaks_is_an_error_at_once() {
        let (endpoint, connections) = server(ANSWER, 0).await;
        let error = ask(&Pool::default(), &endpoint).await.unwrap_err();
        assert!(matches!(error, ClientError::Broken { .. }), "{error}");
        assert_eq!(connections.load(Relaxed), 1);
    }

    #[tokio::test]
    async fn a_connection_whose_answer_was_not_read_whole_or_says_so_is_not_kept() {
        for answer in [
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi",
            "HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\nhello, you.",
        ] {
            let (endpoint, connections) = server(answer, 1000).await;
            let pool = Pool::default();
            for _ in 0..3 {
                let _ = ask(&pool, &endpoint).await;
            }
            assert_eq!(connections.load(Relaxed), 3, "{answer}");
        }
    }

    #[tokio::test]
    async fn no_more_idle_connections_are_kept_than_the_bound() {
        let (endpoint, connections) = server(ANSWER, 1000).await;
        let pool = Pool::default();
        let all = (0..2 * KEPT).map(|_| Box::pin(ask(&pool, &endpoint)));
        let mut left: Vec<_> = all.collect();
        std::future::poll_fn(|cx| {
            left.retain_mut(|one| one.as_mut().poll(cx).is_pending());
            if left.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
        assert_eq!(connections.load(Relaxed), 2 * KEPT);
        assert_eq!(pool.idle.lock().unwrap().len(), KEPT);
    }
}
