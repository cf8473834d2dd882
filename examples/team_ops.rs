//! A team's own engine: everything that `hms-ops` does, with the team's runbooks linked in.
//!
//! `cargo run --example team_ops -- serve --config examples/team_ops.toml`, then open
//! `http://127.0.0.1:9110/`; Ctrl-C ends it. `… -- check examples/team_ops.toml` only reads the file.

use std::process::ExitCode;

use hms_ops::prelude::*;

#[runbook(on_alert = "claims.latency_ms", timeout = "30s")]
async fn rollover_claims(ctx: &mut RunbookContext) -> RunbookResult {
    let report = ctx.mesh().shift("claims", "cluster-b").await?;
    ctx.note(format!("claims shifted to cluster-b: {}", report.state.word())).await
}

fn main() -> ExitCode {
    hms_ops_cli::main()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_config_beside_this_example_is_valid() {
        let folder = env!("CARGO_MANIFEST_DIR");
        let config = Config::from_file(format!("{folder}/examples/team_ops.toml")).unwrap();
        assert_eq!(config.targets().len(), 2);
    }
}
