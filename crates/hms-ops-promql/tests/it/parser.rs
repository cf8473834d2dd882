//! What is a query, how it prints, and what is said about a text that is none.

use hms_ops_promql::ast::{Expr, Node};
use hms_ops_promql::format::pretty;
use hms_ops_promql::{MAX_DEPTH, MAX_HEIGHT, MAX_QUERY, parse};

#[test]
fn a_query_prints_in_its_canonical_form() {
    for (query, printed) in [
        // Numbers and durations.
        ("1_000", "1000"),
        ("0xc + 0755 + 08 + 1e3 + .5 + 5.", "12 + 493 + 8 + 1000 + 0.5 + 5"),
        ("+iNf", "+Inf"),
        ("-Inf", "-Inf"),
        ("nan", "NaN"),
        ("1h30m5ms", "1h30m5ms"),
        ("-90s", "-1m30s"),
        ("14d + 8d + 365d + 0s", "2w + 8d + 1y + 0s"),
        // Strings.
        (r#"'it\'s "x"'"#, r#""it's \"x\"""#),
        (r"`\n`", r#""\\n""#),
        (r#""\a\t\101\x41\u00e4\U0001F600""#, "\"\\a\\tAAä😀\""),
        // Precedence and signs.
        ("-2 ^ 2", "-2 ^ 2"),
        ("--1", "1"),
        ("+a - +-b", "+a - +-b"),
        ("2 ^ 3 ^ 2", "2 ^ 3 ^ 2"),
        ("a AND b Or c uNLESS d", "a and b or c unless d"),
        ("a ATAN2 b</c>/d", "a atan2 b </ c >/ d"),
        // Selectors.
        (r#"a{ x = "1" , y!~'q' , }"#, r#"a{x="1",y!~"q"}"#),
        (r#"{"a b", "c.d"="e"}"#, r#"{"c.d"="e",__name__="a b"}"#),
        (r#"{__name__="a"}"#, r#"{__name__="a"}"#),
        ("a{}", "a"),
        ("foo:bar:baz{le='+Inf'}", r#"foo:bar:baz{le="+Inf"}"#),
        ("sum + by / offset * and", "sum + by / offset * and"),
        ("{on='1', bool='2', offset='3'}", r#"{bool="2",offset="3",on="1"}"#),
        ("fill + fill_left + anchored + min_of", "fill + fill_left + anchored + min_of"),
        ("a # comment\n + # another\n b", "a + b"),
        // Where and when.
        ("a offset 5m", "a offset 5m"),
        ("a OFFSET -90", "a offset -1m30s"),
        ("a offset 0s", "a"),
        ("a @ 1.5 offset 1w", "a @ 1.500 offset 1w"),
        ("a offset 1w @ -5", "a @ -5.000 offset 1w"),
        ("a[5m] @ start() offset -1s", "a[5m] @ start() offset -1s"),
        ("a[1800] @ END()", "a[30m] @ end()"),
        ("a[1h:] offset 1h", "a[1h:] offset 1h"),
        ("sum(a)[1h:5m] @ end()", "sum(a)[1h:5m] @ end()"),
        ("a[5m] anchored offset 1m", "a[5m] anchored offset 1m"),
        ("a smoothed", "a smoothed"),
        // Lengths that are computed.
        ("a[5m+1]", "a[5m + 1]"),
        ("a[-(2*Step())+1h:range()/2]", "a[-(2 * step()) + 1h:range() / 2]"),
        ("a[min_of(step(), (5s))]", "a[min_of(step(), (5s))]"),
        ("a offset -max_of(1,2m)^0", "a offset -max_of(1, 2m) ^ 0"),
        ("a offset (1h - 5) + 2", "a offset (1h - 5) + 2"),
        ("a offset 5s-8", "a offset 5s - 8"),
        ("a offset -+2^2", "a offset -(2 ^ 2)"),
        // Aggregations.
        ("sum by() (a)", "sum(a)"),
        ("sum(a) by (b,\"c d\",)", r#"sum by (b, "c d") (a)"#),
        ("SUM without() (a)", "sum without () (a)"),
        ("topk(5, a)", "topk(5, a)"),
        (
            "count_values without(start, end)('v', a)",
            "count_values without (start, end) (\"v\", a)",
        ),
        ("limit_ratio(-0.5, sum)", "limit_ratio(-0.5, sum)"),
        // Matching.
        ("a - on() c", "a - on () c"),
        ("a - ignoring() c", "a - c"),
        ("a - ignoring(b) group_right c", "a - ignoring (b) group_right () c"),
        ("a == bool on(b) group_left(x, y) c", "a == bool on (b) group_left (x, y) c"),
        ("a + on(b) group_left() (c)", "a + on (b) group_left () (c)"),
        ("1 + on() a", "1 + a"),
        ("a + fill(0) b", "a + fill (0) b"),
        ("a + fill_right(-1) fill_left(NaN) b", "a + fill_left (NaN) fill_right (-1) b"),
        // Functions.
        ("time() - start() + end() % step() * range()", ""),
        ("label_join(a, \"d\", \",\")", ""),
        ("label_join(a, \"d\", \",\", \"x\", \"y\", \"z\")", ""),
        ("round(a)", ""),
        ("hour()", ""),
        ("info(a, {b!=\"c\"})", ""),
        ("info(a, {})", ""),
        ("histogram_quantiles(a, \"q\", 0.1, 0.5, 0.9)", ""),
    ] {
        let printed = if printed.is_empty() { query } else { printed };
        let tree = parse(query).unwrap_or_else(|error| panic!("{query}: {error}"));
        assert_eq!(tree.to_string(), printed, "{query}");
        assert_eq!(parse(printed).unwrap().to_string(), printed, "{query}");
    }
}

#[test]
fn what_is_wrong_is_said_as_prometheus_says_it_and_where() {
    let table = [
        // Texts that break off or go on.
        ("", "unknown position: parse error: no expression found in input"),
        ("# just a comment\n\n", "1:1: parse error: no expression found in input"),
        ("1+", "1:3: parse error: unexpected end of input"),
        ("a\n+\n b c", "3:4: parse error: unexpected identifier \"c\""),
        (".", "1:1: parse error: unexpected character: '.'"),
        ("2.5.", "1:1: parse error: bad number or duration syntax: \"2.5.\""),
        ("100..4", "1:1: parse error: bad number or duration syntax: \"100..\""),
        ("0deadbeef", "1:1: parse error: bad number or duration syntax: \"0de\""),
        ("1_", "1:1: parse error: bad number or duration syntax: \"1_\""),
        ("*1", "1:1: parse error: unexpected <op:*>"),
        ("@@", "1:1: parse error: unexpected <op:@>"),
        ("-=", "1:2: parse error: unexpected \"=\""),
        ("++-++-+-+-<", "1:11: parse error: unexpected <op:<>"),
        ("e-+=/(0)", "1:4: parse error: unexpected \"=\""),
        ("(1))", "1:5: parse error: unexpected right parenthesis ')'"),
        ("((1)", "1:5: parse error: unclosed left parenthesis"),
        ("(", "1:2: parse error: unclosed left parenthesis"),
        ("sum(rate(", "1:10: parse error: unclosed left parenthesis"),
        ("}", "1:1: parse error: unexpected character: '}'"),
        ("a]", "1:2: parse error: unexpected right bracket ']'"),
        ("1 !~ 1", "1:3: parse error: unexpected character after '!': '~'"),
        ("1 =~ 1", "1:3: parse error: unexpected character after '=': '~'"),
        ("a 'long enough to cut'", "1:3: parse error: unexpected string \"'long enou\"..."),
        ("a a:b", "1:3: parse error: unexpected metric identifier \"a:b\""),
        // Strings.
        ("\"\\", "1:1: parse error: escape sequence not terminated"),
        (r#""\c""#, "1:1: parse error: unknown escape sequence U+0063 'c'"),
        (r#""\x.""#, "1:1: parse error: illegal character U+002E '.' in escape sequence"),
        (r#""\ud800""#, "1:1: parse error: escape sequence is an invalid Unicode code point"),
        (r#"a + "x"#, "1:5: parse error: unterminated quoted string"),
        ("\"a\n\"", "1:1: parse error: unterminated quoted string"),
        (r"`\``", "1:4: parse error: unterminated raw string"),
        // Selectors.
        ("some{", "1:6: parse error: unexpected end of input inside braces"),
        ("some}", "1:5: parse error: unexpected character: '}'"),
        (
            "m{a=b}",
            "1:5: parse error: unexpected identifier \"b\" in label matching, expected string",
        ),
        ("m{a:b=\"b\"}", "1:4: parse error: unexpected character inside braces: ':'"),
        ("m{a>=\"b\"}", "1:4: parse error: unexpected character inside braces: '>'"),
        ("m{a!b}", "1:4: parse error: unexpected character after '!' inside braces: 'b'"),
        ("m{{", "1:3: parse error: unexpected left brace '{'"),
        (
            "foo{gibberish}",
            "1:14: parse error: unexpected \"}\" in label matching, expected label matching operator",
        ),
        (
            "foo{__name__= =}",
            "1:15: parse error: unexpected \"=\" in label matching, expected string",
        ),
        (
            "foo{,}",
            "1:5: parse error: unexpected \",\" in label matching, expected identifier or \"}\"",
        ),
        (
            "foo{a='b' lol}",
            "1:11: parse error: unexpected identifier \"lol\" in label matching, expected \",\" or \"}\"",
        ),
        ("foo{\"a\"=}", "1:9: parse error: unexpected \"}\" in label matching, expected string"),
        (
            "foo{__name__=\"bar\"}",
            "1:1: parse error: metric name must not be set twice: \"foo\" or \"bar\"",
        ),
        // Windows.
        ("foo[", "1:5: parse error: unexpected end of input in duration expression"),
        ("foo[5m", "1:7: parse error: unclosed left bracket"),
        (
            "foo[]",
            "1:5: parse error: unexpected \"]\" in subquery or range selector, expected number, \
             duration, step(), or range()",
        ),
        (
            "foo[step]",
            "1:9: parse error: unexpected \"]\" in subquery or range selector, expected number, \
             duration, step(), or range()",
        ),
        (
            "foo[5m 3]",
            "1:8: parse error: unexpected number \"3\" in subquery or range, expected \":\" or \"]\"",
        ),
        (
            "foo[5m:*]",
            "1:8: parse error: unexpected <op:*> in subquery selector, expected number, duration, \
             step(), range(), or \"]\"",
        ),
        (
            "foo[5m:5m 3]",
            "1:11: parse error: unexpected number \"3\" in subquery selector, expected \"]\"",
        ),
        ("foo[\"5m\"]", "1:5: parse error: unexpected character in duration expression: '\"'"),
        ("foo[x]", "1:5: parse error: unexpected character in duration expression: 'x'"),
        ("foo[5s x 5s]", "1:8: parse error: unexpected character: 'x', expected ':'"),
        ("foo[5s s 5s]", "1:8: parse error: unexpected character: 's', expected ':'"),
        ("foo[5m::]", "1:8: parse error: unexpected colon ':'"),
        ("foo[5mm]", "1:5: parse error: bad number or duration syntax: \"5mm\""),
        ("foo[5m1]", "1:5: parse error: bad number or duration syntax: \"5m1\""),
        ("foo[5m1h]", "1:5: parse error: not a valid duration string: \"5m1h\""),
        ("foo[5y1hs]", "1:5: parse error: unknown unit \"hs\" in duration \"5y1hs\""),
        ("foo[0m]", "1:5: parse error: duration must be greater than 0"),
        ("foo[5m:-1]", "1:8: parse error: duration must be greater than 0"),
        ("foo[9.5e10]", "1:5: parse error: duration out of range"),
        ("foo[5s/0d]", "1:7: parse error: division by zero"),
        ("foo[5s%0d]", "1:7: parse error: modulo by zero"),
        ("(foo + bar)[5m]", "1:12: parse error: ranges only allowed for vector selectors"),
        ("foo offset 1m[5m]", "1:14: parse error: no offset modifiers allowed before range"),
        ("foo @ end()[5m]", "1:12: parse error: no @ modifiers allowed before range"),
        (
            "test[5d] OFFSET 10s [10m:5s]",
            "1:1: parse error: subquery is only allowed on instant vector, got matrix instead",
        ),
        // Offsets and instants.
        (
            "foo OFFSET",
            "1:11: parse error: unexpected end of input in offset, expected number, duration, \
             step(), or range()",
        ),
        ("foo offset 1mm", "1:12: parse error: bad number or duration syntax: \"1mm\""),
        ("foo offset NaN", "1:12: parse error: duration out of range"),
        ("foo offset 9.5e10", "1:12: parse error: duration out of range"),
        ("foo offset 1s offset 2s", "1:1: parse error: offset may not be set multiple times"),
        (
            "1 offset 1d",
            "1:1: parse error: offset modifier must be preceded by an instant vector selector or \
             range vector selector or a subquery",
        ),
        ("foo @", "1:6: parse error: unexpected end of input in @, expected timestamp"),
        ("foo @ start", "1:12: parse error: unexpected end of input in @, expected timestamp"),
        ("foo @ -Inf", "1:1: parse error: timestamp out of bounds for @ modifier: -Inf"),
        ("foo @ 1 @ 2", "1:1: parse error: @ <timestamp> may not be set multiple times"),
        (
            "rate(a[5m]) @ 1234",
            "1:1: parse error: @ modifier must be preceded by an instant vector selector or range \
             vector selector or a subquery",
        ),
        (
            "a anchored smoothed",
            "1:1: parse error: anchored and smoothed modifiers cannot be used together",
        ),
        ("a[1m:] anchored", "1:1: parse error: anchored modifier is not supported for subqueries"),
        ("1 smoothed", "1:1: parse error: smoothed modifier not implemented"),
        // Aggregations and calls.
        (
            "sum without(==)(a)",
            "1:13: parse error: unexpected <op:==> in grouping opts, expected label",
        ),
        (
            "sum without(foo,,)(a)",
            "1:17: parse error: unexpected \",\" in grouping opts, expected label",
        ),
        (
            "sum (a) by test",
            "1:12: parse error: unexpected identifier \"test\" in grouping opts, expected \"(\"",
        ),
        (
            "sum by (a b)(c)",
            "1:11: parse error: unexpected identifier \"b\" in grouping opts, expected \",\" or \")\"",
        ),
        ("sum by (\"\")(c)", "1:9: parse error: invalid label name for grouping: \"\""),
        ("sum some_metric by (test)", "1:5: parse error: unexpected identifier \"some_metric\""),
        ("MIN (a) keep_common", "1:9: parse error: unexpected identifier \"keep_common\""),
        ("sum by (b) c", "1:12: parse error: unexpected identifier \"c\" in aggregation"),
        ("sum(a b)", "1:7: parse error: unexpected identifier \"b\" in aggregation"),
        ("sum (a) without (t) by (t)", "1:21: parse error: unexpected <by>"),
        ("sum () by (t)", "1:1: parse error: no arguments for aggregate expression provided"),
        (
            "topk(a)",
            "1:1: parse error: wrong number of arguments for aggregate expression provided, \
             expected 2, got 1",
        ),
        ("topk(a,)", "1:7: parse error: trailing commas not allowed in function call args"),
        (
            "topk(a, b)",
            "1:6: parse error: expected type scalar in aggregation parameter, got instant vector",
        ),
        (
            "count_values(5, b)",
            "1:14: parse error: expected type string in aggregation parameter, got scalar",
        ),
        (
            "sum(1)",
            "1:5: parse error: expected type instant vector in aggregation expression, got scalar",
        ),
        ("a>b()", "1:3: parse error: unknown function with name \"b\""),
        ("RATE(a[5m])", "1:1: parse error: unknown function with name \"RATE\""),
        ("floor()", "1:1: parse error: expected 1 argument(s) in call to \"floor\", got 0"),
        (
            "hour(a, a, a)",
            "1:1: parse error: expected at most 1 argument(s) in call to \"hour\", got 3",
        ),
        (
            "label_join(a, \"b\")",
            "1:1: parse error: expected at least 3 argument(s) in call to \"label_join\", got 2",
        ),
        (
            "floor(1)",
            "1:7: parse error: expected type instant vector in call to function \"floor\", got \
             scalar",
        ),
        (
            "info(a, b{foo=\"bar\"})",
            "1:9: parse error: expected label selectors only, got vector selector instead",
        ),
        ("info(a, {foo=\"bar\"} == 1)", "1:9: parse error: expected label selectors only"),
        // Operators.
        ("1 == 1", "1:3: parse error: comparisons between scalars must use BOOL modifier"),
        ("a + bool b", "1:3: parse error: bool modifier can only be used on comparison operators"),
        (
            "1 and 1",
            "1:1: parse error: set operator \"and\" not allowed in binary scalar expression",
        ),
        ("a or 1", "1:1: parse error: set operator \"or\" not allowed in binary scalar expression"),
        ("1 or on(b) a", "1:1: parse error: vector matching only allowed between instant vectors"),
        ("a == on(b) 1", "1:1: parse error: vector matching only allowed between instant vectors"),
        ("a + group_left(b) c", "1:5: parse error: unexpected <group_left>"),
        ("a - on(b) ignoring(c) d", "1:11: parse error: unexpected <ignoring>"),
        (
            "a and on(b) group_left(c) d",
            "1:1: parse error: no grouping allowed for \"and\" operation",
        ),
        (
            "a + on(b) group_left(c, b) d",
            "1:3: parse error: label \"b\" must not occur in ON and GROUP clause at once",
        ),
        (
            "a and fill(0) b",
            "1:1: parse error: filling in missing series not allowed for set operators",
        ),
        (
            "a + fill(0) 1",
            "1:1: parse error: filling in missing series only allowed between instant vectors",
        ),
        (
            "a[5m] + 1",
            "1:1: parse error: binary expression must contain only scalar and instant vector types",
        ),
        (
            "-\"string\"",
            "1:1: parse error: unary expression only allowed on expressions of type scalar or \
             instant vector, got \"string\"",
        ),
        (
            "-test[5m]",
            "1:1: parse error: unary expression only allowed on expressions of type scalar or \
             instant vector, got \"range vector\"",
        ),
    ];
    let everything =
        ["{}", "{x=\"\"}", "{x=~\".*\"}", "{x!~\".+\"}", "{x!=\"a\"}", "{__name__=~\".*\"}"].map(
            |query| {
                (
                    query,
                    "1:1: parse error: vector selector must contain at least one non-empty matcher",
                )
            },
        );
    for (query, message) in table.into_iter().chain(everything) {
        match parse(query) {
            Ok(tree) => panic!("{query} is taken for {tree}"),
            Err(error) => assert_eq!(error.to_string(), message, "{query}"),
        }
    }
}

#[test]
fn words_of_the_language_are_names_where_they_can_be() {
    for word in [
        "and",
        "anchored",
        "avg",
        "bottomk",
        "by",
        "count",
        "count_values",
        "end",
        "fill",
        "fill_left",
        "fill_right",
        "group",
        "limit_ratio",
        "limitk",
        "max",
        "max_of",
        "min",
        "min_of",
        "offset",
        "or",
        "quantile",
        "range",
        "smoothed",
        "start",
        "stddev",
        "stdvar",
        "step",
        "sum",
        "topk",
        "unless",
        "without",
    ] {
        for query in [
            word.to_owned(),
            format!("{word}{{a=\"b\"}}"),
            format!("rate({word}[5m])"),
            format!("{word} + {word}"),
            format!("{word} offset 1m"),
            format!("{word} @ end()"),
        ] {
            assert!(parse(&query).is_ok(), "{query}: {:?}", parse(&query));
        }
    }
    for word in [
        "and",
        "anchored",
        "atan2",
        "avg",
        "bool",
        "by",
        "count",
        "end",
        "fill",
        "fill_left",
        "group",
        "group_left",
        "group_right",
        "ignoring",
        "limitk",
        "max",
        "max_of",
        "min_of",
        "offset",
        "on",
        "or",
        "quantile",
        "range",
        "smoothed",
        "start",
        "step",
        "sum",
        "unless",
    ] {
        for query in [
            format!("sum by ({word}) (a)"),
            format!("a + on ({word}) b"),
            format!("a + on () group_left ({word}, x) b"),
            format!("a{{{word}=\"b\"}}"),
        ] {
            assert!(parse(&query).is_ok(), "{query}: {:?}", parse(&query));
        }
    }
    for query in ["bool", "on", "ignoring", "group_left", "atan2"] {
        assert!(parse(query).is_err(), "{query}");
    }
}

#[test]
fn operators_bind_as_in_prometheus() {
    for (query, grouped) in [
        ("a or b and c", "(a or (b and c))"),
        ("a and b unless c or d", "(((a and b) unless c) or d)"),
        ("a == b + c", "(a == (b + c))"),
        ("a >/ b + c < d", "((a >/ (b + c)) < d)"),
        ("a + b * c atan2 d % e", "(a + (((b * c) atan2 d) % e))"),
        ("a ^ b ^ c", "(a ^ (b ^ c))"),
        ("-a ^ b", "(-(a ^ b))"),
        ("-a * b", "((-a) * b)"),
        ("a ^ -b * c", "((a ^ (-b)) * c)"),
        ("-a offset 5m", "(-a offset 5m)"),
        ("a - b - c", "((a - b) - c)"),
        ("a offset 5m + b", "(a offset 5m + b)"),
        ("a offset -2 ^ b", "(a offset -2s ^ b)"),
    ] {
        assert_eq!(grouped_fully(&parse(query).unwrap()), grouped, "{query}");
    }
}

fn grouped_fully(tree: &Expr) -> String {
    match &tree.node {
        Node::Binary(binary) => {
            let (left, right) = (grouped_fully(&binary.left), grouped_fully(&binary.right));
            format!("({left} {} {right})", binary.op)
        }
        Node::Unary(unary) => format!("(-{})", grouped_fully(&unary.operand)),
        _ => tree.to_string(),
    }
}

#[test]
fn every_expression_knows_where_it_stands() {
    let query = "sum by (x) ( rate(a{b='c'}[5m] offset 1m) ) \
                 / -count_over_time( (b @ 5) [1h:1m] offset 2h )";
    let mut places = Vec::new();
    collect(&parse(&format!(" {query} ")).unwrap(), &format!(" {query} "), &mut places);
    assert_eq!(
        places,
        [
            query,
            "sum by (x) ( rate(a{b='c'}[5m] offset 1m) )",
            "rate(a{b='c'}[5m] offset 1m)",
            "a{b='c'}[5m] offset 1m",
            "-count_over_time( (b @ 5) [1h:1m] offset 2h )",
            "count_over_time( (b @ 5) [1h:1m] offset 2h )",
            "(b @ 5) [1h:1m] offset 2h",
            "(b @ 5)",
            "b @ 5",
        ]
    );
}

#[test]
fn the_name_of_a_metric_may_have_dots() {
    let tree = parse("sum(eligibility.latency_ms_bucket{le='5'}) / or.by.sum:x").unwrap();
    assert_eq!(tree.to_string(), r#"sum(eligibility_latency_ms_bucket{le="5"}) / or_by_sum:x"#);
    // A dot before a digit begins a number, as ever.
    assert_eq!(parse("a offset.5").unwrap().to_string(), "a offset 500ms");
    assert_eq!(parse("a > bool.5").unwrap().to_string(), "a > bool 0.5");
    for (query, message) in [
        ("a.", "1:2: parse error: unexpected character: '.'"),
        ("a .b", "1:3: parse error: unexpected character: '.'"),
        ("a..b", "1:2: parse error: unexpected character: '.'"),
        ("a.b(c)", "1:4: parse error: unexpected \"(\""),
        ("{a.b='c'}", "1:3: parse error: unexpected character inside braces: '.'"),
        (
            "sum by (a.b) (c)",
            "1:9: parse error: unexpected metric identifier \"a.b\" in grouping opts, expected \
             label",
        ),
    ] {
        assert_eq!(parse(query).unwrap_err().to_string(), message, "{query}");
    }
}

#[test]
fn a_length_of_time_has_a_value_once_the_query_runs() {
    for (length, millis) in [
        ("5m", Ok(300_000)),
        ("1.0015", Ok(1_001)),
        ("4.018", Ok(4_018)),
        ("step() * 2 + 1m", Ok(80_000)),
        ("range() - 1h", Ok(-3_500_000)),
        ("-2 ^ 2", Ok(-4_000)),
        ("2 ^ 3 ^ 2", Ok(512_000)),
        ("7 % 4", Ok(3_000)),
        ("min_of(step(), 3) + max_of(1, (2))", Ok(5_000)),
        ("1 / (step() - 10)", Err("division by zero")),
        ("1 % (step() - 10)", Err("modulo by zero")),
        ("10 ^ 20", Err("duration is out of range")),
        ("(-1) ^ 0.5", Err("duration is out of range")),
    ] {
        let tree = parse(&format!("a[{length}]")).unwrap();
        let Node::Matrix(matrix) = &tree.node else { panic!("{tree} is no window") };
        let found = matrix.range.millis(10_000, 100_000).map_err(|error| error.to_string());
        assert_eq!(found, millis.map_err(str::to_owned), "{length}");
    }
}

#[test]
fn what_is_longer_than_a_line_is_broken_at_parentheses_and_operators() {
    let long =
        "sum by (cluster, service, instance) (rate(eligibility_requests_total{code=~\"5..\"}[5m]))";
    assert_eq!(pretty(&parse(long).unwrap()), long);
    let query = format!("-({long} / on (cluster) {long}) > bool topk(5, {long} + {long}) or a");
    let lines = [
        "    -(",
        &format!("        {long}"),
        "      / on (cluster)",
        &format!("        {long}"),
        "    )",
        "  > bool",
        "    topk(",
        "      5,",
        &format!("        {long}"),
        "      +",
        &format!("        {long}"),
        "    )",
        "or",
        "  a",
    ];
    let printed = lines.join("\n");
    assert_eq!(pretty(&parse(&query).unwrap()), printed);
    assert_eq!(parse(&printed).unwrap().to_string(), parse(&query).unwrap().to_string());
}

#[test]
fn a_query_is_bounded_in_length_depth_and_height() {
    let nested = |depth: usize| format!("{}1{}", "(".repeat(depth), ")".repeat(depth));
    assert!(parse(&nested(MAX_DEPTH - 1)).is_ok());
    let message = format!("more than {MAX_DEPTH} expressions inside one another");
    for query in [
        nested(MAX_DEPTH),
        nested(MAX_QUERY / 2 - 1),
        "(".repeat(MAX_QUERY),
        "-".repeat(MAX_QUERY),
        "1^".repeat(MAX_QUERY / 2),
        "sum(".repeat(10_000),
        format!("a[{}", "(".repeat(60_000)),
        format!("a[1{}", "^-1".repeat(20_000)),
        format!("a offset {}", "-(".repeat(30_000)),
    ] {
        assert_eq!(parse(&query).unwrap_err().message, message);
    }

    let chain = |links: usize| format!("a{}", " + a".repeat(links));
    let tall = parse(&chain(MAX_HEIGHT - 1)).unwrap();
    assert_eq!(tall.clone().to_string(), chain(MAX_HEIGHT - 1));
    assert!(pretty(&tall).len() > chain(MAX_HEIGHT - 1).len());
    let message = format!("more than {MAX_HEIGHT} operators on top of one another");
    for query in [
        chain(MAX_HEIGHT),
        format!("a{}", "[1m:]".repeat(10_000)),
        format!("a[1{}]", "+1".repeat(20_000)),
    ] {
        assert_eq!(parse(&query).unwrap_err().message, message);
    }

    let long = format!("a{}", " ".repeat(MAX_QUERY));
    assert_eq!(
        parse(&long).unwrap_err().to_string(),
        "1:1: parse error: query is longer than 65536 bytes"
    );
}

fn collect(tree: &Expr, query: &str, places: &mut Vec<String>) {
    places.push(query[tree.span.start..tree.span.end].to_owned());
    match &tree.node {
        Node::Subquery(subquery) => collect(&subquery.expr, query, places),
        Node::Paren(inner) => collect(inner, query, places),
        Node::Unary(unary) => collect(&unary.operand, query, places),
        Node::Binary(binary) => {
            collect(&binary.left, query, places);
            collect(&binary.right, query, places);
        }
        Node::Aggregate(aggregate) => collect(&aggregate.expr, query, places),
        Node::Call(call) => call.args.iter().for_each(|arg| collect(arg, query, places)),
        _ => {}
    }
}
