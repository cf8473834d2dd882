//! Starts this very binary once more, as the process of one runbook.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdSocket;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use async_trait::async_trait;
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::process::Child;

use super::child::{MARKER, entered};
use super::{Launched, Process, Sandbox, TestEntry, tree};

/// Starts `/proc/self/exe` with an empty environment, its socket as standard input, and a process
/// group of its own.
///
/// `posix_spawn` is used, never `fork`: copying the page tables of a large service would take
/// hundreds of milliseconds. So nothing is done between the two; what the child needs to do to
/// itself, it does in [`enter`](super::enter).
#[derive(Clone, Copy, Debug, Default)]
pub struct Reexec;

impl Sandbox for Reexec {
    fn check(&self) -> Result<(), String> {
        let in_a_test = hms_ops_core::inventory::iter::<TestEntry>.into_iter().next().is_some();
        if entered() || in_a_test {
            return Ok(());
        }
        Err("runbooks run in a process of their own, which begins in main: add `hms_ops::enter();` \
             as the first line of `fn main`, or write `#[hms_ops::main]` above it; \
             a test binary needs `hms_ops::test_entry!();`"
            .to_owned())
    }

    fn launch(&self) -> io::Result<Launched> {
        let (near, far) = StdSocket::pair()?;
        near.set_nonblocking(true)?;
        let (output, printed) = io::pipe()?;
        let mut command = Command::new("/proc/self/exe");
        command
            .arg0(MARKER)
            // Only a test binary reads these: they lead it to `test_entry!`.
            .args(["hms_ops_runbook_entry", "--nocapture", "--test-threads=1", "-q"])
            .env_clear()
            .current_dir("/")
            .process_group(0)
            .stdin(OwnedFd::from(far))
            .stdout(printed.try_clone()?)
            .stderr(Stdio::from(printed));
        let child = tokio::process::Command::from(command).kill_on_drop(true).spawn()?;
        let id = child.id().expect("a child that was not waited for has an id");
        Ok(Launched {
            socket: Box::new(UnixStream::from_std(near)?),
            output: Box::new(pipe::Receiver::from_owned_fd(output.into())?),
            process: Box::new(Reexeced { child, id, killed: false }),
        })
    }
}

#[derive(Debug)]
struct Reexeced {
    child: Child,
    id: u32,
    /// Once killed and waited for, its id may be another's.
    killed: bool,
}

#[async_trait]
impl Process for Reexeced {
    fn id(&self) -> u32 {
        self.id
    }

    async fn wait(&mut self) -> String {
        match self.child.wait().await {
            Ok(status) => status.to_string(),
            Err(error) => format!("it could not be waited for: {error}"),
        }
    }

    async fn kill(&mut self) {
        if self.killed {
            return;
        }
        if self.child.id().is_some() {
            tree::kill(self.id);
        } else {
            tree::kill_group(self.id);
        }
        let _ = self.child.wait().await;
        self.killed = true;
    }
}

impl Drop for Reexeced {
    fn drop(&mut self) {
        if self.child.id().is_some() {
            tree::kill(self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::{Pid, Signal, kill_process};

    use super::*;

    fn start(program: &str, argument: &str) -> Reexeced {
        let mut command = Command::new(program);
        command.arg(argument).process_group(0);
        let child = tokio::process::Command::from(command).kill_on_drop(true).spawn().unwrap();
        let id = child.id().unwrap();
        Reexeced { child, id, killed: false }
    }

    #[tokio::test]
    async fn a_process_is_killed_once_since_its_id_may_then_be_anothers() {
        let mut process = start("true", "");
        assert_eq!(process.wait().await, "exit status: 0");
        process.kill().await;

        let mut other = start("sleep", "3605");
        process.id = other.id;
        process.kill().await;
        // A second signal does not change what the first one did.
        let pid = Pid::from_raw(other.id.cast_signed()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        assert_eq!(other.wait().await, "signal: 15 (SIGTERM)");
    }
}
