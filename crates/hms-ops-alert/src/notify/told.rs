//! An alert as Alertmanager tells it: labels, annotations, and when it was.
//!
//! Source: Alertmanager 0.25, `api/v2/openapi.yaml`; its docs, "Configuration", `<webhook_config>`.

use std::collections::BTreeMap;

use hms_ops_core::alert::{AlertState, AlertStatus};
use hms_ops_core::labels::SERVICE;
use hms_ops_core::name::stored_label;
use hms_ops_core::time::Timestamp;

/// Labels by the names that Alertmanager takes, with the alert's own name and its service.
pub(super) fn labels(alert: &AlertStatus) -> BTreeMap<String, String> {
    let own = alert.labels.iter().filter(|(_, value)| !value.is_empty());
    let mut labels: BTreeMap<_, _> =
        own.map(|(name, value)| (stored_label(name).into_owned(), value.to_owned())).collect();
    if let Some(service) = &alert.service {
        labels.entry(SERVICE.to_owned()).or_insert_with(|| service.to_string());
    }
    labels.insert("alertname".to_owned(), alert.name.clone());
    labels
}

/// What may change while the alert stays the same.
pub(super) fn annotations(alert: &AlertStatus) -> BTreeMap<&'static str, String> {
    let number = |name, value: Option<f64>| value.map(|value| (name, value.to_string()));
    let numbers = [number("value", alert.value), number("threshold", alert.threshold)];
    let summary = [("summary", alert.summary.clone())];
    let all = summary.into_iter().filter(|(_, text)| !text.is_empty());
    all.chain(numbers.into_iter().flatten()).collect()
}

/// When it fired, and when it was over if it is.
pub(super) fn span(alert: &AlertStatus, told_at: Timestamp) -> (Timestamp, Option<Timestamp>) {
    match alert.state {
        AlertState::Firing { since } => (since, None),
        AlertState::Recovering { firing_since, .. } => (firing_since, None),
        AlertState::Resolved { firing_since, at } => (firing_since, Some(at)),
        AlertState::Pending { .. } | AlertState::Inactive => (told_at, None),
    }
}

/// `text` of at most `bytes`, with an ellipsis in the place of the rest.
pub(super) fn cut(text: &str, bytes: usize) -> String {
    if text.len() <= bytes {
        return text.to_owned();
    }
    format!("{}…", &text[..text.floor_char_boundary(bytes.saturating_sub('…'.len_utf8()))])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(cut("größe", 7), "größe");
        assert_eq!(cut("größe", 6), "gr…");
        assert_eq!(cut("größe", 0), "…");
    }
}
