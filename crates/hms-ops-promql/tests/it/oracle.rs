//! Agreement with `promql-parser`, another implementation of the language.

use std::fs;
use std::path::{Path, PathBuf};

use hms_ops_promql::ast::{Aggregate, Expr, Node};
use hms_ops_promql::format::pretty;
use hms_ops_promql::parse;
use promql_parser::parser::{self as other, LabelModifier};
use proptest::prelude::*;

#[test]
fn every_query_of_the_published_scripts_is_one_and_prints_as_one() {
    let Some(folder) = folder("promql") else { return };
    let (mut seen, mut shared) = (0, 0);
    for script in fs::read_dir(folder).unwrap() {
        for line in fs::read_to_string(script.unwrap().path()).unwrap().lines() {
            let words = match line {
                _ if line.starts_with("eval instant at ") => 4,
                _ if line.starts_with("eval range from ") => 8,
                _ => continue,
            };
            let query = line.splitn(words + 1, ' ').last().unwrap();
            // A text that is no UTF-8 is refused here and by functions there.
            if query.contains(r#""\xff""#) || query.contains(r#""a\xc5z""#) {
                continue;
            }
            seen += 1;
            shared += usize::from(check(query));
        }
    }
    assert_eq!((seen, shared), (1417, 1256));
}

#[test]
fn the_seed_of_the_fuzzer_is_a_query() {
    check(include_str!("../../../../fuzz/seeds/promql_parse/all"));
}

#[test]
fn a_power_of_infinity_is_printed_without_a_sign_that_would_be_read_as_one_of_the_power() {
    assert_eq!(parse("-Inf ^ up").unwrap().to_string(), "-Inf ^ up");
    assert!(check("-Inf ^ up") && check("x / Inf ^ up"));
    check(&format!("Inf ^ ({})", vec!["up"; 60].join(" + ")));
}

/// Whether the other parser takes it for a query, too.
fn check(query: &str) -> bool {
    let tree = parse(query).unwrap_or_else(|error| panic!("{query}: {error}"));
    let printed = tree.to_string();
    for printed in [&printed, &pretty(&tree)] {
        let again = parse(printed).unwrap_or_else(|error| panic!("{query}: {printed}: {error}"));
        assert_eq!(again.to_string(), tree.to_string(), "{query}");
        assert_eq!(shape(&again), shape(&tree), "{query}");
    }
    let Ok(theirs) = other::parse(query) else { return false };
    assert_eq!(shape(&tree), their_shape(&theirs), "{query}");
    true
}

proptest! {
    #[test]
    fn what_can_be_written_is_read_as_the_other_parser_reads_it(query in vector()) {
        prop_assert!(check(&query), "{query}");
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in r#"([a-z0-9 .:_'"`#\\@\[\](){},=!~<>/*+^%-]|sum|by|offset|é){0,40}"#) {
        if let Err(error) = parse(&text) {
            prop_assert!(error.span.start <= text.len());
        }
    }
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z_:][a-z0-9_:]{0,5}_", Just("sum".to_owned()), Just("start".to_owned())]
}

fn labels() -> impl Strategy<Value = String> {
    prop::collection::vec("[a-z_]{1,5}_|by|on|group_left", 0..3)
        .prop_map(|labels| format!("({})", labels.join(", ")))
}

fn selector() -> impl Strategy<Value = String> {
    let matcher =
        ("[a-z_]{1,5}", prop::sample::select(vec!["=", "!=", "=~", "!~"]), "[a-z|.]{0,5}")
            .prop_map(|(name, op, value)| format!("{name}{op}\"{value}\""));
    (name(), prop::collection::vec(matcher, 0..3))
        .prop_map(|(name, matchers)| format!("{name}{{{}}}", matchers.join(",")))
}

/// `@` and `offset`, in both orders.
fn when() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => Just(String::new()),
        1 => "( offset -?[1-9][0-9]?(ms|s|m|h|d|w|y))( @ (start\\(\\)|end\\(\\)|-?[0-9]{1,4}))?",
        1 => "( @ (start\\(\\)|end\\(\\)|-?[0-9]{1,4}))( offset [1-9]h[1-9]m)?",
    ]
}

fn scalar() -> impl Strategy<Value = String> {
    prop_oneof![
        "[0-9]{1,3}",
        "[0-9]\\.[0-9]e-?[0-9]",
        "[1-9]m[1-9]s",
        "-?Inf|NaN|time\\(\\)|pi\\(\\)"
    ]
}

