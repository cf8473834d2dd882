//! The config file: one TOML file, every key optional.

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hms_ops_collect::scrape::Target;
use serde::Deserialize;

use crate::core::metric::Budget;
use crate::core::name::Service;

mod slos;

use slos::SloTable;

/// What `ops.toml` says: what to watch, what to hold it to, what may be done about it.
///
/// ```toml
/// scrape_config_files = ["prometheus.yml"]    # jobs, as Prometheus has them; needs a feature
///
/// [listen]
/// admin = "127.0.0.1:9110"        # page, API, spans
/// # Off loopback; or on it, if not everybody there may ask:
/// # admin_token_file = "admin.token"        # at least 16 characters
/// # admin_tls = "terminated-upstream"       # by a proxy before it
/// # admin_hosts = ["ops.example.org"]       # as that proxy is called
/// # admin_reload = true                     # POST /-/reload reads scrape_config_files again
/// metrics = "127.0.0.1:9111"      # /metrics of this process
///
/// [store]
/// data = "history"                # without it, history is in memory and ends with the process
/// retention = "15d"
/// # Or, in place of both, a backend that speaks Prometheus, and where samples wait for it:
/// # remote = { url = "http://127.0.0.1:9090", queue = "queue", token_file = "backend.token" }
///
/// [[target]]
/// url = "http://127.0.0.1:9001/metrics"
/// service = "eligibility-svc"
/// cluster = "cluster-a"
/// interval = "15s"
///
/// [[budget]]
/// metric = "eligibility.latency_ms"
/// service = "eligibility-svc"
/// limit = 300
/// mean_over = "60s"
/// hold = "120s"
/// recover = "60s"
///
/// [[slo]]                         # its alert has this name
/// name = "disaster-claims"
/// service = "claims-svc"
/// objective = "99.999"            # percent, as text
/// latency = { metric = "claims.latency_ms", limit = 500 }
/// # Or, of counters, one of these; or of samples of a gauge:
/// # ratio = { bad = 'http_requests_total{code=~"5.."}', total = "http_requests_total" }
/// # ratio = { good = "claims_paid_total", total = "claims_total" }
/// # availability = 'up{job="claims"}'
/// # period = "30d"                # or "week", "month", in UTC
/// # slices = { length = "1m", target = "99" }     # counts these in place of events
/// # traffic = 5                   # events a second, to be warned where they are too few
/// # [[slo.burn]]                  # in place of the SRE workbook's table
/// # severity = "page"             # or "ticket"
/// # long = "1h"
/// # short = "5m"
/// # above = "14.4"
///
/// [[route]]
/// service = "eligibility-svc"
/// listen = "127.0.0.1:8080"
/// health = "/health"
/// clusters = { cluster-a = "http://127.0.0.1:9001", cluster-b = "http://127.0.0.1:9002" }
/// primary = "cluster-a"
///
/// [[receiver]]
/// name = "on-call"
/// kind = "webhook"
/// url = "http://127.0.0.1:9999/hook"
/// secret_file = "on-call.secret"
///
/// [runbook.rollover]
/// mesh.shift = { services = ["eligibility-svc"], to = ["cluster-b"] }
/// ```
///
/// ```
/// let config = hms_ops::Config::parse("ops.toml", "[[target]]\nurl = \"http://127.0.0.1:1/\"")?;
/// assert_eq!(config.targets().len(), 1);
/// let error = hms_ops::Config::parse("ops.toml", "\n[listen]\nadmn = \"x\"").unwrap_err();
/// assert!(error.to_string().starts_with("ops.toml:3: unknown field `admn`"));
/// # Ok::<(), hms_ops::ConfigError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Config {
    pub(crate) name: String,
    pub(crate) text: String,
    pub(crate) file: File,
    targets: Vec<Target>,
}

