//! Scrape configuration in Prometheus' own YAML.
//!
//! What is not supported is an error; what changes nothing about scraping is a warning. Both name
//! file, line and key.
//!
//! Source: the Prometheus documentation, "Configuration".

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use hms_ops_core::yaml::fields::{Complaint, FileError};
use hms_ops_core::yaml::fields::{Field, Fields, Source, parse_duration, show_duration};

use crate::client::{Access, Endpoint, read_bounded};
use crate::scrape::relabel::Rule;
use crate::scrape::{Limits, Manner};

mod files;
mod http;
mod job;
mod target;

pub use self::files::matching;
pub(crate) use self::target::{Group, Populated, populate};

/// Bytes of one file.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// What a Prometheus config says about scraping.
///
/// ```
/// use hms_ops_collect::scrape_config::ScrapeConfig;
///
/// let text = "scrape_configs:\n- job_name: node\n  static_configs:\n  - targets: ['a:9100']\n";
/// let config = ScrapeConfig::parse("prometheus.yml", text)?;
/// assert_eq!(config.jobs()[0].name(), "node");
///
/// let error = ScrapeConfig::parse("prometheus.yml", "global:\n  scrape_interval: soon\n").unwrap_err();
/// let message = "prometheus.yml:2: scrape_interval: \"soon\" is not a duration such as 15s or 1h30m";
/// assert_eq!(error.to_string(), message);
/// # Ok::<(), hms_ops_collect::scrape_config::ScrapeConfigError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct ScrapeConfig {
    jobs: Vec<Job>,
    external_labels: BTreeMap<String, String>,
    warnings: Vec<Complaint>,
}

/// What to scrape under one name, and how.
#[derive(Clone, Debug)]
pub struct Job {
    pub(crate) name: String,
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
    pub(crate) metrics_path: String,
    pub(crate) scheme: String,
    pub(crate) params: BTreeMap<String, Vec<String>>,
    pub(crate) relabel: Vec<Rule>,
    pub(crate) target_limit: Option<usize>,
    pub(crate) keep_dropped: Option<usize>,
    pub(crate) limits: Limits,
    pub(crate) manner: Arc<Manner>,
    pub(crate) providers: Vec<Provider>,
}

/// Where a job has its targets from.
#[derive(Clone, Debug)]
pub(crate) enum Provider {
    Static(Vec<Group>),
    /// Patterns of files, of which the last part may have `*`.
    File {
        patterns: Vec<PathBuf>,
        refresh: Duration,
    },
    Http {
        endpoint: Endpoint,
        access: Arc<Access>,
        refresh: Duration,
    },
    Dns {
        names: Vec<String>,
        records: Records,
        refresh: Duration,
    },
}

/// What of a name is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Records {
    Srv,
    /// Addresses, with this port.
    V4(u16),
    V6(u16),
}

/// Why a file is no scrape configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each message explains its fields")]
pub enum ScrapeConfigError {
    /// It is not YAML, a key says what it may not say, or is not known.
    #[error(transparent)]
    Malformed(#[from] FileError),

    /// The file cannot be read.
    #[error("cannot read {file}")]
    Io { file: String, source: io::Error },
}

/// What keys change nothing about scraping, and so only get a warning.
const PASSED_OVER: [(&str, &str); 7] = [
    ("alerting", "alerts are not sent to an Alertmanager"),
    ("otlp", "has no meaning here"),
    ("rule_files", "rules are not read from here"),
    ("runtime", "has no meaning here"),
    ("storage", "the store is configured elsewhere"),
    ("tracing", "has no meaning here"),
    ("tls_server_config", "has no meaning here"),
];

impl ScrapeConfig {
    /// Reads a file, and those that it names in `scrape_config_files`.
    ///
    /// # Errors
    ///
    /// [`ScrapeConfigError`], with file, line and key.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, ScrapeConfigError> {
        let name = path.as_ref().display().to_string();
        Self::parse(&name, &read(path.as_ref())?)
    }

    /// Reads a config from text; `name` is for messages, and paths in it are relative to it.
    ///
    /// # Errors
    ///
    /// [`ScrapeConfigError`], with file, line and key.
    pub fn parse(name: &str, text: &str) -> Result<Self, ScrapeConfigError> {
        let source = Source::new(name);
        let document = source.parse(text)?;
        let mut top = source.root(&document, "the file").fields()?;
        let global = Global::read(top.get("global"))?;
        let mut jobs = Jobs { global: &global, all: Vec::new() };
        jobs.read(&mut top)?;
        let mut warnings = Vec::new();
        for pattern in top.items("scrape_config_files")? {
            let paths = files::checked(&pattern, |_| true)?;
            for path in matching(&paths).map_err(|e| pattern.error(e.to_string()))? {
                warnings.extend(jobs.read_file(&path)?);
            }
        }
        top.pass_over(&PASSED_OVER);
        top.end()?;
        let jobs = jobs.all;
        let mut all = source.into_warnings();
        all.extend(warnings);
        Ok(Self { jobs, external_labels: global.external_labels, warnings: all })
    }