fn vector() -> impl Strategy<Value = String> {
    let arithmetic = || prop::sample::select(vec!["+", "-", "*", "/", "%", "^", "atan2"]);
    let comparison = || prop::sample::select(vec!["==", "!=", "<", "<=", ">", ">="]);
    let set = || prop::sample::select(vec!["and", "or", "unless"]);
    let matching = || {
        prop_oneof![
            Just(String::new()),
            labels().prop_map(|labels| format!(" on {labels}")),
            labels().prop_map(|labels| format!(" ignoring {labels}")),
        ]
    };
    let group = || prop::sample::select(vec!["", " group_left ()", " group_right (zz)"]);
    let leaf = (selector(), when()).prop_map(|(selector, when)| selector + &when);
    leaf.prop_recursive(6, 40, 3, move |inner| {
        let i = || inner.clone();
        prop_oneof![
            i().prop_map(|a| format!("({a})")),
            i().prop_map(|a| format!("-{a}")),
            (i(), arithmetic(), i()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
            (i(), arithmetic(), scalar()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
            (scalar(), comparison(), i()).prop_map(|(a, op, b)| format!("{a} {op} bool {b}")),
            (i(), arithmetic(), matching(), group(), i()).prop_map(|(a, op, on, group, b)| {
                let group = if on.is_empty() { "" } else { group };
                format!("({a}) {op}{on}{group} ({b})")
            }),
            (i(), set(), matching(), i()).prop_map(|(a, op, on, b)| format!("{a} {op}{on} {b}")),
            (i(), labels()).prop_map(|(a, by)| format!("sum by {by} ({a})")),
            (i(), labels()).prop_map(|(a, by)| format!("topk(3, {a}) without {by}")),
            (i(), when()).prop_map(|(a, when)| format!("max_over_time(({a})[5m:1m]{when})")),
            (selector(), when()).prop_map(|(a, when)| format!("rate({a}[5m]{when})")),
            (i(), scalar()).prop_map(|(a, to)| format!("round({a}, {to})")),
        ]
    })
}

fn shape(tree: &Expr) -> String {
    match &tree.node {
        Node::Number(_) => "n".to_owned(),
        Node::String(_) => "s".to_owned(),
        Node::Vector(of) => format!("v{}", of.matchers.len()),
        Node::Matrix(of) => format!("m{}", of.selector.matchers.len()),
        Node::Subquery(of) => format!("(: {})", shape(&of.expr)),
        Node::Paren(inner) => format!("({})", shape(inner)),
        Node::Unary(unary) if unary.negative => format!("(- {})", shape(&unary.operand)),
        // The other parser forgets it.
        Node::Unary(unary) => shape(&unary.operand),
        Node::Binary(of) => format!("({} {} {})", shape(&of.left), of.op, shape(&of.right)),
        Node::Aggregate(Aggregate { op, expr, param, labels, without }) => {
            let param = param.as_ref().map_or(String::new(), |param| shape(param));
            format!("({} {without} {labels:?} {param} {})", op.name(), shape(expr))
        }
        Node::Call(call) => {
            let args: Vec<_> = call.args.iter().map(shape).collect();
            format!("({} {})", call.function.signature().name, args.join(" "))
        }
    }
}

fn their_shape(tree: &other::Expr) -> String {
    use other::Expr::*;
    let matchers =
        |of: &other::VectorSelector| of.matchers.matchers.len() + usize::from(of.name.is_some());
    match tree {
        NumberLiteral(_) => "n".to_owned(),
        StringLiteral(_) => "s".to_owned(),
        VectorSelector(of) => format!("v{}", matchers(of)),
        MatrixSelector(of) => format!("m{}", matchers(&of.vs)),
        Subquery(of) => format!("(: {})", their_shape(&of.expr)),
        Paren(of) => format!("({})", their_shape(&of.expr)),
        Unary(of) => format!("(- {})", their_shape(&of.expr)),
        Binary(of) => {
            format!("({} {} {})", their_shape(&of.lhs), of.op, their_shape(&of.rhs))
        }
        Aggregate(of) => {
            let param = of.param.as_ref().map_or(String::new(), |param| their_shape(param));
            let (without, labels) = match &of.modifier {
                Some(LabelModifier::Exclude(labels)) => (true, labels.labels.clone()),
                Some(LabelModifier::Include(labels)) => (false, labels.labels.clone()),
                None => (false, Vec::new()),
            };
            format!("({} {without} {labels:?} {param} {})", of.op, their_shape(&of.expr))
        }
        Call(of) => {
            let args: Vec<_> = of.args.args.iter().map(|arg| their_shape(arg)).collect();
            format!("({} {})", of.func.name, args.join(" "))
        }
        Extension(_) => unreachable!("no query has one"),
    }
}

/// A folder of the conformance data; `None`, said out loud, where it is absent.
fn folder(name: &str) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/conformance");
    let folder =
        std::env::var_os("HMS_OPS_CONFORMANCE").map_or_else(beside, PathBuf::from).join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    let required = std::env::var("HMS_OPS_REQUIRE_PEERS").is_ok_and(|required| required == "1");
    assert!(!required, "{} is absent and required", folder.display());
    println!("skipped: {} is absent", folder.display());
    None
}
