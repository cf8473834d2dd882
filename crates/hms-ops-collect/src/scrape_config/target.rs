//! From what was discovered to a target: labels, relabelling, URL.
//!
//! Source: the Prometheus documentation, "Configuration", on `relabel_config` and the labels that
//! begin with `__`.

use hms_ops_core::labels::{INSTANCE, Labels};

use super::{Job, parse_duration, show_duration};
use crate::scrape::Target;
use crate::scrape::relabel::relabel;

const ADDRESS: &str = "__address__";
const SCHEME: &str = "__scheme__";
const METRICS_PATH: &str = "__metrics_path__";
const INTERVAL: &str = "__scrape_interval__";
const TIMEOUT: &str = "__scrape_timeout__";
const PARAM: &str = "__param_";
const JOB: &str = "job";

/// Targets that were discovered together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    /// The labels of each, of which `__address__` says where it is.
    pub(crate) targets: Vec<Labels>,
    /// The labels of all that do not say otherwise.
    pub(crate) labels: Labels,
}

/// What became of one that was discovered.
#[derive(Debug)]
pub(crate) enum Populated {
    Active(Target),
    /// By relabelling.
    Dropped,
    /// It cannot be scraped, for this reason.
    Broken(String),
}

/// Makes a target of the job from the labels that were discovered; also returns these, as they are
/// before relabelling.
pub(crate) fn populate(job: &Job, own: &Labels, group: &Labels) -> (Labels, Populated) {
    let discovered = discovered(job, own, group);
    let populated = match relabel(&job.relabel, &discovered) {
        None => Populated::Dropped,
        Some(labels) => target(job, &labels).map_or_else(Populated::Broken, Populated::Active),
    };
    (discovered, populated)
}

fn discovered(job: &Job, own: &Labels, group: &Labels) -> Labels {
    let usual = [
        (JOB, job.name.clone()),
        (INTERVAL, show_duration(job.interval)),
        (TIMEOUT, show_duration(job.timeout)),
        (METRICS_PATH, job.metrics_path.clone()),
        (SCHEME, job.scheme.clone()),
    ];
    let usual = usual.map(|(name, value)| (name.to_owned(), value));
    let pairs = |labels: &Labels| Vec::<(String, String)>::from(labels.clone());
    let params = job
        .params
        .iter()
        .filter_map(|(name, values)| Some((format!("{PARAM}{name}"), values.first()?.clone())));
    // Of a name that comes twice, the later value counts.
    Labels::from_pairs(usual.into_iter().chain(pairs(group)).chain(pairs(own)).chain(params))
}

fn target(job: &Job, labels: &Labels) -> Result<Target, String> {
    let of = |name| labels.get(name).unwrap_or_default();
    let address = of(ADDRESS);
    if address.is_empty() {
        return Err("there is no address".to_owned());
    }
    if address.contains('/') {
        return Err(format!("{address:?} is not host:port"));
    }
    let duration = |name| match parse_duration(of(name)) {
        Some(duration) if !duration.is_zero() => Ok(duration),
        _ => Err(format!("{name}: {:?} is not a duration of more than nothing", of(name))),
    };
    let (interval, timeout) = (duration(INTERVAL)?, duration(TIMEOUT)?);
    if timeout > interval {
        let (timeout, interval) = (of(TIMEOUT), of(INTERVAL));
        return Err(format!("the timeout of {timeout} is longer than the interval of {interval}"));
    }
    let url = url(job, labels);
    let target = Target::new(&url).map_err(|error| error.to_string())?;
    let mut kept = Labels::from_pairs(labels.iter().filter(|(name, _)| !name.starts_with("__")));
    if kept.get(INSTANCE).is_none() {
        kept = kept.with(INSTANCE, address);
    }
    let target = target.interval(interval).timeout(timeout).limits(job.limits.clone());
    Ok(target.labels_are(kept).manner(job.manner.clone()))
}

fn url(job: &Job, labels: &Labels) -> String {
    let of = |name| labels.get(name).unwrap_or_default();
    let path = of(METRICS_PATH);
    let slash = if path.starts_with('/') { "" } else { "/" };
    let mut params = job.params.clone();
    for (name, value) in labels.iter() {
        if let Some(name) = name.strip_prefix(PARAM) {
            let values = params.entry(name.to_owned()).or_default();
            match values.first_mut() {
                Some(first) => *first = value.to_owned(),
                None => values.push(value.to_owned()),
            }
        }
    }
    let pairs = params.iter().flat_map(|(name, values)| values.iter().map(move |v| (name, v)));
    let query: Vec<_> = pairs.map(|(n, v)| format!("{}={}", escaped(n), escaped(v))).collect();
    let mark = if query.is_empty() { "" } else { "?" };
    // What stands in the path is a path: a mark in it begins no query.
    let path = path.replace('%', "%25").replace('?', "%3F").replace('#', "%23").replace(' ', "%20");
    format!("{}://{}{slash}{path}{mark}{}", of(SCHEME), of(ADDRESS), query.join("&"))
}

/// As forms are encoded.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(byte.into())
            }
            b' ' => out.push('+'),
            _ => out += &format!("%{byte:02X}"),
        }
    }
    out
}
