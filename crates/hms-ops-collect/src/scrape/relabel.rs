//! Relabelling: rules that keep, drop and rewrite label sets, as Prometheus applies them.
//!
//! Source: the Prometheus documentation, "Configuration", `relabel_config`.

use std::collections::BTreeMap;

use hms_ops_core::labels::Labels;
use md5::{Digest, Md5};
use regex::{Captures, Regex};

/// What a rule reads unless it says otherwise.
const ANYTHING: &str = "(.*)";
/// What it puts between values unless it says otherwise.
const SEPARATOR: &str = ";";
/// What it writes unless it says otherwise.
const REPLACEMENT: &str = "$1";

/// One step of relabelling.
///
/// ```
/// use hms_ops_collect::scrape::relabel::{Rule, relabel};
/// use hms_ops_core::labels::Labels;
///
/// let rule = Rule::new("replace")?
///     .source_labels(["__address__"])
///     .regex("([^:]+):.*")?
///     .target_label("host")
///     .check()?;
/// let labels = Labels::from_pairs([("__address__", "db-1:9100")]);
/// let labels = relabel(&[rule], &labels).unwrap();
/// assert_eq!(labels.get("host"), Some("db-1"));
/// # Ok::<(), hms_ops_collect::scrape::relabel::RuleError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Rule {
    action: Action,
    source_labels: Option<Vec<String>>,
    separator: Option<String>,
    pattern: Option<String>,
    regex: Regex,
    modulus: Option<u64>,
    target_label: String,
    replacement: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Replace,
    Keep,
    Drop,
    KeepEqual,
    DropEqual,
    HashMod,
    LabelMap,
    LabelDrop,
    LabelKeep,
    Lowercase,
    Uppercase,
}

const ACTIONS: [(&str, Action); 11] = [
    ("replace", Action::Replace),
    ("keep", Action::Keep),
    ("drop", Action::Drop),
    ("keepequal", Action::KeepEqual),
    ("dropequal", Action::DropEqual),
    ("hashmod", Action::HashMod),
    ("labelmap", Action::LabelMap),
    ("labeldrop", Action::LabelDrop),
    ("labelkeep", Action::LabelKeep),
    ("lowercase", Action::Lowercase),
    ("uppercase", Action::Uppercase),
];

/// Why a rule cannot be one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each message explains its fields")]
pub enum RuleError {
    /// There is no such action.
    #[error("{action:?} is not an action of relabelling")]
    Action { action: String },

    /// The pattern cannot be read.
    #[error("{pattern:?} is not a regular expression")]
    Pattern { pattern: String, source: regex::Error },

    /// The action needs what the rule does not say.
    #[error("{action} needs {what}")]
    Missing { action: &'static str, what: &'static str },

    /// The rule says what the action has no use for.
    #[error("{action} has no use for {what}")]
    Useless { action: &'static str, what: &'static str },
}

impl Rule {
    /// A rule that does `action`, one of Prometheus' names in any case, with the defaults for all
    /// else: every value, `;` between them, and `$1` in their place.
    ///
    /// # Errors
    ///
    /// [`RuleError::Action`].
    pub fn new(action: &str) -> Result<Self, RuleError> {
        let known = ACTIONS.iter().find(|(name, _)| action.eq_ignore_ascii_case(name));
        let Some((_, action)) = known else {
            return Err(RuleError::Action { action: action.to_owned() });
        };
        Ok(Self {
            action: *action,
            source_labels: None,
            separator: None,
            pattern: None,
            regex: anchored(ANYTHING)?,
            modulus: None,
            target_label: String::new(),
            replacement: None,
        })
    }

