//! The functions that templates may call.

use std::cmp::Ordering;
use std::net::IpAddr;
use std::sync::Arc;

use hms_ops_core::labels::Labels;
use hms_ops_core::yaml::fields::parse_duration;
use regex::{Regex, RegexBuilder};

use super::eval::{Run, Stop, Value};
use super::{number, verb};

const KNOWN: [&str; 43] = [
    "and",
    "args",
    "eq",
    "externalURL",
    "first",
    "ge",
    "graphLink",
    "gt",
    "html",
    "humanize",
    "humanize1024",
    "humanizeDuration",
    "humanizePercentage",
    "humanizeTimestamp",
    "index",
    "label",
    "le",
    "len",
    "lt",
    "match",
    "ne",
    "not",
    "or",
    "parseDuration",
    "pathPrefix",
    "print",
    "printf",
    "println",
    "query",
    "reReplaceAll",
    "safeHtml",
    "sortByLabel",
    "stripDomain",
    "stripPort",
    "strvalue",
    "tableLink",
    "title",
    "toLower",
    "toTime",
    "toUpper",
    "urlquery",
    "urlQueryEscape",
    "value",
];

/// Bytes that a compiled pattern may take.
const MAX_PATTERN: usize = 1 << 20;

pub(super) fn is_known(name: &str) -> bool {
    KNOWN.contains(&name)
}