/// Why a config file cannot be used; names file, line and key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each message explains its fields")]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {file}: {source}")]
    Io { file: String, source: std::io::Error },

    /// A line is wrong.
    #[error("{file}:{line}: {reason}")]
    Malformed { file: String, line: usize, reason: String },
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct File {
    pub(crate) scrape_config_files: Vec<toml::Spanned<PathBuf>>,
    pub(crate) listen: Listen,
    pub(crate) store: StoreTable,
    target: Vec<TargetTable>,
    budget: Vec<BudgetTable>,
    slo: Vec<toml::Spanned<SloTable>>,
    pub(crate) route: Vec<Route>,
    pub(crate) receiver: Vec<ReceiverTable>,
    pub(crate) runbook: BTreeMap<String, toml::Table>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(
    not(any(feature = "api-prometheus", feature = "dashboard")),
    allow(dead_code, reason = "nothing is served to people")
)]
pub(crate) struct Listen {
    pub(crate) admin: Option<String>,
    pub(crate) admin_token_file: Option<toml::Spanned<PathBuf>>,
    pub(crate) admin_tls: Option<toml::Spanned<String>>,
    pub(crate) admin_hosts: Vec<String>,
    pub(crate) admin_reload: bool,
    pub(crate) metrics: Option<String>,
}

/// What the store keeps, and where; each part has a default.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(not(feature = "store-tsdb"), allow(dead_code, reason = "only named in an error"))]
pub(crate) struct StoreTable {
    pub(crate) data: Option<toml::Spanned<PathBuf>>,
    pub(crate) remote: Option<toml::Spanned<RemoteTable>>,
    pub(crate) durability: Option<toml::Spanned<String>>,
    pub(crate) retention: Option<toml::Spanned<String>>,
    pub(crate) retention_size: Option<toml::Spanned<String>>,
    pub(crate) out_of_order_window: Option<toml::Spanned<String>>,
    pub(crate) memory: Option<toml::Spanned<String>>,
    pub(crate) series: Option<usize>,
    pub(crate) series_per_metric: Option<usize>,
    pub(crate) series_per_target: Option<usize>,
}

/// The backend that keeps history, and the folder where samples wait for it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(feature = "store-prometheus"), expect(dead_code, reason = "only named in an error"))]
pub(crate) struct RemoteTable {
    pub(crate) url: String,
    pub(crate) queue: PathBuf,
    pub(crate) write_url: Option<String>,
    pub(crate) queue_size: Option<toml::Spanned<String>>,
    pub(crate) keep: Option<toml::Spanned<String>>,
    pub(crate) user: Option<String>,
    pub(crate) password_file: Option<PathBuf>,
    pub(crate) token_file: Option<PathBuf>,
    pub(crate) ca_file: Option<PathBuf>,
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TargetTable {
    url: toml::Spanned<String>,
    service: Option<String>,
    cluster: Option<String>,
    instance: Option<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    interval: Option<toml::Spanned<String>>,
    timeout: Option<toml::Spanned<String>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BudgetTable {
    metric: String,
    service: Option<String>,
    limit: toml::Spanned<f64>,
    mean_over: Option<toml::Spanned<String>>,
    hold: Option<toml::Spanned<String>>,
    recover: Option<toml::Spanned<String>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(feature = "mesh-in-process"), expect(dead_code, reason = "only named in an error"))]
pub(crate) struct Route {
    pub(crate) service: toml::Spanned<String>,
    pub(crate) listen: Option<String>,
    pub(crate) health: Option<String>,
    pub(crate) clusters: BTreeMap<String, String>,
    pub(crate) primary: toml::Spanned<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "each kind of receiver reads some")]
pub(crate) struct ReceiverTable {
    pub(crate) name: String,
    pub(crate) kind: toml::Spanned<String>,
    pub(crate) url: Option<toml::Spanned<String>>,
    pub(crate) url_file: Option<toml::Spanned<PathBuf>>,
    pub(crate) secret_file: Option<toml::Spanned<PathBuf>>,
    pub(crate) token_file: Option<toml::Spanned<PathBuf>>,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) external_url: Option<String>,
    pub(crate) per_minute: Option<NonZeroU32>,
    pub(crate) heartbeat: Option<toml::Spanned<String>>,
}

