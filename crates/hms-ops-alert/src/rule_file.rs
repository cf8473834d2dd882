//! Rule files of Prometheus: groups of recording and alerting rules, in YAML.
//!
//! Source: the Prometheus documentation, "Recording rules" and "Alerting rules". What is accepted is
//! what `promtool check rules` accepts.

use std::collections::BTreeMap;
use std::time::Duration;

use hms_ops_core::labels::NAME;
pub use hms_ops_core::yaml::fields::{Complaint, FileError};
use hms_ops_core::yaml::fields::{Field, Source};

use crate::template::Template;

/// What one file says.
///
/// ```
/// use hms_ops_alert::rule_file::{Kind, RuleFile};
///
/// let text = "groups:\n- name: up\n  rules:\n  - alert: Down\n    expr: up == 0\n    for: 5m\n";
/// let file = RuleFile::parse("rules.yml", text, &|_query| Ok(()))?;
/// let rule = &file.groups[0].rules[0];
/// assert_eq!((&*rule.name, &*rule.expr), ("Down", "up == 0"));
/// assert!(matches!(rule.kind, Kind::Alert { .. }));
/// # Ok::<(), hms_ops_alert::rule_file::FileError>(())
/// ```
#[derive(Clone, Debug)]
pub struct RuleFile {
    /// In the order of the file.
    pub groups: Vec<Group>,
    /// What is likely a mistake.
    pub warnings: Vec<Complaint>,
}

/// Rules that are evaluated one after the other, each seeing what those before it recorded.
#[derive(Clone, Debug)]
pub struct Group {
    /// Unique in its file.
    pub name: String,
    /// How often to evaluate, where the group says it.
    pub interval: Option<Duration>,
    /// How many series or alerts a rule of it may make.
    pub limit: Option<usize>,
    /// How much earlier than the evaluation the queries are asked.
    pub query_offset: Duration,
    /// In the order of evaluation.
    pub rules: Vec<Rule>,
}

/// One rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Of the metric that it records, or of its alert.
    pub name: String,
    /// The query, in PromQL.
    pub expr: String,
    /// What is added to the labels of each series; of an alert each value is a template.
    pub labels: BTreeMap<String, String>,
    /// What it does with the answer.
    pub kind: Kind,
    /// The line on which it begins, from 1.
    pub line: usize,
}

/// What a rule does with the answer to its query.
#[derive(Clone, Debug)]
pub enum Kind {
    /// It stores each series under the name of the rule.
    Record,
    /// It raises an alert for each series.
    Alert {
        /// `for`: how long a series must be in the answer before its alert fires.
        hold: Duration,
        /// `keep_firing_for`: how long an alert goes on firing when its series is gone.
        keep_firing: Duration,
        /// What each of [`Rule::labels`] is expanded from, by name.
        labels: Vec<(String, Template)>,
        /// For people; by name.
        annotations: Vec<(String, Template)>,
    },
}

impl RuleFile {
    /// Reads a file; `name` is for messages. `check` says what is wrong with a query.
    ///
    /// # Errors
    ///
    /// [`FileError`] at the first mistake, with file, line and key.
    pub fn parse(
        name: &str,
        text: &str,
        check: &dyn Fn(&str) -> Result<(), String>,
    ) -> Result<Self, FileError> {
        let source = Source::new(name);
        let document = source.parse(text)?;
        let mut fields = source.root(&document, "the file").fields()?;
        let mut groups: Vec<Group> = Vec::new();
        for item in fields.items("groups")? {
            let group = group(&item, check)?;
            if groups.iter().any(|other| other.name == group.name) {
                let reason = format!("another group is called {:?} already", group.name);
                return Err(item.error(reason));
            }
            groups.push(group);
        }
        fields.end()?;
        let warnings = repeated(name, &groups);
        Ok(Self { groups, warnings })
    }
}

fn group(item: &Field<'_>, check: &dyn Fn(&str) -> Result<(), String>) -> Result<Group, FileError> {
    let mut fields = item.fields()?;
    let name = fields.text("name")?.unwrap_or_default().to_owned();
    if name.is_empty() {
        return Err(item.error("a group needs a name"));
    }
    let interval = fields.duration("interval")?.filter(|interval| !interval.is_zero());
    let query_offset = fields.duration("query_offset")?.unwrap_or_default();
    let limit = fields.get("limit").map(|field| field.number::<i64>()).transpose()?;
    let limit = limit.and_then(|limit| usize::try_from(limit).ok()).filter(|limit| *limit > 0);
    let labels = fields.get("labels").map(|field| labels(&field)).transpose()?.unwrap_or_default();
    let rules = fields.items("rules")?;
    let rules = rules.iter().map(|item| rule(item, &labels, check)).collect::<Result<_, _>>()?;
    fields.end()?;
    Ok(Group { name, interval, limit, query_offset, rules })
}

