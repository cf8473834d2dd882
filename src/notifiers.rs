//! The receivers of a config file.

use std::num::NonZeroU32;
use std::path::PathBuf;

use hms_ops_alert::Receiver;
use hms_ops_alert::notify::Endpoint;
use toml::Spanned;

use crate::config::{Config, ConfigError, ReceiverTable};

#[cfg(not(all(
    feature = "notify-alertmanager",
    feature = "notify-ntfy",
    feature = "notify-pagerduty",
    feature = "notify-slack",
    feature = "notify-webhook"
)))]
mod absent;
#[cfg(feature = "notify-alertmanager")]
mod alertmanager;
#[cfg(feature = "notify-ntfy")]
mod ntfy;
#[cfg(feature = "notify-pagerduty")]
mod pagerduty;
#[cfg(feature = "notify-slack")]
mod slack;
#[cfg(feature = "notify-webhook")]
mod webhook;

#[cfg(not(feature = "notify-alertmanager"))]
use absent as alertmanager;
#[cfg(not(feature = "notify-ntfy"))]
use absent as ntfy;
#[cfg(not(feature = "notify-pagerduty"))]
use absent as pagerduty;
#[cfg(not(feature = "notify-slack"))]
use absent as slack;
#[cfg(not(feature = "notify-webhook"))]
use absent as webhook;

/// How many tries a minute a receiver is spared, unless the file says it.
const PER_MINUTE: NonZeroU32 = NonZeroU32::new(60).expect("it is not 0");

/// Makes the notifiers, with their secrets read.
pub(crate) fn read(config: &Config) -> Result<Vec<Receiver>, ConfigError> {
    let tables = config.file.receiver.iter().map(|table| Reading { config, table });
    tables.map(|reading| reading.receiver()).collect()
}

/// One table, and where it stands.
struct Reading<'a> {
    config: &'a Config,
    table: &'a ReceiverTable,
}

impl Reading<'_> {
    fn receiver(&self) -> Result<Receiver, ConfigError> {
        let receiver = match self.table.kind.get_ref().as_str() {
            "alertmanager" => alertmanager::make(self)?,
            "ntfy" => ntfy::make(self)?,
            "pagerduty" => pagerduty::make(self)?,
            "slack" => slack::make(self)?,
            "webhook" => webhook::make(self)?,
            other => {
                let kinds = "alertmanager, ntfy, pagerduty, slack or webhook";
                return Err(self.wrong(format!("{other:?} is no kind of receiver: {kinds}")));
            }
        };
        let receiver = receiver.per_minute(self.table.per_minute.unwrap_or(PER_MINUTE));
        match &self.table.heartbeat {
            Some(every) => Ok(receiver.heartbeat(self.config.positive(every)?)),
            None => Ok(receiver),
        }
    }

    /// What is wrong with the table as a whole.
    fn wrong(&self, reason: String) -> ConfigError {
        self.config.malformed(self.table.kind.span().start, reason)
    }

    /// The server; `usual` is where it is if nothing is said.
    #[cfg_attr(
        not(any(
            feature = "notify-alertmanager",
            feature = "notify-ntfy",
            feature = "notify-pagerduty",
            feature = "notify-slack",
            feature = "notify-webhook"
        )),
        expect(dead_code, reason = "there is nobody to be told")
    )]
    fn endpoint(&self, usual: Option<&str>) -> Result<Endpoint, ConfigError> {
        let (text, at) = match (&self.table.url, &self.table.url_file) {
            (Some(url), None) => (url.get_ref().clone(), url.span().start),
            (None, Some(file)) => (self.text(file)?, file.span().start),
            (None, None) => {
                let missing = || self.wrong("it needs a `url` or a `url_file`".to_owned());
                (usual.ok_or_else(missing)?.to_owned(), self.table.kind.span().start)
            }
            (Some(_), Some(file)) => {
                let reason = "of `url` and `url_file`, one is enough".to_owned();
                return Err(self.config.malformed(file.span().start, reason));
            }
        };
        let endpoint =
            Endpoint::new(&text).map_err(|e| self.config.malformed(at, e.to_string()))?;
        Ok(match &self.table.ca_file {
            Some(path) => endpoint.ca_file(self.config.path(path)),
            None => endpoint,
        })
    }

    fn text(&self, file: &Spanned<PathBuf>) -> Result<String, ConfigError> {
        let path = self.config.path(file.get_ref());
        std::fs::read_to_string(&path).map_err(|e| {
            self.config.malformed(file.span().start, format!("{}: {e}", path.display()))
        })
    }
}

#[cfg(all(test, feature = "notify-webhook"))]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_that_cannot_be_told_is_named_with_its_line() {
        for (table, reason) in [
            ("kind = \"pigeon\"", "ops.toml:3: \"pigeon\" is no kind of receiver"),
            ("kind = \"webhook\"", "ops.toml:3: it needs a `secret_file`"),
            ("kind = \"webhook\"\nsecret_file = \"no/such/file\"", "ops.toml:4: no/such/file: "),
            ("kind = \"webhook\"\nper_minute = 0", "ops.toml:4: "),
        ] {
            let text = format!("[[receiver]]\nname = \"on-call\"\n{table}\n");
            let error = Config::parse("ops.toml", &text).unwrap_err().to_string();
            assert!(error.starts_with(reason), "{error}");
        }
    }

    #[test]
    fn a_secret_file_has_every_key_that_receivers_may_know() {
        let folder = tempfile::tempdir().unwrap();
        let key = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        std::fs::write(folder.path().join("keys"), format!("{key}\n{key}\n")).unwrap();
        let name = folder.path().join("ops.toml").display().to_string();
        let text = "[[receiver]]\nname = \"on-call\"\nkind = \"webhook\"\nsecret_file = \"keys\"\n\
                    url = \"http://h/hook\"\nheartbeat = \"1m\"\n";
        let receivers = read(&Config::parse(&name, text).unwrap()).unwrap();
        assert_eq!(receivers[0].name(), "on-call");
        let shown = format!("{receivers:?}");
        assert!(shown.contains("[Secret(…), Secret(…)]") && !shown.contains("/hook"), "{shown}");
        std::fs::write(folder.path().join("keys"), "whsec_hidden").unwrap();
        let error = Config::parse(&name, text).unwrap_err().to_string();
        assert!(error.contains("ops.toml:4: ") && !error.contains("hidden"), "{error}");
    }
}
