//! The store, as its users see it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod chunk;
mod damage;
mod faults;
mod history;
mod kill;
mod limits;
mod power;
mod suite;
mod world;
