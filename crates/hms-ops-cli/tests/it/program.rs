//! Runs the binary, and waits for what it says with a deadline.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

/// A test that waits for longer has failed. Much longer than anything takes, for busy machines.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

fn hms_ops(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hms-ops"));
    command.args(args).stdin(Stdio::null());
    command
}

/// Runs it to its end.
pub(crate) fn run(args: &[&str]) -> Output {
    hms_ops(args).output().expect("the binary starts")
}

/// Runs what must be refused: the exit status is 2, nothing is on standard output, and one line on
/// standard error, which is returned.
pub(crate) fn refusal(args: &[&str]) -> String {
    let Output { status, stdout, stderr } = run(args);
    let said = String::from_utf8(stderr).expect("it says text");
    assert_eq!(status.code(), Some(2), "{args:?}: {said}");
    assert!(stdout.is_empty(), "{args:?}");
    assert_eq!(said.lines().count(), 1, "{args:?}: {said}");
    assert!(!said.contains('\x1b'), "{args:?}: {said}");
    said.trim_end().to_owned()
}

/// One that runs until it is ended.
pub(crate) struct Running {
    child: Child,
    lines: Receiver<String>,
    stderr: Receiver<String>,
}

impl Running {
    pub(crate) fn start(args: &[&str]) -> Self {
        let mut child = hms_ops(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let (tell_line, lines) = channel();
        let stdout = BufReader::new(child.stdout.take().expect("it is a pipe"));
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if tell_line.send(line).is_err() {
                    break;
                }
            }
        });
        let (tell_all, stderr) = channel();
        let mut from = child.stderr.take().expect("it is a pipe");
        thread::spawn(move || {
            let mut all = String::new();
            let _ = from.read_to_string(&mut all);
            let _ = tell_all.send(all);
        });
        Self { child, lines, stderr }
    }

    /// The next line on its standard output.
    pub(crate) fn line(&self) -> String {
        self.lines.recv_timeout(DEADLINE).expect("a line comes")
    }

    #[cfg(unix)]
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, signal).expect("it runs");
    }

    /// Waits until it has ended, and everything that it started: whoever lives still holds its
    /// standard error. Returns that, too.
    pub(crate) fn wait(mut self) -> (ExitStatus, String) {
        let said = self.stderr.recv_timeout(DEADLINE).expect("it ends, with all that it started");
        let status = self.child.wait().expect("it can be waited for");
        (status, said)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
