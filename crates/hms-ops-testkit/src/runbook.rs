//! The suite of [`Capability`]: what a grant does not say is denied.
//!
//! ```no_run
//! use hms_ops_testkit::runbook::CapabilityUnderTest;
//! use serde_json::json;
//! # fn restart() -> Box<dyn hms_ops_core::runbook::Capability> { todo!() }
//!
//! hms_ops_testkit::capability_suite!(CapabilityUnderTest {
//!     capability: restart(),
//!     grant: json!({ "jobs": ["import"] }),
//!     allowed: vec![json!({ "job": "import" })],
//!     denied: vec![json!({ "job": "billing" }), json!({})],
//! });
//! ```

use hms_ops_core::runbook::Capability;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value as Json, json};

/// A capability, and examples of what a grant allows.
#[derive(Debug)]
pub struct CapabilityUnderTest {
    /// The backend.
    pub capability: Box<dyn Capability>,
    /// A grant with limits; `null` for a capability that needs none, as `note` does.
    pub grant: Json,
    /// Arguments within them.
    pub allowed: Vec<Json>,
    /// Arguments beyond them, or that are none; empty if the capability knows no limits.
    pub denied: Vec<Json>,
}

/// One test for each promise of [`Capability`](hms_ops_core::runbook::Capability); see
/// [`runbook`](crate::runbook).
#[macro_export]
macro_rules! capability_suite {
    ($capability:expr) => {
        $crate::cases! { $capability;
            the_capability_has_a_name
            what_the_grant_says_is_allowed
            what_the_grant_lacks_is_denied_with_a_reason
            an_empty_grant_grants_nothing
            no_grant_and_no_argument_makes_a_check_panic
            ; runbook
        }
    };
}

/// Policies and calls know it by one word.
pub async fn the_capability_has_a_name(test: CapabilityUnderTest) {
    let name = test.capability.name();
    assert!(!name.is_empty() && !name.contains(char::is_whitespace), "{name:?}");
}

/// A sensible grant passes, and so do the calls within it, as often as they come.
pub async fn what_the_grant_says_is_allowed(test: CapabilityUnderTest) {
    test.capability.check_grant(&test.grant).unwrap();
    for args in test.allowed.iter().chain(&test.allowed) {
        test.capability.check(&test.grant, args).unwrap();
    }
}

/// Also after a call that was allowed, and again when it is tried again.
pub async fn what_the_grant_lacks_is_denied_with_a_reason(test: CapabilityUnderTest) {
    for args in test.allowed.iter().chain(&test.denied).chain(&test.denied) {
        if test.denied.contains(args) {
            assert_denied(&test, &test.grant, args);
        }
    }
}

/// Nothing granted is nothing allowed; where there are limits, a grant must say them. A capability
/// that needs no grant is not asked.
pub async fn an_empty_grant_grants_nothing(test: CapabilityUnderTest) {
    if test.grant.is_null() {
        return;
    }
    let empty: &[Json] = if test.denied.is_empty() {
        &[json!(null), json!(false)]
    } else {
        &[json!(null), json!(false), json!({}), json!([])]
    };
    for (grant, args) in empty.iter().flat_map(|grant| test.allowed.iter().map(move |a| (grant, a)))
    {
        assert_denied(&test, grant, args);
    }
}

/// Grants are written by people, arguments by whatever runs in the sandbox.
pub async fn no_grant_and_no_argument_makes_a_check_panic(test: CapabilityUnderTest) {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|v| json!(v)),
        any::<i64>().prop_map(|v| json!(v)),
        any::<f64>().prop_map(|v| json!(v)),
        ".{0,12}".prop_map(|v| json!(v)),
    ];
    // Real names lead deeper into a check than made-up ones.
    let mut names: Vec<String> = vec!["x".to_owned()];
    for object in test.allowed.iter().chain([&test.grant]).filter_map(Json::as_object) {
        names.extend(object.keys().cloned());
    }
    let any_json = leaf.prop_recursive(3, 12, 4, move |inner| {
        let name = prop::sample::select(names.clone());
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Json::Array),
            prop::collection::vec((name, inner), 0..4)
                .prop_map(|pairs| Json::Object(pairs.into_iter().collect())),
        ]
    });
    let config = Config { cases: 256, failure_persistence: None, ..Config::default() };
    let tried = TestRunner::new(config).run(&(any_json.clone(), any_json), |(grant, args)| {
        let capability = &test.capability;
        let _ = (capability.check_grant(&grant), capability.check(&grant, &args));
        let _ = capability.check(&test.grant, &args);
        for allowed in &test.allowed {
            let _ = capability.check(&grant, allowed);
        }
        Ok(())
    });
    if let Err(failure) = tried {
        panic!("{failure}");
    }
}

fn assert_denied(test: &CapabilityUnderTest, grant: &Json, args: &Json) {
    let reason = test.capability.check(grant, args).err();
    let told = reason.as_ref().is_some_and(|reason| !reason.is_empty());
    assert!(told, "{grant} for {args} gave {reason:?}");
}
