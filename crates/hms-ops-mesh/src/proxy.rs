//! The router as a reverse proxy for HTTP/1.1, streaming both ways.
//!
//! Sources: RFC 9110, section 7 (routing and forwarding), and RFC 9112, section 3.2 (host).

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{Either, Empty, Full};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::router::Router;
use crate::tasks::Tasks;

mod exchange;
mod failure;
mod headers;
mod stream;
mod upstream;

use exchange::Exchange;
use failure::Failure;
use headers::Head;
use stream::Stream;
use upstream::Upstream;

/// The largest head of a request or an answer, and the size of the buffers.
const MAX_HEAD_BYTES: usize = 64 << 10;
/// How long a client may take for the head of a request, or leave its connection idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// How long accepting pauses when the system has no more file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Bounds and patience of the proxy.
#[derive(Clone, Debug)]
pub(crate) struct ProxyOptions {
    pub(crate) max_connections: usize,
    pub(crate) connect_timeout: Duration,
    pub(crate) response_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) drain_timeout: Duration,
}

/// Serves until it is shut down or dropped; from [`Router::serve`].
#[derive(Debug)]
#[must_use = "serving ends when this is dropped"]
pub struct Serving {
    proxy: Arc<Proxy>,
    address: SocketAddr,
}

#[derive(Debug)]
struct Proxy {
    router: Router,
    upstreams: Box<[Upstream]>,
    tasks: Tasks,
}

type RequestBody = Either<Stream<oneshot::Sender<()>>, Empty<Bytes>>;
type ResponseBody = Either<Stream<Exchange>, Full<Bytes>>;

impl Default for ProxyOptions {
    fn default() -> Self {
        Self {
            max_connections: 1024,
            connect_timeout: Duration::from_secs(1),
            response_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(300),
            drain_timeout: Duration::from_secs(30),
        }
    }
}

impl Router {
    /// Serves requests from `listener` as a reverse proxy, in tasks of the current runtime.
    ///
    /// A request of which nothing was sent, or an idempotent one without a body to which nothing
    /// was answered, is tried once more, at another cluster with weight if there is one.
    ///
    /// ```
    /// use hms_ops_mesh::Router;
    /// use tokio::net::TcpListener;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let router = Router::builder("claims").cluster("cluster-a", "http://127.0.0.1:9001").build()?;
    /// let checks = router.start_health_checks();
    /// let serving = router.serve(TcpListener::bind("127.0.0.1:0").await?)?;
    /// println!("claims are taken at {}", serving.address());
    /// serving.shutdown().await;
    /// checks.shutdown().await;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// When the listener does not know its own address.
    pub fn serve(&self, listener: TcpListener) -> io::Result<Serving> {
        let address = listener.local_addr()?;
        let upstreams = self.backends().iter().map(|b| Upstream::new(b.endpoint.clone()));
        let proxy = Arc::new(Proxy {
            router: self.clone(),
            upstreams: upstreams.collect(),
            tasks: Tasks::default(),
        });
        proxy.tasks.spawn(proxy.clone().accept(listener));
        Ok(Serving { proxy, address })
    }
}

impl Serving {
    /// The address that is listened on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops accepting, lets requests that are under way finish, and returns when every task has
    /// ended. What is not done after the drain timeout is broken off.
    pub async fn shutdown(self) {
        self.proxy.stop();
        self.proxy.tasks.shutdown(self.proxy.router.options().proxy.drain_timeout).await;
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.proxy.stop();
    }
}

impl Proxy {
    fn stop(&self) {
        self.tasks.ask_to_stop();
        self.upstreams.iter().for_each(Upstream::close);
    }

    async fn accept(self: Arc<Self>, listener: TcpListener) {
        let slots = Arc::new(Semaphore::new(self.router.options().proxy.max_connections));
        let mut stop = self.tasks.stop();
        let accept = async {
            loop {
                let slot = slots.clone().acquire_owned().await.expect("it is never closed");
                match listener.accept().await {
                    Ok((stream, peer)) => {
                        self.tasks.spawn(self.clone().converse(stream, peer.ip(), slot));
                    }
                    Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
                }
            }
        };
        tokio::select! {
            () = accept => {}
            () = stop.wait() => {}
        }
    }

