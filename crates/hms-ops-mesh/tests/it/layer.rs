//! The router below a client of one's own.

use std::future::{Ready, ready};
use std::task::{Context, Poll};

use hms_ops_core::mesh::{ClusterTraffic, MeshController};
use hms_ops_mesh::{Picked, Router};
use http::{Request, Response, StatusCode};
use tower_layer::Layer;
use tower_service::Service;

/// A client that answers with the address it was given, or fails as it was told.
struct Client(Result<StatusCode, &'static str>);

impl Service<Request<()>> for Client {
    type Response = Response<String>;
    type Error = &'static str;
    type Future = Ready<Result<Response<String>, &'static str>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        let picked = request.extensions().get::<Picked>().unwrap();
        let answer = Response::builder();
        let answer = |status| answer.status(status).body(picked.endpoint.to_string()).unwrap();
        ready(self.0.map(answer))
    }
}

#[tokio::test]
async fn each_request_carries_its_cluster_and_each_outcome_is_counted() {
    let router =
        Router::builder("svc").cluster("cluster-a", "http://127.0.0.1:9001/").build().unwrap();
    for outcome in [Ok(StatusCode::OK), Ok(StatusCode::BAD_GATEWAY), Err("no connection")] {
        let mut client = router.layer().layer(Client(outcome));
        let answer = client.call(Request::new(())).await;
        assert_eq!(
            answer.map(Response::into_body).unwrap_or("http://127.0.0.1:9001".to_owned()),
            "http://127.0.0.1:9001"
        );
    }
    let traffic = router.observe(router.service()).await.unwrap().remove(0);
    let cluster = "cluster-a".into();
    assert_eq!(traffic, ClusterTraffic { cluster, requests: 3, errors: 2, active: 0 });
}

#[tokio::test]
async fn a_request_that_is_given_up_is_neither_active_nor_an_error() {
    let router = Router::builder("svc").cluster("a", "http://127.0.0.1:9001").build().unwrap();
    drop(router.layer().layer(Client(Err("never asked"))).call(Request::new(())));
    let traffic = router.observe(router.service()).await.unwrap().remove(0);
    assert_eq!((traffic.requests, traffic.errors, traffic.active), (1, 0, 0));
}
