//! `hms-ops lab`: that it begins, and that nothing is left when it ends. Its drill is a stage of
//! `cargo xtask test`.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::path::Path;
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
fn start(data: &Path) -> (Running, Vec<Process>) {
    let (lab, started) = start_and_say(data);
    let ids: Vec<i32> =
        serde_json::from_value(started["processes"].clone()).expect("ids are numbers");
    assert_eq!(ids.len(), 3, "two clusters and the users");
    (lab, ids.into_iter().map(Process::of).collect())
}

/// A lab that is up, and what it said.
fn start_and_say(data: &Path) -> (Running, Value) {
    let lab = Running::start(&[&LAB[..], &["--data", data.to_str().unwrap()]].concat());
    let started: Value = serde_json::from_str(&lab.line()).expect("the first line is JSON");
    assert_eq!(started["kind"], "lab_started");
    (lab, started)
}

/// The instants, in milliseconds, for which a lab's page shows latencies; waits until there is one.
fn shown(page: &str) -> Vec<i64> {
    let host = page.trim_start_matches("http://").trim_end_matches('/');
    for _ in 0..100 {
        let mut stream = TcpStream::connect(host).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let path = "/api/stream?service=eligibility-svc";
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").unwrap();
        for line in BufReader::new(stream).lines() {
            let line = line.expect("the stream goes on");
            if line == "event: resync" {
                break;
            }
            let data = line.strip_prefix("data: ").and_then(|data| serde_json::from_str(data).ok());
            let Some(data): Option<Value> = data else { continue };
            let points = data["points"].as_array().into_iter().flatten();
            let known = points.filter(|point| !point[1].is_null());
            let known: Vec<_> = known.filter_map(|point| point[0].as_i64()).collect();
            if !known.is_empty() {
                return known;
            }
        }
    }
    panic!("the stream begins anew again and again");
}

#[test]
fn the_page_shows_the_history_of_the_lab_before() {
    let folder = tempfile::tempdir().unwrap();
    let mut pages = Vec::new();
    for _ in 0..2 {
        let (lab, started) = start_and_say(folder.path());
        pages.push(shown(started["page"].as_str().unwrap()));
        lab.signal(Signal::INT);
        let (status, said) = lab.wait();
        assert!(status.success(), "{status}: {said}");
    }
    assert!(pages[0].iter().all(|at| pages[1].contains(at)), "{pages:?}");
}

#[test]
fn ctrl_c_ends_everything() {
    for signal in [Signal::INT, Signal::TERM] {
        let folder = tempfile::tempdir().unwrap();
        let (lab, processes) = start(folder.path());
        lab.signal(signal);
        let (status, said) = lab.wait();
        assert!(status.success(), "{status}: {said}");
        assert_eq!(said, "");
        assert!(processes.iter().all(|process| process.ends(Duration::ZERO)));
    }
}

#[test]
fn a_lab_that_is_killed_takes_its_processes_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let (lab, processes) = start(folder.path());
    lab.signal(Signal::KILL);
    let (status, _) = lab.wait();
    assert!(!status.success());
    assert!(processes.iter().all(|process| process.ends(DEADLINE)));
}
