//! What a registry exposes, the collector reads, whatever its metrics and labels are called.

use hms_ops_collect::exposition::{Event, Exposition, Format};
use hms_ops_core::exposition::encode;
use hms_ops_core::registry::Registry;
use metrics::Label;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// Names that mean something to a store, or that no format allows.
fn name() -> impl Strategy<Value = String> {
    let odd = vec![
        "",
        "5xx",
        "a.b",
        "a:b",
        "le",
        "quantile",
        "__name__",
        ":_name__",
        "größe",
        "\"} 1\n# EOF",
    ];
    prop_oneof![select(odd).prop_map(str::to_owned), ".{0,4}"]
}

fn value() -> impl Strategy<Value = String> {
    let odd = vec!["", "\\", "\"", "\n", "\r\n", "\0", "\u{feff}", "\",le=\"1", "\"} 1\n# EOF\n"];
    prop_oneof![select(odd).prop_map(str::to_owned), ".{0,4}"]
}

proptest! {
    #[test]
    fn no_name_label_or_help_makes_a_registry_unreadable(
        metrics in vec((name(), vec((name(), value()), 0..4), value(), 0..6_u8), 0..6),
    ) {
        let registry = Registry::new();
        for (name, labels, help, kind) in &metrics {
            record(&registry, name, labels, *kind);
            registry.describe(name, help);
        }
        let families = registry.snapshot();
        for format in [Format::Text, Format::OpenMetrics] {
            let text = encode(&families, format);
            let read: Result<Vec<_>, _> =
                Exposition::new(text.as_bytes(), format).unwrap().collect();
            let events = read.map_err(|error| TestCaseError::fail(format!("{error} in\n{text}")))?;
            let types = events.iter().filter(|event| matches!(event, Event::Type { .. })).count();
            prop_assert_eq!(types, families.len(), "{}", text);
        }
    }
}

/// Records one value, through the registry's own types or through the macros of `metrics`.
fn record(registry: &Registry, name: &str, labels: &[(String, String)], kind: u8) {
    macro_rules! own {
        ($metric:expr) => {
            labels.iter().fold($metric, |metric, (name, value)| metric.label(name, value))
        };
    }
    let pairs = || labels.iter().map(|(k, v)| Label::new(k.clone(), v.clone())).collect::<Vec<_>>();
    let name_of = || name.to_owned();
    match kind {
        0 => own!(registry.counter(name)).increment(1),
        1 => own!(registry.gauge(name)).set(f64::NEG_INFINITY),
        2 => own!(registry.metric(name)).record(7.0),
        _ => metrics::with_local_recorder(registry, || match kind {
            3 => metrics::counter!(name_of(), pairs()).increment(1),
            4 => metrics::gauge!(name_of(), pairs()).set(f64::NAN),
            _ => metrics::histogram!(name_of(), pairs()).record(7.0),
        }),
    }
}
