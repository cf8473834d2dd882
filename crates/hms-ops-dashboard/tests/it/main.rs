//! The router from outside: page, JSON and events, over the in-memory implementations of core.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod api;
mod page;
mod stream;
mod world;