/// Calls a function other than `and` and `or`, which the caller evaluates as far as it must.
pub(super) fn call(run: &Run<'_>, name: &str, args: &[Value]) -> Result<Value, Stop> {
    let done = |shown: String| Ok(Value::Text(shown.into()));
    match name {
        "eq" => {
            let [first, others @ ..] = args else { return count(args, 2) };
            if others.is_empty() {
                return count(args, 2);
            }
            let mut equal = false;
            for other in others {
                equal = equal || order(first, other)? == Some(Ordering::Equal);
            }
            return Ok(Value::Bool(equal));
        }
        "ne" | "lt" | "le" | "gt" | "ge" => {
            let [a, b] = args else { return count(args, 2) };
            let order = order(a, b)?;
            return Ok(Value::Bool(match name {
                "ne" => order != Some(Ordering::Equal),
                "lt" => order.is_some_and(Ordering::is_lt),
                "le" => order.is_some_and(Ordering::is_le),
                "gt" => order.is_some_and(Ordering::is_gt),
                _ => order.is_some_and(Ordering::is_ge),
            }));
        }
        "args" => {
            let named = |(i, arg): (usize, &Value)| (format!("arg{i}"), arg.clone());
            return Ok(Value::Args(Arc::new(args.iter().enumerate().map(named).collect())));
        }
        "print" | "println" => {
            let mut shown = String::new();
            for (i, arg) in args.iter().enumerate() {
                let texts = |arg: &Value| matches!(arg, Value::Text(_));
                let parted = name == "println" || !(texts(arg) || i > 0 && texts(&args[i - 1]));
                shown += if i > 0 && parted { " " } else { "" };
                shown += &arg.show();
            }
            return done(shown + if name == "println" { "\n" } else { "" });
        }
        "printf" => {
            let [format, rest @ ..] = args else { return count(args, 1) };
            return done(verb::printf(text(format)?, rest)?);
        }
        "index" => {
            return match args {
                [Value::Labels(labels), name] => {
                    done(labels.get(text(name)?).unwrap_or_default().to_owned())
                }
                [Value::Args(all), name] => Ok(all.get(text(name)?).cloned().unwrap_or(Value::Nil)),
                [Value::Series(series), Value::Int(at)] => {
                    let found = usize::try_from(*at).ok().and_then(|at| series.get(at));
                    let found = found.ok_or_else(|| format!("there is no item {at}"))?;
                    Ok(Value::One(found.0.clone(), found.1))
                }
                [of, _] => Err(format!("{} has no items", of.kind()).into()),
                _ => count(args, 2),
            };
        }
        "externalURL" | "pathPrefix" => {
            if !args.is_empty() {
                return count(args, 0);
            }
            let url = run.data.external_url;
            let path = url.split_once("://").map_or(url, |(_, rest)| rest);
            let path = path.find('/').map_or("", |at| &path[at..]);
            let path = path.split(['?', '#']).next().unwrap_or_default();
            return done(if name == "externalURL" { url } else { path }.to_owned());
        }
        "reReplaceAll" => {
            let [pattern, with, of] = args else { return count(args, 3) };
            let pattern = pattern_of(text(pattern)?)?;
            return done(pattern.replace_all(text(of)?, text(with)?).into_owned());
        }
        "match" => {
            let [pattern, of] = args else { return count(args, 2) };
            return Ok(Value::Bool(pattern_of(text(pattern)?)?.is_match(text(of)?)));
        }
        "label" => {
            let [name, of] = args else { return count(args, 2) };
            return done(one(of)?.0.get(text(name)?).unwrap_or_default().to_owned());
        }
        "sortByLabel" => {
            let [name, of] = args else { return count(args, 2) };
            let (name, mut series) = (text(name)?, series(of)?.to_vec());
            series.sort_by(|(a, _), (b, _)| a.get(name).cmp(&b.get(name)));
            return Ok(Value::Series(series.into()));
        }
        _ => {}
    }
    let [arg] = args else { return count(args, 1) };
    match name {
        "not" => Ok(Value::Bool(!arg.is_true())),
        "len" => match arg {
            Value::Text(text) => Ok(Value::Int(text.len() as i64)),
            Value::Labels(labels) => Ok(Value::Int(labels.len() as i64)),
            Value::Series(series) => Ok(Value::Int(series.len() as i64)),
            Value::Args(args) => Ok(Value::Int(args.len() as i64)),
            _ => Err(format!("{} has no length", arg.kind()).into()),
        },
        "query" => {
            let query = text(arg)?;
            match run.answers.get(query) {
                None => Err(Stop::Ask(query.to_owned())),
                Some(Ok(series)) => Ok(Value::Series(series.as_slice().into())),
                Some(Err(reason)) => Err(Stop::Failed(reason.clone())),
            }
        }
        "first" => match series(arg)?.first() {
            Some((labels, value)) => Ok(Value::One(labels.clone(), *value)),
            None => Err(Stop::Failed("the answer has no series".to_owned())),
        },
        "value" => Ok(Value::Float(one(arg)?.1)),
        "strvalue" => done(one(arg)?.0.get("__value__").unwrap_or_default().to_owned()),
        "humanize" => done(number::humanize(float(arg)?)),
        "humanize1024" => done(number::humanize_1024(float(arg)?)),
        "humanizeDuration" => done(number::humanize_duration(float(arg)?)),
        "humanizePercentage" => done(number::humanize_percentage(float(arg)?)),
        "humanizeTimestamp" | "toTime" => done(number::humanize_timestamp(float(arg)?)?),
        "parseDuration" => {
            let written = text(arg)?;
            let length = parse_duration(written);
            let length = length.ok_or_else(|| format!("{written:?} is no duration"))?;
            Ok(Value::Float(length.as_secs_f64()))
        }
        "title" => done(title(text(arg)?)),
        "toUpper" => done(text(arg)?.to_uppercase()),
        "toLower" => done(text(arg)?.to_lowercase()),
        "safeHtml" => done(text(arg)?.to_owned()),
        "stripPort" => {
            let address = text(arg)?;
            done(split_port(address).map_or(address, |(host, _)| host).to_owned())
        }
        "stripDomain" => done(strip_domain(text(arg)?)),
        "graphLink" => done(format!("/graph?g0.expr={}&g0.tab=0", escape(text(arg)?))),
        "tableLink" => done(format!("/graph?g0.expr={}&g0.tab=1", escape(text(arg)?))),
        "urlquery" | "urlQueryEscape" => done(escape(&arg.show())),
        "html" => {
            let mut shown = String::new();
            for c in arg.show().chars() {
                match c {
                    '<' => shown += "&lt;",
                    '>' => shown += "&gt;",
                    '&' => shown += "&amp;",
                    '"' => shown += "&#34;",
                    '\'' => shown += "&#39;",
                    c => shown.push(c),
                }
            }
            done(shown)
        }
        _ => Err(Stop::Failed("there is no such function".to_owned())),
    }
}