    /// Answers the requests of one connection.
    async fn converse(
        self: Arc<Self>,
        stream: TcpStream,
        peer: IpAddr,
        _slot: OwnedSemaphorePermit,
    ) {
        let _ = stream.set_nodelay(true);
        let service = service_fn(|request| {
            let proxy = self.clone();
            async move { Ok::<_, Infallible>(proxy.answer(request, peer).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_header_size(MAX_HEAD_BYTES)
            .max_buf_size(MAX_HEAD_BYTES)
            .serve_connection(TokioIo::new(stream), service);
        let (mut connection, mut stop) = (pin!(connection), self.tasks.stop());
        tokio::select! {
            _ = connection.as_mut() => return,
            () = stop.wait() => connection.as_mut().graceful_shutdown(),
        }
        // Its error is the client's: it went away, or it spoke no HTTP.
        let _ = connection.await;
    }

    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        peer: IpAddr,
    ) -> Response<ResponseBody> {
        let mut exchange = Exchange::begin(self.clone(), &request);
        let trace_id = exchange.context().trace_id;
        let mut response = match self.forward(request, peer, &mut exchange).await {
            Ok(response) => {
                exchange.answered(response.status());
                let idle = self.router.options().proxy.idle_timeout;
                response.map(|body| Either::Left(Stream::new(body, idle, exchange)))
            }
            Err(failure) => {
                exchange.failed(&failure);
                failure.response(self.router.service()).map(Either::Right)
            }
        };
        headers::finish_answer(response.headers_mut(), trace_id);
        response
    }

    /// Sends the request to a cluster, and once more if that may be.
    async fn forward(
        &self,
        request: Request<Incoming>,
        peer: IpAddr,
        exchange: &mut Exchange,
    ) -> Result<Response<Incoming>, Failure> {
        let (parts, body) = request.into_parts();
        let head = Head::new(parts, peer, exchange.context())?;
        let (body, mut upload) = if body.is_end_stream() {
            (Either::Right(Empty::new()), None)
        } else {
            let idle = self.router.options().proxy.idle_timeout;
            let (uploading, upload) = oneshot::channel();
            (Either::Left(Stream::new(body, idle, uploading)), Some(upload))
        };
        let lost = match self.attempt(&head, body, &mut upload, exchange).await {
            Ok(response) => return Ok(response),
            Err(lost) => lost,
        };
        let Some(body) = lost.unsent else { return Err(lost.failure) };
        let second = self.attempt(&head, body, &mut upload, exchange).await;
        second.map_err(|lost| lost.failure)
    }

    async fn attempt(
        &self,
        head: &Head,
        body: RequestBody,
        upload: &mut Option<oneshot::Receiver<()>>,
        exchange: &mut Exchange,
    ) -> Result<Response<Incoming>, Lost> {
        let options = &self.router.options().proxy;
        let index = exchange.begin_attempt();
        let upstream = &self.upstreams[index];
        // A connection that was kept may be closed by now, which only its use would show.
        let kept = if exchange.is_retried() { None } else { upstream.take() };
        let connection = match kept {
            Some(kept) => Ok(kept),
            None => upstream.connect(options.connect_timeout, &self.tasks).await,
        };
        let mut sender = match connection {
            Ok(sender) => sender,
            Err(failure) => return Err(Lost { failure, unsent: Some(body) }),
        };
        let replay = head.is_idempotent() && matches!(body, Either::Right(_));
        let late = async {
            if let Some(done) = upload {
                let _ = done.await;
            }
            *upload = None;
            tokio::time::sleep(options.response_timeout).await;
        };
        let answer = tokio::select! {
            biased;
            answer = sender.try_send_request(head.request(body, upstream.authority())) => answer,
            () = late => {
                let failure = Failure::Late(options.response_timeout);
                return Err(Lost { failure, unsent: None });
            }
        };
        match answer {
            Ok(response) => {
                exchange.keep(sender);
                Ok(response)
            }
            Err(mut error) => {
                let unsent = error.take_message().map(Request::into_body);
                let unsent = unsent.or_else(|| replay.then(|| Either::Right(Empty::new())));
                Err(Lost { failure: Failure::Broken(error.into_error()), unsent })
            }
        }
    }
}

/// An attempt without an answer, and the request's body, if the request may be tried again.
struct Lost {
    failure: Failure,
    unsent: Option<RequestBody>,
}
