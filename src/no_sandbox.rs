//! A build without runbook processes.

/// Does nothing: without the feature `runbook-sandbox` no process is started for a runbook.
pub fn enter() {}
