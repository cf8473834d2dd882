//! `hms-ops lab`: that it begins, and that nothing is left when it ends. Its drill is a stage of
//! `cargo xtask test`.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};
use serde_json::Value;

use crate::program::{DEADLINE, Running};

const LAB: [&str; 5] = ["lab", "--fast", "--json", "--port", "0"];

/// One process of a lab; it is that process even if its id is given to another later.
struct Process(OwnedFd);

impl Process {
    fn of(id: i32) -> Self {
        let id = Pid::from_raw(id).expect("an id is not 0");
        Self(pidfd_open(id, PidfdFlags::empty()).expect("it runs"))
    }

    /// Whether it has ended, or does so in this time.
    fn ends(&self, within: Duration) -> bool {
        let within = Timespec::try_from(within).expect("a deadline is short");
        poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&within)) == Ok(1)
    }
}

/// A lab that is up, and its processes.
fn start() -> (Running, Vec<Process>) {
    let lab = Running::start(&LAB);
    let started: Value = serde_json::from_str(&lab.line()).expect("the first line is JSON");
    assert_eq!(started["kind"], "lab_started");
    let ids: Vec<i32> =
        serde_json::from_value(started["processes"].clone()).expect("ids are numbers");
    assert_eq!(ids.len(), 3, "two clusters and the users");
    (lab, ids.into_iter().map(Process::of).collect())
}

#[test]
fn ctrl_c_ends_everything() {
    for signal in [Signal::INT, Signal::TERM] {
        let (lab, processes) = start();
        lab.signal(signal);
        let (status, said) = lab.wait();
        assert!(status.success(), "{status}: {said}");
        assert_eq!(said, "");
        assert!(processes.iter().all(|process| process.ends(Duration::ZERO)));
    }
}

#[test]
fn a_lab_that_is_killed_takes_its_processes_with_it() {
    let (lab, processes) = start();
    lab.signal(Signal::KILL);
    let (status, _) = lab.wait();
    assert!(!status.success());
    assert!(processes.iter().all(|process| process.ends(DEADLINE)));
}
