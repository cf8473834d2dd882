//! The mesh from outside: real sockets on loopback for the router, a paused clock for shifts.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod backend;
mod conformance;
mod health;
mod layer;
mod proxy;
mod router;
mod shift;
mod whole;
