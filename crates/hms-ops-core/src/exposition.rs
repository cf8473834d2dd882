//! Writes a registry as `/metrics`: Prometheus text 0.0.4, or OpenMetrics 1.0.

use std::fmt::{self, Write};

use crate::labels::{Escaped, Labels};
use crate::registry::{FamilySnapshot, HistogramPoint, Kind, Point};

/// The format of an exposition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text 0.0.4.
    Text,
    /// OpenMetrics text 1.0.
    OpenMetrics,
}

impl Format {
    /// The format for an `Accept` header: OpenMetrics where it is named, else text.
    pub fn accepted(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") { Self::OpenMetrics } else { Self::Text }
    }

    /// The `Content-Type` of the format.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Writes all families.
///
/// In OpenMetrics a counter's name must end in `_total`, and what is before that must not be another
/// family; a counter of another name is written as `unknown`, so that it has the same name in both
/// formats.
///
/// ```
/// use hms_ops_core::{exposition::{encode, Format}, registry::Registry};
///
/// let registry = Registry::new();
/// registry.counter("claims_total").increment(2);
/// let text = encode(&registry.snapshot(), Format::Text);
/// assert_eq!(text, "# TYPE claims_total counter\nclaims_total 2\n");
/// ```
pub fn encode(families: &[FamilySnapshot], format: Format) -> String {
    let mut out = String::with_capacity(4096);
    let unknown = |name: &str| {
        let taken = |stem: &str| families.iter().any(|family| *family.name == *stem);
        name.strip_suffix("_total").is_none_or(taken)
    };
    for family in families {
        let open_counter =
            format == Format::OpenMetrics && family.kind == Kind::Counter && unknown(&family.name);
        let kind = if open_counter { "unknown" } else { family.kind.word() };
        write_family(&mut out, family, kind, format).expect("a String takes every write");
    }
    if format == Format::OpenMetrics {
        out.push_str("# EOF\n");
    }
    out
}

fn write_family(
    out: &mut String,
    family: &FamilySnapshot,
    kind: &str,
    format: Format,
) -> fmt::Result {
    let name = &*family.name;
    let described = match (format, kind) {
        (Format::OpenMetrics, "counter") => name.strip_suffix("_total").unwrap_or(name),
        _ => name,
    };
    if let Some(help) = &family.help {
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        let help = if format == Format::OpenMetrics { help.replace('"', "\\\"") } else { help };
        writeln!(out, "# HELP {described} {help}")?;
    }
    writeln!(out, "# TYPE {described} {kind}")?;
    for (labels, point) in &family.series {
        match point {
            Point::Number(v) => write_sample(out, name, "", labels, None, *v)?,
            Point::Histogram(h) => write_histogram(out, name, labels, h)?,
        }
    }
    Ok(())
}

fn write_histogram(
    out: &mut String,
    name: &str,
    labels: &Labels,
    h: &HistogramPoint,
) -> fmt::Result {
    let mut cumulative = 0;
    let edges = h.edges.iter().copied().chain([f64::INFINITY]);
    for (edge, count) in edges.zip(&h.counts) {
        cumulative += count;
        write_sample(out, name, "_bucket", labels, Some(edge), cumulative as f64)?;
    }
    write_sample(out, name, "_sum", labels, None, h.sum)?;
    write_sample(out, name, "_count", labels, None, cumulative as f64)
}

fn write_sample(
    out: &mut String,
    name: &str,
    suffix: &str,
    labels: &Labels,
    le: Option<f64>,
    value: f64,
) -> fmt::Result {
    write!(out, "{name}{suffix}")?;
    let mut open = '{';
    for (name, value) in labels.iter() {
        write!(out, "{open}{name}=\"{}\"", Escaped(value))?;
        open = ',';
    }
    if let Some(le) = le {
        write!(out, "{open}le=\"{}\"", Number(le))?;
        open = ',';
    }
    if open == ',' {
        out.push('}');
    }
    writeln!(out, " {}", Number(value))
}

/// A value of the label `le`, in the form that stores know: `300`, `0.5`, `+Inf`.
pub fn edge_label(edge: f64) -> String {
    Number(edge).to_string()
}

struct Number(f64);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            v if v == f64::INFINITY => f.write_str("+Inf"),
            v if v == f64::NEG_INFINITY => f.write_str("-Inf"),
            v if v.is_nan() => f.write_str("NaN"),
            // Display of f64 never uses an exponent; a huge one would be hundreds of digits.
            v if v != 0.0 && !(1e-6..1e21).contains(&v.abs()) => write!(f, "{v:e}"),
            v => write!(f, "{v}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Registry;

    #[test]
    fn a_histogram_is_cumulative_and_ends_with_infinity() {
        let registry = Registry::new();
        let metric = registry.metric("latency_ms").label("path", "a\"b\n").budget(300.0);
        [299.0, 300.0, 301.0].into_iter().for_each(|v| metric.record(v));
        let text = encode(&registry.snapshot(), Format::Text);
        for line in [
            "# TYPE latency_ms histogram",
            r#"latency_ms_bucket{path="a\"b\n",le="200"} 0"#,
            r#"latency_ms_bucket{path="a\"b\n",le="300"} 2"#,
            r#"latency_ms_bucket{path="a\"b\n",le="400"} 3"#,
            r#"latency_ms_bucket{path="a\"b\n",le="+Inf"} 3"#,
            r#"latency_ms_sum{path="a\"b\n"} 900"#,
            r#"latency_ms_count{path="a\"b\n"} 3"#,
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
        }
    }

    #[test]
    fn a_counter_keeps_its_name_in_both_formats() {
        let registry = Registry::new();
        registry.counter("claims").increment(1);
        registry.counter("claims_total").increment(3);
        registry.counter("paid_total").increment(2);
        let text = encode(&registry.snapshot(), Format::OpenMetrics);
        assert_eq!(
            text,
            "# TYPE claims unknown\nclaims 1\n# TYPE claims_total unknown\nclaims_total 3\n\
             # TYPE paid counter\npaid_total 2\n# EOF\n"
        );
    }

    #[test]
    fn values_print_short_and_never_as_hundreds_of_digits() {
        for (v, text) in
            [(0.1, "0.1"), (1e300, "1e300"), (-1e-9, "-1e-9"), (0.0, "0"), (f64::NAN, "NaN")]
        {
            assert_eq!(Number(v).to_string(), text);
        }
    }
}
