//! A series selector, as a runbook or a person writes it.
#![no_main]

use hms_ops_core::labels::Labels;
use hms_ops_core::matcher::Selector;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(selector) = text.parse::<Selector>() else { return };
    assert!(!selector.accepts(&Labels::empty()), "it selects every series");

    let printed = print(&selector);
    let again: Selector = printed.parse().expect("what is printed can be read");
    assert_eq!(print(&again), printed);
});

fn print(selector: &Selector) -> String {
    let matchers: Vec<_> = selector.matchers().iter().map(ToString::to_string).collect();
    format!("{{{}}}", matchers.join(","))
}
