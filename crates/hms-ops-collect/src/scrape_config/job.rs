//! The keys of one job.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hms_ops_core::labels::Labels;

use super::target::Group;
use super::{Global, Job, Provider, Records, files, http, timeout};
use crate::client::Endpoint;
use crate::exposition::Format;
use crate::scrape::relabel::Rule;
use crate::scrape::{KeptLimits, Limits, Manner};
use hms_ops_core::yaml::fields::{Field, Fields, FileError};

/// What is not done, of a job or of all, and what may be said of it all the same.
pub(super) const UNSUPPORTED: [(&str, &str); 6] = [
    ("always_scrape_classic_histograms", "false"),
    ("convert_classic_histograms_to_nhcb", "false"),
    ("extra_scrape_metrics", "false"),
    ("native_histogram_bucket_limit", "0"),
    ("native_histogram_min_bucket_factor", "0"),
    ("scrape_native_histograms", "false"),
];

/// The formats that are read, in the order in which Prometheus prefers them; with underscores in
/// names for all that stands in quotes otherwise, which is how the store has them.
const PROTOCOLS: [(&str, &str); 4] = [
    ("OpenMetricsText1.0.0", "application/openmetrics-text;version=1.0.0;escaping=underscores"),
    ("OpenMetricsText0.0.1", "application/openmetrics-text;version=0.0.1"),
    ("PrometheusText1.0.0", "text/plain;version=1.0.0;escaping=underscores"),
    ("PrometheusText0.0.4", "text/plain;version=0.0.4"),
];

/// How often names and URLs are asked again.
const DNS_REFRESH: Duration = Duration::from_secs(30);
const HTTP_REFRESH: Duration = Duration::from_secs(60);
const FILE_REFRESH: Duration = Duration::from_secs(300);

/// The limits that a file says.
#[derive(Clone, Debug, Default)]
pub(super) struct Said {
    body: Option<usize>,
    samples: Option<usize>,
    targets: Option<usize>,
    labels: Option<usize>,
    name_bytes: Option<usize>,
    value_bytes: Option<usize>,
    keep_dropped: Option<usize>,
}

impl Said {
    pub(super) fn read(fields: &mut Fields<'_>, usual: &Self) -> Result<Self, FileError> {
        let body = fields.get("body_size_limit").map(|field| field.bytes()).transpose()?.flatten();
        let mut limit =
            |key, usual: Option<usize>| Ok::<_, FileError>(fields.limit(key)?.or(usual));
        Ok(Self {
            body: body.or(usual.body),
            samples: limit("sample_limit", usual.samples)?,
            targets: limit("target_limit", usual.targets)?,
            labels: limit("label_limit", usual.labels)?,
            name_bytes: limit("label_name_length_limit", usual.name_bytes)?,
            value_bytes: limit("label_value_length_limit", usual.value_bytes)?,
            keep_dropped: limit("keep_dropped_targets", usual.keep_dropped)?,
        })
    }

    /// What one scrape may bring: what the file says, if that is more than usual.
    fn limits(&self) -> Limits {
        let usual = Limits::default();
        let more = |usual: usize, said: Option<usize>| usual.max(said.unwrap_or(0));
        Limits {
            body_bytes: self.body.unwrap_or(usual.body_bytes),
            samples: more(usual.samples, self.samples),
            labels: more(usual.labels, self.labels),
            name_bytes: more(usual.name_bytes, self.name_bytes),
            value_bytes: more(usual.value_bytes, self.value_bytes),
        }
    }

    fn kept(&self) -> KeptLimits {
        let any = usize::MAX;
        KeptLimits {
            samples: self.samples.unwrap_or(any),
            labels: self.labels.unwrap_or(any),
            name_bytes: self.name_bytes.unwrap_or(any),
            value_bytes: self.value_bytes.unwrap_or(any),
        }
    }
}

