//! Every way in which a run ends, as the ledger tells it.

use std::fs;
use std::time::Duration;

use hms_ops_core::ledger::Event;
use hms_ops_core::runbook::{ExecutionId, Outcome, RunbookError};
use hms_ops_core::time::Timestamp;

use crate::world::{CALLERS, World, alert};

#[tokio::test]
async fn a_runbook_runs_in_another_process_and_everything_it_does_is_written_down() {
    let world = World::new().await;
    assert_eq!(world.run("rollover").await, Outcome::Completed);

    let process = world.wait_for(|event| match event {
        Event::RunStarted { process, .. } => Some(*process),
        _ => None,
    });
    let process = process.await;
    assert_ne!(process, std::process::id());
    assert_eq!(
        world.story().await,
        [
            "claimed rollover",
            "started",
            "intent 1 mesh.shift",
            "result 1 ok",
            "intent 2 note",
            &format!("note process {process}: hurricane"),
            "result 2 ok",
            "completed",
        ]
    );
    assert_gone(process);
}

#[tokio::test]
async fn the_same_incident_has_one_run_of_a_runbook() {
    let world = World::new().await;
    assert_eq!(world.run("rollover").await, Outcome::Completed);
    assert_eq!(world.executor.run("rollover", alert()).await.unwrap(), None);
}

#[tokio::test]
async fn what_the_policy_does_not_grant_is_denied_and_recorded() {
    let world = World::new().await;
    let capability = "mesh.shift".to_owned();
    let reason = "the policy grants asks_for_too_much no mesh.shift".to_owned();
    let error = RunbookError::Denied { capability, reason };
    assert_eq!(world.run("asks_for_too_much").await, Outcome::Failed { error });
    assert_eq!(
        world.story().await[2..4],
        [
            "intent 1 mesh.shift",
            "result 1: denied: the policy grants asks_for_too_much no mesh.shift",
        ]
    );
    assert_eq!(world.run("ignores_its_denial").await, Outcome::Completed);
    let story = world.story().await;
    assert!(
        story.contains(&"note shell denied: there is no such capability".to_owned()),
        "{story:?}"
    );
}

#[tokio::test]
async fn a_panic_an_error_and_an_early_exit_are_reported_as_what_they_are() {
    let world = World::new().await;
    let ends = [
        ("panics", Outcome::Panicked { message: "no cluster c".into() }),
        ("fails", Outcome::Failed { error: RunbookError::failed("the standby is cold") }),
        ("exits", Outcome::NoOutcome { exit: "exit status: 0".into() }),
        ("aborts", Outcome::NoOutcome { exit: "signal: 6 (SIGABRT) (core dumped)".into() }),
    ];
    for (runbook, expected) in ends {
        let mut outcome = world.run(runbook).await;
        if let Outcome::NoOutcome { exit } = &mut outcome
            && exit.starts_with("signal: 6 (SIGABRT)")
        {
            // Whether there is a core dump is the host's choice.
            *exit = "signal: 6 (SIGABRT) (core dumped)".into();
        }
        assert_eq!(outcome, expected, "{runbook}");
    }
}

#[tokio::test]
async fn a_runbook_that_hangs_is_killed_at_its_time_even_if_it_never_yields() {
    let world = World::new().await;
    for runbook in ["sleeps", "spins"] {
        let after = Duration::from_millis(300);
        assert_eq!(world.run(runbook).await, Outcome::TimedOut { after }, "{runbook}");
    }
}

#[tokio::test]
async fn at_its_time_all_that_a_runbook_started_is_killed_too() {
    let world = World::new().await;
    let (outcome, ids) = tokio::join!(world.run("leaves_descendants"), async {
        world.wait_for(|event| matches!(event, Event::Note { .. }).then_some(())).await;
        // All four are there, wherever they went in the process tree.
        loop {
            let ids = running("sleep\x00360");
            if ids.len() == 4 {
                break ids;
            }
            tokio::task::yield_now().await;
        }
    });
    assert_eq!(outcome, Outcome::TimedOut { after: Duration::from_secs(1) });
    ids.into_iter().for_each(assert_gone);
}

