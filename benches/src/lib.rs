//! Benchmarks of HMS-OPS against its peers, and the small bench that they run on.
//!
//! A bench is a program of [`Case`]s. [`compare`] runs them in turns, so that what else the machine
//! does hits all of them alike; a [`Report`] prints one table and writes `target/bench/NAME.json`.
//! Every figure is a median over many batches.
//!
//! What takes seconds and a process of its own is measured differently: a [`workload`] goes into
//! each store, or by [`remote_write`] to a [`server`], [`usage`] says what that process used, and a
//! [`table`] holds it against what was promised.

mod allocations;
mod case;
mod host;
mod report;

pub mod remote_write;
pub mod server;
pub mod table;
pub mod tsink;
pub mod usage;
pub mod workload;

pub use allocations::allocations;
pub use case::{Case, Figures, compare};
pub use host::machine;
pub use report::{Goal, Report};
