//! Where a runbook runs: the seam between the executor and the process that it starts.

use std::fmt;
use std::io;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};

#[cfg(target_os = "linux")]
mod child;
#[cfg(target_os = "linux")]
mod reexec;
#[cfg(not(target_os = "linux"))]
#[path = "sandbox/unsupported.rs"]
mod reexec;
#[cfg(target_os = "linux")]
mod tree;

#[cfg(target_os = "linux")]
pub use child::{enter, is_runbook_process};
pub use reexec::Reexec;
#[cfg(not(target_os = "linux"))]
pub use reexec::{enter, is_runbook_process};

/// Starts a process that runs one runbook and speaks [`crate::frame`]s over one socket.
pub trait Sandbox: fmt::Debug + Send + Sync + 'static {
    /// Whether this binary can be started so, as far as that can be told without doing it.
    ///
    /// # Errors
    ///
    /// A sentence that says what to add to the program.
    fn check(&self) -> Result<(), String>;

    /// Starts the process. It says [`crate::frame::RunbookFrame::Ready`] first.
    ///
    /// # Errors
    ///
    /// When the operating system refuses.
    fn launch(&self) -> io::Result<Launched>;
}

/// A process that was started.
#[derive(Debug)]
pub struct Launched {
    /// The one way in and out.
    pub socket: Box<dyn Socket>,
    /// What it prints, to both of its outputs, in order.
    pub output: Box<dyn Output>,
    /// The process itself.
    pub process: Box<dyn Process>,
}

/// A byte stream in both directions.
pub trait Socket: AsyncRead + AsyncWrite + fmt::Debug + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + fmt::Debug + Send + Unpin> Socket for T {}

/// A byte stream from the process.
pub trait Output: AsyncRead + fmt::Debug + Send + Unpin {}
impl<T: AsyncRead + fmt::Debug + Send + Unpin> Output for T {}

/// A process and all that it started.
#[async_trait]
pub trait Process: fmt::Debug + Send {
    /// Its process id.
    fn id(&self) -> u32;

    /// Waits until it has ended by itself, and says how: `exit status: 0`, `signal: 9 (SIGKILL)`.
    ///
    /// Cancel safe.
    async fn wait(&mut self) -> String;

    /// Ends it with all that it started; returns when nothing of it runs.
    async fn kill(&mut self);
}

/// Declares the entry of runbook processes in a test binary, whose `main` is not the author's.
///
/// Put `hms_ops::test_entry!();` once at the top of the test crate (of `tests/it/main.rs`, or of
/// `lib.rs` under `#[cfg(test)]`). It adds one test, which does nothing in an ordinary run.
#[macro_export]
macro_rules! test_entry {
    () => {
        #[test]
        fn hms_ops_runbook_entry() {
            $crate::enter();
        }

        $crate::inventory::submit! { $crate::sandbox::TestEntry }
    };
}

/// Marks a test binary that has an entry; see [`test_entry!`](crate::test_entry).
#[derive(Clone, Copy, Debug)]
pub struct TestEntry;

hms_ops_core::inventory::collect!(TestEntry);
