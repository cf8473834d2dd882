//! Templates of labels and annotations, in what people use of Go's `text/template` there.
//!
//! | written | means |
//! |---|---|
//! | `{{ $labels.job }}` `{{ $value }}` `{{ $externalLabels.x }}` `{{ $externalURL }}` | what the alert is about |
//! | `{{ $value \| humanize }}` `{{ printf "%.2f" $value }}` | calls, one after the other |
//! | `{{ if … }}` `{{ else if … }}` `{{ with … }}` `{{ range … }}` `{{ end }}` | as in Go, `break` and `continue` too |
//! | `{{ define "x" }}` `{{ template "x" . }}` | pieces that are used again |
//! | `{{ range query "up" }}` | queries, asked at the instant of the evaluation |
//!
//! Values have no methods. Source: the documentation of `text/template`, and of Prometheus, "Template
//! reference".

use std::collections::HashMap;

use hms_ops_core::labels::Labels;

mod eval;
mod function;
mod number;
mod parse;
mod verb;

use self::parse::Node;

/// Bytes of one template.
const MAX_TEXT: usize = 64 << 10;
/// How deep blocks, parentheses and calls of templates may be.
const MAX_DEPTH: usize = 32;
/// Bytes that one template may expand to, or hold in a value.
const MAX_OUTPUT: usize = 64 << 10;
/// Parts evaluated in one expansion.
const MAX_STEPS: usize = 100_000;
/// Queries of one template.
const MAX_QUERIES: usize = 16;

/// A template whose syntax is right.
///
/// ```
/// use hms_ops_alert::template::{Answers, Data, Expansion, Template};
/// use hms_ops_core::labels::Labels;
///
/// let template = Template::parse("{{ $labels.job }} is at {{ $value | humanizePercentage }}")?;
/// let labels = Labels::empty().with("job", "api");
/// let data = Data { labels: &labels, external_labels: &Labels::empty(), external_url: "", value: 0.25 };
/// let expansion = template.expand(&data, &Answers::new());
/// assert_eq!(expansion, Expansion::Done("api is at 25%".to_owned()));
/// # Ok::<(), hms_ops_alert::template::TemplateError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Template {
    body: Vec<Node>,
    defined: HashMap<String, Vec<Node>>,
}

/// What a template is about.
#[derive(Clone, Copy, Debug)]
pub struct Data<'a> {
    /// Of the series.
    pub labels: &'a Labels,
    /// Of this engine.
    pub external_labels: &'a Labels,
    /// Where people reach this engine.
    pub external_url: &'a str,
    /// Of the series.
    pub value: f64,
}

/// What queries of a template evaluate to, each a vector or why there is none.
pub type Answers = HashMap<String, Result<Vec<(Labels, f64)>, String>>;

/// What an expansion came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expansion {
    /// The text; of a template that failed, the reason in its place.
    Done(String),
    /// This query has to be answered first; the expansion then begins again.
    Ask(String),
}

