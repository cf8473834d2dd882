//! `hms-ops lab`: that it begins, and that nothing is left when it ends. Its drill is a stage of
//! `cargo xtask test`.

use std::fs;

use rustix::process::Signal;
use serde_json::Value;

use crate::program::Running;

const LAB: [&str; 5] = ["lab", "--fast", "--json", "--port", "0"];

/// A lab that is up, and the ids of its processes.
fn start() -> (Running, Vec<u64>) {
    let lab = Running::start(&LAB);
    let started: Value = serde_json::from_str(&lab.line()).expect("the first line is JSON");
    assert_eq!(started["kind"], "lab_started");
    let processes: Vec<u64> =
        serde_json::from_value(started["processes"].clone()).expect("ids are numbers");
    assert_eq!(processes.len(), 3, "two clusters and the users");
    assert!(processes.iter().all(|id| is_running(*id)), "{processes:?}");
    (lab, processes)
}

/// Whether a process is there and not only waiting to be buried, which is its new parent's business.
fn is_running(id: u64) -> bool {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").and_then(|(_, tail)| tail.chars().next());
    state.is_some_and(|state| state != 'Z')
}

#[test]
fn ctrl_c_ends_everything() {
    for signal in [Signal::INT, Signal::TERM] {
        let (lab, processes) = start();
        lab.signal(signal);
        let (status, said) = lab.wait();
        assert!(status.success(), "{status}: {said}");
        assert_eq!(said, "");
        assert!(!processes.iter().any(|id| is_running(*id)), "{processes:?}");
    }
}

#[test]
fn a_lab_that_is_killed_takes_its_processes_with_it() {
    let (lab, processes) = start();
    lab.signal(Signal::KILL);
    let (status, _) = lab.wait();
    assert!(!status.success());
    assert!(!processes.iter().any(|id| is_running(*id)), "{processes:?}");
}