fn rule(
    item: &Field<'_>,
    of_group: &BTreeMap<String, String>,
    check: &dyn Fn(&str) -> Result<(), String>,
) -> Result<Rule, FileError> {
    let mut fields = item.fields()?;
    let named = |field: Option<Field<'_>>| -> Result<Option<(String, usize)>, FileError> {
        let Some(field) = field else { return Ok(None) };
        Ok(Some((field.text()?.to_owned(), field.line())).filter(|(name, _)| !name.is_empty()))
    };
    let record = fields.get("record");
    let (recorded, alert) = (named(record.clone())?, named(fields.get("alert"))?);
    let is_alert = alert.is_some();
    let name = match (recorded, alert) {
        (Some((name, _)), None) | (None, Some((name, _))) => name,
        (Some(_), Some(_)) => return Err(item.error("a rule has `record` or `alert`, not both")),
        (None, None) => return Err(item.error("a rule needs `record` or `alert`")),
    };
    let Some(expr) = fields.get("expr") else {
        return Err(item.error(format!("the rule {name} needs `expr`")));
    };
    check(expr.text()?).map_err(|reason| expr.error(reason))?;
    let expr = expr.text()?.to_owned();
    let mut all = of_group.clone();
    let own = fields.get("labels");
    all.extend(own.as_ref().map(labels).transpose()?.unwrap_or_default());

    let hold = fields.get("for");
    let keep_firing = fields.get("keep_firing_for");
    let annotations = fields.get("annotations");
    let kind = if is_alert {
        let duration = |field: Option<Field<'_>>| field.map(|field| field.duration()).transpose();
        Kind::Alert {
            hold: duration(hold)?.unwrap_or_default(),
            keep_firing: duration(keep_firing)?.unwrap_or_default(),
            labels: all
                .iter()
                .map(|(name, text)| match Template::parse(text) {
                    Ok(template) => Ok((name.clone(), template)),
                    Err(error) => {
                        let at = own.as_ref().unwrap_or(item);
                        Err(at.error(format!("{name}: {error}")))
                    }
                })
                .collect::<Result<_, _>>()?,
            annotations: annotations.map_or_else(|| Ok(Vec::new()), |field| templates(&field))?,
        }
    } else {
        let says = |field: &Field<'_>| Ok::<_, FileError>(!field.duration()?.is_zero());
        for field in [hold, keep_firing].into_iter().flatten() {
            if says(&field)? {
                return Err(field.at_key("is for alerts, and this rule records"));
            }
        }
        if let Some(field) = annotations.filter(|field| field.map().is_ok_and(|m| !m.is_empty())) {
            return Err(field.at_key("are for alerts, and this rule records"));
        }
        if let Some(field) = record.filter(|_| !is_name(&name, true)) {
            return Err(field.error(format!("{name:?} is no name of a metric")));
        }
        Kind::Record
    };
    fields.end()?;
    Ok(Rule { name, expr, labels: all, kind, line: item.line() })
}

fn labels(field: &Field<'_>) -> Result<BTreeMap<String, String>, FileError> {
    let mut all = BTreeMap::new();
    for (name, value) in field.map()? {
        if !is_name(&name, false) || name == NAME {
            return Err(value.error(format!("{name:?} is no name of a label")));
        }
        all.insert(name, value.text()?.to_owned());
    }
    Ok(all)
}

fn templates(field: &Field<'_>) -> Result<Vec<(String, Template)>, FileError> {
    let each = |(name, value): (String, Field<'_>)| {
        if !is_name(&name, false) {
            return Err(value.error(format!("{name:?} is no name of an annotation")));
        }
        let template = Template::parse(value.text()?).map_err(|e| value.error(e.to_string()))?;
        Ok((name, template))
    };
    field.map()?.into_iter().map(each).collect()
}

fn is_name(name: &str, of_metric: bool) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || (of_metric && c == ':');
    !name.is_empty() && name.chars().all(fits) && !name.starts_with(|c: char| c.is_ascii_digit())
}

