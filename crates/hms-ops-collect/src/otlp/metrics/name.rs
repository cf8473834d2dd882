//! What a metric and its attributes are called in the store.
//!
//! Source: *OpenTelemetry Specification*, "Prometheus and OpenMetrics Compatibility", as Prometheus
//! 3.x follows it unless told otherwise (`UnderscoreEscapingWithSuffixes`).

use std::borrow::Cow;

/// What a kind of metric adds to a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Suffix {
    /// A monotonic sum: `_total`.
    Total,
    /// A gauge: `_ratio` when its unit is `1`.
    Ratio,
    /// Any other.
    None,
}

/// The stored name of a metric: what is between letters, digits and colons becomes one `_`, then come
/// the unit and the suffix. `None` when nothing is left.
pub(super) fn metric_name(name: &str, unit: &str, suffix: Suffix) -> Option<String> {
    let mut parts: Vec<Cow<'_, str>> =
        name.split(|c| !fits(c)).filter(|part| !part.is_empty()).map(Cow::Borrowed).collect();
    let (unit_part, per) = unit_parts(unit);
    let unit_part = unit_part.filter(|part| !parts.contains(&Cow::Borrowed(&**part)));
    let per = per.filter(|part| !parts.contains(&Cow::Borrowed(&**part)));
    if let Some(unit) = unit_part {
        let unit = if per.is_some() { unit.trim_end_matches('_') } else { &unit };
        parts.extend((!unit.is_empty()).then(|| Cow::Owned(unit.to_owned())));
    }
    parts.extend(per.map(Cow::Owned));
    let last = match suffix {
        Suffix::Total => Some("total"),
        Suffix::Ratio if unit == "1" => Some("ratio"),
        Suffix::Ratio | Suffix::None => None,
    };
    if let Some(last) = last {
        parts.retain(|part| part != last);
        parts.push(last.into());
    }
    let mut stored = parts.join("_");
    if stored.starts_with(|c: char| c.is_ascii_digit()) {
        stored.insert(0, '_');
    }
    // Of underscores alone no name can be made out.
    stored.contains(|c| c != '_').then_some(stored)
}

/// The unit as metadata has it: `seconds`, `bytes_per_second`.
pub(super) fn unit_name(unit: &str) -> String {
    let (main, per) = unit_parts(unit);
    let parts: Vec<String> = main.into_iter().chain(per).collect();
    let name = parts.join("_");
    name.strip_suffix('_').unwrap_or(&name).to_owned()
}

/// The stored name of an attribute: what is no letter, digit or `_` becomes `_`, one by one, and
/// `key` comes before a digit or a single `_` at the start. `None` when nothing is left.
pub(super) fn label_name(key: &str) -> Option<String> {
    let mut stored: String =
        key.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if stored.starts_with(|c: char| c.is_ascii_digit()) {
        stored.insert_str(0, "key_");
    } else if stored.starts_with('_') && !stored.starts_with("__") {
        stored.insert_str(0, "key");
    }
    let kept = !stored.is_empty() && (stored == key || stored.contains(|c| c != '_'));
    kept.then_some(stored)
}

fn fits(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == ':'
}

/// The words for a unit and for what it is counted per; units in braces are remarks.
fn unit_parts(unit: &str) -> (Option<String>, Option<String>) {
    let (main, per) = unit.split_once('/').unwrap_or((unit, ""));
    let named = |unit: &str| !unit.is_empty() && !unit.contains(['{', '}']);
    let (main, per) = (main.trim(), per.trim());
    let main = named(main).then(|| clean(unit_word(main))).filter(|word| !word.is_empty());
    let per = named(per).then(|| clean(&format!("per_{}", per_word(per))));
    let per = per.map(|word| word.strip_suffix('_').unwrap_or(&word).to_owned());
    (main, per.filter(|word| word != "per"))
}

