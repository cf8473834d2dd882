//! The router as a layer, for those who have a client of their own.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::router::{InFlight, Router};

/// Picks a cluster for each request; from [`Router::layer`].
#[derive(Clone, Debug)]
pub struct RouterLayer {
    router: Router,
}

/// A service whose requests carry a [`Picked`](crate::Picked) in their extensions.
#[derive(Clone, Debug)]
pub struct Routed<S> {
    inner: S,
    router: Router,
}

pin_project! {
    /// Waits for the answer and counts it.
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct RoutingFuture<F> {
        #[pin]
        inner: F,
        in_flight: InFlight,
    }
}

impl Router {
    /// A layer that picks a cluster for each request and puts it, as [`Picked`](crate::Picked),
    /// into the request's extensions, where the client below finds the address.
    ///
    /// A request counts as active until the head of its answer is there; an error or an answer of
    /// 5xx counts as failed.
    ///
    /// ```
    /// use hms_ops_mesh::Router;
    /// use tower_layer::Layer;
    ///
    /// # #[derive(Clone)] struct Client;
    /// # let client = Client;
    /// let router = Router::builder("claims").cluster("cluster-a", "http://127.0.0.1:9001").build()?;
    /// let client = router.layer().layer(client);
    /// # Ok::<(), hms_ops_mesh::RouterError>(())
    /// ```
    pub fn layer(&self) -> RouterLayer {
        RouterLayer { router: self.clone() }
    }
}

impl<S> Layer<S> for RouterLayer {
    type Service = Routed<S>;

    fn layer(&self, inner: S) -> Routed<S> {
        Routed { inner, router: self.router.clone() }
    }
}

impl<S, B, R> Service<Request<B>> for Routed<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = RoutingFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let in_flight = self.router.begin();
        request.extensions_mut().insert(in_flight.picked().clone());
        RoutingFuture { inner: self.inner.call(request), in_flight }
    }
}

impl<F, R, E> Future for RoutingFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<R>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = ready!(this.inner.poll(cx));
        if answer.as_ref().map_or(true, |response| response.status().is_server_error()) {
            this.in_flight.fail();
        }
        Poll::Ready(answer)
    }
}
