//! The config file read again, while the engine runs: all of what can change then, or nothing.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use crate::Error;
use crate::config::{Config, ConfigError};
use crate::core::clock::Clock;
use crate::core::labels::Labels;
use crate::core::registry::Registry;
use crate::core::time::Timestamp;
use crate::prometheus::{Jobs, Options};

/// Keys of the file that take effect without a restart.
const RELOADED: &str = "scrape_config_files";
/// Requests that wait while one is done.
const WAITING: usize = 16;

/// How often sources report: labels that they have, and the time between two reports.
pub(crate) type Intervals = Vec<(Labels, Duration)>;

/// How the last attempt went.
#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "api-prometheus"), allow(dead_code, reason = "the API tells it"))]
pub(crate) struct Loaded {
    pub(crate) well: bool,
    /// When the config that is in force was read, and what it says.
    pub(crate) at: Timestamp,
    pub(crate) text: String,
}

/// Asks for the config file to be read again.
#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "api-prometheus"), allow(dead_code, reason = "the API tells it"))]
pub(crate) struct Reloader {
    asks: mpsc::Sender<Ask>,
    loaded: watch::Receiver<Loaded>,
}

type Ask = oneshot::Sender<Result<(), Error>>;

impl Reloader {
    /// Waits until it is done; who stops waiting does not stop it.
    pub(crate) async fn reload(&self) -> Result<(), Error> {
        let ended = |_| Error::setup("the engine is ending");
        let (ask, answer) = oneshot::channel();
        self.asks.send(ask).await.map_err(|_| ended(()))?;
        answer.await.map_err(|_| ended(()))?
    }

    #[cfg_attr(not(feature = "api-prometheus"), allow(dead_code, reason = "the API tells it"))]
    pub(crate) fn last(&self) -> Loaded {
        self.loaded.borrow().clone()
    }
}

/// Owns what can change, and changes it when asked.
#[derive(Debug)]
pub(crate) struct Keeper {
    jobs: Jobs,
    /// The file's name and what was in it; nothing where no file was given.
    file: Option<(String, String)>,
    /// Of targets that stay.
    fixed: Intervals,
    intervals: watch::Sender<Intervals>,
    loaded: watch::Sender<Loaded>,
    asks: mpsc::Receiver<Ask>,
    clock: Arc<dyn Clock>,
    registry: Registry,
}

impl Keeper {
    pub(crate) fn new(
        jobs: Jobs,
        file: Option<(String, String)>,
        fixed: Intervals,
        clock: Arc<dyn Clock>,
        registry: Registry,
    ) -> (Self, Reloader, watch::Receiver<Intervals>) {
        let (asks, asked) = mpsc::channel(WAITING);
        let text = file.as_ref().map(|(_, text)| text.clone()).unwrap_or_default();
        let (loaded, last) = watch::channel(Loaded { well: true, at: clock.now(), text });
        let all = fixed.iter().cloned().chain(jobs.intervals()).collect();
        let (intervals, known) = watch::channel(all);
        let keeper = Self { jobs, file, fixed, intervals, loaded, asks: asked, clock, registry };
        keeper.show();
        (keeper, Reloader { asks, loaded: last }, known)
    }

    /// Does what it is asked until told to stop; gives back the jobs, to be ended.
    pub(crate) async fn run(mut self, mut stopped: watch::Receiver<bool>) -> Jobs {
        loop {
            let ask = tokio::select! {
                ask = self.asks.recv() => ask,
                _ = stopped.wait_for(|stop| *stop) => None,
            };
            let Some(ask) = ask else { return self.jobs };
            let done = self.reload().await;
            self.show();
            // Who asked may be gone.
            let _ = ask.send(done.map_err(Error::setup));
        }
    }

    async fn reload(&mut self) -> Result<(), ReloadError> {
        let read = match &self.file {
            None => Err(ReloadError::NoFile),
            Some((name, _)) => read(name.clone()).await,
        };
        let (config, options) = match read {
            Ok(read) => read,
            Err(error) => {
                tracing::error!(%error, "the config stays as it was");
                self.registry.counter("hms_ops_config_reload_failures_total").increment(1);
                self.loaded.send_modify(|last| last.well = false);
                return Err(error);
            }
        };
        let before = self.file.as_ref().map(|(_, text)| text.as_str()).unwrap_or_default();
        let unused = changed(before, &config.text);
        if !unused.is_empty() {
            let keys = unused.join(", ");
            tracing::warn!(keys, "the config was read again; these keys need a restart");
        }
        self.jobs.replace(options).await;
        let all = self.fixed.iter().cloned().chain(self.jobs.intervals()).collect();
        self.intervals.send_replace(all);
        let loaded = Loaded { well: true, at: self.clock.now(), text: config.text };
        self.loaded.send_replace(loaded);
        tracing::info!(file = config.name, "the config was read again");
        Ok(())
    }

    fn show(&self) {
        let last = self.loaded.borrow();
        let gauge = |name, value| self.registry.gauge(name).set(value);
        gauge("hms_ops_config_last_reload_successful", f64::from(u8::from(last.well)));
        let seconds = last.at.as_millis() as f64 / 1e3;
        gauge("hms_ops_config_last_reload_success_timestamp_seconds", seconds);
    }
}

/// Why a config was not read again.
#[derive(Debug, thiserror::Error)]
enum ReloadError {
    #[error("there is no config file to read again")]
    NoFile,

    #[error(transparent)]
    Config(#[from] ConfigError),

    #[error("reading the config broke off")]
    BrokeOff,
}

/// Reads the file and all that it names; nothing has an effect yet.
async fn read(name: String) -> Result<(Config, Options), ReloadError> {
    let work = move || {
        let config = Config::from_file(&name)?;
        let options = Options::default().configure(&config)?;
        Ok((config, options))
    };
    tokio::task::spawn_blocking(work).await.map_err(|_| ReloadError::BrokeOff)?
}

/// The keys that have changed and do not take effect.
fn changed(before: &str, after: &str) -> Vec<String> {
    let table = |text: &str| text.parse::<toml::Table>().unwrap_or_default();
    let (before, after) = (table(before), table(after));
    let mut keys: Vec<_> = before.keys().chain(after.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    let differs = |key: &&&String| **key != RELOADED && before.get(**key) != after.get(**key);
    keys.iter().filter(differs).map(|key| (*key).clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_a_restart_is_named() {
        let before = "scrape_config_files = []\n[listen]\nmetrics = \"a\"\n[store]\ndata = \"d\"";
        let after = "scrape_config_files = [\"x\"]\n[store]\ndata = \"e\"\n[[target]]\nurl = \"u\"";
        assert_eq!(changed(before, after), ["listen", "store", "target"]);
        assert!(changed(before, &format!("# a comment\n{before}")).is_empty());
    }
}