/// With `_` for what does not fit, never two in a row, none at the start.
fn clean(word: &str) -> String {
    let mut out = String::with_capacity(word.len());
    for c in word.chars().map(|c| if fits(c) { c } else { '_' }) {
        if c != '_' || !(out.is_empty() || out.ends_with('_')) {
            out.push(c);
        }
    }
    out
}

fn unit_word(unit: &str) -> &str {
    match unit {
        "d" => "days",
        "h" => "hours",
        "min" => "minutes",
        "s" => "seconds",
        "ms" => "milliseconds",
        "us" => "microseconds",
        "ns" => "nanoseconds",
        "By" => "bytes",
        "KiBy" => "kibibytes",
        "MiBy" => "mebibytes",
        "GiBy" => "gibibytes",
        "TiBy" => "tibibytes",
        "KBy" => "kilobytes",
        "MBy" => "megabytes",
        "GBy" => "gigabytes",
        "TBy" => "terabytes",
        "m" => "meters",
        "V" => "volts",
        "A" => "amperes",
        "J" => "joules",
        "W" => "watts",
        "g" => "grams",
        "Cel" => "celsius",
        "Hz" => "hertz",
        "1" => "",
        "%" => "percent",
        other => other,
    }
}

fn per_word(unit: &str) -> &str {
    match unit {
        "s" => "second",
        "m" => "minute",
        "h" => "hour",
        "d" => "day",
        "w" => "week",
        "mo" => "month",
        "y" => "year",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_called_as_prometheus_calls_it() {
        use Suffix::{None, Ratio, Total};
        for (name, unit, suffix, stored) in [
            ("http.server.request.duration", "s", None, "http_server_request_duration_seconds"),
            ("system.network.io", "By", Total, "system_network_io_bytes_total"),
            ("claims.total.paid", "", Total, "claims_paid_total"),
            ("process_seconds", "s", Total, "process_seconds_total"),
            ("system.cpu.utilization", "1", Ratio, "system_cpu_utilization_ratio"),
            ("ratio.of.claims", "1", Ratio, "of_claims_ratio"),
            ("claims", "1", Total, "claims_total"),
            ("claims", "1", None, "claims"),
            ("queue.length", "{claims}", Ratio, "queue_length"),
            ("astro.light", "By/s", Ratio, "astro_light_bytes_per_second"),
            ("rate", "{claims}/m", Ratio, "rate_per_minute"),
            ("rate", "m/", Ratio, "rate_meters"),
            ("rate", "claims/week", Ratio, "rate_claims_per_week"),
            ("a", "_x__y_/__", Ratio, "a_x_y_"),
            ("a", "%", None, "a_percent"),
            ("a:b", "g", None, "a:b_grams"),
            ("__a..b--", "", None, "a_b"),
            ("größe", "", None, "gr_e"),
            ("2xx", "", Total, "_2xx_total"),
        ] {
            assert_eq!(metric_name(name, unit, suffix).as_deref(), Some(stored), "{name} {unit}");
        }
        assert_eq!(metric_name("..__", "", None), Option::None);
        assert_eq!(metric_name("", "", Total), Some("total".to_owned()));
    }

    #[test]
    fn a_unit_is_told_in_words() {
        for (unit, name) in [
            ("", ""),
            ("1", ""),
            ("{x}", ""),
            ("s", "seconds"),
            ("By/s", "bytes_per_second"),
            ("/m", "per_minute"),
        ] {
            assert_eq!(unit_name(unit), name);
        }
    }

    #[test]
    fn an_attribute_is_called_as_prometheus_calls_it() {
        for (key, stored) in [
            ("http.route", Some("http_route")),
            ("a..b", Some("a__b")),
            ("2xx", Some("key_2xx")),
            ("_private", Some("key_private")),
            ("__reserved", Some("__reserved")),
            ("größe", Some("gr__e")),
            (".", Some("key_")),
            ("..", None),
            ("__", Some("__")),
            ("", None),
        ] {
            assert_eq!(label_name(key).as_deref(), stored, "{key}");
        }
    }
}
