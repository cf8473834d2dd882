//! Rules and alerts in the shapes of Prometheus.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use hms_ops_promql::http::{Failure, Form};
use serde_json::{Value, json};

use super::{Answer, Shared, object, success};
use crate::core::alert::{AlertHealth, AlertState, AlertStatus, RuleInput, RuleSpec};
use crate::core::labels::SERVICE;
use crate::core::name::{Service, same_name, stored_name};
use crate::core::time::Timestamp;

/// What stands where Prometheus names a rule file.
const FILE: &str = "hms-ops";

pub(super) async fn alerts(State(shared): State<Arc<Shared>>) -> Answer {
    let alerts = shared.shown.alerts.borrow();
    let active: Vec<_> = alerts.iter().filter_map(alert).collect();
    success(json!({ "alerts": active }))
}

/// Rules in groups, one for each service; all of them are for alerts.
pub(super) async fn rules(State(shared): State<Arc<Shared>>, form: Form) -> Answer {
    let shown = &shared.shown;
    match form.get("type") {
        "" | "alert" => {}
        "record" => return success(json!({ "groups": [] })),
        other => {
            return Err(Failure::invalid("type", format!("not supported value {other:?}")));
        }
    }
    let with_alerts = match form.get("exclude_alerts") {
        "" | "0" | "f" | "F" | "false" | "FALSE" | "False" => true,
        "1" | "t" | "T" | "true" | "TRUE" | "True" => false,
        other => {
            return Err(Failure::invalid("exclude_alerts", format!("{other:?} is not a boolean")));
        }
    };
    let named = |field: &str, name: &str| {
        let mut wanted = form.all(field).peekable();
        wanted.peek().is_none() || wanted.any(|wanted| wanted == name)
    };
    if !named("file[]", FILE) {
        return success(json!({ "groups": [] }));
    }
    let (specs, alerts) = (shown.rules.borrow(), shown.alerts.borrow());
    let at = shown.clock.now();
    let mut groups: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for known in Known::all(&specs, &alerts) {
        let group = known.service.map_or("hms-ops", Service::as_str);
        if named("rule_group[]", group) && named("rule_name[]", known.name) {
            groups.entry(group).or_default().push(known.rule(at, with_alerts));
        }
    }
    let groups: Vec<_> = groups
        .into_iter()
        .map(|(name, rules)| {
            json!({
                "name": name,
                "file": FILE,
                "rules": rules,
                "interval": 1,
                "limit": 0,
                "evaluationTime": 0,
                "lastEvaluation": at.to_string(),
            })
        })
        .collect();
    success(json!({ "groups": groups }))
}

/// A rule with its alerts.
struct Known<'a> {
    name: &'a str,
    service: Option<&'a Service>,
    spec: Option<&'a RuleSpec>,
    alerts: Vec<&'a AlertStatus>,
}

impl<'a> Known<'a> {
    /// Every rule, and after them the alerts that the engine raises by itself, such as those about
    /// missing data.
    fn all(specs: &'a [RuleSpec], alerts: &'a [AlertStatus]) -> Vec<Self> {
        let mut all: Vec<Self> = specs
            .iter()
            .map(|spec| Self {
                name: &spec.name,
                service: spec.service.as_ref(),
                spec: Some(spec),
                alerts: Vec::new(),
            })
            .collect();
        for alert in alerts {
            let service = alert.service.as_ref();
            let belongs = |rule: &&mut Self| {
                let own = rule.service.is_none() && rule.spec.is_some();
                same_name(rule.name, &alert.name) && (own || rule.service == service)
            };
            match all.iter_mut().find(belongs) {
                Some(rule) => rule.alerts.push(alert),
                None => {
                    all.push(Self { name: &alert.name, service, spec: None, alerts: vec![alert] })
                }
            }
        }
        all
    }

    fn rule(&self, at: Timestamp, with_alerts: bool) -> Value {
        let states = || self.alerts.iter().map(|alert| alert.state);
        let state = match () {
            () if states().any(|state| state.is_active()) => "firing",
            () if states().any(|state| matches!(state, AlertState::Pending { .. })) => "pending",
            () => "inactive",
        };
        let failed = self.alerts.iter().find(|alert| alert.health == AlertHealth::Error);
        let seconds = |of: fn(&RuleSpec) -> f64| self.spec.map_or(0.0, of);
        let mut rule = json!({
            "state": state,
            "name": self.name,
            "query": self.spec.map(query).unwrap_or_default(),
            "duration": seconds(|spec| spec.hold.as_secs_f64()),
            "keepFiringFor": seconds(|spec| spec.recover.as_secs_f64()),
            "labels": self.service.map(|s| json!({ SERVICE: s.as_str() })).unwrap_or(json!({})),
            "annotations": {},
            "alerts": [],
            "health": match (failed, self.alerts.as_slice()) {
                (Some(_), _) => "err",
                (None, []) => "unknown",
                _ => "ok",
            },
            "evaluationTime": 0,
            "lastEvaluation": at.to_string(),
            "type": "alerting",
        });
        if let Some(failed) = failed {
            rule["lastError"] = failed.summary.clone().into();
        }
        if with_alerts {
            rule["alerts"] = self.alerts.iter().filter_map(|status| alert(status)).collect();
        }
        rule
    }
}

