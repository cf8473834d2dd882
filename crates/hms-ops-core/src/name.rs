//! Names: how a metric is stored, and what services and clusters are called.

use std::borrow::{Borrow, Cow};
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The name under which a metric is stored, exposed and queried: dots and every other character
/// outside `[a-zA-Z0-9_:]` become `_`, and a leading digit gets one in front.
///
/// This is the one function that does so; an alert or a runbook bound to either spelling meets the
/// same metric.
///
/// ```
/// use hms_ops_core::name::stored_name;
///
/// assert_eq!(stored_name("eligibility.latency_ms"), "eligibility_latency_ms");
/// assert_eq!(stored_name("5xx"), "_5xx");
/// ```
pub fn stored_name(name: &str) -> Cow<'_, str> {
    let fits = |i: usize, c: char| {
        c.is_ascii_alphabetic() || c == '_' || c == ':' || (i > 0 && c.is_ascii_digit())
    };
    if !name.is_empty() && name.chars().enumerate().all(|(i, c)| fits(i, c)) {
        return Cow::Borrowed(name);
    }
    let mut out = String::with_capacity(name.len() + 1);
    if !name.starts_with(|c: char| !c.is_ascii_digit()) {
        out.push('_');
    }
    out.extend(name.chars().map(|c| if fits(1, c) { c } else { '_' }));
    Cow::Owned(out)
}

/// The name under which a label is stored: as [`stored_name`], without `:`, and with `label_` before
/// a name that has a meaning of its own (`le`, `quantile`, and those that begin with `__`).
///
/// ```
/// use hms_ops_core::name::stored_label;
///
/// assert_eq!(stored_label("http:route"), "http_route");
/// assert_eq!(stored_label("le"), "label_le");
/// ```
pub fn stored_label(name: &str) -> Cow<'_, str> {
    let stored = match stored_name(name) {
        name if name.contains(':') => Cow::Owned(name.replace(':', "_")),
        name => name,
    };
    let reserved = matches!(&*stored, "le" | "quantile") || stored.starts_with("__");
    if reserved { Cow::Owned(format!("label_{stored}")) } else { stored }
}

/// Whether two spellings name the same metric, alert or binding.
pub fn same_name(a: &str, b: &str) -> bool {
    a == b || stored_name(a) == stored_name(b)
}

/// Unit of a metric, read off the end of its name; the unit of its budget and of
/// `record_duration`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// `…_ms`, `…_milliseconds`.
    Milliseconds,
    /// `…_seconds`.
    Seconds,
    /// Any other name.
    None,
}

impl Unit {
    /// The unit that the name of a metric states.
    pub fn of(name: &str) -> Self {
        let last = name.rsplit(['_', '.']).next().unwrap_or(name);
        match last {
            "ms" | "milliseconds" => Self::Milliseconds,
            "seconds" => Self::Seconds,
            _ => Self::None,
        }
    }

    /// The short symbol: `ms`, `s`, or nothing.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Milliseconds => "ms",
            Self::Seconds => "s",
            Self::None => "",
        }
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $type(Arc<str>);

        impl $type {
            /// Takes the name as it is; compared byte by byte.
            pub fn new(name: impl Into<Arc<str>>) -> Self {
                Self(name.into())
            }

            /// The name.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl<T: Into<Arc<str>>> From<T> for $type {
            fn from(name: T) -> Self {
                Self(name.into())
            }
        }

        impl Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
    };
}

name! {
    /// What people depend on and alerts belong to: `eligibility-svc`. The label `service`.
    Service
}

name! {
    /// One place that runs a service: `cluster-a`. The label `cluster`.
    Cluster
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_dots_is_stored_with_underscores() {
        assert_eq!(stored_name("http.server-latency/ms"), "http_server_latency_ms");
        assert_eq!(stored_name(""), "_");
        assert_eq!(stored_name("größe"), "gr__e");
        assert!(matches!(stored_name("up"), Cow::Borrowed("up")));
    }

    #[test]
    fn a_label_never_takes_a_name_that_has_a_meaning_of_its_own() {
        for (name, stored) in [
            ("le", "label_le"),
            ("quantile", "label_quantile"),
            ("__name__", "label___name__"),
            (":_name__", "label___name__"),
            (".:", "label___"),
            ("http:route", "http_route"),
            ("", "_"),
        ] {
            assert_eq!(stored_label(name), stored, "{name}");
        }
        assert!(matches!(stored_label("state"), Cow::Borrowed("state")));
    }

    #[test]
    fn both_spellings_are_the_same_name() {
        assert!(same_name("eligibility.latency_ms", "eligibility_latency_ms"));
        assert!(!same_name("eligibility.latency_ms", "eligibility.latency"));
    }

    #[test]
    fn the_unit_is_read_off_the_end_of_the_name() {
        assert_eq!(Unit::of("eligibility.latency_ms"), Unit::Milliseconds);
        assert_eq!(Unit::of("http_request_duration_seconds"), Unit::Seconds);
        assert_eq!(Unit::of("claims"), Unit::None);
        assert_eq!(Unit::of("alarms"), Unit::None);
    }
}