pub(super) fn read(
    name: String,
    mut fields: Fields<'_>,
    global: &Global,
) -> Result<Job, FileError> {
    let interval = fields.duration("scrape_interval")?.filter(|interval| !interval.is_zero());
    let interval = interval.unwrap_or(global.interval);
    let timeout = timeout(&mut fields, interval, global.timeout)?;
    let said = Said::read(&mut fields, &global.limits)?;
    let accept = accept(&mut fields)?.or_else(|| global.accept.clone());
    let manner = Manner {
        accept: accept.unwrap_or_else(|| accept_header(&PROTOCOLS.map(|(_, header)| header))),
        gzip: fields.flag("enable_compression", true)?,
        fallback: fallback(&mut fields)?,
        honor_labels: fields.flag("honor_labels", false)?,
        honor_timestamps: fields.flag("honor_timestamps", true)?,
        track_timestamps_staleness: fields.flag("track_timestamps_staleness", false)?,
        relabel: rules(&mut fields, "metric_relabel_configs")?,
        kept: said.kept(),
        access: Arc::new(http::read(&mut fields)?),
        refused: None,
    };
    let mut params = BTreeMap::new();
    if let Some(field) = fields.get("params") {
        for (name, values) in field.map()? {
            params.insert(name, values.texts()?);
        }
    }
    let relabel = rules(&mut fields, "relabel_configs")?;
    let job = Job {
        interval,
        timeout,
        metrics_path: fields.text("metrics_path")?.unwrap_or("/metrics").to_owned(),
        scheme: scheme(&mut fields)?,
        params,
        providers: providers(&mut fields, !relabel.is_empty())?,
        relabel,
        target_limit: said.targets,
        keep_dropped: said.keep_dropped,
        limits: said.limits(),
        manner: Arc::new(manner),
        name,
    };
    fields.refuse(&UNSUPPORTED)?;
    names(&mut fields)?;
    fields.pass_over(&[("scrape_failure_log_file", "failures are shown with the targets")]);
    fields.refuse_ending("_sd_configs", "is not supported; file, http, dns and static are")?;
    fields.end()?;
    Ok(job)
}

fn scheme(fields: &mut Fields<'_>) -> Result<String, FileError> {
    match fields.get("scheme") {
        None => Ok("http".to_owned()),
        Some(field) => match field.text()? {
            scheme @ ("http" | "https") => Ok(scheme.to_owned()),
            scheme => Err(field.error(format!("{scheme:?} is not http or https"))),
        },
    }
}

/// The header for `scrape_protocols`, if there are any.
pub(super) fn accept(fields: &mut Fields<'_>) -> Result<Option<String>, FileError> {
    let Some(field) = fields.get("scrape_protocols") else { return Ok(None) };
    let mut headers = Vec::new();
    for item in field.items()? {
        match protocol(&item)? {
            Some(header) if headers.contains(&header) => {
                return Err(item.error("stands there twice"));
            }
            Some(header) => headers.push(header),
            None => item.warn("PrometheusProto is not read; the text formats are asked for"),
        }
    }
    match headers.is_empty() {
        true => Err(field.error("none of them is read")),
        false => Ok(Some(accept_header(&headers))),
    }
}

/// The keys about names, of which there is one way.
pub(super) fn names(fields: &mut Fields<'_>) -> Result<(), FileError> {
    if let Some(field) = fields.get("metric_name_validation_scheme") {
        let scheme = field.text()?;
        if !["utf8", "legacy"].contains(&scheme) {
            return Err(field.error(format!("{scheme:?} is not utf8 or legacy")));
        }
    }
    if let Some(field) = fields.get("metric_name_escaping_scheme") {
        match field.text()? {
            "underscores" => {}
            "allow-utf-8" => field.warn("names are asked for with underscores"),
            scheme => {
                return Err(field.error(format!("{scheme:?} is not supported, underscores are")));
            }
        }
    }
    Ok(())
}

