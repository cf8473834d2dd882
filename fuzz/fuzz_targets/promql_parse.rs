//! A query, as a person or a dashboard writes it.
#![no_main]

use hms_ops_promql::format::pretty;
use hms_ops_promql::parse;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let tree = match parse(text) {
        Ok(tree) => tree,
        Err(error) => {
            assert!(error.span.start <= text.len() && error.span.end <= text.len());
            return;
        }
    };
    assert!(tree.span.end <= text.len(), "it ends after the query");

    let printed = tree.to_string();
    // Spaces are added, which may make a text longer than a query may be.
    for again in [&printed, &pretty(&tree)] {
        if again.len() <= hms_ops_promql::MAX_QUERY {
            let again = parse(again).expect("what is printed can be parsed");
            assert_eq!(unsigned(&again.to_string()), unsigned(&printed));
        }
    }
});

/// `+Inf ^ 2` is read as a sign before a power, and printed with one more.
fn unsigned(text: &str) -> String {
    text.replace("+Inf", "Inf").replace('+', "")
}
