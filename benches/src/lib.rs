//! Benchmarks of HMS-OPS against its peers, and the small bench that they run on.
//!
//! A bench is a program of [`Case`]s. [`compare`] runs them in turns, so that what else the machine
//! does hits all of them alike; a [`Report`] prints one table and writes `target/bench/NAME.json`.
//! Every figure is a median over many batches.

mod allocations;
mod case;
mod host;
mod report;

pub use allocations::allocations;
pub use case::{Case, Figures, compare};
pub use report::{Goal, Report};
