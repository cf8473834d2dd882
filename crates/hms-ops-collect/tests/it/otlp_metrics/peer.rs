//! What a real OpenTelemetry SDK sends.

use std::path::{Path, PathBuf};

use axum::body::Body;
use axum::http::Request;
use hms_ops_collect::otlp::metrics_router;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tower::ServiceExt;

use super::*;
use crate::server::{serve, until_closed};

/// A Python that has the SDK; `None`, said out loud, where it is absent.
fn python() -> Option<PathBuf> {
    let installed = || {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/peers/opentelemetry/bin/python")
    };
    let python = std::env::var_os("HMS_OPS_OTEL_PYTHON").map_or_else(installed, PathBuf::from);
    if python.is_file() {
        return Some(python);
    }
    let required = std::env::var("HMS_OPS_REQUIRE_PEERS").is_ok_and(|required| required == "1");
    assert!(!required, "the OpenTelemetry SDK is required and absent: {}", python.display());
    println!("skipped: the OpenTelemetry SDK is absent: {}", python.display());
    None
}

/// Serves the route to connections of one request each.
async fn engine(store: Arc<MemoryStore>) -> String {
    let routes = metrics_router(store, Arc::default());
    let address = serve(move |mut stream, head| {
        let routes = routes.clone();
        async move {
            let mut lines = head.lines();
            let path = lines.next().unwrap().split(' ').nth(1).unwrap();
            let headers = lines.filter_map(|line| line.split_once(": "));
            let request =
                headers.fold(Request::post(path), |r, (name, value)| r.header(name, value));
            let length = &request.headers_ref().unwrap()["content-length"];
            let mut body = vec![0; length.to_str().unwrap().parse().unwrap()];
            stream.read_exact(&mut body).await.unwrap();
            let response = routes.oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
            let (status, content_type) =
                (response.status(), response.headers()["content-type"].clone());
            let body = response.into_body().collect().await.unwrap().to_bytes();
            let head = format!(
                "HTTP/1.1 {status}\r\ncontent-type: {}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                content_type.to_str().unwrap(),
                body.len()
            );
            stream.write_all(&[head.as_bytes(), &body].concat()).await.unwrap();
            until_closed(stream).await;
        }
    });
    format!("http://{}/api/v1/otlp/v1/metrics", address.await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_opentelemetry_sdk_exports_becomes_the_series_that_prometheus_makes_of_it() {
    let Some(python) = python() else { return };
    for compression in ["none", "gzip"] {
        let store = Arc::new(MemoryStore::new());
        let url = engine(store.clone()).await;
        let script = include_str!("sdk.py");
        let run = Command::new(&python).args(["-c", script, &url, compression]).output();
        let run = run.await.unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));

        let lines = stored(&store).await;
        // Without the time, which is that of the run, and the SDK's own attributes of the resource.
        let lines: Vec<_> = lines.iter().map(|line| line.split(" @").next().unwrap()).collect();
        let info = lines.iter().position(|line| line.starts_with("target_info")).unwrap();
        assert!(lines[info].contains(r#"host_name="h""#), "{lines:?}");
        assert!(lines[info].contains(r#"telemetry_sdk_language="python""#), "{lines:?}");
        assert_eq!(
            [&lines[..info], &lines[info + 1..]].concat(),
            [
                r#"claims_open{instance="i-1",job="shop/claims"} -4"#,
                r#"claims_paid_total{instance="i-1",job="shop/claims",retried="false",state="fl"} 5"#,
                r#"claims_size_bytes{instance="i-1",job="shop/claims"} [6 zero 1e-128:1 n 4 sum 7 +[(0, 1.0), (64, 1.0), (128, 1.0)] -[]]"#,
                r#"http_server_request_duration_seconds_bucket{http_route="/claims",instance="i-1",job="shop/claims",le="+Inf"} 3"#,
                r#"http_server_request_duration_seconds_bucket{http_route="/claims",instance="i-1",job="shop/claims",le="0.1"} 1"#,
                r#"http_server_request_duration_seconds_bucket{http_route="/claims",instance="i-1",job="shop/claims",le="1"} 2"#,
                r#"http_server_request_duration_seconds_count{http_route="/claims",instance="i-1",job="shop/claims"} 3"#,
                r#"http_server_request_duration_seconds_sum{http_route="/claims",instance="i-1",job="shop/claims"} 2.55"#,
                r#"pool_fill_ratio{instance="i-1",job="shop/claims"} 0.5"#,
            ]
        );
    }
}
