//! Runs runbooks in a process of their own and grants them only what the policy grants.
//!
//! The executor starts the service's own binary once more ([`enter`] recognises that), hands it the
//! execution over one socket, and carries out the calls that come back, if the [`Policy`] grants
//! them. Every call is in the ledger before it has an effect; every run ends in one outcome.
//!
//! In this release the other process is separate, not yet isolated: it has no arguments, no
//! environment and one socket, but it can still open files and sockets of its own.

pub mod capability;
pub mod executor;
pub mod frame;
pub mod policy;
pub mod sandbox;

pub use executor::Executor;
pub use policy::Policy;
pub use sandbox::{Sandbox, enter, is_runbook_process};

#[doc(hidden)]
pub use hms_ops_core::inventory;
