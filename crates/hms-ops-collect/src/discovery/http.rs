//! Targets from a server that lists them.
//!
//! Source: the Prometheus documentation, "HTTP SD".

use std::sync::Arc;
use std::time::Duration;

use hyper::header::{ACCEPT, HeaderName, HeaderValue, USER_AGENT};

use super::Reporter;
use crate::client::{Access, Endpoint, in_one_line};
use crate::scrape_config::{Group, read_groups};

const MAX_BODY_BYTES: usize = 16 << 20;
/// No answer is waited for longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Asks `endpoint` for its targets each `refresh`.
pub(super) async fn ask(
    endpoint: Endpoint,
    access: Arc<Access>,
    refresh: Duration,
    reporter: Reporter,
) {
    let mut groups = Vec::new();
    loop {
        let error = match list(&endpoint, &access, refresh).await {
            Ok(listed) => {
                groups = listed;
                None
            }
            Err(reason) => Some(reason),
        };
        reporter.report(groups.clone(), error).await;
        tokio::time::sleep(refresh).await;
    }
}

async fn list(
    endpoint: &Endpoint,
    access: &Access,
    refresh: Duration,
) -> Result<Vec<Group>, String> {
    let url = endpoint.url();
    let mut headers = vec![
        (ACCEPT, HeaderValue::from_static("application/json")),
        (USER_AGENT, HeaderValue::from_static(concat!("hms-ops/", env!("CARGO_PKG_VERSION")))),
    ];
    let seconds = refresh.as_secs_f64().to_string();
    if let Ok(seconds) = HeaderValue::from_str(&seconds) {
        let name = HeaderName::from_static("x-prometheus-refresh-interval-seconds");
        headers.push((name, seconds));
    }
    let patience = PATIENCE.min(refresh.max(Duration::from_secs(1)));
    let answer = tokio::time::timeout(patience, access.get(endpoint, &headers, MAX_BODY_BYTES));
    let answer = answer.await.map_err(|_| format!("{url}: no answer within {patience:?}"))?;
    let answer = answer.map_err(|error| format!("{url}: {}", in_one_line(&error)))?;
    let content_type = answer.content_type.split(';').next().unwrap_or_default().trim();
    if !content_type.eq_ignore_ascii_case("application/json") {
        return Err(format!("{url}: {content_type:?} is not application/json"));
    }
    let (body, url) = (answer.body, url.to_owned());
    // A list may be long, and takes longer to read than the executor can wait.
    let read = tokio::task::spawn_blocking(move || groups(&url, &body)).await;
    read.unwrap_or_else(|failed| Err(failed.to_string()))
}

fn groups(url: &str, body: &[u8]) -> Result<Vec<Group>, String> {
    let text = str::from_utf8(body).map_err(|error| format!("{url}: {error}"))?;
    let listed = read_groups(url, text).map_err(|error| in_one_line(&error))?;
    let labelled = listed
        .into_iter()
        .map(|group| Group { labels: group.labels.with("__meta_url", url), ..group });
    Ok(labelled.collect())
}
