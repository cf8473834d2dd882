//! How far a long command is, for a person who waits.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use hms_ops::core::clock::Stopwatch;

const BETWEEN: Duration = Duration::from_millis(200);

/// One line on standard error that is written over and gone in the end; nothing where that is no
/// terminal.
#[derive(Debug)]
pub(super) struct Progress {
    wanted: bool,
    since: Stopwatch,
    shown: bool,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { wanted: io::stderr().is_terminal(), since: Stopwatch::start(), shown: false }
    }

    /// None, where samples go to the terminal themselves.
    pub(super) fn unless(on_screen: bool) -> Self {
        let progress = Self::new();
        Self { wanted: progress.wanted && !on_screen, ..progress }
    }

    /// Shows `line` if the last one was shown a while ago.
    pub(super) fn show(&mut self, line: impl FnOnce() -> String) {
        if self.wanted && self.since.elapsed() >= BETWEEN {
            (self.since, self.shown) = (Stopwatch::start(), true);
            // Who cannot be told does not see it either.
            let _ = write!(io::stderr(), "\r{}\x1b[K", line());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