/// What asks for a protocol; `None` for the one that is known and not read.
fn protocol(field: &Field<'_>) -> Result<Option<&'static str>, FileError> {
    let name = field.text()?;
    match PROTOCOLS.iter().find(|(known, _)| *known == name) {
        Some((_, header)) => Ok(Some(header)),
        None if name == "PrometheusProto" => Ok(None),
        None => Err(field.error(format!("{name:?} is not a protocol"))),
    }
}

fn accept_header(headers: &[&str]) -> String {
    let weights = (1..=headers.len() + 1).rev();
    let all = headers.iter().copied().chain(["*/*"]);
    let weighted: Vec<_> = all.zip(weights).map(|(h, w)| format!("{h};q=0.{w}")).collect();
    weighted.join(",")
}

fn fallback(fields: &mut Fields<'_>) -> Result<Format, FileError> {
    let Some(field) = fields.get("fallback_scrape_protocol") else { return Ok(Format::Text) };
    match protocol(&field)? {
        None => Err(field.error("PrometheusProto is not read")),
        Some(header) if header.starts_with("application/openmetrics-text") => {
            Ok(Format::OpenMetrics)
        }
        Some(_) => Ok(Format::Text),
    }
}

fn rules(fields: &mut Fields<'_>, key: &str) -> Result<Vec<Rule>, FileError> {
    fields.items(key)?.iter().map(rule).collect()
}

fn rule(field: &Field<'_>) -> Result<Rule, FileError> {
    let mut fields = field.fields()?;
    let wrong = |at: &Field<'_>, error| at.error(crate::client::in_one_line(&error));
    let mut rule = match fields.get("action") {
        None => Rule::new("replace").map_err(|e| wrong(field, e))?,
        Some(action) => Rule::new(action.text()?).map_err(|e| wrong(&action, e))?,
    };
    if let Some(names) = fields.get("source_labels") {
        rule = rule.source_labels(names.texts()?);
    }
    if let Some(regex) = fields.get("regex") {
        rule = rule.regex(regex.text()?).map_err(|e| wrong(&regex, e))?;
    }
    if let Some(modulus) = fields.get("modulus") {
        rule = rule.modulus(modulus.number()?);
    }
    if let Some(separator) = fields.text("separator")? {
        rule = rule.separator(separator);
    }
    if let Some(target) = fields.text("target_label")? {
        rule = rule.target_label(target);
    }
    if let Some(replacement) = fields.text("replacement")? {
        rule = rule.replacement(replacement);
    }
    fields.end()?;
    rule.check().map_err(|e| wrong(field, e))
}

fn providers(fields: &mut Fields<'_>, relabels: bool) -> Result<Vec<Provider>, FileError> {
    let mut all = Vec::new();
    if let Some(field) = fields.get("static_configs") {
        if !relabels {
            addresses(&field)?;
        }
        all.push(Provider::Static(groups(&field)?));
    }
    for item in fields.items("file_sd_configs")? {
        let mut keys = item.fields()?;
        let is_read = |name: &str| {
            let ending = name.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase());
            ending.is_some_and(|ending| matches!(&*ending, "json" | "yml" | "yaml"))
        };
        let patterns = keys.items("files")?;
        let patterns: Result<Vec<_>, _> =
            patterns.iter().map(|field| files::checked(field, is_read)).collect();
        let patterns = patterns?;
        if patterns.is_empty() {
            return Err(item.error("files are missing"));
        }
        let refresh = refresh(&mut keys, FILE_REFRESH)?;
        keys.end()?;
        all.push(Provider::File { patterns, refresh });
    }
    for item in fields.items("http_sd_configs")? {
        let mut keys = item.fields()?;
        let Some(url) = keys.get("url") else { return Err(item.error("url is missing")) };
        let endpoint: Endpoint = url
            .text()?
            .parse()
            .map_err(|e: crate::client::ClientError| url.error(e.to_string()))?;
        let access = Arc::new(http::read(&mut keys)?);
        let refresh = refresh(&mut keys, HTTP_REFRESH)?;
        keys.end()?;
        all.push(Provider::Http { endpoint, access, refresh });
    }
    for item in fields.items("dns_sd_configs")? {
        all.push(dns(&item)?);
    }
    Ok(all)
}

fn dns(item: &Field<'_>) -> Result<Provider, FileError> {
    let mut keys = item.fields()?;
    let names = keys.get("names").map_or_else(|| Ok(Vec::new()), |field| field.texts())?;
    if names.is_empty() {
        return Err(item.error("names are missing"));
    }
    let (kind, port) = (keys.get("type"), keys.get("port"));
    let port = || match &port {
        Some(port) => port.number(),
        None => Err(item.error("port is missing")),
    };
    let records = match kind {
        None => Records::Srv,
        Some(field) => match field.text()?.to_ascii_uppercase().as_str() {
            "SRV" => Records::Srv,
            "A" => Records::V4(port()?),
            "AAAA" => Records::V6(port()?),
            kind @ ("MX" | "NS") => {
                return Err(field.error(format!("{kind} is not supported; A, AAAA and SRV are")));
            }
            kind => return Err(field.error(format!("{kind:?} is not a type of records"))),
        },
    };
    let refresh = refresh(&mut keys, DNS_REFRESH)?;
    keys.end()?;
    Ok(Provider::Dns { names, records, refresh })
}

fn refresh(fields: &mut Fields<'_>, usual: Duration) -> Result<Duration, FileError> {
    match fields.get("refresh_interval") {
        None => Ok(usual),
        Some(field) => match field.duration()? {
            Duration::ZERO => Err(field.error("must be longer than nothing")),
            refresh => Ok(refresh),
        },
    }
}

/// Without relabelling, nothing makes an address of what is none, such as a URL for a prober.
fn addresses(field: &Field<'_>) -> Result<(), FileError> {
    for group in field.items()? {
        for item in group.fields()?.items("targets")? {
            let address = item.text()?;
            if address.contains('/') {
                return Err(item.error(format!("{address:?} is not host:port")));
            }
        }
    }
    Ok(())
}

/// Groups of targets, as `static_configs`, files and HTTP answers have them.
pub(super) fn groups(field: &Field<'_>) -> Result<Vec<Group>, FileError> {
    field.items()?.iter().map(group).collect()
}

fn group(field: &Field<'_>) -> Result<Group, FileError> {
    let mut fields = field.fields()?;
    let mut targets = Vec::new();
    for item in fields.items("targets")? {
        targets.push(Labels::from_pairs([("__address__", item.text()?)]));
    }
    let labels = fields.get("labels").map(|field| field.labels()).transpose()?;
    fields.end()?;
    Ok(Group { targets, labels: Labels::from_pairs(labels.unwrap_or_default()) })
}