#[tokio::test]
async fn a_flood_of_calls_of_bytes_or_of_output_ends_the_run() {
    let world = World::new().await;
    for (runbook, reason) in [
        ("calls_without_end", "more than 1000 calls"),
        ("says_too_much", "more than 1048576 bytes of messages"),
        ("prints_without_end", "more than 1048576 bytes of output"),
    ] {
        let reason = reason.to_owned();
        assert_eq!(world.run(runbook).await, Outcome::BrokeProtocol { reason }, "{runbook}");
    }
}

#[tokio::test]
async fn an_answer_too_long_to_be_sent_is_told_to_ledger_and_runbook_alike() {
    let world = World::new().await;
    assert_eq!(world.run("is_told_too_much").await, Outcome::Completed);
    let reason = "the answer of 65536 bytes is too long, the limit is 65472";
    let told = [
        "intent 1 long",
        &format!("result 1: {reason}"),
        "intent 2 note",
        &format!("note {reason}"),
    ];
    assert_eq!(world.story().await[2..6], told);
}

#[tokio::test]
async fn what_a_runbook_prints_is_kept() {
    let world = World::new().await;
    world.run("prints").await;
    let output = world.wait_for(|event| match event {
        Event::RunFinished { output, .. } => Some(output.clone()),
        _ => None,
    });
    let output = output.await;
    assert!(output.contains("to the output\nto the error output\n"), "{output}");
}

#[tokio::test]
async fn a_process_killed_in_the_middle_of_a_call_leaves_the_call_and_its_result_on_record() {
    let world = World::new().await;
    let alert = alert();
    let id =
        ExecutionId::of("waits_for_the_host", &alert.fingerprint, Timestamp::from_millis(5000));
    CALLERS.lock().unwrap().push(id.to_string());
    let (outcome, ()) = tokio::join!(world.run("waits_for_the_host"), async {
        let process = world.wait_for(|event| match event {
            Event::RunStarted { process, .. } => Some(*process),
            _ => None,
        });
        let process = process.await;
        world.wait_for(|event| matches!(event, Event::CallIntent { .. }).then_some(())).await;
        let mut kill = tokio::process::Command::new("kill");
        assert!(kill.args(["-9", &process.to_string()]).status().await.unwrap().success());
        CALLERS.lock().unwrap().retain(|caller| *caller != id.to_string());
    });
    assert_eq!(outcome, Outcome::NoOutcome { exit: "signal: 9 (SIGKILL)".into() });
    assert_eq!(
        world.story().await,
        [
            "claimed waits_for_the_host",
            "started",
            "intent 1 block",
            "result 1 ok",
            "ended without an outcome: signal: 9 (SIGKILL)",
        ]
    );
}

#[tokio::test]
async fn while_action_is_held_no_runbook_starts() {
    let world = World::new().await;
    world.executor.hold(Some("storm drill".into()));
    let outcome = world.run("rollover").await;
    let reason = "automatic action is held: storm drill".to_owned();
    assert_eq!(outcome, Outcome::Cancelled { reason });
    assert_eq!(world.story().await.len(), 2, "no process was started");
}

#[tokio::test]
async fn a_runbook_gets_no_environment_and_nothing_on_its_standard_input() {
    let world = World::new().await;
    assert_eq!(world.run("has_nothing_from_the_host").await, Outcome::Completed);
    let story = world.story().await;
    assert!(story.contains(&"note 0 variables, \"\" from standard input".to_owned()), "{story:?}");
}

#[tokio::test]
async fn shutdown_cancels_what_runs_and_says_so() {
    let world = World::new().await;
    world.executor.spawn("waits_for_the_host", {
        let mut alert = alert();
        alert.state =
            hms_ops_core::alert::AlertState::Firing { since: Timestamp::from_millis(6000) };
        alert
    });
    let process = world.wait_for(|event| match event {
        Event::RunStarted { process, .. } => Some(*process),
        _ => None,
    });
    let process = process.await;
    world.executor.shutdown().await;
    assert_gone(process);
    let last = world.story().await.pop().unwrap();
    assert!(last == "cancelled: the service shut down" || last == "completed", "{last}");
}

#[tokio::test]
async fn a_host_where_runbooks_can_run_passes_its_own_test() {
    World::new().await.executor.self_test().await.unwrap();
}

/// Processes whose command line begins with this; arguments are separated by NUL.
fn running(command: &str) -> Vec<u32> {
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter(|id| {
            let line = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).starts_with(command)
        })
        .collect()
}

fn assert_gone(process: u32) {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let alive = stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'));
    assert!(!alive, "process {process} is still there: {stat}");
}
