//! The policy: what runbooks may do, as an operator writes it.
#![no_main]

use std::collections::BTreeMap;
use std::sync::Arc;

use hms_ops_core::runbook::Capability;
use hms_ops_runbook::Policy;
use hms_ops_runbook::capability::NoteCapability;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let policy = match Policy::parse("ops.toml", text) {
        Ok(policy) => policy,
        Err(error) => {
            assert!(error.to_string().starts_with("ops.toml:"), "{error}");
            return;
        }
    };
    let _ = (policy.grant("rollover", "mesh.shift"), policy.params("rollover"));
    let note: Arc<dyn Capability> = Arc::new(NoteCapability);
    let known = BTreeMap::from([("note".to_owned(), note)]);
    if let Err(error) = policy.check(&["rollover"], &known) {
        assert!(error.to_string().starts_with("ops.toml:"), "{error}");
    }
});