/// Why a text is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a template: {0}")]
pub struct TemplateError(String);

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    ///
    /// [`TemplateError`] when its syntax is wrong, or when it uses functions or variables that there
    /// are not.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        parse::parse(text).map_err(TemplateError)
    }

    /// The text, where nothing is to be expanded.
    pub fn literal(&self) -> Option<&str> {
        match &self.body[..] {
            [] => Some(""),
            [Node::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Expands it. Bounded in steps, in queries and in what comes out.
    pub fn expand(&self, data: &Data<'_>, answers: &Answers) -> Expansion {
        let failed =
            |reason: String| Expansion::Done(format!("<error expanding template: {reason}>"));
        match eval::expand(self, data, answers) {
            Ok(text) => Expansion::Done(text),
            Err(eval::Stop::Ask(_)) if answers.len() >= MAX_QUERIES => {
                failed(format!("more than {MAX_QUERIES} queries"))
            }
            Err(eval::Stop::Ask(query)) => Expansion::Ask(query),
            Err(eval::Stop::Failed(reason)) => failed(reason),
            Err(eval::Stop::Break | eval::Stop::Continue) => failed("not in a range".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(text: &str) -> String {
        let labels = Labels::from_pairs([("job", "api"), ("instance", "a.b.c:9100")]);
        let external = Labels::from_pairs([("env", "staging")]);
        let data = Data {
            labels: &labels,
            external_labels: &external,
            external_url: "http://ops.example/x",
            value: 1234.5,
        };
        let up = |job: &str, value| (Labels::metric("up").with("job", job), value);
        let mut answers = Answers::new();
        answers.insert("up".to_owned(), Ok(vec![up("b", 1.0), up("a", 0.0)]));
        answers.insert("none".to_owned(), Ok(vec![]));
        answers.insert("bad".to_owned(), Err("no such thing".to_owned()));
        match Template::parse(text) {
            Ok(template) => match template.expand(&data, &answers) {
                Expansion::Done(text) => text,
                Expansion::Ask(query) => format!("ask {query}"),
            },
            Err(error) => error.to_string(),
        }
    }

    #[track_caller]
    fn all(cases: &[(&str, &str)]) {
        for (text, expected) in cases {
            assert_eq!(expand(text), *expected, "{text}");
        }
    }

    #[test]
    fn what_the_alert_is_about_is_filled_in() {
        all(&[
            ("plain } text", "plain } text"),
            ("{{ $labels.job }}/{{$labels.missing}}/{{ .Labels.job }}", "api//api"),
            ("{{ $value }} {{ .Value }}", "1234.5 1234.5"),
            ("{{ $externalLabels.env }} {{ .ExternalLabels.env }}", "staging staging"),
            (
                "{{ $externalURL }} {{ externalURL }} {{ pathPrefix }}",
                "http://ops.example/x http://ops.example/x /x",
            ),
            ("{{ $labels }}", "map[instance:a.b.c:9100 job:api]"),
            ("{{ index $labels \"job\" }}{{ len $labels }}", "api2"),
            ("a {{- /* said\nnothing */ -}} b", "ab"),
            ("a  {{- 1 -}}  b", "a1b"),
        ]);
    }

    #[test]
    fn blocks_choose_and_repeat() {
        let chain = "{{ if eq .ExternalLabels.env \"a\" }}A{{ else  if eq $externalLabels.env \"staging\" }}S{{ else }}N{{ end }}";
        all(&[
            (chain, "S"),
            ("{{ if $labels.none }}x{{ end }}", ""),
            ("{{ with $labels.job }}{{ . }}!{{ else }}none{{ end }}", "api!"),
            ("{{ with $x := 3 }}{{ $x }}{{ end }}", "3"),
            (
                "{{ range $k, $v := $labels }}{{ $k }}={{ $v }};{{ end }}",
                "instance=a.b.c:9100;job=api;",
            ),
            ("{{ range query \"up\" }}{{ .Labels.job }}={{ .Value }} {{ end }}", "b=1 a=0 "),
            ("{{ range $i, $s := query \"up\" }}{{ $i }}{{ $s.Labels.job }}{{ end }}", "0b1a"),
            ("{{ range query \"none\" }}x{{ else }}nothing{{ end }}", "nothing"),
            ("{{ range query \"up\" }}{{ .Labels.job }}{{ break }}{{ end }}", "b"),
            (
                "{{ range query \"up\" }}{{ if eq .Value 1.0 }}{{ continue }}{{ end }}{{ .Labels.job }}{{ end }}",
                "a",
            ),
            ("{{ $x := 1 }}{{ if true }}{{ $x = 2 }}{{ end }}{{ $x }}", "2"),
            ("{{ define \"t\" }}<{{ . }}>{{ end }}{{ template \"t\" 5 }}", "<5>"),
            (
                "{{ define \"t\" }}{{ .arg0 }}{{ .arg1 }}{{ end }}{{ template \"t\" (args \"a\" 2) }}",
                "a2",
            ),
        ]);
    }

    #[test]
    fn queries_are_asked_for_and_their_answers_used() {
        all(&[
            ("{{ query \"more\" | first | value }}", "ask more"),
            ("{{ query \"up\" | first | value }}", "1"),
            ("{{ query \"up\" | sortByLabel \"job\" | first | label \"job\" }}", "a"),
            (
                "{{ with printf \"u%s\" \"p\" | query }}{{ . | first | value | humanize }}{{ end }}",
                "1",
            ),
            ("{{ (query \"up\" | first).Value }}", "1"),
            (
                "{{ query \"none\" | first }}",
                "<error expanding template: first: the answer has no series>",
            ),
            ("{{ query \"bad\" }}", "<error expanding template: query: no such thing>"),
        ]);
    }

    #[test]
    fn numbers_are_shown_for_people() {
        all(&[
            (
                "{{ humanize 0.0 }} {{ humanize 1234567.0 }} {{ humanize 0.00123 }} {{ humanize -1500 }}",
                "0 1.235M 1.23m -1.5k",
            ),
            ("{{ humanize1024 1048576.0 }} {{ humanize1024 100 }}", "1Mi 100"),
            (
                "{{ humanizeDuration 0 }} {{ humanizeDuration 59.5 }} {{ humanizeDuration 3661 }} {{ humanizeDuration -90061 }} {{ humanizeDuration 0.01 }}",
                "0s 59.5s 1h 1m 1s -1d 1h 1m 1s 10ms",
            ),
            ("{{ humanizePercentage 0.1234567 }} {{ humanizePercentage \"1\" }}", "12.35% 100%"),
            ("{{ humanizeTimestamp 1435065584.128 }}", "2015-06-23 13:19:44.128 +0000 UTC"),
            ("{{ 1435065584 | toTime }}", "2015-06-23 13:19:44 +0000 UTC"),
            ("{{ parseDuration \"1h30m\" }}", "5400"),
            (
                "{{ printf \"%.2f|%5.1f|%-6s|%06.2f|%d|%q|%v|%t|%x|%%|%+d|%e|%g\" $value 1.25 \"a\" 3.14159 42 \"q\" 1.5 true 255 7 1234.5 0.00001 }}",
                "1234.50|  1.2|a     |003.14|42|\"q\"|1.5|true|ff|%|+7|1.234500e+03|1e-05",
            ),
            ("{{ printf \"%d %s\" $value }}", "%!d(float64=1234.5) %!s(MISSING)"),
            ("{{ printf \"%s\" \"a\" 1 }}", "a%!(EXTRA int=1)"),
            (
                "{{ 1e21 }} {{ 0.00001 }} {{ 100000.0 }} {{ 0x10 }} {{ 'a' }}",
                "1e+21 1e-05 100000 16 97",
            ),
        ]);
    }

    #[test]
    fn texts_are_cut_and_compared() {
        all(&[
            (
                "{{ title \"aa bb-cc_dd\" }} {{ toUpper \"a\" }} {{ \"B\" | toLower }}",
                "Aa Bb-Cc_dd A b",
            ),
            ("{{ reReplaceAll \"([a-z]+):(.*)\" \"$2-${1}\" \"job:x\" }}", "x-job"),
            (
                "{{ match \"^a.c$\" \"abc\" }} {{ match \"(\" \"\" }}",
                "<error expanding template: match: \"(\" is no pattern>",
            ),
            (
                "{{ stripPort \"a.b:1\" }} {{ stripPort \"a.b\" }} {{ stripDomain $labels.instance }} {{ stripDomain \"1.2.3.4:5\" }}",
                "a.b a.b a:9100 1.2.3.4:5",
            ),
            ("{{ graphLink \"up == 0\" }}", "/graph?g0.expr=up+%3D%3D+0&g0.tab=0"),
            (
                "{{ eq 1 1 }} {{ eq \"a\" \"b\" \"a\" }} {{ ne 1.0 2.0 }} {{ lt 1 2 }} {{ ge 2.5 2.5 }} {{ gt \"b\" \"a\" }}",
                "true true true true true true",
            ),
            ("{{ and 1 0 2 }} {{ or 0 \"\" \"x\" }} {{ not 0 }}", "0 x true"),
            ("{{ if or true (first (query \"none\")) }}short{{ end }}", "short"),
            ("{{ if gt $value 1000.0 }}high{{ end }}", "high"),
            (
                "{{ if gt $value 1000 }}high{{ end }}",
                "<error expanding template: gt: a float64 and an int cannot be compared>",
            ),
            ("{{ print \"a\" 1 2 \"b\" }}{{ println 1 }}", "a1 2b1\n"),
            (
                "{{ html \"<a&\" }} {{ urlquery \"a b\" }} {{ safeHtml \"<b>\" }}",
                "&lt;a&amp; a+b <b>",
            ),
        ]);
    }

    #[test]
    fn what_is_wrong_is_said_when_it_is_read_as_far_as_it_can_be() {
        all(&[
            ("{{ if }}", "not a template: line 1: a value is missing in if"),
            ("{{ if true }}", "not a template: line 1: if is never ended"),
            ("{{ end }}", "not a template: line 1: end ends nothing"),
            ("\n{{ $x }}", "not a template: line 2: there is no variable $x"),
            ("{{ foo }}", "not a template: line 1: there is no function foo"),
            ("{{ \"a }}", "not a template: line 1: a text is not closed"),
            ("{{ .a ", "not a template: line 1: an action is not closed"),
            ("{{ (1 }}", "not a template: line 1: a parenthesis is not closed"),
            ("{{ break }}", "not a template: line 1: break is in no range"),
            ("{{ $value.x }}", "<error expanding template: a float64 has no field x>"),
            ("{{ .Nope }}", "<error expanding template: the data has no field Nope>"),
            (
                "{{ toUpper 1 }}",
                "<error expanding template: toUpper: a text is expected, not an int>",
            ),
            ("{{ toUpper }}", "<error expanding template: toUpper: 1 argument expected, not 0>"),
            ("{{ template \"x\" }}", "<error expanding template: there is no template \"x\">"),
        ]);
    }

    #[test]
    fn no_template_runs_for_long_or_makes_much() {
        let loops = "{{ define \"t\" }}{{ template \"t\" . }}{{ end }}{{ template \"t\" . }}";
        assert!(expand(loops).contains("deeper than 32"));
        let bomb = "{{ define \"t\" }}{{ template \"u\" }}{{ template \"u\" }}{{ end }}{{ define \"u\" }}{{ printf \"%60000d\" 1 }}{{ end }}{{ template \"t\" }}";
        assert!(expand(bomb).contains("longer than"), "{}", expand(bomb));
        assert!(expand("{{ printf \"%9999999d\" 1 }}").len() < 100);
        let mut doubling = "{{ $x := \"aaaaaaaaaaaaaaaa\" }}".to_owned();
        for _ in 0..30 {
            doubling += "{{ $x = print $x $x }}";
        }
        assert!(expand(&doubling).contains("longer than"));
        assert!(expand(&"{{ if true }}".repeat(100)).contains("deeper than 32"));
        assert!(expand(&format!("{{{{ {} }}}}", "(".repeat(1000))).contains("deeper than 32"));
        assert!(expand(&"x".repeat(MAX_TEXT + 1)).contains("longer than"));
    }
}
