//! The store, as its users see it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod chunk;
mod corpus;
mod damage;
mod deletion;
mod edges;
mod failed_calls;
mod faults;
mod history;
mod kill;
mod limits;
mod power;
mod restart;
mod scene;
mod suite;
mod world;
