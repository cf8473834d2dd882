//! Numbers as Go prints them, and as people read them.

use hms_ops_core::time::Timestamp;

const LARGE: [&str; 8] = ["k", "M", "G", "T", "P", "E", "Z", "Y"];
const SMALL: [&str; 8] = ["m", "u", "n", "p", "f", "a", "z", "y"];
const BINARY: [&str; 8] = ["ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"];

/// As few digits as tell it from its neighbours: `%v`.
pub(super) fn shortest(v: f64) -> String {
    general(v, None, false)
}

/// `%g`: at most `digits` significant ones, all that are needed without.
pub(super) fn general(v: f64, digits: Option<usize>, upper: bool) -> String {
    if !v.is_finite() {
        return special(v);
    }
    let digits = digits.map(|digits| digits.max(1));
    let scientific = match digits {
        Some(digits) => format!("{:.*e}", digits - 1, v),
        None => format!("{v:e}"),
    };
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let most = digits.map_or(21, |digits| i32::try_from(digits).unwrap_or(i32::MAX));
    let trim = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    if exponent < -4 || exponent >= most {
        let e = if upper { 'E' } else { 'e' };
        return format!("{}{e}{}", trim(mantissa), Exponent(exponent));
    }
    match digits {
        Some(_) => trim(&format!("{:.*}", usize::try_from(most - 1 - exponent).unwrap_or(0), v)),
        None => format!("{v}"),
    }
}

/// `%e`.
pub(super) fn scientific(v: f64, digits: usize, upper: bool) -> String {
    if !v.is_finite() {
        return special(v);
    }
    let text = format!("{v:.digits$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let e = if upper { 'E' } else { 'e' };
    format!("{mantissa}{e}{}", Exponent(exponent.parse().unwrap_or(0)))
}

/// `%f`.
pub(super) fn fixed(v: f64, digits: usize) -> String {
    if v.is_finite() { format!("{v:.digits$}") } else { special(v) }
}

fn special(v: f64) -> String {
    match v {
        v if v.is_nan() => "NaN",
        v if v > 0.0 => "+Inf",
        _ => "-Inf",
    }
    .to_owned()
}

/// With a sign and two digits at least.
struct Exponent(i32);

impl std::fmt::Display for Exponent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{:02}", if self.0 < 0 { '-' } else { '+' }, self.0.abs())
    }
}

fn four(v: f64) -> String {
    general(v, Some(4), false)
}

pub(super) fn humanize(v: f64) -> String {
    if v == 0.0 || !v.is_finite() {
        return four(v);
    }
    let (v, prefix) = if v.abs() >= 1.0 { up(v, 1000.0, LARGE) } else { down(v) };
    format!("{}{prefix}", four(v))
}

pub(super) fn humanize_1024(v: f64) -> String {
    if v.abs() <= 1.0 || !v.is_finite() {
        return four(v);
    }
    let (v, prefix) = up(v, 1024.0, BINARY);
    format!("{}{prefix}", four(v))
}

pub(super) fn humanize_duration(v: f64) -> String {
    if !v.is_finite() {
        return four(v);
    }
    if v == 0.0 {
        return "0s".to_owned();
    }
    if v.abs() < 1.0 {
        let (v, prefix) = down(v);
        return format!("{}{prefix}s", four(v));
    }
    let (sign, v) = (if v < 0.0 { "-" } else { "" }, v.abs());
    let whole = v as i64;
    let (days, h, m, s) = (whole / 86_400, whole / 3600 % 24, whole / 60 % 60, whole % 60);
    match (days, h, m) {
        (0, 0, 0) => format!("{sign}{}s", four(v)),
        (0, 0, _) => format!("{sign}{m}m {s}s"),
        (0, ..) => format!("{sign}{h}h {m}m {s}s"),
        _ => format!("{sign}{days}d {h}h {m}m {s}s"),
    }
}

pub(super) fn humanize_percentage(v: f64) -> String {
    format!("{}%", four(v * 100.0))
}

/// Seconds since 1970 as a time of day, to the millisecond.
pub(super) fn humanize_timestamp(v: f64) -> Result<String, String> {
    if !v.is_finite() {
        return Ok(four(v));
    }
    // The bound is exact, and what Go's nanoseconds can count.
    if (v * 1e9).abs() >= 2_f64.powi(63) {
        return Err(format!("{} is beyond all time", shortest(v)));
    }
    let millis = ((v * 1e9) as i64).div_euclid(1_000_000);
    let shown = Timestamp::from_millis(millis).to_string().replace('T', " ");
    let shown = shown.trim_end_matches('Z').trim_end_matches('0').trim_end_matches('.');
    // Zeros that were trimmed of the seconds themselves come back.
    let missing = "0000-00-00 00:00:00".len().saturating_sub(shown.len());
    Ok(format!("{shown}{} +0000 UTC", "0".repeat(missing)))
}

fn up(mut v: f64, base: f64, prefixes: [&'static str; 8]) -> (f64, &'static str) {
    let mut prefix = "";
    for next in prefixes {
        if v.abs() < base {
            break;
        }
        (v, prefix) = (v / base, next);
    }
    (v, prefix)
}

fn down(mut v: f64) -> (f64, &'static str) {
    let mut prefix = "";
    for next in SMALL {
        if v.abs() >= 1.0 {
            break;
        }
        (v, prefix) = (v * 1000.0, next);
    }
    (v, prefix)
}