    /// Reads the values of these labels; of one that is absent, nothing.
    #[must_use]
    pub fn source_labels<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.source_labels = Some(names.into_iter().map(N::into).collect());
        self
    }

    /// Puts this between the values.
    #[must_use]
    pub fn separator(mut self, separator: &str) -> Self {
        self.separator = Some(separator.to_owned());
        self
    }

    /// Acts where this fits the whole of what was read; `.` is any character.
    ///
    /// # Errors
    ///
    /// [`RuleError::Pattern`].
    pub fn regex(mut self, pattern: &str) -> Result<Self, RuleError> {
        self.regex = anchored(pattern)?;
        self.pattern = Some(pattern.to_owned());
        Ok(self)
    }

    /// Divides the hash by this.
    #[must_use]
    pub fn modulus(mut self, modulus: u64) -> Self {
        self.modulus = Some(modulus);
        self
    }

    /// Writes to this label; `replace` may name it by groups of the pattern, such as `${1}_seen`.
    #[must_use]
    pub fn target_label(mut self, name: &str) -> Self {
        self.target_label = name.to_owned();
        self
    }

    /// Writes this, with groups of the pattern as `$1` or `${1}`.
    #[must_use]
    pub fn replacement(mut self, replacement: &str) -> Self {
        self.replacement = Some(replacement.to_owned());
        self
    }

    /// The rule, if it says what its action needs and nothing that the action would not heed.
    ///
    /// # Errors
    ///
    /// [`RuleError::Missing`] or [`RuleError::Useless`].
    pub fn check(self) -> Result<Self, RuleError> {
        use Action::{
            DropEqual, HashMod, KeepEqual, LabelDrop, LabelKeep, LabelMap, Lowercase, Replace,
            Uppercase,
        };
        let action = self.action;
        let name = ACTIONS.iter().find(|(_, known)| *known == action).map_or("", |(name, _)| name);
        let writes = [Replace, HashMod, Lowercase, Uppercase, KeepEqual, DropEqual];
        if writes.contains(&action) && self.target_label.is_empty() {
            return Err(RuleError::Missing { action: name, what: "target_label" });
        }
        if action == HashMod && self.modulus.unwrap_or(0) == 0 {
            return Err(RuleError::Missing { action: name, what: "modulus" });
        }
        if action == LabelMap && self.replacement.as_deref() == Some("") {
            return Err(RuleError::Missing { action: name, what: "replacement" });
        }
        let of_names = [LabelDrop, LabelKeep].contains(&action);
        let of_two = [KeepEqual, DropEqual].contains(&action);
        let of_case = [Lowercase, Uppercase].contains(&action);
        // A config that Prometheus has printed says every default.
        let differs = |said: &Option<String>, usual| said.as_deref().is_some_and(|s| s != usual);
        let said = [
            ("source_labels", of_names && self.source_labels.is_some()),
            ("target_label", of_names && !self.target_label.is_empty()),
            ("regex", of_two && self.pattern.is_some()),
            ("modulus", (of_names || of_two) && self.modulus.is_some_and(|m| m != 0)),
            ("separator", (of_names || of_two) && differs(&self.separator, SEPARATOR)),
            (
                "replacement",
                (of_names || of_two || of_case) && differs(&self.replacement, REPLACEMENT),
            ),
        ];
        match said.into_iter().find(|(_, useless)| *useless) {
            Some((what, _)) => Err(RuleError::Useless { action: name, what }),
            None => Ok(self),
        }
    }

    /// Applies the rule; `false` when it drops the whole set.
    fn apply(&self, labels: &mut BTreeMap<String, String>) -> bool {
        let of = |name: &str| labels.get(name).map_or("", String::as_str);
        let separator = self.separator.as_deref().unwrap_or(SEPARATOR);
        let names = self.source_labels.iter().flatten();
        let value = names.map(|name| of(name)).collect::<Vec<_>>().join(separator);
        let replacement = self.replacement.as_deref().unwrap_or(REPLACEMENT);
        match self.action {
            Action::Keep => return self.regex.is_match(&value),
            Action::Drop => return !self.regex.is_match(&value),
            Action::KeepEqual => return of(&self.target_label) == value,
            Action::DropEqual => return of(&self.target_label) != value,
            Action::Replace => {
                if let Some(found) = self.regex.captures(&value) {
                    let target = expand(&found, &self.target_label);
                    if !target.is_empty() {
                        set(labels, target, expand(&found, replacement));
                    }
                }
            }
            Action::Lowercase => set(labels, self.target_label.clone(), value.to_lowercase()),
            Action::Uppercase => set(labels, self.target_label.clone(), value.to_uppercase()),
            Action::HashMod => {
                let rest = last_eight_bytes(&value) % self.modulus.unwrap_or(1).max(1);
                set(labels, self.target_label.clone(), rest.to_string());
            }
            Action::LabelMap => {
                let mapped = labels.iter().filter_map(|(name, value)| {
                    let found = self.regex.captures(name)?;
                    Some((expand(&found, replacement), value.clone()))
                });
                for (name, value) in mapped.collect::<Vec<_>>() {
                    if !name.is_empty() {
                        set(labels, name, value);
                    }
                }
            }
            Action::LabelDrop => labels.retain(|name, _| !self.regex.is_match(name)),
            Action::LabelKeep => labels.retain(|name, _| self.regex.is_match(name)),
        }
        true
    }
}

