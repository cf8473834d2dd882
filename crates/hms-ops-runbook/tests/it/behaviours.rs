//! Runbooks that behave in every way, registered by hand as `#[runbook]` would.

use std::process::Command;
use std::time::Duration;

use async_trait::async_trait;
use hms_ops_core::runbook::{
    Registration, Runbook, RunbookContext, RunbookError, RunbookResult, RunbookSpec,
};
use serde_json::json;

macro_rules! runbook {
    ($name:ident, $timeout_ms:literal, |$ctx:ident| $body:expr) => {
        #[allow(non_camel_case_types)]
        struct $name;

        #[async_trait]
        impl Runbook for $name {
            fn spec(&self) -> RunbookSpec {
                RunbookSpec {
                    name: stringify!($name).into(),
                    on_alert: vec!["eligibility.latency_ms".into()],
                    timeout: Duration::from_millis($timeout_ms),
                }
            }

            #[allow(unreachable_code)]
            async fn run(&self, $ctx: &mut RunbookContext) -> RunbookResult {
                $body
            }

            async fn compensate(&self, _: &mut RunbookContext) -> RunbookResult {
                Err(RunbookError::Unsupported)
            }
        }

        hms_ops_runbook::inventory::submit! {
            Registration { name: stringify!($name), make: || Box::new($name) }
        }
    };
}

runbook!(rollover, 60_000, |ctx| {
    #[derive(serde::Deserialize)]
    struct Params {
        reason: String,
    }
    let Params { reason } = ctx.params()?;
    ctx.mesh().shift("eligibility-svc", "cluster-b").await?;
    ctx.note(format!("process {}: {reason}", std::process::id())).await
});

runbook!(asks_for_too_much, 60_000, |ctx| {
    ctx.mesh().shift("payments-svc", "cluster-b").await.map(|_| ())
});

runbook!(ignores_its_denial, 60_000, |ctx| {
    let denied = ctx.call("shell", json!({ "command": "rm -rf /" })).await;
    ctx.note(format!("{}", denied.unwrap_err())).await
});

runbook!(panics, 60_000, |_ctx| panic!("no cluster {}", "c"));
runbook!(fails, 60_000, |_ctx| Err("the standby is cold".into()));
runbook!(exits, 60_000, |_ctx| std::process::exit(0));
runbook!(aborts, 60_000, |_ctx| std::process::abort());
runbook!(sleeps, 300, |_ctx| {
    tokio::time::sleep(Duration::from_secs(3600)).await;
    Ok(())
});
runbook!(spins, 300, |_ctx| {
    loop {
        std::hint::spin_loop();
    }
});

runbook!(calls_without_end, 60_000, |ctx| {
    loop {
        ctx.note("again").await?;
    }
});

runbook!(says_too_much, 60_000, |ctx| {
    for _ in 0..100 {
        let _ = ctx.call("note", json!({ "text": "x".repeat(60_000) })).await;
    }
    Ok(())
});

runbook!(prints_without_end, 60_000, |_ctx| {
    loop {
        println!("{}", "x".repeat(1000));
    }
});

runbook!(prints, 60_000, |_ctx| {
    println!("to the output");
    eprintln!("to the error output");
    Ok(())
});

runbook!(waits_for_the_host, 60_000, |ctx| ctx.call("block", json!(null)).await.map(|_| ()));

runbook!(is_told_too_much, 60_000, |ctx| {
    let error = ctx.call("long", json!(null)).await.unwrap_err();
    ctx.note(error.to_string()).await
});

// A child, a child of a child whose parent ends at once, and one in a session of its own.
runbook!(leaves_descendants, 1000, |ctx| {
    let script = "sleep 3601 & (sleep 3602 &) ; setsid sleep 3603 & sleep 3604";
    Command::new("/bin/sh").args(["-c", script]).spawn().map_err(RunbookError::failed)?;
    ctx.note("they run").await?;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    Ok(())
});

runbook!(has_nothing_from_the_host, 60_000, |ctx| {
    let variables = std::env::vars().count();
    let mut nothing = String::new();
    std::io::stdin().read_line(&mut nothing).map_err(RunbookError::failed)?;
    ctx.note(format!("{variables} variables, {nothing:?} from standard input")).await
});
