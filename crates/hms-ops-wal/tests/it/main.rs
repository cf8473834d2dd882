//! What a log promises on a disk that breaks none of its own promises, and keeps none that it did
//! not make.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod corpus;
mod damage;
mod faults;
mod history;
mod log;
mod os_disk;
mod power;