/// By what they say; two spellings of one pattern are two rules.
impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        let said = |rule: &Self| {
            (
                rule.action,
                rule.source_labels.clone(),
                rule.separator.clone(),
                rule.pattern.clone(),
                rule.modulus,
                rule.target_label.clone(),
                rule.replacement.clone(),
            )
        };
        said(self) == said(other)
    }
}

impl Eq for Rule {}

/// Applies `rules` in order; `None` when one drops the set.
pub fn relabel(rules: &[Rule], labels: &Labels) -> Option<Labels> {
    let mut changed: BTreeMap<String, String> =
        labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    rules.iter().all(|rule| rule.apply(&mut changed)).then(|| Labels::from_pairs(changed))
}

/// Anchored, and with `.` for every character.
fn anchored(pattern: &str) -> Result<Regex, RuleError> {
    let wrong = |source| RuleError::Pattern { pattern: pattern.to_owned(), source };
    // By itself first: within the anchors, `a)|(b` would be an expression.
    Regex::new(pattern).map_err(wrong)?;
    Regex::new(&format!("^(?s:{pattern})$")).map_err(wrong)
}

fn expand(found: &Captures<'_>, template: &str) -> String {
    let mut expanded = String::new();
    found.expand(template, &mut expanded);
    expanded
}

/// An empty value removes the label.
fn set(labels: &mut BTreeMap<String, String>, name: String, value: String) {
    if value.is_empty() {
        labels.remove(&name);
    } else {
        labels.insert(name, value);
    }
}

