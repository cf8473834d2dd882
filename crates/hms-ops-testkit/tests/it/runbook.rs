//! A capability of a few lines, whole and with flaws.

use async_trait::async_trait;
use hms_ops_core::runbook::{Capability, Invocation};
use hms_ops_testkit::capability_suite;
use hms_ops_testkit::runbook::{self, CapabilityUnderTest};
use serde_json::{Value as Json, json};

use super::fails;

/// Restarts jobs that the grant lists; `open_by_default` ones where there is no list.
#[derive(Debug)]
struct Restart {
    open_by_default: bool,
}

#[async_trait]
impl Capability for Restart {
    fn name(&self) -> &str {
        "jobs.restart"
    }

    fn check_grant(&self, grant: &Json) -> Result<(), String> {
        let jobs = grant["jobs"].as_array().ok_or("jobs: must be a list")?;
        jobs.iter().all(Json::is_string).then_some(()).ok_or_else(|| "jobs: not names".to_owned())
    }

    fn check(&self, grant: &Json, args: &Json) -> Result<(), String> {
        let job = args["job"].as_str().ok_or("job: must be a name")?;
        match grant["jobs"].as_array() {
            Some(jobs) if jobs.iter().any(|granted| granted == job) => Ok(()),
            None if self.open_by_default => Ok(()),
            _ => Err(format!("job {job:?} is not granted")),
        }
    }

    async fn invoke(&self, _: &Invocation<'_>, _: Json) -> Result<Json, String> {
        Ok(json!(null))
    }
}

fn restart(open_by_default: bool) -> CapabilityUnderTest {
    CapabilityUnderTest {
        capability: Box::new(Restart { open_by_default }),
        grant: json!({ "jobs": ["import"] }),
        allowed: vec![json!({ "job": "import" })],
        denied: vec![json!({ "job": "billing" }), json!({})],
    }
}

mod a_whole_one {
    use super::*;

    capability_suite!(restart(false));
}

#[test]
fn one_that_is_open_by_default_is_found() {
    assert!(fails(runbook::an_empty_grant_grants_nothing(restart(true))));
}
