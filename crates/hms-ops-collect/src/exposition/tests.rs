use std::collections::BTreeMap;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

fn samples(body: &str, format: Format) -> Result<Vec<Sample<'_>>, ExpositionError> {
    let events = Exposition::new(body.as_bytes(), format)?;
    let samples = events.filter_map(|event| match event {
        Ok(Event::Sample(sample)) => Some(Ok(sample)),
        Ok(_) => None,
        Err(error) => Some(Err(error)),
    });
    samples.collect()
}

fn one(line: &str) -> Sample<'_> {
    samples(line, Format::Text).unwrap()[0]
}

fn text_error(body: &str) -> String {
    samples(body, Format::Text).unwrap_err().to_string()
}

fn openmetrics_error(lines: &str) -> String {
    samples(&format!("{lines}\n# EOF\n"), Format::OpenMetrics).unwrap_err().to_string()
}

fn decoded(pairs: Pairs<'_>) -> Vec<(&str, String)> {
    pairs.iter().map(|(name, value)| (name, value.into_owned())).collect()
}

#[test]
fn a_sample_has_its_series_as_written_and_its_parts() {
    let sample = one("http_requests_total{code=\"200\",path=\"/a b\"} 1027 1395066363000\n");

    assert_eq!(sample.series, r#"http_requests_total{code="200",path="/a b"}"#);
    assert_eq!(sample.name, "http_requests_total");
    assert_eq!(decoded(sample.labels), [("code", "200".to_owned()), ("path", "/a b".to_owned())]);
    assert_eq!((sample.value, sample.timestamp), (1027.0, Some(1_395_066_363_000)));
}

#[test]
fn escapes_in_a_label_value_are_decoded_only_when_read() {
    let sample = one(r#"a{path="C:\\DIR\\FILE",error="say \"hi\"\nbye \q"} 1"#);

    assert_eq!(sample.series, r#"a{path="C:\\DIR\\FILE",error="say \"hi\"\nbye \q"}"#);
    assert_eq!(
        decoded(sample.labels),
        [("path", r"C:\DIR\FILE".to_owned()), ("error", "say \"hi\"\nbye \\q".to_owned())]
    );
    let plain = one(r#"a{b="c"} 1"#);
    assert!(plain.labels.iter().all(|(_, value)| matches!(value, Cow::Borrowed(_))));
}

#[test]
fn text_may_have_blanks_and_a_comma_wherever_prometheus_allows_them() {
    let sample = one("  a { b = \"}\" , c=\"\", } \t 1.5e3\t-7  ");

    assert_eq!(sample.series, "a { b = \"}\" , c=\"\", }");
    assert_eq!(decoded(sample.labels), [("b", "}".to_owned()), ("c", String::new())]);
    assert_eq!((sample.value, sample.timestamp), (1500.0, Some(-7)));
    assert_eq!(one("a{}1").value, 1.0);
    assert!(one("a{} 1").labels.is_empty());
}

#[test]
fn text_comments_and_empty_lines_say_nothing() {
    let body = "\n# a comment\n#\n   \n# EOF\na 1\n# HELP b it\\n\n# TYPE c untyped\n";
    let events: Vec<_> =
        Exposition::new(body.as_bytes(), Format::Text).unwrap().map(Result::unwrap).collect();

    assert!(matches!(events[0], Event::Sample(_)));
    assert_eq!(events[1], Event::Help { family: "b", text: Escaped("it\\n") });
    assert_eq!(events[2], Event::Type { family: "c", metric_type: MetricType::Unknown });
    assert_eq!(events.len(), 3);
}

#[test]
fn values_that_are_not_finite_are_values() {
    for (text, value) in
        [("+Inf", f64::INFINITY), ("-Inf", f64::NEG_INFINITY), ("Inf", f64::INFINITY)]
    {
        assert_eq!(one(&format!("a {text}")).value, value);
    }
    assert!(one("a NaN").value.is_nan());
}

#[test]
fn integers_are_read_like_every_other_number() {
    for text in [
        "0",
        "7",
        "00012",
        "999999999999999",
        "9999999999999999",
        "18446744073709551616",
        "1.",
        ".5",
        "1e3",
    ] {
        assert_eq!(one(&format!("a {text}")).value, text.parse::<f64>().unwrap());
    }
}

#[test]
fn an_error_names_its_line_its_column_and_the_value_at_fault() {
    assert_eq!(text_error("a 1\nb x\n"), r#"line 2, column 3: value "x" is not a number"#);
    assert_eq!(
        text_error("a{ä=\"1\"} 1"),
        r#"line 1, column 3: expected a label name, found "ä=\"1\"} 1""#
    );
    assert_eq!(
        text_error("a{b=\"ä\",c} 1"),
        r#"line 1, column 10: expected = after a label name, found "} 1""#
    );
    assert_eq!(text_error("a{b=\"c"), r#"line 1, column 6: label value "c" has no closing quote"#);
    assert_eq!(text_error("a 1 1.5"), r#"line 1, column 5: timestamp "1.5" is not a number"#);
    assert_eq!(
        text_error("a"),
        "line 1, column 2: expected a blank or { after the metric name, the line ends"
    );
    assert_eq!(text_error("a "), "line 1, column 3: expected a value, the line ends");
    assert_eq!(
        text_error("a-b 1"),
        r#"line 1, column 2: expected a blank or { after the metric name, found "-b 1""#
    );
    assert_eq!(
        text_error("a 1 2 3"),
        r#"line 1, column 7: expected the end of the line after the timestamp, found "3""#
    );
    assert_eq!(text_error("# TYPE a info"), r#"line 1, column 10: "info" is not a metric type"#);
}

#[test]
fn a_label_name_that_comes_twice_is_an_error_in_both_formats() {
    let expected = r#"line 1, column 3: label "b" is given twice"#;
    assert_eq!(text_error("a{b=\"1\",c=\"2\",b=\"3\"} 1"), expected);
    assert_eq!(openmetrics_error("a{b=\"1\",c=\"2\",b=\"3\"} 1"), expected);

    let many: String = (0..1000).map(|i| format!("l{i}=\"x\",")).collect();
    assert_eq!(
        text_error(&format!("a{{{many}l7=\"y\"}} 1")),
        r#"line 1, column 3: label "l7" is given twice"#
    );
    assert!(samples(&format!("a{{{many}}} 1"), Format::Text).is_ok());
}

#[test]
fn the_metric_name_may_not_come_again_as_a_label() {
    assert_eq!(
        text_error("a{__name__=\"b\"} 1"),
        r#"line 1, column 3: label "__name__" is the metric name's own"#
    );
}

#[test]
fn bytes_that_are_not_utf_8_are_an_error_with_their_place() {
    let error = Exposition::new(b"a 1\nb{c=\"\xc3\xa4\xff\"} 1\n", Format::Text).unwrap_err();
    assert_eq!(error.to_string(), "line 2, column 7: byte 0xff is not UTF-8");
}

#[test]
fn nothing_follows_an_error() {
    let mut events = Exposition::new(b"a x\nb 1\n", Format::Text).unwrap();
    assert!(events.next().unwrap().is_err());
    assert!(events.next().is_none());
}

#[test]
fn a_hostile_value_is_shortened_and_escaped_in_the_message() {
    let error = text_error(&format!("a {}", "\u{1b}".repeat(100_000)));
    assert!(error.len() < 400 && !error.contains('\u{1b}'), "{error}");
}

#[test]
fn openmetrics_timestamps_are_seconds() {
    let body = "# TYPE a counter\na_total 1 1520879607.789 # {id=\"7\"} 0.5 1520879607.1\n# EOF\n";
    let sample = samples(body, Format::OpenMetrics).unwrap()[0];
    assert_eq!(sample.timestamp, Some(1_520_879_607_789));
    let exemplar = sample.exemplar.unwrap();
    assert_eq!(decoded(exemplar.labels), [("id", "7".to_owned())]);
    assert_eq!((exemplar.value, exemplar.timestamp), (0.5, Some(1_520_879_607_100)));
    assert_eq!(
        openmetrics_error("a 1 1e300"),
        r#"line 1, column 5: timestamp "1e300" is not a number"#
    );
}

#[test]
fn openmetrics_ends_with_eof_and_nothing_after_it() {
    for (body, reason) in [
        ("", "line 1: the body ends without # EOF"),
        ("a 1\n", "line 1: the body ends without # EOF"),
        ("a 1\n# EOF\n\n", "line 3: text after # EOF"),
        ("# EOF\na 1", "line 2: text after # EOF"),
    ] {
        assert_eq!(samples(body, Format::OpenMetrics).unwrap_err().to_string(), reason);
    }
    assert!(samples("# EOF", Format::OpenMetrics).is_ok());
}

#[test]
fn openmetrics_families_stand_together_and_do_not_clash() {
    for (lines, reason) in [
        ("a 1\nb 1\na 2", r#"line 3: family "a" is in two places"#),
        (
            "# TYPE a counter\na_total 1\n# TYPE a_total gauge\na_total 1",
            r#"line 3: "a_total" clashes with "a""#,
        ),
        (
            "# TYPE a counter\n# TYPE a_total gauge\na_total 1",
            r#"line 2: "a_total" clashes with "a""#,
        ),
        (
            "# TYPE a_total gauge\n# TYPE a counter\na_total 1",
            r#"line 2: "a" clashes with "a_total""#,
        ),
        ("# TYPE a info\na 1", r#"line 2: "a" is not a sample of a info"#),
        ("# TYPE a gauge\n# TYPE a gauge", r#"line 2: a second TYPE of "a""#),
        ("a{b=\"1\"} 1\na{b=\"1\"} 1", r#"line 2: series "a{b=\"1\"}" is given twice"#),
        (
            "a{b=\"1\",c=\"2\"} 1\na{c=\"2\",b=\"1\"} 1",
            r#"line 2: series "a{c=\"2\",b=\"1\"}" is given twice"#,
        ),
        ("# TYPE a info\n# UNIT b_s s\na_info 1", r#"line 3: "a_info" clashes with "a""#),
        ("# UNIT a s", r#"line 1: unit "s" does not end "a""#),
        (
            "# TYPE a_s info\n# UNIT a_s s\na_s_info 1",
            r#"line 1: "a_s" is an info or a stateset and has a unit"#,
        ),
    ] {
        let error = openmetrics_error(lines);
        assert!(error.starts_with(reason), "{lines:?}: {error}");
    }
}

#[test]
fn openmetrics_histograms_are_complete_cumulative_and_canonical() {
    let histogram = |lines: &str| openmetrics_error(&format!("# TYPE a histogram\n{lines}"));
    for (lines, reason) in [
        ("a_bucket{le=\"1.0\"} 1", r#"line 2: histogram "a" has no bucket +Inf"#),
        (
            "a_bucket{le=\"1.0\"} 2\na_bucket{le=\"+Inf\"} 1",
            r#"line 3: bucket "a_bucket{le=\"+Inf\"}" counts less"#,
        ),
        ("a_bucket{le=\"1e0\"} 1", r#"line 2: le "1e0" must be written "1.0""#),
        ("a_bucket{le=\"inf\"} 1", r#"line 2: le "inf" must be written "+Inf""#),
        ("a_bucket{le=\"x\"} 1", r#"line 2: le "x" is not a number"#),
        (
            "a_bucket{le=\"+Inf\"} 1.5",
            r#"line 2: "a_bucket{le=\"+Inf\"}" is 1.5, a count is a whole number"#,
        ),
        (
            "a_bucket{le=\"+Inf\"} 1\na_count 1",
            r#"line 3: histogram "a" has a count without a sum"#,
        ),
        (
            "a_bucket{le=\"+Inf\"} 1\na_count 2\na_sum 1",
            r#"line 4: histogram "a" has a count unlike"#,
        ),
    ] {
        let error = histogram(lines);
        assert!(error.starts_with(reason), "{error}");
    }
    let labelled = "# TYPE a histogram\na_bucket{x=\"1\",le=\"+Inf\"} 1\na_bucket{x=\"2\",le=\"+Inf\"} 1\n# EOF";
    assert!(samples(labelled, Format::OpenMetrics).is_ok());
}

#[test]
fn openmetrics_exemplars_have_at_most_128_characters() {
    let exemplar = |length| {
        format!("# TYPE a counter\na_total 1 # {{x=\"{}\"}} 1\n# EOF\n", "ä".repeat(length))
    };
    assert!(samples(&exemplar(127), Format::OpenMetrics).is_ok());
    assert_eq!(
        samples(&exemplar(128), Format::OpenMetrics).unwrap_err().to_string(),
        "line 2, column 14: an exemplar's labels have 129 characters, the limit is 128"
    );
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(body in vec(any::<u8>(), 0..200)) {
        for format in [Format::Text, Format::OpenMetrics] {
            if let Ok(events) = Exposition::new(&body, format) {
                events.for_each(drop);
            }
        }
    }

    #[test]
    fn no_almost_valid_text_makes_the_parser_panic(tokens in vec(token(), 0..40)) {
        let body = tokens.concat();
        for format in [Format::Text, Format::OpenMetrics] {
            for event in Exposition::new(body.as_bytes(), format).unwrap() {
                if let Ok(Event::Sample(sample)) = event {
                    sample.labels.iter().for_each(drop);
                }
            }
        }
    }

    #[test]
    fn what_is_encoded_is_read_back(
        labels in btree_map("[a-zA-Z][a-zA-Z0-9_]{0,6}", ".{0,8}|[\\\\\"\n]{0,4}", 0..5),
        value in any::<f64>(),
        timestamp in proptest::option::of(-4_000_000_000_000_i64..4_000_000_000_000),
    ) {
        let pairs: Vec<_> = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escape(value))).collect();
        let series = format!("m{{{}}}", pairs.join(","));
        let text = format!("{series} {value}{}\n", timestamp.map(|ms| format!(" {ms}")).unwrap_or_default());
        let seconds = timestamp.map(|ms| format!(" {}{}.{:03}", sign(ms), ms.abs() / 1000, ms.abs() % 1000));
        let openmetrics = format!("{series} {value}{}\n# EOF\n", seconds.unwrap_or_default());

        for (body, format) in [(&text, Format::Text), (&openmetrics, Format::OpenMetrics)] {
            let sample = samples(body, format).unwrap()[0];
            prop_assert_eq!(sample.series, &series);
            let read = sample.labels.iter().map(|(name, value)| (name.to_owned(), value.into_owned()));
            prop_assert_eq!(read.collect::<BTreeMap<_, _>>(), labels.clone());
            prop_assert!(sample.value == value || (sample.value.is_nan() && value.is_nan()));
            prop_assert_eq!(sample.timestamp, timestamp);
        }
    }
}

fn sign(ms: i64) -> &'static str {
    if ms < 0 { "-" } else { "" }
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn token() -> impl Strategy<Value = &'static str> {
    select(vec![
        "a",
        "a_bucket",
        "a_total",
        "a_sum",
        "a_count",
        "{",
        "}",
        "le",
        "=",
        "\"",
        "\\",
        ",",
        " ",
        "\t",
        "\n",
        "# ",
        "#",
        "HELP",
        "TYPE",
        "UNIT",
        "EOF",
        "counter",
        "histogram",
        "info",
        "stateset",
        "1",
        "-1",
        "+Inf",
        "NaN",
        "1e400",
        "ä",
        "\u{0}",
        "{le=\"+Inf\"} 1\n",
        "\n# EOF\n",
        "# TYPE a histogram\n",
        "a_total 1 # {a=\"b\"} 1\n",
    ])
}