/// A budget of a scraped metric: the metric, its budget, and the service it is for.
pub(crate) type Declared = (String, Budget, Option<Service>);

impl Config {
    /// Reads a config file.
    ///
    /// # Errors
    ///
    /// [`ConfigError`], with file and line.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let name = path.as_ref().display().to_string();
        let text = fs::read_to_string(path)
            .map_err(|source| ConfigError::Io { file: name.clone(), source })?;
        Self::parse(&name, &text)
    }

    /// Reads a config from text; `name` is for messages, and paths in it are relative to it. The
    /// files that it names, such as secrets, must be there.
    ///
    /// # Errors
    ///
    /// [`ConfigError`], with file and line.
    pub fn parse(name: &str, text: &str) -> Result<Self, ConfigError> {
        let mut config = Self { name: name.to_owned(), text: text.to_owned(), ..Self::default() };
        config.file = toml::from_str(text).map_err(|e| {
            config.malformed(e.span().map_or(0, |span| span.start), e.message().to_owned())
        })?;
        config.targets =
            config.file.target.iter().map(|t| config.target(t)).collect::<Result<_, _>>()?;
        config.budgets()?;
        config.slos()?;
        config.check_parts()?;
        Ok(config)
    }

    /// What is scraped.
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    pub(crate) fn budgets(&self) -> Result<Vec<Declared>, ConfigError> {
        let declared = self.file.budget.iter().map(|table| {
            let limit = *table.limit.get_ref();
            if !limit.is_finite() {
                let reason = format!("budget {limit} is not a number to stay below");
                return Err(self.malformed(table.limit.span().start, reason));
            }
            let mut budget = Budget::new(limit);
            let times = [
                (&table.mean_over, &mut budget.mean_over),
                (&table.hold, &mut budget.hold),
                (&table.recover, &mut budget.recover),
            ];
            for (text, into) in times {
                if let Some(text) = text {
                    *into = self.duration(text)?;
                }
            }
            if budget.mean_over.is_zero() {
                let at = table.mean_over.as_ref().map_or(0, |text| text.span().start);
                return Err(self.malformed(at, "a mean over no time is no mean".to_owned()));
            }
            Ok((table.metric.clone(), budget, table.service.as_deref().map(Service::from)))
        });
        declared.collect()
    }

    fn target(&self, table: &TargetTable) -> Result<Target, ConfigError> {
        let at = table.url.span().start;
        let mut target =
            Target::new(table.url.get_ref()).map_err(|e| self.malformed(at, e.to_string()))?;
        let named = [
            ("service", &table.service),
            ("cluster", &table.cluster),
            ("instance", &table.instance),
        ];
        for (name, value) in named {
            if let Some(value) = value {
                target = target.label(name, value);
            }
        }
        for (name, value) in &table.labels {
            target = target.label(name, value);
        }
        if let Some(interval) = &table.interval {
            target = target.interval(self.positive(interval)?);
        }
        if let Some(timeout) = &table.timeout {
            target = target.timeout(self.positive(timeout)?);
        }
        Ok(target)
    }

    /// Parts that this build may lack check their own tables.
    fn check_parts(&self) -> Result<(), ConfigError> {
        crate::admin::Options::default().configure(self).map(|_| ())?;
        crate::storage::Options::default().configure(self).map(|_| ())?;
        crate::prometheus::Options::default().configure(self).map(|_| ())?;
        crate::remote::Options::default().configure(self).map(|_| ())?;
        crate::traffic::Options::default().configure(self).map(|_| ())?;
        crate::runbooks::Options::default().configure(self).map(|_| ())?;
        crate::notifiers::read(self).map(|_| ())
    }

    pub(crate) fn positive(&self, text: &toml::Spanned<String>) -> Result<Duration, ConfigError> {
        match self.duration(text)? {
            Duration::ZERO => {
                Err(self.malformed(text.span().start, "must be longer than nothing".to_owned()))
            }
            duration => Ok(duration),
        }
    }

    pub(crate) fn duration(&self, text: &toml::Spanned<String>) -> Result<Duration, ConfigError> {
        parse_duration(text.get_ref()).ok_or_else(|| {
            let reason = format!("{:?} is not a duration such as 500ms, 15s, 2m", text.get_ref());
            self.malformed(text.span().start, reason)
        })
    }

    #[cfg_attr(
        not(any(feature = "store-prometheus", feature = "store-tsdb")),
        allow(dead_code, reason = "only stores have sizes")
    )]
    pub(crate) fn bytes(&self, text: &toml::Spanned<String>) -> Result<u64, ConfigError> {
        parse_bytes(text.get_ref()).ok_or_else(|| {
            let reason = format!("{:?} is not a size such as 64MiB, 10GiB", text.get_ref());
            self.malformed(text.span().start, reason)
        })
    }

    /// An error at a byte of the file.
    pub(crate) fn malformed(&self, at: usize, reason: String) -> ConfigError {
        let before = self.text.get(..at).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        ConfigError::Malformed { file: self.name.clone(), line, reason }
    }

    /// A path in the file, which is relative to the file.
    #[cfg_attr(
        not(any(
            feature = "api-prometheus",
            feature = "dashboard",
            feature = "notify-alertmanager",
            feature = "notify-ntfy",
            feature = "notify-pagerduty",
            feature = "notify-slack",
            feature = "notify-webhook",
            feature = "prometheus-config",
            feature = "store-prometheus",
            feature = "store-tsdb"
        )),
        allow(dead_code, reason = "only secrets, jobs and history are files")
    )]
    pub(crate) fn path(&self, path: &Path) -> PathBuf {
        Path::new(&self.name).parent().map_or_else(|| path.to_owned(), |folder| folder.join(path))
    }
}

