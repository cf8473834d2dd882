//! The routes from outside, over the in-memory store of core.

mod answers;
mod errors;
mod grafana;
mod hostile;
mod promtool;
mod world;
