//! The runbook of `hms-ops lab`.
//!
//! It is linked into this binary and not into the library, so that a team's own engine, which calls
//! [`hms_ops_cli::main`] too, has the team's runbooks and no other.

use hms_ops::prelude::*;

#[runbook(on_alert = "eligibility.latency_ms")]
async fn rollover(ctx: &mut RunbookContext) -> RunbookResult {
    ctx.mesh().shift("eligibility-svc", "cluster-b").await?;
    ctx.note("traffic shifted to cluster-b").await
}