/// `64KiB`, `512MiB`, `10GiB`.
#[cfg_attr(
    not(any(feature = "store-prometheus", feature = "store-tsdb")),
    allow(dead_code, reason = "only stores have sizes")
)]
fn parse_bytes(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let number: u64 = text[..digits].parse().ok()?;
    let unit = match &text[digits..] {
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(unit)
}

/// `500ms`, `15s`, `2m`, `1h`, `15d`.
fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let number: u64 = text[..digits].parse().ok()?;
    let millis = match &text[digits..] {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    Some(Duration::from_millis(number.checked_mul(millis)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        Config::parse("ops.toml", text).unwrap_err().to_string()
    }

    #[test]
    fn every_mistake_is_one_line_that_names_file_line_and_what_is_wrong() {
        assert_eq!(
            error("[[budget]]\nmetric = \"x\"\nlimit = 300\nhold = \"soon\"\n"),
            "ops.toml:4: \"soon\" is not a duration such as 500ms, 15s, 2m"
        );
        assert_eq!(
            error("[[budget]]\nmetric = \"x\"\nlimit = nan\n"),
            "ops.toml:3: budget NaN is not a number to stay below"
        );
        assert_eq!(
            error("[[target]]\nurl = \"http://127.0.0.1/\"\ninterval = \"0s\"\n"),
            "ops.toml:3: must be longer than nothing"
        );
        assert!(error("[[target]]\nurl = \"nonsense\"\n").starts_with("ops.toml:2: "));
        assert!(error("[listen]\nadmin = 3\n").starts_with("ops.toml:2: invalid type"));
        assert!(error("[listen\n").starts_with("ops.toml:1: "));
    }

    #[test]
    fn an_empty_file_is_a_config() {
        assert!(Config::parse("ops.toml", "").unwrap().targets().is_empty());
    }

    #[test]
    fn durations_are_whole_numbers_with_a_unit() {
        assert_eq!(parse_duration("1500ms"), Some(Duration::from_millis(1500)));
        assert_eq!(parse_duration("2h"), Some(Duration::from_secs(7200)));
        assert_eq!(parse_duration("15d"), Some(Duration::from_secs(15 * 86_400)));
        for text in ["", "5", "s", "-1s", "1.5s", "5 s", "99999999999999999999s"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }
}
