//! `hms-ops serve`: an engine for services in any language.

use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Error, Result, anyhow, bail};
use hms_ops::{Config, Ops};

use crate::failure::{Misuse, line};
use crate::{log, signals};

const DEFAULT_LISTEN: &str = "127.0.0.1:9110";
/// Where history is kept if nobody says otherwise.
pub(crate) const DEFAULT_DATA: &str = "hms-ops-data";
/// How long notifications that are not delivered yet may take at the end.
const LAST_NOTIFICATIONS: Duration = Duration::from_secs(10);

pub(crate) async fn run(
    file: Option<&Path>,
    listen: Option<&str>,
    data: Option<&Path>,
) -> Result<()> {
    log::start(log::Wanted::Information);
    let (ended, mut hangups) = (signals::asked_to_end(), signals::Hangups::new());
    let config = match file {
        Some(file) => Config::from_file(file).map_err(misuse)?,
        None => Config::default(),
    };
    // What the config says comes later, and so counts; what the command line says, last.
    let builder = Ops::builder().dashboard(DEFAULT_LISTEN).data(DEFAULT_DATA);
    let mut builder = builder.config(&config).map_err(misuse)?;
    if let Some(data) = data {
        builder = builder.data(data);
    }
    let history = builder.data_folder().map(|folder| folder.display().to_string());
    if let Some(listen) = listen.or(file.is_none().then_some(DEFAULT_LISTEN)) {
        try_listening(listen)?;
        builder = builder.dashboard(listen);
    }
    let ops = builder.start().await.map_err(|error| match error {
        hms_ops::Error::Setup(_) | hms_ops::Error::Exposed { .. } => misuse(error),
        other => other.into(),
    })?;
    let Some(page) = ops.admin_address() else {
        // Within a service the engine goes on without its page; alone it would be of no use.
        ops.shutdown(Duration::ZERO).await?;
        bail!("the page cannot be served: its address is not free or not an address");
    };
    println!("page     http://{page}/");
    if let Some(address) = ops.metrics_address() {
        println!("metrics  http://{address}/metrics");
    }
    if let Some(folder) = history {
        println!("history  {folder}");
    }
    for address in ops.traffic_addresses() {
        println!("traffic  http://{address}/");
    }
    for target in ops.targets() {
        println!("target   {}", target.url);
    }
    tokio::pin!(ended);
    loop {
        tokio::select! {
            () = &mut ended => break,
            // What is wrong with the config is in the log; the engine goes on with what it had.
            () = hangups.next() => drop(ops.reload().await),
        }
    }
    ops.shutdown(LAST_NOTIFICATIONS).await.context("the engine did not end well")
}

/// An engine only logs that it cannot listen; who names an address wants to know.
fn try_listening(address: &str) -> Result<()> {
    let wrong = |error: std::io::Error| match error.kind() {
        ErrorKind::InvalidInput => {
            misuse(anyhow!("{address:?} is not an address such as {DEFAULT_LISTEN}"))
        }
        _ => Error::from(error).context(format!("cannot listen on {address}")),
    };
    TcpListener::bind(address).map(drop).map_err(wrong)
}

/// A config that cannot be used is the mistake of who wrote it.
fn misuse(error: impl Into<Error>) -> Error {
    Misuse(line(&error.into())).into()
}
