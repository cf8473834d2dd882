//! The routes as `promtool` meets them.

use std::process::Command;

use crate::http::world::{NOW, world};

/// What `promtool` prints; `None`, said out loud, where it is absent.
async fn promtool(args: Vec<String>) -> Option<String> {
    let done = tokio::task::spawn_blocking(move || {
        Command::new("promtool").args(&args).output().map(|done| (args, done))
    });
    let (args, done) = match done.await.unwrap() {
        Ok(done) => done,
        Err(error) => {
            let required = std::env::var("HMS_OPS_REQUIRE_PEERS").is_ok_and(|set| set == "1");
            assert!(!required, "promtool cannot be run and is required: {error}");
            println!("skipped: promtool cannot be run: {error}");
            return None;
        }
    };
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "promtool {args:?}: {said}");
    Some(String::from_utf8(done.stdout).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promtool_queries_instants_ranges_labels_and_series() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let routes = world().await;
    let server = tokio::spawn(async { axum::serve(listener, routes).await });
    let query = async |what: &[&str]| {
        let args = what.iter().map(|word| word.replace("URL", &url));
        promtool(["query".to_owned()].into_iter().chain(args).collect()).await
    };
    let (now, before) = ((NOW / 1000).to_string(), (NOW / 1000 - 30).to_string());

    let Some(instant) = query(&["instant", "--time", &now, "URL", "up{instance=\"a:80\"}"]).await
    else {
        return;
    };
    assert_eq!(instant, "up{instance=\"a:80\", job=\"web\"} => 1 @[1700000000]\n");
    let range = [
        "range",
        "--start",
        &before,
        "--end",
        &now,
        "--step",
        "15s",
        "URL",
        "http_requests_total{instance=\"b:80\"}",
    ];
    assert_eq!(
        query(&range).await.unwrap(),
        "http_requests_total{instance=\"b:80\", job=\"web\"} =>\n\
         261 @[1699999970]\n265.5 @[1699999985]\n270 @[1700000000]\n"
    );
    assert_eq!(
        query(&["labels", "--start", &before, "--end", &now, "URL", "instance"]).await.unwrap(),
        "a:80\nb:80\n"
    );
    let series = query(&["series", "--match", "up", "--start", &before, "--end", &now, "URL"])
        .await
        .unwrap();
    assert_eq!(
        series,
        "{__name__=\"up\", instance=\"a:80\", job=\"web\"}\n\
         {__name__=\"up\", instance=\"b:80\", job=\"web\"}\n"
    );
    server.abort();
}