/// Rules whose series or alerts cannot be told apart.
fn repeated(file: &str, groups: &[Group]) -> Vec<Complaint> {
    let mut first: BTreeMap<(&str, &BTreeMap<String, String>), usize> = BTreeMap::new();
    let mut warnings = Vec::new();
    for rule in groups.iter().flat_map(|group| &group.rules) {
        let line = *first.entry((&rule.name, &rule.labels)).or_insert(rule.line);
        if line != rule.line {
            warnings.push(Complaint {
                file: file.to_owned(),
                line: rule.line,
                key: rule.name.clone(),
                reason: format!("the rule on line {line} has the same name and labels"),
            });
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<RuleFile, String> {
        let check = |query: &str| match query {
            "up +" => Err("unexpected end of input".to_owned()),
            _ => Ok(()),
        };
        RuleFile::parse("r.yml", text, &check).map_err(|error| error.to_string())
    }

    fn rule(text: &str) -> String {
        let indented = text.replace('\n', "\n    ");
        read(&format!("groups:\n- name: g\n  rules:\n  - {indented}")).unwrap_err()
    }

    #[test]
    fn a_group_and_its_rules_are_read_with_all_that_they_say() {
        let text = "groups:\n- name: g\n  interval: 30s\n  limit: 5\n  query_offset: 1m\n  \
                    labels: {team: a, tier: b}\n  rules:\n  - record: a:b\n    expr: 1\n  \
                    - alert: X\n    expr: up\n    for: 1h30m\n    keep_firing_for: 2m\n    \
                    labels: {tier: c}\n    annotations: {summary: s}\n";
        let file = read(text).unwrap();
        let group = &file.groups[0];
        let secs = Duration::from_secs;
        assert_eq!((group.interval, group.limit), (Some(secs(30)), Some(5)));
        assert_eq!(group.query_offset, secs(60));
        assert!(matches!(group.rules[0].kind, Kind::Record));
        assert_eq!((&*group.rules[0].expr, group.rules[0].line), ("1", 8));
        let Kind::Alert { hold, keep_firing, labels, annotations } = &group.rules[1].kind else {
            panic!("no alert");
        };
        assert_eq!((*hold, *keep_firing), (secs(5400), secs(120)));
        assert_eq!(group.rules[1].labels["tier"], "c");
        assert_eq!((labels.len(), annotations.len()), (2, 1));
    }

    #[test]
    fn an_empty_file_has_no_rules() {
        assert!(read("").unwrap().groups.is_empty());
        assert!(read("groups:\n").unwrap().groups.is_empty());
    }

    #[test]
    fn a_mistake_is_told_with_file_line_and_key() {
        for (text, error) in [
            ("expr: up", "r.yml:4: rules: a rule needs `record` or `alert`"),
            (
                "alert: a\nrecord: b\nexpr: up",
                "r.yml:4: rules: a rule has `record` or `alert`, not both",
            ),
            ("alert: a", "r.yml:4: rules: the rule a needs `expr`"),
            ("alert: a\nexpr: up +", "r.yml:5: expr: unexpected end of input"),
            (
                "alert: a\nexpr: up\nfor: 5 min",
                "r.yml:6: for: \"5 min\" is not a duration such as 15s or 1h30m",
            ),
            ("record: a\nexpr: up\nfor: 5m", "r.yml:6: for: is for alerts, and this rule records"),
            (
                "record: a\nexpr: up\nannotations: {b: c}",
                "r.yml:6: annotations: are for alerts, and this rule records",
            ),
            ("record: a-b\nexpr: up", "r.yml:4: record: \"a-b\" is no name of a metric"),
            (
                "record: a\nexpr: up\nlabels: {__name__: b}",
                "r.yml:6: __name__: \"__name__\" is no name of a label",
            ),
            (
                "alert: a\nexpr: up\nannotations: {a-b: c}",
                "r.yml:6: a-b: \"a-b\" is no name of an annotation",
            ),
            ("alert: a\nexpr: up\nlabel: {}", "r.yml:6: label: is not a key that is known here"),
        ] {
            assert_eq!(rule(text), error);
        }
        let twice = "groups:\n- name: g\n- name: g\n";
        assert_eq!(
            read(twice).unwrap_err(),
            "r.yml:3: groups: another group is called \"g\" already"
        );
        assert_eq!(
            read("groups:\n- rules: []\n").unwrap_err(),
            "r.yml:2: groups: a group needs a name"
        );
    }

    #[test]
    fn rules_that_cannot_be_told_apart_are_warned_about() {
        let text = "groups:\n- name: g\n  rules:\n  - {alert: a, expr: up}\n  - {alert: a, expr: up, labels: {b: c}}\n  - {alert: a, expr: down}\n";
        let warnings = read(text).unwrap().warnings;
        assert_eq!(warnings.len(), 1);
        assert_eq!(
            warnings[0].to_string(),
            "r.yml:6: a: the rule on line 4 has the same name and labels"
        );
    }
}