    /// The jobs, in the order of the files; no two have the same name.
    pub fn jobs(&self) -> &[Job] {
        &self.jobs
    }

    /// What is to be put on series that leave for other systems.
    pub fn external_labels(&self) -> &BTreeMap<String, String> {
        &self.external_labels
    }

    /// What the files say that changes nothing about scraping here.
    pub fn warnings(&self) -> &[Complaint] {
        &self.warnings
    }
}

impl Job {
    /// What it is called, and what the label `job` of its targets says unless they say otherwise.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How often its targets are scraped unless they say otherwise.
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// How long one scrape may take unless a target says otherwise.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }
}

/// What holds for every job that does not say otherwise.
#[derive(Debug)]
pub(crate) struct Global {
    interval: Duration,
    timeout: Duration,
    external_labels: BTreeMap<String, String>,
    limits: job::Said,
    accept: Option<String>,
}

impl Global {
    const INTERVAL: Duration = Duration::from_secs(60);
    const TIMEOUT: Duration = Duration::from_secs(10);

    fn read(field: Option<Field<'_>>) -> Result<Self, FileError> {
        let mut global = Self {
            interval: Self::INTERVAL,
            timeout: Self::TIMEOUT,
            external_labels: BTreeMap::new(),
            limits: job::Said::default(),
            accept: None,
        };
        let Some(field) = field else { return Ok(global) };
        let mut fields = field.fields()?;
        let said = fields.duration("scrape_interval")?.filter(|interval| !interval.is_zero());
        global.interval = said.unwrap_or(global.interval);
        global.timeout = timeout(&mut fields, global.interval, Self::TIMEOUT)?;
        if let Some(labels) = fields.get("external_labels") {
            if let Some((_, value)) =
                labels.map()?.iter().find(|(_, value)| value.text().is_ok_and(|v| v.contains('$')))
            {
                return Err(value.error("variables of the environment are not filled in"));
            }
            global.external_labels = labels.labels()?;
        }
        global.limits = job::Said::read(&mut fields, &job::Said::default())?;
        global.accept = job::accept(&mut fields)?;
        fields.refuse(&job::UNSUPPORTED)?;
        job::names(&mut fields)?;
        fields.pass_over(&[
            ("evaluation_interval", "rules are not read from here"),
            ("query_log_file", "queries are not logged"),
            ("rule_query_offset", "rules are not read from here"),
            ("scrape_failure_log_file", "failures are shown with the targets"),
        ]);
        fields.end()?;
        Ok(global)
    }
}

/// The key `scrape_timeout`, which may not be longer than the interval.
fn timeout(
    fields: &mut Fields<'_>,
    interval: Duration,
    usual: Duration,
) -> Result<Duration, FileError> {
    let Some(field) = fields.get("scrape_timeout") else { return Ok(usual.min(interval)) };
    match field.duration()? {
        Duration::ZERO => Ok(usual.min(interval)),
        timeout if timeout > interval => {
            let (timeout, interval) = (show_duration(timeout), show_duration(interval));
            Err(field.error(format!("{timeout} is longer than the interval of {interval}")))
        }
        timeout => Ok(timeout),
    }
}

struct Jobs<'a> {
    global: &'a Global,
    all: Vec<Job>,
}

impl Jobs<'_> {
    fn read(&mut self, fields: &mut Fields<'_>) -> Result<(), FileError> {
        for item in fields.items("scrape_configs")? {
            let mut keys = item.fields()?;
            let name = keys.get("job_name");
            let Some((name, at)) = name.and_then(|at| Some((at.text().ok()?.to_owned(), at)))
            else {
                return Err(item.error("a job without job_name"));
            };
            if name.is_empty() {
                return Err(at.error("is empty"));
            }
            if self.all.iter().any(|job| job.name == name) {
                return Err(at.error(format!("another job is called {name:?} already")));
            }
            self.all.push(job::read(name, keys, self.global)?);
        }
        Ok(())
    }

    /// Reads a file that has jobs and nothing else; returns its warnings.
    fn read_file(&mut self, path: &Path) -> Result<Vec<Complaint>, ScrapeConfigError> {
        let source = Source::new(&path.display().to_string());
        let document = source.parse(&read(path)?)?;
        let mut fields = source.root(&document, "the file").fields()?;
        self.read(&mut fields)?;
        fields.end()?;
        Ok(source.into_warnings())
    }
}

/// Reads groups of targets from text, as files and HTTP answers have them; `name` is for messages.
pub(crate) fn read_groups(name: &str, text: &str) -> Result<Vec<Group>, FileError> {
    let source = Source::new(name);
    let document = source.parse(text)?;
    job::groups(&source.root(&document, "the list"))
}

fn read(path: &Path) -> Result<String, ScrapeConfigError> {
    let file = path.display().to_string();
    read_bounded(path, MAX_FILE_BYTES).map_err(|source| ScrapeConfigError::Io { file, source })
}
