//! What the lab is made of: names, budgets, and how long things take.

use std::time::Duration;

use hms_ops::core::metric::Budget;

pub(crate) const SERVICE: &str = "eligibility-svc";
pub(crate) const METRIC: &str = "eligibility.latency_ms";
pub(crate) const BUDGET_MS: f64 = 300.0;
/// The cluster that serves first, and the warm standby.
pub(crate) const CLUSTERS: [&str; 2] = ["cluster-a", "cluster-b"];
pub(crate) const RUNBOOK: &str = "rollover";
pub(crate) const USERS: u32 = 20;
/// Requests a second, of all users together.
pub(crate) const RATE: u32 = 60;
/// The fault: so much longer takes every request.
pub(crate) const FAULT_MS: u64 = 500;
/// What the lab's runbook may do, and nothing else.
pub(crate) const POLICY: &str = "\
[runbook.rollover]
mesh.shift = { services = [\"eligibility-svc\"], to = [\"cluster-b\"] }
";

/// How long things take in this lab.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Setting {
    pub(crate) budget: Budget,
    pub(crate) scrape: Duration,
    /// When a drill gives up.
    pub(crate) patience: Duration,
}

impl Setting {
    pub(crate) fn new(fast: bool) -> Self {
        let secs = Duration::from_secs;
        let budget = Budget::new(BUDGET_MS);
        if fast {
            let budget = budget.mean_over(secs(5)).hold(secs(5)).recover(secs(3));
            Self { budget, scrape: secs(1), patience: secs(90) }
        } else {
            let budget = budget.mean_over(secs(60)).hold(secs(120)).recover(secs(60));
            Self { budget, scrape: secs(5), patience: secs(600) }
        }
    }
}