/// The half of the MD5 digest that Prometheus takes for the hash.
fn last_eight_bytes(value: &str) -> u64 {
    let digest = Md5::digest(value.as_bytes());
    digest[8..].iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        Labels::from_pairs(pairs.iter().copied())
    }

    fn rule(action: &str) -> Rule {
        Rule::new(action).unwrap()
    }

    /// What a rule makes of `a="foo", b="bar", c="baz", __tmp_d="QUX"`.
    fn result(rule: Rule) -> String {
        let given = labels(&[("a", "foo"), ("b", "bar"), ("c", "baz"), ("__tmp_d", "QUX")]);
        let left = relabel(&[rule.check().unwrap()], &given);
        left.map_or("dropped".to_owned(), |labels| labels.to_string())
    }

    #[test]
    fn each_action_does_as_prometheus_says() {
        const ALL: &str = r#"{__tmp_d="QUX",a="foo",b="bar",c="baz"}"#;
        let regex = |rule: Rule, pattern: &str| rule.regex(pattern).unwrap();
        let a = |action| rule(action).source_labels(["a"]);
        let ab = |action| rule(action).source_labels(["a", "b"]);
        for (rule, expected) in [
            (a("replace").target_label("d"), r#"{__tmp_d="QUX",a="foo",b="bar",c="baz",d="foo"}"#),
            (
                regex(ab("Replace"), "f(.*);(.*)r").target_label("a").replacement("b${1}${2}m"),
                r#"{__tmp_d="QUX",a="boobam",b="bar",c="baz"}"#,
            ),
            (
                regex(ab("replace").separator("-"), "(?P<x>.*)-(.*)").target_label("${2}_${x}"),
                r#"{__tmp_d="QUX",a="foo",b="bar",bar_foo="foo",c="baz"}"#,
            ),
            // A part is not the whole; a group that is not there is nothing; nothing removes.
            (regex(a("replace"), "o").target_label("a").replacement("x"), ALL),
            (regex(a("replace"), "fo+").target_label("b"), r#"{__tmp_d="QUX",a="foo",c="baz"}"#),
            (a("replace").target_label("$2").replacement("x"), ALL),
            (
                rule("replace").target_label("b").replacement(""),
                r#"{__tmp_d="QUX",a="foo",c="baz"}"#,
            ),
            (
                rule("replace").target_label("a").replacement("$$1"),
                r#"{__tmp_d="QUX",a="$1",b="bar",c="baz"}"#,
            ),
            (regex(a("keep"), "fo."), ALL),
            (regex(a("keep"), "fo"), "dropped"),
            (regex(a("keep"), "fo|x"), "dropped"),
            (regex(a("drop"), "fo."), "dropped"),
            (regex(ab("drop"), "foo;ba"), ALL),
            (a("keepequal").target_label("b"), "dropped"),
            (a("keepequal").target_label("a"), ALL),
            (a("dropequal").target_label("a"), "dropped"),
            (a("dropequal").target_label("absent"), ALL),
            (rule("dropequal").target_label("absent"), "dropped"),
            (
                rule("hashmod").source_labels(["c"]).target_label("d").modulus(1000),
                r#"{__tmp_d="QUX",a="foo",b="bar",c="baz",d="976"}"#,
            ),
            (
                regex(rule("labelmap"), "__tmp_(.)"),
                r#"{__tmp_d="QUX",a="foo",b="bar",c="baz",d="QUX"}"#,
            ),
            (
                regex(rule("labelmap"), "[ab]").replacement("x_$0"),
                r#"{__tmp_d="QUX",a="foo",b="bar",c="baz",x_a="foo",x_b="bar"}"#,
            ),
            (regex(rule("labeldrop"), "[ab]|x"), r#"{__tmp_d="QUX",c="baz"}"#),
            (regex(rule("labelkeep"), "[ab]"), r#"{a="foo",b="bar"}"#),
            (ab("uppercase").target_label("c"), r#"{__tmp_d="QUX",a="foo",b="bar",c="FOO;BAR"}"#),
            (
                rule("lowercase").source_labels(["__tmp_d"]).target_label("c"),
                r#"{__tmp_d="QUX",a="foo",b="bar",c="qux"}"#,
            ),
        ] {
            let said = format!("{rule:?}");
            assert_eq!(result(rule), expected, "{said}");
        }
    }

    #[test]
    fn a_rule_says_what_its_action_needs_and_no_more() {
        let error = |rule: Rule| rule.check().unwrap_err().to_string();
        assert_eq!(
            Rule::new("rename").unwrap_err().to_string(),
            "\"rename\" is not an action of relabelling"
        );
        assert_eq!(error(rule("replace")), "replace needs target_label");
        assert_eq!(error(rule("hashmod").target_label("x")), "hashmod needs modulus");
        assert_eq!(
            error(rule("labeldrop").replacement("x")),
            "labeldrop has no use for replacement"
        );
        assert_eq!(
            error(rule("uppercase").target_label("x").replacement("x")),
            "uppercase has no use for replacement"
        );
        let keepequal = rule("keepequal").source_labels(["a"]).target_label("b");
        assert_eq!(error(keepequal.regex("x").unwrap()), "keepequal has no use for regex");
        for pattern in ["(", "a)|(b"] {
            let error = rule("keep").regex(pattern).unwrap_err().to_string();
            assert_eq!(error, format!("{pattern:?} is not a regular expression"));
        }
    }

    #[test]
    fn what_is_said_as_it_is_anyway_is_not_too_much() {
        let usual = |action| rule(action).separator(";").modulus(0).replacement("$1");
        for action in ["labeldrop", "labelkeep"] {
            assert!(usual(action).target_label("").check().is_ok(), "{action}");
        }
        for action in ["keepequal", "dropequal", "lowercase", "uppercase"] {
            assert!(usual(action).target_label("a").check().is_ok(), "{action}");
        }
    }

    #[test]
    fn rules_apply_in_order_and_the_first_that_drops_ends_it() {
        let first = rule("replace").target_label("a").replacement("1").check().unwrap();
        let second = rule("keep").source_labels(["a"]).regex("1").unwrap();
        assert!(relabel(&[first.clone(), second.clone()], &Labels::empty()).is_some());
        assert!(relabel(&[second, first], &Labels::empty()).is_none());
    }

    proptest! {
        #[test]
        fn a_filter_of_names_keeps_what_its_opposite_drops(
            names in proptest::collection::btree_set("[a-d]{1,3}", 0..8),
            pattern in "[a-d]{1,2}[.?*]?",
        ) {
            let given = Labels::from_pairs(names.iter().map(|name| (name.clone(), "x")));
            let left = |action: &str| {
                let rule = rule(action).regex(&pattern).unwrap();
                let left = relabel(&[rule], &given).unwrap();
                left.iter().map(|(name, _)| name.to_owned()).collect::<Vec<_>>()
            };
            let (mut kept, dropped) = (left("labelkeep"), left("labeldrop"));
            prop_assert!(kept.iter().all(|name| !dropped.contains(name)));
            kept.extend(dropped);
            kept.sort();
            prop_assert_eq!(kept, names.into_iter().collect::<Vec<_>>());
        }

        #[test]
        fn every_value_has_one_place_among_the_shards(value in "\\PC{1,8}", shards in 1_u64..20) {
            let given = Labels::from_pairs([("a", value)]);
            let hash = rule("hashmod").source_labels(["a"]).target_label("s").modulus(shards);
            let mut mine = 0;
            for shard in 0..shards {
                let keep = rule("keep").source_labels(["s"]).regex(&shard.to_string()).unwrap();
                mine += usize::from(relabel(&[hash.clone(), keep], &given).is_some());
            }
            prop_assert_eq!(mine, 1);
        }
    }
}
