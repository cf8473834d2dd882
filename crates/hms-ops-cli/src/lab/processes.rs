//! The lab's own processes: this binary started again, held by their standard input.
//!
//! The lab is the only one to hold the other end of the pipe, so a process that ends when its
//! standard input is closed never outlives the lab, however that ends.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

/// How long a process may take to say its first word.
const FIRST_WORD: Duration = Duration::from_secs(10);
/// How long a process may take to end; longer than users wait for an answer.
const LAST_WORK: Duration = Duration::from_secs(20);

/// A process of the lab.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    id: u32,
    child: Child,
    rope: ChildStdin,
}

impl Process {
    /// Starts this binary with `args`; returns the process and the lines that it prints.
    pub(crate) fn start(
        name: &str,
        args: &[&str],
    ) -> Result<(Self, Lines<BufReader<ChildStdout>>)> {
        let this = std::env::current_exe().context("cannot find this binary")?;
        let mut command = Command::new(this);
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        spare_signals(&mut command);
        let mut child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        let id = child.id().context("a process that was just started has no id")?;
        let (Some(rope), Some(printed)) = (child.stdin.take(), child.stdout.take()) else {
            bail!("{name} has no standard input or output");
        };
        let process = Self { name: name.to_owned(), id, child, rope };
        Ok((process, BufReader::new(printed).lines()))
    }

    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// Waits for the next line that it prints.
    pub(crate) async fn next_line(
        &mut self,
        lines: &mut Lines<BufReader<ChildStdout>>,
    ) -> Result<String> {
        let name = &self.name;
        let said = timeout(FIRST_WORD, lines.next_line()).await;
        match said.with_context(|| format!("{name} said nothing for {FIRST_WORD:?}"))?? {
            Some(line) => Ok(line),
            None => {
                let status = self.child.wait().await?;
                bail!("{name} ended at once: {status}")
            }
        }
    }

    /// Writes a line to its standard input.
    pub(crate) async fn tell(&mut self, line: &str) -> Result<()> {
        let told = self.rope.write_all(format!("{line}\n").as_bytes()).await;
        told.with_context(|| format!("{} does not listen", self.name))
    }

    /// Closes its standard input and waits until it has ended; kills it if it does not.
    pub(crate) async fn end(self) -> Result<()> {
        let Self { name, mut child, rope, .. } = self;
        drop(rope);
        match timeout(LAST_WORK, child.wait()).await {
            Ok(status) => check(&name, status?),
            Err(_) => {
                child.kill().await.with_context(|| format!("cannot end {name}"))?;
                bail!("{name} did not end in {LAST_WORK:?} and was killed")
            }
        }
    }
}

fn check(name: &str, status: ExitStatus) -> Result<()> {
    if !status.success() {
        bail!("{name} ended with {status}");
    }
    Ok(())
}

/// A group of its own: Ctrl-C is for the lab, which ends its processes in order.
#[cfg(unix)]
fn spare_signals(command: &mut Command) {
    command.process_group(0);
}

#[cfg(not(unix))]
fn spare_signals(_: &mut Command) {}

/// The processes that have this one as their parent, as `id (name)`; none where `/proc` does not say.
pub(crate) fn children() -> Vec<String> {
    let this = std::process::id().to_string();
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let stat = |entry: std::fs::DirEntry| {
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        child_of(&this, &stat)
    };
    processes.filter_map(stat).collect()
}

/// Id and name in a `/proc/ID/stat`, if its parent is `parent`.
fn child_of(parent: &str, stat: &str) -> Option<String> {
    // The name stands in brackets and may contain brackets and blanks itself.
    let (head, tail) = stat.rsplit_once(") ")?;
    (tail.split(' ').nth(1) == Some(parent)).then(|| format!("{})", head.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_told_by_its_parent_also_when_its_name_is_strange() {
        assert_eq!(child_of("7", "12 (hms-ops) S 7 12 1"), Some("12 (hms-ops)".to_owned()));
        assert_eq!(child_of("7", "13 (a) S 7 (b) S 8 1"), None);
        assert_eq!(child_of("8", "13 (a) S 7 (b) S 8 1"), Some("13 (a) S 7 (b)".to_owned()));
        assert_eq!(child_of("7", "torn"), None);
    }
}