fn count<T>(args: &[Value], expected: usize) -> Result<T, Stop> {
    let s = if expected == 1 { "" } else { "s" };
    Err(Stop::Failed(format!("{expected} argument{s} expected, not {}", args.len())))
}

fn text(value: &Value) -> Result<&str, String> {
    match value {
        Value::Text(text) => Ok(text),
        other => Err(format!("a text is expected, not {}", other.kind())),
    }
}

fn float(value: &Value) -> Result<f64, String> {
    match value {
        Value::Float(v) => Ok(*v),
        Value::Int(v) => Ok(*v as f64),
        Value::Text(text) => text.parse().map_err(|_| format!("{text:?} is no number")),
        other => Err(format!("a number is expected, not {}", other.kind())),
    }
}

fn series(value: &Value) -> Result<&[(Labels, f64)], String> {
    match value {
        Value::Series(series) => Ok(series),
        other => Err(format!("the answer to a query is expected, not {}", other.kind())),
    }
}

fn one(value: &Value) -> Result<(&Labels, f64), String> {
    match value {
        Value::One(labels, value) => Ok((labels, *value)),
        other => Err(format!("one series is expected, not {}", other.kind())),
    }
}

/// `None` where one of them is not a number.
fn order(a: &Value, b: &Value) -> Result<Option<Ordering>, String> {
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => Ok(Some(a.cmp(b))),
        (Value::Int(a), Value::Int(b)) => Ok(Some(a.cmp(b))),
        (Value::Float(a), Value::Float(b)) => Ok(a.partial_cmp(b)),
        (Value::Text(a), Value::Text(b)) => Ok(Some(a.cmp(b))),
        (Value::Nil, Value::Nil) => Ok(Some(Ordering::Equal)),
        _ => Err(format!("{} and {} cannot be compared", a.kind(), b.kind())),
    }
}

fn pattern_of(pattern: &str) -> Result<Regex, String> {
    let compiled = RegexBuilder::new(pattern).size_limit(MAX_PATTERN).build();
    compiled.map_err(|_| format!("{pattern:?} is no pattern"))
}

/// The first letter of each word as a capital.
fn title(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut before = ' ';
    for c in text.chars() {
        let parts = match before {
            c if c.is_ascii() => !(c.is_ascii_alphanumeric() || c == '_'),
            c => c.is_whitespace(),
        };
        if parts {
            shown.extend(c.to_uppercase())
        } else {
            shown.push(c)
        }
        before = c;
    }
    shown
}

/// Host and port, where there is a port.
fn split_port(address: &str) -> Option<(&str, &str)> {
    let (host, port) = address.rsplit_once(':')?;
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(host) => Some((host, port)),
        None => (!host.contains([':', '[', ']'])).then_some((host, port)),
    }
}

/// The first word of a host's name; an IP address stays as it is.
fn strip_domain(address: &str) -> String {
    let (host, port) = split_port(address).unwrap_or((address, ""));
    if host.parse::<IpAddr>().is_ok() {
        return address.to_owned();
    }
    let host = host.split('.').next().unwrap_or_default();
    if port.is_empty() { host.to_owned() } else { format!("{host}:{port}") }
}

/// As a value in the query of a URL.
fn escape(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                shown.push(char::from(byte));
            }
            b' ' => shown.push('+'),
            byte => shown += &format!("%{byte:02X}"),
        }
    }
    shown
}
