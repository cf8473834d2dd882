//! Asks the API: over the network, or in this process over a folder.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use axum::body::Body;
use hms_ops::core::store::Store;
use hms_ops::promql::Engine;
use hms_ops::promql::http::Api;
use http_body_util::BodyExt;
use hyper::header::HeaderValue;
use hyper::service::Service;
use hyper::{Request, StatusCode};
use hyper_util::service::TowerToHyperService;

use crate::args::QueryArgs;
use crate::commands::tsdb;
use crate::failure::{Misuse, line};
use crate::get::{self, Asking};

/// As long as an engine may take, and a little more.
const PATIENCE: Duration = Duration::from_secs(130);
/// The longest answer that is read.
const MAX_BYTES: usize = 256 << 20;

pub(super) async fn ask(args: &QueryArgs, path: &str) -> Result<(StatusCode, String)> {
    let Some(folder) = &args.data else {
        let url = format!("{}/", args.url.trim_end_matches('/'));
        let authorization = args.token_file.as_deref().map(bearer).transpose()?;
        let asking = Asking { patience: PATIENCE, bytes: MAX_BYTES, authorization };
        let answer = get::get_as(&format!("{url}{path}"), asking).await.map_err(|error| {
            let why = line(&error);
            Misuse(format!(
                "no engine answers at {url} ({why}); `hms-ops serve` starts one, and `--data` asks \
                 a folder"
            ))
        })?;
        if answer.status == StatusCode::UNAUTHORIZED {
            let why = "the engine wants a token: --token-file names the file that has it";
            return Err(Misuse(why.to_owned()).into());
        }
        return Ok((answer.status, answer.body));
    };
    let store = Arc::new(tsdb::open(folder)?);
    let api = Api::new(Arc::new(Engine::new(store.clone())), store.clone()).router();
    let request = Request::get(format!("/{path}")).body(Body::empty())?;
    let Ok(response) = TowerToHyperService::new(api).call(request).await;
    let status = response.status();
    let body = response.into_body().collect().await.context("the answer broke off")?.to_bytes();
    let damaged = store.stats().await.damaged;
    if let Some(store) = Arc::into_inner(store) {
        store.close()?;
    }
    if damaged > 0 {
        return Err(anyhow!("{damaged} pieces of the history could not be read: damaged"));
    }
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

/// The token in a file, as a header that is never shown.
fn bearer(file: &Path) -> Result<HeaderValue> {
    let shown = file.display();
    let token = fs::read_to_string(file).with_context(|| format!("cannot read {shown}"))?;
    let value = HeaderValue::try_from(format!("Bearer {}", token.trim()));
    let mut value = value.map_err(|_| Misuse(format!("{shown} holds no token")))?;
    value.set_sensitive(true);
    Ok(value)
}