/// The query of a rule, or what it reads.
fn query(spec: &RuleSpec) -> String {
    let inputs = spec.inputs.iter().map(|input| match input {
        RuleInput::Query { query, .. } => query.clone(),
        RuleInput::Events { metric, matchers } => {
            let name = format!("__name__=~\"{}_(count|sum)\"", stored_name(metric));
            let all = [name].into_iter().chain(matchers.iter().map(ToString::to_string));
            format!("{{{}}}", all.collect::<Vec<_>>().join(","))
        }
        RuleInput::Counts { total, part, .. } => {
            let sides = [total, part].into_iter().filter(|side| !side.is_empty()).map(|side| {
                format!(
                    "{{{}}}",
                    side.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
                )
            });
            sides.collect::<Vec<_>>().join(" or ")
        }
    });
    inputs.collect::<Vec<_>>().join(" or ")
}

/// An alert that somebody might care about. One that recovers is kept firing.
fn alert(alert: &AlertStatus) -> Option<Value> {
    let (state, active, kept) = match alert.state {
        AlertState::Pending { since } => ("pending", since, None),
        AlertState::Firing { since } => ("firing", since, None),
        AlertState::Recovering { firing_since, since } => ("firing", firing_since, Some(since)),
        AlertState::Inactive | AlertState::Resolved { .. } => return None,
    };
    let mut labels = object(&alert.labels);
    labels["alertname"] = alert.name.as_str().into();
    if let Some(service) = &alert.service {
        labels[SERVICE] = service.as_str().into();
    }
    let mut shown = json!({
        "labels": labels,
        "annotations": { "summary": alert.summary },
        "state": state,
        "activeAt": active.to_string(),
        "value": alert.value.map(scientific).unwrap_or_default(),
    });
    if let Some(kept) = kept {
        shown["keepFiringSince"] = kept.to_string().into();
    }
    Some(shown)
}

/// `1.5e+02`: Go's `%e` with the shortest digits.
fn scientific(v: f64) -> String {
    if !v.is_finite() {
        return if v.is_nan() {
            "NaN"
        } else if v > 0.0 {
            "+Inf"
        } else {
            "-Inf"
        }
        .to_owned();
    }
    let text = format!("{v:e}");
    let (mantissa, power) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = power.strip_prefix('-').map_or(('+', power), |digits| ('-', digits));
    format!("{mantissa}e{sign}{digits:0>2}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::core::alert::Fingerprint;
    use crate::core::labels::Labels;
    use crate::core::matcher::Matcher;

    fn spec(name: &str, service: Option<&str>, input: RuleInput) -> RuleSpec {
        RuleSpec {
            name: name.to_owned(),
            service: service.map(Service::from),
            inputs: vec![input],
            hold: Duration::from_secs(120),
            recover: Duration::from_secs(60),
        }
    }

    fn status(name: &str, service: &str, state: AlertState) -> AlertStatus {
        let labels = Labels::from_pairs([("service", service), ("cluster", "c")]);
        AlertStatus {
            name: name.to_owned(),
            fingerprint: Fingerprint::of(name, &labels),
            service: Some(service.into()),
            labels,
            state,
            health: AlertHealth::Ok,
            value: Some(312.5),
            threshold: Some(300.0),
            summary: "slow".to_owned(),
        }
    }

    #[test]
    fn an_alert_stands_with_its_rule_and_one_that_recovers_still_fires() {
        let at = Timestamp::from_millis;
        let matchers = vec![Matcher::equal("service", "claims")];
        let events = RuleInput::Events { metric: "claims.latency_ms".into(), matchers };
        let query = RuleInput::Query { query: "up == 0".into(), every: Duration::from_secs(15) };
        let specs = [spec("claims.latency_ms", Some("claims"), events), spec("Down", None, query)];
        let alerts = [
            status(
                "claims_latency_ms",
                "claims",
                AlertState::Recovering { firing_since: at(1000), since: at(2000) },
            ),
            status("Down", "other", AlertState::Pending { since: at(3000) }),
            status("Down.no_data", "other", AlertState::Firing { since: at(0) }),
            status("Down", "third", AlertState::Inactive),
        ];
        let rules: Vec<_> =
            Known::all(&specs, &alerts).iter().map(|r| r.rule(at(5), true)).collect();
        assert_eq!(
            rules[0]["query"],
            r#"{__name__=~"claims_latency_ms_(count|sum)",service="claims"}"#
        );
        assert_eq!(rules[0]["state"], "firing");
        assert_eq!(
            (&rules[0]["duration"], &rules[0]["keepFiringFor"]),
            (&120.0.into(), &60.0.into())
        );
        assert_eq!(
            rules[0]["alerts"],
            json!([{
                "labels": {"alertname": "claims_latency_ms", "cluster": "c", "service": "claims"},
                "annotations": {"summary": "slow"},
                "state": "firing",
                "activeAt": "1970-01-01T00:00:01.000Z",
                "keepFiringSince": "1970-01-01T00:00:02.000Z",
                "value": "3.125e+02",
            }])
        );
        let states: Vec<_> = rules.iter().map(|rule| (&rule["name"], &rule["state"])).collect();
        assert_eq!(
            states,
            [
                (&"claims.latency_ms".into(), &"firing".into()),
                (&"Down".into(), &"pending".into()),
                (&"Down.no_data".into(), &"firing".into()),
            ]
        );
        assert_eq!(rules[1]["alerts"].as_array().unwrap().len(), 1, "an inactive one is none");
        assert_eq!(rules[1]["query"], "up == 0");
    }

    #[test]
    fn a_value_has_an_exponent_as_go_writes_it() {
        for (v, text) in [
            (0.0, "0e+00"),
            (312.5, "3.125e+02"),
            (1e-7, "1e-07"),
            (1e100, "1e+100"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(scientific(v), text);
        }
    }
}
