//! Where sandboxed runbooks are refused: everything but Linux.

use std::io;

use super::{Launched, Sandbox};

/// Refuses to run: a runbook process needs Linux.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reexec;

const REASON: &str = "sandboxed runbooks need Linux";

impl Sandbox for Reexec {
    fn check(&self) -> Result<(), String> {
        Err(REASON.to_owned())
    }

    fn launch(&self) -> io::Result<Launched> {
        Err(io::Error::new(io::ErrorKind::Unsupported, REASON))
    }
}

/// Does nothing here.
pub fn enter() {}

/// Never, here.
pub fn is_runbook_process() -> bool {
    false
}
